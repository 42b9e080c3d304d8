/**
 * Where the head keeps what must outlive it: the one interface behind all its tables.
 *
 * Decides the contract: tables of byte values by key, a revision per entry, writes that can be made conditional on it.
 * Revisions grow over the whole store (as in NATS JetStream), so a key that was deleted and put again never shows an
 * old one. A write is durable, to the store's own measure, once its promise resolves; writes take effect in the order in
 * which they were asked for. Knows nothing of what is stored.
 */
import { InvalidOptionError } from "../../core/base/errors.ts";

/** Longest `table` + key in bytes of UTF-8 (LMDB takes 1978). */
export const STATE_KEY_BYTES_MAX = 1024;
/** Entries of one store, all tables together: a put of a further key is refused. */
export const STATE_ENTRIES_MAX = 1_000_000;

export interface StateEntry {
  readonly key: string;
  readonly value: Uint8Array;
  readonly revision: number;
}

/** Answer of a put: `revision` is the entry's after it, or the one that stood in the way (0 = there is none). */
export interface PutAnswer {
  readonly stored: boolean;
  readonly revision: number;
}

export interface StateStore {
  get(table: string, key: string): Promise<StateEntry | undefined>;
  /**
   * @param expectedRevision leave out to replace whatever is there; 0 = only if absent; else only over that revision
   * @throws InvalidOptionError when the key is too long, or the store holds STATE_ENTRIES_MAX entries
   */
  put(table: string, key: string, value: Uint8Array, expectedRevision?: number): Promise<PutAnswer>;
  /** Whether the key was there (and, where `expectedRevision` is given, stood at it). */
  delete(table: string, key: string, expectedRevision?: number): Promise<boolean>;
  /** Entries whose keys start with `prefix`, in byte order of their keys. */
  list(table: string, prefix?: string): Promise<StateEntry[]>;
  /** The first `limit` keys that start with `prefix`, in byte order. */
  keys(table: string, prefix: string, limit: number): Promise<string[]>;
  close(): Promise<void>;
}

/** The bytes by which an entry is found and ordered. @throws InvalidOptionError */
export function keyBytes(table: string, key: string): Buffer {
  const bytes = Buffer.from(`${table}\0${key}`, "utf8");
  if (bytes.length > STATE_KEY_BYTES_MAX) {
    throw new InvalidOptionError(
      `a key of table ${table} has ${bytes.length} bytes with its table's name, ${STATE_KEY_BYTES_MAX} is the most`,
    );
  }
  return bytes;
}

/** Refuses one entry too many. @throws InvalidOptionError */
export function checkRoom(entries: number, entriesMax: number): void {
  if (entries >= entriesMax) {
    throw new InvalidOptionError(`the state store is full: it holds ${entriesMax} entries`);
  }
}
