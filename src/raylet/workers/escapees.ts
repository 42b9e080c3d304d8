/**
 * What tasks of an ended job started and moved out of their worker's process group: found by a mark in its environment,
 * and killed. One look at all processes serves all workers that end together.
 */
import { readdirSync, readFileSync } from "node:fs";

/** In the environment of a worker and of what it starts. */
export const WORKER_MARK = "TSRAY_WORKER_ID";
const TOGETHER_MS = 50;
/** Ended workers whose jobs run on; the oldest are forgotten. */
const REMEMBERED_MAX = 10_000;

export class Escapees {
  /** Jobs of workers that have ended. */
  readonly #ended = new Map<string, string>();
  /** Workers of which nothing is to stay. */
  readonly #wanted = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  /** A worker has ended; what it left may stay as long as its job runs. */
  workerEnded(workerId: string, jobId: string, isJobOver: boolean): void {
    this.#ended.set(workerId, jobId);
    const [oldest] = this.#ended.keys();
    if (this.#ended.size > REMEMBERED_MAX && oldest !== undefined) this.#ended.delete(oldest);
    if (isJobOver) this.jobEnded(jobId);
  }

  jobEnded(jobId: string): void {
    for (const [workerId, itsJob] of this.#ended) {
      if (itsJob !== jobId) continue;
      this.#ended.delete(workerId);
      this.#wanted.add(workerId);
    }
    if (this.#wanted.size > 0) this.#timer ??= setTimeout(() => this.kill(), TOGETHER_MS);
  }

  kill(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#wanted.size === 0) return;
    for (const name of readdirSync("/proc")) {
      if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
      try {
        const marks = readFileSync(`/proc/${name}/environ`, "latin1").split("\0");
        const mark = marks.find((each) => each.startsWith(`${WORKER_MARK}=`));
        if (mark !== undefined && this.#wanted.has(mark.slice(WORKER_MARK.length + 1)))
          process.kill(Number(name), "SIGKILL");
      } catch {
        // It has ended, or is not ours.
      }
    }
    this.#wanted.clear();
  }
}
