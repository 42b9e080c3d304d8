/**
 * Who holds what: binds the rules of reference-machine.ts to JavaScript's own reachability and to the channels.
 *
 * An owned entry that was sent away or lies in a store is watched: while a borrower counts on it, its record keeps it;
 * when nothing reaches it any more, its copies are freed. A borrowed entry is watched from the start: its owner counts
 * this process until it is collected here. Never looks at values.
 */
import { type Endpoint, endpointFromTuple, endpointToTuple } from "../base/endpoint.ts";
import { SerializationError } from "../base/errors.ts";
import { objectKey } from "../base/ids.ts";
import type { Channel } from "../rpc/channel.ts";
import { Peer, type RefList, type RefTuple } from "../rpc/messages.ts";
import { callSite, recordsCallSites } from "./call-site.ts";
import { nativeDeathWatch, type WatchDeath } from "./death-watch.ts";
import { BorrowedRecord, ObjectEntry, OwnedRecord } from "./entries.ts";
import { type NodeTuple, type ReferenceEffects, ReferenceMachine } from "./reference-machine.ts";

/** What the table needs of the rest of the process. */
export interface ReferenceTableParts {
  /** The channel to an owner. */
  channelTo(owner: Endpoint): Channel;
  /** Frees the copies of an object that nobody can reach any more. */
  freeCopies(key: Buffer, copies: readonly NodeTuple[]): void;
  /** Has the first of these copies kept for good, or brought there from another of them. */
  keepCopy(key: Buffer, copies: readonly NodeTuple[]): void;
  /** Settles an entry with ObjectLostError: its object was freed before the ref came back. */
  markLost(entry: ObjectEntry): void;
}

export class ReferenceTable {
  /** This process; its sockets are filled in when it connects, before the first ref leaves. */
  readonly self: Endpoint;
  readonly #parts: ReferenceTableParts;
  readonly #machine: ReferenceMachine<Endpoint, object>;
  /** Told when a foreign ref arrives, and when the last borrower of an own one lets go: garbage may matter to others. */
  onChange: () => void = () => {};
  /** Told the number of an own object that is gone. */
  onFreed: (seq: number) => void = () => {};
  #selfTuple: readonly unknown[] | undefined;
  #nextSeq = 1;
  /** Refs of the value that is being encoded, and of the one that is being decoded. */
  #encoding: ObjectEntry[] | undefined;
  #decoding: readonly ObjectEntry[] | undefined;
  readonly #collected = new FinalizationRegistry<OwnedRecord | BorrowedRecord>((record) =>
    this.#onCollected(record),
  );
  /** Own objects whose death the addon can tell without waiting for the end of the turn. */
  readonly #deathWatched = new Set<OwnedRecord>();
  #watchDeath: WatchDeath | null | undefined;
  /** What arrived in this turn. */
  #fresh: BorrowedRecord[] = [];

  constructor(self: Endpoint, parts: ReferenceTableParts) {
    this.self = self;
    this.#parts = parts;
    this.#machine = new ReferenceMachine<Endpoint, object>(this.#effects());
  }

  /** A new object of this process. */
  newOwned(): ObjectEntry {
    const entry = new ObjectEntry(this.self, this.#nextSeq++, true);
    if (recordsCallSites) entry.callSite = callSite();
    return entry;
  }

  /** An object of this process under a number chosen beforehand (items of generators). */
  ownedAt(seq: number): ObjectEntry {
    return new ObjectEntry(this.self, seq, true);
  }

  /** Whether an object lives for the sake of something in this process: refs to others' objects, or watched ones of its own. */
  get isHolding(): boolean {
    return this.#machine.isHolding;
  }

  /** How many objects of this process others hold. */
  get lentCount(): number {
    return this.#machine.lentCount;
  }

  /** An owned entry lies in these nodes' stores: its copies are freed with its last ref. */
  stored(entry: ObjectEntry, bytes: number, copies: NodeTuple[]): void {
    const record = this.#count(entry);
    record.storedBytes = bytes;
    this.#machine.stored(record, copies);
    if (this.#watchDeath === undefined) this.#watchDeath = nativeDeathWatch();
    if (this.#watchDeath === null) this.#finalize(entry, record);
    else if (record.death === undefined) {
      record.death = this.#watchDeath(entry);
      this.#deathWatched.add(record);
    }
  }

  /** Has `onFree` called when the last ref to an owned entry is gone. */
  onLastDrop(entry: ObjectEntry, onFree: () => void): void {
    const record = this.#count(entry);
    record.onFree = onFree;
    this.#finalize(entry, record);
  }

  /** Runs an encoder. The refs that it meets are put into `list`, which travels beside the value; no list, no beside. */
  encodeWith<T>(list: ObjectEntry[] | undefined, encode: () => T): T {
    const outer = this.#encoding;
    this.#encoding = list;
    try {
      return encode();
    } finally {
      this.#encoding = outer;
    }
  }

  /** Runs a decoder of a value that came with these refs beside it. */
  decodeWith<T>(list: readonly ObjectEntry[] | undefined, decode: () => T): T {
    const outer = this.#decoding;
    this.#decoding = list;
    try {
      return decode();
    } finally {
      this.#decoding = outer;
    }
  }

  /** What stands for a ref inside a value: its place in the list beside, or all of it. */
  encode(entry: ObjectEntry): RefTuple | number {
    return this.#encoding === undefined ? this.export(entry) : this.#encoding.push(entry) - 1;
  }

  /** @throws SerializationError when it stands for no ref */
  decode(data: unknown): ObjectEntry {
    if (typeof data !== "number") return this.import(data);
    const entry = this.#decoding?.[data];
    if (entry === undefined) throw new SerializationError("a ref inside a value is not in its list of refs");
    return entry;
  }

  exportAll(entries: readonly ObjectEntry[]): RefList {
    const owners: (readonly unknown[])[] = [];
    const indexes = new Map<string, number>();
    const places: number[] = [];
    for (const entry of entries) {
      const [owner, seq] = this.export(entry);
      let index = indexes.get(entry.owner.processId);
      if (index === undefined) {
        index = owners.push(owner) - 1;
        indexes.set(entry.owner.processId, index);
      }
      places.push(index, seq);
    }
    return [owners, places];
  }

  /** @throws SerializationError when it is no list of refs */
  importAll(list: RefList, container?: ObjectEntry): ObjectEntry[] {
    const [owners, places] = list;
    const entries: ObjectEntry[] = [];
    for (let i = 0; i + 1 < places.length; i += 2)
      entries.push(this.#importOne(owners[places[i] as number], places[i + 1], container));
    return entries;
  }

  /** The wire form of a ref that leaves this process. */
  export(entry: ObjectEntry): RefTuple {
    if (!entry.owned) return [endpointToTuple(entry.owner), entry.seq];
    const record = this.#count(entry);
    record.weak ??= new WeakRef(entry);
    this.#finalize(entry, record);
    this.#selfTuple ??= endpointToTuple(this.self);
    return [this.#selfTuple, entry.seq];
  }

  /**
   * The entry behind a ref that arrived. A foreign one counts as borrowed from now on, and whoever passed it must hold it
   * until its owner knows ({@link borrowsSettled}).
   * @throws SerializationError when it is no ref
   */
  import(tuple: unknown): ObjectEntry {
    const [owner, seq] = Array.isArray(tuple) ? (tuple as unknown[]) : [];
    return this.#importOne(owner, seq, undefined);
  }

  /** @param container the entry in whose value it arrived, where that is what holds it until it is registered */
  #importOne(ownerTuple: unknown, seq: unknown, container: ObjectEntry | undefined): ObjectEntry {
    const ownerId = Array.isArray(ownerTuple) ? (ownerTuple[0] as unknown) : undefined;
    if (typeof ownerId !== "string" || typeof seq !== "number")
      throw new SerializationError("a ref that arrived is malformed");
    if (ownerId === this.self.processId) return this.lookup(seq) ?? this.#lost(seq);
    const known = this.#machine.borrowed(ownerId, seq) as BorrowedRecord | undefined;
    const alive = known?.fresh ?? known?.weak?.deref();
    if (alive !== undefined) return alive;
    const owner = this.#machine.lender(ownerId) ?? endpointFromTuple(ownerTuple);
    if (owner === undefined) throw new SerializationError("a ref that arrived is malformed");
    return this.#borrow(owner, seq, container);
  }

  /** The owned entry of that number, if it was ever sent away and anything still reaches it. */
  lookup(seq: number): ObjectEntry | undefined {
    const record = this.#machine.owned(seq) as OwnedRecord | undefined;
    return record?.kept ?? record?.weak?.deref();
  }

  /** Resolves when every owner knows of the refs that have arrived so far; undefined when they all do already. */
  borrowsSettled(): Promise<void> | undefined {
    let resolve = () => {};
    const isPending = this.#machine.onceRegistered(() => resolve());
    if (!isPending) return undefined;
    return new Promise((r) => {
      resolve = r;
    });
  }

  /**
   * Frees, after a collection, what nothing reaches any more, without waiting for the end of the turn.
   * @returns how many objects that were
   */
  sweep(): number {
    const before = this.#deathWatched.size;
    for (const record of this.#deathWatched) if (record.death?.isAlive() === false) this.#onCollected(record);
    return before - this.#deathWatched.size;
  }

  /** All that is counted here, own objects and others'. */
  *records(): IterableIterator<OwnedRecord | BorrowedRecord> {
    yield* this.#machine.ownedObjects() as IterableIterator<OwnedRecord>;
    yield* this.#machine.borrowedObjects() as IterableIterator<BorrowedRecord>;
  }

  /** The entry of a record, where it can be found: an own one that never left this process cannot. */
  entryOf(record: OwnedRecord | BorrowedRecord): ObjectEntry | undefined {
    const held = record instanceof OwnedRecord ? record.kept : record.fresh;
    return held ?? record.weak?.deref();
  }

  // --- messages ---

  onBorrow(from: Channel, requestId: number, seqs: readonly number[]): void {
    this.#machine.onBorrow(from, requestId, seqs);
  }

  onBorrowed(requestId: number): void {
    this.#machine.onBorrowed(requestId);
  }

  onUnborrow(from: Channel, seqs: readonly number[]): void {
    this.#machine.onUnborrow(from, seqs);
  }

  /** A node pulled a copy of an object of this process. @param lasts it keeps it until it is freed */
  onCopyAt(seq: number, node: NodeTuple, lasts = false): void {
    this.#machine.copyAt(seq, node, lasts);
  }

  /** A process is gone. */
  onPeerClosed(channel: Channel): void {
    this.#machine.peerGone(channel);
  }

  onNodeDied(nodeId: string): void {
    this.#machine.nodeGone(nodeId);
  }

  // --- helpers ---

  #effects(): ReferenceEffects<Endpoint, object> {
    return {
      flushSoon: () => queueMicrotask(() => this.#machine.flush()),
      borrow: (owner, requestId, seqs) => {
        const channel = this.#parts.channelTo(owner);
        if (channel.closed) return undefined;
        channel.send([Peer.borrow, requestId, seqs]);
        return channel;
      },
      unborrow: (owner, seqs) => this.#parts.channelTo(owner).send([Peer.unborrow, seqs]),
      acknowledge: (to, requestId) => (to as Channel).send([Peer.borrowed, requestId]),
      keep: (object) => {
        const record = object as OwnedRecord;
        record.kept = record.weak?.deref();
        return record.kept !== undefined;
      },
      letGo: (object) => {
        (object as OwnedRecord).kept = undefined;
        this.onChange();
      },
      free: (object) => {
        const { onFree, copies, seq } = object as OwnedRecord;
        this.onFreed(seq);
        if (onFree !== undefined) onFree();
        else if (copies !== undefined) this.#parts.freeCopies(objectKey(this.self.processId, seq), copies);
      },
      keepCopy: (seq, copies) => this.#parts.keepCopy(objectKey(this.self.processId, seq), copies),
      dropCopy: (seq, node) => this.#parts.freeCopies(objectKey(this.self.processId, seq), [node]),
    };
  }

  #count(entry: ObjectEntry): OwnedRecord {
    if (entry.record !== undefined) return entry.record as OwnedRecord;
    const record = new OwnedRecord(entry.seq);
    if (entry.callSite !== undefined) record.callSite = entry.callSite;
    entry.record = record;
    this.#machine.own(record);
    return record;
  }

  /** What only lies in a store goes without: the registry would keep it from being collected as young garbage. */
  #finalize(entry: ObjectEntry, record: OwnedRecord): void {
    if (record.isFinalized) return;
    record.isFinalized = true;
    this.#collected.register(entry, record);
  }

  #borrow(owner: Endpoint, seq: number, container: ObjectEntry | undefined): ObjectEntry {
    const holder = container?.record instanceof BorrowedRecord ? container.record : undefined;
    const record = new BorrowedRecord(owner, seq, holder);
    const entry = new ObjectEntry(owner, seq, false);
    entry.record = record;
    record.fresh = entry;
    this.#machine.imported(record);
    // Watching costs more than all the rest of a ref's arrival, and can wait until its value has been handed out.
    if (this.#fresh.push(record) === 1) setImmediate(() => this.#watchFresh());
    this.onChange();
    return entry;
  }

  #watchFresh(): void {
    const arrived = this.#fresh;
    this.#fresh = [];
    for (const record of arrived) {
      const entry = record.fresh as ObjectEntry;
      record.fresh = undefined;
      record.weak = new WeakRef(entry);
      this.#collected.register(entry, record);
    }
  }

  /** An own ref that came back after the object was freed. */
  #lost(seq: number): ObjectEntry {
    const gone = new ObjectEntry(this.self, seq, true);
    this.#parts.markLost(gone);
    return gone;
  }

  #onCollected(record: OwnedRecord | BorrowedRecord): void {
    if (record instanceof BorrowedRecord) this.#machine.borrowedUnreachable(record);
    else {
      this.#deathWatched.delete(record);
      this.#machine.ownedUnreachable(record);
    }
  }
}
