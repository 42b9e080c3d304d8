/**
 * The state store of an embedded cluster, which dies with its driver: plain maps, nothing survives the process.
 */
import {
  checkRoom,
  keyBytes,
  type PutAnswer,
  STATE_ENTRIES_MAX,
  type StateEntry,
  type StateStore,
} from "./state-store.ts";

export class MemoryStateStore implements StateStore {
  readonly #tables = new Map<string, Map<string, StateEntry>>();
  readonly #entriesMax: number;
  #entries = 0;
  #revision = 0;

  constructor(options: { entriesMax?: number } = {}) {
    this.#entriesMax = options.entriesMax ?? STATE_ENTRIES_MAX;
  }

  async get(table: string, key: string): Promise<StateEntry | undefined> {
    return this.#tables.get(table)?.get(key);
  }

  async put(table: string, key: string, value: Uint8Array, expectedRevision?: number): Promise<PutAnswer> {
    keyBytes(table, key);
    let rows = this.#tables.get(table);
    if (rows === undefined) {
      rows = new Map();
      this.#tables.set(table, rows);
    }
    const present = rows.get(key);
    const revision = present?.revision ?? 0;
    if (expectedRevision !== undefined && expectedRevision !== revision) return { stored: false, revision };
    if (present === undefined) {
      checkRoom(this.#entries, this.#entriesMax);
      this.#entries += 1;
    }
    this.#revision += 1;
    // Copied: the caller may reuse its buffer, and a slice of a large message must not keep that message.
    rows.set(key, { key, value: Buffer.from(value), revision: this.#revision });
    return { stored: true, revision: this.#revision };
  }

  async delete(table: string, key: string, expectedRevision?: number): Promise<boolean> {
    const rows = this.#tables.get(table);
    const present = rows?.get(key);
    if (rows === undefined || present === undefined) return false;
    if (expectedRevision !== undefined && expectedRevision !== present.revision) return false;
    rows.delete(key);
    this.#entries -= 1;
    return true;
  }

  async list(table: string, prefix = ""): Promise<StateEntry[]> {
    return this.#sorted(table, prefix);
  }

  async keys(table: string, prefix: string, limit: number): Promise<string[]> {
    return this.#sorted(table, prefix)
      .slice(0, limit)
      .map((entry) => entry.key);
  }

  async close(): Promise<void> {}

  #sorted(table: string, prefix: string): StateEntry[] {
    const found = [...(this.#tables.get(table)?.values() ?? [])].filter((entry) =>
      entry.key.startsWith(prefix),
    );
    const bytesOf = new Map(found.map((entry) => [entry, Buffer.from(entry.key, "utf8")]));
    return found.sort((a, b) => Buffer.compare(bytesOf.get(a) as Buffer, bytesOf.get(b) as Buffer));
  }
}
