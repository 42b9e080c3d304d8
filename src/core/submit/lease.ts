/** A worker lent to this process, and what it has of ours in flight. */
import type { Endpoint } from "../base/endpoint.ts";
import type { Channel } from "../rpc/channel.ts";
import type { LeaseSession } from "./lease-session.ts";
import type { SchedulingClass } from "./scheduling-class.ts";
import type { FunctionState, TaskRecord } from "./task-record.ts";

/** Work kept queued at a worker, so that it never waits for the next task; longer tasks are not queued behind others. */
const QUEUED_MICROS_MAX = 2000;
const QUEUED_TASKS_MAX = 1024;

export class Lease {
  readonly id: string;
  readonly schedulingClass: SchedulingClass;
  readonly session: LeaseSession;
  readonly worker: Endpoint;
  readonly channel: Channel;
  /** Tasks pushed and not answered, oldest first. */
  readonly inFlight = new Set<TaskRecord>();
  readonly gpuIds: readonly string[];
  #queuedMicros = 0;
  #exclusive = 0;
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
    // A task that must not run twice is never queued: after a crash, it must be certain whether it had begun.
    if (
      estimateMicros === undefined ||
      task.options.maxRetries === 0 ||
      task.options.maxCalls > 0 ||
      this.#exclusive > 0
    )
      return false;
    return this.#queuedMicros + estimateMicros <= QUEUED_MICROS_MAX && this.inFlight.size < QUEUED_TASKS_MAX;
  }

  add(task: TaskRecord): void {
    this.inFlight.add(task);
    task.lease = this;
    this.#queuedMicros += task.fn.estimateMicros ?? QUEUED_MICROS_MAX;
    if (task.options.maxRetries === 0) this.#exclusive += 1;
  }

  remove(task: TaskRecord): void {
    if (!this.inFlight.delete(task)) return;
    task.lease = undefined;
    if (task.options.maxRetries === 0) this.#exclusive -= 1;
    if (this.inFlight.size === 0) this.#queuedMicros = 0;
    else this.#queuedMicros = Math.max(0, this.#queuedMicros - (task.fn.estimateMicros ?? QUEUED_MICROS_MAX));
  }
}

/** Running mean of a function's duration, quick to rise and slow to fall. */
export function learnDuration(fn: FunctionState, micros: number): void {
  const before = fn.estimateMicros;
  if (before === undefined || micros > before) fn.estimateMicros = Math.max(1, micros);
  else fn.estimateMicros = before + (micros - before) / 8;
}
