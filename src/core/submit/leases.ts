/**
 * Step 3 of a task's way: which leases this process asks for, holds and returns, and which queued task goes to which.
 *
 * Demand is stated per scheduling class and raylet as an absolute number; answers (grants, redirects, rejects) are
 * subtracted from what is outstanding. What happens to a task is the submitter's business, through two callbacks.
 */
import { type Endpoint, endpointFromTuple } from "../base/endpoint.ts";
import {
  NodeDiedError,
  PlacementGroupError,
  RuntimeEnvError,
  TsrayError,
  UnschedulableError,
  WorkerCrashedError,
} from "../base/errors.ts";
import type { ResolvedStrategy } from "../base/options.ts";
import { soon } from "../base/soon.ts";
import type { OwnerEnvironments } from "../environments/prepare.ts";
import type { ObjectEntry } from "../ownership/entries.ts";
import type { ObjectAccess } from "../ownership/object-access.ts";
import type { Channel } from "../rpc/channel.ts";
import { type JobConfigRecord, type Payload, PayloadKind, Peer } from "../rpc/messages.ts";
import type { SchedulingStrategy } from "../wire/gen/tsray/v1/common.ts";
import type { PlacementGroupInfo } from "../wire/gen/tsray/v1/head.ts";
import type {
  LeaseAnswer,
  LeaseGrant,
  LeaseRedirect,
  LeaseUnschedulable,
  OutOfMemory,
} from "../wire/gen/tsray/v1/raylet.ts";
import type { GroupClient } from "./group-client.ts";
import { LeaseSession } from "./lease-session.ts";
import { Lease, SchedulingClass, type TaskRecord } from "./records.ts";

/** An unused lease goes back after this long. */
const LEASE_IDLE_MS = 500;
const IDLE_CHECK_MS = 100;
/** Most leases asked for at once per class. */
const DEMAND_MAX = 1024;
/** A smaller demand may wait this long to be told: the first while where it has halved, the second where it has not. */
const DEMAND_HALVED_MS = 10;
const DEMAND_DECREASE_MS = 100;
/** After a redirect came to nothing, the first raylet is asked again after this long. */
const REJECT_PAUSE_MS = 25;
/** A session that broke is opened again after this long. */
const REOPEN_MS = 50;
/** How long the raylet's account of a lost worker is waited for: a large process that aborts takes seconds to go. */
const LOSS_REPORT_MS = 30_000;
/** How long the results of a worker whose end is known are waited for: more than a network needs that lost a packet or two. */
const LAST_WORDS_MS = 5000;
/** A task that waits this long is worth a line to the user. */
const PENDING_WARNING_MS = 10_000;

/** What is known of a worker that was lost. */
export interface WorkerLoss {
  readonly exitCode: number | null;
  readonly signal: string;
  readonly stderrTail: string;
  /** What V8 said when it gave up, or "". */
  readonly fatalError: string;
  /** How many of the runs that this process sent it had begun; undefined: nobody knows. */
  readonly begun: number | undefined;
  /** The node ended it for want of memory. */
  readonly outOfMemory: OutOfMemory | undefined;
  readonly nodeDied: boolean;
  readonly reason: string;
  /** Its placement group was removed, and it was ended for that: why. "" = not so. */
  readonly groupRemoved: string;
}

export interface LeasesParts {
  readonly self: Endpoint;
  readonly token: string;
  readonly job: JobConfigRecord;
  /** gRPC target and node of the raylet to ask first. */
  readonly raylet: { readonly address: string; readonly nodeId: string };
  readonly environments: OwnerEnvironments;
  /** Whether the raylet of this node is there: the process's link to it is the one source of truth. */
  readonly isRayletAlive: () => boolean;
  readonly objects: ObjectAccess;
  readonly groups: GroupClient;
  readonly channelTo: (worker: Endpoint) => Channel;
  readonly dispatch: (task: TaskRecord, lease: Lease) => void;
  /** Settles a task that can never be placed. */
  readonly fail: (task: TaskRecord, error: Payload) => void;
  readonly onWorkerLost: (lease: Lease, tasks: readonly TaskRecord[], loss: WorkerLoss) => void;
  readonly warn: (line: string) => void;
}

export class Leases {
  readonly #parts: LeasesParts;
  readonly #classes = new Map<string, SchedulingClass>();
  readonly #classesById = new Map<number, SchedulingClass>();
  readonly #sessions = new Map<string, LeaseSession>();
  readonly #leases = new Map<string, Lease>();
  readonly #leasesByChannel = new Map<Channel, Set<Lease>>();
  /** Lost leases that wait for the raylet's account of the worker's end. */
  readonly #lossWaits = new Map<string, { readonly lease: Lease; settle(loss: WorkerLoss): void }>();
  /** How workers ended whose channels have not ended yet. */
  readonly #ends = new WeakMap<Lease, WorkerLoss>();
  readonly #deadNodes = new Map<string, string>();
  readonly #toldDemand = new Map<string, { count: number; atMs: number }>();
  readonly #dirty = new Set<SchedulingClass>();
  #nextClass = 1;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(parts: LeasesParts) {
    this.#parts = parts;
  }

  enqueue(task: TaskRecord): void {
    const cls = this.#classOf(task);
    cls.queue.push(task);
    this.#touch(cls);
  }

  dequeue(task: TaskRecord): void {
    const cls = this.#classOf(task);
    cls.queue.remove(task);
    this.#touch(cls);
  }

  /** Puts tasks back in front of their queue. */
  requeue(cls: SchedulingClass, tasks: readonly TaskRecord[]): void {
    if (tasks.length > 0) cls.queue.unshift(tasks);
    this.#touch(cls);
  }

  onGivenBack(from: Channel, tasks: ReadonlyMap<SchedulingClass, readonly TaskRecord[]>): void {
    for (const other of this.#leasesByChannel.get(from) ?? []) other.stealing = false;
    for (const [cls, given] of tasks) this.requeue(cls, given);
  }

  /** No more tasks go to this lease: its worker ends when it is returned. */
  retire(lease: Lease): void {
    this.#return(lease, false, true);
  }

  /** Has the worker killed. */
  kill(lease: Lease): void {
    lease.returning = true;
    lease.session.returnLease(lease.id, true, true);
  }

  whyPending(task: TaskRecord): string {
    const { groupReason, pendingReason } = this.#classOf(task);
    return groupReason || pendingReason || "waiting for a lease";
  }

  /** Gives work to leases: one task to each idle one first, then as much as keeps them busy. */
  pump(cls: SchedulingClass, only?: Lease): void {
    const { queue } = cls;
    if (only === undefined) {
      for (const lease of cls.leases) {
        if (queue.length === 0) break;
        if (lease.inFlight.size === 0 && !lease.returning) this.#push(queue.shift() as TaskRecord, lease);
      }
    }
    for (const lease of only === undefined ? cls.leases : [only]) {
      for (let head = queue.peek(); head !== undefined && lease.hasRoom(head); head = queue.peek()) {
        this.#push(queue.shift() as TaskRecord, lease);
      }
      if (lease.inFlight.size === 0) this.#onIdle(lease);
    }
    this.#dirty.add(cls);
    if (this.#dirty.size === 1) soon(this.#tellDemands);
  }

  onNodeDied(nodeId: string): void {
    for (const session of [...this.#sessions.values()])
      if (session.nodeId === nodeId) session.giveUp("the head declared it dead");
    this.#deadNodes.set(nodeId, "the head declared it dead");
    for (const lease of [...this.#leases.values()]) {
      if (lease.worker.nodeId === nodeId) this.#onLeaseLost(lease);
    }
    this.#noAccountFrom((lease) => lease.worker.nodeId === nodeId, "the head declared it dead");
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    for (const cls of this.#classes.values()) cls.unfollow?.();
    for (const session of this.#sessions.values()) session.close();
  }

  // --- classes and demand ---

  #classOf(task: TaskRecord): SchedulingClass {
    const key = task.options.schedulingKey;
    let cls = this.#classes.get(key);
    if (cls === undefined) {
      cls = new SchedulingClass(this.#nextClass++, key, task.options);
      this.#classes.set(key, cls);
      this.#classesById.set(cls.id, cls);
    }
    return cls;
  }

  readonly #touched = new Set<SchedulingClass>();
  /** Pumps at the end of the turn, so that a burst of submissions is seen whole. */
  #touch(cls: SchedulingClass): void {
    if (cls.queue.length > 0 && this.#timer === undefined && !this.#closed) {
      this.#timer = setInterval(this.#tick, IDLE_CHECK_MS);
      this.#timer.unref();
    }
    this.#touched.add(cls);
    if (this.#touched.size === 1) soon(this.#pumpTouched);
  }

  #pumpTouched = (): void => {
    const touched = [...this.#touched];
    this.#touched.clear();
    for (const each of touched) this.pump(each);
  };

  #tellDemands = (): void => {
    for (const cls of this.#dirty) this.#tellDemand(cls);
    this.#dirty.clear();
  };

  /** What is wanted, less what other raylets were already asked for, goes to this node's raylet. */
  #tellDemand(cls: SchedulingClass): void {
    if (this.#closed) return;
    if (cls.environment === undefined && cls.queue.length > 0 && !this.#isPrepared(cls)) return;
    const wanted = Math.min(cls.queue.length, DEMAND_MAX);
    const home = this.#parts.raylet;
    let elsewhere = 0;
    for (const [session, count] of cls.asked) {
      // What is waited for elsewhere as well is not asked for less here.
      if (session.address !== home.address) elsewhere += count - (cls.patientAt.has(session) ? 1 : 0);
    }
    if (wanted === 0) for (const session of cls.patientAt) this.#demand(cls, session, 0, true);
    const here = Math.max(0, wanted - elsewhere);
    const asked = this.#sessions.get(home.address);
    if (here > 0 || (asked !== undefined && (cls.asked.get(asked) ?? 0) > 0)) {
      this.#demand(cls, this.#session(home.address, home.nodeId), here, false);
    }
    if (wanted < elsewhere) {
      let surplus = elsewhere - wanted;
      for (const [session, count] of cls.asked) {
        if (session.address === home.address || surplus === 0) continue;
        const less = Math.min(count, surplus);
        surplus -= less;
        if (less > 0) this.#demand(cls, session, count - less, true);
      }
    }
  }

  /** Whether its environment is ready; if not, it is prepared, and then its demand is told. */
  #isPrepared(cls: SchedulingClass): boolean {
    const { environments } = this.#parts;
    const { runtimeEnv } = cls.options;
    cls.environment = environments.ready(runtimeEnv);
    if (cls.environment !== undefined) return true;
    if (cls.isPreparing) return false;
    cls.isPreparing = true;
    cls.pendingReason = "waiting for its environment";
    void environments
      .prepare(runtimeEnv)
      .then(
        () => {
          cls.pendingReason = "";
        },
        (error: Error) => {
          const why = `task ${cls.queue.peek()?.name ?? ""} cannot run: ${error.message}`;
          this.#failClass(
            cls,
            error instanceof TsrayError ? error : new RuntimeEnvError(why, { cause: error }),
          );
        },
      )
      .finally(() => {
        cls.isPreparing = false;
        this.#touch(cls);
      });
    return false;
  }

  #demand(cls: SchedulingClass, session: LeaseSession, count: number, redirected: boolean): void {
    const key = `${cls.id}@${session.address}`;
    const told = this.#toldDemand.get(key);
    const asked = cls.asked.get(session) ?? 0;
    if (asked === count && told !== undefined) return;
    const nowMs = performance.now();
    if (told !== undefined && count > 0 && count < asked) {
      const mayWaitMs = count <= asked / 2 ? DEMAND_HALVED_MS : DEMAND_DECREASE_MS;
      if (nowMs - told.atMs < mayWaitMs) return;
    }
    this.#toldDemand.set(key, { count, atMs: nowMs });
    const patient = cls.patientAt.has(session);
    if (count === 0) {
      cls.asked.delete(session);
      cls.patientAt.delete(session);
    } else cls.asked.set(session, count);
    const { options } = cls;
    const head = cls.queue.peek();
    session.demand({
      classId: cls.id,
      resources: { amounts: { ...options.resources } },
      strategy: strategyToWire(options.strategy),
      count,
      redirected,
      localityNodeId: head === undefined || redirected ? "" : this.#localityOf(head),
      patient,
      retriable: options.maxRetries !== 0,
      environment: cls.environment ?? "",
    });
  }

  /** The node that holds most of the task's large arguments. */
  #localityOf(task: TaskRecord): string {
    const bytes = new Map<string, number>();
    const count = (entry: ObjectEntry) => {
      if (entry.payload?.[0] !== PayloadKind.stored) return;
      for (const tuple of entry.payload[2]) {
        const nodeId = endpointFromTuple(tuple)?.nodeId ?? "";
        bytes.set(nodeId, (bytes.get(nodeId) ?? 0) + entry.payload[1]);
      }
    };
    for (const entry of task.waitFor ?? []) count(entry);
    let best = "";
    let most = 0;
    for (const [nodeId, n] of bytes) if (n > most) [best, most] = [nodeId, n];
    return best;
  }

  // --- sessions ---

  #session(address: string, nodeId: string): LeaseSession {
    const known = this.#sessions.get(address);
    if (known !== undefined && !known.lost) return known;
    const { token, self, job } = this.#parts;
    const session = new LeaseSession(address, nodeId, token, self, job, {
      onAnswer: (from, answer) => this.#onAnswer(from, answer),
      onLost: (lost, reason) => this.#onSessionLost(lost, reason),
    });
    this.#sessions.set(address, session);
    return session;
  }

  #onAnswer(session: LeaseSession, answer: NonNullable<LeaseAnswer["answer"]>): void {
    switch (answer.$case) {
      case "grant":
        this.#onGrant(session, answer.value);
        break;
      case "redirect": {
        if (answer.value.patient) {
          this.#waitThereToo(answer.value);
          break;
        }
        const cls = this.#answered(session, answer.value.classId, answer.value.count);
        if (cls === undefined) return;
        const to = this.#session(answer.value.rayletAddress, answer.value.nodeId);
        this.#demand(cls, to, (cls.asked.get(to) ?? 0) + answer.value.count, true);
        break;
      }
      case "reject": {
        const cls = this.#answered(session, answer.value.classId, answer.value.count);
        if (cls !== undefined) setTimeout(() => this.#touch(cls), REJECT_PAUSE_MS).unref();
        break;
      }
      case "pending": {
        const cls = this.#classesById.get(answer.value.classId);
        if (cls !== undefined) {
          cls.pendingReason = answer.value.reason;
          this.#followGroup(cls);
        }
        break;
      }
      case "unschedulable": {
        const cls = this.#classesById.get(answer.value.classId);
        if (cls !== undefined) this.#failAll(cls, session, answer.value);
        break;
      }
      case "workerGone": {
        const gone = answer.value;
        const loss: WorkerLoss = {
          exitCode: gone.hasExitCode ? gone.exitCode : null,
          signal: gone.signal,
          stderrTail: gone.stderrTail,
          fatalError: gone.fatalError,
          begun: gone.begun < 0 ? undefined : gone.begun,
          outOfMemory: gone.outOfMemory,
          nodeDied: false,
          reason: "",
          groupRemoved: gone.groupRemoved,
        };
        const waiting = this.#lossWaits.get(gone.leaseId);
        if (waiting !== undefined) waiting.settle(loss);
        else {
          const lease = this.#leases.get(gone.leaseId);
          if (lease !== undefined) this.#onWorkerGone(lease, loss);
        }
        break;
      }
      case "reclaim": {
        const lease = this.#leases.get(answer.value.leaseId);
        if (lease !== undefined) this.#reclaim(lease);
        break;
      }
    }
  }

  /** Nobody has room: one lease is waited for at that raylet as well, beside what is asked of the first. */
  #waitThereToo({ classId, rayletAddress, nodeId }: LeaseRedirect): void {
    const cls = this.#classesById.get(classId);
    if (cls === undefined || cls.queue.length === 0 || rayletAddress === this.#parts.raylet.address) return;
    const there = this.#session(rayletAddress, nodeId);
    if (cls.patientAt.has(there)) return;
    cls.patientAt.add(there);
    this.#demand(cls, there, (cls.asked.get(there) ?? 0) + 1, true);
  }

  /** Subtracts an answer from what is outstanding. */
  #answered(session: LeaseSession, classId: number, count: number): SchedulingClass | undefined {
    const cls = this.#classesById.get(classId);
    if (cls === undefined) return undefined;
    const left = (cls.asked.get(session) ?? 0) - count;
    if (left > 0) cls.asked.set(session, left);
    else {
      cls.asked.delete(session);
      cls.patientAt.delete(session);
    }
    return cls;
  }

  #onGrant(session: LeaseSession, grant: LeaseGrant): void {
    const cls = this.#answered(session, grant.classId, 1);
    const { worker } = grant;
    if (cls === undefined || worker === undefined || this.#closed || cls.queue.length === 0) {
      session.returnLease(grant.leaseId, false, false);
      return;
    }
    cls.pendingReason = "";
    cls.grantedAtMs = performance.now();
    const channel = this.#parts.channelTo(worker);
    const lease = new Lease(grant.leaseId, cls, session, worker, channel, grant.gpuIds);
    session.leases += 1;
    cls.leases.add(lease);
    this.#leases.set(lease.id, lease);
    const here = this.#leasesByChannel.get(channel);
    if (here === undefined) {
      this.#leasesByChannel.set(channel, new Set([lease]));
      channel.onClose(() => {
        for (const lost of [...(this.#leasesByChannel.get(channel) ?? [])]) this.#onLeaseLost(lost);
        this.#leasesByChannel.delete(channel);
      });
    } else here.add(lease);
    this.pump(cls);
  }

  #onSessionLost(session: LeaseSession, reason: string): void {
    if (this.#sessions.get(session.address) === session) this.#sessions.delete(session.address);
    if (!this.#deadNodes.has(session.nodeId)) this.#deadNodes.set(session.nodeId, reason);
    for (const cls of this.#classes.values()) {
      cls.asked.delete(session);
      cls.patientAt.delete(session);
      this.#toldDemand.delete(`${cls.id}@${session.address}`);
    }
    for (const lease of [...this.#leases.values()]) if (lease.session === session) this.#onLeaseLost(lease);
    this.#deadNodes.delete(session.nodeId);
    this.#noAccountFrom((lease) => lease.session === session, reason);
    const isHome = session.address === this.#parts.raylet.address;
    for (const cls of this.#classes.values()) {
      if (cls.queue.length === 0) continue;
      if (!isHome) this.#touch(cls);
      // Only the end of its link to this process says that the raylet is gone; a stream may break without.
      else if (this.#parts.isRayletAlive()) setTimeout(() => this.#askAgain(cls), REOPEN_MS);
      else this.#failQueued(cls, reason);
    }
  }

  #askAgain(cls: SchedulingClass): void {
    if (!this.#parts.isRayletAlive()) this.#failQueued(cls, "its connection ended");
    else if (!this.#closed) this.#touch(cls);
  }

  /** Without the raylet of this node nothing can be placed any more. */
  #failQueued(cls: SchedulingClass, reason: string): void {
    for (let task = cls.queue.shift(); task !== undefined; task = cls.queue.shift()) {
      const error = new NodeDiedError(`task ${task.name} cannot run: this node's raylet is gone (${reason})`);
      this.#parts.fail(task, this.#parts.objects.errorPayload(error));
    }
  }

  // --- leases ---

  #push(task: TaskRecord, lease: Lease): void {
    lease.idleSinceMs = 0;
    this.#parts.dispatch(task, lease);
  }

  #onIdle(lease: Lease): void {
    if (lease.returning) {
      this.#return(lease, false, false);
      return;
    }
    if (lease.idleSinceMs === 0) lease.idleSinceMs = performance.now();
    // Nothing to do here while another worker has a queue: take work back from it.
    for (const other of lease.schedulingClass.leases) {
      if (other !== lease && other.inFlight.size > 1 && !other.stealing) {
        this.#steal(other);
        break;
      }
    }
  }

  /** Asks for the tasks back that have not begun. */
  #steal(lease: Lease): void {
    lease.stealing = true;
    lease.channel.send([Peer.steal]);
  }

  /** Others wait for what this lease holds: an idle one goes at once, a busy one when its work in flight is done. */
  #reclaim(lease: Lease): void {
    lease.returning = true;
    if (lease.inFlight.size === 0) this.#return(lease, false, false);
    this.#touch(lease.schedulingClass);
  }

  #return(lease: Lease, workerFailed: boolean, exitWorker: boolean): void {
    if (!this.#drop(lease)) return;
    lease.returning = true;
    lease.session.returnLease(lease.id, workerFailed, exitWorker);
    this.#dirty.add(lease.schedulingClass);
    if (this.#dirty.size === 1) soon(this.#tellDemands);
  }

  #drop(lease: Lease): boolean {
    if (!this.#leases.delete(lease.id)) return false;
    lease.session.leases -= 1;
    lease.schedulingClass.leases.delete(lease);
    this.#leasesByChannel.get(lease.channel)?.delete(lease);
    return true;
  }

  /** It is known how the worker ended. What it sent before may still be on its way: the end of its channel comes after that. */
  #onWorkerGone(lease: Lease, loss: WorkerLoss): void {
    lease.returning = true;
    this.#ends.set(lease, loss);
    if (lease.inFlight.size === 0 || lease.channel.closed) this.#onLeaseLost(lease);
    else setTimeout(() => this.#onLeaseLost(lease), LAST_WORDS_MS).unref();
  }

  /** The worker, or the way to it, is gone: its tasks are judged once it is known what happened. */
  #onLeaseLost(lease: Lease): void {
    const known = this.#ends.get(lease);
    if (!this.#drop(lease)) return;
    const tasks = lease.inFlight.takeAll();
    lease.returning = true;
    const settle = (loss: WorkerLoss) => {
      clearTimeout(timer);
      this.#lossWaits.delete(lease.id);
      this.#parts.onWorkerLost(lease, tasks, loss);
      this.#touch(lease.schedulingClass);
    };
    const died = this.#deadNodes.get(lease.worker.nodeId);
    // Tasks keep the process alive themselves; a worker that ran none must not.
    const timer = setTimeout(() => settle(unseenLoss(false, "")), LOSS_REPORT_MS).unref();
    if (known !== undefined) settle(known);
    else if (died !== undefined || lease.session.lost) settle(unseenLoss(true, died ?? "its raylet is gone"));
    else {
      this.#lossWaits.set(lease.id, { lease, settle });
      lease.session.returnLease(lease.id, true, true);
    }
  }

  /** The raylet will not tell how these workers ended: it is gone itself. */
  #noAccountFrom(isFrom: (lease: Lease) => boolean, reason: string): void {
    for (const { lease, settle } of [...this.#lossWaits.values()]) {
      if (isFrom(lease)) settle(unseenLoss(true, reason));
    }
  }

  #failAll(cls: SchedulingClass, session: LeaseSession, why: LeaseUnschedulable): void {
    this.#answered(session, cls.id, Number.POSITIVE_INFINITY);
    const name = cls.queue.peek()?.name ?? "";
    if (why.environmentFails) {
      cls.environment = undefined;
      this.#parts.environments.forget(cls.options.runtimeEnv);
    }
    const error = why.environmentFails
      ? new RuntimeEnvError(`task ${name} cannot run on node ${session.nodeId}: ${why.reason}`)
      : why.workersFail
        ? new WorkerCrashedError(`task ${name} cannot run: ${why.reason}`)
        : new UnschedulableError(`task ${name} cannot be placed: ${why.reason}`);
    this.#failClass(cls, error);
  }

  /** Fails what is queued, with one error. */
  #failClass(cls: SchedulingClass, error: Error): void {
    const payload = this.#parts.objects.errorPayload(error);
    for (let task = cls.queue.shift(); task !== undefined; task = cls.queue.shift())
      this.#parts.fail(task, payload);
  }

  // --- placement groups ---

  /** Tasks wait for a group: the head says when it is removed, and why it is not placed. */
  #followGroup(cls: SchedulingClass): void {
    const { groupId } = cls.options.strategy;
    if (groupId === "" || cls.unfollow !== undefined || cls.queue.length === 0) return;
    cls.unfollow = this.#parts.groups.follow(groupId, (info) => this.#onGroup(cls, info));
  }

  #onGroup(cls: SchedulingClass, { found, spec, state, reason }: PlacementGroupInfo): void {
    const { groupId } = cls.options.strategy;
    const group = `placement group ${groupId}${spec?.name ? ` ("${spec.name}")` : ""}`;
    cls.groupReason = state === "CREATED" ? "" : `${group} is ${state}${reason === "" ? "" : `: ${reason}`}`;
    if (found && state !== "REMOVED") return;
    cls.unfollow = undefined;
    const name = cls.queue.peek()?.name ?? "";
    const why = found ? `${group} was removed: ${reason}` : `there is no placement group ${groupId}`;
    this.#failClass(cls, new PlacementGroupError(`task ${name} cannot run: ${why}`));
    this.#touch(cls);
  }

  /** A class of a group that nothing is asked of any more is forgotten: groups come and go. */
  #forgetIdle(cls: SchedulingClass): void {
    cls.unfollow?.();
    cls.unfollow = undefined;
    if (cls.leases.size > 0 || cls.asked.size > 0) return;
    // Tasks of a lost worker come back to it.
    for (const { lease } of this.#lossWaits.values()) if (lease.schedulingClass === cls) return;
    this.#classes.delete(cls.key);
    this.#classesById.delete(cls.id);
    for (const address of this.#sessions.keys()) this.#toldDemand.delete(`${cls.id}@${address}`);
  }

  // --- time ---

  #tick = (): void => {
    const nowMs = performance.now();
    let active = false;
    for (const lease of [...this.#leases.values()]) {
      active = true;
      if (lease.inFlight.size === 0 && nowMs - lease.idleSinceMs > LEASE_IDLE_MS)
        this.#return(lease, false, false);
      else if (lease.isHeldUp() && !lease.stealing) this.#steal(lease);
    }
    for (const cls of this.#classes.values()) {
      if (cls.queue.length === 0) {
        if (cls.options.strategy.groupId !== "") this.#forgetIdle(cls);
        continue;
      }
      active = true;
      this.#tellDemand(cls);
      this.#warnIfStuck(cls, nowMs);
    }
    for (const [address, session] of this.#sessions) {
      if (session.leases > 0 || session.lost) continue;
      // The account of a lost worker still comes over it.
      if ([...this.#lossWaits.values()].some(({ lease }) => lease.session === session)) continue;
      if ([...this.#classes.values()].some((cls) => (cls.asked.get(session) ?? 0) > 0)) continue;
      // An idle session would keep the process alive.
      session.close();
      this.#sessions.delete(address);
      for (const cls of this.#classes.values()) this.#toldDemand.delete(`${cls.id}@${address}`);
    }
    if (!active && this.#sessions.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  };

  #warnIfStuck(cls: SchedulingClass, nowMs: number): void {
    const head = cls.queue.peek();
    if (head === undefined || cls.warned || cls.leases.size > 0) return;
    if (head.queuedAtMs === 0) head.queuedAtMs = nowMs;
    if (nowMs - head.queuedAtMs < PENDING_WARNING_MS) return;
    cls.warned = true;
    this.#parts.warn(
      `task ${head.name} and ${cls.queue.length - 1} more have waited ${PENDING_WARNING_MS / 1000} s: ${cls.groupReason || cls.pendingReason || "no answer from the raylet yet"}`,
    );
  }
}

/** Of a worker whose end nobody saw. */
function unseenLoss(nodeDied: boolean, reason: string): WorkerLoss {
  return {
    exitCode: null,
    signal: "",
    stderrTail: "",
    fatalError: "",
    begun: undefined,
    outOfMemory: undefined,
    nodeDied,
    reason,
    groupRemoved: "",
  };
}

/** As proto/ has it. */
export function strategyToWire(strategy: ResolvedStrategy): SchedulingStrategy {
  const labels = strategy.labels.map((term) => ({ ...term, values: [...term.values] }));
  return { ...strategy, labels };
}
