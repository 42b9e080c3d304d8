/** The errors of tasks whose worker was lost: who died, why, what it said last, what to do. Decides wording only. */
import { NodeDiedError, OutOfMemoryError, PoisonTaskError, WorkerCrashedError } from "../base/errors.ts";
import type { WorkerLoss } from "./leases.ts";
import type { Lease, TaskRecord } from "./records.ts";
import type { LossHistory } from "./retry-policy.ts";

/** V8's words when its heap, not the machine, is used up. */
const HEAP_EXHAUSTED = /heap|out of memory/i;

export type LossReason = "crashed" | "nodeDied" | "outOfMemory" | "poison";

export function lossError(
  task: TaskRecord,
  lease: Lease,
  loss: WorkerLoss,
  why: LossReason,
  history: LossHistory,
): Error {
  const { pid, nodeId } = lease.worker;
  const tries = task.attempt > 0 ? ` (attempt ${task.attempt + 1})` : "";
  if (why === "nodeDied")
    return new NodeDiedError(`node ${nodeId} died while it ran task ${task.name}${tries} (${loss.reason})`);
  const { outOfMemory, exitCode, signal, stderrTail, fatalError } = loss;
  if (why === "outOfMemory" && outOfMemory !== undefined) {
    const { text, workerBytes, usedBytes, limitBytes } = outOfMemory;
    return new OutOfMemoryError(`task ${task.name}${tries} was ended: ${text}`, {
      pid,
      nodeId,
      workerBytes,
      usedBytes,
      limitBytes,
    });
  }
  const how =
    signal !== ""
      ? `was killed by ${signal}`
      : exitCode !== null
        ? `exited with code ${exitCode}`
        : "was lost";
  const tail =
    stderrTail === "" ? "" : `\n  last output on its stderr:\n${stderrTail.replace(/^/gm, "    ")}`;
  if (HEAP_EXHAUSTED.test(fatalError)) {
    return new OutOfMemoryError(
      `the JavaScript heap of worker ${pid} on node ${nodeId} was exhausted while it ran task ${task.name}${tries}: ` +
        `${fatalError}\n  the heap has a limit of its own, whatever memory the node has: start the driver with ` +
        "node --max-old-space-size=MEGABYTES (workers inherit its flags), or keep less in JavaScript objects at a time",
      { pid, nodeId },
    );
  }
  const fields = { pid, exitCode, signal: signal === "" ? null : signal, stderrTail };
  const what = `worker ${pid} on node ${nodeId} ${how} while it ran task ${task.name}${tries}`;
  if (why !== "poison") return new WorkerCrashedError(`${what}${tail}`, fields);
  const { ownCrashes, crashedWorkers } = history;
  return new PoisonTaskError(
    `task ${task.name} is poison: it crashed its worker ${ownCrashes} times, on ${crashedWorkers.length} workers, with ` +
      `nothing else running there, so it is not run again although its maxRetries (${task.options.maxRetries}) allows ` +
      `it; at last ${what}${tail}`,
    fields,
  );
}
