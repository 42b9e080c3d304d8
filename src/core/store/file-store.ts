/**
 * The object store over plain files, for machines where the addon cannot load: one file per object in one directory
 * (in /dev/shm, so memory all the same). A reader gets a copy instead of a mapping; everything else is alike.
 *
 * Names in the directory:
 *   <hex>            a sealed object; mode 0600 primary, 0400 secondary; mtime = last use of a secondary copy
 *   <hex>.creating   a symbolic link to `part-<pid>-<n>`, made with the exclusiveness of symlink(2): one creator per key,
 *                    and its pid is readable when it dies
 *   part-<pid>-<n>   the bytes of an object being made; renamed to <hex> = sealed, in one step
 *   capacity         the capacity in bytes, for those that attach
 *
 * Capacity is kept approximately: each process adds its own writes to its last scan of the directory, and scans again
 * after an eighth of the capacity or when it seems full. N writers may overshoot by up to N eighths.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { NotInitializedError, ObjectStoreFullError } from "../base/errors.ts";
import {
  type ObjectStore,
  type ObjectWriter,
  STORE_KEY_BYTES,
  type StoreEntry,
  type StorePutOptions,
  type StoreSegment,
  type StoreStats,
} from "./object-store.ts";

const PRIMARY_MODE = 0o600;
const SECONDARY_MODE = 0o400;
/** A process scans the directory again after having written this share of the capacity. */
const RESCAN_SHARE = 1 / 8;

interface FileObject {
  readonly key: string;
  readonly size: number;
  readonly secondary: boolean;
  readonly lastUseMs: number;
}

interface Scan {
  readonly sealed: readonly FileObject[];
  readonly creating: readonly { readonly key: string; readonly part: string; readonly size: number }[];
  readonly usedBytes: number;
}

export class FileStore implements ObjectStore {
  readonly kind = "files";
  readonly #directory: string;
  readonly #capacityBytes: number;
  readonly #writers = new Set<FileWriter>();
  #usedBytes = 0;
  #writtenSinceScanBytes = Number.POSITIVE_INFINITY;
  #parts = 0;
  #evictions = 0;
  #closed = false;

  private constructor(directory: string, capacityBytes: number) {
    this.#directory = directory;
    this.#capacityBytes = capacityBytes;
  }

  /** Makes the directory, mode 0700. Throws when it exists. */
  static create(directory: string, capacityBytes: number): FileStore {
    mkdirSync(directory, { mode: 0o700 });
    writeFileSync(join(directory, "capacity"), String(capacityBytes), { mode: 0o600 });
    return new FileStore(directory, capacityBytes);
  }

  /** Uses the directory that another process made. Throws ENOENT when it is gone. */
  static open(directory: string): FileStore {
    return new FileStore(directory, Number(readFileSync(join(directory, "capacity"), "utf8")));
  }

  put(
    key: Uint8Array,
    size: number,
    segments: readonly StoreSegment[],
    options: StorePutOptions = {},
  ): boolean {
    checkSegments(size, segments);
    const writer = this.create(key, size, options);
    if (writer === undefined) return false;
    try {
      for (const { offset, bytes } of segments) writer.write(offset, bytes);
      writer.seal();
    } catch (error) {
      writer.abort();
      throw error;
    }
    return true;
  }

  create(key: Uint8Array, size: number, options: StorePutOptions = {}): ObjectWriter | undefined {
    const hex = this.#name(key);
    checkWhole("size", size);
    const sealed = join(this.#directory, hex);
    const claim = `${sealed}.creating`;
    const part = join(this.#directory, `part-${process.pid}-${this.#nextPart()}`);
    if (!this.#claim(claim, part, sealed)) return undefined;
    try {
      this.#makeRoom(size);
      const secondary = options.secondary ?? false;
      const fd = openSized(part, size, secondary ? SECONDARY_MODE : PRIMARY_MODE);
      const writer = new FileWriter({ fd, size, part, claim, sealed }, (bytes) => {
        this.#writers.delete(writer);
        this.#account(bytes);
      });
      this.#writers.add(writer);
      this.#account(size);
      return writer;
    } catch (error) {
      rmSync(part, { force: true });
      rmSync(claim, { force: true });
      throw isFull(error) ? this.#full(size) : error;
    }
  }

  contains(key: Uint8Array): boolean {
    return existsSync(join(this.#directory, this.#name(key)));
  }

  sizeOf(key: Uint8Array): number | undefined {
    return statSync(join(this.#directory, this.#name(key)), { throwIfNoEntry: false })?.size;
  }

  get(key: Uint8Array): Buffer | undefined {
    return this.#read(key, (size) => ({ offset: 0, length: size }));
  }

  readChunk(key: Uint8Array, offset: number, length: number): Buffer | undefined {
    checkWhole("offset", offset);
    checkWhole("length", length);
    return this.#read(key, (size) => {
      if (offset + length > size) throw new RangeError("the chunk must lie inside the object's size");
      return { offset, length };
    });
  }

  delete(key: Uint8Array): boolean {
    return this.#unlinkSealed(this.#name(key));
  }

  reclaim(pid: number): boolean {
    this.#assertOpen();
    if (!Number.isSafeInteger(pid) || pid < 1) throw new RangeError("pid must be a whole number above 0");
    if (isAlive(pid)) return false;
    for (const name of readdirSync(this.#directory)) {
      const path = join(this.#directory, name);
      if (name.endsWith(".creating") && creatorOf(path) === pid) rmSync(path, { force: true });
      if (name.startsWith(`part-${pid}-`)) rmSync(path, { force: true });
    }
    this.#writtenSinceScanBytes = Number.POSITIVE_INFINITY;
    return true;
  }

  stats(): StoreStats {
    this.#assertOpen();
    const { sealed, creating, usedBytes } = this.#scan();
    return {
      capacityBytes: this.#capacityBytes,
      usedBytes,
      objects: sealed.length + creating.length,
      pinnedObjects: 0,
      evictions: this.#evictions,
    };
  }

  list(limit: number): StoreEntry[] {
    this.#assertOpen();
    checkWhole("limit", limit);
    const { sealed, creating } = this.#scan();
    const entries: StoreEntry[] = sealed.map(({ key, size, secondary }) => ({
      key,
      size,
      state: "sealed",
      secondary,
      pins: 0,
    }));
    for (const { key, size, part } of creating) {
      const secondary = isSecondary(statSync(join(this.#directory, part), { throwIfNoEntry: false }));
      entries.push({ key, size, state: "creating", secondary, pins: 0 });
    }
    return entries.slice(0, limit);
  }

  async prefault(): Promise<number> {
    return 0;
  }

  close(): void {
    if (this.#closed) return;
    for (const writer of [...this.#writers]) writer.abort();
    this.#closed = true;
  }

  #assertOpen(): void {
    if (this.#closed) throw new NotInitializedError(`the object store ${this.#directory} is closed`);
  }

  #name(key: Uint8Array): string {
    this.#assertOpen();
    if (!(key instanceof Uint8Array) || key.length !== STORE_KEY_BYTES) {
      throw new TypeError("key must be a Uint8Array of 16 bytes");
    }
    return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("hex");
  }

  #nextPart(): string {
    this.#parts += 1;
    return `${this.#parts}-${Math.random().toString(36).slice(2)}`; // two stores of one process must not meet
  }

  /** Becomes the one creator of the key. False: it is sealed, or somebody alive is making it. */
  #claim(claim: string, part: string, sealed: string): boolean {
    for (;;) {
      if (existsSync(sealed)) return false;
      try {
        symlinkSync(part, claim);
      } catch (error) {
        if (codeOf(error) !== "EEXIST") throw error;
        const creator = creatorOf(claim);
        if (creator === undefined) continue; // it ended just now: look again
        if (isAlive(creator)) return false;
        this.#dropClaim(claim);
        continue;
      }
      if (!existsSync(sealed)) return true;
      unlinkSync(claim); // sealed between the look and the claim
      return false;
    }
  }

  #dropClaim(claim: string): void {
    try {
      rmSync(readlinkSync(claim), { force: true });
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
    }
    rmSync(claim, { force: true });
  }

  /** Makes sure, as far as this process can see, that `size` more bytes fit; evicts the oldest secondary copies. */
  #makeRoom(size: number): void {
    const mustScan = this.#writtenSinceScanBytes > this.#capacityBytes * RESCAN_SHARE;
    if (!mustScan && this.#usedBytes + size <= this.#capacityBytes) return;
    const { sealed, usedBytes } = this.#scan();
    if (usedBytes + size <= this.#capacityBytes) return;
    const evictable = sealed.filter((object) => object.secondary);
    const evictableBytes = evictable.reduce((sum, object) => sum + object.size, 0);
    if (usedBytes - evictableBytes + size > this.#capacityBytes) throw this.#full(size);
    for (const { key } of evictable.sort((a, b) => a.lastUseMs - b.lastUseMs)) {
      if (this.#usedBytes + size <= this.#capacityBytes) return;
      if (this.#unlinkSealed(key)) this.#evictions += 1;
    }
  }

  #scan(): Scan {
    const sealed: FileObject[] = [];
    const creating: { key: string; part: string; size: number }[] = [];
    let usedBytes = 0;
    for (const name of readdirSync(this.#directory)) {
      if (name === "capacity" || name.startsWith("part-")) continue;
      const stats = statSync(join(this.#directory, name), { throwIfNoEntry: false }); // follows the link to the part
      if (stats === undefined) continue;
      usedBytes += stats.size;
      if (name.endsWith(".creating")) {
        const part = readPart(join(this.#directory, name));
        if (part !== undefined) creating.push({ key: name.slice(0, -9), part, size: stats.size });
      } else {
        const { size, mtimeMs } = stats;
        sealed.push({ key: name, size, secondary: isSecondary(stats), lastUseMs: mtimeMs });
      }
    }
    this.#usedBytes = usedBytes;
    this.#writtenSinceScanBytes = 0;
    return { sealed, creating, usedBytes };
  }

  #account(bytes: number): void {
    this.#usedBytes += bytes;
    this.#writtenSinceScanBytes += Math.max(bytes, 0);
  }

  #unlinkSealed(hex: string): boolean {
    const path = join(this.#directory, hex);
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return false;
    try {
      unlinkSync(path);
    } catch (error) {
      if (codeOf(error) === "ENOENT") return false;
      throw error;
    }
    this.#account(-stats.size);
    return true;
  }

  #read(key: Uint8Array, range: (size: number) => { offset: number; length: number }): Buffer | undefined {
    const path = join(this.#directory, this.#name(key));
    let fd: number;
    try {
      fd = openSync(path, "r");
    } catch (error) {
      if (codeOf(error) === "ENOENT") return undefined;
      throw error;
    }
    try {
      const stats = fstatSync(fd);
      const { offset, length } = range(stats.size);
      const bytes = Buffer.allocUnsafeSlow(length);
      for (let done = 0; done < length; ) {
        done += readSync(fd, bytes, done, Math.min(length - done, 2 ** 30), offset + done);
      }
      if (isSecondary(stats)) this.#touch(path);
      return bytes;
    } finally {
      closeSync(fd);
    }
  }

  #touch(path: string): void {
    const nowSeconds = Date.now() / 1000;
    try {
      utimesSync(path, nowSeconds, nowSeconds);
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
    }
  }

  #full(size: number): ObjectStoreFullError {
    return new ObjectStoreFullError(
      `object of ${size} bytes does not fit the store ${this.#directory}: ` +
        `${this.#usedBytes} of ${this.#capacityBytes} bytes are used`,
    );
  }
}

interface WriterFiles {
  readonly fd: number;
  readonly size: number;
  readonly part: string;
  readonly claim: string;
  readonly sealed: string;
}

class FileWriter implements ObjectWriter {
  readonly #files: WriterFiles;
  readonly #onEnd: (accountBytes: number) => void;
  #ended = false;

  /** `onEnd` hears by how many bytes the use of the store changes: 0 when sealed, less than 0 when aborted. */
  constructor(files: WriterFiles, onEnd: (accountBytes: number) => void) {
    this.#files = files;
    this.#onEnd = onEnd;
  }

  write(offset: number, bytes: Uint8Array): void {
    if (this.#ended) throw new Error("the object is already sealed or aborted");
    checkWhole("offset", offset);
    if (!(bytes instanceof Uint8Array)) throw new TypeError("bytes must be a Uint8Array");
    if (offset + bytes.length > this.#files.size) {
      throw new RangeError("bytes must lie inside the object's size");
    }
    try {
      for (let done = 0; done < bytes.length; ) {
        const length = Math.min(bytes.length - done, 2 ** 30);
        done += writeSync(this.#files.fd, bytes, done, length, offset + done);
      }
    } catch (error) {
      if (!isFull(error)) throw error;
      throw new ObjectStoreFullError(
        `object of ${this.#files.size} bytes does not fit the file system of ${this.#files.part}`,
      );
    }
  }

  seal(): void {
    if (this.#ended) throw new Error("the object is already sealed or aborted");
    this.#end(0);
    renameSync(this.#files.part, this.#files.sealed);
    unlinkSync(this.#files.claim);
  }

  abort(): void {
    if (this.#ended) return;
    this.#end(-this.#files.size);
    rmSync(this.#files.part, { force: true });
    rmSync(this.#files.claim, { force: true });
  }

  #end(accountBytes: number): void {
    this.#ended = true;
    closeSync(this.#files.fd);
    this.#onEnd(accountBytes);
  }
}

function openSized(path: string, size: number, mode: number): number {
  const fd = openSync(path, "wx", mode);
  try {
    ftruncateSync(fd, size);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function checkWhole(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new TypeError(`${name} must be a whole number of bytes`);
}

function checkSegments(size: number, segments: readonly StoreSegment[]): void {
  let at = 0;
  for (const { offset, bytes } of segments) {
    checkWhole("offset", offset);
    if (!(bytes instanceof Uint8Array)) throw new TypeError("a segment's bytes must be a Uint8Array");
    if (offset < at || offset + bytes.length > size) {
      throw new RangeError("segments must ascend, not overlap, and lie inside the object's size");
    }
    at = offset + bytes.length;
  }
}

function isSecondary(stats: Stats | undefined): boolean {
  return stats !== undefined && (stats.mode & 0o200) === 0;
}

function readPart(claim: string): string | undefined {
  try {
    return readlinkSync(claim).split("/").at(-1);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** The pid that a claim names; undefined when the claim is gone. */
function creatorOf(claim: string): number | undefined {
  const part = readPart(claim);
  return part === undefined ? undefined : Number(part.split("-")[1]);
}

/** Whether the process runs; a zombie has ended. */
function isAlive(pid: number): boolean {
  if (!exists(pid)) return false;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !"ZX".includes(stat.charAt(stat.lastIndexOf(")") + 2));
  } catch {
    return exists(pid); // it ended just now, or there is no /proc
  }
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) !== "ESRCH";
  }
}

function isFull(error: unknown): boolean {
  const code = codeOf(error);
  return code === "ENOSPC" || code === "EDQUOT";
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}
