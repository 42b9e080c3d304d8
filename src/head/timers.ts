/** Timers that end with whoever set them. */
export class Timers {
  readonly #timers = new Set<NodeJS.Timeout>();
  #isClosed = false;

  /** Runs once after `waitMs`, unless it is cancelled or all is closed first. */
  after(waitMs: number, run: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, waitMs);
    if (this.#isClosed) clearTimeout(timer);
    else this.#timers.add(timer);
    return timer;
  }

  cancel(timer: NodeJS.Timeout | undefined): void {
    if (timer === undefined) return;
    clearTimeout(timer);
    this.#timers.delete(timer);
  }

  close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }
}
