/**
 * Looks a few times a second how much memory is left, and has workers ended while too little is: idle ones first, all at
 * once; then one worker at a time, chosen by victim.ts, and not the next before that one is gone and the memory has been
 * looked at again. Never ends a daemon. Of workers that the kernel was quicker to end it gives the same report.
 */
import { KernelKills } from "./kernel-kills.ts";
import { groupBytes } from "./process-groups.ts";
import type { MemorySettings } from "./settings.ts";
import { memoryUse, tightestMemory } from "./usage.ts";
import { chooseVictim, type MemoryRank } from "./victim.ts";

const OTHERS_NAMED_MAX = 3;
/** Above this share what workers hold is noted at each look, in case that the kernel ends one before this node does. */
const NEAR_SHARE = 0.7;
/** So many looks idle workers have to be gone. */
const LEAVING_LOOKS_MAX = 4;
const MIB = 2 ** 20;

/** A worker as the monitor sees it. */
export interface WatchedWorker {
  readonly workerId: string;
  readonly pid: number;
  /** "idle": it does nothing. "staying": it does nothing, but others use objects that it owns. */
  readonly rank: MemoryRank | "idle" | "staying" | "starting"; // "starting": or on its way out
  /** What it runs, for people. */
  readonly what: string;
  /** Counts up with each piece of work that it begins. */
  readonly begun: number;
  /** Ends it; resolves when it is gone. */
  kill(report: MemoryReport): Promise<void>;
}

/** Why a worker was chosen. */
export interface MemoryReport {
  /** For people. */
  readonly text: string;
  readonly workerBytes: number;
  readonly usedBytes: number;
  readonly limitBytes: number;
}

export interface MemoryMonitorParts {
  readonly nodeId: string;
  readonly settings: MemorySettings;
  readonly workers: () => readonly WatchedWorker[];
  /** Bytes in the node's store. */
  readonly storeBytes: () => number;
  /** Asks idle workers to leave. */
  readonly dismissIdle: () => void;
  readonly log: (line: string) => void;
}

export class MemoryMonitor {
  readonly #parts: MemoryMonitorParts;
  readonly #timer: NodeJS.Timeout | undefined;
  /** When each worker was first seen at the work it does now. */
  readonly #work = new Map<string, { readonly begun: number; readonly since: number }>();
  #looks = 0;
  #leaving: { readonly ids: ReadonlySet<string>; readonly sinceLook: number } = {
    ids: new Set(),
    sinceLook: 0,
  };
  #isEnding = false;
  readonly #kernel = new KernelKills();
  /** When memory was last near its end, or undefined: what was used, and by which worker. */
  #near: { readonly usedBytes: number; readonly held: ReadonlyMap<number, number> } | undefined;

  constructor(parts: MemoryMonitorParts) {
    this.#parts = parts;
    const { periodMs } = parts.settings;
    if (periodMs > 0) this.#timer = setInterval(() => this.#look(), periodMs);
    this.#timer?.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** A worker ended by SIGKILL. @returns the report, if it was the kernel, for want of memory */
  kernelKill(pid: number): MemoryReport | undefined {
    if (!this.#kernel.explains(performance.now())) return undefined;
    const { nodeId, storeBytes } = this.#parts;
    const now = tightestMemory();
    const workerBytes = this.#near?.held.get(pid) ?? 0;
    const limitBytes = now?.limitBytes ?? 0;
    const usedBytes = Math.max(now?.usedBytes ?? 0, this.#near?.usedBytes ?? 0);
    const held = workerBytes === 0 ? "" : `, ${mib(workerBytes)} by this worker`;
    const text =
      `worker ${pid} on node ${nodeId} was killed by the kernel, because memory was gone (its out-of-memory killer sent ` +
      `SIGKILL): ${now?.of === "cgroup" ? "its control group" : "the machine"} has ${mib(limitBytes)}, of which ` +
      `${mib(usedBytes)} were used when last looked at${held}; the store takes ${mib(storeBytes())}`;
    this.#parts.log(text);
    return { text, workerBytes, usedBytes, limitBytes };
  }

  #look(): void {
    const { settings, dismissIdle } = this.#parts;
    this.#looks += 1;
    this.#kernel.look(performance.now());
    const workers = this.#parts.workers();
    this.#noteWork(workers);
    if (this.#isEnding) return;
    const own = settings.limitBytes === undefined ? undefined : bytesOf(workers);
    const use = this.#use(own);
    const isNear = use !== undefined && use.usedBytes > use.limitBytes * NEAR_SHARE;
    this.#near = isNear ? { usedBytes: use.usedBytes, held: own ?? bytesOf(workers) } : undefined;
    if (use === undefined || use.usedBytes <= use.limitBytes * settings.threshold) return;
    const idle = workers.filter(({ rank }) => rank === "idle");
    if (idle.length > 0) {
      this.#leaving = { ids: new Set(idle.map(({ workerId }) => workerId)), sinceLook: this.#looks };
      dismissIdle();
      return;
    }
    if (this.#areSomeLeaving(workers)) return;
    const bytes = this.#near?.held ?? bytesOf(workers);
    const victim = chooseVictim(
      workers.flatMap((worker) => {
        const { rank, workerId, pid } = worker;
        if (rank === "idle" || rank === "staying" || rank === "starting") return [];
        return [{ worker, workerId, rank, since: this.#since(workerId), bytes: bytes.get(pid) ?? 0 }];
      }),
    );
    if (victim === undefined) return;
    this.#isEnding = true;
    const { worker, bytes: workerBytes } = victim;
    const text = this.#tell(worker, workers, bytes, use);
    this.#parts.log(`memory is short: ${worker.what} is ended: ${text}`);
    void worker
      .kill({ text, workerBytes, usedBytes: use.usedBytes, limitBytes: use.limitBytes })
      .finally(() => {
        this.#isEnding = false;
      });
  }

  /** A limit of the node's own counts what its workers and its store use; else the machine or the control group tells. */
  #use(own: ReadonlyMap<number, number> | undefined): ReturnType<typeof memoryUse> {
    const { limitBytes } = this.#parts.settings;
    if (own === undefined || limitBytes === undefined) return memoryUse();
    let usedBytes = this.#parts.storeBytes();
    for (const bytes of own.values()) usedBytes += bytes;
    return { usedBytes, limitBytes, of: "node" };
  }

  /** Idle workers that were sent away take a moment to go, or to say that they stay. */
  #areSomeLeaving(workers: readonly WatchedWorker[]): boolean {
    const { ids, sinceLook } = this.#leaving;
    if (this.#looks - sinceLook > LEAVING_LOOKS_MAX) return false;
    return workers.some(({ workerId, rank }) => ids.has(workerId) && rank === "starting");
  }

  #noteWork(workers: readonly WatchedWorker[]): void {
    const alive = new Set<string>();
    for (const { workerId, begun } of workers) {
      alive.add(workerId);
      if (this.#work.get(workerId)?.begun !== begun) this.#work.set(workerId, { begun, since: this.#looks });
    }
    for (const workerId of this.#work.keys()) if (!alive.has(workerId)) this.#work.delete(workerId);
  }

  #since(workerId: string): number {
    return this.#work.get(workerId)?.since ?? 0;
  }

  #tell(
    victim: WatchedWorker,
    workers: readonly WatchedWorker[],
    bytes: ReadonlyMap<number, number>,
    use: { readonly usedBytes: number; readonly limitBytes: number; readonly of: string },
  ): string {
    const { nodeId, settings } = this.#parts;
    const held = ({ pid }: WatchedWorker) => bytes.get(pid) ?? 0;
    const others = workers
      .filter((worker) => worker !== victim && held(worker) > 0)
      .sort((a, b) => held(b) - held(a))
      .slice(0, OTHERS_NAMED_MAX)
      .map((worker) => `${worker.what} (worker ${worker.pid}) ${mib(held(worker))}`);
    return (
      `worker ${victim.pid} on node ${nodeId} held ${mib(held(victim))} when ${mib(use.usedBytes)} of ` +
      `${mib(use.limitBytes)} were used ${use.of === "cgroup" ? "in its control group" : "there"}, more than ` +
      `${Math.round(settings.threshold * 100)} % (TSRAY_MEMORY_THRESHOLD); of it the store ` +
      `${mib(this.#parts.storeBytes())}, other workers ${others.length === 0 ? "nothing" : others.join(", ")}`
    );
  }
}

function bytesOf(workers: readonly WatchedWorker[]): Map<number, number> {
  // Each worker leads a process group of its own.
  return groupBytes(new Set(workers.map(({ pid }) => pid)));
}

function mib(bytes: number): string {
  return `${Math.round(bytes / MIB)} MiB`;
}
