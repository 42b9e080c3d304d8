/**
 * The experiment's memory: an append-only file of records, each with a checksum, and now and then a new file that begins
 * with a snapshot of everything, so that a restart reads little and the cost per record stays constant.
 *
 * A record is in the file when `append` returns, so it outlives the process. A crash can tear the last record only; what
 * follows a record that does not check is put aside, and said. Knows nothing of trials.
 */

import type { Log, Storage } from "../storage/storage.ts";
import { crc32 } from "./crc.ts";

/** One line. `kind` "snapshot" is the journal's own. */
export interface JournalRecord {
  readonly kind: string;
}

/** What was read back. */
export interface Loaded<R extends JournalRecord> {
  readonly snapshot: unknown;
  /** What happened since the snapshot, in order. */
  readonly records: readonly R[];
  /** What had to be left out, in words for the user. */
  readonly notes: readonly string[];
}

const FOLDER = "journal";
/** Records between snapshots take at least this, and at least as much as the last snapshot. */
const BYTES_MIN = 1 << 20;
/** Snapshots are due at least this often while there is something new, but take at most a twentieth of the time. */
const PERIOD_MS_MIN = 10_000;
const COST_FACTOR = 19;

export class Journal<R extends JournalRecord> {
  readonly #storage: Storage;
  #generation: number;
  #log: Log | undefined;
  #bytesSince = 0;
  #snapshotBytes = 0;
  #snapshotMs = 0;
  #snapshotAt = performance.now();

  private constructor(storage: Storage, generation: number) {
    this.#storage = storage;
    this.#generation = generation;
  }

  /** Whether an experiment is recorded there. */
  static exists(storage: Storage): boolean {
    return generationsIn(storage).length > 0;
  }

  /** A journal that begins with this snapshot, in a file of its own. */
  static create<R extends JournalRecord>(storage: Storage, snapshot: unknown): Journal<R> {
    const journal = new Journal<R>(storage, generationsIn(storage).at(-1) ?? 0);
    journal.snapshot(snapshot);
    return journal;
  }

  /** What the newest whole generation says; undefined where there is none. */
  static load<R extends JournalRecord>(storage: Storage): Loaded<R> | undefined {
    const notes: string[] = [];
    for (const generation of generationsIn(storage).reverse()) {
      const text = storage.readText(fileOf(generation)) ?? "";
      const { records, rest } = parse(text);
      const [first, ...others] = records;
      if (first?.kind !== "snapshot") {
        notes.push(`${fileOf(generation)} has no readable snapshot and was passed over`);
        continue;
      }
      if (rest !== "") {
        const lines = rest.split("\n").filter((line) => line !== "").length;
        const isTornEnd = lines === 1 && !rest.endsWith("\n");
        notes.push(
          isTornEnd
            ? `the last record of ${fileOf(generation)} was cut off and left out (${rest.length} bytes)`
            : `${lines} lines at the end of ${fileOf(generation)} are damaged and were left out; they are kept in ${fileOf(generation)}.damaged`,
        );
        if (!isTornEnd) storage.writeText(`${fileOf(generation)}.damaged`, rest);
      }
      return {
        snapshot: (first as unknown as { state: unknown }).state,
        records: others as unknown as R[],
        notes,
      };
    }
    return undefined;
  }

  append(record: R): void {
    const line = frame(record);
    this.#log?.append(line);
    this.#bytesSince += line.length;
  }

  /** Whether it is time to give a snapshot. */
  get isDue(): boolean {
    if (this.#bytesSince === 0) return false;
    if (this.#bytesSince > Math.max(BYTES_MIN, this.#snapshotBytes)) return true;
    return performance.now() - this.#snapshotAt > Math.max(PERIOD_MS_MIN, COST_FACTOR * this.#snapshotMs);
  }

  /** Whether something was appended since the last snapshot. */
  get hasNews(): boolean {
    return this.#bytesSince > 0;
  }

  /** Begins a new file with this state. The one before stays, in case the disk damages this one; older ones go. */
  snapshot(state: unknown): void {
    const startedAt = performance.now();
    const line = frame({ kind: "snapshot", state } as JournalRecord);
    const before = this.#generation;
    const next = before + 1;
    this.#storage.writeText(fileOf(next), line);
    this.#log?.close();
    this.#log = this.#storage.openLog(fileOf(next));
    this.#generation = next;
    this.#bytesSince = 0;
    this.#snapshotBytes = line.length;
    this.#snapshotAt = performance.now();
    this.#snapshotMs = this.#snapshotAt - startedAt;
    for (const old of generationsIn(this.#storage)) if (old < before) void this.#storage.remove(fileOf(old));
  }

  close(): void {
    this.#log?.close();
    this.#log = undefined;
  }
}

function fileOf(generation: number): string {
  return `${FOLDER}/${String(generation).padStart(6, "0")}.jsonl`;
}

/** Ascending. */
function generationsIn(storage: Storage): number[] {
  return storage
    .list(FOLDER)
    .map((name) => /^(\d+)\.jsonl$/.exec(name)?.[1])
    .filter((number) => number !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
}

/** "crc32 json\n" */
function frame(record: JournalRecord): string {
  const json = JSON.stringify(record);
  return `${checksum(json)} ${json}\n`;
}

function checksum(text: string): string {
  return crc32(Buffer.from(text)).toString(16).padStart(8, "0");
}

/** Records up to the first that does not check, and the text from there on. */
function parse(text: string): { readonly records: JournalRecord[]; readonly rest: string } {
  const records: JournalRecord[] = [];
  let at = 0;
  while (at < text.length) {
    const end = text.indexOf("\n", at);
    const line = text.slice(at, end < 0 ? undefined : end);
    const json = line.slice(9);
    if (end < 0 || line[8] !== " " || checksum(json) !== line.slice(0, 8))
      return { records, rest: text.slice(at) };
    records.push(JSON.parse(json) as JournalRecord);
    at = end + 1;
  }
  return { records, rest: "" };
}
