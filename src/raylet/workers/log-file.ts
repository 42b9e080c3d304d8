/** A log file that cannot grow without bound: at its limit it is renamed to `.1` and begun again. */
import { closeSync, openSync, renameSync, writeSync } from "node:fs";
import type { OutputLine } from "./output.ts";

const FILE_BYTES_MAX = 10 * 1024 * 1024;

export class LogFile {
  readonly #path: string;
  #fd: number | undefined;
  #bytes = 0;

  /** The file is made with the first line. */
  constructor(path: string) {
    this.#path = path;
  }

  write(line: Pick<OutputLine, "text"> & Partial<OutputLine>): void {
    const text = `${line.isStderr ? "[err] " : ""}${line.name ? `(${line.name}) ` : ""}${line.text}\n`;
    try {
      if (this.#bytes > FILE_BYTES_MAX) this.#rotate();
      this.#fd ??= openSync(this.#path, "a", 0o600);
      this.#bytes += writeSync(this.#fd, text);
    } catch {
      // A full disk must not take the node down; the line still goes to the driver.
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #rotate(): void {
    this.close();
    renameSync(this.#path, `${this.#path}.1`);
    this.#bytes = 0;
  }
}
