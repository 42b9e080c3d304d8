/**
 * Parzen estimator: a mixture of products of kernels over the unit cube, one kernel per observation and one for the prior.
 *
 * Bandwidths are the larger gap to a neighbour, clipped (Bergstra et al., "Algorithms for Hyper-Parameter Optimization",
 * 2011); kernels of one observation are drawn together in all dimensions (Watanabe, arXiv 2304.11127).
 */
import { normalCdf, normalQuantile } from "../maths/normal.ts";
import type { Random } from "../random.ts";
import { CategoryDomain } from "../space/domain.ts";
import type { Parameter } from "../space/space.ts";

export interface ParzenOptions {
  readonly priorWeight: number;
  /** Bandwidths no smaller than this many times 1 / min(100, kernels + 1) (the "magic clip"); 0 for no such limit. */
  readonly floor: number;
  /** The outermost observations take the gap to the domain's end into account. */
  readonly endpoints: boolean;
}

export const PARZEN_DEFAULTS: ParzenOptions = { priorWeight: 1, floor: 1, endpoints: false };

/** One dimension of the kernels. */
interface Axis {
  readonly parameter: Parameter;
  /** Categories: weights of kernel k at k * count. Numbers: empty. */
  readonly table: Float64Array;
  readonly count: number;
  readonly mu: Float64Array;
  readonly sigma: Float64Array;
  /** log of the kernel's mass inside the unit interval; for densities with the normal's constant. */
  readonly logNorm: Float64Array;
  readonly lattice: boolean;
  /** A continuous number. */
  readonly smooth: boolean;
}

export class ParzenEstimator {
  readonly axes: readonly Axis[];
  readonly #weights: Float64Array;
  /** Per kernel: the logarithm of its weight, less what makes its densities integrate to 1. */
  readonly #logConstants: Float64Array;
  /** The continuous dimensions, and their kernels side by side. */
  readonly #smooth: Uint32Array;
  readonly #centres: Float64Array;
  readonly #precisions: Float64Array;
  readonly #buffer: Float64Array;

  /** `observations`: per parameter, the unit values (categories: indices) of all observations, in the order of `weights`. */
  constructor(
    parameters: readonly Parameter[],
    observations: readonly Float64Array[],
    weights: Float64Array,
    options: ParzenOptions = PARZEN_DEFAULTS,
  ) {
    const kernels = weights.length + 1;
    this.#weights = new Float64Array(kernels);
    this.#weights.set(weights);
    this.#weights[kernels - 1] = weights.length === 0 ? 1 : options.priorWeight;
    const total = this.#weights.reduce((sum, weight) => sum + weight, 0);
    this.#buffer = new Float64Array(kernels);
    this.axes = parameters.map((parameter, i) =>
      parameter.domain instanceof CategoryDomain
        ? categoryAxis(parameter, parameter.domain.count, observations[i]!, options)
        : numberAxis(parameter, parameter.domain.step !== undefined, observations[i]!, options),
    );
    this.#smooth = Uint32Array.from([...this.axes.keys()].filter((i) => this.axes[i]!.smooth));
    const width = this.#smooth.length;
    this.#centres = new Float64Array(kernels * width);
    this.#precisions = new Float64Array(kernels * width);
    this.#logConstants = Float64Array.from(this.#weights, (weight) => Math.log(weight / total));
    for (const [i, axis] of this.#smooth.entries()) {
      const { mu, sigma } = this.axes[axis]!;
      for (let k = 0; k < kernels; k++) {
        this.#centres[k * width + i] = mu[k]!;
        this.#precisions[k * width + i] = 1 / sigma[k]!;
      }
    }
    for (const { logNorm, count } of this.axes) {
      if (count > 0) continue;
      for (let k = 0; k < kernels; k++) this.#logConstants[k] = this.#logConstants[k]! - logNorm[k]!;
    }
  }

  /** A point drawn from the mixture: unit values, lattice ones at a lattice value. */
  sample(random: Random): Float64Array {
    const kernel = random.weighted(this.#weights);
    const point = new Float64Array(this.axes.length);
    for (const [i, axis] of this.axes.entries()) {
      if (axis.count > 0) {
        const { count, table } = axis;
        point[i] = random.weighted(table.subarray(kernel * count, (kernel + 1) * count));
      } else {
        point[i] = onLattice(axis, truncatedNormal(axis.mu[kernel]!, axis.sigma[kernel]!, random.open()));
      }
    }
    return point;
  }

  logDensity(point: Float64Array): number {
    const logs = this.#buffer;
    logs.set(this.#logConstants);
    this.#addSmooth(point, logs);
    for (const [i, axis] of this.axes.entries()) addLogs(axis, point[i]!, logs);
    let max = Number.NEGATIVE_INFINITY;
    for (let k = 0; k < logs.length; k++) if (logs[k]! > max) max = logs[k]!;
    if (max === Number.NEGATIVE_INFINITY) return max;
    let sum = 0;
    for (let k = 0; k < logs.length; k++) {
      const gap = logs[k]! - max;
      if (gap > -40) sum += Math.exp(gap);
    }
    return max + Math.log(sum);
  }

  /** Continuous dimensions, all in one pass over contiguous kernels: where the time goes. */
  #addSmooth(point: Float64Array, logs: Float64Array): void {
    const smooth = this.#smooth;
    const width = smooth.length;
    const centres = this.#centres;
    const precisions = this.#precisions;
    for (let k = 0, at = 0; k < logs.length; k++) {
      let sum = 0;
      for (let i = 0; i < width; i++, at++) {
        const z = (point[smooth[i]!]! - centres[at]!) * precisions[at]!;
        sum += z * z;
      }
      logs[k] = logs[k]! - 0.5 * sum;
    }
  }
}

/** A draw from the normal (mu, sigma) cut to [0, 1], by inversion of `u` in (0, 1). */
export function truncatedNormal(mu: number, sigma: number, u: number): number {
  const low = normalCdf(-mu / sigma);
  const high = normalCdf((1 - mu) / sigma);
  return Math.min(Math.max(mu + sigma * normalQuantile(low + u * (high - low)), 0), 1);
}

function onLattice({ parameter, lattice }: Axis, u: number): number {
  const { domain } = parameter;
  return lattice && !(domain instanceof CategoryDomain) ? domain.toUnit(domain.fromUnit(u)) : u;
}

function addLogs(axis: Axis, x: number, logs: Float64Array): void {
  const { mu, sigma, count, table, parameter } = axis;
  const { domain } = parameter;
  if (domain instanceof CategoryDomain) {
    for (let k = 0; k < logs.length; k++) logs[k] = logs[k]! + Math.log(table[k * count + x]!);
  } else if (axis.lattice) {
    const [left, right] = domain.cell(domain.fromUnit(x));
    for (let k = 0; k < logs.length; k++) {
      logs[k] = logs[k]! + logMass((left - mu[k]!) / sigma[k]!, (right - mu[k]!) / sigma[k]!);
    }
  }
}

/** log P(a < X < b), from the nearer tail so that little is lost to cancellation. */
function logMass(a: number, b: number): number {
  const mass = a > 0 ? normalCdf(-a) - normalCdf(-b) : normalCdf(b) - normalCdf(a);
  return Math.log(Math.max(mass, 1e-300));
}

function categoryAxis(parameter: Parameter, count: number, seen: Float64Array, options: ParzenOptions): Axis {
  const kernels = seen.length + 1;
  const base = options.priorWeight / kernels;
  const table = new Float64Array(kernels * count).fill(
    seen.length === 0 ? 1 / count : base / (1 + count * base),
  );
  for (let k = 0; k < seen.length; k++) table[k * count + seen[k]!] = (1 + base) / (1 + count * base);
  table.fill(1 / count, seen.length * count);
  const none = new Float64Array(0);
  return { parameter, table, count, mu: none, sigma: none, logNorm: none, lattice: false, smooth: false };
}

function numberAxis(
  parameter: Parameter,
  lattice: boolean,
  seen: Float64Array,
  options: ParzenOptions,
): Axis {
  const n = seen.length;
  const mu = new Float64Array(n + 1);
  mu.set(seen);
  mu[n] = 0.5;
  const sigma = new Float64Array(n + 1);
  sigma.set(bandwidths(seen, options));
  sigma[n] = 1;
  const logNorm = new Float64Array(n + 1);
  for (let k = 0; k <= n; k++) {
    const inside = above(mu[k]! / sigma[k]!) + above((1 - mu[k]!) / sigma[k]!) - 1;
    logNorm[k] = Math.log(lattice ? inside : inside * sigma[k]! * Math.sqrt(2 * Math.PI));
  }
  return { parameter, table: new Float64Array(0), count: 0, mu, sigma, logNorm, lattice, smooth: !lattice };
}

/** P(X > -x): how much of a kernel lies on this side of a bound x deviations away. */
function above(x: number): number {
  return x > 8 ? 1 : normalCdf(x);
}

/** Bandwidth per observation in the unit interval. */
export function bandwidths(seen: Float64Array, { floor, endpoints }: ParzenOptions): Float64Array {
  const n = seen.length;
  const order = Uint32Array.from(seen.keys()).sort((a, b) => seen[a]! - seen[b]!);
  const at = (rank: number) => (rank < 0 ? 0 : rank >= n ? 1 : seen[order[rank]!]!);
  const least = floor === 0 ? 1e-12 : floor / Math.min(100, n + 2);
  const sigma = new Float64Array(n);
  for (let rank = 0; rank < n; rank++) {
    const left = at(rank) - at(rank - 1);
    const right = at(rank + 1) - at(rank);
    let gap = Math.max(left, right);
    if (!endpoints && n >= 2 && rank === 0) gap = right;
    if (!endpoints && n >= 2 && rank === n - 1) gap = left;
    sigma[order[rank]!] = Math.min(Math.max(gap, least), 1);
  }
  return sigma;
}
