/**
 * Where an experiment is kept. A small interface, so that an object store can stand in for a directory; all paths are
 * relative to the experiment and use "/".
 */
import {
  appendFileSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { cp, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { TuneError } from "../errors.ts";

/** A file that only grows. */
export interface Log {
  append(text: string): void;
  close(): void;
}

export interface Storage {
  /** How a user names it. */
  readonly location: string;
  /** A log at its end; made if it is not there. */
  openLog(path: string): Log;
  readText(path: string): string | undefined;
  /** All or nothing, on disk when it returns. */
  writeText(path: string, text: string): void;
  /** Without any promise of durability. */
  appendText(path: string, text: string): void;
  list(path: string): readonly string[];
  exists(path: string): boolean;
  remove(path: string): Promise<void>;
  /** Copies a local directory here; the copy appears whole or not at all. */
  saveDirectory(localPath: string, path: string): Promise<void>;
  /** A local directory with the content; not to be written to. */
  fetchDirectory(path: string): Promise<string>;
}

let temporaryNames = 0;

/** A directory of this machine, or one that all machines see under the same path. */
export class LocalStorage implements Storage {
  readonly location: string;
  readonly #made = new Set<string>();

  constructor(location: string) {
    this.location = location;
  }

  openLog(path: string): Log {
    const fd = this.#try(path, () => {
      this.#makeParent(path);
      return openSync(this.#at(path), "a");
    });
    return {
      append: (text) => this.#try(path, () => void writeSync(fd, text)),
      close: () => closeSync(fd),
    };
  }

  readText(path: string): string | undefined {
    return existsSync(this.#at(path))
      ? this.#try(path, () => readFileSync(this.#at(path), "utf8"))
      : undefined;
  }

  writeText(path: string, text: string): void {
    this.#try(path, () => {
      this.#makeParent(path);
      const temporary = `${this.#at(path)}.${temporaryName()}`;
      const fd = openSync(temporary, "w");
      try {
        writeSync(fd, text);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(temporary, this.#at(path));
    });
  }

  appendText(path: string, text: string): void {
    this.#try(path, () => {
      this.#makeParent(path);
      appendFileSync(this.#at(path), text);
    });
  }

  list(path: string): readonly string[] {
    return existsSync(this.#at(path)) ? readdirSync(this.#at(path)).sort() : [];
  }

  exists(path: string): boolean {
    return existsSync(this.#at(path));
  }

  async remove(path: string): Promise<void> {
    await rm(this.#at(path), { recursive: true, force: true });
  }

  async saveDirectory(localPath: string, path: string): Promise<void> {
    this.#makeParent(path);
    const temporary = join(dirname(this.#at(path)), temporaryName());
    await cp(localPath, temporary, { recursive: true });
    await rm(this.#at(path), { recursive: true, force: true });
    await rename(temporary, this.#at(path));
  }

  async fetchDirectory(path: string): Promise<string> {
    return this.#at(path);
  }

  #at(path: string): string {
    return join(this.location, path);
  }

  #makeParent(path: string): void {
    const parent = dirname(this.#at(path));
    if (this.#made.has(parent)) return;
    makeDirectory(parent);
    this.#made.add(parent);
  }

  #try<T>(path: string, run: () => T): T {
    try {
      return run();
    } catch (error) {
      throw new TuneError(`${join(this.location, path)} cannot be used: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }
}

/** Step by step: mkdir's own recursion never ends where nothing can be made in a directory that is there, as in /proc. */
function makeDirectory(path: string): void {
  if (existsSync(path)) return;
  makeDirectory(dirname(path));
  try {
    mkdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** Starts with a dot, so that a reader can tell what a crash left unfinished. */
function temporaryName(): string {
  return `.tmp-${process.pid}-${temporaryNames++}`;
}
