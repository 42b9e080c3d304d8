/**
 * Which worker is ended when memory is short. Pure.
 *
 * Idle workers go before this is asked (they lose nothing). Then tasks that may run again, then those that may not, then
 * actors that are restarted, then the other actors. Among equals the one whose work began last, since it has lost least;
 * but only those count that hold a good part of what the largest of them holds: ending a small one would help nobody.
 */

export type MemoryRank = "retriable task" | "task" | "restartable actor" | "actor";

const ORDER: readonly MemoryRank[] = ["retriable task", "task", "restartable actor", "actor"];
/** A worker with less than this share of the largest of its rank is left alone. */
const SHARE_MIN = 0.5;

export interface MemoryCandidate {
  readonly workerId: string;
  readonly rank: MemoryRank;
  /** When the work it does now began: larger is later. */
  readonly since: number;
  readonly bytes: number;
}

export function chooseVictim<C extends MemoryCandidate>(candidates: readonly C[]): C | undefined {
  for (const rank of ORDER) {
    const equals = candidates.filter((candidate) => candidate.rank === rank);
    const largest = Math.max(...equals.map(({ bytes }) => bytes));
    const [newest] = equals
      .filter(({ bytes }) => bytes >= largest * SHARE_MIN)
      .sort((a, b) => b.since - a.since || b.bytes - a.bytes);
    if (newest !== undefined) return newest;
  }
  return undefined;
}
