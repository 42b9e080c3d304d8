/** Step 4, the shell: carries lease sessions' messages to the machine, and its effects to owners and pool. */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import type { Endpoint } from "../../core/base/endpoint.ts";
import { poolOf } from "../../core/environments/spec.ts";
import type { JobConfigRecord } from "../../core/rpc/messages.ts";
import type { LeaseAnswer, LeaseDemand, LeaseMessage } from "../../core/wire/gen/tsray/v1/raylet.ts";
import { jobFromWire, strategyFromWire } from "../wire.ts";
import type { PooledWorker, WorkerPool } from "../workers/worker-pool.ts";
import type { WorkerEnd } from "../workers/worker-process.ts";
import type { LeaseEffect, LeaseEvent, LeaseMachine } from "./lease-machine.ts";

type Stream = ServerDuplexStream<LeaseMessage, LeaseAnswer>;
type Answer = NonNullable<LeaseAnswer["answer"]>;

interface Session {
  readonly stream: Stream;
  readonly ownerNodeId: string;
  readonly ownerId: string;
  readonly job: JobConfigRecord;
  /** Gives back what it holds. */
  readonly gone: () => void;
}

export interface LeaseServiceParts {
  readonly nodeId: string;
  readonly machine: LeaseMachine;
  readonly pool: WorkerPool;
  readonly knowJob: (job: JobConfigRecord) => void;
  readonly isJobOver: (jobId: string) => boolean;
  readonly startWorkers: (pool: string, count: number) => void;
  /** A demand names a pool that may be new: its job and its environment. */
  readonly knowPool: (pool: string, job: JobConfigRecord, environment: string) => void;
  /** Called after every event: resources may have changed. */
  readonly onChange: () => void;
}

export class LeaseService {
  readonly #parts: LeaseServiceParts;
  readonly #sessions = new Map<string, Session>();
  #nextSession = 1;

  constructor(parts: LeaseServiceParts) {
    this.#parts = parts;
  }

  /** Handler of RayletService.LeaseSession. */
  serve(stream: Stream): void {
    let session: Session | undefined;
    const gone = () => {
      if (session === undefined) return;
      this.#sessions.delete(session.ownerId);
      this.#endWorkersOf(session.ownerId);
      this.feed({ kind: "ownerGone", owner: session.ownerId });
      session = undefined;
    };
    stream.on("data", ({ message }: LeaseMessage) => {
      if (message?.$case === "open" && session === undefined) {
        const { owner, job: wire } = message.value;
        if (owner === undefined || wire === undefined) return;
        const job = jobFromWire(wire);
        this.#parts.knowJob(job);
        // One owner may reconnect before its old stream has broken: sessions, not owners, hold leases.
        const ownerId = `${owner.processId}#${this.#nextSession++}`;
        session = { stream, ownerNodeId: owner.nodeId, ownerId, job, gone };
        this.#sessions.set(session.ownerId, session);
      } else if (session !== undefined && message?.$case === "demand") {
        this.#onDemand(session, message.value);
      } else if (session !== undefined && message?.$case === "returnLease") {
        const { leaseId, workerFailed, exitWorker } = message.value;
        const worker = this.#parts.pool.get(this.#parts.machine.workerOf(leaseId) ?? "");
        if (worker !== undefined && (workerFailed || exitWorker)) worker.process.kill();
        // A failed worker's lease stays until its end is known, so that the owner is told how it ended.
        if (worker !== undefined) worker.idleSinceMs = performance.now();
        if (!workerFailed) this.feed({ kind: "leaseReturned", leaseId });
        else if (worker === undefined)
          this.#say(session.ownerId, workerGone(leaseId, session.ownerId, "", 0, UNSEEN, ""));
      }
    });
    stream.on("end", () => {
      gone();
      stream.end();
    });
    stream.on("error", gone);
    stream.on("cancelled", gone);
    stream.on("close", gone);
  }

  /** Tells the machine, carries out what it decides. */
  feed(event: LeaseEvent): void {
    this.carryOut(this.#parts.machine.step(event));
  }

  carryOut(effects: readonly LeaseEffect[]): void {
    for (const effect of effects) this.#carryOut(effect);
    this.#parts.onChange();
  }

  /** A worker ended: its lessees are told what was seen of it. */
  onWorkerEnd(worker: PooledWorker, end: WorkerEnd): void {
    const removed = worker.removedGroup;
    for (const { leaseId, owner, groupId } of this.#parts.machine.leasesOf(worker.workerId)) {
      const why = removed !== undefined && removed.groupId === groupId ? removed.reason : "";
      this.#say(owner, workerGone(leaseId, owner, worker.workerId, worker.process.pid, end, why));
    }
    this.feed({
      kind: "workerGone",
      workerId: worker.workerId,
      pool: worker.pool,
      wasReady: worker.ready,
    });
  }

  /** The node has died: streams of its processes may never break. */
  ownersGone(nodeId: string): void {
    for (const { ownerNodeId, stream, gone } of [...this.#sessions.values()]) {
      if (ownerNodeId !== nodeId) continue;
      gone();
      stream.end();
    }
  }

  /** Whether a process of another node asks for leases of this job. */
  hasOwnerElsewhere(jobId: string): boolean {
    const { nodeId } = this.#parts;
    for (const { job, ownerNodeId } of this.#sessions.values()) {
      if (job.jobId === jobId && ownerNodeId !== nodeId) return true;
    }
    return false;
  }

  /** The job of an owner that is connected: it may be over, where a detached actor of it lives on. */
  jobOf(jobId: string): JobConfigRecord | undefined {
    for (const { job } of this.#sessions.values()) if (job.jobId === jobId) return job;
    return undefined;
  }

  close(): void {
    for (const { stream } of this.#sessions.values()) stream.end();
    this.#sessions.clear();
  }

  /** What a gone owner had running is of no use to anybody: its workers end, unless others have tasks there too. */
  #endWorkersOf(ownerId: string): void {
    for (const worker of this.#parts.pool.all()) {
      const leases = this.#parts.machine.leasesOf(worker.workerId);
      if (leases.length > 0 && leases.every(({ owner }) => owner === ownerId)) worker.process.kill();
    }
  }

  #onDemand(session: Session, demand: LeaseDemand): void {
    // What an ended job's driver still asks for is not wanted any more; its detached actors go on.
    const isDrivers = session.ownerId.startsWith(`${session.job.driverProcessId}#`);
    if (isDrivers && this.#parts.isJobOver(session.job.jobId)) return;
    const {
      classId,
      resources,
      strategy,
      count,
      redirected,
      patient,
      localityNodeId,
      retriable,
      environment,
    } = demand;
    const pool = poolOf(session.job.jobId, environment);
    if (environment !== "") this.#parts.knowPool(pool, session.job, environment);
    this.feed({
      kind: "demand",
      demand: {
        owner: session.ownerId,
        jobId: session.job.jobId,
        pool,
        classId,
        resources: resources?.amounts ?? {},
        strategy: strategyFromWire(strategy),
        count,
        redirected,
        patient,
        localityNodeId,
        retriable,
      },
    });
  }

  #carryOut(effect: LeaseEffect): void {
    switch (effect.kind) {
      case "grant": {
        const worker = this.#parts.pool.get(effect.workerId);
        if (worker?.link === undefined) return;
        const { classId, leaseId, gpuIds } = effect;
        const endpoint: Endpoint = worker.link.peer;
        this.#say(effect.owner, {
          $case: "grant",
          value: {
            classId,
            leaseId,
            worker: { ...endpoint },
            resources: { amounts: { ...effect.resources } },
            gpuIds: [...gpuIds],
          },
        });
        break;
      }
      case "redirect": {
        const { classId, count, node, patient } = effect;
        this.#say(effect.owner, {
          $case: "redirect",
          value: { classId, count, nodeId: node.nodeId, rayletAddress: node.address, patient },
        });
        break;
      }
      case "reject":
        this.#say(effect.owner, { $case: "reject", value: { classId: effect.classId, count: effect.count } });
        break;
      case "pending":
        this.#say(effect.owner, {
          $case: "pending",
          value: { classId: effect.classId, reason: effect.reason },
        });
        break;
      case "unschedulable": {
        const { classId, reason, what } = effect;
        const workersFail = what === "workers";
        const environmentFails = what === "environment";
        this.#say(effect.owner, {
          $case: "unschedulable",
          value: { classId, reason, workersFail, environmentFails },
        });
        break;
      }
      case "reclaim":
        this.#say(effect.owner, { $case: "reclaim", value: { leaseId: effect.leaseId } });
        break;
      case "startWorkers":
        this.#parts.startWorkers(effect.pool, effect.count);
        break;
    }
  }

  #say(ownerId: string, answer: Answer): void {
    this.#sessions.get(ownerId)?.stream.write({ answer });
  }
}

/** Of a worker that nobody here saw end. */
const UNSEEN: WorkerEnd = {
  exitCode: null,
  signal: "",
  stderrTail: "",
  fatalError: "",
  begun: undefined,
  outOfMemory: undefined,
};

function workerGone(
  leaseId: string,
  owner: string,
  workerId: string,
  pid: number,
  end: WorkerEnd,
  groupRemoved: string,
): Answer {
  const { exitCode, signal, stderrTail, fatalError, begun, outOfMemory } = end;
  return {
    $case: "workerGone",
    value: {
      leaseId,
      workerId,
      pid,
      hasExitCode: exitCode !== null,
      exitCode: exitCode ?? 0,
      signal,
      stderrTail,
      fatalError,
      begun: begun === undefined ? -1 : (begun.get(owner.split("#")[0] as string) ?? 0),
      outOfMemory: outOfMemory && { ...outOfMemory },
      groupRemoved,
    },
  };
}
