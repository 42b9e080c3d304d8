/**
 * Between what the head has in memory and its store: when something counts as written, and what becomes of it while the
 * store takes no writes (a full disk).
 *
 * Each thing that is kept (an actor, a group, a node) has its writes one after another, each of what the thing is by
 * then. Who acknowledges it waits for `durable`, which writes once more where the last write failed, and fails when that
 * fails too. Who acts on it waits for `written`, however long that takes: what failed is written again by itself, first
 * one of all, and the rest once that has worked.
 */
import { ClusterUnreachableError } from "../../core/base/errors.ts";

/** While the store takes no writes, one is tried this often. */
const RETRY_MS = 1000;

export class RecordKeeper {
  readonly #log: (line: string) => void;
  /** Their last write failed. */
  readonly #behind = new Set<KeptRecord>();
  readonly #writes = new Set<Promise<void>>();
  #retry: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  /** @param write writes what the thing is when it is called; may be repeated */
  keep(write: () => Promise<void>): KeptRecord {
    return new KeptRecord(write, this);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** What could not be written is tried once more; waits for the writes under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#retry);
    this.#writeBehind();
    while (this.#writes.size > 0) await Promise.all(this.#writes);
  }

  /** By a record: a write has begun. Never fails. */
  track(write: Promise<void>): Promise<void> {
    const settled: Promise<void> = write.then(() => void this.#writes.delete(settled));
    this.#writes.add(settled);
    return settled;
  }

  /** By a record: its write has succeeded. */
  succeeded(record: KeptRecord): void {
    if (!this.#behind.delete(record) || this.#behind.size > 0) return;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#log("what the state store did not take is written");
  }

  /** By a record: its write has failed. */
  failed(record: KeptRecord, error: Error): void {
    // The last in turn: what it does not take for a reason of its own keeps nothing else back.
    this.#behind.delete(record);
    this.#behind.add(record);
    if (this.#retry !== undefined || this.#isClosed) return;
    this.#log(`cannot write to the state store: ${error.message}; tried again every ${RETRY_MS} ms`);
    this.#tryLater();
  }

  #tryLater(): void {
    this.#retry = setTimeout(async () => {
      this.#tryLater();
      const [first] = this.#behind;
      await first?.write();
      if (first !== undefined && !this.#behind.has(first)) this.#writeBehind();
    }, RETRY_MS);
  }

  #writeBehind(): void {
    for (const record of [...this.#behind]) void record.write();
  }
}

export class KeptRecord {
  readonly #keeper: RecordKeeper;
  #save: () => Promise<void>;
  /** Changes so far, and how many of them are on the store. */
  #changes = 0;
  #stored = 0;
  #writing: Promise<void> | undefined;
  #failure: Error | undefined;
  #waiting: { readonly upTo: number; readonly resolve: () => void }[] = [];

  /** Made by {@link RecordKeeper.keep}. */
  constructor(save: () => Promise<void>, keeper: RecordKeeper) {
    this.#save = save;
    this.#keeper = keeper;
  }

  /** It is another than before: it is written, after the write under way. */
  changed(): void {
    this.#changes += 1;
    void this.write();
  }

  /** It is forgotten: from now on this is what is written of it. */
  replaced(save: () => Promise<void>): void {
    this.#save = save;
    this.changed();
  }

  /**
   * Resolves when all its changes so far are on the store.
   * @throws ClusterUnreachableError when they cannot be written now; the call that made them may be repeated
   */
  async durable(): Promise<void> {
    const upTo = this.#changes;
    for (let writes = 0; this.#stored < upTo; writes++) {
      // The first may have begun before this was asked.
      if (writes === 2)
        throw new ClusterUnreachableError(
          `the head cannot write to its state store: ${this.#failure?.message}; this is not acknowledged, make room for ` +
            "the store and repeat it",
        );
      await this.write();
    }
  }

  /** Resolves when all its changes so far are on the store, or the head closes. */
  written(): Promise<void> {
    const upTo = this.#changes;
    if (this.#stored >= upTo) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push({ upTo, resolve });
    });
  }

  /** The write under way, or one that begins now. Never fails. */
  write(): Promise<void> {
    this.#writing ??= this.#keeper.track(this.#write());
    return this.#writing;
  }

  async #write(): Promise<void> {
    // What changes in the same turn goes along.
    await undefined;
    const upTo = this.#changes;
    try {
      await this.#save();
      this.#stored = upTo;
      this.#failure = undefined;
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
    }
    this.#writing = undefined;
    const { isClosed } = this.#keeper;
    const isOver = (waiter: { upTo: number }) => isClosed || waiter.upTo <= this.#stored;
    const over = this.#waiting.filter(isOver);
    this.#waiting = this.#waiting.filter((waiter) => !isOver(waiter));
    for (const { resolve } of over) resolve();
    if (this.#failure !== undefined) this.#keeper.failed(this, this.#failure);
    else {
      this.#keeper.succeeded(this);
      if (this.#changes > this.#stored) void this.write();
    }
  }
}
