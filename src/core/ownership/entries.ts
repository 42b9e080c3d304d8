/**
 * What a process knows of an object: one entry per object, shared by every ref to it in this process.
 *
 * An entry lives as long as JavaScript can reach it: through a ref the user holds, through a task that needs it, or
 * through the table of borrowed-out entries. When it is collected, its copies are freed (owned) or its owner is told
 * (borrowed); see reference-table.ts. So a task with a small result costs no registration at all.
 */
import type { Endpoint } from "../base/endpoint.ts";
import type { Payload } from "../rpc/messages.ts";
import type { DeathWatch } from "./death-watch.ts";
import { BorrowedObject, OwnedObject } from "./reference-machine.ts";

/**
 * What outlives a collected entry of this process: what is counted, and how to find the entry while it is alive. Its
 * borrowers are channels (not by type: users' programs compile against this file, and would need the types of msgpackr).
 */
export class OwnedRecord extends OwnedObject<object> {
  /** Set once the ref was sent away and so may come back. */
  weak: WeakRef<ObjectEntry> | undefined;
  /** The entry itself, while others hold the object. */
  kept: ObjectEntry | undefined;
  /** Tells at once after a collection; undefined without the native addon. */
  death: DeathWatch | undefined;
  /** Bytes in stores; 0 while it lies in none. */
  storedBytes = 0;
  /** Where the user's code made it, if that is recorded. */
  callSite = "";
  /** Its collection is reported at the end of some later turn. */
  isFinalized = false;
  /** Called instead of freeing copies, where the entry stands for something other than a value (an actor's handle). */
  onFree: (() => void) | undefined;
}

/** The same for an entry of another process's object. */
export class BorrowedRecord extends BorrowedObject<Endpoint> {
  weak: WeakRef<ObjectEntry> | undefined;
  /** The entry itself, in the turn in which it arrived. */
  fresh: ObjectEntry | undefined;
}

export class ObjectEntry {
  /** Owner's endpoint; for owned entries this process. */
  readonly owner: Endpoint;
  /** Number of the object at its owner. */
  readonly seq: number;
  readonly owned: boolean;
  /** The value or where it is; undefined while its task runs (owned) or until it is asked for (borrowed). */
  payload: Payload | undefined;
  /** Refs inside the value, in the order of its list of refs: alive while the entry is. */
  held: readonly ObjectEntry[] | undefined;
  /** The task that makes it, for cancel, and for making it again (lineage). */
  task: object | undefined;
  /** Owned: why no task can make it again, where that is known beforehand. */
  unmakeable: string | undefined;
  /** Its memory in the store has been mapped by this process. */
  isViewed = false;
  /** Borrowed: the owner has been asked for the value. */
  asked = false;
  /** What is counted; undefined for what lies in no store and never left this process. */
  record: OwnedRecord | BorrowedRecord | undefined;
  /** Where the user's code made it, if that is recorded. */
  callSite: string | undefined;
  /** Times the object was made again after its copies were lost. */
  reconstructions = 0;
  #waiters: (() => void)[] | undefined;

  constructor(owner: Endpoint, seq: number, owned: boolean) {
    this.owner = owner;
    this.seq = seq;
    this.owned = owned;
  }

  /** Calls `listener` once the payload is there (at once if it is). */
  whenReady(listener: () => void): void {
    if (this.payload !== undefined) listener();
    else if (this.#waiters === undefined) this.#waiters = [listener];
    else this.#waiters.push(listener);
  }

  /** Forgets a listener that has not been called. */
  forget(listener: () => void): void {
    const at = this.#waiters?.indexOf(listener) ?? -1;
    if (at >= 0) this.#waiters?.splice(at, 1);
  }

  settle(payload: Payload): void {
    this.payload = payload;
    const waiters = this.#waiters;
    this.#waiters = undefined;
    if (waiters !== undefined) for (const waiter of waiters) waiter();
  }

  /** Back to pending: the value is being made again. */
  unsettle(): void {
    this.payload = undefined;
  }
}
