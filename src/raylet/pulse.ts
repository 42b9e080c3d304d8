/**
 * This raylet's sign of life to its workers: a count in a file that it keeps raising (core/launch/pulse-file.ts). A worker
 * that sees it stand still for so long that the cluster has given the node up ends itself: a stopped raylet cannot end it.
 */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { PULSE_BYTES } from "../core/launch/pulse-file.ts";

const BEAT_MS = 500;

export class Pulse {
  readonly path: string;
  /** Milliseconds without a beat after which the workers end. */
  readonly msMax: number;
  readonly #fd: number;
  readonly #timer: NodeJS.Timeout;
  readonly #beats = new BigUint64Array(PULSE_BYTES / BigUint64Array.BYTES_PER_ELEMENT);

  constructor(path: string, msMax: number) {
    this.path = path;
    this.msMax = msMax;
    this.#fd = openSync(path, "w", 0o600);
    this.#beat();
    this.#timer = setInterval(() => this.#beat(), BEAT_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
    closeSync(this.#fd);
    rmSync(this.path, { force: true });
  }

  #beat(): void {
    this.#beats[0] = (this.#beats[0] ?? 0n) + 1n;
    writeSync(this.#fd, this.#beats, 0, PULSE_BYTES, 0);
  }
}
