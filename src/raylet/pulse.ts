/**
 * This raylet's sign of life to its workers: a file whose time it keeps changing. A worker that sees it stand still for
 * so long that the cluster has given the node up ends itself: a stopped raylet cannot end it.
 */
import { closeSync, futimesSync, openSync, rmSync } from "node:fs";

const BEAT_MS = 500;

export class Pulse {
  readonly path: string;
  /** Milliseconds without a beat after which the workers end. */
  readonly msMax: number;
  readonly #fd: number;
  readonly #timer: NodeJS.Timeout;

  constructor(path: string, msMax: number) {
    this.path = path;
    this.msMax = msMax;
    this.#fd = openSync(path, "w", 0o600);
    this.#timer = setInterval(() => {
      const now = new Date();
      futimesSync(this.#fd, now, now);
    }, BEAT_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
    closeSync(this.#fd);
    rmSync(this.path, { force: true });
  }
}
