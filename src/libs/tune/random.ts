/**
 * The one source of randomness of Tune: seeded, and its state can be saved, so that a restored run goes on with the same
 * draws. Never reads a clock or Math.random.
 *
 * Generator: xoshiro128** (Blackman and Vigna, 2018), seeded through splitmix32.
 */

/** Four unsigned 32-bit words. */
export type RandomState = readonly [number, number, number, number];

const TWO_POW_32 = 2 ** 32;
const TWO_POW_53 = 2 ** 53;

export class Random {
  #a = 0;
  #b = 0;
  #c = 0;
  #d = 0;

  /** Any number is a seed; its 64 bits as a double decide, so 1 and 1.5 differ. */
  constructor(seed: number) {
    const [low = 0, high = 0] = new Uint32Array(new Float64Array([seed]).buffer);
    let word = (low ^ Math.imul(high, 0x9e3779b1)) >>> 0;
    const next = () => {
      word = (word + 0x9e3779b9) >>> 0;
      let mixed = word ^ (word >>> 16);
      mixed = Math.imul(mixed, 0x21f0aaad);
      mixed ^= mixed >>> 15;
      mixed = Math.imul(mixed, 0x735a2d97);
      return (mixed ^ (mixed >>> 15)) >>> 0;
    };
    this.restore([next(), next(), next(), next()]);
  }

  save(): RandomState {
    return [this.#a, this.#b, this.#c, this.#d];
  }

  restore(state: RandomState): void {
    [this.#a, this.#b, this.#c, this.#d] = state;
    if ((this.#a | this.#b | this.#c | this.#d) === 0) this.#d = 1; // the one state that never moves
  }

  /** 32 random bits. */
  bits(): number {
    const product = Math.imul(this.#b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b = (this.#b ^ this.#c) >>> 0;
    this.#a = (this.#a ^ this.#d) >>> 0;
    this.#c = (this.#c ^ shifted) >>> 0;
    this.#d = ((this.#d << 11) | (this.#d >>> 21)) >>> 0;
    return result;
  }

  /** Uniform in [0, 1), 53 bits. */
  next(): number {
    return ((this.bits() >>> 5) * 67108864 + (this.bits() >>> 6)) / TWO_POW_53;
  }

  /** Uniform in (0, 1): never 0, for logarithms and quantiles. */
  open(): number {
    return (this.bits() + 0.5) / TWO_POW_32;
  }

  uniform(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  /** Uniform whole number in [0, count). */
  integer(count: number): number {
    return Math.floor(this.next() * count);
  }

  /** Standard normal (Box and Muller, one of the pair: nothing kept between calls). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(this.open())) * Math.cos(2 * Math.PI * this.next());
  }

  choice<T>(values: readonly T[]): T {
    return values[this.integer(values.length)] as T;
  }

  /** Index drawn with these weights, which need not sum to 1. */
  weighted(weights: ArrayLike<number>): number {
    let total = 0;
    for (let i = 0; i < weights.length; i++) total += weights[i] as number;
    let left = this.next() * total;
    for (let i = 0; i < weights.length; i++) {
      left -= weights[i] as number;
      if (left < 0) return i;
    }
    return weights.length - 1;
  }

  /** In place (Fisher and Yates). */
  shuffle<T>(values: T[]): T[] {
    for (let i = values.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [values[i], values[j]] = [values[j] as T, values[i] as T];
    }
    return values;
  }
}
