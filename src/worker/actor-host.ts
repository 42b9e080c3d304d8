/**
 * The actor that this process has become: its construction, its mailbox, its end.
 *
 * Calls of each caller arrive in order; at most `maxConcurrency` of them (per concurrency group) run at a time.
 */

import type { ActorMeta } from "../actors/meta.ts";
import { runInCall } from "../core/base/call-context.ts";
import { type Endpoint, endpointFromTuple } from "../core/base/endpoint.ts";
import {
  ActorDiedError,
  FunctionNotFoundError,
  InvalidOptionError,
  TaskCancelledError,
  TaskError,
} from "../core/base/errors.ts";
import {
  type AnyClass,
  type FunctionId,
  isByValueId,
  type MethodInfo,
  methodsOf,
} from "../core/base/function-registry.ts";
import { noteGroup } from "../core/base/group-capture.ts";
import type { CallGroup } from "../core/base/options.ts";
import type { Resources } from "../core/base/resources.ts";
import type { Channel } from "../core/rpc/channel.ts";
import { unpackPlain } from "../core/rpc/frames.ts";
import {
  type ActorCreation,
  type ActorStart,
  type ArgsPayload,
  type CallExtra,
  Local,
} from "../core/rpc/messages.ts";
import { Queue } from "../core/submit/queue.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { CallJob } from "./call-job.ts";
import type { Functions } from "./functions.ts";
import type { Invoker } from "./invoke.ts";
import { setAmbientName } from "./output-marks.ts";

type Method = (...args: unknown[]) => unknown;

interface Group {
  readonly limit: number;
  readonly queue: Queue<QueuedCall>;
  running: number;
}

interface QueuedCall {
  readonly job: CallJob;
  readonly method: string;
}

/** What a running actor can ask about itself. */
export interface ActorIdentity {
  readonly actorId: string;
  readonly className: string;
  readonly incarnation: number;
  readonly resources: Resources;
  readonly gpuIds: readonly string[];
  readonly group: CallGroup | null;
}

export class ActorHost {
  readonly #runtime: Runtime;
  readonly #functions: Functions;
  readonly #invoker: Invoker;
  identity: ActorIdentity | undefined;
  #instance: object | undefined;
  #methods: ReadonlyMap<string, MethodInfo> = new Map();
  #methodGroups: Readonly<Record<string, string>> = {};
  readonly #groups = new Map<string, Group>();
  readonly #running = new Set<CallJob>();
  /** Of those, in a wait for objects; counted only where the actor holds CPUs. */
  #waiting = 0;
  #toldBlocked = false;
  #hasCpu = false;
  /** Set when the actor leaves: no call begins any more. */
  #leaving: string | undefined;
  #onQuiet: (() => void) | undefined;
  /** It is to end when what was submitted is done. */
  #isStopping = false;
  /** It is to begin again on another node. */
  #isMoving = false;

  constructor(runtime: Runtime, functions: Functions, invoker: Invoker) {
    this.#runtime = runtime;
    this.#functions = functions;
    this.#invoker = invoker;
  }

  async start(start: ActorStart): Promise<void> {
    const { actorId, incarnation, className, name, resources, gpuIds } = start;
    if (start.detached) this.#runtime.outliveDriver();
    const creation = unpackPlain(start.creation) as ActorCreation;
    const { group } = creation;
    this.identity = { actorId, className, incarnation, resources, gpuIds, group };
    noteGroup(group);
    this.#hasCpu = (resources.CPU ?? 0) > 0;
    process.title = `tsray:actor ${className}${name === "" ? "" : ` ${name}`}`;
    setAmbientName(name === "" ? className : `${className} ${name}`);
    if (gpuIds.length > 0) process.env.CUDA_VISIBLE_DEVICES = gpuIds.join(",");
    this.#runtime.connected.link.channel.send([Local.running, className]);
    try {
      const args = await this.#arguments(creation, className);
      const Class = await this.#classOf(creation, className, args);
      this.#methods = methodsOf(Class);
      this.#methodGroups = creation.methodGroups;
      this.#groups.set("", { limit: creation.maxConcurrency, queue: new Queue(), running: 0 });
      for (const [group, limit] of Object.entries(creation.concurrencyGroups)) {
        this.#groups.set(group, { limit, queue: new Queue(), running: 0 });
      }
      this.#runtime.adoptSelf(actorId, creation.meta as ActorMeta);
      this.#instance = await this.#construct(Class, creation, args);
      this.#tell("ALIVE", "", null);
    } catch (error) {
      this.#tell(
        "INIT_FAILED",
        `its constructor failed: ${describe(error)}`,
        this.#runtime.objects.packError(error),
      );
    }
  }

  onCall(
    channel: Channel,
    seq: number,
    method: string,
    first: number,
    args: ArgsPayload,
    returns: number | undefined,
    extra: CallExtra | undefined,
  ): void {
    const { className, resources, gpuIds, group: placed } = this.identity as ActorIdentity;
    const job = new CallJob(
      channel,
      seq,
      first,
      args,
      returns ?? 1,
      extra?.attempt ?? 0,
      resources,
      gpuIds,
      extra?.ahead ?? 0,
      placed,
    );
    job.consumed = extra?.consumed ?? 0;
    job.name = extra?.name || `${className}.${method}`;
    if (this.#isMoving) {
      this.#invoker.giveBack(job);
      return;
    }
    if (this.#leaving !== undefined) {
      this.#invoker.refuse(job, this.#gone());
      return;
    }
    const groupName =
      extra?.group || this.#methodGroups[method] || this.#methods.get(method)?.options.concurrencyGroup || "";
    const group = this.#groups.get(groupName);
    if (group === undefined) {
      this.#invoker.refuse(
        job,
        new InvalidOptionError(`actor ${className} has no concurrency group ${JSON.stringify(groupName)}`),
      );
      return;
    }
    group.queue.push({ job, method });
    this.#pump(group);
  }

  onCancel(channel: Channel, seq: number, recursive: boolean): void {
    for (const group of this.#groups.values()) {
      for (const call of group.queue) {
        if (call.job.channel !== channel || call.job.seq !== seq) continue;
        group.queue.remove(call);
        call.job.cancelled = true;
        this.#invoker.refuse(
          call.job,
          new TaskCancelledError(`${call.job.name} was cancelled before it began`),
        );
        return;
      }
    }
    for (const job of this.#running) {
      if (job.channel !== channel || job.seq !== seq) continue;
      if (recursive) this.#runtime.cancelChildren(job.localId);
      job.cancel();
    }
  }

  onConsumed(channel: Channel, seq: number, consumed: number): void {
    const note = (job: CallJob) => {
      if (job.channel !== channel || job.seq !== seq) return;
      job.consumed = consumed;
      job.wakeProducer?.();
    };
    for (const job of this.#running) note(job);
    // One that is made again may not have begun yet: its consumer still takes items of the attempt before.
    for (const { queue } of this.#groups.values()) for (const { job } of queue) note(job);
  }

  onPeerClosed(channel: Channel): void {
    for (const group of this.#groups.values()) {
      for (const call of [...group.queue]) if (call.job.channel === channel) group.queue.remove(call);
    }
    // Nobody takes its items any more: back-pressure would hold it, and with it the actor, for ever.
    for (const job of this.#running) if (job.channel === channel && job.numReturns === -1) job.cancel();
  }

  /** Finishes what was submitted, disposes the instance, then leaves. A repeat, and one that comes while it leaves, is nothing new. */
  async stop(reason: string): Promise<void> {
    if (this.#isStopping || this.#leaving !== undefined) return;
    this.#isStopping = true;
    const busy = [...this.#groups.values()].some((group) => group.running > 0 || group.queue.length > 0);
    if (busy) {
      await new Promise<void>((resolve) => {
        this.#onQuiet = resolve;
      });
    }
    await this.#leave(reason);
  }

  /** Finishes what runs and gives back the rest, then leaves to begin again on another node. */
  async move(): Promise<void> {
    if (this.#isMoving || this.#leaving !== undefined) return;
    this.#isMoving = true;
    for (const group of this.#groups.values()) {
      for (let call = group.queue.shift(); call !== undefined; call = group.queue.shift())
        this.#invoker.giveBack(call.job);
    }
    if (this.#running.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onQuiet = resolve;
      });
    }
    await this.#leave("its node is drained", "MOVED");
  }

  /** `exitActor()`: the running call is the last one. */
  async exit(): Promise<never> {
    this.#leaving = "it was left by exitActor()";
    for (const group of this.#groups.values()) {
      for (let call = group.queue.shift(); call !== undefined; call = group.queue.shift())
        this.#invoker.refuse(call.job, this.#gone());
    }
    for (const job of this.#running) if (!job.finished) this.#invoker.refuse(job, this.#gone(true));
    await this.#leave(this.#leaving);
    return new Promise<never>(() => {});
  }

  async #arguments(creation: ActorCreation, className: string): Promise<unknown[]> {
    return this.#invoker.arguments(this.#creationJob(creation, className), this.#ownerOf(creation));
  }

  /** The class comes as the first argument, or is found by name. */
  async #classOf({ descriptor }: ActorCreation, className: string, args: unknown[]): Promise<AnyClass> {
    if (isByValueId(descriptor)) return args.shift() as AnyClass;
    const record = await this.#functions.find(descriptor as FunctionId);
    if (record.kind !== "class")
      throw new FunctionNotFoundError(`${className} is not a class in this worker`);
    return record.fn;
  }

  async #construct(Class: AnyClass, creation: ActorCreation, args: readonly unknown[]): Promise<object> {
    return runInCall(
      this.#creationJob(creation, Class.name),
      () => Reflect.construct(Class, args as never[]) as object,
    );
  }

  #creationJob(creation: ActorCreation, className: string): CallJob {
    const channel = this.#runtime.channelTo(this.#ownerOf(creation));
    const { resources = {}, gpuIds = [], group = null } = this.identity ?? {};
    const job = new CallJob(channel, 0, 0, creation.args, 1, 0, resources, gpuIds, 0, group);
    job.name = `new ${className}`;
    return job;
  }

  #ownerOf(creation: ActorCreation): Endpoint {
    const owner = endpointFromTuple(creation.owner);
    if (owner === undefined) throw new FunctionNotFoundError("the actor's owner is unknown");
    return owner;
  }

  #pump(group: Group): void {
    while (group.running < group.limit) {
      const call = group.queue.shift();
      if (call === undefined) break;
      this.#run(group, call);
    }
    if (
      this.#onQuiet !== undefined &&
      [...this.#groups.values()].every((each) => each.running === 0 && each.queue.length === 0)
    ) {
      this.#onQuiet();
    }
  }

  #run(group: Group, { job, method }: QueuedCall): void {
    const fn = this.#methods.has(method)
      ? ((this.#instance as Record<string, unknown>)[method] as Method)
      : undefined;
    if (fn === undefined) {
      this.#invoker.refuse(
        job,
        new FunctionNotFoundError(`class ${this.identity?.className} has no method ${method} in this worker`),
      );
      return;
    }
    group.running += 1;
    this.#running.add(job);
    if (this.#hasCpu) job.onWaitChange = this.#onWaitChange;
    this.#tellBlocked();
    const ended = () => {
      group.running -= 1;
      this.#running.delete(job);
      if (job.waits > 0) this.#waiting -= 1;
    };
    const pending = this.#invoker.invoke(job, fn, this.#instance, noFlags);
    if (pending === undefined) {
      ended();
      this.#tellBlocked();
    } else {
      void pending.then(() => {
        ended();
        this.#pump(group);
        this.#tellBlocked();
      });
    }
  }

  #onWaitChange = (job: CallJob): void => {
    this.#waiting += job.waits > 0 ? 1 : -1;
    this.#tellBlocked();
  };

  /** The raylet lends this actor's CPUs to others while every call here waits for objects; it learns of a wait a turn later. */
  #tellBlocked(): void {
    if (this.#waiting === 0 && !this.#toldBlocked) return;
    const blocked = this.#waiting === this.#running.size;
    if (blocked === this.#toldBlocked) return;
    if (!blocked) this.#sayBlocked(false);
    else
      setImmediate(() => {
        if (this.#waiting > 0 && this.#waiting === this.#running.size) this.#sayBlocked(true);
      });
  }

  #sayBlocked(blocked: boolean): void {
    if (blocked === this.#toldBlocked) return;
    this.#toldBlocked = blocked;
    this.#runtime.connected.link.channel.send([Local.blocked, blocked, ""]);
  }

  async #leave(reason: string, state: "EXITED" | "MOVED" = "EXITED"): Promise<void> {
    this.#leaving = reason;
    try {
      await dispose(this.#instance);
    } catch (error) {
      console.error(`disposing actor ${this.identity?.className} failed:`, error);
    }
    this.#tell(state, reason, null);
  }

  #gone(maybeExecuted = false): ActorDiedError {
    const { className = "", actorId = "" } = this.identity ?? {};
    return new ActorDiedError(`actor ${className} (${actorId}) exited: ${this.#leaving}`, {
      actorId,
      maybeExecuted,
    });
  }

  #tell(state: string, reason: string, error: Uint8Array | null): void {
    const { actorId, incarnation } = this.identity as ActorIdentity;
    this.#runtime.connected.link.channel.send([Local.actorState, actorId, incarnation, state, reason, error]);
  }
}

function noFlags(): number {
  return 0;
}

function describe(error: unknown): string {
  const cause = error instanceof TaskError ? error.cause : error;
  return cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause);
}

async function dispose(instance: object | undefined): Promise<void> {
  if (instance === undefined) return;
  const target = instance as {
    [Symbol.asyncDispose]?: () => unknown;
    [Symbol.dispose]?: () => unknown;
    dispose?: () => unknown;
  };
  const asyncDispose = target[Symbol.asyncDispose];
  if (typeof asyncDispose === "function") await asyncDispose.call(instance);
  else if (typeof target[Symbol.dispose] === "function") target[Symbol.dispose]?.();
  else if (typeof target.dispose === "function") await target.dispose();
}
