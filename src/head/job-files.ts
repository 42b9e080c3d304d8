/**
 * Where the files of a job can be had by nodes that cannot see them: the first node that asks has the driver asked, and
 * the driver's answer serves all. The answer outlives the job as long as it is remembered, for its detached actors.
 */
import type { JobFiles, JobFilesRequest } from "../core/wire/gen/tsray/v1/head.ts";
import { BoundedMap } from "./bounded-map.ts";

const WAIT_MS_MAX = 30_000;
const KEPT_MAX = 1000;

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
    this.#ask(jobId);
    const waiters = this.#waiting.get(jobId) ?? new Set();
    this.#waiting.set(jobId, waiters);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, Math.min(Math.max(0, waitMs), WAIT_MS_MAX));
      function done() {
        clearTimeout(timer);
        waiters.delete(done);
        resolve();
      }
      waiters.add(done);
    });
    if (waiters.size === 0) this.#waiting.delete(jobId);
    return this.#offers.get(jobId) ?? { jobId, known: false, environment: "", error: "" };
  }

  offer(files: JobFiles): void {
    this.#offers.set(files.jobId, { ...files, known: true });
    for (const wake of [...(this.#waiting.get(files.jobId) ?? [])]) wake();
  }
}
