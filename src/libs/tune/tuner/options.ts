/** What a Tuner takes, and the checks on it. */
import { InvalidOptionError } from "../errors.ts";
import type { LoggerName } from "../results/loggers.ts";
import type { ProgressOption } from "../results/progress.ts";
import { FIFO } from "../schedulers/fifo.ts";
import type { Scheduler } from "../schedulers/scheduler.ts";
import { boolean, checkOptions, isNumber, show, wholeFrom } from "../schedulers/scheduler.ts";
import {
  ConcurrencyLimiter,
  type Direction,
  type Objective,
  RandomSearcher,
  type Searcher,
} from "../search/index.ts";
import { defineSpace, type Space } from "../space/space.ts";
import { resolveStop, type StopOption, type Stopper } from "../stoppers/stoppers.ts";
import type { Callback } from "./callback.ts";
import { type Demand, type ResourcesOption, resolveResources } from "./resources.ts";
import type { RetentionRule } from "./retention.ts";

export interface FailureOptions {
  /** How often a trial is tried again after a failure, from its last checkpoint (default 0; -1: always). */
  readonly maxFailures?: number;
  /** Whether the first failure ends the run (default false); the other trials can be resumed. */
  readonly failFast?: boolean;
}

export interface CheckpointOptions {
  /** How many of the best are kept, beside the latest (default 1; null: all; 0: none once the trial is over). */
  readonly numToKeep?: number | null;
  /** Which metric tells the best (default: the first metric; without any, newer is better). */
  readonly scoreAttribute?: string;
  /** Default: the mode of the experiment, else "max". */
  readonly scoreOrder?: Direction;
  /** Class trainables: a checkpoint every so many iterations (default 0: only where the scheduler needs one). */
  readonly frequency?: number;
  /** Class trainables: a checkpoint at the end (default false). */
  readonly atEnd?: boolean;
}

export interface TunerOptions<S extends object = object> {
  /** What is searched: an object of domains and constants, a `switchOn`, or a function of a trial. Default: nothing, one trial. */
  readonly space?: S;
  /** The metric to better; several for several objectives. */
  readonly metric?: string | readonly string[];
  /** "min" or "max", for each metric. */
  readonly mode?: Direction | readonly Direction[];
  /** How configurations are chosen (default: at random, and all of the grids). */
  readonly searcher?: Searcher;
  /** Which trials go on (default FIFO: all). */
  readonly scheduler?: Scheduler;
  /** How many configurations; with grids, how often each grid is gone through (default 1; -1: until something stops it). */
  readonly numSamples?: number;
  /** Configurations, or parts of them, to try first (only without a searcher: those have an option of their own). */
  readonly pointsToEvaluate?: readonly Readonly<Record<string, unknown>>[];
  /** Whether random values are drawn once per sample and kept over the grid (only without a searcher; default false). */
  readonly constantGridSearch?: boolean;
  /** Default: what the cluster's resources allow. */
  readonly maxConcurrentTrials?: number;
  /** ms after which the run ends; time before a restore counts. */
  readonly timeBudget?: number;
  /** Whether a process serves one trial after the other (default true). */
  readonly reuseActors?: boolean;
  /** What a trial takes (default `{ numCpus: 1 }`); `withResources` goes before it. */
  readonly resources?: ResourcesOption;
  /** Default: a new one, which the experiment remembers. */
  readonly seed?: number;
  /** Name of the experiment's directory (default: trainable, date and time). */
  readonly name?: string;
  /** Where experiments are kept (default `~/tsray_results`). */
  readonly storagePath?: string;
  /** When to stop, beside what the scheduler decides. */
  readonly stop?: StopOption;
  readonly failure?: FailureOptions;
  readonly checkpoint?: CheckpointOptions;
  readonly callbacks?: readonly Callback[];
  /** Files that are written (default json, csv, tensorboard). */
  readonly loggers?: readonly LoggerName[];
  /** What the terminal shows; false: nothing. */
  readonly progress?: ProgressOption;
  /** Whether a report of the experiment is written at the end as `report.html` (default true). */
  readonly htmlReport?: boolean;
}

/** Options with defaults filled in and objects made. */
export interface ResolvedOptions {
  readonly space: Space;
  readonly objectives: readonly Objective[];
  readonly searcher: Searcher;
  readonly scheduler: Scheduler;
  readonly stopper: Stopper;
  readonly numSamples: number;
  /** Infinity where the searcher itself ends. */
  readonly trialsMax: number;
  /** For the reader: as many as there will be; Infinity where that is not known before. */
  readonly trialsExpected: number;
  readonly concurrentMax: number;
  readonly timeBudgetMs: number;
  readonly reuseActors: boolean;
  readonly demand: Demand;
  readonly maxFailures: number;
  readonly failFast: boolean;
  readonly retention: RetentionRule;
  readonly checkpointFrequency: number;
  readonly checkpointAtEnd: boolean;
  readonly callbacks: readonly Callback[];
  readonly loggers: readonly LoggerName[];
  readonly progress: ProgressOption | undefined;
  readonly htmlReport: boolean;
}

const ANY = [() => true, ""] as const;
const isDirection = (value: unknown): value is Direction => value === "min" || value === "max";
const LOGGERS = ["json", "csv", "tensorboard", "mlflow"];

const isSearcher = (value: unknown): boolean =>
  typeof value === "object" && value !== null && typeof (value as Searcher).suggest === "function";
const isScheduler = (value: unknown): boolean =>
  typeof value === "object" && value !== null && typeof (value as Scheduler).onReport === "function";

/** @throws InvalidOptionError naming the option and what it takes */
export function resolveTunerOptions(
  owner: string,
  options: TunerOptions,
  known?: readonly Objective[],
): ResolvedOptions {
  checkOptions<TunerOptions>(owner, options, {
    space: [
      (v) => (typeof v === "object" && v !== null) || typeof v === "function",
      "an object or a function",
    ],
    metric: [
      (v) => isText(v) || (Array.isArray(v) && v.length > 0 && v.every(isText)),
      "a name or an array of names",
    ],
    mode: [
      (v) => isDirection(v) || (Array.isArray(v) && v.every(isDirection)),
      '"min" or "max", or an array of these',
    ],
    searcher: [isSearcher, "a searcher (an object with suggest())"],
    scheduler: [isScheduler, "a scheduler (an object with onReport())"],
    numSamples: [
      (v) => v === -1 || (Number.isSafeInteger(v) && (v as number) > 0),
      "a whole number >= 1, or -1",
    ],
    pointsToEvaluate: [Array.isArray, "an array of configurations"],
    constantGridSearch: boolean,
    maxConcurrentTrials: wholeFrom(1),
    timeBudget: [(v) => isNumber(v) && v > 0, "a number of milliseconds > 0"],
    reuseActors: boolean,
    resources: [(v) => typeof v === "object" && v !== null, "an object such as { numCpus: 1 }"],
    seed: [isNumber, "a number"],
    name: [
      (v) => isText(v) && !/[\\/\0]/.test(v as string) && v !== "." && v !== "..",
      "a name for a directory, without slashes",
    ],
    storagePath: [isText, "a path"],
    stop: ANY,
    failure: [(v) => typeof v === "object" && v !== null, "an object { maxFailures, failFast }"],
    checkpoint: [(v) => typeof v === "object" && v !== null, "an object { numToKeep, ... }"],
    callbacks: [Array.isArray, "an array of callbacks"],
    loggers: [
      (v) => Array.isArray(v) && v.every((each) => LOGGERS.includes(each as string)),
      `an array of ${LOGGERS.join(", ")}`,
    ],
    progress: ANY,
    htmlReport: boolean,
  });
  const failure = options.failure ?? {};
  checkOptions<FailureOptions>("failure", failure, {
    maxFailures: [
      (v) => Number.isSafeInteger(v) && (v as number) >= -1,
      "a whole number >= 0, or -1 (always)",
    ],
    failFast: boolean,
  });
  const objectives = objectivesOf(options) ?? known ?? [];
  const space = defineSpace(options.space ?? {}) as unknown as Space;
  const scheduler = options.scheduler ?? new FIFO();
  const numSamples = options.numSamples ?? 1;
  checkTogether(options, objectives, scheduler);
  return {
    space,
    objectives,
    scheduler,
    searcher: searcherOf(options, numSamples),
    stopper: resolveStop(options.stop),
    numSamples,
    trialsMax: options.searcher === undefined || numSamples < 0 ? Infinity : numSamples,
    trialsExpected: expectedTrials(options, space, numSamples),
    concurrentMax: options.maxConcurrentTrials ?? Infinity,
    timeBudgetMs: options.timeBudget ?? Infinity,
    reuseActors: options.reuseActors ?? true,
    demand: resolveResources(options.resources ?? {}),
    maxFailures: failure.maxFailures ?? 0,
    failFast: failure.failFast ?? false,
    ...resolveCheckpoint(options.checkpoint ?? {}, objectives),
    callbacks: options.callbacks ?? [],
    loggers: options.loggers ?? ["json", "csv", "tensorboard"],
    progress: options.progress,
    htmlReport: options.htmlReport ?? true,
  };
}

function objectivesOf({ metric, mode }: TunerOptions): readonly Objective[] | undefined {
  if (metric === undefined && mode === undefined) return undefined;
  const metrics = metric === undefined ? ["_metric"] : typeof metric === "string" ? [metric] : metric;
  if (mode === undefined)
    throw new InvalidOptionError(
      `mode is missing: is more of ${metrics.join(", ")} better ("max") or less ("min")?`,
    );
  const modes = typeof mode === "string" ? metrics.map(() => mode) : mode;
  if (modes.length !== metrics.length)
    throw new InvalidOptionError(
      `mode has ${modes.length} entries and metric ${metrics.length}: they must agree`,
    );
  return metrics.map((name, i) => ({ metric: name, direction: modes[i] as Direction }));
}

function checkTogether(options: TunerOptions, objectives: readonly Objective[], scheduler: Scheduler): void {
  const { searcher } = options;
  const isPlain = scheduler instanceof FIFO;
  if (scheduler.changesConfig && searcher !== undefined)
    throw new InvalidOptionError(
      `${scheduler.name} changes configurations itself, so it does not go with a searcher`,
    );
  if (!isPlain && scheduler.requiresMetric && objectives.length === 0)
    throw new InvalidOptionError(`the scheduler ${scheduler.name} needs metric and mode`);
  if (!isPlain && objectives.length > 1)
    throw new InvalidOptionError(
      `the scheduler ${scheduler.name} goes by one metric, and there are ${objectives.length}`,
    );
  if (searcher !== undefined && objectives.length === 0)
    throw new InvalidOptionError("a searcher needs metric and mode");
  if (searcher !== undefined) {
    for (const name of ["pointsToEvaluate", "constantGridSearch"] as const) {
      if (options[name] !== undefined)
        throw new InvalidOptionError(`give ${name} to the searcher, not to the Tuner`);
    }
  }
  if (searcher instanceof ConcurrencyLimiter && options.maxConcurrentTrials !== undefined)
    throw new InvalidOptionError(
      "the searcher is a ConcurrencyLimiter already: leave out maxConcurrentTrials",
    );
}

function searcherOf(options: TunerOptions, numSamples: number): Searcher {
  if (options.searcher !== undefined) return options.searcher;
  const { pointsToEvaluate, constantGridSearch } = options;
  return new RandomSearcher({
    numSamples,
    ...(pointsToEvaluate === undefined ? {} : { pointsToEvaluate }),
    ...(constantGridSearch === undefined ? {} : { constantGridSearch }),
  });
}

function expectedTrials(
  { searcher, pointsToEvaluate }: TunerOptions,
  space: Space,
  numSamples: number,
): number {
  if (numSamples < 0) return Infinity;
  if (searcher !== undefined) return numSamples;
  // A point runs the part of the grid that agrees with it.
  return pointsToEvaluate === undefined || space.gridSize === 1 ? numSamples * space.gridSize : Infinity;
}

function resolveCheckpoint(options: CheckpointOptions, [first]: readonly Objective[]) {
  checkOptions<CheckpointOptions>("checkpoint", options, {
    numToKeep: [
      (v) => v === null || (Number.isSafeInteger(v) && (v as number) >= 0),
      "a whole number >= 0, or null (all)",
    ],
    scoreAttribute: [isText, "a name"],
    scoreOrder: [isDirection, '"min" or "max"'],
    frequency: wholeFrom(0),
    atEnd: boolean,
  });
  const { numToKeep = 1, scoreAttribute = first?.metric, scoreOrder = first?.direction ?? "max" } = options;
  return {
    retention: { numToKeep: numToKeep ?? undefined, scoreAttribute, scoreOrder },
    checkpointFrequency: options.frequency ?? 0,
    checkpointAtEnd: options.atEnd ?? false,
  };
}

function isText(value: unknown): boolean {
  return typeof value === "string" && value !== "";
}

/** For messages of callers. */
export { show };
