/** Wraps a searcher so that each of its configs runs several times, and it learns their mean: for noisy objectives. */
import { InvalidOptionError } from "../errors.ts";
import type { Space } from "../space/space.ts";
import { fromJson, type JsonNumber, toJson } from "./json.ts";
import type { Config, Objective, Searcher, Suggestion } from "./searcher.ts";

/** The key under which a repeated config finds its number, from 0. */
export const TRIAL_INDEX = "__trial_index__";

export interface RepeaterOptions {
  /** Put the number of the repetition into the config as `__trial_index__`. Default true. */
  readonly setIndex?: boolean;
}

interface Group {
  /** The trial that the searcher knows. */
  readonly first: string;
  readonly config: Config;
  readonly members: string[];
  readonly results: (readonly number[] | undefined)[];
}

export class Repeater implements Searcher {
  readonly #searcher: Searcher;
  readonly #repeat: number;
  readonly #setIndex: boolean;
  #groups: Group[] = [];

  constructor(searcher: Searcher, repeat: number, { setIndex = true }: RepeaterOptions = {}) {
    if (!(Number.isInteger(repeat) && repeat > 0)) {
      throw new InvalidOptionError(`repeat must be a whole number above 0, got ${repeat}`);
    }
    this.#searcher = searcher;
    this.#repeat = repeat;
    this.#setIndex = setIndex;
  }

  setup(space: Space, objectives: readonly Objective[], seed: number): void {
    this.#searcher.setup(space, objectives, seed);
  }

  suggest(trialId: string): Suggestion {
    let group = this.#groups.find(({ members }) => members.length < this.#repeat);
    if (group === undefined) {
      const suggestion = this.#searcher.suggest(trialId);
      if (suggestion.kind !== "config") return suggestion;
      group = { first: trialId, config: suggestion.config, members: [], results: [] };
      this.#groups.push(group);
    }
    const index = group.members.push(trialId) - 1;
    return {
      kind: "config",
      config: this.#setIndex ? { ...group.config, [TRIAL_INDEX]: index } : { ...group.config },
    };
  }

  onComplete(trialId: string, values: readonly number[] | undefined): void {
    const group = this.#groups.find(({ members }) => members.includes(trialId));
    if (group === undefined) return;
    group.results.push(values);
    if (group.results.length < this.#repeat) return;
    this.#groups = this.#groups.filter((other) => other !== group);
    this.#searcher.onComplete(group.first, meanOf(group.results));
  }

  save(): unknown {
    const groups = this.#groups.map((group) => ({
      ...group,
      members: [...group.members],
      results: group.results.map(toJson),
    }));
    return { groups, searcher: this.#searcher.save() };
  }

  restore(state: unknown): void {
    const saved = state as {
      groups: (Omit<Group, "results"> & { results: (JsonNumber[] | null)[] })[];
      searcher: unknown;
    };
    this.#groups = saved.groups.map((group) => ({
      ...group,
      members: [...group.members],
      results: group.results.map(fromJson),
    }));
    this.#searcher.restore(saved.searcher);
  }
}

/** Mean per objective over the repetitions that have one; undefined when none has. */
function meanOf(results: readonly (readonly number[] | undefined)[]): number[] | undefined {
  const known = results.filter(
    (values) => values !== undefined && !values.some(Number.isNaN),
  ) as (readonly number[])[];
  return known[0]?.map((_, i) => known.reduce((sum, values) => sum + values[i]!, 0) / known.length);
}
