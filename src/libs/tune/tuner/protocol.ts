/**
 * What passes between the trial runner (in the driver) and a trial host (an actor): one call after the other, each with
 * an answer to the last event, each settling with the next event. So a trial never runs ahead of what was decided about it.
 */
import type { Config } from "../search/searcher.ts";

/** User's metrics of one report. */
export type Metrics = Readonly<Record<string, unknown>>;

export interface TrialStart {
  readonly trialId: string;
  readonly experiment: string;
  /** Where the experiment is stored; the trial's own files lie below `trialPath`. */
  readonly location: string;
  readonly trialPath: string;
  readonly config: Config;
  /** Reports before this start. */
  readonly iteration: number;
  /** Number of the next checkpoint. */
  readonly nextCheckpoint: number;
  /** Path of the checkpoint to go on from, in the storage. */
  readonly checkpoint: string | undefined;
  /** Class trainables: a checkpoint every so many iterations (0: none), and at the end. */
  readonly checkpointFrequency: number;
  readonly checkpointAtEnd: boolean;
  /** Whether an instance of a class trainable may be kept for another trial (`resetConfig`). */
  readonly reuse: boolean;
}

/** What is decided about the last report. */
export type Answer = "continue" | "stop" | "pause" | "save";

export type Command =
  | { readonly kind: "start"; readonly start: TrialStart }
  | { readonly kind: "answer"; readonly answer: Answer };

export interface SavedCheckpoint {
  readonly name: string;
  readonly iteration: number;
}

export interface HostReport {
  readonly metrics: Metrics;
  readonly checkpoint: SavedCheckpoint | undefined;
  /** Time the trainable took since the report before, seconds. */
  readonly seconds: number;
}

export interface HostError {
  readonly name: string;
  readonly message: string;
  readonly stack: string;
}

/** Where a trial runs. */
export interface HostPlace {
  readonly pid: number;
  readonly hostname: string;
}

export type HostEvent =
  | { readonly kind: "reports"; readonly reports: readonly HostReport[]; readonly place: HostPlace }
  | { readonly kind: "saved"; readonly checkpoint: SavedCheckpoint | undefined }
  | {
      readonly kind: "ended";
      /** What the trainable returned, or reported without waiting for the decision. */
      readonly reports: readonly HostReport[];
      readonly place: HostPlace;
      readonly checkpoint: SavedCheckpoint | undefined;
      readonly error: HostError | undefined;
      /** It had ended before it was told to. */
      readonly byItself: boolean;
    }
  /** The class cannot be reset to another configuration: a fresh process is needed. Nothing has run. */
  | { readonly kind: "cannot-reuse" };
