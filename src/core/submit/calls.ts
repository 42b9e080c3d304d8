/**
 * What tasks and actor calls share at their owner: making the record, waiting for arguments, settling refs (step 8),
 * signals and timeouts.
 */
import { TaskError } from "../base/errors.ts";
import type { ErrorClass, NumReturns } from "../base/options.ts";
import type { ObjectEntry } from "../ownership/entries.ts";
import type { ObjectAccess } from "../ownership/object-access.ts";
import type { ReferenceTable } from "../ownership/reference-table.ts";
import type { Channel } from "../rpc/channel.ts";
import { type Payload, PayloadKind, Peer } from "../rpc/messages.ts";
import { packArguments } from "./arguments.ts";
import type { CallParts, CallRecord } from "./call-record.ts";
import { GeneratorState } from "./generator-state.ts";
import { Lineage } from "./lineage.ts";

/** Bits of the last field of a done message. */
export const DoneFlag = { userError: 1, cancelled: 2, exitWorker: 4, systemError: 8, notBegun: 16 } as const;

export interface CallsParts {
  readonly objects: ObjectAccess;
  readonly references: ReferenceTable;
  /** Number of the call that this process is serving now, if any. */
  readonly currentCall: () => number | undefined;
}

/** What a submission gives the API. */
export type Submitted =
  | { readonly kind: "refs"; readonly entries: readonly ObjectEntry[] }
  | { readonly kind: "generator"; readonly source: GeneratorState };

/** The refs of a call that is yet to be made. */
export interface Promised {
  readonly returns: readonly ObjectEntry[];
  readonly generator: GeneratorState | undefined;
}

export function promise(references: ReferenceTable, numReturns: NumReturns): Promised {
  if (numReturns === "streaming") return { returns: [], generator: new GeneratorState() };
  if (numReturns === 1) return { returns: [references.newOwned()], generator: undefined };
  return { returns: Array.from({ length: numReturns }, () => references.newOwned()), generator: undefined };
}

/** Settles every ref of the call with an error; a generator gets it as its last item. */
export function failPromised(
  { returns, generator }: Promised,
  error: Payload,
  references: ReferenceTable,
): void {
  if (generator && !generator.ended) {
    const last = references.newOwned();
    last.settle(error);
    generator.push(last);
    generator.end();
  }
  for (const entry of returns) if (entry.payload === undefined) entry.settle(error);
}

export function submittedOf(call: Promised): Submitted {
  return call.generator
    ? { kind: "generator", source: call.generator }
    : { kind: "refs", entries: call.returns };
}

export class Calls {
  readonly objects: ObjectAccess;
  readonly references: ReferenceTable;
  readonly lineage = new Lineage();
  readonly #currentCall: () => number | undefined;
  #nextSeq = 1;
  /** Code of functions that each peer has, by hash. */
  readonly #defined = new WeakMap<Channel, Set<string>>();

  constructor(parts: CallsParts) {
    this.objects = parts.objects;
    this.references = parts.references;
    this.references.onFreed = (seq) => this.lineage.forget(seq);
    this.#currentCall = parts.currentCall;
  }

  /**
   * Packs arguments and makes the refs, unless they were promised before.
   * @param subject name of the function, where the first argument is the function itself
   * @throws SerializationError, ObjectStoreFullError
   */
  make(
    name: string,
    args: readonly unknown[],
    numReturns: NumReturns,
    promised?: Promised,
    subject?: string,
  ): CallParts {
    const options = { definitionsApart: true, ...(subject === undefined ? {} : { subject }) };
    const packed = packArguments(args, name, this.objects, this.references, options);
    const { returns, generator } = promised ?? promise(this.references, numReturns);
    return {
      seq: this.#nextSeq++,
      returns,
      generator,
      args: packed.args,
      held: packed.held,
      definitions: packed.definitions,
      waitFor: packed.waitFor,
      parentSeq: this.#currentCall(),
    };
  }

  /** Before a call is sent: code of functions among its arguments, once per channel. */
  sendDefinitions(to: Channel, { definitions }: CallRecord): void {
    if (definitions === undefined) return;
    let defined = this.#defined.get(to);
    if (defined === undefined) {
      defined = new Set();
      this.#defined.set(to, defined);
    }
    for (const [hash, definition] of definitions) {
      if (defined.has(hash)) continue;
      defined.add(hash);
      to.send([Peer.code, definition]);
    }
  }

  /** Calls `then` when every argument is there (or an error in its place). */
  whenArgumentsReady(call: CallRecord, then: () => void): void {
    let missing = 0;
    for (const entry of call.waitFor ?? []) {
      this.objects.ask(entry);
      this.objects.recoverLost(entry);
      if (entry.payload === undefined) missing += 1;
    }
    if (missing === 0) {
      then();
      return;
    }
    const ready = () => {
      missing -= 1;
      if (missing === 0 && !call.abandoned) then();
    };
    for (const entry of call.waitFor ?? []) if (entry.payload === undefined) entry.whenReady(ready);
  }

  /** The error that stands in place of an argument, if there is one. */
  failedArgument(call: CallRecord): Payload | undefined {
    return call.waitFor?.find((entry) => entry.payload?.[0] === PayloadKind.error)?.payload;
  }

  succeed(call: CallRecord, result: unknown, from: Channel): void {
    const { returns, generator } = call;
    if (generator) generator.end();
    else if (returns.length === 1) this.#take(returns[0] as ObjectEntry, result as Payload, from);
    else {
      const payloads = result as readonly Payload[];
      returns.forEach((entry, i) => {
        this.#take(entry, payloads[i] as Payload, from);
      });
    }
  }

  /** The result of a call whose refs have been settled otherwise. */
  drop({ returns, generator }: CallRecord, result: unknown, from: Channel): void {
    if (generator !== undefined) return;
    const payloads = returns.length === 1 ? [result as Payload] : (result as readonly Payload[]);
    returns.forEach(({ seq }, i) => {
      this.#drop(seq, payloads[i] as Payload, from);
    });
  }

  item(call: CallRecord, index: number, payload: Payload, from: Channel): void {
    if (call.generator === undefined) return;
    const seq = call.generator.firstSeq + index;
    if (!call.generator.expects(index)) {
      this.#drop(seq, payload, from);
      return;
    }
    const entry = this.references.ownedAt(seq);
    entry.unmakeable = "it is an item of a generator, which is not run again";
    this.#take(entry, payload, from);
    call.generator.push(entry);
  }

  /** As {@link failPromised}. */
  fail(call: Promised, error: Payload): void {
    failPromised(call, error, this.references);
  }

  /** Has `onOver` called when the signal aborts or the time is up. */
  watch(
    call: CallRecord,
    options: { signal: AbortSignal | undefined; timeout: number | undefined },
    onOver: (why: string) => void,
  ): void {
    const { signal, timeout } = options;
    if (signal === undefined && timeout === undefined) return;
    const onAbort = () => onOver("its signal was aborted");
    const timer =
      timeout === undefined
        ? undefined
        : setTimeout(() => onOver(`it was not done within its timeout of ${timeout} ms`), timeout);
    signal?.addEventListener("abort", onAbort, { once: true });
    call.cleanup = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    if (signal?.aborted) onAbort();
  }

  /** Whether what the user's code threw is one of the classes. */
  isOneOf(error: Payload, classes: readonly ErrorClass[]): boolean {
    try {
      this.objects.unpack(error);
      return false;
    } catch (thrown) {
      const cause = thrown instanceof TaskError ? thrown.cause : thrown;
      return classes.some(
        (Class) => cause instanceof Class || (cause instanceof Error && cause.name === Class.name),
      );
    }
  }

  /** As {@link isOneOf}, for classes known by name only. */
  isNamed(error: Payload, names: readonly string[]): boolean {
    try {
      this.objects.unpack(error);
      return false;
    } catch (thrown) {
      const cause: unknown = thrown instanceof TaskError ? thrown.cause : thrown;
      if (cause instanceof Error && names.includes(cause.name)) return true;
      for (
        let proto: unknown = cause;
        typeof proto === "object" && proto !== null;
        proto = Object.getPrototypeOf(proto)
      ) {
        if (names.includes(proto.constructor.name)) return true;
      }
      return false;
    }
  }

  /** First line of an error's message, for listings. */
  describeError(error: Payload): string {
    try {
      this.objects.unpack(error);
      return "";
    } catch (thrown) {
      return String((thrown as Error).message).split("\n")[0] ?? "";
    }
  }

  /** Takes a value from a worker. Refs inside are taken over before the worker lets go of them. */
  #take(entry: ObjectEntry, payload: Payload, from: Channel): void {
    const held = this.objects.hold(payload);
    if (held !== undefined) {
      entry.held = held;
      const settled = this.references.borrowsSettled() ?? Promise.resolve();
      void settled.then(() => from.send([Peer.resultTaken, entry.seq]));
    }
    this.objects.settle(entry, payload);
  }

  /** What a worker sent is not wanted: it lets go of what is inside, and what lies in a store is freed with its object. */
  #drop(seq: number, payload: Payload, from: Channel): void {
    if (payload[0] === PayloadKind.stored) for (const node of payload[2]) this.references.onCopyAt(seq, node);
    if (this.objects.hasRefs(payload)) from.send([Peer.resultTaken, seq]);
  }
}
