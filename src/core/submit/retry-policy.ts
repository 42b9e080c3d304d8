/**
 * What becomes of a task whose worker was lost: run again now, run again later, or fail. Pure: no clock, no chance.
 *
 * Three budgets. `maxRetries` pays for crashes and dead nodes. Being ended for want of memory says little about the task,
 * so it has a budget of its own, with growing pauses. And a task that crashes its worker by itself, alone there, again
 * and again is poison: whatever `maxRetries` says it must not eat up the node's workers.
 */

/** How often a task is run again after the memory monitor ended its worker, unless TSRAY_OOM_RETRIES says otherwise. */
export const OOM_RETRIES_DEFAULT = 15;
/** Own crashes, on {@link POISON_WORKERS} workers or more, after which a task is not run again. */
export const POISON_CRASHES = 4;
export const POISON_WORKERS = 2;
/** With `maxRetries: -1` it is run for ever, but from this many own crashes on with pauses. */
const QUARANTINE_CRASHES = 3;
const PAUSE_MS_MIN = 1000;
const PAUSE_MS_MAX = 60_000;

/** Signals that a process gets for what it did itself; any other was sent by somebody. */
const OWN_SIGNALS: ReadonlySet<string> = new Set([
  "SIGABRT",
  "SIGSEGV",
  "SIGBUS",
  "SIGILL",
  "SIGFPE",
  "SIGTRAP",
  "SIGSYS",
]);

/** What has happened to a task so far. */
export interface LossHistory {
  /** Runs charged to `maxRetries`. */
  readonly retries: number;
  readonly oomKills: number;
  /** Crashes by its own doing, with nothing else running in the worker. */
  readonly ownCrashes: number;
  /** Workers that it crashed so. */
  readonly crashedWorkers: readonly string[];
}

export const NO_LOSSES: LossHistory = { retries: 0, oomKills: 0, ownCrashes: 0, crashedWorkers: [] };

/** How a worker was lost, as far as it matters here. */
export interface LossFacts {
  readonly workerId: string;
  readonly nodeDied: boolean;
  readonly outOfMemory: boolean;
  readonly exitCode: number | null;
  readonly signal: string;
  /** The task had begun; else it was only queued there. */
  readonly begun: boolean;
  /** No other task had begun there and was not done. */
  readonly alone: boolean;
}

export interface RetryLimits {
  /** -1 = without end. */
  readonly maxRetries: number;
  readonly oomRetries: number;
}

export type LossVerdict =
  /** It had not begun: it goes back as it was. */
  | { readonly kind: "requeue" }
  | { readonly kind: "retry"; readonly pauseMs: number; readonly history: LossHistory }
  | {
      readonly kind: "fail";
      readonly why: "crashed" | "nodeDied" | "outOfMemory" | "poison";
      readonly history: LossHistory;
    };

export function judgeLoss(before: LossHistory, loss: LossFacts, limits: RetryLimits): LossVerdict {
  if (!loss.begun) return { kind: "requeue" };
  const { maxRetries, oomRetries } = limits;
  if (loss.outOfMemory) {
    const history = { ...before, oomKills: before.oomKills + 1 };
    if (maxRetries === 0 || before.oomKills >= oomRetries)
      return { kind: "fail", why: "outOfMemory", history };
    return { kind: "retry", pauseMs: pauseMs(before.oomKills), history };
  }
  const history = isOwnDoing(loss) ? blamed(before, loss.workerId) : before;
  if (maxRetries >= 0 && before.retries >= maxRetries)
    return { kind: "fail", why: loss.nodeDied ? "nodeDied" : "crashed", history };
  const next = { ...history, retries: before.retries + 1 };
  if (history === before) return { kind: "retry", pauseMs: 0, history: next };
  const { ownCrashes, crashedWorkers } = history;
  const isSpread = crashedWorkers.length >= POISON_WORKERS;
  if (maxRetries >= 0 && ownCrashes >= POISON_CRASHES && isSpread)
    return { kind: "fail", why: "poison", history };
  const isQuarantined = maxRetries < 0 && ownCrashes >= QUARANTINE_CRASHES && isSpread;
  return {
    kind: "retry",
    pauseMs: isQuarantined ? pauseMs(ownCrashes - QUARANTINE_CRASHES) : 0,
    history: next,
  };
}

/** A process that only ever exits by itself or by a fault of its own was not killed by anybody. */
function isOwnDoing({ alone, nodeDied, exitCode, signal }: LossFacts): boolean {
  return alone && !nodeDied && (exitCode !== null || OWN_SIGNALS.has(signal));
}

function blamed(before: LossHistory, workerId: string): LossHistory {
  const { crashedWorkers } = before;
  return {
    ...before,
    ownCrashes: before.ownCrashes + 1,
    // Enough to tell one from several.
    crashedWorkers:
      crashedWorkers.includes(workerId) || crashedWorkers.length >= POISON_CRASHES
        ? crashedWorkers
        : [...crashedWorkers, workerId],
  };
}

/** One second, doubled with each time, up to a minute. */
function pauseMs(times: number): number {
  return Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** Math.min(times, 16));
}
