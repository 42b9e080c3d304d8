/**
 * How much may be on its way into the store at a time: pulls begin in the order in which they ask, as long as the bytes
 * under way stay below the limit. Pure.
 *
 * One pull may always run, however large: whether the store can take it is for the store to say. So nothing waits for
 * ever, as every pull ends.
 */

interface Waiting {
  readonly bytes: number;
  readonly alone: boolean;
  readonly begin: () => void;
}

export class PullAdmission {
  readonly #limitBytes: () => number;
  readonly #line: Waiting[] = [];
  #running = 0;
  #runningBytes = 0;

  /** @param limitBytes looked at whenever a pull might begin */
  constructor(limitBytes: () => number) {
    this.#limitBytes = limitBytes;
  }

  /** Pulls that have begun and not ended. */
  get running(): number {
    return this.#running;
  }

  get runningBytes(): number {
    return this.#runningBytes;
  }

  /** Calls `begin` when the pull may begin, at once if it can. To be followed by `end`. */
  ask(bytes: number, begin: () => void): void {
    this.#line.push({ bytes, alone: false, begin });
    this.#admit();
  }

  /** The store had no room beside the others: the pull begins again, before any other, when no other runs. */
  askAlone(bytes: number, begin: () => void): void {
    this.#leave(bytes);
    this.#line.unshift({ bytes, alone: true, begin });
    this.#admit();
  }

  end(bytes: number): void {
    this.#leave(bytes);
    this.#admit();
  }

  #leave(bytes: number): void {
    this.#running -= 1;
    this.#runningBytes -= bytes;
  }

  #admit(): void {
    for (;;) {
      const first = this.#line[0];
      if (first === undefined) return;
      const fits = !first.alone && this.#runningBytes + first.bytes <= this.#limitBytes();
      if (this.#running > 0 && !fits) return;
      this.#line.shift();
      this.#running += 1;
      this.#runningBytes += first.bytes;
      first.begin();
    }
  }
}
