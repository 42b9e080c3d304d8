/**
 * Gaussian process regression with a Matern 5/2 kernel, a length scale per dimension, a trend (trend.ts) and noise.
 *
 * Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", chapters 2 and 5. Hyperparameters are those
 * of the highest posterior under priors that keep length scales near the size of the unit cube. Categories are at
 * distance 0 or 1. Less of y is better here as everywhere in Tune; y is expected to be standardised.
 */
import { lbfgs } from "../maths/lbfgs.ts";
import {
  addScaled,
  cholesky,
  dot,
  gramLower,
  invertLower,
  multiplyLower,
  multiplyTransposed,
  solveLower,
  solveUpper,
  squaredNorms,
} from "../maths/linear.ts";
import { slopeAlong, TERMS, termsOf, writeTerms } from "./trend.ts";

/** Kernel parameters; `weights` are inverse squared length scales. */
export interface Kernel {
  readonly weights: Float64Array;
  readonly scale: number;
  readonly noise: number;
  /** Prior variance of each of the trend's coefficients. */
  readonly trend: number;
}

/** Optuna's is 1e-6, which hides differences near the optimum of a deterministic objective; less than this is unstable. */
const NOISE_MIN = 1e-8;
const VARIANCE_MIN = 1e-14;
/** The prior of the trend's variance is a gamma distribution of rate 1 with its mode here: some trend, seldom a steep one. */
const TREND_MODE = 0.5;
/** Within a thousandth of a length scale a function moves by about a millionth of its size: three points there are plenty. */
const CLOSE = 1e-3;
const CLOSE_MAX = 3;
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
  /** Means at its own points. */
  readonly fitted: Float64Array;
  readonly #k: Float64Array;
  readonly #slope: Float64Array;
  readonly #v: Float64Array;
  readonly #u: Float64Array;
  /** The trend's terms at its points and at the latest x, and the mean of its coefficients. */
  readonly #terms: Float64Array;
  readonly #termsAt: Float64Array;
  readonly #coefficients: Float64Array;

  constructor(points: Float64Array, y: Float64Array, categorical: readonly boolean[], kernel: Kernel) {
    const n = y.length;
    const d = categorical.length;
    this.dimension = d;
    this.count = n;
    this.kernel = kernel;
    this.#points = points;
    this.#categorical = categorical;
    let l = new Float64Array(n * n);
    let jitter = 0;
    for (; ; jitter = jitter === 0 ? 1e-8 * kernel.scale : jitter * 10) {
      l = covariance(points, n, categorical, kernel);
      if (jitter > 0) for (let i = 0; i < n; i++) l[i * n + i] = l[i * n + i]! + jitter;
      if (cholesky(l, n) || jitter > kernel.scale) break;
    }
    this.#inverse = invertLower(l, n);
    this.#alpha = Float64Array.from(y);
    solveLower(l, n, this.#alpha);
    solveUpper(l, n, this.#alpha);
    this.fitted = y.map((value, i) => value - (kernel.noise + jitter) * this.#alpha[i]!);
    this.#k = new Float64Array(n);
    this.#slope = new Float64Array(n);
    this.#v = new Float64Array(n);
    this.#u = new Float64Array(n);
    this.#terms = termsOf(points, n, categorical);
    this.#termsAt = new Float64Array(TERMS * d);
    this.#coefficients = this.#coefficientsOf(this.#alpha);
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

  /** As `predict` for many points, four at a time: much cheaper than one by one. */
  predictAll(points: readonly Float64Array[], means: Float64Array, variances: Float64Array): void {
    const n = this.count;
    const four = new Float64Array(4 * n);
    const explained = new Float64Array(4);
    const priors = new Float64Array(4);
    for (let first = 0; first < points.length; first += 4) {
      const count = Math.min(4, points.length - first);
      for (let lane = 0; lane < count; lane++) {
        means[first + lane] = this.mean(points[first + lane]!);
        for (let j = 0; j < n; j++) four[4 * j + lane] = this.#k[j]!;
        priors[lane] = this.#prior();
      }
      squaredNorms(this.#inverse, n, four, explained);
      for (let lane = 0; lane < count; lane++)
        variances[first + lane] = Math.max(priors[lane]! - explained[lane]!, VARIANCE_MIN);
    }
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
    const u = this.#u;
    multiplyTransposed(this.#inverse, n, this.#v, u);
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
    const explained = this.#coefficientsOf(u);
    const unexplained = this.#termsAt.map((term, i) => this.kernel.trend * term - explained[i]!);
    for (let i = 0; i < d; i++) {
      if (this.#categorical[i]) continue;
      ofMean[i] = ofMean[i]! + slopeAlong(i, x[i]!, this.#coefficients);
      ofVariance[i] = ofVariance[i]! + 2 * slopeAlong(i, x[i]!, unexplained);
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

  /** Whether so many of its points are so close to x, in length scales, that one more there could hardly be better. */
  isCrowded(x: Float64Array): boolean {
    const { weights } = this.kernel;
    let close = 0;
    for (let j = 0; j < this.count; j++) {
      let squared = 0;
      for (let i = 0; i < this.dimension; i++)
        squared += weights[i]! * (x[i]! - this.#points[j * this.dimension + i]!) ** 2;
      if (squared < CLOSE ** 2) close += 1;
    }
    return close >= CLOSE_MAX;
  }

  /** Of the trend, from weights of the points' covariances. */
  #coefficientsOf(weights: Float64Array): Float64Array {
    const width = this.#termsAt.length;
    const coefficients = new Float64Array(width);
    for (let j = 0; j < this.count; j++) {
      const weight = weights[j]! * this.kernel.trend;
      for (let i = 0; i < width; i++)
        coefficients[i] = coefficients[i]! + weight * this.#terms[j * width + i]!;
    }
    return coefficients;
  }

  /** Variance at the latest x before any result. */
  #prior(): number {
    return this.kernel.scale + this.kernel.trend * dot(this.#termsAt, this.#termsAt);
  }

  #variance(): number {
    const v = this.#v;
    multiplyLower(this.#inverse, this.count, this.#k, v);
    let explained = 0;
    for (let i = 0; i < v.length; i++) explained += v[i]! * v[i]!;
    return Math.max(this.#prior() - explained, VARIANCE_MIN);
  }

  #covary(x: Float64Array): void {
    const { weights, scale, trend } = this.kernel;
    const d = this.dimension;
    const terms = this.#terms;
    const termsAt = this.#termsAt;
    writeTerms(x, 0, this.#categorical, termsAt, 0);
    for (let j = 0; j < this.count; j++) {
      let squared = 0;
      let alike = 0;
      const row = j * d;
      for (let i = 0; i < d; i++) {
        const gap = x[i]! - this.#points[row + i]!;
        squared += this.#categorical[i] ? (gap === 0 ? 0 : weights[i]!) : weights[i]! * gap * gap;
        const own = TERMS * i;
        const other = TERMS * (row + i);
        alike += termsAt[own]! * terms[other]! + termsAt[own + 1]! * terms[other + 1]!;
      }
      const r = SQRT5 * Math.sqrt(squared);
      const decay = scale * Math.exp(-r);
      this.#k[j] = decay * (1 + r + (r * r) / 3) + trend * alike;
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
  const { alike, own } = likeness(points, n, categorical);
  for (let a = 0, p = 0; a < n; a++) {
    k[a * n + a] = kernel.scale + kernel.noise + kernel.trend * own[a]!;
    for (let b = 0; b < a; b++, p++) {
      let squared = 0;
      for (let i = 0; i < d; i++) {
        const gap = points[a * d + i]! - points[b * d + i]!;
        squared += categorical[i] ? (gap === 0 ? 0 : kernel.weights[i]!) : kernel.weights[i]! * gap * gap;
      }
      const r = SQRT5 * Math.sqrt(squared);
      k[a * n + b] = kernel.scale * Math.exp(-r) * (1 + r + (r * r) / 3) + kernel.trend * alike[p]!;
    }
  }
  return k;
}

/** Products of the trend's terms, of each pair of points and of each point with itself. */
function likeness(
  points: Float64Array,
  n: number,
  categorical: readonly boolean[],
): { alike: Float64Array; own: Float64Array } {
  const terms = termsOf(points, n, categorical);
  const width = TERMS * categorical.length;
  const rows = Array.from({ length: n }, (_, a) => terms.subarray(a * width, (a + 1) * width));
  const alike = new Float64Array((n * (n - 1)) / 2);
  for (let a = 1, p = 0; a < n; a++) for (let b = 0; b < a; b++, p++) alike[p] = dot(rows[a]!, rows[b]!);
  return { alike, own: Float64Array.from(rows, (row) => dot(row, row)) };
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
  // Squared distance of each pair of points, dimension by dimension: each loop below runs through memory in order.
  const gaps = categorical.map((isCategory, i) => {
    const squares = new Float64Array(pairs);
    for (let a = 1, p = 0; a < n; a++) {
      for (let b = 0; b < a; b++, p++) {
        const gap = points[a * d + i]! - points[b * d + i]!;
        squares[p] = isCategory ? (gap === 0 ? 0 : 1) : gap * gap;
      }
    }
    return squares;
  });
  const { alike, own } = likeness(points, n, categorical);
  const k = new Float64Array(n * n);
  const inverse = new Float64Array(n * n);
  const precision = new Float64Array(n * n);
  const squared = new Float64Array(pairs);
  const values = new Float64Array(pairs);
  const slopes = new Float64Array(pairs);
  const alpha = new Float64Array(n);
  const loss = (theta: Float64Array, gradient: Float64Array): number => {
    const scale = Math.exp(theta[d]!);
    const noiseFree = Math.exp(theta[d + 1]!);
    const noise = noiseFree + NOISE_MIN;
    const trend = Math.exp(theta[d + 2]!);
    squared.fill(0);
    for (let i = 0; i < d; i++) addScaled(squared, Math.exp(theta[i]!), gaps[i]!);
    for (let a = 0, p = 0; a < n; a++) {
      const row = a * n;
      k[row + a] = scale + noise + trend * own[a]!;
      for (let b = 0; b < a; b++, p++) {
        const r = SQRT5 * Math.sqrt(squared[p]!);
        const decay = scale * Math.exp(-r);
        const value = decay * (1 + r + (r * r) / 3);
        k[row + b] = value + trend * alike[p]!;
        values[p] = value;
        slopes[p] = (-5 / 6) * decay * (1 + r);
      }
    }
    if (!cholesky(k, n)) return Number.POSITIVE_INFINITY;
    let total = 0;
    for (let i = 0; i < n; i++) total += Math.log(k[i * n + i]!);
    alpha.set(y);
    solveLower(k, n, alpha);
    for (let i = 0; i < n; i++) total += 0.5 * alpha[i]! * alpha[i]!;
    solveUpper(k, n, alpha);
    gramLower(invertLower(k, n, inverse), n, precision);
    // d loss / d K = (K^-1 - alpha alpha') / 2, each pair standing for two entries.
    let ofScale = 0;
    let ofNoise = 0;
    let ofTrend = 0;
    for (let a = 0, p = 0; a < n; a++) {
      const row = a * n;
      const alphaA = alpha[a]!;
      const half = 0.5 * (precision[row + a]! - alphaA * alphaA);
      ofScale += half * scale;
      ofNoise += half * noiseFree;
      ofTrend += half * own[a]! * trend;
      for (let b = 0; b < a; b++, p++) {
        const w = precision[row + b]! - alphaA * alpha[b]!;
        ofScale += w * values[p]!;
        ofTrend += w * alike[p]! * trend;
        slopes[p] = w * slopes[p]!;
      }
    }
    for (let i = 0; i < d; i++) {
      const weight = Math.exp(theta[i]!);
      gradient[i] = dot(slopes, gaps[i]!) * weight + 0.1 * weight - 0.1 / weight;
      total += 0.1 / weight + 0.1 * weight;
    }
    total += scale - theta[d]! + 30 * noise - 0.1 * Math.log(noise);
    total += trend - TREND_MODE * theta[d + 2]!;
    gradient[d] = ofScale + scale - 1;
    gradient[d + 1] = ofNoise + (30 - 0.1 / noise) * noiseFree;
    gradient[d + 2] = ofTrend + trend - TREND_MODE;
    return total;
  };
  const from = new Float64Array(d + 3);
  for (let i = 0; i < d; i++) from[i] = Math.log(start.weights[i]!);
  from[d] = Math.log(start.scale);
  from[d + 1] = Math.log(Math.max(start.noise - NOISE_MIN, 0.01 * NOISE_MIN));
  from[d + 2] = Math.log(start.trend);
  const { x, value } = lbfgs(loss, from, {
    low: new Float64Array(d + 3).fill(-12).fill(-30, d + 1, d + 2),
    high: new Float64Array(d + 3).fill(12),
    iterationsMax,
    gradientTolerance: 1e-2,
    valueTolerance: 1e-5,
  });
  const kernel = {
    weights: x.subarray(0, d).map(Math.exp),
    scale: Math.exp(x[d]!),
    noise: Math.exp(x[d + 1]!) + NOISE_MIN,
    trend: Math.exp(x[d + 2]!),
  };
  return { kernel, loss: value };
}
