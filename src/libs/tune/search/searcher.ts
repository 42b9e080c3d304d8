/** What every searcher is: ask for a config, tell what came of it. The tuner knows no more of a searcher than this. */
import type { Config, Space } from "../space/space.ts";

export type { Config } from "../space/space.ts";

export type Direction = "min" | "max";

export interface Objective {
  readonly metric: string;
  readonly direction: Direction;
}

/** A config to try; `wait` when none can be had before a running trial ends; `exhausted` when there are no more. */
export type Suggestion =
  | { readonly kind: "config"; readonly config: Config }
  | { readonly kind: "wait" }
  | { readonly kind: "exhausted" };

/** Ask and tell. Single-threaded, synchronous, deterministic for a seed and an order of calls. */
export interface Searcher {
  /** Once, before anything else. Throws InvalidOptionError when it cannot search this space (names the parameter). */
  setup(space: Space, objectives: readonly Objective[], seed: number): void;
  suggest(trialId: string): Suggestion;
  /** An intermediate result: one value per objective. */
  onReport?(trialId: string, step: number, values: readonly number[]): void;
  /** The trial is over: one value per objective, or undefined when it failed or was stopped without a result. */
  onComplete(trialId: string, values: readonly number[] | undefined): void;
  /** JSON-able state. */
  save(): unknown;
  /** After `setup` with the same space, objectives and seed: goes on with the same suggestions. */
  restore(state: unknown): void;
}
