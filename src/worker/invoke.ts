/**
 * Steps 6 and 7: decode arguments, call the user's function, answer with the result. The same for tasks and actor calls;
 * who may run when is decided by task-executor.ts and actor-host.ts.
 */

import { setTimeout as delay } from "node:timers/promises";
import { inspect } from "node:util";
import { runInCall } from "../core/base/call-context.ts";
import { ObjectStoreFullError, TaskCancelledError, TaskError, TsrayError } from "../core/base/errors.ts";
import { STREAM_ITEMS_MAX } from "../core/base/ids.ts";
import { isMapped, travelText } from "../core/base/module-map.ts";
import type { ObjectEntry } from "../core/ownership/entries.ts";
import { isPlain } from "../core/ownership/object-access.ts";
import type { Channel } from "../core/rpc/channel.ts";
import { type Payload, Peer } from "../core/rpc/messages.ts";
import { DoneFlag } from "../core/submit/calls.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { CallJob } from "./call-job.ts";

/** A result that finds the store full is tried again this often, with this pause. */
const FULL_TRIES_MAX = 20;
const FULL_PAUSE_MS = 50;

type Callable = (...args: unknown[]) => unknown;

export class Invoker {
  readonly #runtime: Runtime;
  /** Refs inside results that their owner has not taken over yet, by the number of the object they are in. */
  readonly #handoffs = new Map<Channel, Map<number, readonly ObjectEntry[]>>();

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /**
   * Runs a call and sends its answer.
   * @param extraFlags put into the answer of a call that succeeds
   * @returns undefined when it is over already, else a promise that never rejects
   */
  invoke(job: CallJob, fn: Callable, receiver: unknown, extraFlags: () => number): Promise<void> | undefined {
    const startedMs = performance.now();
    if (job.args[0] === 0 && job.numReturns === 1) {
      const args = job.args[1];
      try {
        const result = runInCall(job, () => fn.apply(receiver, args as unknown[]));
        if (!isThenable(result)) {
          return this.#answer(job, result, startedMs, extraFlags());
        }
        return this.#finish(job, result, startedMs, extraFlags);
      } catch (error) {
        this.#fail(job, error, startedMs, DoneFlag.userError);
        return undefined;
      }
    }
    return this.#invokeSlow(job, fn, receiver, startedMs, extraFlags);
  }

  /** The caller is to make the call elsewhere: it has not begun. */
  giveBack(job: CallJob): void {
    job.finished = true;
    job.channel.send([Peer.done, job.seq, 0, null, DoneFlag.notBegun]);
  }

  /** The call is not run, or not to its end: it was cancelled, what it names is not here, or its actor leaves. */
  refuse(job: CallJob, error: unknown): void {
    this.#fail(job, error, performance.now(), job.cancelled ? DoneFlag.cancelled : DoneFlag.systemError);
  }

  /** Values of the arguments, refs resolved. @throws what stands in place of a ref */
  async arguments(job: Pick<CallJob, "args" | "channel">, owner = job.channel.peer): Promise<unknown[]> {
    const { args } = job;
    if (args[0] === 0) return args[1] as unknown[];
    const { objects, references } = this.#runtime;
    const [, packed, refs, packedSeq] = args;
    const values = (await objects.materialisePayload(packed, owner, packedSeq)) as unknown[];
    await Promise.all(
      refs.map(async ([position, ref, known]) => {
        const entry = references.import(ref);
        if (known !== null && entry.payload === undefined && !entry.owned) entry.settle(known);
        values[position] = await objects.materialise(entry);
      }),
    );
    return values;
  }

  onResultTaken(channel: Channel, seq: number): void {
    this.#handoffs.get(channel)?.delete(seq);
  }

  onPeerClosed(channel: Channel): void {
    this.#handoffs.delete(channel);
  }

  async #invokeSlow(
    job: CallJob,
    fn: Callable,
    receiver: unknown,
    startedMs: number,
    extraFlags: () => number,
  ): Promise<void> {
    let args: unknown[];
    try {
      args = await this.arguments(job);
    } catch (error) {
      this.#fail(job, error, startedMs, job.cancelled ? DoneFlag.cancelled : DoneFlag.systemError);
      return;
    }
    const begunMs = performance.now();
    if (job.cancelled) {
      this.#fail(job, undefined, begunMs, DoneFlag.cancelled);
      return;
    }
    try {
      const result = runInCall(job, () => fn.apply(receiver, args));
      await this.#finish(job, result, begunMs, extraFlags);
    } catch (error) {
      this.#fail(job, error, begunMs, DoneFlag.userError);
    }
  }

  async #finish(job: CallJob, pending: unknown, startedMs: number, extraFlags: () => number): Promise<void> {
    try {
      if (job.numReturns === -1) {
        await runInCall(job, () => this.#stream(job, pending));
        this.#send(job, startedMs, null, extraFlags());
        return;
      }
      const result = await pending;
      if (job.cancelled) {
        this.#fail(job, undefined, startedMs, DoneFlag.cancelled);
        return;
      }
      await this.#runtime.references.borrowsSettled();
      await this.#answer(job, result, startedMs, extraFlags());
    } catch (error) {
      this.#fail(job, error, startedMs, job.cancelled ? DoneFlag.cancelled : DoneFlag.userError);
    }
  }

  /** @returns undefined when it is sent; a promise when the result has to wait for room in the store */
  #answer(
    job: CallJob,
    result: unknown,
    startedMs: number,
    flags: number,
    triesLeft = FULL_TRIES_MAX,
  ): Promise<void> | undefined {
    try {
      if (job.numReturns === 1) {
        this.#send(
          job,
          startedMs,
          isPlain(result) ? [0, result] : this.#pack(job, result, job.firstReturnSeq),
          flags,
        );
        return undefined;
      }
      const values = job.numReturns === 0 ? [] : this.#valuesOf(job, result);
      this.#send(
        job,
        startedMs,
        values.map((value, i) => this.#pack(job, value, job.firstReturnSeq + i)),
        flags,
      );
    } catch (error) {
      // Processes of the node let go of what they no longer use within this time.
      if (error instanceof ObjectStoreFullError && triesLeft > 0 && !job.cancelled) {
        return delay(FULL_PAUSE_MS).then(() => this.#answer(job, result, startedMs, flags, triesLeft - 1));
      }
      this.#fail(job, error, startedMs, DoneFlag.systemError);
    }
    return undefined;
  }

  #valuesOf(job: CallJob, result: unknown): unknown[] {
    if (!Array.isArray(result) || result.length !== job.numReturns) {
      const got = Array.isArray(result) ? `an array of ${result.length}` : typeof result;
      throw new TypeError(
        `${job.name} has numReturns ${job.numReturns}, so it must return an array of ${job.numReturns}, and returned ${got}`,
      );
    }
    return result as unknown[];
  }

  #pack(job: CallJob, value: unknown, seq: number): Payload {
    const owner = job.channel.peer.processId;
    const { payload, held } = this.#runtime.objects.pack(value, owner, seq, `the result of ${job.name}()`);
    if (held !== undefined) {
      let perChannel = this.#handoffs.get(job.channel);
      if (perChannel === undefined) {
        perChannel = new Map();
        this.#handoffs.set(job.channel, perChannel);
      }
      perChannel.set(seq, held);
    }
    return payload;
  }

  async #stream(job: CallJob, iterable: unknown): Promise<void> {
    const source = iterable as AsyncIterable<unknown> | Iterable<unknown> | Promise<Iterable<unknown>>;
    const settled = await source;
    if (
      typeof settled !== "object" ||
      settled === null ||
      !(Symbol.asyncIterator in settled || Symbol.iterator in settled)
    ) {
      throw new TypeError(
        `${job.name} is streaming, so it must return something that can be iterated, and returned ${typeof settled}`,
      );
    }
    let index = 0;
    for await (const item of settled as AsyncIterable<unknown>) {
      if (job.cancelled) return;
      if (index === STREAM_ITEMS_MAX)
        throw new RangeError(
          `a stream has at most ${STREAM_ITEMS_MAX.toLocaleString("en")} items: put several into one`,
        );
      const packed = this.#pack(job, item, job.firstReturnSeq + index);
      await this.#runtime.references.borrowsSettled();
      job.channel.send([Peer.item, job.seq, index, packed]);
      // The next may be computed at once, and take long.
      job.channel.flush();
      index += 1;
      while (job.ahead > 0 && index - job.consumed >= job.ahead && !job.cancelled) {
        await new Promise<void>((resolve) => {
          job.wakeProducer = resolve;
        });
      }
      if (job.cancelled) return;
    }
  }

  #fail(job: CallJob, error: unknown, startedMs: number, flags: number): void {
    this.#send(
      job,
      startedMs,
      this.#errorPayload(job, error, flags),
      job.cancelled ? DoneFlag.cancelled : flags,
    );
  }

  /** Whatever was thrown: it may have no text, or throw itself when it is asked for one. */
  #errorPayload(job: CallJob, error: unknown, flags: number): Payload {
    const { objects, self } = this.#runtime;
    if (job.cancelled)
      return objects.errorPayload(new TaskCancelledError(`${job.name} was cancelled while it ran`));
    if (flags & DoneFlag.systemError && error instanceof TsrayError) return objects.errorPayload(error);
    try {
      return objects.errorPayload(taskError(job, error, self.nodeId));
    } catch (cause) {
      const thrown = new Error(`what it threw cannot be shown: ${(cause as Error).message}`);
      return objects.errorPayload(taskError(job, thrown, self.nodeId));
    }
  }

  #send(job: CallJob, startedMs: number, result: unknown, flags: number): void {
    const micros = Math.max(1, Math.round((performance.now() - startedMs) * 1000));
    job.finished = true;
    if (this.#runtime.references.isHolding) this.#runtime.objects.noteCallEnded();
    job.channel.send([Peer.done, job.seq, micros, result, flags]);
  }
}

function taskError(job: CallJob, error: unknown, nodeId: string): TaskError {
  const cause =
    error instanceof Error
      ? error
      : new Error(`a value that is no Error was thrown: ${textOf(error)}`, { cause: error });
  const what = `${cause.name}: ${cause.message}`;
  // Where the worker runs a copy of the user's files, the trace names the user's.
  if (isMapped() && typeof cause.stack === "string") cause.stack = travelText(cause.stack);
  const remoteStack = cause.stack ?? what;
  return new TaskError(
    `${job.name}() failed with ${what} (process ${process.pid} on node ${nodeId})`,
    { functionName: job.name, pid: process.pid, nodeId, remoteStack },
    { cause },
  );
}

function textOf(thrown: unknown): string {
  return typeof thrown === "object" && thrown !== null ? inspect(thrown, { depth: 1 }) : String(thrown);
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function"
  );
}
