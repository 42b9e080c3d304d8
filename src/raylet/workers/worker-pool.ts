/** The node's worker processes: started for a job ahead of its first task, registered, and ended with their job. */
import { join } from "node:path";
import { newProcessId } from "../../core/base/ids.ts";
import type { WorkerBoot } from "../../core/launch/worker-boot.ts";
import type { Channel } from "../../core/rpc/channel.ts";
import type { JobConfigRecord } from "../../core/rpc/messages.ts";
import type { Prepared } from "../environments/environments.ts";
import { LogFile } from "./log-file.ts";
import type { OutputLine } from "./output.ts";
import { type WorkerEnd, WorkerProcess, type WorkerProcessEvents } from "./worker-process.ts";

export type WorkerStatus = "STARTING" | "IDLE" | "LEASED" | "ACTOR";

export interface PooledWorker {
  readonly process: WorkerProcess;
  readonly workerId: string;
  readonly job: JobConfigRecord;
  /** Whose demand it serves: see poolOf in core/environments. */
  readonly pool: string;
  /** Its link to this raylet, once it has registered. */
  link: Channel | undefined;
  /** Whether it has evaluated the job's entry and may be given work. */
  ready: boolean;
  actorId: string | undefined;
  running: string;
  idleSinceMs: number;
  /** Asked to leave it stayed: others use objects that it owns. */
  stays: boolean;
  /** It was ended because it ran tasks in that placement group. */
  removedGroup: { readonly groupId: string; readonly reason: string } | undefined;
}

export interface WorkerPoolOptions {
  readonly nodeId: string;
  readonly token: string;
  readonly rayletUnixPath: string;
  readonly socketDir: string;
  readonly logDir: string;
  readonly host: string | undefined;
  readonly pulse: () => WorkerBoot["pulse"];
  readonly onReady: (worker: PooledWorker) => void;
  readonly onEnd: (worker: PooledWorker, end: WorkerEnd) => void;
  readonly onLine: (worker: PooledWorker, line: OutputLine) => void;
  readonly onKill: (worker: PooledWorker) => void;
  readonly onKilled: WorkerProcessEvents["onKilled"];
}

export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #workers = new Map<string, PooledWorker>();
  #closed = false;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
  }

  start(job: JobConfigRecord, prepared: Prepared): PooledWorker | undefined {
    if (this.#closed) return undefined;
    const { pool, environment, trees, bundleDir } = prepared;
    const { nodeId, token, rayletUnixPath, socketDir, logDir, host, pulse } = this.#options;
    const workerId = newProcessId();
    const log = new LogFile(join(logDir, `worker-${workerId}.log`));
    const process_ = new WorkerProcess(
      {
        ...{
          workerId,
          nodeId,
          token,
          rayletUnixPath,
          rayletPid: process.pid,
          socketDir,
          host: host ?? null,
          job,
        },
        ...{ environment, trees, bundleDir, pulse: pulse() },
      },
      prepared,
      log,
      {
        onLine: (line) => this.#options.onLine(worker, line),
        onKill: () => this.#options.onKill(worker),
        onKilled: this.#options.onKilled,
        onEnd: (end) => {
          this.#workers.delete(workerId);
          prepared.release();
          worker.link?.close();
          this.#options.onEnd(worker, end);
        },
      },
    );
    prepared.use();
    const worker: PooledWorker = {
      process: process_,
      workerId,
      job,
      pool,
      link: undefined,
      ready: false,
      actorId: undefined,
      running: "",
      idleSinceMs: 0,
      stays: false,
      removedGroup: undefined,
    };
    this.#workers.set(workerId, worker);
    return worker;
  }

  get(workerId: string): PooledWorker | undefined {
    return this.#workers.get(workerId);
  }

  all(): IterableIterator<PooledWorker> {
    return this.#workers.values();
  }

  /** A worker connected and showed who it is. @returns undefined when this raylet did not start it */
  register(workerId: string, link: Channel): PooledWorker | undefined {
    const worker = this.#workers.get(workerId);
    if (worker === undefined || worker.link !== undefined) return undefined;
    worker.link = link;
    return worker;
  }

  markReady(worker: PooledWorker): void {
    if (worker.ready) return;
    worker.ready = true;
    worker.idleSinceMs = performance.now();
    this.#options.onReady(worker);
  }

  endJob(jobId: string): void {
    for (const worker of this.#workers.values()) if (worker.job.jobId === jobId) worker.process.kill();
  }

  close(): void {
    this.#closed = true;
    for (const worker of this.#workers.values()) worker.process.kill();
  }
}
