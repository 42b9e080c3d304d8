/**
 * The object store over plain files, for machines where the addon cannot load: one file per object in one directory
 * (in /dev/shm, so memory all the same). A reader gets a copy instead of a mapping; everything else is alike.
 *
 * Names in the directory:
 *   <hex>            a sealed object; mode 0600 primary, 0400 secondary; mtime = last use
 *   <hex>.creating   a symbolic link to `part-<pid>-<n>`, made with the exclusiveness of symlink(2): one creator per key,
 *                    and its pid is readable when it dies
 *   part-<pid>-<n>   the bytes of an object being made; renamed to <hex> = sealed, in one step
 *   <hex>.moving     a symbolic link like it: the one process that copies the object to disk, evicts or keeps it
 *   capacity         the capacity in bytes, for those that attach
 *   spill            a symbolic link to the spill directory, where there is one: <hex> and part-... are there as here
 *
 * Capacity is kept approximately: each process adds its own writes to its last scan of the directory, and scans again
 * after an eighth of the capacity or when it seems full. N writers may overshoot by up to N eighths.
 */
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  lstatSync,
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
} from "node:fs";
import { join } from "node:path";
import { NotInitializedError, ObjectStoreFullError } from "../base/errors.ts";
import { codeOf, creatorOf, isAlive, readPart, unlinkIfThere } from "./file-claims.ts";
import { checkWhole, FileWriter, isFull, openSized } from "./file-writer.ts";
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
const SPILL_LINK = "spill";

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

/** Where a new object will lie. */
interface Room {
  readonly directory: string;
  readonly isDisk: boolean;
}

export class FileStore implements ObjectStore {
  readonly kind = "files";
  readonly #directory: string;
  readonly #capacityBytes: number;
  readonly #spillDir: string | undefined;
  readonly #writers = new Set<FileWriter>();
  #usedBytes = 0;
  #writtenSinceScanBytes = Number.POSITIVE_INFINITY;
  #parts = 0;
  #evictions = 0;
  #spilledBytesTotal = 0;
  #readBackBytesTotal = 0;
  #spillError = "";
  #closed = false;

  private constructor(directory: string, capacityBytes: number, spillDir: string | undefined) {
    this.#directory = directory;
    this.#capacityBytes = capacityBytes;
    this.#spillDir = spillDir;
  }

  /** Makes the directory, mode 0700. Throws when it exists. */
  static create(directory: string, capacityBytes: number, spillDir?: string): FileStore {
    mkdirSync(directory, { mode: 0o700 });
    if (spillDir !== undefined) symlinkSync(spillDir, join(directory, SPILL_LINK));
    writeFileSync(join(directory, "capacity"), String(capacityBytes), { mode: 0o600 });
    return new FileStore(directory, capacityBytes, spillDir);
  }

  /** Uses the directory that another process made. Throws ENOENT when it is gone. */
  static open(directory: string): FileStore {
    const capacityBytes = Number(readFileSync(join(directory, "capacity"), "utf8"));
    const link = join(directory, SPILL_LINK);
    const hasSpillDir = lstatSync(link, { throwIfNoEntry: false }) !== undefined;
    return new FileStore(directory, capacityBytes, hasSpillDir ? readlinkSync(link) : undefined);
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
    const claim = join(this.#directory, `${hex}.creating`);
    const partName = `part-${process.pid}-${this.#nextPart()}`;
    if (!this.#claim(claim, join(this.#directory, partName), hex)) return undefined;
    let part = "";
    let isDisk = false;
    try {
      const room = this.#makeRoom(size);
      const { directory } = room;
      isDisk = room.isDisk;
      part = join(directory, partName);
      if (isDisk) {
        // The claim names the part, wherever it is; a dead creator's claim leads to it.
        const renamed = `${claim}-${partName}`;
        symlinkSync(part, renamed);
        renameSync(renamed, claim);
      }
      const secondary = options.secondary ?? false;
      const fd = openSized(part, size, secondary ? SECONDARY_MODE : PRIMARY_MODE);
      const files = { fd, size, part, claim, sealed: join(directory, hex), isDisk };
      const writer = new FileWriter(files, (bytes, error) => {
        this.#writers.delete(writer);
        if (!room.isDisk) this.#account(bytes);
        else if (error !== undefined) this.#spillError = error.message;
      });
      this.#writers.add(writer);
      if (isDisk) this.#spillError = "";
      else this.#account(size);
      return writer;
    } catch (error) {
      if (part !== "") rmSync(part, { force: true });
      rmSync(claim, { force: true });
      if (isDisk) this.#spillError = (error as Error).message;
      throw isDisk || isFull(error) ? this.#full(size) : error;
    }
  }

  contains(key: Uint8Array): boolean {
    return this.#find(this.#name(key)) !== undefined;
  }

  sizeOf(key: Uint8Array): number | undefined {
    const path = this.#find(this.#name(key));
    return path === undefined ? undefined : statSync(path, { throwIfNoEntry: false })?.size;
  }

  get(key: Uint8Array): Buffer | undefined {
    return this.#read(key, (size) => ({ offset: 0, length: size }));
  }

  /** Readers hold copies. */
  release(): boolean {
    return false;
  }

  sweepViews(): void {}

  get viewsElsewhere(): number {
    return 0;
  }

  originOf(): undefined {
    return undefined;
  }

  readChunk(key: Uint8Array, offset: number, length: number): Buffer | undefined {
    checkWhole("offset", offset);
    checkWhole("length", length);
    return this.#read(key, (size) => {
      if (offset + length > size) throw new RangeError("the chunk must lie inside the object's size");
      return { offset, length };
    });
  }

  keep(key: Uint8Array): boolean {
    const hex = this.#name(key);
    const path = this.#find(hex);
    if (path === undefined) return false;
    if (!isSecondary(statSync(path, { throwIfNoEntry: false }))) return this.#find(hex) !== undefined;
    return this.#alone(hex, () => {
      try {
        chmodSync(path, PRIMARY_MODE);
        return true;
      } catch (error) {
        if (codeOf(error) === "ENOENT") return false;
        throw error;
      }
    });
  }

  delete(key: Uint8Array): boolean {
    return this.#unlinkSealed(this.#name(key));
  }

  deleteAll(prefix: Uint8Array): number {
    this.#assertOpen();
    if (!(prefix instanceof Uint8Array)) throw new TypeError("prefix must be a Uint8Array");
    if (prefix.length < 1 || prefix.length > STORE_KEY_BYTES)
      throw new RangeError("prefix must be of 1 to 16 bytes");
    const start = Buffer.from(prefix).toString("hex");
    const objects = [...this.#scan().sealed, ...this.#spilled()].filter(({ key }) => key.startsWith(start));
    return objects.filter(({ key }) => this.#unlinkSealed(key)).length;
  }

  reclaim(pid: number): boolean {
    this.#assertOpen();
    if (!Number.isSafeInteger(pid) || pid < 1) throw new RangeError("pid must be a whole number above 0");
    if (isAlive(pid)) return false;
    for (const directory of this.#directories().filter((path) => existsSync(path))) {
      for (const name of readdirSync(directory)) {
        const path = join(directory, name);
        const isClaim = name.endsWith(".creating") || name.endsWith(".moving");
        if (isClaim && creatorOf(path) === pid) rmSync(path, { force: true });
        if (name.startsWith(`part-${pid}-`)) rmSync(path, { force: true });
      }
    }
    this.#writtenSinceScanBytes = Number.POSITIVE_INFINITY;
    return true;
  }

  stats(): StoreStats {
    this.#assertOpen();
    const { sealed, creating, usedBytes } = this.#scan();
    const spilled = this.#spilled();
    return {
      capacityBytes: this.#capacityBytes,
      usedBytes,
      evictableBytes: bytesOf(sealed.filter((object) => object.secondary)),
      objects: sealed.length + creating.length,
      pinnedObjects: 0,
      evictions: this.#evictions,
      spilledBytes: bytesOf(spilled),
      spilledObjects: spilled.length,
      spillFiles: spilled.length,
      spilledBytesTotal: this.#spilledBytesTotal,
      readBackBytesTotal: this.#readBackBytesTotal,
      damagedObjects: 0,
      spillError: this.#spillError,
    };
  }

  list(limit: number): StoreEntry[] {
    this.#assertOpen();
    checkWhole("limit", limit);
    const { sealed, creating } = this.#scan();
    const entry = ({ key, size, secondary }: FileObject, where: StoreEntry["where"]): StoreEntry => ({
      key,
      size,
      state: "sealed",
      secondary,
      where,
      pins: 0,
    });
    const entries = [
      ...sealed.map((object) => entry(object, "memory")),
      ...this.#spilled().map((object) => entry(object, "disk")),
    ];
    for (const { key, size, part } of creating) {
      const secondary = isSecondary(statSync(part, { throwIfNoEntry: false }));
      const where = part.startsWith(`${this.#directory}/`) ? "memory" : "disk";
      entries.push({ key, size, state: "creating", secondary, where, pins: 0 });
    }
    return entries.slice(0, limit);
  }

  async prefault(fromBytes: number): Promise<number> {
    return fromBytes;
  }

  async spillDownTo(usedBytes: number): Promise<boolean> {
    this.#assertOpen();
    return this.#spillUntil((scan) => scan.usedBytes <= usedBytes);
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
  #claim(claim: string, part: string, hex: string): boolean {
    for (;;) {
      if (this.#find(hex) !== undefined) return false;
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
      if (this.#find(hex) === undefined) return true;
      unlinkSync(claim); // sealed between the look and the claim
      return false;
    }
  }

  #directories(): string[] {
    return this.#spillDir === undefined ? [this.#directory] : [this.#directory, this.#spillDir];
  }

  /** Path of a sealed object. An object is moved by making it there before it goes here: look here first. */
  #find(hex: string): string | undefined {
    return this.#directories()
      .map((directory) => join(directory, hex))
      .find((path) => existsSync(path));
  }

  #dropClaim(claim: string): void {
    try {
      rmSync(readlinkSync(claim), { force: true });
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
    }
    rmSync(claim, { force: true });
  }

  /**
   * Makes sure, as far as this process can see, that `size` more bytes fit: evicts the oldest secondary copies, then
   * moves the oldest primary ones to disk. Where that is not enough the object is made on disk itself.
   */
  #makeRoom(size: number): Room {
    const memory = { directory: this.#directory, isDisk: false };
    const mustScan = this.#writtenSinceScanBytes > this.#capacityBytes * RESCAN_SHARE;
    if (!mustScan && this.#usedBytes + size <= this.#capacityBytes) return memory;
    const { sealed, usedBytes } = this.#scan();
    const fits = () => this.#usedBytes + size <= this.#capacityBytes;
    if (fits()) return memory;
    const evictable = sealed.filter((object) => object.secondary);
    const movable = this.#spillDir === undefined ? [] : sealed.filter((object) => !object.secondary);
    if (usedBytes - bytesOf(evictable) - bytesOf(movable) + size <= this.#capacityBytes) {
      for (const { key } of evictable.sort((a, b) => a.lastUseMs - b.lastUseMs)) {
        if (fits()) return memory;
        if (this.#evict(key)) this.#evictions += 1;
      }
      if (fits() || this.#spillUntil(fits)) return memory;
    }
    if (this.#spillDir === undefined) throw this.#full(size);
    return { directory: this.#spillDir, isDisk: true };
  }

  #evict(hex: string): boolean {
    return this.#alone(hex, () => {
      const stats = statSync(join(this.#directory, hex), { throwIfNoEntry: false });
      return isSecondary(stats) && this.#unlinkSealed(hex);
    });
  }

  /** What evicts, keeps or moves an object does so one at a time. False: another process has it in hands. */
  #alone(hex: string, act: () => boolean): boolean {
    const claim = join(this.#directory, `${hex}.moving`);
    if (!this.#claimMove(claim, `part-${process.pid}-${this.#nextPart()}`)) return false;
    try {
      return act();
    } finally {
      rmSync(claim, { force: true });
    }
  }

  /** Moves primary copies to disk, the oldest first. False: `enough` is not reached. */
  #spillUntil(enough: (scan: Scan) => boolean): boolean {
    const scan = this.#scan();
    const movable = scan.sealed.filter((object) => !object.secondary);
    for (const { key, size } of movable.sort((a, b) => a.lastUseMs - b.lastUseMs)) {
      if (enough({ ...scan, usedBytes: this.#usedBytes })) return true;
      if (!this.#moveToDisk(key, size)) break;
    }
    return enough({ ...scan, usedBytes: this.#usedBytes });
  }

  /** False: the disk does not take it. */
  #moveToDisk(hex: string, size: number): boolean {
    if (this.#spillDir === undefined) return false;
    const from = join(this.#directory, hex);
    const part = join(this.#spillDir, `part-${process.pid}-${this.#nextPart()}`);
    const claim = `${from}.moving`;
    if (!this.#claimMove(claim, part)) return true;
    try {
      const { ino } = statSync(from);
      copyFileSync(from, part);
      renameSync(part, join(this.#spillDir, hex));
      this.#spillError = "";
      // Deleted while it was copied: that must win.
      const isSame = statSync(from, { throwIfNoEntry: false })?.ino === ino;
      if (isSame && this.#unlink(from)) this.#spilledBytesTotal += size;
      else unlinkIfThere(join(this.#spillDir, hex));
      return true;
    } catch (error) {
      rmSync(part, { force: true });
      if (codeOf(error) === "ENOENT" && existsSync(this.#spillDir)) return true; // it was deleted before the copy
      this.#spillError = (error as Error).message;
      return false;
    } finally {
      rmSync(claim, { force: true });
    }
  }

  /** Becomes the one process that moves this object. */
  #claimMove(claim: string, part: string): boolean {
    try {
      symlinkSync(part, claim);
      return true;
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw error;
      const mover = creatorOf(claim);
      if (mover !== undefined && !isAlive(mover)) this.#dropClaim(claim);
      return false;
    }
  }

  #spilled(): FileObject[] {
    if (this.#spillDir === undefined) return [];
    const objects: FileObject[] = [];
    if (!existsSync(this.#spillDir)) return objects; // stats().spillError says so when it is needed
    for (const name of readdirSync(this.#spillDir)) {
      const stats = statSync(join(this.#spillDir, name), { throwIfNoEntry: false });
      if (stats === undefined || name.startsWith("part-")) continue;
      objects.push({ key: name, size: stats.size, secondary: isSecondary(stats), lastUseMs: stats.mtimeMs });
    }
    return objects;
  }

  #scan(): Scan {
    const sealed: FileObject[] = [];
    const creating: { key: string; part: string; size: number }[] = [];
    let usedBytes = 0;
    for (const name of readdirSync(this.#directory)) {
      if (name === "capacity" || name === SPILL_LINK || name.startsWith("part-")) continue;
      if (name.includes(".creating-") || name.endsWith(".moving")) continue;
      const stats = statSync(join(this.#directory, name), { throwIfNoEntry: false }); // follows the link to the part
      if (stats === undefined) continue;
      if (name.endsWith(".creating")) {
        const part = readPart(join(this.#directory, name));
        if (part?.startsWith(`${this.#directory}/`)) usedBytes += stats.size;
        if (part !== undefined) creating.push({ key: name.slice(0, -9), part, size: stats.size });
      } else {
        usedBytes += stats.size;
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
    const inMemory = this.#unlink(join(this.#directory, hex));
    const onDisk = this.#spillDir !== undefined && unlinkIfThere(join(this.#spillDir, hex));
    return inMemory || onDisk;
  }

  /** Of an object in memory. */
  #unlink(path: string): boolean {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined || !unlinkIfThere(path)) return false;
    this.#account(-stats.size);
    return true;
  }

  #read(key: Uint8Array, range: (size: number) => { offset: number; length: number }): Buffer | undefined {
    const hex = this.#name(key);
    for (const directory of this.#directories()) {
      const path = join(directory, hex);
      let fd: number;
      try {
        fd = openSync(path, "r");
      } catch (error) {
        if (codeOf(error) === "ENOENT") continue;
        throw error;
      }
      try {
        const stats = fstatSync(fd);
        const { offset, length } = range(stats.size);
        const bytes = Buffer.allocUnsafeSlow(length);
        for (let done = 0; done < length; ) {
          done += readSync(fd, bytes, done, Math.min(length - done, 2 ** 30), offset + done);
        }
        if (directory !== this.#directory) this.#readBackBytesTotal += length;
        else this.#touch(path);
        return bytes;
      } finally {
        closeSync(fd);
      }
    }
    return undefined;
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
        `${this.#usedBytes} of ${this.#capacityBytes} bytes are used` +
        `${this.#spillError === "" ? "" : `; nothing can be spilled to disk (${this.#spillError})`}. ` +
        "Drop refs that are no longer needed, or give the node more (--object-store-memory, --spill-dir)",
    );
  }
}

function bytesOf(objects: readonly FileObject[]): number {
  return objects.reduce((sum, object) => sum + object.size, 0);
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
