/** The memory monitor over this node's workers: what each of them is to it, and how an idle one is sent away. */
import { Local } from "../../core/rpc/messages.ts";
import type { OwnedObjectStore } from "../../core/store/open-store.ts";
import type { Actors } from "../actors.ts";
import type { LeaseMachine } from "../lease/lease-machine.ts";
import type { PooledWorker, WorkerPool } from "../workers/worker-pool.ts";
import { MemoryMonitor, type WatchedWorker } from "./monitor.ts";
import { memorySettings } from "./settings.ts";

export interface WatchParts {
  readonly nodeId: string;
  readonly machine: LeaseMachine;
  readonly pool: WorkerPool;
  readonly actors: Actors;
  readonly store: OwnedObjectStore;
  readonly log: (line: string) => void;
}

/** @throws InvalidOptionError for settings in the environment that are none */
export function watchMemory(parts: WatchParts): MemoryMonitor {
  const { nodeId, machine, pool, store, log } = parts;
  return new MemoryMonitor({
    nodeId,
    settings: memorySettings(),
    workers: () => {
      const idle = new Set(machine.idleWorkers().map(({ workerId }) => workerId));
      return [...pool.all()].map((worker) => watched(worker, rankOf(worker, idle, parts)));
    },
    storeBytes: () => store.stats().usedBytes,
    dismissIdle: () => {
      for (const { workerId } of machine.idleWorkers()) {
        const worker = pool.get(workerId);
        if (worker === undefined || worker.stays) continue;
        // Not lent any more from here on; it comes back if it stays.
        machine.withdraw(workerId);
        worker.link?.send([Local.exit, false]);
      }
    },
    log,
  });
}

function rankOf(
  worker: PooledWorker,
  idle: ReadonlySet<string>,
  { machine, actors }: WatchParts,
): WatchedWorker["rank"] {
  if (worker.actorId !== undefined) return actors.isRestartable(worker) ? "restartable actor" : "actor";
  const leases = machine.leasesOf(worker.workerId);
  if (leases.length > 0) return leases.every(({ retriable }) => retriable) ? "retriable task" : "task";
  if (!idle.has(worker.workerId)) return "starting";
  return worker.stays ? "staying" : "idle";
}

function watched(worker: PooledWorker, rank: WatchedWorker["rank"]): WatchedWorker {
  const { workerId, running } = worker;
  const kind = rank.endsWith("actor") ? "actor" : rank.endsWith("task") ? "task" : "idle worker";
  return {
    workerId,
    pid: worker.process.pid,
    rank,
    what: `${kind} ${running}`.trim(),
    begun: worker.process.runsBegun,
    kill: (report) => {
      worker.process.killForMemory(report);
      return worker.process.over;
    },
  };
}
