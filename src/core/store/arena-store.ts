/**
 * The object store over the native arena: one shared-memory file, mapped by every process of the node.
 * Turns codes of the border into values and errors; decides nothing itself.
 */
import { statfsSync } from "node:fs";
import { NotInitializedError, ObjectStoreFullError } from "../base/errors.ts";
import type { NativeAddon, NativeArena } from "./native.ts";
import type {
  ObjectStore,
  ObjectWriter,
  StoreEntry,
  StorePutOptions,
  StoreSegment,
  StoreStats,
} from "./object-store.ts";

/** One step of prefault: small enough that a process which ends meanwhile waits for it only briefly. */
const PREFAULT_STEP_BYTES = 16 * 1024 * 1024;

export class ArenaStore implements ObjectStore {
  readonly kind = "arena";
  readonly #path: string;
  readonly #arena: NativeArena;
  readonly #addon: NativeAddon;
  #closed = false;

  private constructor(addon: NativeAddon, path: string, arena: NativeArena) {
    this.#path = path;
    this.#arena = arena;
    this.#addon = addon;
  }

  /**
   * Makes the arena's file. Throws an Error with a `code` (EEXIST, ENOSPC, ...) when that fails.
   * @param spillDir absolute path of a directory that nobody else uses; undefined = nothing is written to disk
   */
  static create(addon: NativeAddon, path: string, capacityBytes: number, spillDir?: string): ArenaStore {
    return new ArenaStore(addon, path, addon.Arena.create(path, capacityBytes, spillDir));
  }

  /** Opens an arena of this node. Throws an Error with a `code` (ENOENT, EBADMSG, ...) when that fails. */
  static open(addon: NativeAddon, path: string): ArenaStore {
    return new ArenaStore(addon, path, addon.Arena.open(path));
  }

  put(
    key: Uint8Array,
    size: number,
    segments: readonly StoreSegment[],
    options: StorePutOptions = {},
  ): boolean {
    const offsets: number[] = [];
    const parts: Uint8Array[] = [];
    for (const { offset, bytes } of segments) {
      offsets.push(offset);
      parts.push(bytes);
    }
    const code = this.#open().put(key, size, offsets, parts, options.secondary ?? false);
    if (code === -1) throw this.full(size);
    return code === 1;
  }

  create(key: Uint8Array, size: number, options: StorePutOptions = {}): ObjectWriter | undefined {
    const code = this.#open().create(key, size, options.secondary ?? false);
    if (code === -1) throw this.full(size);
    return code === 1 ? new ArenaWriter(this, this.#arena, Uint8Array.from(key), size) : undefined;
  }

  contains(key: Uint8Array): boolean {
    return this.#open().contains(key);
  }

  sizeOf(key: Uint8Array): number | undefined {
    const size = this.#open().size(key);
    return size < 0 ? undefined : size;
  }

  get(key: Uint8Array): Buffer | undefined {
    return this.#open().get(key) ?? undefined;
  }

  release(view: Uint8Array): boolean {
    return this.#addon.Arena.release(view);
  }

  sweepViews(): void {
    this.#addon.Arena.sweep();
  }

  get viewsElsewhere(): number {
    return this.#addon.Arena.viewsElsewhere();
  }

  originOf(view: Uint8Array): number | undefined {
    const offset = this.#addon.Arena.originOf(view);
    return offset < 0 ? undefined : offset;
  }

  readChunk(key: Uint8Array, offset: number, length: number): Buffer | undefined {
    return this.#open().readChunk(key, offset, length) ?? undefined;
  }

  keep(key: Uint8Array): boolean {
    return this.#open().keep(key);
  }

  delete(key: Uint8Array): boolean {
    return this.#open().delete(key);
  }

  deleteAll(prefix: Uint8Array): number {
    return this.#open().deleteAll(prefix);
  }

  reclaim(pid: number): boolean {
    return this.#open().reclaim(pid);
  }

  stats(): StoreStats {
    return this.#open().stats();
  }

  list(limit: number): StoreEntry[] {
    return this.#open().list(limit);
  }

  async prefault(fromBytes: number, untilBytes: number): Promise<number> {
    const until = Math.min(untilBytes, this.stats().capacityBytes);
    let at = fromBytes;
    while (at < until && !this.#closed) {
      const step = Math.min(PREFAULT_STEP_BYTES, until - at);
      if (!(await this.#arena.prefault(at, step))) break;
      at += step;
    }
    return at;
  }

  spillDownTo(usedBytes: number): Promise<boolean> {
    return this.#open().spillDownTo(usedBytes);
  }

  /** Null, or which invariant of the shared tables is broken. */
  check(): string | null {
    return this.#open().check();
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  close(): void {
    this.#closed = true;
    this.#arena.close();
  }

  #open(): NativeArena {
    if (this.#closed) throw new NotInitializedError(`the object store ${this.#path} is closed`);
    return this.#arena;
  }

  /** @internal */
  full(size: number): ObjectStoreFullError {
    const { capacityBytes, usedBytes, objects, pinnedObjects, spilledBytes, spillError } = this.stats();
    const disk =
      spillError === ""
        ? ""
        : `; nothing can be spilled to disk (${spillError}), where ${spilledBytes} bytes lie already`;
    return new ObjectStoreFullError(
      `object of ${size} bytes does not fit the store ${this.#path}: ${usedBytes} of ${capacityBytes} bytes are used by ` +
        `${objects} objects (${pinnedObjects} pinned)${fileSystemNote(this.#path, size)}${disk}. ` +
        "Drop refs that are no longer needed, or give the node more (--object-store-memory, --spill-dir)",
    );
  }
}

/** The file system under the arena can be full before the arena is: say so, since the remedy is another. */
function fileSystemNote(path: string, size: number): string {
  try {
    const { bavail, bsize } = statfsSync(path);
    const freeBytes = bavail * bsize;
    return freeBytes < size ? `; its file system has only ${freeBytes} bytes free` : "";
  } catch {
    return ""; // the arena's file was unlinked
  }
}

class ArenaWriter implements ObjectWriter {
  readonly #store: ArenaStore;
  readonly #arena: NativeArena;
  readonly #key: Uint8Array;
  readonly #size: number;
  #ended = false;

  constructor(store: ArenaStore, arena: NativeArena, key: Uint8Array, size: number) {
    this.#store = store;
    this.#arena = arena;
    this.#key = key;
    this.#size = size;
  }

  get memory(): Buffer | undefined {
    this.#assertWritable();
    return this.#arena.memory(this.#key) ?? undefined;
  }

  write(offset: number, bytes: Uint8Array): void {
    this.#assertWritable();
    try {
      this.#arena.writeAt(this.#key, offset, bytes);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
      throw this.#store.full(this.#size);
    }
  }

  seal(): void {
    this.#assertWritable();
    this.#arena.seal(this.#key);
    this.#ended = true;
  }

  abort(): void {
    if (!this.#ended && !this.#store.isClosed) this.#arena.abort(this.#key);
    this.#ended = true;
  }

  #assertWritable(): void {
    if (this.#ended || this.#store.isClosed) throw new Error("the object is already sealed or aborted");
  }
}
