/** The owner's side of a streaming generator: items in order, once each, whatever retries do. */
import { newStreamSeq } from "../base/ids.ts";
import type { ObjectEntry } from "../ownership/entries.ts";

/** Whoever runs the generator's call, as its consumer deals with it. */
export interface GeneratorCall {
  /** The consumer has taken so many items. */
  consumed(count: number): void;
  /** Nothing more is wanted of it. @throws InvalidOptionError where `force` is not to be had */
  cancel(force: boolean, recursive: boolean, why: string): void;
}

export class GeneratorState {
  /** The number of its first item. */
  readonly firstSeq = newStreamSeq();
  /** Items that arrived and were not taken yet. */
  readonly #ready: ObjectEntry[] = [];
  /** How many items have arrived; a retry sends them again, and they are dropped. */
  received = 0;
  consumed = 0;
  ended = false;
  /** Undefined until the call is made: it waits for the process to be connected. */
  #call: GeneratorCall | undefined;
  /** What was asked for before the call was made. */
  #cancelled: Parameters<GeneratorCall["cancel"]> | undefined;
  #wake: (() => void) | undefined;

  /** The call has been made. One whose consumer has left already is cancelled. */
  begin(call: GeneratorCall): void {
    this.#call = call;
    if (this.#cancelled !== undefined) call.cancel(...this.#cancelled);
  }

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
    this.#call?.consumed(this.consumed);
    return this.#ready.shift();
  }

  /** The consumer wants no more: for it that is the end. */
  leave(): void {
    this.#ready.length = 0;
    if (this.ended) return;
    this.end();
    this.#cancel(false, true, "its consumer left");
  }

  /** `cancel()`: TaskCancelledError is all that comes. @throws InvalidOptionError for `force` where it is not to be had */
  cancel(force: boolean, recursive: boolean): void {
    if (this.ended) return;
    const before = this.#ready.length;
    this.#cancel(force, recursive, "it was cancelled");
    this.#ready.splice(0, before);
  }

  #cancel(...how: Parameters<GeneratorCall["cancel"]>): void {
    if (this.#call === undefined) this.#cancelled = how;
    else this.#call.cancel(...how);
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
