/**
 * A process's side of one actor: where it lives, the calls that wait for it, the calls it has, in order.
 *
 * The head is asked where the actor is; then calls go to its process directly. When the connection breaks, the head
 * says whether the actor restarts or is dead, and each outstanding call is retried or fails accordingly.
 */
import type { Endpoint } from "../core/base/endpoint.ts";
import {
  ActorDiedError,
  ActorUnavailableError,
  type ErrorRecord,
  fromErrorRecord,
  InvalidOptionError,
  PendingCallsLimitError,
  RuntimeEnvError,
  TaskCancelledError,
  TaskError,
  TsrayError,
} from "../core/base/errors.ts";
import { Line, type Numbered } from "../core/base/numbered.ts";
import type { ObjectEntry } from "../core/ownership/entries.ts";
import type { Channel } from "../core/rpc/channel.ts";
import { type CallExtra, type Payload, PayloadKind, Peer } from "../core/rpc/messages.ts";
import type { ActorRegistry } from "../core/submit/actor-registry.ts";
import { fillArguments } from "../core/submit/arguments.ts";
import { CallRecord } from "../core/submit/call-record.ts";
import { type Calls, DoneFlag, type Promised, type Submitted, submittedOf } from "../core/submit/calls.ts";
import { Queue } from "../core/submit/queue.ts";
import type { ActorInfo } from "../core/wire/gen/tsray/v1/head.ts";
import type { ActorMeta } from "./meta.ts";

const WATCH_WAIT_MS = 10_000;
/** An actor that cannot be placed for this long is worth a line to the user. */
const PENDING_WARNING_MS = 10_000;
const RETRY_MS = 100;
/** After its connection broke, an actor that the head takes for alive is dialled again after this long. */
const REDIAL_MS = 1000;
/** A handle may arrive before the head has heard of its actor: it is asked for this long. */
const UNKNOWN_MS_MAX = 10_000;
const UNKNOWN_RETRY_MS = 25;
/** A head that does not answer for this long makes waiting calls fail. */
const HEAD_SILENCE_MS_MAX = 60_000;

const NOT_RETRIED = "it is the result of an actor's call with maxTaskRetries 0, which is not run again";

/** Options of one call, as the handle resolved them. */
export interface ActorCallOptions {
  readonly numReturns: number | "streaming";
  readonly maxTaskRetries: number;
  readonly retryExceptions: boolean | readonly string[];
  readonly generatorBackpressure: number | undefined;
  readonly name: string;
  readonly group: string;
  readonly signal: AbortSignal | undefined;
  readonly timeout: number | undefined;
}

export class ActorCall extends CallRecord {
  readonly client: ActorClient;
  readonly method: string;
  readonly options: ActorCallOptions;
  /** Whether its arguments are there. */
  ready = false;
  sent = false;
  done = false;

  constructor(
    client: ActorClient,
    method: string,
    options: ActorCallOptions,
    parts: ConstructorParameters<typeof CallRecord>[0],
  ) {
    super(parts);
    this.client = client;
    this.method = method;
    this.options = options;
  }

  /** The actor has, or had, it: it may have run. */
  get wasSent(): boolean {
    return this.sent || this.attempt > 0;
  }
}

/** A call that is done, as long as a result of it lies in a store and may be made again. */
class PastCall extends CallRecord {
  readonly method: string;
  readonly options: ActorCallOptions;
  /** Weak: a result keeps no actor alive. */
  readonly #client: WeakRef<ActorClient>;

  constructor(call: ActorCall) {
    super(call);
    this.attempt = call.attempt;
    this.method = call.method;
    this.options = call.options;
    this.#client = call.client.weak;
  }

  override makeAgain(lost: ObjectEntry): string | undefined {
    const client = this.#client.deref();
    return client === undefined
      ? "this process has no handle of its actor any more"
      : client.makeAgain(this, lost);
  }
}

export interface ActorClientParts {
  readonly calls: Calls;
  readonly actors: () => ActorRegistry;
  readonly channelTo: (endpoint: Endpoint) => Channel;
  /** Outstanding calls by number, for answers; also keeps clients with outstanding calls alive. */
  readonly outstanding: Numbered<ActorCall>;
  readonly onBusy: (delta: 1 | -1) => void;
  /** One line for the user. */
  readonly warn: (line: string) => void;
}

type State = "creating" | "unknown" | "alive" | "dead";

const collected = new FinalizationRegistry<() => void>((forget) => forget());

export class ActorClient {
  /** What is known of its class; of an actor that is looked for by name, little until it is found. */
  meta: ActorMeta;
  readonly #parts: ActorClientParts;
  /** Another id than asked for when `getIfExists` found an actor. */
  actorId: string;
  /** Stands for this process's hold on the actor; undefined where handles do not keep it alive. */
  handleEntry: ObjectEntry | undefined;
  /** Arguments of the constructor: alive as long as the actor may start again. */
  creationHeld: readonly ObjectEntry[] | undefined;
  #state: State;
  #incarnation = -1;
  #version = 0;
  /** Whether the head has ever heard of it. */
  #isKnown = false;
  #askedSinceMs = 0;
  #channel: Channel | undefined;
  #death: Payload | undefined;
  #deathError: Error | undefined;
  readonly #queue = new Queue<ActorCall>();
  /** Sent and not answered, in order. */
  readonly #inFlight = new Line<ActorCall>();
  /** Not begun by an actor that leaves for another node; made again there, in their order. */
  #givenBack: ActorCall[] = [];
  #watching = false;
  readonly #onKnown: (() => void)[] = [];
  /** `kill()` is on its way to the head: no call is sent any more. */
  #isEnding = false;
  /** For those that must not keep it alive. */
  readonly weak = new WeakRef(this);
  #waiters: { resolve: () => void; reject: (error: Error) => void }[] = [];

  constructor(actorId: string, meta: ActorMeta, parts: ActorClientParts, state: "creating" | "unknown") {
    this.actorId = actorId;
    this.meta = meta;
    this.#parts = parts;
    this.#state = state;
  }

  get #isUnknown(): boolean {
    return this.#state === "unknown";
  }

  /** Looked for by name and not found yet: its id is unknown, so its handle cannot be passed on. */
  isSought = false;

  /** @throws PendingCallsLimitError, SerializationError, InvalidOptionError */
  call(method: string, args: readonly unknown[], options: ActorCallOptions, promised?: Promised): Submitted {
    const { calls } = this.#parts;
    const { maxPendingCalls, className } = this.meta;
    const pending = this.#queue.length + this.#inFlight.size + this.#givenBack.length;
    if (maxPendingCalls >= 0 && pending >= maxPendingCalls) {
      throw new PendingCallsLimitError(
        `actor ${className} has ${maxPendingCalls} calls outstanding, as many as maxPendingCalls allows`,
      );
    }
    const parts = calls.make(options.name || `${className}.${method}`, args, options.numReturns, promised);
    const call = new ActorCall(this, method, options, parts);
    this.#enter(call);
    // In the queue by now: a signal that is aborted already takes it out again.
    calls.watch(call, options, (why) => this.cancel(call, true, why));
    this.#sendWhenReady(call);
    call.generator?.begin({
      consumed: (count) => this.#onConsumed(call, count),
      cancel: (force, recursive, why) => {
        if (force) throw forceOfActorCall();
        this.cancel(call, recursive, why);
      },
    });
    return submittedOf(call);
  }

  /** Makes a call again, since a result of it is lost. @returns why it may not, else undefined */
  makeAgain(past: PastCall, { reconstructions }: ObjectEntry): string | undefined {
    const what = `${this.meta.className}.${past.method}`;
    const { maxTaskRetries } = past.options;
    if (this.#state === "dead") return `its actor is dead (${this.#deathError?.message})`;
    if (maxTaskRetries >= 0 && reconstructions >= maxTaskRetries)
      return `${what} was run again ${reconstructions} times, as often as its maxTaskRetries allows`;
    for (const entry of past.returns) {
      if (isStored(entry)) entry.unsettle();
      entry.reconstructions += 1;
    }
    this.#parts.calls.lineage.resume(past);
    const call = new ActorCall(this, past.method, past.options, past);
    call.attempt = past.attempt + 1;
    this.#enter(call);
    this.#sendWhenReady(call);
    return undefined;
  }

  /** Resolves once the actor is alive. @throws ActorDiedError */
  ready(): Promise<void> {
    if (this.#state === "alive" && this.#channel?.closed === false) return Promise.resolve();
    if (this.#state === "dead") return Promise.reject(this.#deathError);
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#watch();
    });
  }

  /** Resolves once the head has answered the creation: then its id is final. */
  known(): Promise<void> {
    if (this.#state !== "creating") return Promise.resolve();
    return new Promise((resolve) => {
      this.#onKnown.push(resolve);
    });
  }

  /** The head has answered the creation. */
  created(info: ActorInfo): void {
    this.isSought = false;
    this.actorId = info.actorId;
    this.#state = "unknown";
    for (const resolve of this.#onKnown.splice(0)) resolve();
    this.apply(info);
    this.#drain();
    if (this.#waiters.length > 0) this.#watch();
  }

  /** The creation was refused. */
  refused(error: Error): void {
    this.#die(error);
  }

  /** `kill()` was called: calls wait for what becomes of it. */
  ending(): void {
    this.#isEnding = true;
  }

  /** What became of `kill()`. */
  killed(error: Error | undefined): void {
    this.#isEnding = false;
    if (error === undefined) {
      const reason = `actor ${this.#label()} died: it was killed by kill()`;
      this.#die(new ActorDiedError(reason, { actorId: this.actorId, maybeExecuted: false }));
    } else this.#drain();
  }

  /** The actor as the head knows it. */
  apply(info: ActorInfo): void {
    if (this.#state === "dead") return;
    if (!info.found) {
      this.#askedSinceMs ||= performance.now();
      if (!this.#isKnown && performance.now() - this.#askedSinceMs < UNKNOWN_MS_MAX) return;
      this.#die(
        new ActorDiedError(`actor ${this.#label()} is not known to the head`, {
          actorId: this.actorId,
          maybeExecuted: false,
        }),
      );
      return;
    }
    this.#isKnown = true;
    this.#version = Math.max(this.#version, info.version);
    if (info.state === "DEAD") this.#onDead(info);
    else if (info.state === "ALIVE" && info.endpoint !== undefined && info.incarnation > this.#incarnation) {
      this.#incarnation = info.incarnation;
      this.#connect(info.endpoint);
    }
  }

  /** This process leaves the cluster: what is outstanding fails. */
  shutDown(error: Error): void {
    this.#die(error);
  }

  cancel(call: ActorCall, recursive: boolean, why: string): void {
    if (call.done || call.abandoned) return;
    call.abandoned = true;
    const error = new TaskCancelledError(`call ${this.meta.className}.${call.method} was cancelled: ${why}`);
    this.#parts.calls.fail(call, this.#parts.calls.objects.errorPayload(error));
    const back = this.#givenBack.indexOf(call);
    if (back >= 0) {
      this.#givenBack.splice(back, 1);
      this.#finish(call);
    } else if (call.sent) this.#channel?.send([Peer.cancel, call.seq, recursive]);
    else {
      this.#queue.remove(call);
      this.#finish(call);
      this.#drain();
    }
  }

  // --- answers ---

  onDone(from: Channel, call: ActorCall, result: unknown, flags: number): void {
    if (from !== this.#channel || !this.#inFlight.delete(call)) return;
    const { calls } = this.#parts;
    if ((flags & DoneFlag.notBegun) !== 0) {
      call.sent = false;
      if (call.abandoned) this.#finish(call);
      else this.#givenBack.push(call);
      return;
    }
    if (call.abandoned) {
      if (flags === 0) calls.drop(call, result, from);
    } else {
      if (flags === 0) calls.succeed(call, result, from);
      else if (this.#retriesError(call, result as Payload, flags)) {
        call.attempt += 1;
        call.sent = false;
        this.#queue.unshift([call]);
        this.#drain();
        return;
      } else calls.fail(call, result as Payload);
    }
    this.#finish(call);
  }

  onItem(from: Channel, call: ActorCall, index: number, payload: Payload): void {
    if (from === this.#channel) this.#parts.calls.item(call, index, payload, from);
  }

  // --- sending ---

  #enter(call: ActorCall): void {
    for (const entry of call.returns) entry.task = call;
    this.#parts.outstanding.set(call.seq, call);
    this.#parts.onBusy(1);
    this.#queue.push(call);
  }

  #sendWhenReady(call: ActorCall): void {
    this.#parts.calls.whenArgumentsReady(call, () => {
      call.ready = true;
      this.#drain();
    });
  }

  #drain(): void {
    // An actor that gives calls back leaves: what follows is for where it goes.
    if (this.#queue.length === 0 || this.#isEnding || this.#givenBack.length > 0) return;
    if (this.#state === "dead") {
      this.#failQueued();
      return;
    }
    const channel = this.#channel;
    if (this.#state !== "alive" || channel === undefined || channel.closed) {
      this.#watch();
      return;
    }
    if (this.meta.ordered) {
      for (let call = this.#queue.peek(); call?.ready === true; call = this.#queue.peek()) {
        this.#queue.shift();
        this.#send(call, channel);
      }
    } else {
      for (const call of [...this.#queue]) {
        if (!call.ready) continue;
        this.#queue.remove(call);
        this.#send(call, channel);
      }
    }
  }

  #send(call: ActorCall, channel: Channel): void {
    const failed = this.#parts.calls.failedArgument(call);
    if (failed !== undefined) {
      this.#parts.calls.fail(call, failed);
      this.#finish(call);
      return;
    }
    call.sent = true;
    this.#inFlight.add(call);
    this.#parts.calls.sendDefinitions(channel, call);
    const { options } = call;
    const args = call.waitFor === undefined ? call.args : fillArguments(call.args, call.waitFor);
    const first = call.generator?.firstSeq ?? call.returns[0]?.seq ?? 0;
    if (options.numReturns === 1 && call.attempt === 0 && options.name === "" && options.group === "") {
      channel.send([Peer.call, call.seq, call.method, first, args]);
    } else {
      const returns = options.numReturns === "streaming" ? -1 : options.numReturns;
      const { name, group } = options;
      const extra: CallExtra = {
        attempt: call.attempt,
        name,
        ahead: options.generatorBackpressure ?? 0,
        consumed: call.generator?.consumed ?? 0,
        group,
      };
      channel.send([Peer.call, call.seq, call.method, first, args, returns, extra]);
    }
  }

  /** @param isSameLife it was connected to this life of the actor before, and lost the way to it */
  #connect(endpoint: Endpoint, isSameLife = false): void {
    const channel = this.#parts.channelTo(endpoint);
    this.#channel = channel;
    this.#state = "alive";
    channel.send([Peer.attach, this.actorId, this.#incarnation]);
    // The channel outlives the last handle: it must not keep this alive, nor remember it.
    const self = this.weak;
    const forget = channel.onClose(() => {
      const client = self.deref();
      if (client !== undefined) client.#onClosed(channel);
    });
    collected.register(this, forget);
    for (const { resolve } of this.#waiters) resolve();
    this.#waiters = [];
    this.#judgeLost(isSameLife ? "was out of reach" : "restarted");
    this.#drain();
  }

  /** Into the queue again, before what was called later. */
  #takeBack(): void {
    if (this.#givenBack.length === 0) return;
    this.#queue.unshift(this.#givenBack);
    this.#givenBack = [];
  }

  #onClosed(channel: Channel): void {
    if (this.#channel !== channel || this.#state !== "alive") return;
    this.#takeBack();
    this.#state = "unknown";
    this.#channel = undefined;
    if (this.#inFlight.size > 0 || this.#queue.length > 0) this.#watch();
  }

  // --- where the actor is ---

  #watch(): void {
    if (this.#watching || this.#state === "creating" || this.#state === "dead") return;
    this.#watching = true;
    void this.#watchLoop();
  }

  async #watchLoop(): Promise<void> {
    try {
      await this.#watchUntilKnown();
    } finally {
      this.#watching = false;
    }
  }

  async #watchUntilKnown(): Promise<void> {
    let silentSinceMs = 0;
    let hasWarned = false;
    const sinceMs = performance.now();
    while (
      this.#state === "unknown" &&
      (this.#queue.length > 0 || this.#inFlight.size > 0 || this.#waiters.length > 0)
    ) {
      try {
        const waitMs = this.#incarnation < 0 ? WATCH_WAIT_MS : REDIAL_MS;
        const info = await this.#parts.actors().watch(this.actorId, this.#version, waitMs);
        silentSinceMs = 0;
        this.apply(info);
        const waitedMs = performance.now() - sinceMs;
        if (info.state === "PENDING" && waitedMs >= PENDING_WARNING_MS && !hasWarned) {
          hasWarned = true;
          this.#parts.warn(
            `actor ${this.#label()} has waited ${Math.floor(waitedMs / 1000)} s: ${info.pendingReason}`,
          );
        }
        if (info.state === "RESTARTING" || info.state === "PENDING" || info.state === "STARTING")
          this.#judgeLost("restarted");
        // It lives, and only the way to it was lost, for longer than a channel bears.
        const isSameLife = info.state === "ALIVE" && info.incarnation === this.#incarnation;
        if (isSameLife && this.#isUnknown && info.endpoint !== undefined) this.#connect(info.endpoint, true);
        if (!info.found) await new Promise((resolve) => setTimeout(resolve, UNKNOWN_RETRY_MS));
      } catch (error) {
        if (error instanceof TsrayError && !error.retryable) {
          this.#die(error);
          return;
        }
        silentSinceMs ||= performance.now();
        if (performance.now() - silentSinceMs > HEAD_SILENCE_MS_MAX) {
          this.#failAll(
            new ActorUnavailableError(
              `actor ${this.#label()}: the head does not answer: ${(error as Error).message}`,
              { actorId: this.actorId, maybeExecuted: false },
            ),
          );
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  /** The actor restarts, or is out of reach: calls it had are sent again or fail, since they may have run. */
  #judgeLost(what: string): void {
    if (this.#inFlight.size === 0) return;
    const lost = this.#inFlight.takeAll();
    const again: ActorCall[] = [];
    for (const call of lost) {
      const { maxTaskRetries } = call.options;
      if (call.abandoned) this.#finish(call);
      else if (maxTaskRetries < 0 || call.attempt < maxTaskRetries) {
        call.attempt += 1;
        call.sent = false;
        again.push(call);
      } else {
        this.#failCall(
          call,
          new ActorUnavailableError(
            `actor ${this.#label()} ${what} while ${call.method}() was outstanding: it may or may not have run`,
            { actorId: this.actorId, maybeExecuted: true },
          ),
        );
      }
    }
    this.#queue.unshift(again);
  }

  #onDead(info: ActorInfo): void {
    let cause: unknown;
    if (info.deathError.length > 0) {
      try {
        throwIfRecord(info.deathError);
        this.#parts.calls.objects.unpack([3, info.deathError]);
      } catch (error) {
        cause = error instanceof TaskError ? error.cause : error;
      }
    }
    // Not the actor's code but what it was to run in: that is what the caller must mend.
    if (cause instanceof RuntimeEnvError) {
      this.#die(new RuntimeEnvError(`actor ${this.#label()} cannot run: ${cause.message}`));
      return;
    }
    this.#die(
      new ActorDiedError(
        `actor ${this.#label()} died: ${info.deathReason || "no reason was given"}`,
        { actorId: this.actorId, maybeExecuted: false },
        cause === undefined ? undefined : { cause },
      ),
    );
  }

  #die(error: Error): void {
    if (this.#state === "dead") return;
    this.#state = "dead";
    for (const resolve of this.#onKnown.splice(0)) resolve();
    this.#channel = undefined;
    this.creationHeld = undefined;
    this.#deathError = error;
    this.#death = this.#parts.calls.objects.errorPayload(error);
    for (const { reject } of this.#waiters) reject(error);
    this.#waiters = [];
    for (const call of this.#inFlight.takeAll()) this.#failCall(call, error);
    this.#failQueued();
  }

  #failAll(error: Error): void {
    this.#takeBack();
    for (const call of this.#inFlight.takeAll()) this.#failCall(call, error);
    for (let call = this.#queue.shift(); call !== undefined; call = this.#queue.shift())
      this.#failCall(call, error);
    for (const { reject } of this.#waiters) reject(error);
    this.#waiters = [];
  }

  #failQueued(): void {
    this.#takeBack();
    for (let call = this.#queue.shift(); call !== undefined; call = this.#queue.shift()) {
      if (call.wasSent) this.#failCall(call, this.#deathError as Error);
      else {
        if (!call.abandoned) this.#parts.calls.fail(call, this.#death as Payload);
        this.#finish(call);
      }
    }
  }

  #failCall(call: ActorCall, error: Error): void {
    const shown = call.wasSent ? mayHaveRun(error) : error;
    if (!call.abandoned) this.#parts.calls.fail(call, this.#parts.calls.objects.errorPayload(shown));
    this.#finish(call);
  }

  #finish(call: ActorCall): void {
    if (call.done) return;
    call.done = true;
    call.cleanup?.();
    this.#parts.outstanding.delete(call.seq);
    this.#remember(call);
    call.held = undefined;
    this.#parts.onBusy(-1);
  }

  /** Lineage: what lies in a store can be lost, and a call that may be retried is made again for it. */
  #remember(call: ActorCall): void {
    const past =
      call.options.maxTaskRetries !== 0 && call.returns.some(isStored) ? new PastCall(call) : undefined;
    for (const entry of call.returns) {
      entry.task = isStored(entry) ? past : undefined;
      if (past === undefined) entry.unmakeable = NOT_RETRIED;
    }
    if (past !== undefined) this.#parts.calls.lineage.keep(past);
  }

  #retriesError(call: ActorCall, payload: Payload, flags: number): boolean {
    const { retryExceptions, maxTaskRetries } = call.options;
    if ((flags & DoneFlag.userError) === 0 || retryExceptions === false) return false;
    if (maxTaskRetries >= 0 && call.attempt >= maxTaskRetries) return false;
    return retryExceptions === true || this.#parts.calls.isNamed(payload, retryExceptions);
  }

  #onConsumed(call: ActorCall, consumed: number): void {
    if (call.sent && call.options.generatorBackpressure !== undefined)
      this.#channel?.send([Peer.consumed, call.seq, consumed]);
  }

  #label(): string {
    return `${this.meta.className} (${this.actorId})`;
  }
}

export function forceOfActorCall(): InvalidOptionError {
  return new InvalidOptionError(
    "cancel({ force: true }) is for tasks: an actor's process is ended by kill(handle)",
  );
}

/** The error for a call that the actor had. */
function mayHaveRun(error: Error): Error {
  if (error instanceof ActorUnavailableError)
    return new ActorUnavailableError(error.message, { actorId: error.actorId, maybeExecuted: true });
  if (!(error instanceof ActorDiedError)) return error;
  const options = error.cause === undefined ? undefined : { cause: error.cause };
  return new ActorDiedError(error.message, { actorId: error.actorId, maybeExecuted: true }, options);
}

/** What a raylet says stands in the report as it is: JSON, which no value's flat form begins like. */
function throwIfRecord(bytes: Uint8Array): void {
  if (bytes[0] !== "{".charCodeAt(0)) return;
  throw fromErrorRecord(JSON.parse(Buffer.from(bytes).toString("utf8")) as ErrorRecord);
}

function isStored({ payload }: ObjectEntry): boolean {
  return payload?.[0] === PayloadKind.stored;
}
