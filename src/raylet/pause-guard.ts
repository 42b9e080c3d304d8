/**
 * Finds out that this process has stood still (SIGSTOP, a suspended machine) for so long that it was given up
 * meanwhile, before it acts on anything that has arrived: whoever reads a socket asks here first. A process that is
 * woken reads its sockets before its timers run, so a timer alone would find out too late.
 */

const TICK_MS = 250;

export class PauseGuard {
  readonly #pauseMsMax: number;
  readonly #onPaused: (pausedMs: number) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #clock: () => number;
  #awakeMs: number;
  #isOver = false;

  /**
   * @param onPaused called once, from within the first {@link check} after the pause
   * @param clock milliseconds
   */
  constructor(pauseMsMax: number, onPaused: (pausedMs: number) => void, clock: () => number) {
    this.#clock = clock;
    this.#awakeMs = clock();
    this.#pauseMsMax = pauseMsMax;
    this.#onPaused = onPaused;
    this.#timer = setInterval(() => this.check(), TICK_MS).unref();
  }

  /** @returns false when this process must not act any more */
  check(): boolean {
    const nowMs = this.#clock();
    const pausedMs = nowMs - this.#awakeMs;
    this.#awakeMs = nowMs;
    if (this.#isOver) return false;
    if (pausedMs <= this.#pauseMsMax) return true;
    this.#isOver = true;
    this.close();
    this.#onPaused(pausedMs);
    return false;
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
