/** Ends a daemon of this user and everything that is left of it: its workers, its shared memory, its session. */
import { readdirSync, readFileSync } from "node:fs";
import { type NodeRecord, processStart, removeStoreFiles } from "./session.ts";

const POLL_MS = 10;
/** A process that was killed is gone by then, unless the kernel holds it. */
const KILL_MS_MAX = 5000;

interface RunningProcess {
  readonly pid: number;
  /** Kernel start time, so that a reused pid is left alone. */
  readonly pidStart: string;
}

export interface DaemonEnd {
  /** Whether it had to be killed, or was meant to be. */
  readonly killed: boolean;
  /** False when the kernel has not let go of it in time. */
  readonly gone: boolean;
}

/**
 * Asks the daemon to end (SIGTERM: tasks may finish; SIGQUIT: at once), and kills it when it has not after `graceMs` (0 = at once). Resolves when it, and the workers
 * it had, are gone and its shared memory and spilled objects are removed. The session's directory is left to the caller.
 */
export async function endDaemon(
  daemon: RunningProcess & Pick<NodeRecord, "storePath" | "spillDir">,
  graceMs: number,
  request: "SIGTERM" | "SIGQUIT" = "SIGTERM",
): Promise<DaemonEnd> {
  let killed = false;
  if (graceMs > 0) {
    signal(daemon, request);
    await untilGone([daemon], graceMs);
  }
  // Its workers die with it; those that are being started this moment are not seen here, but die all the same.
  const workers = isRunning(daemon) ? childrenOf(daemon.pid) : [];
  if (isRunning(daemon)) {
    killed = true;
    signal(daemon, "SIGKILL");
    for (const worker of workers) killGroup(worker);
  }
  const gone = await untilGone([daemon], KILL_MS_MAX);
  const workersGone = await untilGone(workers, KILL_MS_MAX);
  removeStoreFiles(daemon);
  return { killed, gone: gone && workersGone };
}

export function isRunning({ pid, pidStart }: RunningProcess): boolean {
  return pidStart !== "" && processStart(pid) === pidStart;
}

async function untilGone(processes: readonly RunningProcess[], msMax: number): Promise<boolean> {
  const untilMs = performance.now() + msMax;
  while (processes.some(isRunning)) {
    if (performance.now() >= untilMs) return false;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return true;
}

function signal(target: RunningProcess, name: NodeJS.Signals): void {
  if (isRunning(target)) quietly(() => process.kill(target.pid, name));
}

/** A worker leads a process group: what its tasks started goes with it. */
function killGroup({ pid }: RunningProcess): void {
  quietly(() => process.kill(-pid, "SIGKILL"));
}

function quietly(act: () => void): void {
  try {
    act();
  } catch {
    // It has ended.
  }
}

function childrenOf(parent: number): RunningProcess[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const ppid = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1];
      const pid = Number(name);
      return Number(ppid) === parent ? [{ pid, pidStart: processStart(pid) }] : [];
    } catch {
      return [];
    }
  });
}
