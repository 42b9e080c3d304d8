/**
 * The one declaration of the native addon and its one loader. What each function promises is in native/CONTRACT.md.
 *
 * Loaded on first use and kept. Where it cannot be loaded (no prebuilt for this platform, an older C library,
 * TSRAY_NO_ADDON=1) the reason is kept instead, and open-store.ts falls back to plain files.
 */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** 1: done; 0: an object of that key exists already (sealed or being made); -1: it does not fit. */
export type NativePutCode = 1 | 0 | -1;

export interface NativeStats {
  readonly capacityBytes: number;
  readonly usedBytes: number;
  readonly evictableBytes: number;
  readonly objects: number;
  readonly pinnedObjects: number;
  readonly evictions: number;
  readonly spilledBytes: number;
  readonly spilledObjects: number;
  readonly spillFiles: number;
  readonly spilledBytesTotal: number;
  readonly readBackBytesTotal: number;
  readonly damagedObjects: number;
  /** Why the last attempt to write to the spill directory failed; "" when it did not. */
  readonly spillError: string;
}

export interface NativeListed {
  /** 32 hexadecimal digits. */
  readonly key: string;
  readonly size: number;
  readonly state: "creating" | "sealed" | "deleting";
  readonly secondary: boolean;
  readonly where: "memory" | "disk";
  readonly pins: number;
}

/** One attachment of this process to an arena. All methods throw Error after close, TypeError for a wrong argument. */
export interface NativeArena {
  put(
    key: Uint8Array,
    size: number,
    offsets: readonly number[],
    parts: readonly Uint8Array[],
    secondary: boolean,
  ): NativePutCode;
  create(key: Uint8Array, size: number, secondary: boolean): NativePutCode;
  writeAt(key: Uint8Array, offset: number, bytes: Uint8Array): void;
  /** The bytes of an object that is being made, until `seal` or `abort` empties the Buffer. Null: it is made on disk. */
  memory(key: Uint8Array): Buffer | null;
  seal(key: Uint8Array): void;
  abort(key: Uint8Array): void;
  contains(key: Uint8Array): boolean;
  /** Size in bytes, or -1. */
  size(key: Uint8Array): number;
  get(key: Uint8Array): Buffer | null;
  readChunk(key: Uint8Array, offset: number, length: number): Buffer | null;
  /** A secondary copy becomes the primary one. False: no sealed object of that key. */
  keep(key: Uint8Array): boolean;
  delete(key: Uint8Array): boolean;
  /** Deletes every sealed object whose key begins with `prefix` (1 to 16 bytes). @returns how many that were */
  deleteAll(prefix: Uint8Array): number;
  reclaim(pid: number): boolean;
  stats(): NativeStats;
  list(limit: number): NativeListed[];
  /** Null, or which invariant is broken. For tests and for looking into a damaged store. */
  check(): string | null;
  /** Makes pages of the data present, on a thread of the pool. False: memory is short. */
  prefault(offset: number, bytes: number): Promise<boolean>;
  /**
   * Writes primary copies out, on a thread of the pool, until what cannot be evicted takes at most `usedBytes`.
   * False: no more can be written out.
   */
  spillDownTo(usedBytes: number): Promise<boolean>;
  close(): void;
}

export interface NativeAddon {
  readonly Arena: {
    /** @param spillDir absolute path of a directory of its own; undefined = nothing is ever written out */
    create(path: string, capacityBytes: number, spillDir?: string): NativeArena;
    open(path: string): NativeArena;
    /** Gives a view of `get` back at once: its ArrayBuffer is empty from then on. False: it is no such view. */
    release(view: Uint8Array): boolean;
    /**
     * Where the bytes of a view lie in the object that it was got from; -1: they are no view of `get`, or this process
     * has written to their pages.
     */
    originOf(view: Uint8Array): number;
    /** Gives back the views that a collection has found dead, ahead of their finalizers. @returns how many */
    sweep(): number;
    /** Views that were transferred to other threads, as far as `sweep` and finalizers have met them. */
    viewsElsewhere(): number;
  };
  /** Whether views can be transferred to other threads, and V8 does not count them: compiled for this version of Node. */
  readonly transferableViews: boolean;
  /** Unlike WeakRef it does not keep `target` alive until the end of the job, so it tells right after a collection. */
  weakRef(target: object): { isAlive(): boolean };
  /**
   * Asks the kernel to send this process `signal` (0: none) when the parent thread that started it ends.
   * False: the parent is already gone, or was never `expectedParentPid`.
   */
  setParentDeathSignal(signal: number, expectedParentPid: number): boolean;
  /**
   * Has a thread end this process and its group (SIGKILL) when the first 8 bytes of an open file have not changed for
   * `silentMsMax`, whatever the main thread does. Once per process.
   */
  watchPulse(fd: number, silentMsMax: number): void;
  /** Milliseconds since boot, those in which the machine was suspended included. */
  bootMs(): number;
  /**
   * The first `bytes` of an open file, shared with whoever else maps it: what one writes the others see, and it stays
   * when a process is killed. The file must have that many bytes reserved.
   */
  mapShared(fd: number, bytes: number): Buffer;
}

export type NativeLoad =
  | { readonly addon: NativeAddon; readonly reason?: undefined }
  | { readonly addon: null; readonly reason: string };

let loaded: NativeLoad | undefined;

/** The addon, or null and why there is none. */
export function loadNative(): NativeLoad {
  loaded ??= load();
  return loaded;
}

function load(): NativeLoad {
  if (process.env.TSRAY_NO_ADDON === "1") return { addon: null, reason: "TSRAY_NO_ADDON=1 is set" };
  const root = packageRoot(dirname(fileURLToPath(import.meta.url)));
  if (root === undefined) return { addon: null, reason: "tsray's package directory was not found" };
  const file = addonFile(root);
  if (!existsSync(file)) return { addon: null, reason: `${file} does not exist` };
  try {
    return { addon: createRequire(import.meta.url)(file) as NativeAddon };
  } catch (error) {
    return { addon: null, reason: `${file}: ${error instanceof Error ? error.message : String(error)}` };
  }
}

/** @internal The one that was built for this version of Node before the one that serves all. */
export function addonFile(root: string): string {
  const directory = join(root, "prebuilds", `${process.platform}-${process.arch}`);
  const own = join(directory, `tsray-abi${process.versions.modules}.node`);
  return existsSync(own) ? own : join(directory, "tsray.node");
}

/** Source and bundle lie at different depths: look upwards for the package.json that is tsray's own. */
function packageRoot(from: string): string | undefined {
  for (let directory = from; ; directory = dirname(directory)) {
    const manifest = join(directory, "package.json");
    if (existsSync(manifest)) {
      try {
        const parsed: unknown = JSON.parse(readFileSync(manifest, "utf8"));
        if (typeof parsed === "object" && parsed !== null && "name" in parsed && parsed.name === "tsray") {
          return directory;
        }
      } catch {
        // Somebody else's broken package.json: keep looking.
      }
    }
    if (dirname(directory) === directory) return undefined;
  }
}
