/**
 * Step 6 for tasks: one at a time, in the order they came, except that while a task waits in get or wait the next one
 * may run. Gives queued work back when asked.
 */

import { FunctionNotFoundError, TaskCancelledError } from "../core/base/errors.ts";
import {
  byValueTask,
  type FunctionId,
  labelOf,
  type RegisteredFunction,
  type RegisteredTask,
} from "../core/base/function-registry.ts";
import { noteGroup } from "../core/base/group-capture.ts";
import { UNITS } from "../core/base/resources.ts";
import { soon } from "../core/base/soon.ts";
import type { Channel } from "../core/rpc/channel.ts";
import { type ArgsPayload, Local, Peer, type RunExtra } from "../core/rpc/messages.ts";
import { DoneFlag } from "../core/submit/calls.ts";
import { Queue } from "../core/submit/queue.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { BegunMarks, type BegunSlot } from "./begun-marks.ts";
import { CallJob } from "./call-job.ts";
import type { Functions } from "./functions.ts";
import type { Invoker } from "./invoke.ts";

/** Results of short tasks leave at least this often, so that their owner can send more meanwhile. */
const FLUSH_MS = 4;
/** Messages are read at least this often between short tasks. */
const YIELD_MS = 8;
const TITLE_EVERY_MS = 250;
const ONE_CPU = { CPU: UNITS };
const VISIBLE_AT_START = process.env.CUDA_VISIBLE_DEVICES;

type Slot = RegisteredTask | Promise<RegisteredTask> | (() => Promise<RegisteredTask>);

/** What is known of an owner that sends runs. */
interface Owner {
  /** What its function numbers stand for. */
  readonly functions: Map<number, Slot>;
  /** Runs that it has sent. */
  sent: number;
  readonly mark: BegunSlot;
}

interface QueuedTask {
  readonly job: CallJob;
  readonly owner: Owner;
  /** Which of its owner's runs it is, from 1. */
  readonly number: number;
  readonly fnIndex: number;
  readonly maxCalls: number;
  readonly givenName: string;
}

export class TaskExecutor {
  readonly #runtime: Runtime;
  readonly #functions: Functions;
  readonly #invoker: Invoker;
  readonly #owners = new WeakMap<Channel, Owner>();
  readonly #marks = new BegunMarks();
  readonly #queue = new Queue<QueuedTask>();
  readonly #running = new Map<CallJob, QueuedTask>();
  readonly #calls = new Map<RegisteredFunction, number>();
  /** Tasks that run and do not wait: at most one. */
  #active = 0;
  #toldBlocked = false;
  #pumping = false;
  #titledAtMs = 0;
  #title = "";
  /** CUDA_VISIBLE_DEVICES as it is now. */
  #visible = VISIBLE_AT_START;

  constructor(runtime: Runtime, functions: Functions, invoker: Invoker) {
    this.#runtime = runtime;
    this.#functions = functions;
    this.#invoker = invoker;
  }

  /** @param code of a function that is not to be found by its name */
  onDefine(channel: Channel, index: number, id: FunctionId, code: Buffer | undefined): void {
    const { functions: slots } = this.#owner(channel);
    const find = () => (code === undefined ? this.#functions.find(id) : this.#unpacked(id.name, code));
    const found = find();
    if (!(found instanceof Promise)) {
      slots.set(index, asTask(found));
      return;
    }
    const task = found.then(asTask);
    slots.set(index, task);
    task.then(
      (record) => slots.set(index, record),
      // What could not be imported may be there at the next call.
      () => slots.set(index, async () => asTask(await find())),
    );
  }

  async #unpacked(name: string, code: Buffer): Promise<RegisteredTask> {
    return byValueTask(name, await this.#runtime.objects.unpackFunction(code));
  }

  onRun(
    channel: Channel,
    seq: number,
    fnIndex: number,
    first: number,
    args: ArgsPayload,
    returns: number | undefined,
    extra: RunExtra | undefined,
  ): void {
    const job = new CallJob(
      channel,
      seq,
      first,
      args,
      returns ?? 1,
      extra?.attempt ?? 0,
      extra?.resources ?? ONE_CPU,
      extra?.gpuIds ?? [],
      extra?.ahead ?? 0,
      extra?.group ?? null,
    );
    job.consumed = extra?.consumed ?? 0;
    if (job.group !== null) noteGroup(job.group);
    const owner = this.#owner(channel);
    owner.sent += 1;
    this.#queue.push({
      job,
      owner,
      number: owner.sent,
      fnIndex,
      maxCalls: extra?.maxCalls ?? 0,
      givenName: extra?.name ?? "",
    });
    if (!this.#pumping && this.#active === 0) {
      this.#pumping = true;
      soon(this.#pump);
    }
  }

  /** Gives back what has not begun. */
  onSteal(channel: Channel): void {
    const back: number[] = [];
    for (const task of [...this.#queue]) {
      if (task.job.channel !== channel) continue;
      this.#queue.remove(task);
      back.push(task.job.seq);
    }
    channel.send([Peer.giveBack, back]);
  }

  onCancel(channel: Channel, seq: number, recursive: boolean): void {
    for (const task of this.#queue) {
      if (task.job.channel !== channel || task.job.seq !== seq) continue;
      this.#queue.remove(task);
      task.job.cancelled = true;
      this.#invoker.refuse(task.job, new TaskCancelledError("the task was cancelled before it began"));
      return;
    }
    const job = this.#runningJob(channel, seq);
    if (job === undefined) return;
    if (recursive) this.#runtime.cancelChildren(job.localId);
    job.cancel();
  }

  onConsumed(channel: Channel, seq: number, consumed: number): void {
    // One that is run again may not have begun yet: its consumer still takes items of the attempt before.
    const job = this.#runningJob(channel, seq) ?? this.#queuedJob(channel, seq);
    if (job === undefined) return;
    job.consumed = consumed;
    job.wakeProducer?.();
  }

  /** An owner is gone: what it had queued here will not be missed; what runs is told to stop. */
  onPeerClosed(channel: Channel): void {
    for (const task of [...this.#queue]) if (task.job.channel === channel) this.#queue.remove(task);
    for (const job of this.#running.keys()) if (job.channel === channel) job.cancel();
    const owner = this.#owners.get(channel);
    if (owner !== undefined) this.#marks.close(owner.mark);
  }

  #owner(channel: Channel): Owner {
    let owner = this.#owners.get(channel);
    if (owner === undefined) {
      owner = { functions: new Map(), sent: 0, mark: this.#marks.open(channel.peer.processId) };
      this.#owners.set(channel, owner);
    }
    return owner;
  }

  #runningJob(channel: Channel, seq: number): CallJob | undefined {
    for (const job of this.#running.keys()) if (job.channel === channel && job.seq === seq) return job;
    return undefined;
  }

  #queuedJob(channel: Channel, seq: number): CallJob | undefined {
    for (const { job } of this.#queue) if (job.channel === channel && job.seq === seq) return job;
    return undefined;
  }

  #pump = (): void => {
    const startedMs = performance.now();
    let flushedMs = startedMs;
    while (this.#active === 0) {
      const task = this.#queue.shift();
      if (task === undefined) break;
      this.#start(task);
      const nowMs = performance.now();
      if (nowMs - flushedMs > FLUSH_MS) {
        task.job.channel.flush();
        flushedMs = nowMs;
      }
      if (nowMs - startedMs > YIELD_MS && this.#queue.length > 0) {
        setImmediate(this.#pump);
        return;
      }
    }
    this.#pumping = false;
    this.#tellBlocked();
  };

  #resume(): void {
    if (this.#pumping || this.#active > 0) return;
    this.#pumping = true;
    this.#pump();
  }

  #start(task: QueuedTask): void {
    const { job, owner } = task;
    this.#marks.mark(owner.mark, task.number);
    const found = owner.functions.get(task.fnIndex);
    const slot = typeof found === "function" ? found() : found;
    if (slot === undefined) {
      this.#invoker.refuse(
        job,
        new FunctionNotFoundError(`the task names function ${task.fnIndex}, which its owner has not defined`),
      );
      return;
    }
    this.#active += 1;
    this.#running.set(job, task);
    this.#tellBlocked();
    job.onWaitChange = this.#onWaitChange;
    if (slot instanceof Promise) {
      slot.then(
        (record) => this.#run(record, task),
        (error: unknown) => {
          job.name = task.givenName;
          this.#invoker.refuse(job, error);
          this.#ended(job);
        },
      );
    } else this.#run(slot, task);
  }

  #run(record: RegisteredTask, task: QueuedTask): void {
    const { job } = task;
    job.name = task.givenName || labelOf(record);
    this.#announce(job.name);
    this.#showGpus(job);
    const flags = task.maxCalls === 0 ? noFlags : () => this.#countCall(record, task.maxCalls);
    const pending = this.#invoker.invoke(
      job,
      record.fn as (...args: unknown[]) => unknown,
      record.receiver,
      flags,
    );
    if (pending === undefined) this.#ended(job);
    else void pending.then(() => this.#ended(job));
  }

  #countCall(record: RegisteredFunction, maxCalls: number): number {
    const calls = (this.#calls.get(record) ?? 0) + 1;
    this.#calls.set(record, calls);
    return calls >= maxCalls ? DoneFlag.exitWorker : 0;
  }

  #ended(job: CallJob): void {
    this.#running.delete(job);
    if (job.waits === 0) this.#active -= 1;
    this.#resume();
  }

  #onWaitChange = (job: CallJob): void => {
    if (job.waits > 0) {
      this.#active -= 1;
      // Not inside the user's call that began to wait.
      queueMicrotask(() => this.#resume());
    } else {
      this.#active += 1;
      this.#showGpus(job);
      this.#tellBlocked();
    }
  };

  /** The environment names the GPUs of the task that runs now; of one without GPUs, those that the node has. */
  #showGpus({ gpuIds }: CallJob): void {
    const visible = gpuIds.length > 0 ? gpuIds.join(",") : VISIBLE_AT_START;
    if (visible === this.#visible) return;
    this.#visible = visible;
    if (visible === undefined) delete process.env.CUDA_VISIBLE_DEVICES;
    else process.env.CUDA_VISIBLE_DEVICES = visible;
  }

  /** The raylet lends this node's CPUs to others while every task here waits. */
  #tellBlocked(): void {
    const blocked = this.#active === 0 && this.#running.size > 0;
    if (blocked === this.#toldBlocked) return;
    this.#toldBlocked = blocked;
    let runningFor = "";
    if (!blocked)
      for (const job of this.#running.keys()) if (job.waits === 0) runningFor = job.channel.peer.processId;
    this.#runtime.connected.link.channel.send([Local.blocked, blocked, runningFor]);
  }

  /** Names the process for `ps` and listings after what it runs. */
  #announce(name: string): void {
    if (name === this.#title) return;
    const nowMs = performance.now();
    if (nowMs - this.#titledAtMs < TITLE_EVERY_MS) return;
    this.#titledAtMs = nowMs;
    this.#title = name;
    process.title = `tsray:worker ${name}`;
    this.#runtime.connected.link.channel.send([Local.running, name]);
  }
}

function noFlags(): number {
  return 0;
}

function asTask(record: RegisteredFunction): RegisteredTask {
  if (record.kind === "class")
    throw new FunctionNotFoundError(`${record.name} is a class, and was called as a task`);
  return record;
}
