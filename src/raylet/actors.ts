/** Actors of this node: a worker and resources for each, started at the head's word, reported to the head. */

import { exceptCpu, isCpu, takenAt } from "../core/base/bundles.ts";
import type { Endpoint } from "../core/base/endpoint.ts";
import { RuntimeEnvError, toErrorRecord } from "../core/base/errors.ts";
import { describeMissing, fits, type Resources } from "../core/base/resources.ts";
import { type ActorStart, type JobConfigRecord, Local } from "../core/rpc/messages.ts";
import type { ActorSpec } from "../core/wire/gen/tsray/v1/head.ts";
import type { Prepared } from "./environments/environments.ts";
import type { Share } from "./lease/bundles.ts";
import type { LeaseMachine } from "./lease/lease-machine.ts";
import { jobFromWire, strategyFromWire } from "./wire.ts";
import type { PooledWorker, WorkerPool } from "./workers/worker-pool.ts";
import { describeEnd, type WorkerEnd } from "./workers/worker-process.ts";

/** A graceful stop that takes longer ends in a kill. */
const GRACEFUL_STOP_MS = 30_000;
/** Actors that ended here, remembered so that a late repeat of their start does not start them again. */
const ENDED_KEPT_MAX = 10_000;

export interface ActorNews {
  readonly actorId: string;
  readonly incarnation: number;
  readonly state: "ALIVE" | "INIT_FAILED" | "EXITED" | "CRASHED" | "MOVED";
  readonly endpoint: Endpoint | undefined;
  readonly reason: string;
  readonly error: Uint8Array;
}

interface HostedActor {
  readonly spec: ActorSpec;
  readonly incarnation: number;
  readonly share: Share;
  /** All its calls wait in get: its CPUs are lent to others meanwhile. */
  cpuLent: boolean;
  worker: PooledWorker | undefined;
  /** What the worker said before it ended: a planned exit, or a failed constructor. */
  farewell: { state: "INIT_FAILED" | "EXITED" | "MOVED"; reason: string; error: Uint8Array } | undefined;
  stopping: string | undefined;
  /** The node is drained: this life ends, and another may begin elsewhere. */
  leaving: string | undefined;
}

export interface ActorsParts {
  readonly machine: LeaseMachine;
  readonly pool: WorkerPool;
  readonly knowJob: (job: JobConfigRecord) => void;
  /** What workers of that environment are started with. */
  readonly prepare: (job: JobConfigRecord, environment: string) => Prepared | Promise<Prepared>;
  readonly report: (news: ActorNews) => void;
  readonly onResources: () => void;
}

export class Actors {
  readonly #parts: ActorsParts;
  readonly #hosted = new Map<string, HostedActor>();
  /** The last life of each actor that ended here, and whether it was stopped. */
  #draining: string | undefined;
  readonly #ended = new Map<string, { readonly incarnation: number; readonly stopped: boolean }>();

  constructor(parts: ActorsParts) {
    this.#parts = parts;
  }

  /** A later life replaces an earlier one; a repeat gets the first answer. @returns undefined when it is accepted, or why not */
  async start(spec: ActorSpec, incarnation: number): Promise<string | undefined> {
    if (this.#draining !== undefined) return this.#draining;
    for (;;) {
      const known = this.#hosted.get(spec.actorId);
      if (known === undefined) break;
      if (known.incarnation > incarnation) return `incarnation ${known.incarnation} runs here`;
      if (known.incarnation === incarnation) return known.stopping;
      await this.stop(spec.actorId, false, "its next life begins");
    }
    const ended = this.#ended.get(spec.actorId);
    if (ended !== undefined && ended.incarnation >= incarnation) {
      const repeats = ended.incarnation === incarnation && !ended.stopped;
      return repeats ? undefined : `incarnation ${ended.incarnation} has ended here`;
    }
    const { machine } = this.#parts;
    const held: Resources = spec.resources?.amounts ?? {};
    const strategy = strategyFromWire(spec.strategy);
    const placement = takenAt(spec.placement?.amounts ?? {}, strategy);
    if (!fits(placement, machine.total))
      return `missing ${describeMissing(placement, machine.total, machine.total)}`;
    const share = machine.acquire(held, strategy);
    if (share === undefined)
      return `missing ${describeMissing(takenAt(held, strategy), machine.available, machine.total) || "a GPU or a bundle with enough of it free"}`;
    const job = jobFromWire(spec.job as NonNullable<ActorSpec["job"]>);
    this.#parts.knowJob(job);
    const actor: HostedActor = {
      spec,
      incarnation,
      share,
      cpuLent: false,
      worker: undefined,
      farewell: undefined,
      stopping: undefined,
      leaving: undefined,
    };
    this.#hosted.set(spec.actorId, actor);
    const prepared = this.#parts.prepare(job, spec.environment);
    if (prepared instanceof Promise) void this.#startLater(actor, job, prepared);
    else this.#startIn(actor, job, prepared);
    this.#parts.onResources();
    return undefined;
  }

  /** What the head is told at registration. */
  list(): { actorId: string; incarnation: number }[] {
    return [...this.#hosted].map(([actorId, { incarnation }]) => ({ actorId, incarnation }));
  }

  /** Its files and packages come first; that they cannot be had is the end of it. */
  async #startLater(actor: HostedActor, job: JobConfigRecord, prepared: Promise<Prepared>): Promise<void> {
    try {
      const found = await prepared;
      if (this.#hosted.get(actor.spec.actorId) === actor) this.#startIn(actor, job, found);
      else found.release();
    } catch (error) {
      if (this.#hosted.get(actor.spec.actorId) === actor) this.#environmentFailed(actor, error as Error);
    }
  }

  #startIn(actor: HostedActor, job: JobConfigRecord, prepared: Prepared): void {
    const { machine, pool } = this.#parts;
    const idle = machine.takeIdleWorker(prepared.pool);
    actor.worker = idle === undefined ? pool.start(job, prepared) : pool.get(idle);
    if (actor.worker === undefined) {
      prepared.release();
      this.#end(actor, "CRASHED", "this node is shutting down");
      return;
    }
    actor.worker.actorId = actor.spec.actorId;
    if (actor.worker.ready) this.#begin(actor);
    prepared.release();
  }

  /** The actor never came to be, in the words of who set up its environment. */
  #environmentFailed(actor: HostedActor, cause: Error): void {
    const error = cause instanceof RuntimeEnvError ? cause : new RuntimeEnvError(cause.message);
    this.#end(actor, "INIT_FAILED", error.message, recordOf(error));
  }

  /** A worker that was started for an actor could not set up its environment. */
  onSetupFailed(worker: PooledWorker, text: string): void {
    const actor = this.#hosted.get(worker.actorId ?? "");
    if (actor === undefined || actor.worker !== worker) return;
    const error = new RuntimeEnvError(text);
    actor.farewell = { state: "INIT_FAILED", reason: error.message, error: recordOf(error) };
    worker.process.kill();
  }

  /** A worker started for an actor is ready for it. */
  onWorkerReady(worker: PooledWorker): void {
    const actor = this.#hosted.get(worker.actorId ?? "");
    if (actor !== undefined && actor.worker === worker) this.#begin(actor);
  }

  /** What the worker says of the actor it hosts. */
  onState(
    worker: PooledWorker,
    actorId: string,
    state: string,
    reason: string,
    error: Uint8Array | null,
  ): void {
    const actor = this.#hosted.get(actorId);
    if (actor === undefined || actor.worker !== worker) return;
    if (state === "ALIVE") this.#report(actor, "ALIVE", reason, new Uint8Array());
    else if (state === "INIT_FAILED" || state === "EXITED" || state === "MOVED") {
      actor.farewell = { state, reason, error: error ?? new Uint8Array() };
      worker.process.kill();
    }
  }

  /**
   * Repeats and unknown ids are no-ops. Resolves when the process has ended; at once for a graceful stop.
   * @param upTo the last life that is meant; -1 = whichever runs
   */
  async stop(actorId: string, graceful: boolean, reason: string, upTo = -1): Promise<void> {
    const actor = this.#hosted.get(actorId);
    // A start of those lives may still be on its way here: it must find them ended.
    if (upTo >= 0) this.#rememberEnd(actorId, upTo, true);
    if (actor === undefined || (upTo >= 0 && actor.incarnation > upTo)) return;
    actor.stopping = reason || "it was stopped";
    if (actor.worker === undefined) {
      this.#end(actor, "CRASHED", actor.stopping);
      return;
    }
    const { worker } = actor;
    if (!graceful) {
      worker.process.kill();
      await worker.process.over;
      return;
    }
    if (worker.link === undefined || !worker.ready) {
      worker.process.kill();
      return;
    }
    worker.link.send([Local.stopActor, true, reason]);
    setTimeout(() => worker.process.kill(), GRACEFUL_STOP_MS).unref();
  }

  /** Whether the actor in that worker is started again when it ends. */
  isRestartable(worker: PooledWorker): boolean {
    const actor = this.#hosted.get(worker.actorId ?? "");
    return actor !== undefined && (actor.spec.maxRestarts < 0 || actor.incarnation < actor.spec.maxRestarts);
  }

  get count(): number {
    return this.#hosted.size;
  }

  /** Takes no actor any more; those that may be restarted finish what they run, and leave for another node. */
  drain(reason: string): void {
    this.#draining = reason;
    for (const actor of this.#hosted.values()) {
      if (actor.spec.maxRestarts === 0) continue;
      actor.leaving = reason;
      if (actor.worker === undefined) this.#end(actor, "MOVED", reason);
      else if (actor.worker.ready) actor.worker.link?.send([Local.moveActor]);
      else actor.worker.process.kill();
    }
  }

  /** The time is up for those that are still here. */
  endAll(reason: string): void {
    for (const actor of this.#hosted.values()) {
      actor.leaving = reason;
      if (actor.worker !== undefined) actor.worker.process.kill();
      // Its files and packages were not there yet, and may never be.
      else this.#end(actor, actor.spec.maxRestarts === 0 ? "CRASHED" : "MOVED", reason);
    }
  }

  /** The worker says that all calls of its actor wait in get, or that one goes on. */
  onBlocked(worker: PooledWorker, blocked: boolean): void {
    const actor = this.#hosted.get(worker.actorId ?? "");
    if (actor === undefined || actor.worker !== worker || actor.cpuLent === blocked) return;
    if (!Object.keys(actor.share.resources).some(isCpu)) return;
    actor.cpuLent = blocked;
    this.#parts.machine.lendCpu(actor.share, blocked);
    this.#parts.onResources();
  }

  /** Ends all actors in the group's bundles. @returns when their processes have ended */
  async endGroup(groupId: string, reason: string): Promise<void> {
    const inside = [...this.#hosted.values()].filter(({ share }) => share.bundle?.groupId === groupId);
    await Promise.all(inside.map(({ spec }) => this.stop(spec.actorId, false, reason)));
  }

  onWorkerEnd(worker: PooledWorker, end: WorkerEnd): void {
    const actor = this.#hosted.get(worker.actorId ?? "");
    if (actor === undefined || actor.worker !== worker) return;
    if (actor.farewell !== undefined) {
      this.#end(actor, actor.farewell.state, actor.farewell.reason, actor.farewell.error);
      return;
    }
    if (actor.leaving !== undefined && actor.stopping === undefined) {
      this.#end(actor, actor.spec.maxRestarts === 0 ? "CRASHED" : "MOVED", actor.leaving);
      return;
    }
    this.#end(actor, "CRASHED", actor.stopping ?? `its process ${worker.process.pid} ${describeEnd(end)}`);
  }

  #begin(actor: HostedActor): void {
    const { spec } = actor;
    const start: ActorStart = {
      actorId: spec.actorId,
      incarnation: actor.incarnation,
      className: spec.className,
      name: spec.name,
      namespace: spec.namespace,
      creation: spec.creation,
      detached: spec.detached,
      gpuIds: actor.share.gpuIds,
      resources: spec.resources?.amounts ?? {},
    };
    actor.worker?.link?.send([Local.startActor, start]);
  }

  #report(actor: HostedActor, state: ActorNews["state"], reason: string, error: Uint8Array): void {
    const { actorId } = actor.spec;
    this.#parts.report({
      actorId,
      incarnation: actor.incarnation,
      state,
      endpoint: actor.worker?.link?.peer,
      reason,
      error,
    });
  }

  #end(
    actor: HostedActor,
    state: "INIT_FAILED" | "EXITED" | "CRASHED" | "MOVED",
    reason: string,
    error: Uint8Array = new Uint8Array(),
  ): void {
    const { actorId } = actor.spec;
    this.#hosted.delete(actorId);
    this.#rememberEnd(actorId, actor.incarnation, actor.stopping !== undefined);
    const { share, cpuLent } = actor;
    this.#parts.machine.giveBack(cpuLent ? { ...share, resources: exceptCpu(share.resources) } : share);
    this.#report(actor, state, reason, error);
    this.#parts.onResources();
  }

  #rememberEnd(actorId: string, incarnation: number, stopped: boolean): void {
    const known = this.#ended.get(actorId);
    if (known !== undefined && known.incarnation >= incarnation) return;
    this.#ended.delete(actorId);
    this.#ended.set(actorId, { incarnation, stopped });
    const [oldest] = this.#ended.keys();
    if (this.#ended.size > ENDED_KEPT_MAX && oldest !== undefined) this.#ended.delete(oldest);
  }
}

/** An error as the report of an actor's end carries one of the raylet's. */
function recordOf(error: RuntimeEnvError): Uint8Array {
  return Buffer.from(JSON.stringify(toErrorRecord(error)), "utf8");
}
