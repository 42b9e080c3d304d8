/** Which jobs this node works for, and which are over. */
import type { JobConfigRecord } from "../core/rpc/messages.ts";

export class JobsHere {
  readonly #running = new Map<string, JobConfigRecord>();
  /** Ids are never used again: what comes late for one of these is not wanted. */
  readonly #over = new Set<string>();

  get(jobId: string): JobConfigRecord | undefined {
    return this.#running.get(jobId);
  }

  isOver(jobId: string): boolean {
    return this.#over.has(jobId);
  }

  /** @returns whether it is new here, and not over */
  begin(job: JobConfigRecord): boolean {
    if (this.#running.has(job.jobId) || this.#over.has(job.jobId)) return false;
    this.#running.set(job.jobId, job);
    return true;
  }

  /** @returns whether it was not over before */
  end(jobId: string): boolean {
    if (this.#over.has(jobId)) return false;
    this.#over.add(jobId);
    this.#running.delete(jobId);
    return true;
  }

  /**
   * The head has listed the jobs that run. Others are not over: they may be those of nodes that a new head has not heard of
   * yet. When it does, or their drivers ask, they begin again here.
   * @param isServed a process that this node can see works for it
   * @returns those that are to stop
   */
  stopMissing(listed: readonly string[], isServed: (jobId: string) => boolean): string[] {
    const missing = [...this.#running.keys()].filter((jobId) => !listed.includes(jobId) && !isServed(jobId));
    for (const jobId of missing) this.#running.delete(jobId);
    return missing;
  }
}
