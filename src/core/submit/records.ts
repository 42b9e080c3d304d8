/**
 * The records of step 3 and 5, which name each other: a task, the scheduling class it queues in, and the leases that
 * serve the class. What happens to them is decided in task-submitter.ts and leases.ts.
 */
import type { Endpoint } from "../base/endpoint.ts";
import { labelOf, type RegisteredTask } from "../base/function-registry.ts";
import { Line } from "../base/numbered.ts";
import type { ResolvedTaskOptions } from "../base/options.ts";
import type { Channel } from "../rpc/channel.ts";
import { type CallParts, CallRecord } from "./call-record.ts";
import type { LeaseSession } from "./lease-session.ts";
import { Queue } from "./queue.ts";
import { type LossHistory, NO_LOSSES } from "./retry-policy.ts";

/** "delayed": it is to run again, after a pause. */
export type TaskState = "waiting" | "queued" | "running" | "delayed" | "done";

/** A remote function as this owner uses it. */
export class FunctionState {
  readonly record: RegisteredTask;
  /** How long a call takes, in microseconds; undefined until one has been measured. */
  estimateMicros: number | undefined;
  /** Its code, where a worker is to be told it once instead of with each call. */
  readonly code: Buffer | undefined;
  /** The user has been told that its tasks wait for arguments. */
  hasWarned = false;

  constructor(record: RegisteredTask, code?: Buffer) {
    this.record = record;
    this.code = code;
  }

  get name(): string {
    return labelOf(this.record);
  }
}

export class TaskRecord extends CallRecord {
  readonly fn: FunctionState;
  readonly options: ResolvedTaskOptions;
  state: TaskState = "waiting";
  lease: Lease | undefined;
  /** What its runs have cost so far. */
  losses: LossHistory = NO_LOSSES;
  /** It ran beside others in a worker that crashed, so it may be what crashed it. */
  suspect = false;
  /** Which of the runs sent to its worker it is: see core/launch/begun-page.ts. */
  pushed = 0;
  /** What it counts for in its lease's queue. */
  queuedMicros = 0;
  /** When it began to wait for arguments. */
  waitingSinceMs = 0;
  /** When it was first seen at the head of its queue without a lease; 0 = not yet. */
  queuedAtMs = 0;

  constructor(parts: CallParts, fn: FunctionState, options: ResolvedTaskOptions) {
    super(parts);
    this.fn = fn;
    this.options = options;
  }

  get name(): string {
    return this.options.name || this.fn.name;
  }

  /**
   * Whether it never shares a worker's queue: after a crash it must be certain whether a task that may not run again had
   * begun, and after one with `maxCalls` the worker may end. Does not change while it is in flight.
   */
  get isExclusive(): boolean {
    const { maxRetries, maxCalls } = this.options;
    return this.suspect || maxCalls > 0 || (maxRetries >= 0 && this.losses.retries >= maxRetries);
  }
}

/** Tasks that any of the same leases can serve: equal resources and strategy. */
export class SchedulingClass {
  readonly id: number;
  readonly key: string;
  /** Options of the first task: resources and strategy are the same for all. */
  readonly options: ResolvedTaskOptions;
  readonly queue = new Queue<TaskRecord>();
  readonly leases = new Set<Lease>();
  /** Leases asked for and not answered yet, per raylet. */
  readonly asked = new Map<LeaseSession, number>();
  /** Raylets where one lease is waited for beside what is asked of this node's raylet. */
  readonly patientAt = new Set<LeaseSession>();
  /** Text of their environment, once it is prepared. */
  environment: string | undefined;
  isPreparing = false;
  /** Why the raylet says tasks of this class wait. */
  pendingReason = "";
  /** Why its placement group is not placed, as the head says. */
  groupReason = "";
  /** Ends the watch over its placement group. */
  unfollow: (() => void) | undefined;
  warned = false;
  /** When it was last given a lease. */
  grantedAtMs = 0;

  constructor(id: number, key: string, options: ResolvedTaskOptions) {
    this.id = id;
    this.key = key;
    this.options = options;
  }
}

/**
 * Work kept queued at a worker, so that it never waits for the next task: this much, and less as what is left to be sent
 * runs out, half of each worker's share, so that they end together (guided self-scheduling, Polychronopoulos and Kuck 1987).
 */
const QUEUED_MICROS_MAX = 8000;
const QUEUED_MICROS_MIN = 1000;
/**
 * One longer task, up to this, waits behind another of no more, while there is more than one for each worker and no more
 * workers have come for a while.
 */
const SECOND_MICROS_MAX = 20_000;
const GRANT_PAUSE_MS = 10;
const QUEUED_TASKS_MAX = 1024;

/** A worker lent to this process, and what it has of ours in flight. */
export class Lease {
  readonly id: string;
  readonly schedulingClass: SchedulingClass;
  readonly session: LeaseSession;
  readonly worker: Endpoint;
  readonly channel: Channel;
  /** Tasks pushed and not answered, oldest first. */
  readonly inFlight = new Line<TaskRecord>();
  readonly gpuIds: readonly string[];
  #queuedMicros = 0;
  #exclusive = 0;
  /** The first in flight when it was last looked at, and whether it had been the first the time before, too. */
  #first: TaskRecord | undefined;
  #isHeldUp = false;
  /** No more tasks: it goes back once what is in flight is done. */
  returning = false;
  /** A steal request is out. */
  stealing = false;
  idleSinceMs = 0;

  constructor(
    id: string,
    schedulingClass: SchedulingClass,
    session: LeaseSession,
    worker: Endpoint,
    channel: Channel,
    gpuIds: readonly string[],
  ) {
    this.id = id;
    this.schedulingClass = schedulingClass;
    this.session = session;
    this.worker = worker;
    this.channel = channel;
    this.gpuIds = gpuIds;
  }

  /** Whether `task` may be pushed behind what is in flight. */
  hasRoom(task: TaskRecord): boolean {
    if (this.returning) return false;
    if (this.inFlight.size === 0) return true;
    const { estimateMicros } = task.fn;
    if (estimateMicros === undefined || estimateMicros > SECOND_MICROS_MAX) return false;
    if (task.isExclusive || this.#exclusive > 0) return false;
    if (this.#isHeldUp && this.inFlight.first === this.#first) return false;
    if (estimateMicros > QUEUED_MICROS_MAX) return this.#hasRoomForSecond();
    const { queue, leases } = this.schedulingClass;
    const share = (queue.length * estimateMicros) / (2 * leases.size);
    const most = share < QUEUED_MICROS_MIN ? QUEUED_MICROS_MIN : Math.min(share, QUEUED_MICROS_MAX);
    return this.#queuedMicros < most && this.inFlight.size < QUEUED_TASKS_MAX;
  }

  #hasRoomForSecond(): boolean {
    const { queue, leases, grantedAtMs } = this.schedulingClass;
    if (this.inFlight.size !== 1 || queue.length <= leases.size) return false;
    const first = this.inFlight.first?.fn.estimateMicros ?? Number.POSITIVE_INFINITY;
    return first <= SECOND_MICROS_MAX && performance.now() - grantedAtMs >= GRANT_PAUSE_MS;
  }

  /** Asked at regular intervals: whether tasks wait behind one that takes far longer than was thought. */
  isHeldUp(): boolean {
    const { first, size } = this.inFlight;
    this.#isHeldUp = first !== undefined && first === this.#first;
    this.#first = first;
    return this.#isHeldUp && size > 1;
  }

  add(task: TaskRecord): void {
    this.inFlight.add(task);
    task.lease = this;
    // As it counts now: the estimate may be another one when it is done.
    task.queuedMicros = Math.min(Math.ceil(task.fn.estimateMicros ?? QUEUED_MICROS_MAX), QUEUED_MICROS_MAX);
    this.#queuedMicros += task.queuedMicros;
    if (task.isExclusive) this.#exclusive += 1;
  }

  remove(task: TaskRecord): void {
    if (!this.inFlight.delete(task)) return;
    task.lease = undefined;
    if (task.isExclusive) this.#exclusive -= 1;
    this.#queuedMicros -= task.queuedMicros;
  }
}

/** Running mean of a function's duration, quick to rise and slow to fall. */
export function learnDuration(fn: FunctionState, micros: number): void {
  const before = fn.estimateMicros;
  if (before === undefined || micros > before) fn.estimateMicros = Math.max(1, micros);
  else fn.estimateMicros = before + (micros - before) / 8;
}
