/**
 * Gathers what is asked in one turn of the event loop, so that one call asks for all of it: few, where one would be too
 * large. Decides only what goes together; who makes the call says what becomes of each.
 */
export interface Waiting<Q, R> {
  readonly asked: Q;
  resolve(answer: R): void;
  reject(error: Error): void;
}

/** How much one call takes. */
export interface BatchBounds<Q> {
  /** Default: any number. */
  readonly itemsMax?: number;
  /** Of what it carries, by `bytesOf`; one that is larger goes alone. Default: any size. */
  readonly bytesMax?: number;
  bytesOf?(asked: Q): number;
}

export class TurnBatch<Q, R> {
  readonly #answer: (waiting: readonly Waiting<Q, R>[]) => Promise<void>;
  readonly #bounds: BatchBounds<Q>;
  #waiting: Waiting<Q, R>[] = [];

  /** @param answer resolves each; what it throws rejects those that are left */
  constructor(answer: (waiting: readonly Waiting<Q, R>[]) => Promise<void>, bounds: BatchBounds<Q> = {}) {
    this.#answer = answer;
    this.#bounds = bounds;
  }

  add(asked: Q): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ asked, resolve, reject });
      if (this.#waiting.length === 1) setImmediate(() => this.#sendAll());
    });
  }

  #sendAll(): void {
    const { itemsMax = Number.POSITIVE_INFINITY, bytesMax = Number.POSITIVE_INFINITY } = this.#bounds;
    const all = this.#waiting;
    this.#waiting = [];
    let part: Waiting<Q, R>[] = [];
    let bytes = 0;
    for (const each of all) {
      const more = this.#bounds.bytesOf?.(each.asked) ?? 0;
      if (part.length > 0 && (part.length >= itemsMax || bytes + more > bytesMax)) {
        void this.#send(part);
        part = [];
        bytes = 0;
      }
      part.push(each);
      bytes += more;
    }
    void this.#send(part);
  }

  async #send(waiting: readonly Waiting<Q, R>[]): Promise<void> {
    try {
      await this.#answer(waiting);
    } catch (error) {
      for (const { reject } of waiting) reject(error as Error);
    }
  }
}
