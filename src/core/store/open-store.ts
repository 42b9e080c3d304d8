/**
 * Makes the node's object store (raylet) and attaches to it (workers, drivers): the arena where the addon loads,
 * plain files elsewhere. The one place that knows both kinds and where their files lie.
 */
import { mkdirSync, rmSync } from "node:fs";
import { isAbsolute } from "node:path";
import { ClusterUnreachableError, InvalidOptionError, ObjectStoreFullError } from "../base/errors.ts";
import { ArenaStore } from "./arena-store.ts";
import { FileStore } from "./file-store.ts";
import { loadNative } from "./native.ts";
import type { ObjectStore } from "./object-store.ts";

const CAPACITY_BYTES_MIN = 64 * 1024;
const CAPACITY_BYTES_MAX = 2 ** 46;
/** As the arena has room for it. */
const SPILL_DIR_BYTES_MAX = 500;

/** The store of the process that made it. */
export type OwnedObjectStore = ObjectStore & {
  /** Closes the store and removes every file of it. Processes that still have it open keep what they have mapped. */
  destroy(): void;
};

export interface CreateStoreOptions {
  /** Where its files begin, such as `/dev/shm/tsray-x7`; a suffix per kind is added. */
  readonly path: string;
  readonly capacityBytes: number;
  /**
   * Absolute path of a directory, not there yet, that is made for objects which memory has no room for and removed with
   * the store. Undefined: a full store is an error.
   */
  readonly spillDir?: string | undefined;
}

export interface AttachStoreOptions {
  /** As given to createStore. */
  readonly path: string;
  /** What the creator's store says of itself. */
  readonly kind: ObjectStore["kind"];
}

/**
 * Makes a store. Throws InvalidOptionError for a capacity out of range or a spill directory that cannot be made,
 * ObjectStoreFullError when no memory is left.
 */
export function createStore(options: CreateStoreOptions): OwnedObjectStore {
  const { path, capacityBytes, spillDir } = options;
  if (
    !Number.isSafeInteger(capacityBytes) ||
    capacityBytes < CAPACITY_BYTES_MIN ||
    capacityBytes > CAPACITY_BYTES_MAX
  ) {
    throw new InvalidOptionError(
      `objectStoreMemory is ${capacityBytes}: it takes ${CAPACITY_BYTES_MIN} to ${CAPACITY_BYTES_MAX} bytes`,
    );
  }
  if (spillDir !== undefined) makeSpillDir(spillDir);
  const { addon } = loadNative();
  try {
    const store =
      addon !== null
        ? ArenaStore.create(addon, arenaPath(path), capacityBytes, spillDir)
        : FileStore.create(filesPath(path), capacityBytes, spillDir);
    return owned(store, addon !== null ? arenaPath(path) : filesPath(path), spillDir);
  } catch (error) {
    if (spillDir !== undefined) rmSync(spillDir, { recursive: true, force: true });
    if (codeOf(error) !== "ENOSPC") throw error;
    throw new ObjectStoreFullError(`no room for an object store at ${path}: ${(error as Error).message}`);
  }
}

/** Attaches to a store of this node. Throws ClusterUnreachableError when it is gone or of a kind unusable here. */
export function attachStore(options: AttachStoreOptions): ObjectStore {
  const { path, kind } = options;
  try {
    if (kind === "files") return FileStore.open(filesPath(path));
    const { addon, reason } = loadNative();
    if (addon !== null) return ArenaStore.open(addon, arenaPath(path));
    throw new ClusterUnreachableError(
      `the object store of this node (${arenaPath(path)}) needs tsray's native addon, which this process cannot load: ` +
        `${reason}. Run the same tsray installation as the node, or start the node with TSRAY_NO_ADDON=1`,
    );
  } catch (error) {
    const code = codeOf(error);
    if (code !== "ENOENT" && code !== "EBADMSG") throw error;
    throw new ClusterUnreachableError(
      `the object store of this node is not at ${path}: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

function owned(store: ObjectStore, path: string, spillDir: string | undefined): OwnedObjectStore {
  return Object.assign(store, {
    destroy(): void {
      store.close();
      rmSync(path, { recursive: true, force: true });
      if (spillDir !== undefined) rmSync(spillDir, { recursive: true, force: true });
    },
  });
}

function makeSpillDir(path: string): void {
  if (!isAbsolute(path) || Buffer.byteLength(path) > SPILL_DIR_BYTES_MAX) {
    throw new InvalidOptionError(
      `spillDir is ${JSON.stringify(path)}: it takes an absolute path of at most ${SPILL_DIR_BYTES_MAX} bytes`,
    );
  }
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    throw new InvalidOptionError(
      `the spill directory ${path} cannot be made: ${(error as Error).message}. Give one that can be written to ` +
        "(--spill-dir)",
      { cause: error },
    );
  }
}

function arenaPath(path: string): string {
  return `${path}.arena`;
}

function filesPath(path: string): string {
  return `${path}.files`;
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}
