/** What came of an experiment: the results of its trials, the best of them, tables. Works from any copy of its directory. */
import { join } from "node:path";
import { InvalidOptionError, TuneError } from "../errors.ts";
import { paretoFront } from "../search/pareto.ts";
import type { Config, Direction } from "../search/searcher.ts";
import { LocalStorage } from "../storage/storage.ts";
import { Checkpoint } from "../tuner/checkpoint.ts";
import {
  type Experiment,
  type Header,
  type MetricStats,
  type TrialState,
  type TrialStatus,
  trialPath,
} from "../tuner/experiment.ts";
import { toError } from "../tuner/failures.ts";
import { readExperiment } from "../tuner/replay.ts";
import { bestFirst } from "../tuner/retention.ts";
import { flatten, isPlain, valueAt } from "./flatten.ts";
import { readHistory } from "./history.ts";

/** Over which of a trial's reports its value is taken. */
export type Scope = "last" | "best" | "avg" | "last-5-avg" | "last-10-avg";

export interface BestOptions {
  /** Default: the experiment's. */
  readonly metric?: string;
  readonly mode?: Direction;
  /** Default "last": its last report. "best": its best one. */
  readonly scope?: Scope;
  /** Whether trials without a finite value are left out (default true). */
  readonly filterNanAndInf?: boolean;
}

export interface TableOptions {
  /** Take each trial's report with the best value of this metric instead of its last one; needs the JSON logger. */
  readonly filterMetric?: string;
  readonly filterMode?: Direction;
}

/** A row of `toTable()`: trial, status, metrics and `config/...` by flat names. */
export type Row = Readonly<Record<string, unknown>>;

/** What came of one trial. */
export class TrialResult<C = Config> {
  readonly trialId: string;
  readonly status: TrialStatus;
  readonly config: C;
  /** Its last report; empty when it made none. */
  readonly metrics: Readonly<Record<string, unknown>>;
  readonly error: Error | undefined;
  /** Its directory. */
  readonly path: string;
  /** Its latest checkpoint. */
  readonly checkpoint: Checkpoint | undefined;
  /** Those that were kept, best first, with the metrics they were reported with. */
  readonly bestCheckpoints: readonly (readonly [
    checkpoint: Checkpoint,
    metrics: Readonly<Record<string, number>>,
  ])[];
  readonly #stats: Readonly<Record<string, MetricStats>>;
  readonly #state: TrialState;
  readonly #root: string;

  constructor(state: TrialState, root: string, header: Header) {
    this.trialId = state.id;
    this.status = state.status;
    this.config = state.config as C;
    this.metrics = state.lastResult ?? {};
    this.error = state.status === "ERROR" && state.error !== undefined ? toError(state.error) : undefined;
    this.path = join(root, trialPath(state.id));
    this.#root = root;
    this.#state = state;
    this.#stats = state.metrics;
    const rule = {
      numToKeep: undefined,
      scoreAttribute: header.metrics[0],
      scoreOrder: header.modes[0] ?? "max",
    };
    const latest = state.checkpoints.at(-1);
    this.checkpoint = latest === undefined ? undefined : this.#open(latest.path);
    this.bestCheckpoints = bestFirst(state.checkpoints, rule).map(
      ({ path, metrics }) => [this.#open(path), metrics] as const,
    );
  }

  /** Reports in all. */
  get iterations(): number {
    return this.#state.iteration;
  }

  /** The kept checkpoint with the best value of a metric. */
  getBestCheckpoint(metric: string, mode: Direction): Checkpoint | undefined {
    const rule = { numToKeep: undefined, scoreAttribute: metric, scoreOrder: mode };
    const [best] = bestFirst(this.#state.checkpoints, rule);
    return best === undefined ? undefined : this.#open(best.path);
  }

  /** Every report, in order, as the JSON logger wrote them; empty without that logger. */
  history(): Readonly<Record<string, unknown>>[] {
    return readHistory(this.path);
  }

  /** NaN where the metric was never a number. */
  valueOf(metric: string, mode: Direction, scope: Scope): number {
    if (scope === "last") {
      const value = valueAt(this.metrics, metric);
      return typeof value === "number" ? value : Number.NaN;
    }
    const stats = this.#stats[metric];
    if (stats === undefined) return this.valueOf(metric, mode, "last");
    switch (scope) {
      case "best":
        return mode === "max" ? stats.max : stats.min;
      case "avg":
        return stats.mean;
      case "last-5-avg":
        return average(stats.tail.slice(-5));
      case "last-10-avg":
        return average(stats.tail);
    }
  }

  toJSON(): unknown {
    const { trialId, status, config, metrics, path } = this;
    return { trialId, status, config, metrics, path, error: this.error?.message };
  }

  #open(path: string): Checkpoint {
    return Checkpoint.fromDirectory(join(this.#root, path));
  }
}

/** The results of all trials, in the order in which they were made. */
export class ResultGrid<C = Config> implements Iterable<TrialResult<C>> {
  readonly [index: number]: TrialResult<C>;
  readonly length: number;
  /** The experiment's directory. */
  readonly experimentPath: string;
  /** Whether Ctrl-C ended the run before its time. */
  readonly interrupted: boolean;
  readonly #header: Header;
  readonly #results: readonly TrialResult<C>[];

  constructor(experiment: Experiment, path: string, interrupted = false) {
    this.#header = experiment.header;
    this.experimentPath = path;
    this.interrupted = interrupted;
    this.#results = [...experiment.trials.values()].map(
      (trial) => new TrialResult<C>(trial, path, experiment.header),
    );
    this.length = this.#results.length;
    this.#results.forEach((result, i) => {
      Object.defineProperty(this, i, { value: result });
    });
  }

  /** Reads an experiment's directory. @throws TuneError where none is recorded */
  static load<C = Config>(path: string): ResultGrid<C> {
    const read = readExperiment(new LocalStorage(path));
    if (read === undefined) throw new TuneError(`there is no experiment in ${path}`);
    return new ResultGrid<C>(read.experiment, path);
  }

  [Symbol.iterator](): Iterator<TrialResult<C>> {
    return this.#results[Symbol.iterator]();
  }

  get header(): Header {
    return this.#header;
  }

  /** Of the trials that failed. */
  get errors(): Error[] {
    return this.#results.flatMap(({ error }) => (error === undefined ? [] : [error]));
  }
  get numErrors(): number {
    return this.errors.length;
  }
  get numTerminated(): number {
    return this.#results.filter(({ status }) => status === "TERMINATED").length;
  }

  /**
   * The trial with the best value.
   * @throws InvalidOptionError without metric or mode (fine with exactly one trial); TuneError when no trial has a value
   */
  getBestResult(options: BestOptions = {}): TrialResult<C> {
    const only = this.#results.length === 1 ? this.#results[0] : undefined;
    if (only !== undefined && options.metric === undefined && this.#header.metrics.length === 0) return only;
    const { metric, mode } = this.#objective(options);
    const { scope = "last", filterNanAndInf = true } = options;
    let best: TrialResult<C> | undefined;
    let bestValue = Number.NaN;
    for (const result of this.#results) {
      const value = result.valueOf(metric, mode, scope);
      if (filterNanAndInf ? !Number.isFinite(value) : valueAt(result.metrics, metric) === undefined) continue;
      const isBetter = Number.isNaN(bestValue) || (mode === "max" ? value > bestValue : value < bestValue);
      if (best === undefined || isBetter) {
        best = result;
        bestValue = value;
      }
    }
    if (best === undefined)
      throw new TuneError(
        `No best trial found: no trial of ${this.length} has reported a number as ${metric}`,
      );
    return best;
  }

  /** Several objectives: the trials that no other betters in all of them. */
  getParetoFront(): TrialResult<C>[] {
    const { metrics, modes } = this.#header;
    if (metrics.length === 0) throw new InvalidOptionError("a Pareto front needs metrics and modes");
    const points = this.#results.map((result) =>
      metrics.map((metric, i) => result.valueOf(metric, modes[i] ?? "max", "last")),
    );
    return paretoFront(points, modes).map((i) => this.#results[i] as TrialResult<C>);
  }

  /** One flat row per trial. */
  toTable({ filterMetric, filterMode }: TableOptions = {}): Row[] {
    if ((filterMetric === undefined) !== (filterMode === undefined))
      throw new InvalidOptionError("filterMetric and filterMode go together");
    return this.#results.map((result) => {
      const metrics =
        filterMetric === undefined || filterMode === undefined
          ? result.metrics
          : (bestReport(result.history(), filterMetric, filterMode) ?? result.metrics);
      const config = isPlain(result.config) ? flatten(result.config, "config/") : { config: result.config };
      return { trial_id: result.trialId, status: result.status, ...flatten(metrics), ...config };
    });
  }

  #objective({ metric, mode }: BestOptions): { readonly metric: string; readonly mode: Direction } {
    const { metrics, modes } = this.#header;
    const name = metric ?? metrics[0];
    const direction =
      mode ?? (metric === undefined || metric === metrics[0] ? modes[0] : modes[metrics.indexOf(metric)]);
    if (name === undefined || direction === undefined)
      throw new InvalidOptionError(
        "getBestResult needs metric and mode: the experiment has none of its own for this",
      );
    return { metric: name, mode: direction };
  }
}

function bestReport(history: readonly Readonly<Record<string, unknown>>[], metric: string, mode: Direction) {
  let best: Readonly<Record<string, unknown>> | undefined;
  let bestValue = Number.NaN;
  for (const report of history) {
    const value = valueAt(report, metric);
    if (typeof value !== "number" || Number.isNaN(value)) continue;
    if (Number.isNaN(bestValue) || (mode === "max" ? value > bestValue : value < bestValue)) {
      best = report;
      bestValue = value;
    }
  }
  return best;
}

function average(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}
