/** The owner's side of a streaming generator: items in order, once each, whatever retries do. */
import type { ObjectEntry } from "../ownership/entries.ts";

export class GeneratorState {
  /** Items that arrived and were not taken yet. */
  readonly #ready: ObjectEntry[] = [];
  /** How many items have arrived; a retry sends them again, and they are dropped. */
  received = 0;
  consumed = 0;
  ended = false;
  /** Told how many items the consumer has taken, or -1 when it left. */
  onConsumed: (consumed: number) => void = () => {};
  #wake: (() => void) | undefined;

  /** @returns false for an item that arrived before (a retry) */
  expects(index: number): boolean {
    return index === this.received && !this.ended;
  }

  push(entry: ObjectEntry): void {
    this.received += 1;
    this.#ready.push(entry);
    this.#wakeUp();
  }

  end(): void {
    this.ended = true;
    this.#wakeUp();
  }

  /** The next item, or undefined at the end. */
  async take(): Promise<ObjectEntry | undefined> {
    while (this.#ready.length === 0) {
      if (this.ended) return undefined;
      await new Promise<void>((resolve) => {
        const before = this.#wake;
        this.#wake = () => {
          before?.();
          resolve();
        };
      });
    }
    this.consumed += 1;
    this.onConsumed(this.consumed);
    return this.#ready.shift();
  }

  /** The consumer wants no more. */
  leave(): void {
    if (this.ended) return;
    this.#ready.length = 0;
    this.onConsumed(-1);
    this.end();
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
