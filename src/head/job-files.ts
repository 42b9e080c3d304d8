/**
 * Where the files of a job can be had by nodes that cannot see them: the first node that asks has the driver asked, and
 * the driver's answer serves all. The answer outlives the job as long as it is remembered, for its detached actors.
 */
import type { JobFiles, JobFilesRequest } from "../core/wire/gen/tsray/v1/head.ts";
import { BoundedMap } from "./bounded-map.ts";

const WAIT_MS_MAX = 30_000;
const KEPT_MAX = 1000;
const ASK_AGAIN_MS = 500;

export class JobFilesTable {
  readonly #offers = new BoundedMap<string, JobFiles>(KEPT_MAX, () => {});
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #ask: (jobId: string) => void;

  /** @param ask tells the driver of the job, if it runs */
  constructor(ask: (jobId: string) => void) {
    this.#ask = ask;
  }

  async watch({ jobId, waitMs }: JobFilesRequest): Promise<JobFiles> {
    const known = this.#offers.get(jobId);
    if (known !== undefined && known.error === "") return known;
    // An answer that says why not is given once: the driver is asked again, it may be able to by now.
    this.#offers.delete(jobId);
    // Asked again and again: a driver that has just come may not hear the first time.
    const untilMs = performance.now() + Math.min(Math.max(0, waitMs), WAIT_MS_MAX);
    do {
      this.#ask(jobId);
      await this.#change(jobId, Math.min(ASK_AGAIN_MS, untilMs - performance.now()));
    } while (!this.#offers.has(jobId) && performance.now() < untilMs);
    return this.#offers.get(jobId) ?? { jobId, known: false, environment: "", error: "" };
  }

  /** Resolves with the job's next offer, or after that time. */
  #change(jobId: string, ms: number): Promise<void> {
    const waiters = this.#waiting.get(jobId) ?? new Set();
    this.#waiting.set(jobId, waiters);
    return new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        waiters.delete(done);
        if (waiters.size === 0) this.#waiting.delete(jobId);
        resolve();
      };
      const timer = setTimeout(done, ms);
      waiters.add(done);
    });
  }

  offer(files: JobFiles): void {
    this.#offers.set(files.jobId, { ...files, known: true });
    for (const wake of [...(this.#waiting.get(files.jobId) ?? [])]) wake();
  }
}
