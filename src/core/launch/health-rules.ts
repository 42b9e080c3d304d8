/**
 * How long head and raylets wait for each other: the one place where both sides' times come from, so that a node has
 * always ended its workers before the head gives its work away. Pure.
 *
 *   a raylet that is cut off ends its workers   selfFenceMs after the last report that the head answered
 *   ... and has ended them                      FENCE_KILL_MS later at the latest
 *   the head takes a silent node for dead       declareDeadMs after its last report: 1.5 times the sum of the two
 *   where nodes may believe that the head       graceMs + declareDeadMs
 *   is gone (several are silent)
 */

/** What a head is started with, and tells its nodes. */
export interface HealthCheck {
  /** Between a node's reports. */
  readonly periodMs: number;
  readonly timeoutMs: number;
  readonly failureThreshold: number;
  /** How long nodes wait for a head that is gone. 0 = they fence themselves as if they were cut off. */
  readonly outageGraceMs: number;
}

/** The workers of a node that fences itself are gone by then. */
export const FENCE_KILL_MS = 2000;
/** Clocks of two machines differ in rate by less than this. */
const CLOCK_MARGIN = 1.5;
/** Reports without an answer after which a node asks others whether they hear the head. */
const MISSED_REPORTS = 3;
/** A busy machine lets its processes wait for a second or two: shorter silence says nothing. */
const TRUST_MS_MIN = 2000;

export interface HealthTimes {
  readonly selfFenceMs: number;
  readonly declareDeadMs: number;
  readonly graceMs: number;
  /** What was learnt of the head from others counts for this long; without an answer for as long it is not heard. */
  readonly trustMs: number;
  /** A raylet that stood still for longer than this was given up meanwhile. */
  readonly pauseMsMax: number;
}

export function healthTimes(check: HealthCheck): HealthTimes {
  const { periodMs, timeoutMs, failureThreshold, outageGraceMs } = check;
  const selfFenceMs = periodMs * failureThreshold + timeoutMs;
  return {
    selfFenceMs,
    declareDeadMs: Math.ceil(CLOCK_MARGIN * (selfFenceMs + FENCE_KILL_MS)),
    graceMs: outageGraceMs,
    trustMs: Math.min(Math.max(MISSED_REPORTS * periodMs, TRUST_MS_MIN), selfFenceMs / 2),
    pauseMsMax: selfFenceMs + FENCE_KILL_MS,
  };
}
