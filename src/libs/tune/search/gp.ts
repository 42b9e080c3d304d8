/**
 * Bayesian optimisation: a Gaussian process of the results so far, and the config of the largest expected improvement.
 *
 * Numbers are modelled in the unit cube, categories by whether they are equal; a parameter that a branch does not have
 * stands still, so that it tells nothing. Trials that still run are taken to give what the model expects of them, which
 * keeps parallel trials apart. Kernel, priors and log EI are those of Optuna's GPSampler.
 *
 * Beyond it: a trend (trend.ts); fewer first trials, which fill the space evenly; the results choose their scale; kernels
 * are fitted from scratch now and then, lest they stay in a poor local optimum; and the search for the largest log EI also
 * looks close to the best trial, where its peaks are too narrow for points spread over the whole space.
 */
import { InvalidOptionError } from "../errors.ts";
import { lbfgs } from "../maths/lbfgs.ts";
import { Sobol } from "../maths/sobol.ts";
import { Random } from "../random.ts";
import { CategoryDomain } from "../space/domain.ts";
import type { Parameter, Space } from "../space/space.ts";
import { logEi, logEiSlope, logEis } from "./acquisition.ts";
import { fitKernel, GaussianProcess, type Kernel } from "./gp-model.ts";
import {
  HistorySearcher,
  type PointOptions,
  type Proposal,
  requireOneObjective,
  type TrialRecord,
} from "./history.ts";
import { EVIDENCE_MIN, scaleResults, TURNS } from "./scale.ts";

export interface GPOptions extends PointOptions {
  /** Trials that fill the space evenly before the model is used. Default 5. */
  readonly startupTrials?: number;
}

const SAMPLES = 2048;
/** Samples around the best trial, and how many of them are climbed from. */
const NEAR_SAMPLES = 256;
const NEAR_STARTS = 3;
const STARTS = 10;
const LATTICE_EXHAUSTIVE_MAX = 16;
const FIT_ITERATIONS_MAX = 100;
/**
 * Up to so many trials every fit is on every scale, and from scratch as well. Then the scales are compared whenever trials
 * are a tenth more, and only the fit on the latest scale is from scratch as well.
 */
const AFRESH_MAX = 20;
const AFRESH_GROWTH = 1.1;
/** From 50 trials on one more says little about the kernel: it is fitted when they are so many times more, or beaten. */
const REFIT_GROWTH = 1.02;

interface SavedKernel {
  readonly weights: readonly number[];
  readonly scale: number;
  readonly noise: number;
  readonly trend: number;
}

interface SavedFit {
  readonly turn: number;
  readonly afreshAt: number;
  readonly refitAt: number;
  readonly lowest: number | null;
  readonly kernels: readonly (SavedKernel | null)[];
}

export class GPSearcher extends HistorySearcher {
  readonly #options: GPOptions;
  /** Which of TURNS the results are seen by, the latest kernel of each, and from how many trials on all are fitted again. */
  #turn = 0;
  #kernels: (Kernel | undefined)[] = [];
  #afreshAt = 0;
  /** From how many trials on, or below which result, the kernel is fitted again. */
  #refitAt = 0;
  #lowest: number | undefined;

  constructor(options: GPOptions = {}) {
    super(options);
    this.#options = options;
    const { startupTrials = 5 } = options;
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
    const { startupTrials = 5 } = this.#options;
    if (parameters.length === 0) return () => undefined;
    if (done.length < startupTrials) return this.spread();
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

  protected override saveOwn(): SavedFit {
    const kernels = TURNS.map((_, turn) => {
      const kernel = this.#kernels[turn];
      return kernel === undefined ? null : { ...kernel, weights: [...kernel.weights] };
    });
    return {
      turn: this.#turn,
      afreshAt: this.#afreshAt,
      refitAt: this.#refitAt,
      lowest: this.#lowest ?? null,
      kernels,
    };
  }

  protected override restoreOwn(state: unknown): void {
    const { turn, afreshAt, refitAt, lowest, kernels } = state as SavedFit;
    this.#turn = turn;
    this.#afreshAt = afreshAt;
    this.#refitAt = refitAt;
    this.#lowest = lowest ?? undefined;
    this.#kernels = kernels.map((kernel) =>
      kernel === null ? undefined : { ...kernel, weights: Float64Array.from(kernel.weights) },
    );
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
    let { y, kernel } = this.#fit(
      points,
      Float64Array.from(done, ({ results }) => results![0]!),
      categorical,
    );
    let model = new GaussianProcess(points, y, categorical, kernel);
    if (running.length > 0) {
      const more = rows(running);
      const believed = running.map((_, row) => model.mean(more.subarray(row * d, (row + 1) * d)));
      points = Float64Array.of(...points, ...more);
      y = Float64Array.of(...y, ...believed);
      model = new GaussianProcess(points, y, categorical, kernel);
    }
    // What is to be improved on is the lowest of what the model takes the trials to be, not the luckiest result: the same
    // without noise, and less misled where the model sees noise or ruggedness (Picheny, Wagner and Ginsbourger, "A benchmark
    // of kriging-based infill criteria for noisy optimization", 2013).
    const lowest = Math.min(...model.fitted);
    const best = model.fitted.indexOf(lowest);
    const incumbent = points.slice(best * d, (best + 1) * d);
    return search(model, lowest, parameters, incumbent, freeze, this.random.bits(), (weights) =>
      this.random.weighted(weights),
    );
  }

  /** The results on their likeliest scale, and the kernel there. */
  #fit(
    points: Float64Array,
    results: Float64Array,
    categorical: readonly boolean[],
  ): { y: Float64Array; kernel: Kernel } {
    const d = categorical.length;
    const n = results.length;
    const lowest = Math.min(...results);
    const latest = this.#kernels[this.#turn];
    if (n < this.#refitAt && lowest === this.#lowest && latest?.weights.length === d)
      return { y: scaleResults(results, TURNS[this.#turn]!).y, kernel: latest };
    this.#refitAt = REFIT_GROWTH * n;
    this.#lowest = lowest;
    const unknown: Kernel = { weights: new Float64Array(d).fill(1), scale: 1, noise: 1, trend: 0.1 };
    const afresh = n <= AFRESH_MAX || n >= this.#afreshAt;
    if (afresh) this.#afreshAt = AFRESH_GROWTH * n;
    const fits = (afresh ? [...TURNS.keys()] : [this.#turn]).map((turn) => {
      const { y, logSlope } = scaleResults(results, TURNS[turn]!);
      const latest = this.#kernels[turn];
      const known = latest?.weights.length === d ? latest : undefined;
      const anew = n <= AFRESH_MAX || (afresh && turn === this.#turn);
      const starts = known === undefined ? [unknown] : anew ? [known, unknown] : [known];
      const [fit] = starts
        .map((start) => fitKernel(points, y, categorical, start, FIT_ITERATIONS_MAX))
        .sort((a, b) => a.loss - b.loss);
      this.#kernels[turn] = fit!.kernel;
      const handicap = turn === 0 ? 0 : EVIDENCE_MIN;
      return { turn, y, kernel: fit!.kernel, evidence: logSlope - fit!.loss - handicap };
    });
    const chosen = fits.reduce((a, b) => (b.evidence > a.evidence ? b : a));
    this.#turn = chosen.turn;
    return chosen;
  }
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
  const samples: Float64Array[] = [];
  for (let s = 0; s < SAMPLES; s++) {
    const point = snap(parameters, sobol.point(s), true);
    freeze(point);
    samples.push(point);
  }
  const scores = logEis(model, best, samples);
  const first = scores.indexOf(Math.max(...scores));
  const weights = scores.map((score) => Math.exp(score - scores[first]!));
  weights[first] = 0;
  const near = nearby(parameters, incumbent, model.kernel, seed, freeze);
  const nearScores = logEis(model, best, near);
  const nearest = [...near.keys()].sort((a, b) => nearScores[b]! - nearScores[a]!).slice(0, NEAR_STARTS);
  const starts = [samples[first]!, incumbent, ...nearest.map((i) => near[i]!)];
  while (starts.length < STARTS) {
    const chosen = pick(weights);
    if (!(weights[chosen]! > 0)) break;
    weights[chosen] = 0;
    starts.push(samples[chosen]!);
  }
  const found = starts.map((start) => climb(model, best, parameters, start, freeze));
  const ranked = [...found, samples[first]!]
    .map((point) => ({ point, score: logEi(model, best, point) }))
    .sort((a, b) => b.score - a.score);
  // Once the model is sure of the optimum, or of a point that is none, it would ask for the same place for ever.
  const fresh = ranked.find(({ point }) => !model.holds(point) && !model.isCrowded(point)) ?? {
    point: unseen(model, samples, scores),
  };
  return fresh.point ?? ranked[0]!.point;
}

/** Points around the best trial, from half a length scale away to a two-thousandth; categories stay. */
function nearby(
  parameters: readonly Parameter[],
  incumbent: Float64Array,
  { weights }: Kernel,
  seed: number,
  freeze: (point: Float64Array) => void,
): Float64Array[] {
  const random = new Random(seed);
  return Array.from({ length: NEAR_SAMPLES }, () => {
    const distance = 0.5 * 10 ** (-3 * random.next());
    const moved = incumbent.map((u, i) => {
      if (parameters[i]!.domain instanceof CategoryDomain) return u;
      const lengthScale = Math.min(1 / Math.sqrt(weights[i]!), 1);
      return Math.min(Math.max(u + distance * lengthScale * random.normal(), 0), 1);
    });
    const point = snap(parameters, moved, false);
    freeze(point);
    return point;
  });
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
