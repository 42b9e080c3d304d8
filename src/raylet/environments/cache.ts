/**
 * What a node keeps of environments: directories that are made once and used by many. Decides which go when there are
 * too many bytes of them: those that nobody uses, the longest unused first.
 *
 * A directory that is being made is not there for anybody else, and one whose making failed is not kept.
 */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";

/** A hold on a directory: it stays at least until it is let go of. */
export interface Hold {
  readonly path: string;
  readonly letGo: () => void;
}

/** What was made. */
export interface Made {
  /** Of its files. */
  readonly bytes: number;
  /** Other directories that it needs: they stay as long as it does. */
  readonly needs?: readonly Hold[];
}

interface Entry extends Made {
  readonly path: string;
  users: number;
  usedAtMs: number;
}

export class DirectoryCache {
  readonly root: string;
  readonly #bytesMax: number;
  readonly #log: (line: string) => void;
  readonly #entries = new Map<string, Entry>();
  readonly #making = new Map<string, Promise<Entry>>();
  #made = 0;

  /** @param root directory of the cache's own, made when it is first needed */
  constructor(root: string, bytesMax: number, log: (line: string) => void) {
    this.root = root;
    this.#bytesMax = bytesMax;
    this.#log = log;
  }

  get bytes(): number {
    let bytes = 0;
    for (const entry of this.#entries.values()) bytes += entry.bytes;
    return bytes;
  }

  /**
   * The directory of that key, made first if it is not there; all who ask meanwhile wait for the same.
   * @param make fills a directory that does not exist yet. What it throws reaches all who wait
   */
  async hold(key: string, make: (path: string) => Promise<Made>): Promise<Hold> {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      let making = this.#making.get(key);
      if (making === undefined) {
        making = this.#make(key, make).finally(() => this.#making.delete(key));
        this.#making.set(key, making);
      }
      entry = await making;
    }
    const held = entry;
    held.users += 1;
    let isHeld = true;
    return {
      path: held.path,
      letGo: () => {
        if (!isHeld) return;
        isHeld = false;
        held.usedAtMs = performance.now();
        held.users -= 1;
        this.#collect();
      },
    };
  }

  async #make(key: string, make: (path: string) => Promise<Made>): Promise<Entry> {
    await mkdir(this.root, { recursive: true, mode: 0o700 });
    // Never a path that was used before: the one before may be on its way out.
    const path = join(this.root, `${key}-${++this.#made}`);
    try {
      // One user is counted while those who wait for it take hold, so that it is not collected under them.
      const entry: Entry = { ...(await make(path)), path, users: 1, usedAtMs: performance.now() };
      this.#entries.set(key, entry);
      setImmediate(() => {
        entry.users -= 1;
        this.#collect();
      });
      return entry;
    } catch (error) {
      await rm(path, { recursive: true, force: true });
      throw error;
    }
  }

  #collect(): void {
    let bytes = this.bytes;
    if (bytes <= this.#bytesMax) return;
    const idle = [...this.#entries]
      .filter(([, { users }]) => users === 0)
      .sort(([, a], [, b]) => a.usedAtMs - b.usedAtMs);
    for (const [key, entry] of idle) {
      if (bytes <= this.#bytesMax) return;
      bytes -= entry.bytes;
      this.#entries.delete(key);
      this.#log(`${entry.path} goes: environments take more than ${this.#bytesMax} bytes`);
      rm(entry.path, { recursive: true, force: true }).catch((error: Error) =>
        this.#log(`cannot remove ${entry.path}: ${error.message}`),
      );
      for (const need of entry.needs ?? []) need.letGo();
    }
  }
}
