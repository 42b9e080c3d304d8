/**
 * Waiting for an answer without sleeping, for a moment.
 *
 * A process that sleeps in epoll is woken when an answer is there, and where its core has gone idle meanwhile, that takes
 * longer than making the answer (30 to 40 us on a virtual machine; a call from process to process costs 15 us without). So
 * after something was sent the event loop looks again and again for a tenth of a millisecond at most, if that pays: where all
 * cores are busy it would keep the answer from being made, and where answers take long it is for nothing. Which it is, is
 * measured all the time: the mean wait with and without, of which the better is used and the other tried now and then
 * (a bandit with two arms).
 */

/** Longer than most calls without work; what it costs when it was in vain. */
const LOOK_MS_MAX = 0.1;
/** Longer waits are all the same here: one long one says little. */
const WAIT_MS_MAX = 0.25;
/** Looking must win by so much to be worth the processor's time, and then may lose as much of it again. */
const WORTH = 0.7;
const STILL_WORTH = 0.9;
const WEIGHT = 1 / 32;
/** Waits of one trial; what the first half takes tells of the change of way rather than of the way. */
const TRIAL_WAITS = 64;
/** Waits from one trial to the next: more while they change nothing. */
const TRIAL_AFTER_MIN = 64;
const TRIAL_AFTER_MAX = 4096;
/** Asleep, waits of this mean are not those that looking could shorten. */
const HOPELESS_MS = 0.13;
/** So many in a row for which looking was in vain end its trial. */
const IN_VAIN_MAX = 8;

/** How to wait, by what came of it. Pure. */
export class WaitChoice {
  /** The way that is taken but for trials. */
  #looks = false;
  /** Mean wait of it in ms; 0: not known. */
  #meanMs = 0;
  /** Waits until the next trial; in one, below 0. */
  #left = TRIAL_AFTER_MIN;
  #trialAfter = TRIAL_AFTER_MIN;
  /** Of the second half of the trial. */
  #trialMs = 0;
  /** Waits of the trial, one after the other, that were too long for looking. */
  #inVain = 0;

  /** Whether to look instead of sleeping. */
  get isLooking(): boolean {
    return this.#left > 0 ? this.#looks : !this.#looks;
  }

  /** A wait of the way that `isLooking` says is over. */
  took(ms: number): void {
    const waitMs = Math.min(ms, WAIT_MS_MAX);
    this.#left -= 1;
    if (this.#left >= 0) this.#measured(waitMs);
    else this.#tried(waitMs);
  }

  #measured(waitMs: number): void {
    this.#meanMs = this.#meanMs === 0 ? waitMs : this.#meanMs + (waitMs - this.#meanMs) * WEIGHT;
    // Mostly in vain.
    if (this.#looks && this.#meanMs > LOOK_MS_MAX) this.#left = 0;
    // So long that looking would be in vain: not worth a trial.
    else if (!this.#looks && this.#left === 0 && this.#meanMs > HOPELESS_MS) this.#left = this.#trialAfter;
  }

  #tried(waitMs: number): void {
    if (this.#left < -TRIAL_WAITS / 2) this.#trialMs += waitMs / (TRIAL_WAITS / 2);
    this.#inVain = waitMs > LOOK_MS_MAX ? this.#inVain + 1 : 0;
    if (!this.#looks && this.#inVain >= IN_VAIN_MAX) this.#choose(false, 0);
    else if (this.#left === -TRIAL_WAITS) {
      const [lookMs, sleepMs] = this.#looks ? [this.#meanMs, this.#trialMs] : [this.#trialMs, this.#meanMs];
      this.#choose(lookMs < sleepMs * (this.#looks ? STILL_WORTH : WORTH), this.#trialMs);
    }
  }

  /** @param meanMs of the way that is chosen, if it is not the one before; 0: not known */
  #choose(looks: boolean, meanMs: number): void {
    if (looks === this.#looks) this.#trialAfter = Math.min(this.#trialAfter * 2, TRIAL_AFTER_MAX);
    else {
      this.#looks = looks;
      this.#meanMs = meanMs;
      this.#trialAfter = TRIAL_AFTER_MIN;
    }
    this.#trialMs = 0;
    this.#inVain = 0;
    this.#left = this.#trialAfter;
  }
}

class BusyPoll {
  readonly #choice = new WaitChoice();
  #isWaiting = false;
  #isLooking = false;
  #isRunning = false;
  #sinceMs = 0;

  /** Something was sent that may be answered. */
  sent(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#sinceMs = performance.now();
    this.#isLooking = this.#choice.isLooking;
    if (!this.#isLooking || this.#isRunning) return;
    this.#isRunning = true;
    setImmediate(this.#look);
  }

  /** Something has come. */
  received(): void {
    if (!this.#isWaiting) return;
    this.#isWaiting = false;
    this.#choice.took(performance.now() - this.#sinceMs);
  }

  /** While an immediate waits, the event loop asks for what has come and does not sleep. */
  #look = (): void => {
    if (this.#isWaiting && this.#isLooking && performance.now() - this.#sinceMs < LOOK_MS_MAX)
      setImmediate(this.#look);
    else this.#isRunning = false;
  };
}

/** Of this process. */
export const busyPoll = new BusyPoll();
