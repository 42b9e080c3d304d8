/**
 * The rules of reference counting in one process: what it owns, lends and borrows, and when an object may be freed.
 *
 * Serves step 8 of the main path. Pure: every method is an event, every method of {@link ReferenceEffects} an effect; no
 * garbage collector, channel or clock. reference-table.ts binds it to them. Several machines over channels that keep
 * their order are run through random histories in reference-machine.test.ts.
 *
 * The protocol: whoever receives a ref to another's object registers with the owner, and whoever passed it holds the
 * object until that is acknowledged. The owner counts registrations per borrower; each is taken back by one `unborrow`.
 *
 * Holds after every event (checkInvariants):
 *  1. What is lent is owned, and every borrower in its list has at least one registration.
 *  2. A registration that is not acknowledged is in exactly one batch, and its owner was not known to be gone.
 *  3. A borrowed object is given back only when no ref that came inside it is still unregistered.
 */

/** A process that owns objects; the machine needs its id only. */
export interface Owner {
  readonly processId: string;
}

/** A raylet's endpoint as frames carry it: its process, its node, and where it listens. */
export type NodeTuple = readonly unknown[];

/** Position of the node's id in a {@link NodeTuple}. */
const NODE_ID = 1;

/** An object of this process that others may ask for, or that lies in a store. */
export class OwnedObject<Peer> {
  readonly seq: number;
  /** Nodes whose stores hold a copy; undefined while it lies in none. Shared with the object's payload. */
  copies: NodeTuple[] | undefined;
  /** How often each borrower has said that it holds the object; undefined when nobody does. */
  borrowers: Map<Peer, number> | undefined;

  constructor(seq: number) {
    this.seq = seq;
  }
}

/** Another process's object, from the moment a ref to it arrives until nothing here reaches it. */
export class BorrowedObject<O extends Owner> {
  readonly owner: O;
  readonly seq: number;
  /** The borrowed object in whose value the ref arrived: its owner holds this one until it is registered. */
  container: BorrowedObject<O> | undefined;
  /** How many refs that arrived inside it are not registered yet. */
  unregisteredInside = 0;
  isRegistered = false;
  isUnreachable = false;

  constructor(owner: O, seq: number, container: BorrowedObject<O> | undefined) {
    this.owner = owner;
    this.seq = seq;
    this.container = container;
  }
}

export interface ReferenceEffects<O extends Owner, Peer> {
  /** {@link ReferenceMachine.flush} is to be called at the end of this turn. */
  flushSoon(): void;
  /** Sends a registration. @returns who will answer; undefined when the owner is gone */
  borrow(owner: O, requestId: number, seqs: readonly number[]): Peer | undefined;
  unborrow(owner: O, seqs: readonly number[]): void;
  acknowledge(to: Peer, requestId: number): void;
  /** Others hold the object: it must stay reachable here. @returns false when it is too late for that */
  keep(object: OwnedObject<Peer>): boolean;
  /** Nobody else holds it any more. */
  letGo(object: OwnedObject<Peer>): void;
  /** Nothing reaches it, here or elsewhere. */
  free(object: OwnedObject<Peer>): void;
  /**
   * The copy that was to last is lost, and these are left, which may be evicted: the first is to last from now on.
   */
  keepCopy(seq: number, copies: readonly NodeTuple[]): void;
  /** A copy was made of an object that has been freed. */
  dropCopy(seq: number, node: NodeTuple): void;
}

/** Registrations with one owner that leave together. */
interface Batch<O extends Owner, Peer> {
  readonly owner: O;
  readonly objects: BorrowedObject<O>[];
  peer: Peer | undefined;
  /** Called when the owner has answered, or is gone. */
  readonly onOver: (() => void)[];
}

/** The objects of one owner that are borrowed here. */
interface Lender<O extends Owner> {
  readonly owner: O;
  /** By number; of two with the same number (one given up, one that came after) the later. */
  readonly objects: Map<number, BorrowedObject<O>>;
}

export class ReferenceMachine<O extends Owner, Peer> {
  readonly #effects: ReferenceEffects<O, Peer>;
  readonly #owned = new Map<number, OwnedObject<Peer>>();
  readonly #lent = new Set<OwnedObject<Peer>>();
  readonly #lenders = new Map<string, Lender<O>>();
  #nextRequest = 1;
  /** Registrations that leave with the next flush, and those that wait for an answer. */
  readonly #unsent = new Map<string, Batch<O, Peer>>();
  readonly #sent = new Map<number, Batch<O, Peer>>();
  readonly #unborrows = new Map<string, { readonly owner: O; readonly seqs: number[] }>();
  #isFlushing = false;

  constructor(effects: ReferenceEffects<O, Peer>) {
    this.#effects = effects;
  }

  // --- owned objects ---

  /** From now on it is freed when nothing reaches it. */
  own(object: OwnedObject<Peer>): void {
    this.#owned.set(object.seq, object);
  }

  owned(seq: number): OwnedObject<Peer> | undefined {
    return this.#owned.get(seq);
  }

  /** The object lies in these nodes' stores. Copies that were known before stay known. */
  stored(object: OwnedObject<Peer>, copies: NodeTuple[]): void {
    for (const node of object.copies ?? []) addNode(copies, node);
    object.copies = copies;
  }

  /** A copy was made on another node. @param lasts it is not evicted, and takes the place of the one that was first */
  copyAt(seq: number, node: NodeTuple, lasts = false): void {
    const copies = this.#owned.get(seq)?.copies;
    if (copies === undefined) this.#effects.dropCopy(seq, node);
    else if (lasts) putFirst(copies, node);
    else addNode(copies, node);
  }

  /** What lay on that node is lost. */
  nodeGone(nodeId: string): void {
    for (const { seq, copies } of this.#owned.values()) {
      const at = copies?.findIndex((node) => node[NODE_ID] === nodeId) ?? -1;
      if (at < 0 || copies === undefined) continue;
      copies.splice(at, 1);
      if (at === 0 && copies.length > 0) this.#effects.keepCopy(seq, copies);
    }
  }

  /** Nothing in this process reaches the object. */
  ownedUnreachable(object: OwnedObject<Peer>): void {
    if (this.#owned.get(object.seq) !== object) return;
    this.#owned.delete(object.seq);
    this.#effects.free(object);
  }

  // --- borrowed objects ---

  borrowed(ownerId: string, seq: number): BorrowedObject<O> | undefined {
    return this.#lenders.get(ownerId)?.objects.get(seq);
  }

  /** The owner's endpoint as it was first seen, so that its refs share one. */
  lender(ownerId: string): O | undefined {
    return this.#lenders.get(ownerId)?.owner;
  }

  /** A ref to another's object arrived, and nothing here reached the object before. */
  imported(object: BorrowedObject<O>): void {
    const { owner, seq, container } = object;
    let lender = this.#lenders.get(owner.processId);
    if (lender === undefined) {
      lender = { owner, objects: new Map() };
      this.#lenders.set(owner.processId, lender);
    }
    lender.objects.set(seq, object);
    if (container !== undefined) container.unregisteredInside += 1;
    let batch = this.#unsent.get(owner.processId);
    if (batch === undefined) {
      batch = { owner, objects: [], peer: undefined, onOver: [] };
      this.#unsent.set(owner.processId, batch);
      this.#flushSoon();
    }
    batch.objects.push(object);
  }

  /** Nothing here reaches the object. */
  borrowedUnreachable(object: BorrowedObject<O>): void {
    if (object.isUnreachable) return;
    object.isUnreachable = true;
    const lender = this.#lenders.get(object.owner.processId);
    if (lender?.objects.get(object.seq) === object) {
      lender.objects.delete(object.seq);
      if (lender.objects.size === 0) this.#lenders.delete(object.owner.processId);
    }
    this.#giveBackIfDone(object);
  }

  /** Calls `then` when every owner knows of the refs that have arrived so far. @returns false, without a call, when all do */
  onceRegistered(then: () => void): boolean {
    let missing = this.#unsent.size + this.#sent.size;
    if (missing === 0) return false;
    const over = () => {
      missing -= 1;
      if (missing === 0) then();
    };
    for (const batch of this.#unsent.values()) batch.onOver.push(over);
    for (const batch of this.#sent.values()) batch.onOver.push(over);
    return true;
  }

  /** The turn is over: what it has gathered leaves, registrations first. */
  flush(): void {
    this.#isFlushing = false;
    const batches = [...this.#unsent.values()];
    this.#unsent.clear();
    for (const batch of batches) {
      const requestId = this.#nextRequest++;
      this.#sent.set(requestId, batch);
      batch.peer = this.#effects.borrow(
        batch.owner,
        requestId,
        batch.objects.map(({ seq }) => seq),
      );
      if (batch.peer === undefined) this.#endBatch(requestId);
    }
    const unborrows = [...this.#unborrows.values()];
    this.#unborrows.clear();
    for (const { owner, seqs } of unborrows) this.#effects.unborrow(owner, seqs);
  }

  // --- messages ---

  onBorrow(from: Peer, requestId: number, seqs: readonly number[]): void {
    for (const seq of seqs) {
      const object = this.#owned.get(seq);
      if (object === undefined) continue;
      if (object.borrowers === undefined) {
        if (!this.#effects.keep(object)) continue;
        object.borrowers = new Map();
        this.#lent.add(object);
      }
      object.borrowers.set(from, (object.borrowers.get(from) ?? 0) + 1);
    }
    this.#effects.acknowledge(from, requestId);
  }

  onBorrowed(requestId: number): void {
    this.#endBatch(requestId);
  }

  onUnborrow(from: Peer, seqs: readonly number[]): void {
    for (const seq of seqs) {
      const object = this.#owned.get(seq);
      if (object !== undefined) this.#giveUp(object, from, 1);
    }
  }

  /** A process is gone: it borrows nothing any more, and nothing it owed will come. */
  peerGone(peer: Peer): void {
    for (const object of this.#lent) this.#giveUp(object, peer, Number.POSITIVE_INFINITY);
    for (const [requestId, batch] of this.#sent) if (batch.peer === peer) this.#endBatch(requestId);
  }

  // --- for listings and tests ---

  get lentCount(): number {
    return this.#lent.size;
  }

  /** Whether an object lives for the sake of something in this process. */
  get isHolding(): boolean {
    return this.#owned.size > 0 || this.#lenders.size > 0;
  }

  /** Whether nothing is counted and nothing is awaited. */
  get isEmpty(): boolean {
    return !this.isHolding && this.#unsent.size + this.#sent.size + this.#unborrows.size === 0;
  }

  ownedObjects(): IterableIterator<OwnedObject<Peer>> {
    return this.#owned.values();
  }

  *borrowedObjects(): IterableIterator<BorrowedObject<O>> {
    for (const { objects } of this.#lenders.values()) yield* objects.values();
  }

  /** @throws Error naming the invariant that does not hold */
  checkInvariants(): void {
    for (const object of this.#lent) {
      const counts = [...(object.borrowers?.values() ?? [])];
      if (this.#owned.get(object.seq) !== object) throw new Error(`${object.seq} is lent and not owned`);
      if (counts.length === 0 || counts.some((count) => count < 1))
        throw new Error(`${object.seq} is lent and has no borrower with a registration`);
    }
    const batched = new Set<BorrowedObject<O>>();
    for (const { objects } of [...this.#unsent.values(), ...this.#sent.values()]) {
      for (const object of objects) {
        if (batched.has(object) || object.isRegistered)
          throw new Error(`${object.seq} of ${object.owner.processId} is registered twice`);
        batched.add(object);
      }
    }
    for (const object of this.borrowedObjects()) {
      if (object.isUnreachable) throw new Error(`${object.seq} of ${object.owner.processId} was given up`);
      if (object.isRegistered === batched.has(object))
        throw new Error(`${object.seq} of ${object.owner.processId} waits for nobody`);
    }
    for (const object of batched) {
      if (object.container !== undefined && object.container.unregisteredInside < 1)
        throw new Error(`${object.container.seq} does not count what arrived inside it`);
    }
  }

  // --- helpers ---

  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    this.#effects.flushSoon();
  }

  #endBatch(requestId: number): void {
    const batch = this.#sent.get(requestId);
    if (batch === undefined) return;
    this.#sent.delete(requestId);
    for (const object of batch.objects) {
      object.isRegistered = true;
      const { container } = object;
      if (container === undefined) continue;
      object.container = undefined;
      container.unregisteredInside -= 1;
      this.#giveBackIfDone(container);
    }
    for (const over of batch.onOver) over();
  }

  #giveBackIfDone(object: BorrowedObject<O>): void {
    if (!object.isUnreachable || object.unregisteredInside > 0) return;
    const { owner, seq } = object;
    const waiting = this.#unborrows.get(owner.processId);
    if (waiting === undefined) this.#unborrows.set(owner.processId, { owner, seqs: [seq] });
    else waiting.seqs.push(seq);
    this.#flushSoon();
  }

  #giveUp(object: OwnedObject<Peer>, from: Peer, times: number): void {
    const held = object.borrowers?.get(from);
    if (object.borrowers === undefined || held === undefined) return;
    if (held > times) object.borrowers.set(from, held - times);
    else object.borrowers.delete(from);
    if (object.borrowers.size > 0) return;
    object.borrowers = undefined;
    this.#lent.delete(object);
    this.#effects.letGo(object);
  }
}

function putFirst(copies: NodeTuple[], node: NodeTuple): void {
  const at = copies.findIndex((known) => known[NODE_ID] === node[NODE_ID]);
  if (at >= 0) copies.splice(at, 1);
  copies.unshift(node);
}

function addNode(copies: NodeTuple[], node: NodeTuple): void {
  if (!copies.some((known) => known[NODE_ID] === node[NODE_ID])) copies.push(node);
}
