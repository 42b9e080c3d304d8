/** Wraps a searcher so that only so many of its trials run at a time. */
import { InvalidOptionError } from "../errors.ts";
import type { Space } from "../space/space.ts";
import { fromJson, type JsonNumber, toJson } from "./json.ts";
import type { Objective, Searcher, Suggestion } from "./searcher.ts";

export interface ConcurrencyLimiterOptions {
  /** Tell the searcher nothing before all of a batch of `maxConcurrent` trials are over. Default false. */
  readonly batch?: boolean;
}

export class ConcurrencyLimiter implements Searcher {
  readonly #searcher: Searcher;
  readonly #max: number;
  readonly #batch: boolean;
  readonly #live = new Set<string>();
  /** Batch mode: results held back. */
  #held: (readonly [string, readonly number[] | undefined])[] = [];

  constructor(searcher: Searcher, maxConcurrent: number, { batch = false }: ConcurrencyLimiterOptions = {}) {
    if (!(Number.isInteger(maxConcurrent) && maxConcurrent > 0)) {
      throw new InvalidOptionError(`maxConcurrent must be a whole number above 0, got ${maxConcurrent}`);
    }
    this.#searcher = searcher;
    this.#max = maxConcurrent;
    this.#batch = batch;
  }

  setup(space: Space, objectives: readonly Objective[], seed: number): void {
    this.#searcher.setup(space, objectives, seed);
  }

  suggest(trialId: string): Suggestion {
    if (this.#live.size + this.#held.length >= this.#max) return { kind: "wait" };
    const suggestion = this.#searcher.suggest(trialId);
    if (suggestion.kind === "config") this.#live.add(trialId);
    else if (suggestion.kind === "exhausted") this.#release();
    return suggestion;
  }

  onReport(trialId: string, step: number, values: readonly number[]): void {
    if (this.#live.has(trialId)) this.#searcher.onReport?.(trialId, step, values);
  }

  onComplete(trialId: string, values: readonly number[] | undefined): void {
    if (!this.#live.delete(trialId)) return;
    this.#held.push([trialId, values]);
    if (!this.#batch || this.#live.size === 0) this.#release();
  }

  save(): unknown {
    const held = this.#held.map(([id, values]) => [id, toJson(values)]);
    return { live: [...this.#live], held, searcher: this.#searcher.save() };
  }

  restore(state: unknown): void {
    const saved = state as { live: string[]; held: [string, JsonNumber[] | null][]; searcher: unknown };
    this.#live.clear();
    for (const id of saved.live) this.#live.add(id);
    this.#held = saved.held.map(([id, values]) => [id, fromJson(values)]);
    this.#searcher.restore(saved.searcher);
  }

  #release(): void {
    for (const [id, values] of this.#held) this.#searcher.onComplete(id, values);
    this.#held = [];
  }
}
