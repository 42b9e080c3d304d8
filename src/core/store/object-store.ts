/**
 * The node's object store, as raylet, workers and drivers see it: immutable byte objects by a 16-byte key, shared by
 * all processes of the node without a message to anybody. Serves steps 2, 7 and 8 of the main path.
 *
 * Two kinds behind this one interface: the arena (native, zero-copy) and plain files (no addon, one copy more).
 * Where memory is short, whoever needs it writes the primary copies that were used longest ago, and that nobody reads,
 * to the spill directory. They stay sealed and are read, sent and deleted there as they were in memory.
 * All methods are synchronous. After `close` every method throws NotInitializedError; a key that is not a Uint8Array of
 * 16 bytes is a TypeError; a size, offset or range that cannot be is a TypeError or RangeError.
 */

/** Length of every key, in bytes. */
export const STORE_KEY_BYTES = 16;

/** Bytes that belong at `offset` of the object. */
export interface StoreSegment {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface StorePutOptions {
  /** A copy of an object whose primary is elsewhere: may be evicted when the store is full. Default false. */
  readonly secondary?: boolean;
}

export interface StoreStats {
  readonly capacityBytes: number;
  /** Bytes taken by objects, rounding included. Of file stores: an estimate between scans of the directory. */
  readonly usedBytes: number;
  /** Of `usedBytes`, secondary copies that nobody reads: they go when room is needed. */
  readonly evictableBytes: number;
  /** Objects that take room in memory: sealed, being made, and deleted ones that are still pinned. */
  readonly objects: number;
  /** Objects of which some process holds a view. Always 0 for files: their readers hold copies. */
  readonly pinnedObjects: number;
  /** Secondary copies evicted so far (of file stores: by this process). */
  readonly evictions: number;
  /** On disk now: bytes of objects, objects, and the files they share. */
  readonly spilledBytes: number;
  readonly spilledObjects: number;
  readonly spillFiles: number;
  /** Written to disk so far because memory was short, and read from there. Of file stores: by this process. */
  readonly spilledBytesTotal: number;
  readonly readBackBytesTotal: number;
  /** Copies on disk that did not match their checksum and were dropped. File stores have no checksums. */
  readonly damagedObjects: number;
  /** Why the last attempt to write to the spill directory failed; "" when it did not. */
  readonly spillError: string;
}

export interface StoreEntry {
  /** 32 hexadecimal digits. */
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  readonly state: "creating" | "sealed" | "deleting";
  readonly secondary: boolean;
  readonly where: "memory" | "disk";
  /** Views held by all processes together. */
  readonly pins: number;
}

/** An object being made. Ends with `seal` or `abort`; a process that dies before leaves that to `reclaim`. */
export interface ObjectWriter {
  /** The object's own memory, to be written to until `seal` or `abort` empties it; undefined where `write` is the only way. */
  readonly memory: Buffer | undefined;
  /**
   * Copies `bytes` to `offset`. Bytes that nobody writes are undefined. RangeError outside the size,
   * ObjectStoreFullError when the disk does not take it.
   */
  write(offset: number, bytes: Uint8Array): void;
  /** Makes the object visible and immutable. Nothing may be written after. */
  seal(): void;
  /** Frees it again. After `seal` or `abort` it does nothing. */
  abort(): void;
}

export interface ObjectStore {
  readonly kind: "arena" | "files";

  /**
   * Stores one object of `size` bytes. Segments ascend and do not overlap; gaps between them read as zeros.
   * False: an object of that key exists already, sealed or being made by somebody.
   * What does not fit into memory beside what is being read is made on disk. Throws ObjectStoreFullError when there is
   * no room there either.
   */
  put(key: Uint8Array, size: number, segments: readonly StoreSegment[], options?: StorePutOptions): boolean;

  /** Like `put`, written piece by piece. Undefined: an object of that key exists already. */
  create(key: Uint8Array, size: number, options?: StorePutOptions): ObjectWriter | undefined;

  /** Whether the object is here and sealed. */
  contains(key: Uint8Array): boolean;

  /** Size in bytes of a sealed object. */
  sizeOf(key: Uint8Array): number | undefined;

  /**
   * The object's bytes, or undefined. Private to the caller: what it writes there nobody else sees.
   * Starts at offset 0 of its ArrayBuffer. Arena objects above 64 KiB are mapped, not copied: they start at a multiple
   * of 64 bytes, and stay pinned (not evicted, memory not reused) until the Buffer's memory is collected.
   */
  get(key: Uint8Array): Buffer | undefined;

  /**
   * Gives back, at once, the mapping and the pin behind a view that `get` returned: its ArrayBuffer is empty from then
   * on. False: it is no such view (a copy, or given back already).
   */
  release(view: Uint8Array): boolean;

  /**
   * Where these bytes lie in the object that they are a view of; undefined: they are no view, or this process may have
   * written to them, so that they are no longer the object's.
   */
  originOf(view: Uint8Array): number | undefined;

  /** After a collection: gives back the views of this process that nothing reaches, without waiting for the turn's end. */
  sweepViews(): void;

  /** Views of this process that other threads have: they are given back by a sweep after those have dropped them. */
  readonly viewsElsewhere: number;

  /** A copy of `length` bytes from `offset`, or undefined. RangeError outside the size. */
  readChunk(key: Uint8Array, offset: number, length: number): Buffer | undefined;

  /**
   * Makes a secondary copy the primary one: it is not evicted any more. Does nothing to a primary one.
   * False: it is not here, or is being evicted right now.
   */
  keep(key: Uint8Array): boolean;

  /** Deletes a sealed object: readers keep what they have, its memory is free when the last view goes. False: not here. */
  delete(key: Uint8Array): boolean;

  /**
   * Deletes every sealed object whose key begins with `prefix` (1 to 16 bytes), as `delete` does one.
   * @returns how many that were
   */
  deleteAll(prefix: Uint8Array): number;

  /**
   * Drops views and half-made objects of a process that has ended.
   * False: the process still runs, and nothing was done; call again once it has ended.
   */
  reclaim(pid: number): boolean;

  stats(): StoreStats;

  /** At most `limit` objects, in no order. */
  list(limit: number): StoreEntry[];

  /**
   * Has the kernel find and clear the memory from `fromBytes` to `untilBytes` in the background, so that first puts need
   * not wait for it (fresh memory can be 30 times slower than reused). Resolves with where it came to; stops at `close`.
   */
  prefault(fromBytes: number, untilBytes: number): Promise<number>;

  /**
   * Writes primary copies out in the background until what lasts in memory is at most `usedBytes`.
   * False: no more can be written out (it is being read, or `stats().spillError` says why).
   */
  spillDownTo(usedBytes: number): Promise<boolean>;

  /** Detaches this process: half-made objects are dropped, views stay valid. Does nothing the second time. */
  close(): void;
}
