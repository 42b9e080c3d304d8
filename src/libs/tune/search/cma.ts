/**
 * The covariance matrix adaptation evolution strategy on the unit cube, as pure ask and tell.
 *
 * Source: N. Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv 1604.00772), with active (negative) weights,
 * equations 41 to 56.
 */
import { symmetricEigen } from "../maths/linear.ts";
import type { Random } from "../random.ts";

const EPS = 1e-8;

export interface CmaState {
  readonly mean: readonly number[];
  readonly sigma: number;
  readonly c: readonly number[];
  readonly pathC: readonly number[];
  readonly pathSigma: readonly number[];
  readonly generation: number;
}

export interface Solution {
  readonly x: Float64Array;
  readonly value: number;
}

export class Cma {
  readonly dimension: number;
  readonly population: number;
  mean: Float64Array;
  sigma: number;
  generation = 0;
  /** Axes of the distribution in columns, and their lengths. */
  vectors!: Float64Array;
  lengths!: Float64Array;
  #c: Float64Array;
  #pathC: Float64Array;
  #pathSigma: Float64Array;
  readonly #weights: Float64Array;
  readonly #parents: number;
  readonly #muEff: number;
  readonly #c1: number;
  readonly #cMu: number;
  readonly #cSigma: number;
  readonly #dSigma: number;
  readonly #cC: number;
  readonly #chiN: number;

  constructor(mean: Float64Array, sigma: number, population?: number) {
    const d = mean.length;
    const lambda = population ?? defaultPopulation(d);
    this.dimension = d;
    this.population = lambda;
    this.mean = Float64Array.from(mean);
    this.sigma = sigma;
    this.#c = identity(d);
    this.#pathC = new Float64Array(d);
    this.#pathSigma = new Float64Array(d);
    this.#decompose();

    const raw = Float64Array.from({ length: lambda }, (_, i) => Math.log((lambda + 1) / 2) - Math.log(i + 1));
    const parents = Math.floor(lambda / 2);
    const [up, upSquared] = sums(raw.subarray(0, parents));
    const [down, downSquared] = sums(raw.subarray(parents));
    const muEff = up ** 2 / upSquared;
    const muEffMinus = downSquared > 0 ? down ** 2 / downSquared : 0;
    const c1 = 2 / ((d + 1.3) ** 2 + muEff);
    const cMu = Math.min(1 - c1 - EPS, (2 * (muEff - 2 + 1 / muEff)) / ((d + 2) ** 2 + muEff));
    const minAlpha = Math.min(1 + c1 / cMu, 1 + (2 * muEffMinus) / (muEff + 2), (1 - c1 - cMu) / (d * cMu));
    let positive = 0;
    let negative = 0;
    for (const weight of raw) {
      if (weight > 0) positive += weight;
      else negative -= weight;
    }
    this.#weights = raw.map((w) => (w >= 0 ? w / positive : (minAlpha * w) / negative));
    this.#parents = parents;
    this.#muEff = muEff;
    this.#c1 = c1;
    this.#cMu = cMu;
    this.#cSigma = (muEff + 2) / (d + muEff + 5);
    this.#dSigma = 1 + 2 * Math.max(0, Math.sqrt((muEff - 1) / (d + 1)) - 1) + this.#cSigma;
    this.#cC = (4 + muEff / d) / (d + 4 + (2 * muEff) / d);
    this.#chiN = Math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d * d));
  }

  /** A draw from the current distribution; redrawn while outside the unit cube, and cut to it in the end. */
  ask(random: Random): Float64Array {
    const tries = 10 * this.dimension;
    for (let i = 0; i < tries; i++) {
      const x = this.#draw(random);
      if (x.every((u) => u >= 0 && u <= 1)) return x;
    }
    return this.#draw(random).map((u) => Math.min(Math.max(u, 0), 1));
  }

  /** One generation's results, `population` of them. */
  tell(solutions: readonly Solution[]): void {
    const d = this.dimension;
    this.generation += 1;
    const ys = [...solutions]
      .sort((a, b) => a.value - b.value)
      .map(({ x }) => x.map((u, i) => (u - this.mean[i]!) / this.sigma));
    const step = new Float64Array(d);
    for (let k = 0; k < this.#parents; k++) {
      for (let i = 0; i < d; i++) step[i] = step[i]! + this.#weights[k]! * ys[k]![i]!;
    }
    for (let i = 0; i < d; i++) this.mean[i] = this.mean[i]! + this.sigma * step[i]!;

    const whitened = this.#whiten(step);
    const cs = this.#cSigma;
    const gain = Math.sqrt(cs * (2 - cs) * this.#muEff);
    for (let i = 0; i < d; i++) this.#pathSigma[i] = (1 - cs) * this.#pathSigma[i]! + gain * whitened[i]!;
    const norm = Math.hypot(...this.#pathSigma);
    this.sigma = Math.min(this.sigma * Math.exp((cs / this.#dSigma) * (norm / this.#chiN - 1)), 1e4);

    const settled = Math.sqrt(1 - (1 - cs) ** (2 * (this.generation + 1)));
    const h = norm / settled < (1.4 + 2 / (d + 1)) * this.#chiN ? 1 : 0;
    const cc = this.#cC;
    const gainC = h * Math.sqrt(cc * (2 - cc) * this.#muEff);
    for (let i = 0; i < d; i++) this.#pathC[i] = (1 - cc) * this.#pathC[i]! + gainC * step[i]!;

    const weights = this.#weights.map((w, k) => {
      if (w >= 0) return w;
      const length = Math.hypot(...this.#whiten(ys[k]!));
      return (w * d) / (length * length + EPS);
    });
    const [sumWeights] = sums(this.#weights);
    const keep = 1 + this.#c1 * (1 - h) * cc * (2 - cc) - this.#c1 - this.#cMu * sumWeights;
    for (let i = 0; i < d; i++) {
      for (let j = 0; j <= i; j++) {
        let rankMu = 0;
        for (let k = 0; k < ys.length; k++) rankMu += weights[k]! * ys[k]![i]! * ys[k]![j]!;
        const value =
          keep * this.#c[i * d + j]! + this.#c1 * this.#pathC[i]! * this.#pathC[j]! + this.#cMu * rankMu;
        this.#c[i * d + j] = value;
        this.#c[j * d + i] = value;
      }
    }
    this.#decompose();
  }

  save(): CmaState {
    return {
      mean: [...this.mean],
      sigma: this.sigma,
      c: [...this.#c],
      pathC: [...this.#pathC],
      pathSigma: [...this.#pathSigma],
      generation: this.generation,
    };
  }

  restore(state: CmaState): void {
    this.mean = Float64Array.from(state.mean);
    this.sigma = state.sigma;
    this.#c = Float64Array.from(state.c);
    this.#pathC = Float64Array.from(state.pathC);
    this.#pathSigma = Float64Array.from(state.pathSigma);
    this.generation = state.generation;
    this.#decompose();
  }

  #draw(random: Random): Float64Array {
    const d = this.dimension;
    const x = Float64Array.from(this.mean);
    for (let j = 0; j < d; j++) {
      const scaled = this.sigma * this.lengths[j]! * random.normal();
      for (let i = 0; i < d; i++) x[i] = x[i]! + scaled * this.vectors[i * d + j]!;
    }
    return x;
  }

  /** Squared length of x - mean in standard deviations of the distribution. */
  squaredDistance(x: Float64Array): number {
    const d = this.dimension;
    let total = 0;
    for (let j = 0; j < d; j++) {
      let along = 0;
      for (let i = 0; i < d; i++) along += this.vectors[i * d + j]! * (x[i]! - this.mean[i]!);
      along /= this.lengths[j]! * this.sigma;
      total += along * along;
    }
    return total;
  }

  /** C^(-1/2) y. */
  #whiten(y: Float64Array): Float64Array {
    const d = this.dimension;
    const result = new Float64Array(d);
    for (let j = 0; j < d; j++) {
      let along = 0;
      for (let i = 0; i < d; i++) along += this.vectors[i * d + j]! * y[i]!;
      along /= this.lengths[j]!;
      for (let i = 0; i < d; i++) result[i] = result[i]! + this.vectors[i * d + j]! * along;
    }
    return result;
  }

  #decompose(): void {
    const { values, vectors } = symmetricEigen(this.#c, this.dimension);
    this.vectors = vectors;
    this.lengths = values.map((value) => Math.sqrt(Math.max(value, EPS)));
  }
}

export function defaultPopulation(dimension: number): number {
  return 4 + Math.floor(3 * Math.log(dimension));
}

function identity(d: number): Float64Array {
  const matrix = new Float64Array(d * d);
  for (let i = 0; i < d; i++) matrix[i * d + i] = 1;
  return matrix;
}

/** Sum, and sum of squares. */
function sums(values: Float64Array): [number, number] {
  let sum = 0;
  let squares = 0;
  for (const value of values) {
    sum += value;
    squares += value * value;
  }
  return [sum, squares];
}
