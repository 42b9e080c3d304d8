/**
 * From values to objects and back: where a value goes when it is put (inline or store), and how an entry becomes a
 * value again (memory, the node's store, or a pull through the raylet). Serves steps 2 and 8 of the main path.
 */

import type { Endpoint } from "../base/endpoint.ts";
import {
  InvalidOptionError,
  ObjectLostError,
  ObjectStoreFullError,
  OwnerDiedError,
  SerializationError,
} from "../base/errors.ts";
import { objectIdOf, objectKey } from "../base/ids.ts";
import type { Channel } from "../rpc/channel.ts";
import { Local, type Payload, PayloadKind, Peer, type RefList, type Slice } from "../rpc/messages.ts";
import type { ValueCodec } from "../serialize/codec.ts";
import { type AnyFunction, type EncodeOptions, NotLoaded } from "../serialize/hooks.ts";
import { fromBytes, layoutOf, toBytes } from "../serialize/layout.ts";
import type { ObjectStore } from "../store/object-store.ts";
import { Collector } from "./collector.ts";
import { nativeDeathWatch } from "./death-watch.ts";
import { type ObjectEntry, OwnedRecord } from "./entries.ts";
import type { RayletLink } from "./raylet-link.ts";
import type { NodeTuple } from "./reference-machine.ts";
import type { ReferenceTable } from "./reference-table.ts";

/** Values up to this size travel with the call; larger ones lie in the node's store. */
export const INLINE_BYTES_MAX = 100 * 1024;
const STRING_PLAIN_CHARS_MAX = 1024;
/** Smaller parts are copied: a name costs the reader another object to be had. */
const SLICE_BYTES_MIN = 64 * 1024;
const NO_BYTES = new Uint8Array(0);
const NO_SLICES: readonly Slice[] = [];
const PULL_ATTEMPTS_MAX = 3;
const LOAD_ROUNDS_MAX = 10;

const NO_COPY = "every node that held a copy is gone";

/** A value on its way out: its payload, and the entries that must live as long as it does. */
export interface Outgoing {
  readonly payload: Payload;
  readonly held: readonly ObjectEntry[] | undefined;
  /** Code that the payload lacks and that must reach its reader first, by hash. */
  readonly definitions?: ReadonlyMap<string, unknown> | undefined;
}

/** How a value travels. */
export interface PackOptions extends EncodeOptions {
  /** It goes with the message whatever its size, up to this; larger ones are refused. */
  readonly inlineBytesMax?: number;
}

export interface ObjectAccessParts {
  readonly references: ReferenceTable;
  readonly codec: ValueCodec;
  readonly store: ObjectStore;
  readonly raylet: RayletLink;
  /** The raylet's endpoint: where objects stored here can be pulled from. */
  readonly rayletTuple: NodeTuple;
  readonly channelTo: (owner: ObjectEntry["owner"]) => Channel;
  /** Process id of the job's driver: what it owns lives as long as the job. */
  readonly driverId: string;
  /** Whether that process, a detached actor, may live on after the driver. */
  readonly outlivesDriver: (processId: string) => boolean;
  /** Starts making a lost object of this process again. @returns why it cannot be, else undefined */
  readonly reconstruct: (entry: ObjectEntry) => string | undefined;
}

export class ObjectAccess {
  readonly #parts: ObjectAccessParts;
  readonly #collector: Collector;
  #nextRequest = 1;
  /** Which object a mapping shows. It stays alive with it, so that what is passed on can be passed on by name. */
  readonly #sources = new WeakMap<ArrayBufferLike, ObjectEntry>();
  readonly #asked = new Map<number, { entry: ObjectEntry; channel: Channel }>();

  constructor(parts: ObjectAccessParts) {
    this.#parts = parts;
    const { store, references } = parts;
    this.#collector = new Collector({
      storeBytes: store.stats().capacityBytes,
      usedBytes: () => store.stats().usedBytes,
      isHolding: () => references.isHolding || store.viewsElsewhere > 0,
      watchDeath: nativeDeathWatch(),
      sweep: () => {
        store.sweepViews();
        return references.sweep();
      },
    });
    references.onChange = () => this.#collector.look();
  }

  /**
   * Turns a value into a payload; a large one is sealed in this node's store under `(ownerId, seq)`.
   * @throws SerializationError naming `where` and the path; ObjectStoreFullError
   */
  pack(value: unknown, ownerId: string, seq: number, where: string, options: PackOptions = {}): Outgoing {
    if (isPlain(value)) return { payload: [PayloadKind.plain, value], held: undefined };
    const { codec, references } = this.#parts;
    const inside: ObjectEntry[] = [];
    const encoded = references.encodeWith(inside, () => codec.encode(value, where, options));
    const isApart = options.definitionsApart === true && encoded.definitions.size > 0;
    const definitions = isApart ? encoded.definitions : undefined;
    const { inlineBytesMax } = options;
    if (inlineBytesMax !== undefined && encoded.byteLength > inlineBytesMax)
      throw new InvalidOptionError(
        `${where} take ${encoded.byteLength} bytes, and at most ${inlineBytesMax} may be kept with a detached actor: give it the data in a call instead`,
      );
    const isInline = encoded.byteLength <= (inlineBytesMax ?? INLINE_BYTES_MAX);
    const { slices, buffers } = isInline
      ? { slices: undefined, buffers: encoded.buffers }
      : this.#slicesOf(encoded.buffers, inside, ownerId);
    const held = inside.length === 0 ? undefined : inside;
    const refs = held === undefined ? null : references.exportAll(held);
    if (isInline) return { payload: [PayloadKind.bytes, toBytes(encoded), refs], held, definitions };
    const { size, segments } = layoutOf({ payload: encoded.payload, buffers });
    const key = objectKey(ownerId, seq);
    try {
      this.#parts.store.put(key, size, segments);
    } catch (error) {
      // Room may be taken by what nobody uses any more.
      if (!(error instanceof ObjectStoreFullError)) throw error;
      this.#collector.now();
      this.#parts.store.put(key, size, segments);
    }
    this.#collector.notePut(size);
    const copies = [this.#parts.rayletTuple];
    const payload: Payload =
      slices === undefined
        ? [PayloadKind.stored, size, copies, refs]
        : [PayloadKind.stored, size, copies, refs, slices];
    return { payload, held, definitions };
  }

  /**
   * Large parts of a value that are unchanged views of other objects are named instead of copied, and those objects are
   * added to what the value holds.
   */
  #slicesOf(
    buffers: readonly Uint8Array[],
    held: ObjectEntry[],
    ownerId: string,
  ): { readonly slices: readonly Slice[] | undefined; readonly buffers: readonly Uint8Array[] } {
    let slices: Slice[] | undefined;
    const copied = buffers.map((bytes, i) => {
      const viewed = bytes.byteLength < SLICE_BYTES_MIN ? undefined : this.#sources.get(bytes.buffer);
      const source = viewed !== undefined && this.#mayName(viewed, ownerId) ? viewed : undefined;
      const offset = source === undefined ? undefined : this.#parts.store.originOf(bytes);
      if (source === undefined || offset === undefined) return bytes;
      let place = held.indexOf(source);
      if (place < 0) place = held.push(source) - 1;
      slices ??= [];
      slices.push([i, place, offset, bytes.byteLength]);
      return NO_BYTES;
    });
    return slices === undefined ? { slices, buffers } : { slices, buffers: copied };
  }

  /** Whether an object of that owner may depend on this one: it was not freed, and it does not end before that owner does. */
  #mayName({ owner, payload }: ObjectEntry, ownerId: string): boolean {
    const { driverId, outlivesDriver } = this.#parts;
    const isDrivers = owner.processId === driverId && !outlivesDriver(ownerId);
    const endsNotBefore = owner.processId === ownerId || isDrivers;
    return endsNotBefore && payload?.[0] === PayloadKind.stored;
  }

  /** The flat bytes of an error, for a payload or a report. What the error drags along is dropped if it cannot travel. */
  packError(error: unknown): Uint8Array {
    const { codec, references } = this.#parts;
    const encode = (what: Error) =>
      toBytes(references.encodeWith(undefined, () => codec.encode(what, "the error", { dataOnly: true })));
    try {
      return encode(error as Error);
    } catch (cause) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      const plain = new Error(`${text}\n(its details could not be sent: ${(cause as Error).message})`);
      return encode(plain);
    }
  }

  errorPayload(error: unknown): Payload {
    return [PayloadKind.error, this.packError(error)];
  }

  /** Whether a function that was packed before, in whatever value, gives the same bytes each time. */
  isFixed(fn: AnyFunction): boolean {
    return this.#parts.codec.isFixed(fn);
  }

  /** A function as bytes that belong to no object. @throws SerializationError, also where it holds refs or actors */
  packFunction(fn: AnyFunction, where: string): Buffer {
    const { codec, references } = this.#parts;
    const inside: ObjectEntry[] = [];
    const encoded = references.encodeWith(inside, () => codec.encode(fn, where));
    if (encoded.handles.length > 0)
      throw new SerializationError(`cannot serialize ${where}: it uses refs, actors or remote functions`);
    return toBytes(encoded);
  }

  /** The inverse of {@link packFunction}. */
  async unpackFunction(bytes: Uint8Array): Promise<AnyFunction> {
    return (await this.#whenLoaded(() => this.#decode(bytes, undefined))) as AnyFunction;
  }

  /** `put`: a new owned entry that is ready. */
  put(value: unknown): ObjectEntry {
    const { references } = this.#parts;
    const entry = references.newOwned();
    const { payload, held } = this.pack(
      value,
      references.self.processId,
      entry.seq,
      "the value given to put()",
    );
    this.settlePut(entry, { payload, held });
    return entry;
  }

  settlePut(entry: ObjectEntry, { payload, held }: Outgoing): void {
    entry.held = held;
    entry.unmakeable = "it was put, so there is no task that makes it";
    this.settle(entry, payload);
  }

  /** Has an own object made again, or settled with an error, when every node that held a copy is known to be gone. */
  recoverLost(entry: ObjectEntry): void {
    const { payload } = entry;
    if (entry.owned && payload?.[0] === PayloadKind.stored && payload[2].length === 0)
      this.#recover(entry, payload, NO_COPY);
  }

  /** Settles an owned entry; copies in stores are freed with it. */
  settle(entry: ObjectEntry, payload: Payload): void {
    if (payload[0] === PayloadKind.stored) this.#parts.references.stored(entry, payload[1], payload[2]);
    entry.settle(payload);
  }

  /** Refs inside a payload that arrived become entries held by the one they are in. */
  hold(payload: Payload, container?: ObjectEntry): readonly ObjectEntry[] | undefined {
    const refs = refsOf(payload);
    return refs === null ? undefined : this.#parts.references.importAll(refs, container);
  }

  /** Whether there are refs inside. */
  hasRefs(payload: Payload): boolean {
    return refsOf(payload) !== null;
  }

  /** Makes sure the entry's payload is on its way: asks the owner of a borrowed one. */
  ask(entry: ObjectEntry, copyLost = false): void {
    if (entry.owned || entry.asked || entry.payload !== undefined) return;
    entry.asked = true;
    const channel = this.#parts.channelTo(entry.owner);
    if (channel.closed) {
      this.#ownerDied(entry);
      return;
    }
    const requestId = this.#nextRequest++;
    this.#asked.set(requestId, { entry, channel });
    channel.send([Peer.getValue, requestId, entry.seq, copyLost]);
  }

  /** Resolves when the payload is known. */
  ready(entry: ObjectEntry): Promise<void> {
    this.ask(entry);
    return new Promise((resolve) => entry.whenReady(resolve));
  }

  /**
   * The value of an entry whose payload is known.
   * @throws the error it stands for; ObjectLostError when every copy is gone
   */
  async materialise(entry: ObjectEntry): Promise<unknown> {
    const found = await this.#bytesOf(entry);
    if (!("bytes" in found)) return this.#whenLoaded(() => this.unpack(found.payload, entry.held));
    return this.#decodeStored(found.bytes, found.slices, entry.held);
  }

  /** The sealed bytes of an object, or the payload of one that lies in no store. @throws ObjectLostError */
  async #bytesOf(
    entry: ObjectEntry,
  ): Promise<{ readonly payload: Payload } | { readonly bytes: Buffer; readonly slices: readonly Slice[] }> {
    for (let attempt = 0; ; attempt++) {
      if (entry.payload === undefined) await this.ready(entry);
      const payload = entry.payload as Payload;
      // One that came along with the arguments of a call has been held by the caller until now.
      entry.held ??= this.hold(payload, entry);
      if (payload[0] !== PayloadKind.stored) return { payload };
      const found = await this.#fetch(entry.owner, entry.seq, payload[2], entry);
      if (typeof found !== "string") {
        this.#sources.set(found.buffer, entry);
        return { bytes: found, slices: payload[4] ?? NO_SLICES };
      }
      if (attempt >= PULL_ATTEMPTS_MAX) throw this.#lostError(entry, found);
      this.#recover(entry, payload, found);
    }
  }

  /** A stored value; parts of it that lie in other objects are mapped from there. */
  async #decodeStored(
    bytes: Uint8Array,
    slices: readonly Slice[],
    held: readonly ObjectEntry[] | undefined,
  ): Promise<unknown> {
    if (slices.length === 0) return this.#whenLoaded(() => this.#decode(bytes, held));
    const { payload, buffers } = fromBytes(bytes);
    const found = slices.map(async ([buffer, place, offset, byteLength]) => {
      const entry = held?.[place];
      const object = entry === undefined ? undefined : await this.#bytesOf(entry);
      if (object !== undefined && "payload" in object) this.unpack(object.payload); // it may stand for an error
      const part = object !== undefined && "bytes" in object ? object.bytes : NO_BYTES;
      if (part.byteLength < offset + byteLength || buffer >= buffers.length)
        throw new SerializationError("cannot decode a value: an object has not the part that it names");
      buffers[buffer] = part.subarray(offset, offset + byteLength);
    });
    await Promise.all(found);
    return this.#whenLoaded(() => this.#decodeParts(payload, buffers, held));
  }

  /** The value of a payload that is not in a store. @throws the error it stands for */
  unpack(payload: Payload, refs = this.hold(payload)): unknown {
    if (payload[0] === PayloadKind.plain) return payload[1];
    if (payload[0] === PayloadKind.stored)
      throw new SerializationError("a stored payload has no value of its own");
    const value = this.#decode(payload[1], refs);
    if (payload[0] === PayloadKind.error) throw value;
    return value;
  }

  /** A stored payload's value under a key of the caller's (packed arguments). */
  async materialisePayload(payload: Payload, owner: Endpoint, seq: number): Promise<unknown> {
    if (payload[0] !== PayloadKind.stored) return this.#whenLoaded(() => this.unpack(payload));
    const found = await this.#fetch(owner, seq, payload[2]);
    if (typeof found === "string") {
      const objectId = objectIdOf(owner.processId, seq);
      throw new ObjectLostError(`object ${objectId} is lost: ${found}`, { objectId });
    }
    return this.#decodeStored(found, payload[4] ?? NO_SLICES, this.hold(payload));
  }

  #lostError(entry: ObjectEntry, reason: string): ObjectLostError {
    const objectId = objectIdOf(entry.owner.processId, entry.seq);
    return new ObjectLostError(`object ${objectId} is lost: ${reason}`, { objectId });
  }

  /** Gives back the memory of a view that came out of the store. @returns false when it did not */
  release(view: Uint8Array): boolean {
    this.#sources.delete(view.buffer);
    return this.#parts.store.release(view);
  }

  /** The store is nearly full: this process lets go of what it no longer needs. */
  collectGarbage(): void {
    this.#collector.now();
  }

  /** A call that may have held objects is over. */
  noteCallEnded(): void {
    this.#collector.look();
  }

  /** Drops the local copy here and has the raylet drop the others. */
  freeCopies(key: Buffer, copies: readonly NodeTuple[]): void {
    this.#parts.store.delete(key);
    const others = this.#elsewhere(copies);
    if (others.length > 0 && !this.#parts.raylet.channel.closed)
      this.#parts.raylet.channel.send([Local.dropCopies, key, others]);
  }

  /** Has the first of these copies, which may be evicted, kept for good, or brought there from another of them. */
  keepCopy(key: Buffer, copies: readonly NodeTuple[]): void {
    const { channel } = this.#parts.raylet;
    if (!channel.closed) channel.send([Local.keepCopy, key, copies]);
  }

  /** Frees an entry's copies although refs to it are left. */
  freeEntry(entry: ObjectEntry, copies: readonly NodeTuple[]): void {
    this.freeCopies(objectKey(entry.owner.processId, entry.seq), copies);
    if (entry.record instanceof OwnedRecord) entry.record.copies = undefined;
  }

  // --- messages between owners and borrowers ---

  /** @param copyLost the asker could not get at a copy: look again first, and make the object anew if it is gone */
  async onGetValue(from: Channel, requestId: number, seq: number, copyLost: boolean): Promise<void> {
    const entry = this.#parts.references.lookup(seq);
    if (entry === undefined) {
      const objectId = objectIdOf(this.#parts.references.self.processId, seq);
      const gone = new ObjectLostError(`object ${objectId} was freed: no ref to it was left at its owner`, {
        objectId,
      });
      from.send([Peer.value, requestId, this.errorPayload(gone)]);
      return;
    }
    if (copyLost) await this.#checkCopies(entry);
    entry.whenReady(() => from.send([Peer.value, requestId, entry.payload]));
  }

  onValue(requestId: number, payload: Payload): void {
    const entry = this.#asked.get(requestId)?.entry;
    this.#asked.delete(requestId);
    if (entry === undefined) return;
    entry.held = this.hold(payload, entry);
    entry.settle(payload);
  }

  async #checkCopies(entry: ObjectEntry): Promise<void> {
    const payload = entry.payload;
    if (payload === undefined || payload[0] !== PayloadKind.stored) return;
    const found = await this.#fetch(entry.owner, entry.seq, payload[2]);
    if (typeof found === "string" && entry.payload === payload) this.#recover(entry, payload, found);
  }

  /** @param why the channel is closed, where that is known */
  onPeerClosed(channel: Channel, why: string | undefined): void {
    for (const [requestId, asked] of this.#asked) {
      if (asked.channel !== channel) continue;
      this.#asked.delete(requestId);
      this.#ownerDied(asked.entry, why);
    }
  }

  #ownerDied(entry: ObjectEntry, why?: string): void {
    const objectId = objectIdOf(entry.owner.processId, entry.seq);
    const error = new OwnerDiedError(
      `object ${objectId} cannot be had: its owner (process ${entry.owner.pid} on node ${entry.owner.nodeId}) is gone${why === undefined ? "" : `: ${why}`}`,
      { objectId },
    );
    if (entry.payload === undefined) entry.settle(this.errorPayload(error));
  }

  /** @returns the sealed bytes, or why they could not be had */
  async #fetch(
    owner: Endpoint,
    seq: number,
    copies: readonly NodeTuple[],
    entry?: ObjectEntry,
  ): Promise<Buffer | string> {
    const key = objectKey(owner.processId, seq);
    const here = this.#map(key, entry);
    if (here !== undefined) return here;
    const others = this.#elsewhere(copies);
    if (others.length === 0) {
      return copies.length === 0 ? NO_COPY : "its only copy, on this node, is gone";
    }
    const failed = await this.#parts.raylet.pull(key, others);
    if (failed !== null) return failed;
    this.#tellOfCopy(owner, seq);
    return this.#map(key, entry) ?? "its copy was evicted before it could be read";
  }

  /** This node has a copy now: whoever frees the object must know, and later readers may come here for it. */
  #tellOfCopy(owner: Endpoint, seq: number): void {
    const { references, rayletTuple, channelTo } = this.#parts;
    if (owner.processId === references.self.processId) references.onCopyAt(seq, rayletTuple);
    else channelTo(owner).send([Peer.copyAt, seq, rayletTuple]);
  }

  #elsewhere(copies: readonly NodeTuple[]): readonly NodeTuple[] {
    return copies.filter((node) => node[0] !== this.#parts.rayletTuple[0]);
  }

  #map(key: Buffer, entry: ObjectEntry | undefined): Buffer | undefined {
    const bytes = this.#parts.store.get(key);
    if (bytes === undefined) return undefined;
    this.#collector.noteView(bytes, entry?.isViewed === true);
    if (entry !== undefined) entry.isViewed = true;
    return bytes;
  }

  #recover(entry: ObjectEntry, seen: Payload, reason: string): void {
    if (!entry.owned) {
      entry.asked = false;
      entry.unsettle();
      this.ask(entry, true);
    } else if (entry.payload === seen) {
      const unmakeable = this.#parts.reconstruct(entry);
      if (unmakeable === undefined) return;
      const error = this.#lostError(entry, `${reason}, and it cannot be made again: ${unmakeable}`);
      this.settle(entry, this.errorPayload(error));
    }
  }

  /** Functions in a value may need modules that are not loaded here yet; what these use is known after a round. */
  async #whenLoaded<T>(decode: () => T): Promise<T> {
    for (let round = 1; ; round++) {
      try {
        return decode();
      } catch (error) {
        if (!(error instanceof NotLoaded) || round > LOAD_ROUNDS_MAX) throw error;
        await error.load();
      }
    }
  }

  #decode(bytes: Uint8Array, refs: readonly ObjectEntry[] | undefined): unknown {
    const { payload, buffers } = fromBytes(bytes);
    return this.#decodeParts(payload, buffers, refs);
  }

  #decodeParts(
    payload: Uint8Array,
    buffers: readonly Uint8Array[],
    refs: readonly ObjectEntry[] | undefined,
  ): unknown {
    const { codec, references } = this.#parts;
    return references.decodeWith(refs, () => codec.decode(payload, buffers));
  }
}

function refsOf(payload: Payload): RefList | null {
  if (payload[0] === PayloadKind.bytes) return payload[2];
  return payload[0] === PayloadKind.stored ? payload[3] : null;
}

/** Whether msgpack carries the value as it is, losing nothing. */
export function isPlain(value: unknown): boolean {
  switch (typeof value) {
    case "undefined":
    case "boolean":
      return true;
    case "number":
      return !Object.is(value, -0);
    case "string":
      return value.length <= STRING_PLAIN_CHARS_MAX && value.isWellFormed();
    default:
      return value === null;
  }
}
