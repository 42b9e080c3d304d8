/**
 * What is kept of finished calls, of functions and of actors, so that their results can be made again when every copy is
 * lost: which calls, and how many bytes of arguments that takes at this owner. The oldest are forgotten first. Serves
 * step 8 of a task's way.
 */
import { InvalidOptionError } from "../base/errors.ts";
import type { ObjectEntry } from "../ownership/entries.ts";
import { type ArgsPayload, PayloadKind } from "../rpc/messages.ts";
import type { CallRecord } from "./call-record.ts";

/** Arguments that are kept for lineage alone, per process. */
const BYTES_MAX = 256 * 1024 * 1024;
/** The record, its entries and its place here. */
const CALL_BYTES = 1024;
const REF_BYTES = 128;
const VALUE_BYTES = 8;

const EVICTED =
  "its lineage was evicted: the arguments of finished tasks took more than this process keeps for making results again";

interface Kept {
  /** Weak: it lives as long as one of its results. */
  readonly call: WeakRef<CallRecord>;
  readonly bytes: number;
}

export class Lineage {
  readonly #bytesMax: number;
  /** By the number of the call's first result in a store; oldest first. */
  readonly #kept = new Map<number, Kept>();
  #bytes = 0;

  /** @throws InvalidOptionError when TSRAY_LINEAGE_BYTES is no number of bytes */
  constructor() {
    this.#bytesMax = bytesMaxOf(process.env.TSRAY_LINEAGE_BYTES);
  }

  /** A call is done; it can be lost only where its results lie in stores. */
  keep(call: CallRecord): void {
    const first = call.returns.find(({ payload }) => payload?.[0] === PayloadKind.stored);
    if (first === undefined) return;
    const kept = { call: new WeakRef(call), bytes: CALL_BYTES + bytesOf(call.args) };
    this.#kept.set(first.seq, kept);
    this.#bytes += kept.bytes;
    for (const [seq, oldest] of this.#kept) {
      if (this.#bytes <= this.#bytesMax) break;
      this.forget(seq);
      evict(oldest.call.deref());
    }
  }

  /** What the calls keep alive, so that they can run again. */
  *pinnedEntries(): IterableIterator<ObjectEntry> {
    for (const { call } of this.#kept.values()) yield* call.deref()?.held ?? [];
  }

  /** The call runs again. */
  resume(call: CallRecord): void {
    for (const { seq } of call.returns) this.forget(seq);
  }

  /** The object with that number is gone. */
  forget(seq: number): void {
    const kept = this.#kept.get(seq);
    if (kept === undefined) return;
    this.#kept.delete(seq);
    this.#bytes -= kept.bytes;
  }
}

function evict(call: CallRecord | undefined): void {
  for (const entry of call?.returns ?? []) {
    entry.task = undefined;
    entry.unmakeable = EVICTED;
  }
}

function bytesOf(args: ArgsPayload): number {
  if (args[0] === 0)
    return args[1].reduce<number>(
      (sum, value) => sum + VALUE_BYTES + (typeof value === "string" ? value.length : 0),
      0,
    );
  const [, packed, refs] = args;
  return (packed[0] === PayloadKind.bytes ? packed[1].byteLength : 0) + refs.length * REF_BYTES;
}

function bytesMaxOf(given: string | undefined): number {
  if (given === undefined || given === "") return BYTES_MAX;
  const bytes = Number(given);
  if (!Number.isSafeInteger(bytes) || bytes < 0)
    throw new InvalidOptionError(
      `TSRAY_LINEAGE_BYTES must be a whole number of bytes, 0 or more, got "${given}"`,
    );
  return bytes;
}
