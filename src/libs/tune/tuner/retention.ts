/** Which checkpoints of a trial to keep: the best, always the latest, and what another trial is about to load. */
import type { StoredCheckpoint, TrialState } from "./experiment.ts";

export interface RetentionRule {
  /** undefined: all. 0: none once the trial is over. */
  readonly numToKeep: number | undefined;
  /** undefined: newer is better. */
  readonly scoreAttribute: string | undefined;
  readonly scoreOrder: "min" | "max";
}

/** Those to delete now. */
export function superfluous(
  trial: TrialState,
  rule: RetentionRule,
  isPinned: (path: string) => boolean,
): StoredCheckpoint[] {
  const { checkpoints } = trial;
  if (rule.numToKeep === undefined) return [];
  const kept = new Set(bestFirst(checkpoints, rule).slice(0, rule.numToKeep));
  const latest = checkpoints.at(-1);
  const isOver = trial.status === "TERMINATED" || trial.status === "ERROR";
  if (latest !== undefined && !(isOver && rule.numToKeep === 0)) kept.add(latest);
  return checkpoints.filter((each) => !kept.has(each) && !isPinned(each.path));
}

/** By score, newer first among equals; a score that is missing or NaN is worst. */
export function bestFirst(checkpoints: readonly StoredCheckpoint[], rule: RetentionRule): StoredCheckpoint[] {
  const { scoreAttribute, scoreOrder } = rule;
  const newestFirst = [...checkpoints].reverse();
  if (scoreAttribute === undefined) return newestFirst;
  const score = ({ metrics }: StoredCheckpoint) => {
    const value = metrics[scoreAttribute];
    if (value === undefined || Number.isNaN(value)) return -Infinity;
    return scoreOrder === "max" ? value : -value;
  };
  return newestFirst.sort((a, b) => (score(b) === score(a) ? 0 : score(b) - score(a)));
}
