/**
 * One object that a file store is making: its bytes go into a file of another name, which becomes the object in one
 * step. Decides nothing about room; the store hears by how much its use changes.
 */
import { closeSync, ftruncateSync, openSync, renameSync, rmSync, unlinkSync, writeSync } from "node:fs";
import { ObjectStoreFullError } from "../base/errors.ts";
import { codeOf } from "./file-claims.ts";
import type { ObjectWriter } from "./object-store.ts";

export interface WriterFiles {
  readonly fd: number;
  readonly size: number;
  readonly part: string;
  readonly claim: string;
  readonly sealed: string;
  readonly isDisk: boolean;
}

export class FileWriter implements ObjectWriter {
  readonly #files: WriterFiles;
  readonly #onEnd: (accountBytes: number, error: Error | undefined) => void;
  #error: Error | undefined;
  #ended = false;

  /**
   * `onEnd` hears by how many bytes the use of the store changes (0 when sealed, less than 0 when aborted), and what
   * the file system said against it.
   */
  constructor(files: WriterFiles, onEnd: (accountBytes: number, error: Error | undefined) => void) {
    this.#files = files;
    this.#onEnd = onEnd;
  }

  readonly memory = undefined;

  write(offset: number, bytes: Uint8Array): void {
    if (this.#ended) throw new Error("the object is already sealed or aborted");
    checkWhole("offset", offset);
    if (!(bytes instanceof Uint8Array)) throw new TypeError("bytes must be a Uint8Array");
    if (offset + bytes.length > this.#files.size) {
      throw new RangeError("bytes must lie inside the object's size");
    }
    try {
      for (let done = 0; done < bytes.length; ) {
        const length = Math.min(bytes.length - done, 2 ** 30);
        done += writeSync(this.#files.fd, bytes, done, length, offset + done);
      }
    } catch (error) {
      if (!isFull(error)) throw error;
      this.#error = error as Error;
      throw new ObjectStoreFullError(
        `object of ${this.#files.size} bytes does not fit the file system of ${this.#files.part}` +
          `${this.#files.isDisk ? `; nothing can be spilled to disk (${(error as Error).message})` : ""}`,
      );
    }
  }

  seal(): void {
    if (this.#ended) throw new Error("the object is already sealed or aborted");
    this.#end(0);
    renameSync(this.#files.part, this.#files.sealed);
    unlinkSync(this.#files.claim);
  }

  abort(): void {
    if (this.#ended) return;
    this.#end(-this.#files.size);
    rmSync(this.#files.part, { force: true });
    rmSync(this.#files.claim, { force: true });
  }

  #end(accountBytes: number): void {
    this.#ended = true;
    closeSync(this.#files.fd);
    this.#onEnd(accountBytes, this.#error);
  }
}

export function openSized(path: string, size: number, mode: number): number {
  const fd = openSync(path, "wx", mode);
  try {
    ftruncateSync(fd, size);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** @throws TypeError */
export function checkWhole(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new TypeError(`${name} must be a whole number of bytes`);
}

/** Whether the file system has no room left. */
export function isFull(error: unknown): boolean {
  const code = codeOf(error);
  return code === "ENOSPC" || code === "EDQUOT";
}
