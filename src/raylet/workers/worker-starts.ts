/**
 * How many workers of which pool there are: started when demand waits for them, in the environment of their pool; asked to
 * leave when they are idle and too many. Decides when starting more is of no use, and tells those that wait why.
 */
import { poolOf, specFromText } from "../../core/environments/spec.ts";
import { type JobConfigRecord, Local } from "../../core/rpc/messages.ts";
import type { Environments, Prepared } from "../environments/environments.ts";
import type { LeaseEvent, LeaseMachine } from "../lease/lease-machine.ts";
import type { PooledWorker, WorkerPool } from "./worker-pool.ts";
import { describeEnd, type WorkerEnd } from "./worker-process.ts";

/** Idle workers beyond the node's CPUs leave after this long. */
const IDLE_WORKER_MS = 5000;
/** So many workers of a pool in a row end before they are ready, and what waits for one fails. */
const FAILED_STARTS_MAX = 3;
/** One that somebody killed says little of what it was to run: it counts so much less. */
const KILLED_START = 0.1;
/** Environments remembered; demand states its own again. */
const POOLS_MAX = 10_000;
/** So many task workers a node has before idle ones make room for those of another environment; twice its CPUs at least. */
const WORKERS_OF_ALL_ENVIRONMENTS_MIN = 4;

export interface WorkerStartsParts {
  readonly machine: LeaseMachine;
  readonly pool: WorkerPool;
  readonly environments: Environments;
  readonly cpuCount: number;
  readonly feed: (event: LeaseEvent) => void;
  /** A job that this node works for; undefined when nobody asks for its workers any more. */
  readonly jobOf: (jobId: string) => JobConfigRecord | undefined;
  readonly isJobOver: (jobId: string) => boolean;
  readonly log: (line: string) => void;
}

export class WorkerStarts {
  readonly #parts: WorkerStartsParts;
  /** Pools of jobs in environments of their own, as owners have named them. */
  readonly #pools = new Map<string, { readonly job: JobConfigRecord; readonly environment: string }>();
  /** How many workers a pool is to have once its first one is ready. */
  readonly #ahead = new Map<string, number>();
  /** Workers of a pool that ended before they were ready, since one was. */
  readonly #failedStarts = new Map<string, number>();

  constructor(parts: WorkerStartsParts) {
    this.#parts = parts;
  }

  knowPool(pool: string, job: JobConfigRecord, environment: string): void {
    if (environment === "" || this.#pools.has(pool)) return;
    const [oldest] = this.#pools.size >= POOLS_MAX ? this.#pools.keys() : [];
    if (oldest !== undefined) this.#pools.delete(oldest);
    this.#pools.set(pool, { job, environment });
  }

  /**
   * Workers of a new job start before anybody asks for them, unless what they need is on its way: one, and when that is
   * ready the others. All at once they would keep each other, and a new cluster, from the processors.
   */
  startAhead(job: JobConfigRecord, count: number): void {
    if (job.deferred) return;
    const pool = poolOf(job.jobId, job.environment);
    this.knowPool(pool, job, job.environment);
    if (count > 1) this.#ahead.set(pool, count);
    this.start(pool, Math.min(count, 1));
  }

  start(pool: string, count: number): void {
    const { machine, environments, jobOf, log, feed } = this.#parts;
    const known = this.#pools.get(pool);
    const job = known?.job ?? jobOf(pool);
    if (job === undefined || count === 0) return;
    const prepared = environments.prepare(job, known?.environment ?? "");
    machine.noteStarting(pool, count);
    if (!(prepared instanceof Promise)) {
      this.#startIn(job, prepared, count);
      return;
    }
    prepared.then(
      (found) => this.#startIn(job, found, count),
      (error: Error) => {
        log(`an environment of job ${job.jobId} cannot be set up: ${error.message}`);
        // Those that wait go first: they would have the same started again.
        feed({ kind: "workersFail", pool, reason: error.message, what: "environment" });
        feed({ kind: "startsFailed", pool, count });
      },
    );
  }

  /** A worker that has just started is ready. */
  onReady({ pool }: PooledWorker): void {
    this.#failedStarts.delete(pool);
    const wanted = this.#ahead.get(pool);
    if (wanted === undefined) return;
    this.#ahead.delete(pool);
    const all = [...this.#parts.pool.all()];
    const there = all.filter((each) => each.pool === pool && each.actorId === undefined).length;
    this.start(pool, Math.max(0, wanted - there));
  }

  /** A worker ended before it was ready: its job's code throws at load, or the process cannot start. */
  onFailedStart(worker: PooledWorker, end: WorkerEnd): void {
    const { pool } = worker;
    const failures = (this.#failedStarts.get(pool) ?? 0) + (end.signal === "SIGKILL" ? KILLED_START : 1);
    this.#failedStarts.set(pool, failures);
    const reason = `worker ${worker.process.pid}, before it was ready, while it evaluated the job's entry module, ${describeEnd(end)}`;
    this.#parts.log(reason);
    if (failures < FAILED_STARTS_MAX) return;
    const { execArgv, tree, bundle } = specFromText(this.#pools.get(pool)?.environment ?? "");
    const what = (execArgv ?? tree ?? bundle) === undefined ? "workers" : "environment";
    this.#parts.feed({ kind: "workersFail", pool, reason, what });
  }

  /** What a worker was to do before anything else threw: no other of its pool would fare better. */
  onSetupFailed(worker: PooledWorker, reason: string): void {
    this.#parts.feed({ kind: "workersFail", pool: worker.pool, reason, what: "environment" });
  }

  endJob(jobId: string): void {
    // Detached actors may go on asking.
    if (this.#parts.jobOf(jobId) !== undefined) return;
    for (const pool of this.#ahead.keys())
      if (pool === jobId || pool.startsWith(`${jobId}/`)) this.#ahead.delete(pool);
    for (const [pool, { job }] of this.#pools) if (job.jobId === jobId) this.#pools.delete(pool);
  }

  /** Idle workers beyond the node's CPUs leave, for each job those that have been idle longest. */
  reapIdle(): void {
    const keep = Math.max(1, this.#parts.cpuCount);
    const perJob = new Map<string, number>();
    for (const worker of this.#idle().reverse()) {
      const { jobId } = worker.job;
      const seen = (perJob.get(jobId) ?? 0) + 1;
      perJob.set(jobId, seen);
      const isKept = seen <= keep && !this.#parts.isJobOver(jobId);
      if (!isKept && performance.now() - worker.idleSinceMs >= IDLE_WORKER_MS) this.#dismiss(worker);
    }
  }

  #startIn(job: JobConfigRecord, prepared: Prepared, count: number): void {
    const { pool, isJobOver, jobOf, feed } = this.#parts;
    if (isJobOver(job.jobId) && jobOf(job.jobId) === undefined)
      feed({ kind: "startsFailed", pool: prepared.pool, count });
    else {
      this.#makeRoom(job.jobId, prepared.pool, count);
      for (let i = 0; i < count; i++) pool.start(job, prepared);
    }
    prepared.release();
  }

  /** Above some processes, idle workers of the job's other environments leave for those that are needed. */
  #makeRoom(jobId: string, pool: string, count: number): void {
    const most = Math.max(WORKERS_OF_ALL_ENVIRONMENTS_MIN, 2 * this.#parts.cpuCount);
    let over = count - most;
    for (const { actorId } of this.#parts.pool.all()) if (actorId === undefined) over += 1;
    for (const worker of over > 0 ? this.#idle() : []) {
      if (over <= 0) return;
      if (worker.job.jobId !== jobId || worker.pool === pool) continue;
      this.#dismiss(worker);
      over -= 1;
    }
  }

  /** The longest idle first. */
  #idle(): PooledWorker[] {
    return this.#parts.machine
      .idleWorkers()
      .flatMap(({ workerId }) => this.#parts.pool.get(workerId) ?? [])
      .sort((a, b) => a.idleSinceMs - b.idleSinceMs);
  }

  /** Not lent any more from here on; it comes back if it stays. */
  #dismiss(worker: PooledWorker): void {
    this.#parts.machine.withdraw(worker.workerId);
    worker.link?.send([Local.exit, false]);
  }
}
