/**
 * A trial as its trainable sees it: `report`, `getCheckpoint`, `getTrialContext`. One trial runs per process at a time,
 * so the current one is a property of the process, shared by every copy of this module that a loader may have made.
 */
import { InvalidOptionError } from "../errors.ts";
import type { Config } from "../search/searcher.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { Metrics } from "./protocol.ts";

/** Thrown by `report` to end a trial that was stopped or paused. Let it pass; `finally` blocks run. */
export class TrialStopped extends Error {
  constructor(reason: "stop" | "pause") {
    super(reason === "stop" ? "this trial was stopped" : "this trial was paused");
    this.name = "TrialStopped";
  }
}

export interface ReportOptions {
  /** What the trial can go on from: a directory (copied), or a Checkpoint. */
  readonly checkpoint?: Checkpoint | string;
}

/** What a trial knows about itself. */
export interface TrialContext {
  readonly trialId: string;
  readonly experiment: string;
  /** The trial's own directory. */
  readonly trialDirectory: string;
  readonly config: Config;
  /** Reports so far. */
  readonly iteration: number;
  /** Aborted when the trial is to end, for trainables that wait for long between reports. */
  readonly signal: AbortSignal;
}

export interface TrialSession extends TrialContext {
  readonly checkpoint: Checkpoint | undefined;
  report(metrics: Metrics, options?: ReportOptions): Promise<void>;
}

const KEY = Symbol.for("tsray.tune.trial");
const shared = globalThis as { [KEY]?: TrialSession | undefined };

export function setSession(session: TrialSession | undefined): void {
  shared[KEY] = session;
}

function current(what: string): TrialSession {
  const session = shared[KEY];
  if (session === undefined) throw new InvalidOptionError(`${what}() was called outside a trial of Tune`);
  return session;
}

/**
 * Reports metrics of the running trial, and a checkpoint if there is one. Await it: it settles when the scheduler has
 * decided, and rejects with {@link TrialStopped} when the trial is to end.
 */
export function report(metrics: Metrics, options?: ReportOptions): Promise<void> {
  return current("report").report(metrics, options);
}

/** What to go on from: after a failure, a pause, a restart of the experiment or an exploit; else undefined. */
export function getCheckpoint(): Checkpoint | undefined {
  return current("getCheckpoint").checkpoint;
}

/** Facts about the running trial. */
export function getTrialContext(): TrialContext {
  return current("getTrialContext");
}
