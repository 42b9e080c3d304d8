/** A gate that tasks can wait on, so that a test decides when they go on. */
import { remote } from "../index.ts";

/** Calls that may wait at one gate at a time; `send` comes through as long as there are fewer. */
const WAITING_MAX = 100_000;

/**
 * An actor class: `const gate = remote(Signal).remote()`. It takes no CPU, so that it never stands in the way of what
 * waits on it.
 */
export class Signal {
  #isOpen = false;
  #waiting: (() => void)[] = [];

  /** Opens the gate: those who wait go on, and so do all who come until `reset`. */
  send(): void {
    this.#isOpen = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const go of waiting) go();
  }

  /** Resolves when the gate is open. */
  async wait(): Promise<void> {
    if (!this.#isOpen) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Shuts the gate again. */
  reset(): void {
    this.#isOpen = false;
  }

  /** How many wait now. */
  waiting(): number {
    return this.#waiting.length;
  }
}

// Here, so that workers find it by evaluating this module.
remote(Signal, { numCpus: 0, maxConcurrency: WAITING_MAX });
