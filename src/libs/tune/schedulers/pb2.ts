/**
 * Population based bandits (Parker-Holder, Nguyen and Roberts, NeurIPS 2020): population based training whose new values
 * come from a Gaussian process of how much each configuration bettered the metric per time, with evidence that ages.
 */
import { InvalidOptionError } from "../errors.ts";
import type { Config } from "../search/searcher.ts";
import { type PBTBaseOptions, PopulationScheduler } from "./pbt.ts";
import { checkOptions, isNumber, type TrialReport } from "./scheduler.ts";

export interface PB2Options extends PBTBaseOptions {
  /** The numbers that may change: `[low, high]` by key. Between two whole numbers only whole numbers are tried. */
  readonly bounds: Readonly<Record<string, readonly [low: number, high: number]>>;
}

interface Row {
  readonly time: number;
  /** Values scaled to [0, 1], in the order of the bounds. */
  readonly x: readonly number[];
  /** Change of the sign-adjusted metric per time. */
  readonly gain: number;
}

/** Evidence kept; the cost of a suggestion grows with its cube. */
const ROWS_MAX = 250;
const CANDIDATES = 1000;
const LENGTHSCALES = [0.1, 0.3, 1];
const FORGETTING = [0.02, 0.1, 0.3];
const NOISES = [0.01, 0.1, 0.5];

export class PB2 extends PopulationScheduler {
  readonly name = "PB2";
  readonly #keys: readonly string[];
  readonly #bounds: PB2Options["bounds"];
  #rows: Row[] = [];
  readonly #last = new Map<string, { time: number; value: number }>();

  constructor(options: PB2Options) {
    checkOptions<PB2Options>("PB2", options, {
      ...PopulationScheduler.checks,
      bounds: [
        (v) => typeof v === "object" && v !== null && Object.keys(v).length > 0,
        "an object of [low, high] by key",
      ],
    });
    super(options);
    this.#bounds = options.bounds ?? {};
    this.#keys = Object.keys(this.#bounds);
    if (this.#keys.length === 0) throw new InvalidOptionError("PB2 needs bounds: { key: [low, high] }");
    for (const key of this.#keys) {
      const [low, high] = this.#bounds[key] ?? [];
      if (!isNumber(low) || !isNumber(high) || low >= high)
        throw new InvalidOptionError(
          `PB2: bounds.${key} must be [low, high] with low < high, got [${low}, ${high}]`,
        );
    }
  }

  override save(): unknown {
    return { base: super.save(), rows: this.#rows, last: [...this.#last] };
  }

  override restore(state: unknown): void {
    const saved = state as { base: unknown; rows: Row[]; last: [string, { time: number; value: number }][] };
    super.restore(saved.base);
    this.#rows = [...saved.rows];
    for (const [id, last] of saved.last) this.#last.set(id, last);
  }

  protected override observe({ trialId, time, value, config }: TrialReport): void {
    const before = this.#last.get(trialId);
    const signed = this.sign * value;
    this.#last.set(trialId, { time, value: signed });
    if (before === undefined || time <= before.time || !Number.isFinite(signed)) return;
    this.#rows.push({ time, x: this.#scale(config), gain: (signed - before.value) / (time - before.time) });
    if (this.#rows.length > ROWS_MAX) this.#rows = this.#rows.slice(-ROWS_MAX);
  }

  protected fill(config: Config): Config {
    const filled: Config = { ...config };
    for (const key of this.#keys) filled[key] ??= this.#unscale(key, this.random.next());
    return filled;
  }

  protected exploreFrom(config: Config, trialId: string): Config {
    this.#last.delete(trialId); // what it reports next comes from another trial's weights
    const explored: Config = { ...config };
    const x = this.#rows.length < 3 ? this.#keys.map(() => this.random.next()) : this.#suggest(trialId);
    this.#keys.forEach((key, i) => {
      explored[key] = this.#unscale(key, x[i] as number);
    });
    return explored;
  }

  #suggest(trialId: string): readonly number[] {
    const now = Math.max(...this.#rows.map(({ time }) => time));
    const running = [...this.members]
      .filter(([id, { done }]) => id !== trialId && !done)
      .map(([, { config }]) => ({ time: now, x: this.#scale(config), gain: 0 }));
    const model = fitBest(this.#rows);
    // Where configurations run already their outcome will be known: the model is surer there.
    const surer = new TimeVaryingGP([...this.#rows, ...running], model.parameters);
    // Exploration grows slowly with the evidence, as in the paper's bound.
    const beta = 0.2 + Math.log(1 + 0.4 * this.#rows.length);
    let best: readonly number[] = [];
    let bestValue = -Infinity;
    for (let i = 0; i < CANDIDATES; i++) {
      const x = this.#keys.map(() => this.random.next());
      const value = model.mean(x, now) + Math.sqrt(beta) * surer.deviation(x, now);
      if (value > bestValue) {
        best = x;
        bestValue = value;
      }
    }
    return best;
  }

  #scale(config: Config): number[] {
    return this.#keys.map((key) => {
      const [low, high] = this.#bounds[key] as readonly [number, number];
      return (Number(config[key]) - low) / (high - low);
    });
  }

  #unscale(key: string, x: number): number {
    const [low, high] = this.#bounds[key] as readonly [number, number];
    const isWhole = Number.isInteger(low) && Number.isInteger(high);
    return isWhole ? Math.min(high, Math.floor(low + x * (high - low + 1))) : low + x * (high - low);
  }
}

interface Parameters {
  readonly lengthscale: number;
  readonly forgetting: number;
  readonly noise: number;
}

/** The most likely of a few settings. */
function fitBest(rows: readonly Row[]): TimeVaryingGP {
  let best: TimeVaryingGP | undefined;
  for (const lengthscale of LENGTHSCALES) {
    for (const forgetting of FORGETTING) {
      for (const noise of NOISES) {
        const model = new TimeVaryingGP(rows, { lengthscale, forgetting, noise });
        if (best === undefined || model.logLikelihood > best.logLikelihood) best = model;
      }
    }
  }
  return best as TimeVaryingGP;
}

/** Squared-exponential kernel times (1 - forgetting)^(|t - t'| / 2); gains standardised, times scaled to steps. */
class TimeVaryingGP {
  readonly parameters: Parameters;
  readonly logLikelihood: number;
  readonly #rows: readonly Row[];
  readonly #factor: Float64Array; // lower triangle, row after row
  readonly #weights: Float64Array;
  readonly #mean: number;
  readonly #sd: number;

  constructor(rows: readonly Row[], parameters: Parameters) {
    this.#rows = rows;
    this.parameters = parameters;
    const n = rows.length;
    this.#mean = rows.reduce((sum, { gain }) => sum + gain, 0) / n;
    this.#sd = Math.sqrt(rows.reduce((sum, { gain }) => sum + (gain - this.#mean) ** 2, 0) / n) || 1;
    const y = Float64Array.from(rows, ({ gain }) => (gain - this.#mean) / this.#sd);
    const factor = new Float64Array(n * n);
    let logDeterminant = 0;
    for (let i = 0; i < n; i++) {
      const row = rows[i] as Row;
      for (let j = 0; j <= i; j++) {
        let sum = this.#kernel(row.x, row.time, rows[j] as Row) + (i === j ? parameters.noise : 0);
        for (let k = 0; k < j; k++) sum -= (factor[i * n + k] as number) * (factor[j * n + k] as number);
        if (i === j) {
          factor[i * n + i] = Math.sqrt(Math.max(sum, 1e-10));
          logDeterminant += 2 * Math.log(factor[i * n + i] as number);
        } else factor[i * n + j] = sum / (factor[j * n + j] as number);
      }
    }
    this.#factor = factor;
    const half = this.#solveLower(y);
    this.#weights = new Float64Array(n);
    for (let i = n - 1; i >= 0; i--) {
      let sum = half[i] as number;
      for (let k = i + 1; k < n; k++) sum -= (factor[k * n + i] as number) * (this.#weights[k] as number);
      this.#weights[i] = sum / (factor[i * n + i] as number);
    }
    this.logLikelihood = -0.5 * half.reduce((sum, each) => sum + each * each, 0) - 0.5 * logDeterminant;
  }

  mean(x: readonly number[], time: number): number {
    let sum = 0;
    this.#rows.forEach((row, i) => {
      sum += (this.#weights[i] as number) * this.#kernel(x, time, row);
    });
    return sum;
  }

  deviation(x: readonly number[], time: number): number {
    const half = this.#solveLower(Float64Array.from(this.#rows, (row) => this.#kernel(x, time, row)));
    return Math.sqrt(Math.max(0, 1 - half.reduce((sum, each) => sum + each * each, 0)));
  }

  #kernel(x: readonly number[], time: number, row: Row): number {
    const { lengthscale, forgetting } = this.parameters;
    let square = 0;
    for (let i = 0; i < x.length; i++) square += ((x[i] as number) - (row.x[i] as number)) ** 2;
    return (
      Math.exp(-square / (2 * lengthscale * lengthscale)) *
      (1 - forgetting) ** (Math.abs(time - row.time) / 2)
    );
  }

  #solveLower(right: Float64Array): Float64Array {
    const n = right.length;
    const solved = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      let sum = right[i] as number;
      for (let k = 0; k < i; k++) sum -= (this.#factor[i * n + k] as number) * (solved[k] as number);
      solved[i] = sum / (this.#factor[i * n + i] as number);
    }
    return solved;
  }
}
