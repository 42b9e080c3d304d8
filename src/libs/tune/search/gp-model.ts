/**
 * Gaussian process regression with a Matern 5/2 kernel, a length scale per dimension, and noise.
 *
 * Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", chapters 2 and 5. Hyperparameters are those
 * of the highest posterior under priors that keep length scales near the size of the unit cube. Categories are at
 * distance 0 or 1. Less of y is better here as everywhere in Tune; y is expected to be standardised.
 */
import { lbfgs } from "../maths/lbfgs.ts";
import { cholesky, invertLower, solveLower, solveUpper } from "../maths/linear.ts";

/** Kernel parameters; `weights` are inverse squared length scales. */
export interface Kernel {
  readonly weights: Float64Array;
  readonly scale: number;
  readonly noise: number;
}

/** Optuna's is 1e-6, which hides differences near the optimum of a deterministic objective; less than this is unstable. */
const NOISE_MIN = 1e-8;
const SQRT5 = Math.sqrt(5);

export class GaussianProcess {
  readonly dimension: number;
  readonly count: number;
  readonly kernel: Kernel;
  readonly #points: Float64Array;
  readonly #categorical: readonly boolean[];
  /** Inverse of the Cholesky factor of the covariance. */
  readonly #inverse: Float64Array;
  readonly #alpha: Float64Array;
  readonly #k: Float64Array;
  readonly #slope: Float64Array;
  readonly #v: Float64Array;
  readonly #u: Float64Array;

  constructor(points: Float64Array, y: Float64Array, categorical: readonly boolean[], kernel: Kernel) {
    const n = y.length;
    const d = categorical.length;
    this.dimension = d;
    this.count = n;
    this.kernel = kernel;
    this.#points = points;
    this.#categorical = categorical;
    let l = new Float64Array(n * n);
    for (let jitter = 0; ; jitter = jitter === 0 ? 1e-8 * kernel.scale : jitter * 10) {
      l = covariance(points, n, categorical, kernel);
      if (jitter > 0) for (let i = 0; i < n; i++) l[i * n + i] = l[i * n + i]! + jitter;
      if (cholesky(l, n) || jitter > kernel.scale) break;
    }
    this.#inverse = invertLower(l, n);
    this.#alpha = Float64Array.from(y);
    solveLower(l, n, this.#alpha);
    solveUpper(l, n, this.#alpha);
    this.#k = new Float64Array(n);
    this.#slope = new Float64Array(n);
    this.#v = new Float64Array(n);
    this.#u = new Float64Array(n);
  }

  /** Mean at x alone: much cheaper than with the variance. */
  mean(x: Float64Array): number {
    this.#covary(x);
    let mean = 0;
    for (let j = 0; j < this.count; j++) mean += this.#k[j]! * this.#alpha[j]!;
    return mean;
  }

  /** Mean and variance of the function (without noise) at x. */
  predict(x: Float64Array): { mean: number; variance: number } {
    const mean = this.mean(x);
    return { mean, variance: this.#variance() };
  }

  /** As `predict`, and writes the gradients of both. */
  slopes(
    x: Float64Array,
    ofMean: Float64Array,
    ofVariance: Float64Array,
  ): { mean: number; variance: number } {
    const n = this.count;
    const d = this.dimension;
    const mean = this.mean(x);
    const variance = this.#variance();
    const inverse = this.#inverse;
    const u = this.#u.fill(0);
    for (let i = 0; i < n; i++) {
      const vi = this.#v[i]!;
      const row = i * n;
      for (let j = 0; j <= i; j++) u[j] = u[j]! + inverse[row + j]! * vi;
    }
    ofMean.fill(0);
    ofVariance.fill(0);
    const { weights } = this.kernel;
    for (let j = 0; j < n; j++) {
      const a = this.#slope[j]! * this.#alpha[j]!;
      const b = -2 * this.#slope[j]! * u[j]!;
      const row = j * d;
      for (let i = 0; i < d; i++) {
        if (this.#categorical[i]) continue;
        const dr = 2 * weights[i]! * (x[i]! - this.#points[row + i]!);
        ofMean[i] = ofMean[i]! + a * dr;
        ofVariance[i] = ofVariance[i]! + b * dr;
      }
    }
    return { mean, variance };
  }

  /** Whether x is one of its points, or as good as one. */
  holds(x: Float64Array): boolean {
    for (let j = 0; j < this.count; j++) {
      let apart = false;
      for (let i = 0; i < this.dimension && !apart; i++) {
        apart = Math.abs(x[i]! - this.#points[j * this.dimension + i]!) > 1e-9;
      }
      if (!apart) return true;
    }
    return false;
  }

  #variance(): number {
    const n = this.count;
    const inverse = this.#inverse;
    const k = this.#k;
    let explained = 0;
    for (let i = 0; i < n; i++) {
      let sum = 0;
      const row = i * n;
      for (let j = 0; j <= i; j++) sum += inverse[row + j]! * k[j]!;
      this.#v[i] = sum;
      explained += sum * sum;
    }
    return Math.max(this.kernel.scale - explained, 1e-14);
  }

  #covary(x: Float64Array): void {
    const { weights, scale } = this.kernel;
    const d = this.dimension;
    for (let j = 0; j < this.count; j++) {
      let squared = 0;
      const row = j * d;
      for (let i = 0; i < d; i++) {
        const gap = x[i]! - this.#points[row + i]!;
        squared += this.#categorical[i] ? (gap === 0 ? 0 : weights[i]!) : weights[i]! * gap * gap;
      }
      const r = SQRT5 * Math.sqrt(squared);
      const decay = scale * Math.exp(-r);
      this.#k[j] = decay * (1 + r + (r * r) / 3);
      this.#slope[j] = (-5 / 6) * decay * (1 + r);
    }
  }
}

function covariance(
  points: Float64Array,
  n: number,
  categorical: readonly boolean[],
  kernel: Kernel,
): Float64Array<ArrayBuffer> {
  const d = categorical.length;
  const k = new Float64Array(n * n);
  for (let a = 0; a < n; a++) {
    k[a * n + a] = kernel.scale + kernel.noise;
    for (let b = 0; b < a; b++) {
      let squared = 0;
      for (let i = 0; i < d; i++) {
        const gap = points[a * d + i]! - points[b * d + i]!;
        squared += categorical[i] ? (gap === 0 ? 0 : kernel.weights[i]!) : kernel.weights[i]! * gap * gap;
      }
      const r = SQRT5 * Math.sqrt(squared);
      k[a * n + b] = kernel.scale * Math.exp(-r) * (1 + r + (r * r) / 3);
    }
  }
  return k;
}

/** The kernel of highest posterior, found from `start` on. */
export function fitKernel(
  points: Float64Array,
  y: Float64Array,
  categorical: readonly boolean[],
  start: Kernel,
  iterationsMax: number,
): { kernel: Kernel; loss: number } {
  const n = y.length;
  const d = categorical.length;
  const pairs = (n * (n - 1)) / 2;
  const gaps = new Float64Array(pairs * d);
  for (let a = 1, p = 0; a < n; a++) {
    for (let b = 0; b < a; b++, p++) {
      for (let i = 0; i < d; i++) {
        const gap = points[a * d + i]! - points[b * d + i]!;
        gaps[p * d + i] = categorical[i] ? (gap === 0 ? 0 : 1) : gap * gap;
      }
    }
  }
  const k = new Float64Array(n * n);
  const values = new Float64Array(pairs);
  const slopes = new Float64Array(pairs);
  const alpha = new Float64Array(n);
  const loss = (theta: Float64Array, gradient: Float64Array): number => {
    const weights = theta.subarray(0, d).map(Math.exp);
    const scale = Math.exp(theta[d]!);
    const noiseFree = Math.exp(theta[d + 1]!);
    const noise = noiseFree + NOISE_MIN;
    for (let a = 0, p = 0; a < n; a++) {
      k[a * n + a] = scale + noise;
      for (let b = 0; b < a; b++, p++) {
        let squared = 0;
        for (let i = 0, at = p * d; i < d; i++, at++) squared += weights[i]! * gaps[at]!;
        const r = SQRT5 * Math.sqrt(squared);
        const decay = scale * Math.exp(-r);
        values[p] = decay * (1 + r + (r * r) / 3);
        slopes[p] = (-5 / 6) * decay * (1 + r);
        k[a * n + b] = values[p]!;
      }
    }
    if (!cholesky(k, n)) return Number.POSITIVE_INFINITY;
    let total = 0;
    for (let i = 0; i < n; i++) total += Math.log(k[i * n + i]!);
    alpha.set(y);
    solveLower(k, n, alpha);
    for (let i = 0; i < n; i++) total += 0.5 * alpha[i]! * alpha[i]!;
    solveUpper(k, n, alpha);
    const inverse = invertLower(k, n);
    const precision = gram(inverse, n);
    gradient.fill(0);
    // d loss / d K = (K^-1 - alpha alpha') / 2, each pair standing for two entries.
    for (let a = 0, p = 0; a < n; a++) {
      const own = 0.5 * (precision[a * n + a]! - alpha[a]! * alpha[a]!);
      gradient[d] = gradient[d]! + own * scale;
      gradient[d + 1] = gradient[d + 1]! + own * noiseFree;
      for (let b = 0; b < a; b++, p++) {
        const w = precision[a * n + b]! - alpha[a]! * alpha[b]!;
        gradient[d] = gradient[d]! + w * values[p]!;
        const slope = w * slopes[p]!;
        for (let i = 0, at = p * d; i < d; i++, at++) gradient[i] = gradient[i]! + slope * gaps[at]!;
      }
    }
    for (let i = 0; i < d; i++) {
      const weight = weights[i]!;
      gradient[i] = gradient[i]! * weight + 0.1 * weight - 0.1 / weight;
      total += 0.1 / weight + 0.1 * weight;
    }
    total += scale - theta[d]! + 30 * noise - 0.1 * Math.log(noise);
    gradient[d] = gradient[d]! + scale - 1;
    gradient[d + 1] = gradient[d + 1]! + (30 - 0.1 / noise) * noiseFree;
    return total;
  };
  const from = new Float64Array(d + 2);
  for (let i = 0; i < d; i++) from[i] = Math.log(start.weights[i]!);
  from[d] = Math.log(start.scale);
  from[d + 1] = Math.log(Math.max(start.noise - NOISE_MIN, 0.01 * NOISE_MIN));
  const { x, value } = lbfgs(loss, from, {
    low: new Float64Array(d + 2).fill(-12).fill(-30, d + 1),
    high: new Float64Array(d + 2).fill(12),
    iterationsMax,
    gradientTolerance: 1e-2,
    valueTolerance: 1e-6,
  });
  const kernel = {
    weights: x.subarray(0, d).map(Math.exp),
    scale: Math.exp(x[d]!),
    noise: Math.exp(x[d + 1]!) + NOISE_MIN,
  };
  return { kernel, loss: value };
}

/** L^-T L^-1 for lower triangular L^-1; the lower triangle of the result. */
function gram(inverse: Float64Array, n: number): Float64Array {
  const result = new Float64Array(n * n);
  for (let k = 0; k < n; k++) {
    const rowK = k * n;
    for (let i = 0; i <= k; i++) {
      const factor = inverse[rowK + i]!;
      const row = i * n;
      for (let j = 0; j <= i; j++) result[row + j] = result[row + j]! + factor * inverse[rowK + j]!;
    }
  }
  return result;
}
