/**
 * The state store that survives its head: one LMDB file, synced to disk before a write is acknowledged.
 *
 * Entry: key bytes are `table NUL key`, value bytes are the revision (8 bytes, big endian) and then the value. The
 * store's last revision lies under a key of its own and changes in the transaction of the write it numbers.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { RootDatabase, RootDatabaseOptionsWithPath } from "lmdb";
import { ClusterUnreachableError, InvalidOptionError } from "../../core/base/errors.ts";
import { holdDirectory } from "./exclusive.ts";
import {
  checkRoom,
  keyBytes,
  type PutAnswer,
  STATE_ENTRIES_MAX,
  type StateEntry,
  type StateStore,
} from "./state-store.ts";

const REVISION_BYTES = 8;
const FILE_NAME = "tables.lmdb";
/** No table is named by the empty string, so no entry has this key. */
const LAST_REVISION_KEY = Buffer.from("\0revision", "utf8");

type Db = RootDatabase<Buffer, Buffer>;

export class LmdbStateStore implements StateStore {
  readonly #db: Db;
  readonly #entriesMax: number;
  readonly #release: () => Promise<void>;

  private constructor(db: Db, entriesMax: number, release: () => Promise<void>) {
    this.#db = db;
    this.#entriesMax = entriesMax;
    this.#release = release;
  }

  /**
   * Opens the store in `directory`, which is made (0700) where it is missing.
   * @throws ClusterUnreachableError when another head has it open; InvalidOptionError when it cannot be one
   */
  static async open(directory: string, options: { entriesMax?: number } = {}): Promise<LmdbStateStore> {
    const { open } = await import("lmdb");
    let release: (() => Promise<void>) | undefined;
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      release = await holdDirectory(directory);
      const settings: RootDatabaseOptionsWithPath & { readonly safeRestore: boolean } = {
        path: join(directory, FILE_NAME),
        encoding: "binary",
        keyEncoding: "binary",
        cache: false,
        compression: false,
        // A commit is on disk when its promise resolves; freed memory is zeroed before it becomes part of the file.
        noSync: false,
        overlappingSync: false,
        noMemInit: false,
        // With it lmdb drops a promise that fails with each failed commit, which nobody could catch.
        eventTurnBatching: false,
        // A virtual machine may come back to an earlier moment under the same boot id.
        safeRestore: true,
      };
      const db = open<Buffer, Buffer>(settings);
      return new LmdbStateStore(db, options.entriesMax ?? STATE_ENTRIES_MAX, release);
    } catch (cause) {
      await release?.();
      if (cause instanceof ClusterUnreachableError) throw cause;
      throw new InvalidOptionError(
        `cannot open the state store in ${directory}: ${(cause as Error).message}`,
        { cause },
      );
    }
  }

  async get(table: string, key: string): Promise<StateEntry | undefined> {
    const row = this.#db.getBinary(keyBytes(table, key));
    return row && toEntry(key, row);
  }

  async put(table: string, key: string, value: Uint8Array, expectedRevision?: number): Promise<PutAnswer> {
    const id = keyBytes(table, key);
    const copy = Buffer.from(value);
    return this.#commit((): PutAnswer => {
      const present = this.#db.getBinary(id);
      const revision = present ? revisionOf(present) : 0;
      if (expectedRevision !== undefined && expectedRevision !== revision) return { stored: false, revision };
      if (present === undefined) checkRoom(this.#entryCount(), this.#entriesMax);
      const next = this.#nextRevision();
      this.#db.put(id, Buffer.concat([revisionBytes(next), copy]));
      return { stored: true, revision: next };
    });
  }

  async delete(table: string, key: string, expectedRevision?: number): Promise<boolean> {
    const id = keyBytes(table, key);
    return this.#commit(() => {
      const present = this.#db.getBinary(id);
      if (present === undefined) return false;
      if (expectedRevision !== undefined && expectedRevision !== revisionOf(present)) return false;
      this.#db.remove(id);
      return true;
    });
  }

  async list(table: string, prefix = ""): Promise<StateEntry[]> {
    const skipBytes = Buffer.byteLength(table) + 1;
    return [...this.#db.getRange(rangeOf(table, prefix))].map(({ key, value }) =>
      toEntry(key.toString("utf8", skipBytes), value),
    );
  }

  async keys(table: string, prefix: string, limit: number): Promise<string[]> {
    const skipBytes = Buffer.byteLength(table) + 1;
    const keys = this.#db.getKeys({ ...rangeOf(table, prefix), limit });
    return [...keys.map((key) => key.toString("utf8", skipBytes))];
  }

  async close(): Promise<void> {
    await this.#db.close();
    await this.#release();
  }

  /** @throws Error why it could not be written: nothing of it is on the disk then */
  async #commit<R>(change: () => R): Promise<R> {
    try {
      return await this.#db.transaction(change);
    } catch (error) {
      const { commitError } = error as { commitError?: Promise<never> };
      if (commitError === undefined) throw error;
      // The reason is a promise of its own, settled by now as a rule.
      const cause = commitError.catch((reason: Error) => reason);
      const unknown = new Promise<undefined>((resolve) => setImmediate(() => resolve(undefined)));
      const reason = await Promise.race([cause, unknown]);
      throw new Error(reason?.message ?? "the commit failed", { cause: error });
    }
  }

  #nextRevision(): number {
    const last = this.#db.getBinary(LAST_REVISION_KEY);
    const next = (last ? revisionOf(last) : 0) + 1;
    this.#db.put(LAST_REVISION_KEY, revisionBytes(next));
    return next;
  }

  /** Entries without the one that holds the last revision. */
  #entryCount(): number {
    const { entryCount } = this.#db.getStats() as { entryCount: number };
    return Math.max(0, entryCount - 1);
  }
}

function rangeOf(table: string, prefix: string): { start: Buffer; end: Buffer } {
  const start = keyBytes(table, prefix);
  return { start, end: Buffer.concat([start, Buffer.from([0xff])]) };
}

function revisionBytes(revision: number): Buffer {
  const bytes = Buffer.alloc(REVISION_BYTES);
  bytes.writeBigUInt64BE(BigInt(revision));
  return bytes;
}

const revisionOf = (row: Buffer) => Number(row.readBigUInt64BE(0));

function toEntry(key: string, row: Buffer): StateEntry {
  return { key, value: Buffer.from(row.subarray(REVISION_BYTES)), revision: revisionOf(row) };
}
