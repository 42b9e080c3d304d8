/** Step 4, the shell: carries lease sessions' messages to the machine, and its effects to owners and pool. */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { type Endpoint, targetOf } from "../../core/base/endpoint.ts";
import { poolOf } from "../../core/environments/spec.ts";
import { LastingStream } from "../../core/rpc/lasting-stream.ts";
import type { JobConfigRecord } from "../../core/rpc/messages.ts";
import { CONNECT_MS_MAX, probe } from "../../core/rpc/probe.ts";
import type {
  LeaseAnswer,
  LeaseDemand,
  LeaseMessage,
  LeaseOpen,
} from "../../core/wire/gen/tsray/v1/raylet.ts";
import { jobFromWire, strategyFromWire } from "../wire.ts";
import type { PooledWorker, WorkerPool } from "../workers/worker-pool.ts";
import type { WorkerEnd } from "../workers/worker-process.ts";
import type { LeaseEffect, LeaseEvent, LeaseMachine } from "./lease-machine.ts";

type Stream = ServerDuplexStream<LeaseMessage, LeaseAnswer>;
type Answer = NonNullable<LeaseAnswer["answer"]>;

/** Of one owner. It outlives its streams. */
interface Session {
  readonly id: string;
  readonly owner: Endpoint;
  readonly ownerId: string;
  readonly job: JobConfigRecord;
  readonly wire: LastingStream<Answer>;
  /** Undefined while it is broken. */
  stream: Stream | undefined;
  /** How many streams it has had. */
  streams: number;
  brokenSinceMs: number;
}

/** An owner that lives, and whose stream broke, is waited for so long: it may be busy. */
const BROKEN_MS_MAX = 60_000;
/** Whether it lives is looked at so often. */
const LOOK_MS = 100;

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

  /** The same, by their own ids. */
  readonly #byId = new Map<string, Session>();

  constructor(parts: LeaseServiceParts) {
    this.#parts = parts;
  }

  /** Handler of RayletService.LeaseSession. */
  serve(stream: Stream): void {
    let session: Session | undefined;
    const broken = () => {
      if (session?.stream === stream) this.#broken(session);
    };
    stream.on("data", ({ message, taken }: LeaseMessage) => {
      if (message?.$case === "open" && session === undefined) {
        session = this.#open(stream, message.value, taken);
        if (session === undefined) stream.end();
        return;
      }
      // Another stream may have taken over.
      if (session?.stream !== stream) return;
      if (!session.wire.fits(taken)) {
        this.#gone(session);
        return;
      }
      session.wire.confirm(taken);
      if (message?.$case === "close") this.#gone(session);
      else if (message !== undefined) {
        session.wire.take();
        this.#onMessage(session, message);
      }
    });
    stream.on("end", () => {
      broken();
      stream.end();
    });
    for (const event of ["error", "cancelled", "close"]) stream.on(event, broken);
  }

  /** @returns undefined when the session is over */
  #open(stream: Stream, open: LeaseOpen, taken: number): Session | undefined {
    const { owner, job: wire, sessionId: id, resumes, stream: streams } = open;
    if (owner === undefined || wire === undefined) return undefined;
    const answer = (known: boolean, sofar: number) =>
      stream.write({ answer: { $case: "opened", value: { known } }, taken: sofar });
    const known = this.#byId.get(id);
    const isSame = known?.owner.processId === owner.processId && streams > known.streams;
    if (known === undefined ? resumes : !isSame || !known.wire.fits(taken)) {
      answer(false, 0);
      return undefined;
    }
    const session = known ?? this.#begin(id, owner, jobFromWire(wire));
    const before = session.stream;
    session.stream = stream;
    session.streams = streams;
    before?.end();
    answer(true, session.wire.taken);
    session.wire.attach(
      (message, sofar) => stream.write({ answer: message, taken: sofar }),
      known === undefined ? 0 : taken,
    );
    return session;
  }

  #begin(id: string, owner: Endpoint, job: JobConfigRecord): Session {
    this.#parts.knowJob(job);
    // Whoever begins anew has given up what was broken.
    for (const other of [...this.#sessions.values()])
      if (other.owner.processId === owner.processId && other.stream === undefined) this.#gone(other);
    // One owner may begin anew before its old stream has broken: sessions, not owners, hold leases.
    const ownerId = `${owner.processId}#${this.#nextSession++}`;
    const session: Session = {
      id,
      owner,
      ownerId,
      job,
      wire: new LastingStream(),
      stream: undefined,
      streams: 0,
      brokenSinceMs: 0,
    };
    this.#sessions.set(ownerId, session);
    this.#byId.set(id, session);
    return session;
  }

  /** Gives back what it holds. */
  #gone(session: Session): void {
    const { id, ownerId, stream } = session;
    if (!this.#sessions.delete(ownerId)) return;
    this.#byId.delete(id);
    session.stream = undefined;
    stream?.end();
    this.#endWorkersOf(ownerId);
    this.feed({ kind: "ownerGone", owner: ownerId });
  }

  #broken(session: Session): void {
    session.stream = undefined;
    session.wire.detach();
    session.brokenSinceMs = performance.now();
    void this.#lookAfter(session);
  }

  /** A broken stream alone says nothing of its owner: that is gone when nobody listens at its address, or comes back. */
  async #lookAfter(session: Session): Promise<void> {
    const { owner } = session;
    const target = targetOf(owner, this.#parts.nodeId);
    const isAway = () => session.stream === undefined && this.#byId.get(session.id) === session;
    while (isAway()) {
      const answer = target === undefined ? "refused" : await probe(target, CONNECT_MS_MAX);
      if (!isAway()) return;
      if (answer === "refused" || performance.now() - session.brokenSinceMs > BROKEN_MS_MAX) {
        this.#gone(session);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS).unref());
    }
  }

  #onMessage(session: Session, message: NonNullable<LeaseMessage["message"]>): void {
    if (message.$case === "demand") this.#onDemand(session, message.value);
    if (message.$case !== "returnLease") return;
    const { leaseId, workerFailed, exitWorker } = message.value;
    const worker = this.#parts.pool.get(this.#parts.machine.workerOf(leaseId) ?? "");
    if (worker !== undefined && (workerFailed || exitWorker)) worker.process.kill();
    // A failed worker's lease stays until its end is known, so that the owner is told how it ended.
    if (worker !== undefined) worker.idleSinceMs = performance.now();
    if (!workerFailed) this.feed({ kind: "leaseReturned", leaseId });
    else if (worker === undefined)
      this.#say(session.ownerId, workerGone(leaseId, session.ownerId, "", 0, UNSEEN, ""));
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
    for (const session of [...this.#sessions.values()])
      if (session.owner.nodeId === nodeId) this.#gone(session);
  }

  /** Whether a process of another node asks for leases of this job. */
  hasOwnerElsewhere(jobId: string): boolean {
    const { nodeId } = this.#parts;
    for (const { job, owner } of this.#sessions.values()) {
      if (job.jobId === jobId && owner.nodeId !== nodeId) return true;
    }
    return false;
  }

  /** The job of an owner that is connected: it may be over, where a detached actor of it lives on. */
  jobOf(jobId: string): JobConfigRecord | undefined {
    for (const { job } of this.#sessions.values()) if (job.jobId === jobId) return job;
    return undefined;
  }

  close(): void {
    for (const { stream } of this.#sessions.values()) stream?.end();
    this.#sessions.clear();
    this.#byId.clear();
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
    this.#sessions.get(ownerId)?.wire.send(answer);
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
