/**
 * Bayesian optimisation: a Gaussian process of the results so far, and the config of the largest expected improvement.
 *
 * Numbers are modelled in the unit cube, categories by whether they are equal; a parameter that a branch does not have
 * stands still, so that it tells nothing. Trials that still run are taken to give what the model expects of them, which
 * keeps parallel trials apart. Kernel, priors and log EI are those of Optuna's GPSampler; results are warped first.
 */
import { InvalidOptionError } from "../errors.ts";
import { lbfgs } from "../maths/lbfgs.ts";
import { Sobol } from "../maths/sobol.ts";
import { CategoryDomain } from "../space/domain.ts";
import type { Parameter, Space } from "../space/space.ts";
import { logEi, logEiSlope } from "./acquisition.ts";
import { fitKernel, GaussianProcess, type Kernel } from "./gp-model.ts";
import {
  HistorySearcher,
  type PointOptions,
  type Proposal,
  requireOneObjective,
  type TrialRecord,
} from "./history.ts";

export interface GPOptions extends PointOptions {
  /** Trials drawn at random before the model is used. Default 10. */
  readonly startupTrials?: number;
}

const STARTS = 10;
const LATTICE_EXHAUSTIVE_MAX = 16;

interface SavedKernel {
  readonly weights: readonly number[];
  readonly scale: number;
  readonly noise: number;
}

export class GPSearcher extends HistorySearcher {
  readonly #options: GPOptions;
  #kernel: Kernel | undefined;

  constructor(options: GPOptions = {}) {
    super(options);
    this.#options = options;
    const { startupTrials = 10 } = options;
    if (!(Number.isInteger(startupTrials) && startupTrials > 0)) {
      throw new InvalidOptionError(`startupTrials must be a whole number above 0, got ${startupTrials}`);
    }
  }

  protected override check(_space: Space): void {
    requireOneObjective("GPSearcher", this.objectives);
  }

  protected propose(_trialId: string): Proposal {
    const trials = this.trials;
    const done = trials.filter(({ state, results }) => state === "done" && Number.isFinite(results![0]!));
    const parameters = this.space.parameters.filter(({ path, domain }) => {
      return domain.count > 1 && (!this.space.dynamic || done.every(({ units }) => units.has(path)));
    });
    const { startupTrials = 10 } = this.#options;
    if (parameters.length === 0 || done.length < startupTrials) return () => undefined;
    const running = trials.filter(({ state }) => state === "running");
    const point = this.#maximise(parameters, done, running);
    const values = new Map(
      parameters.map(({ path, domain }, i) => [
        path,
        "fromUnit" in domain ? domain.fromUnit(point[i]!) : point[i]!,
      ]),
    );
    return ({ path }) => values.get(path);
  }

  protected override saveOwn(): SavedKernel | null {
    const kernel = this.#kernel;
    return kernel === undefined ? null : { ...kernel, weights: [...kernel.weights] };
  }

  protected override restoreOwn(state: unknown): void {
    const saved = state as SavedKernel | null;
    this.#kernel = saved === null ? undefined : { ...saved, weights: Float64Array.from(saved.weights) };
  }

  #maximise(
    parameters: readonly Parameter[],
    done: readonly TrialRecord[],
    running: readonly TrialRecord[],
  ): Float64Array {
    const d = parameters.length;
    const categorical = parameters.map(({ domain }) => domain instanceof CategoryDomain);
    const freeze = freezer(parameters);
    const rows = (trials: readonly TrialRecord[]) => {
      const points = new Float64Array(trials.length * d);
      for (const [row, { units }] of trials.entries()) {
        for (const [i, { path }] of parameters.entries()) points[row * d + i] = units.get(path) ?? 0.5;
        freeze(points.subarray(row * d, (row + 1) * d));
      }
      return points;
    };
    let points = rows(done);
    let y = warp(Float64Array.from(done, ({ results }) => results![0]!));
    const best = y.indexOf(Math.min(...y));
    const from =
      this.#kernel?.weights.length === d
        ? this.#kernel
        : { weights: new Float64Array(d).fill(1), scale: 1, noise: 1 };
    const { kernel } = fitKernel(points, y, categorical, from, 100);
    this.#kernel = kernel;
    let model = new GaussianProcess(points, y, categorical, kernel);
    if (running.length > 0) {
      const more = rows(running);
      const believed = running.map((_, row) => model.mean(more.subarray(row * d, (row + 1) * d)));
      points = Float64Array.of(...points, ...more);
      y = Float64Array.of(...y, ...believed);
      model = new GaussianProcess(points, y, categorical, kernel);
    }
    const incumbent = points.slice(best * d, (best + 1) * d);
    return search(model, Math.min(...y), parameters, incumbent, freeze, this.random.bits(), (weights) =>
      this.random.weighted(weights),
    );
  }
}

/**
 * Results as the model sees them: on a logarithmic scale from the best one on, then standardised. Objectives often rise by
 * orders of magnitude away from their optimum, and a stationary model spends itself on that. Optuna standardises only.
 */
function warp(results: Float64Array): Float64Array {
  const sorted = Float64Array.from(results).sort();
  const best = sorted[0]!;
  const width = sorted[sorted.length >> 1]! - best;
  return standardise(width > 0 ? results.map((value) => Math.log1p((value - best) / width)) : results);
}

function standardise(y: Float64Array): Float64Array {
  const mean = y.reduce((sum, value) => sum + value, 0) / y.length;
  const sd = Math.sqrt(y.reduce((sum, value) => sum + (value - mean) ** 2, 0) / y.length);
  return y.map((value) => (sd > 0 ? (value - mean) / sd : 0));
}

/** Puts a parameter whose branch is not taken at one fixed place, outside its values if it is a category. */
function freezer(parameters: readonly Parameter[]): (point: Float64Array) => void {
  const index = new Map(parameters.map(({ path }, i) => [path, i]));
  const conditions = parameters.flatMap(({ condition, domain }, i) => {
    if (condition === undefined) return [];
    const parent = index.get(condition.path);
    return [{ i, parent, value: condition.index, rest: domain instanceof CategoryDomain ? -1 : 0.5 }];
  });
  return (point) => {
    for (const { i, parent, value, rest } of conditions) {
      if (parent !== undefined && point[parent] !== value) point[i] = rest;
      else if (point[i] === -1) point[i] = 0; // its branch is taken now: any category to begin with
    }
  };
}

/** The point of the cube, on lattices where there are some, with the largest log EI that a search from many starts finds. */
function search(
  model: GaussianProcess,
  best: number,
  parameters: readonly Parameter[],
  incumbent: Float64Array,
  freeze: (point: Float64Array) => void,
  seed: number,
  pick: (weights: Float64Array) => number,
): Float64Array {
  const sobol = new Sobol(parameters.length, seed);
  const sampleCount = 2048;
  const samples: Float64Array[] = [];
  const scores = new Float64Array(sampleCount);
  for (let s = 0; s < sampleCount; s++) {
    const point = snap(parameters, sobol.point(s), true);
    freeze(point);
    samples.push(point);
    scores[s] = logEi(model, best, point);
  }
  const first = scores.indexOf(Math.max(...scores));
  const weights = scores.map((score) => Math.exp(score - scores[first]!));
  weights[first] = 0;
  const starts = [samples[first]!, incumbent];
  for (let k = 2; k < STARTS; k++) {
    const chosen = pick(weights);
    if (!(weights[chosen]! > 0)) break;
    weights[chosen] = 0;
    starts.push(samples[chosen]!);
  }
  const found = starts.map((start) => climb(model, best, parameters, start, freeze));
  const ranked = [...found, samples[first]!]
    .map((point) => ({ point, score: logEi(model, best, point) }))
    .sort((a, b) => b.score - a.score);
  // Once the model is sure of the optimum it would ask for the same point for ever.
  const fresh = ranked.find(({ point }) => !model.holds(point)) ?? { point: unseen(model, samples, scores) };
  return fresh.point ?? ranked[0]!.point;
}

/** The best sample that was not tried yet, if there is one. */
function unseen(
  model: GaussianProcess,
  samples: readonly Float64Array[],
  scores: Float64Array,
): Float64Array | undefined {
  const order = [...samples.keys()].sort((a, b) => scores[b]! - scores[a]!);
  const index = order.find((i) => !model.holds(samples[i]!));
  return index === undefined ? undefined : samples[index];
}

/** Gradient ascent in the numbers, then each category and short lattice in turn, until nothing gets better. */
function climb(
  model: GaussianProcess,
  best: number,
  parameters: readonly Parameter[],
  start: Float64Array,
  freeze: (point: Float64Array) => void,
): Float64Array {
  const d = parameters.length;
  const smooth = parameters.map(
    ({ domain }) => !(domain instanceof CategoryDomain) && domain.count > LATTICE_EXHAUSTIVE_MAX,
  );
  const short = parameters.flatMap(({ domain }, i) => (smooth[i] ? [] : [{ i, values: valuesOf(domain) }]));
  // In units of the length scale the function is about equally steep in all directions.
  const scales = model.kernel.weights.map((weight) => 1 / Math.sqrt(weight));
  let point: Float64Array = Float64Array.from(start);
  for (let round = 0; round < 3; round++) {
    const base = Float64Array.from(point);
    const x = new Float64Array(d);
    const { x: top } = lbfgs(
      (z, gradient) => {
        for (let i = 0; i < d; i++) x[i] = smooth[i] ? z[i]! * scales[i]! : base[i]!;
        const value = logEiSlope(model, best, x, gradient);
        for (let i = 0; i < d; i++) gradient[i] = smooth[i] ? -gradient[i]! * scales[i]! : 0;
        return -value;
      },
      base.map((u, i) => u / scales[i]!),
      {
        low: new Float64Array(d),
        high: scales.map((scale) => 1 / scale),
        iterationsMax: 50,
        gradientTolerance: 1e-2,
        valueTolerance: 1e-5,
      },
    );
    point = base.map((u, i) => (smooth[i] ? Math.min(Math.max(top[i]! * scales[i]!, 0), 1) : u));
    point = snap(parameters, point, false);
    freeze(point);
    if (short.length === 0) break;
    let score = logEi(model, best, point);
    let changed = false;
    for (const { i, values } of short) {
      for (const value of values) {
        if (value === point[i]) continue;
        const other = Float64Array.from(point);
        other[i] = value;
        freeze(other);
        const otherScore = logEi(model, best, other);
        if (!(otherScore > score)) continue;
        point = other;
        score = otherScore;
        changed = true;
      }
    }
    if (!changed) break;
  }
  return point;
}

/** Onto the lattice, where there is one; a category's index from a number in [0, 1) if asked to. */
function snap(parameters: readonly Parameter[], point: Float64Array, indices: boolean): Float64Array {
  return point.map((u, i) => {
    const { domain } = parameters[i]!;
    if (domain instanceof CategoryDomain)
      return indices ? Math.min(Math.floor(u * domain.count), domain.count - 1) : u;
    return domain.step === undefined ? u : domain.toUnit(domain.fromUnit(u));
  });
}

function valuesOf(domain: Parameter["domain"]): number[] {
  if (domain instanceof CategoryDomain) return [...domain.branches.keys()];
  return domain.values().map((value) => domain.toUnit(value));
}
