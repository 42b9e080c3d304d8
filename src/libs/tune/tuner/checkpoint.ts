/** A checkpoint: a directory of files, or one value kept in such a directory, with what is known about it. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { cp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import { InvalidOptionError, TuneError } from "../errors.ts";

const VALUE_FILE = "value.bin";
const METADATA_FILE = ".metadata.json";

/**
 * What a trial goes on from. Made by `Checkpoint.fromDirectory` or `Checkpoint.fromValue`, given to `report`; got back
 * from `getCheckpoint()` in the trial and from results.
 */
export class Checkpoint {
  /** The directory. Yours to read; what you write there is not part of the checkpoint. */
  readonly path: string;
  readonly #value: { readonly value: unknown } | undefined;

  private constructor(path: string, value?: { readonly value: unknown }) {
    this.path = path;
    this.#value = value;
  }

  /** A directory's content; it is copied when it is reported and stays yours. */
  static fromDirectory(path: string): Checkpoint {
    if (!existsSync(path)) throw new InvalidOptionError(`there is no checkpoint directory ${path}`);
    return new Checkpoint(path);
  }

  /** One value: plain data, typed arrays, Maps, what structured clone takes. */
  static fromValue(value: unknown): Checkpoint {
    return new Checkpoint("", { value });
  }

  /** The value that `fromValue` was given. @throws TuneError where the checkpoint is files of your own */
  value<T = unknown>(): T {
    if (this.#value !== undefined) return this.#value.value as T;
    const file = join(this.path, VALUE_FILE);
    if (!existsSync(file)) throw new TuneError(`the checkpoint ${this.path} holds files, not a value`);
    return deserialize(readFileSync(file)) as T;
  }

  get holdsValue(): boolean {
    return this.#value !== undefined || existsSync(join(this.path, VALUE_FILE));
  }

  /** Copies the files to a directory of your own; without one, to a new temporary directory. @returns it */
  async toDirectory(path: string = mkdtempSync(join(tmpdir(), "checkpoint-"))): Promise<string> {
    if (this.#value === undefined) await cp(this.path, path, { recursive: true });
    else writeValue(path, this.#value.value);
    return path;
  }

  /** What was noted about it: `iteration` and whatever `setMetadata` added. */
  getMetadata(): Record<string, unknown> {
    const file = join(this.path, METADATA_FILE);
    return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>) : {};
  }

  /** Replaces what is noted about it. */
  setMetadata(metadata: Readonly<Record<string, unknown>>): void {
    writeFileSync(join(this.path, METADATA_FILE), `${JSON.stringify(metadata)}\n`);
  }

  /** Adds to what is noted about it. */
  updateMetadata(metadata: Readonly<Record<string, unknown>>): void {
    this.setMetadata({ ...this.getMetadata(), ...metadata });
  }
}

const SAVING_PREFIX = ".saving-";

/** A directory in `parent` for a checkpoint that is being made; one that a killed process left goes with {@link removeUnsaved}. */
export function makeSavingDirectory(parent: string): string {
  mkdirSync(parent, { recursive: true });
  return mkdtempSync(join(parent, SAVING_PREFIX));
}

/** Removes what processes that were killed had begun to save in `parent`. */
export function removeUnsaved(parent: string): void {
  if (!existsSync(parent)) return;
  for (const name of readdirSync(parent))
    if (name.startsWith(SAVING_PREFIX)) rmSync(join(parent, name), { recursive: true, force: true });
}

/** Runs `use` with a local directory that holds the checkpoint, one in `parent` where it has none, and cleans up. */
export async function withDirectoryOf<T>(
  checkpoint: Checkpoint,
  parent: string,
  use: (path: string) => Promise<T>,
): Promise<T> {
  if (checkpoint.path !== "") return use(checkpoint.path);
  const path = makeSavingDirectory(parent);
  try {
    writeValue(path, checkpoint.value());
    return await use(path);
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

function writeValue(path: string, value: unknown): void {
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, VALUE_FILE), serialize(value));
}
