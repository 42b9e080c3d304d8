/**
 * Which chunks of one object have been asked for and which have come. Pure.
 *
 * A chunk that came damaged is asked for again once from the same source; a second time, that source is not to be trusted.
 */

export interface Chunk {
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

const MISSING = 0;
const ASKED = 1;
const HERE = 2;

export class ChunkPlan {
  readonly size: number;
  readonly #chunkBytes: number;
  readonly #states: Uint8Array;
  /** No chunk before it is missing. */
  #cursor = 0;
  #left: number;
  readonly #damaged = new Set<number>();

  constructor(size: number, chunkBytes: number) {
    this.size = size;
    this.#chunkBytes = chunkBytes;
    this.#left = Math.ceil(size / chunkBytes);
    this.#states = new Uint8Array(this.#left);
  }

  get isComplete(): boolean {
    return this.#left === 0;
  }

  /** The next chunk to ask for; it counts as asked for from now on. Undefined: all that is missing has been asked for. */
  next(): Chunk | undefined {
    while (this.#cursor < this.#states.length && this.#states[this.#cursor] !== MISSING) this.#cursor += 1;
    if (this.#cursor === this.#states.length) return undefined;
    this.#states[this.#cursor] = ASKED;
    return this.#chunk(this.#cursor);
  }

  /** Whether exactly this chunk has been asked for and has not come. */
  expects(offset: number, length: number): boolean {
    const index = offset / this.#chunkBytes;
    return this.#states[index] === ASKED && this.#chunk(index).length === length;
  }

  arrived(offset: number): void {
    this.#states[offset / this.#chunkBytes] = HERE;
    this.#left -= 1;
  }

  /** It came damaged: `next` gives it again. @returns false when that has happened before with this source */
  damaged(offset: number): boolean {
    const index = offset / this.#chunkBytes;
    if (this.#damaged.has(index)) return false;
    this.#damaged.add(index);
    this.#states[index] = MISSING;
    this.#cursor = Math.min(this.#cursor, index);
    return true;
  }

  /** Another source goes on: what was asked of the last one has to be asked for again. */
  restart(): void {
    for (let i = 0; i < this.#states.length; i++) if (this.#states[i] === ASKED) this.#states[i] = MISSING;
    this.#cursor = 0;
    this.#damaged.clear();
  }

  #chunk(index: number): Chunk {
    const offset = index * this.#chunkBytes;
    return { offset, length: Math.min(this.#chunkBytes, this.size - offset) };
  }
}
