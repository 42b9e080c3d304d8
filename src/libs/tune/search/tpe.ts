/**
 * TPE: one Parzen estimator for the good trials, one for the others, and the candidate whose ratio is best.
 *
 * Source: Bergstra et al. 2011; the multivariate form and its defaults as surveyed by Watanabe (arXiv 2304.11127) and
 * used by Optuna 5. Parameters of a conditional branch are modelled together, from trials that took the branch. Trials
 * that still run count among the others ("constant liar"), so that parallel trials keep apart, but for less than those:
 * most of them are where good ones are.
 */
import { InvalidOptionError } from "../errors.ts";
import type { Parameter, Space } from "../space/space.ts";
import { HistorySearcher, type PointOptions, type Proposal, type TrialRecord } from "./history.ts";
import { paretoOrder } from "./pareto.ts";
import { PARZEN_DEFAULTS, ParzenEstimator } from "./parzen.ts";

export interface TPEOptions extends PointOptions {
  /**
   * Trials that fill the space evenly before the model is used. Default 10. With parallel trials so many must have begun,
   * and half of them ended.
   */
  readonly startupTrials?: number;
  /** Candidates drawn per suggestion. Default 24. */
  readonly candidates?: number;
  /**
   * How many of n finished trials count as good. Default min(ceil(0.1 n), 25); while other trials run min(ceil(g n), 25), g
   * being 0.3 divided by the number of parameters, at least 0.05 and at most 0.15.
   */
  readonly gamma?: (n: number) => number;
  /** Weight of the prior beside one observation. Default 1. */
  readonly priorWeight?: number;
  /** Model the parameters of a group together; false: each alone. Default true for one objective, false for several. */
  readonly multivariate?: boolean;
  /** Count running trials among the others. Default true. */
  readonly constantLiar?: boolean;
}

export interface Split {
  readonly below: readonly TrialRecord[];
  readonly above: readonly TrialRecord[];
  /** Those of `above` whose result is not known yet. */
  readonly liars?: ReadonlySet<TrialRecord>;
}

/**
 * Narrower kernels on the good trials than on the others: measured better on 28 of 32 cells of benchmarks/tune than one
 * width for both, which is Optuna's choice. Narrow on both sides gets stuck in local optima.
 */
const GOOD_FLOOR = 0.4;
/**
 * The same while other trials run, each for half of them. Narrower than alone: there are fewer rounds to make something of.
 * These, the running trials' weight, the begin and the part of good trials below were chosen on seeds 300 to 499 of
 * benchmarks/tune. On 0 to 99, which had no say, regret with 8 in parallel is 1.35 times that of one at a time (geometric
 * mean of medians; Optuna's 1.55), and was 1.61 when a tenth counted as good whatever the dimension. Floors below 0.15 are
 * worse again.
 */
const GOOD_FLOORS_PARALLEL = [0.15, 0.3] as const;
/**
 * With parallel trials fewer good ones in many dimensions (0.05 in five, 0.15 in two): what is drawn from them is not
 * corrected before the round is over, so it must not stray. One at a time a tenth is better in five, too.
 */
const GOOD_PARALLEL = { perDimension: 0.3, min: 0.05, max: 0.15 } as const;
const GOOD_MAX = 25;
const AGE_FLAT = 25;
/** What a running trial weighs beside one that ended: measured better than 1 (Optuna's), 0.5 and 0 with 8 in parallel. */
const LIAR_WEIGHT = 0.25;
/** Part of the startup trials that must have ended before the model is used. */
const STARTUP_ENDED = 0.5;

export class TPESearcher extends HistorySearcher {
  readonly #options: TPEOptions;

  constructor(options: TPEOptions = {}) {
    super(options);
    this.#options = options;
    positive("startupTrials", options.startupTrials);
    positive("candidates", options.candidates);
    if (options.priorWeight !== undefined && !(options.priorWeight > 0)) {
      throw new InvalidOptionError(`priorWeight must be above 0, got ${options.priorWeight}`);
    }
  }

  protected propose(_trialId: string): Proposal {
    const split = this.split();
    if (split === undefined) return this.spread();
    const joint = this.#options.multivariate ?? this.objectives.length === 1;
    const groups = groupsOf(this.space, [...split.below, ...split.above], joint);
    const drawn = new Map<string, number>();
    return ({ path }) => {
      const group = groups.get(path);
      // A define-by-run space may ask for a parameter that no trial had; one of a single value is in no group either.
      if (group === undefined) return undefined;
      if (!drawn.has(path)) this.#draw(group, split, drawn);
      return drawn.get(path);
    };
  }

  /** The good trials and the others, oldest first; undefined while there are too few to tell. */
  protected split(): Split | undefined {
    const { startupTrials = 10, constantLiar = true, gamma } = this.#options;
    const begun = this.trials.filter(({ state }) => state !== "failed");
    const done = begun.filter(({ state }) => state === "done");
    if (begun.length < startupTrials || done.length < STARTUP_ENDED * startupTrials) return undefined;
    const liars = new Set(begun.filter(({ state }) => state === "running"));
    const good = gamma?.(done.length) ?? this.#goodOf(done, liars.size > 0);
    const split = splitTrials(constantLiar ? begun : done, done, (trial) => trial.results!, good);
    return { ...split, liars };
  }

  #goodOf(done: readonly TrialRecord[], isParallel: boolean): number {
    const { perDimension, min, max } = GOOD_PARALLEL;
    const dimensions = done.reduce((most, { units }) => Math.max(most, units.size), 0);
    const part = isParallel ? Math.min(Math.max(perDimension / dimensions, min), max) : 0.1;
    return Math.min(Math.ceil(part * done.length), GOOD_MAX);
  }

  #draw(group: readonly Parameter[], { below, above, liars }: Split, drawn: Map<string, number>): void {
    const isAlone = liars === undefined || liars.size === 0;
    const good = this.#estimate(
      group,
      below,
      isAlone ? GOOD_FLOOR : this.random.choice(GOOD_FLOORS_PARALLEL),
    );
    const other = this.#estimate(group, above, 1, liars);
    let best: Float64Array | undefined;
    let bestScore = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < (this.#options.candidates ?? 24); i++) {
      const point = good.sample(this.random);
      const score = good.logDensity(point) - other.logDensity(point);
      if (best !== undefined && !(score > bestScore)) continue;
      best = point;
      bestScore = score;
    }
    for (const [i, { path, domain }] of group.entries()) {
      const x = best![i]!;
      drawn.set(path, "fromUnit" in domain ? domain.fromUnit(x) : x);
    }
  }

  #estimate(
    group: readonly Parameter[],
    trials: readonly TrialRecord[],
    floor: number,
    liars?: ReadonlySet<TrialRecord>,
  ): ParzenEstimator {
    const having = trials.filter(({ units }) => group.every(({ path }) => units.has(path)));
    const observations = group.map(({ path }) => Float64Array.from(having, ({ units }) => units.get(path)!));
    const weights = ageWeights(having.length);
    for (const [i, trial] of having.entries()) if (liars?.has(trial)) weights[i] = weights[i]! * LIAR_WEIGHT;
    const options = { ...PARZEN_DEFAULTS, floor, priorWeight: this.#options.priorWeight ?? 1 };
    return new ParzenEstimator(group, observations, weights, options);
  }
}

/** Takes the `count` best of `ranked` out of `trials`; both keep their order. */
export function splitTrials(
  trials: readonly TrialRecord[],
  ranked: readonly TrialRecord[],
  resultsOf: (trial: TrialRecord) => readonly number[],
  count: number,
): Split {
  const order = paretoOrder(ranked.map(resultsOf), count);
  const good = new Set(order.slice(0, count).map((i) => ranked[i]!));
  return {
    below: trials.filter((trial) => good.has(trial)),
    above: trials.filter((trial) => !good.has(trial)),
  };
}

/** Weight 1 for the 25 newest; older ones fade linearly to 1/n. Oldest first. */
export function ageWeights(n: number): Float64Array {
  const weights = new Float64Array(n).fill(1);
  const ramp = n - AGE_FLAT;
  for (let i = 0; i < ramp; i++) weights[i] = ramp === 1 ? 1 / n : 1 / n + ((1 - 1 / n) * i) / (ramp - 1);
  return weights;
}

/** Parameters that always occur together, by the path of each: a branch's, or what the trials of a function show. */
function groupsOf(
  { parameters, dynamic }: Space,
  trials: readonly TrialRecord[],
  joint: boolean,
): Map<string, readonly Parameter[]> {
  const groups = new Map<string, Parameter[]>();
  const byPath = new Map<string, Parameter[]>();
  for (const parameter of parameters) {
    const { path, domain, condition } = parameter;
    if (domain.count === 1) continue;
    if (dynamic && !trials.some(({ units }) => units.has(path))) continue;
    const occurs = dynamic
      ? trials.map(({ units }) => (units.has(path) ? "1" : "0")).join("")
      : `${condition?.path} ${condition?.index}`;
    const key = joint ? occurs : path;
    const group = groups.get(key) ?? [];
    group.push(parameter);
    groups.set(key, group);
    byPath.set(path, group);
  }
  return byPath;
}

function positive(name: string, value: number | undefined): void {
  if (value !== undefined && !(Number.isInteger(value) && value > 0)) {
    throw new InvalidOptionError(`${name} must be a whole number above 0, got ${value}`);
  }
}
