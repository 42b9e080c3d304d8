/**
 * Who holds what: owner-based reference counting over JavaScript's own reachability.
 *
 * An owned entry that was sent away or lies in a store is watched: while a borrower counts on it, it is kept in `lent`;
 * when nothing reaches it any more, its copies are freed. A borrowed entry is watched from the start: its owner counts
 * this process until it is collected here. Never looks at values.
 */
import { type Endpoint, endpointFromTuple, endpointToTuple } from "../base/endpoint.ts";
import { SerializationError } from "../base/errors.ts";
import { objectKey } from "../base/ids.ts";
import type { Channel } from "../rpc/channel.ts";
import { Peer, type RefTuple } from "../rpc/messages.ts";
import { ObjectEntry, type Remains } from "./entries.ts";

/** What the table needs of the rest of the process. */
export interface ReferenceEffects {
  /** The channel to an owner. */
  channelTo(owner: Endpoint): Channel;
  /** Frees the copies of an object that nobody can reach any more. */
  freeCopies(key: Buffer, copies: readonly unknown[]): void;
  /** Settles an entry with ObjectLostError: its object was freed before the ref came back. */
  markLost(entry: ObjectEntry): void;
}

interface Lent {
  readonly entry: ObjectEntry;
  /** How often each borrower has said that it holds the object. */
  readonly borrowers: Map<Channel, number>;
}

/** Refs of one owner that arrived in one turn. */
interface BorrowBatch {
  readonly seqs: number[];
  readonly promise: Promise<void>;
  readonly resolve: () => void;
}

export class ReferenceTable {
  /** This process; its sockets are filled in when it connects, before the first ref leaves. */
  readonly self: Endpoint;
  readonly #effects: ReferenceEffects;
  /** Told when a foreign ref arrives, and when the last borrower of an own one lets go: garbage may matter to others. */
  onChange: () => void = () => {};
  #selfTuple: readonly unknown[] | undefined;
  #nextSeq = 1;
  /** Owned entries that others may ask for. */
  readonly #owned = new Map<number, WeakRef<ObjectEntry>>();
  readonly #lent = new Map<number, Lent>();
  /** Borrowed entries by owner and number. */
  readonly #borrowed = new Map<string, WeakRef<ObjectEntry>>();
  readonly #collected = new FinalizationRegistry<Remains>((remains) => this.#onCollected(remains));
  #nextRequest = 1;
  readonly #borrowReplies = new Map<number, BorrowBatch & { readonly channel: Channel }>();
  readonly #pendingBorrows = new Map<string, BorrowBatch>();

  constructor(self: Endpoint, effects: ReferenceEffects) {
    this.self = self;
    this.#effects = effects;
  }

  /** A new object of this process. */
  newOwned(): ObjectEntry {
    return new ObjectEntry(this.self, this.#nextSeq++, true);
  }

  /** An object of this process under a number chosen beforehand (items of generators). */
  ownedAt(seq: number): ObjectEntry {
    return new ObjectEntry(this.self, seq, true);
  }

  /** Whether an object lives for the sake of something in this process: refs to others' objects, or watched ones of its own. */
  get isHolding(): boolean {
    return this.#borrowed.size > 0 || this.#owned.size > 0;
  }

  /** How many objects of this process others hold. */
  get lentCount(): number {
    return this.#lent.size;
  }

  /** Watches an owned entry's collection, so that its copies are freed (or `onFree` called) with its last ref. */
  watch(entry: ObjectEntry, onFree?: () => void): Remains {
    if (entry.remains === undefined) {
      const remains: Remains = {
        owner: entry.owner,
        seq: entry.seq,
        owned: entry.owned,
        copies: undefined,
        onFree,
      };
      entry.remains = remains;
      this.#collected.register(entry, remains);
      if (entry.owned) this.#owned.set(entry.seq, new WeakRef(entry));
    } else if (onFree !== undefined) {
      entry.remains.onFree = onFree;
    }
    return entry.remains;
  }

  /** The wire form of a ref that leaves this process. */
  export(entry: ObjectEntry): RefTuple {
    if (!entry.owned) return [endpointToTuple(entry.owner), entry.seq];
    this.watch(entry);
    this.#selfTuple ??= endpointToTuple(this.self);
    return [this.#selfTuple, entry.seq];
  }

  /**
   * The entry behind a ref that arrived. A foreign one counts as borrowed from now on: `entry.registered` settles once
   * its owner knows, and whoever passed it must hold it until then.
   * @throws SerializationError when it is no ref
   */
  import(tuple: unknown): ObjectEntry {
    const [ownerTuple, seq] = Array.isArray(tuple) ? (tuple as unknown[]) : [];
    const owner = endpointFromTuple(ownerTuple);
    if (owner === undefined || typeof seq !== "number")
      throw new SerializationError("a ref that arrived is malformed");
    if (owner.processId === this.self.processId) {
      const known = this.#owned.get(seq)?.deref();
      if (known !== undefined) return known;
      const gone = new ObjectEntry(this.self, seq, true);
      this.#effects.markLost(gone);
      return gone;
    }
    const id = `${owner.processId}:${seq}`;
    const known = this.#borrowed.get(id)?.deref();
    if (known !== undefined) return known;
    const entry = new ObjectEntry(owner, seq, false);
    this.#borrowed.set(id, new WeakRef(entry));
    this.watch(entry);
    this.onChange();
    entry.registered = this.#borrow(owner, seq).then(() => {
      entry.registered = undefined;
    });
    return entry;
  }

  /** The owned entry of that number, if anything still reaches it. */
  lookup(seq: number): ObjectEntry | undefined {
    return this.#lent.get(seq)?.entry ?? this.#owned.get(seq)?.deref();
  }

  /** Resolves when every owner knows of the refs that have arrived so far; undefined when they all do already. */
  borrowsSettled(): Promise<void> | undefined {
    if (this.#pendingBorrows.size === 0 && this.#borrowReplies.size === 0) return undefined;
    const waits = [...this.#pendingBorrows.values(), ...this.#borrowReplies.values()].map((b) => b.promise);
    return Promise.all(waits).then(() => {});
  }

  // --- messages of the borrow protocol ---

  onBorrow(from: Channel, requestId: number, seqs: readonly number[]): void {
    for (const seq of seqs) {
      const entry = this.lookup(seq);
      if (entry === undefined) continue;
      let lent = this.#lent.get(seq);
      if (lent === undefined) {
        lent = { entry, borrowers: new Map() };
        this.#lent.set(seq, lent);
      }
      lent.borrowers.set(from, (lent.borrowers.get(from) ?? 0) + 1);
    }
    from.send([Peer.borrowed, requestId]);
  }

  onBorrowed(requestId: number): void {
    this.#borrowReplies.get(requestId)?.resolve();
    this.#borrowReplies.delete(requestId);
  }

  onUnborrow(from: Channel, seqs: readonly number[]): void {
    for (const seq of seqs) this.#giveUp(seq, from, 1);
  }

  /** A process is gone: it borrows nothing any more, and nothing it owed will come. */
  onPeerClosed(channel: Channel): void {
    for (const [seq, lent] of this.#lent) {
      if (lent.borrowers.has(channel)) this.#giveUp(seq, channel, Number.POSITIVE_INFINITY);
    }
    for (const [requestId, waiting] of this.#borrowReplies) {
      if (waiting.channel !== channel) continue;
      waiting.resolve();
      this.#borrowReplies.delete(requestId);
    }
  }

  #giveUp(seq: number, from: Channel, times: number): void {
    const lent = this.#lent.get(seq);
    const held = lent?.borrowers.get(from);
    if (lent === undefined || held === undefined) return;
    if (held > times) lent.borrowers.set(from, held - times);
    else lent.borrowers.delete(from);
    if (lent.borrowers.size > 0) return;
    this.#lent.delete(seq);
    this.onChange();
  }

  /** Tells the owner, together with all other refs of it that arrived in this turn. */
  #borrow(owner: Endpoint, seq: number): Promise<void> {
    let batch = this.#pendingBorrows.get(owner.processId);
    if (batch === undefined) {
      let resolve = () => {};
      const promise = new Promise<void>((r) => {
        resolve = r;
      });
      const sent: BorrowBatch = { seqs: [], resolve, promise };
      batch = sent;
      this.#pendingBorrows.set(owner.processId, sent);
      queueMicrotask(() => {
        this.#pendingBorrows.delete(owner.processId);
        const channel = this.#effects.channelTo(owner);
        const requestId = this.#nextRequest++;
        this.#borrowReplies.set(requestId, { ...sent, channel });
        if (channel.closed) this.onBorrowed(requestId);
        else channel.send([Peer.borrow, requestId, sent.seqs]);
      });
    }
    batch.seqs.push(seq);
    return batch.promise;
  }

  #onCollected(remains: Remains): void {
    if (remains.owned) {
      // A later import of the same number may have made a new entry; only an empty slot is dropped.
      if (this.#owned.get(remains.seq)?.deref() === undefined) this.#owned.delete(remains.seq);
      if (remains.onFree !== undefined) remains.onFree();
      else if (remains.copies !== undefined) {
        this.#effects.freeCopies(objectKey(remains.owner.processId, remains.seq), remains.copies);
      }
      return;
    }
    const id = `${remains.owner.processId}:${remains.seq}`;
    if (this.#borrowed.get(id)?.deref() === undefined) this.#borrowed.delete(id);
    const channel = this.#effects.channelTo(remains.owner);
    if (!channel.closed) channel.send([Peer.unborrow, [remains.seq]]);
  }
}
