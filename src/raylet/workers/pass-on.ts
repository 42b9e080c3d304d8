/** Where a worker's line goes: to the driver on this node, or over the head to that of another. */
import type { LogBatch } from "../../core/wire/gen/tsray/v1/head.ts";
import type { Clients } from "../clients.ts";
import type { OutputLine } from "./output.ts";
import type { PooledWorker } from "./worker-pool.ts";

export function passOn(
  worker: PooledWorker,
  { name, isStderr, text }: OutputLine,
  nodeId: string,
  clients: Clients,
  sendLogs: (batch: LogBatch) => void,
): void {
  const { jobId, logToDriver } = worker.job;
  if (name === "" || !logToDriver) return;
  const { pid } = worker.process;
  if (clients.tell(jobId, [name, pid, isStderr, text, nodeId])) return;
  sendLogs({ jobId, nodeId, lines: [{ name, pid, isStderr, text }] });
}
