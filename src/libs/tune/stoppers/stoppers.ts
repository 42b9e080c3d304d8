/**
 * When to stop, beside what a scheduler decides: by iterations, plateaus, time, a function, thresholds, or several of
 * these. Pure but for the elapsed time that they are told.
 */
import { InvalidOptionError } from "../errors.ts";
import { valueAt } from "../results/flatten.ts";
import { checkOptions, isNumber, positive, text, wholeFrom } from "../schedulers/scheduler.ts";
import type { Direction } from "../search/searcher.ts";

type Result = Readonly<Record<string, unknown>>;

/** A stopper of one's own implements this. */
export interface Stopper {
  /** @returns whether the trial shall end after this result */
  shouldStop(trialId: string, result: Result): boolean;
  /** Whether the whole experiment shall end. `elapsedSeconds` goes on after a restore where it was. */
  shouldStopAll(elapsedSeconds: number): boolean;
  /** JSON-able state and back. */
  save?(): unknown;
  restore?(state: unknown): void;
}

/** `stop` of a Tuner: a stopper, a function, several, or thresholds: a trial ends when `result[key] >= threshold`. */
export type StopOption =
  | Stopper
  | ((trialId: string, result: Result) => boolean)
  | Readonly<Record<string, number>>
  | readonly StopOption[];

/** Ends a trial after so many reports. */
export class MaximumIterationStopper implements Stopper {
  readonly #max: number;
  readonly #counts = new Map<string, number>();

  constructor(maxIterations: number) {
    if (!(Number.isSafeInteger(maxIterations) && maxIterations > 0))
      throw new InvalidOptionError(`maxIterations must be a whole number >= 1, got ${maxIterations}`);
    this.#max = maxIterations;
  }

  shouldStop(trialId: string): boolean {
    const count = (this.#counts.get(trialId) ?? 0) + 1;
    this.#counts.set(trialId, count);
    return count >= this.#max;
  }
  shouldStopAll(): boolean {
    return false;
  }
  save(): unknown {
    return [...this.#counts];
  }
  restore(state: unknown): void {
    for (const [id, count] of state as [string, number][]) this.#counts.set(id, count);
  }
}

export interface TrialPlateauOptions {
  readonly metric: string;
  /** Ends a trial when the standard deviation of its last results is below this (default 0.01). */
  readonly std?: number;
  /** How many results are looked at (default 4). */
  readonly numResults?: number;
  /** Results before the first look (default 4). */
  readonly gracePeriod?: number;
  /** Only ends trials whose metric has got past this; needs `mode`. */
  readonly metricThreshold?: number;
  readonly mode?: Direction;
}

/** Ends a trial whose metric no longer moves. */
export class TrialPlateauStopper implements Stopper {
  readonly #options: Required<Omit<TrialPlateauOptions, "metricThreshold" | "mode">>;
  readonly #passes: (value: number) => boolean;
  readonly #seen = new Map<string, { count: number; tail: number[] }>();

  constructor(options: TrialPlateauOptions) {
    checkOptions<TrialPlateauOptions>("TrialPlateauStopper", options, {
      metric: text,
      std: positive,
      numResults: wholeFrom(2),
      gracePeriod: wholeFrom(0),
      metricThreshold: [isNumber, "a number"],
      mode: [isMode, '"min" or "max"'],
    });
    const { metric, std = 0.01, numResults = 4, gracePeriod = 4, metricThreshold, mode } = options;
    if (metricThreshold !== undefined && mode === undefined)
      throw new InvalidOptionError(
        "TrialPlateauStopper: metricThreshold needs mode, to know which side is better",
      );
    this.#options = { metric, std, numResults, gracePeriod };
    this.#passes = (value) =>
      metricThreshold === undefined || (mode === "max" ? value >= metricThreshold : value <= metricThreshold);
  }

  shouldStop(trialId: string, result: Result): boolean {
    const { metric, std, numResults, gracePeriod } = this.#options;
    const value = Number(valueAt(result, metric));
    const seen = this.#seen.get(trialId) ?? { count: 0, tail: [] };
    this.#seen.set(trialId, seen);
    seen.count += 1;
    seen.tail = [...seen.tail, value].slice(-numResults);
    if (seen.count < gracePeriod || seen.tail.length < numResults || !this.#passes(value)) return false;
    return deviation(seen.tail) < std;
  }
  shouldStopAll(): boolean {
    return false;
  }
  save(): unknown {
    return [...this.#seen];
  }
  restore(state: unknown): void {
    for (const [id, seen] of state as [string, { count: number; tail: number[] }][]) this.#seen.set(id, seen);
  }
}

export interface ExperimentPlateauOptions {
  readonly metric: string;
  /** The best results count as a plateau when their standard deviation is at most this (default 0.001). */
  readonly std?: number;
  /** How many of the best are looked at (default 10). */
  readonly top?: number;
  /** Default "min". */
  readonly mode?: Direction;
  /** Results in a row that the plateau must last (default 0). */
  readonly patience?: number;
}

/** Ends the experiment when its best results no longer get better. */
export class ExperimentPlateauStopper implements Stopper {
  readonly #options: Required<ExperimentPlateauOptions>;
  #best: number[] = [];
  #lasted = 0;
  #over = false;

  constructor(options: ExperimentPlateauOptions) {
    checkOptions<ExperimentPlateauOptions>("ExperimentPlateauStopper", options, {
      metric: text,
      std: positive,
      top: wholeFrom(2),
      mode: [isMode, '"min" or "max"'],
      patience: wholeFrom(0),
    });
    this.#options = { std: 0.001, top: 10, mode: "min", patience: 0, ...options };
  }

  shouldStop(_trialId: string, result: Result): boolean {
    const { metric, std, top, mode, patience } = this.#options;
    const value = Number(valueAt(result, metric));
    if (!Number.isNaN(value)) {
      this.#best = [...this.#best, value].sort((a, b) => (mode === "min" ? a - b : b - a)).slice(0, top);
    }
    const isFlat = this.#best.length === top && deviation(this.#best) <= std;
    this.#lasted = isFlat ? this.#lasted + 1 : 0;
    this.#over ||= isFlat && this.#lasted >= patience;
    return this.#over;
  }
  shouldStopAll(): boolean {
    return this.#over;
  }
  save(): unknown {
    return { best: this.#best, lasted: this.#lasted, over: this.#over };
  }
  restore(state: unknown): void {
    const saved = state as { best: number[]; lasted: number; over: boolean };
    this.#best = [...saved.best];
    this.#lasted = saved.lasted;
    this.#over = saved.over;
  }
}

/** Ends the experiment after so many seconds of running, time before a restore included. */
export class TimeoutStopper implements Stopper {
  readonly #seconds: number;

  constructor(seconds: number) {
    if (!isNumber(seconds) || seconds <= 0)
      throw new InvalidOptionError(`seconds must be a number > 0, got ${seconds}`);
    this.#seconds = seconds;
  }
  shouldStop(): boolean {
    return false;
  }
  shouldStopAll(elapsedSeconds: number): boolean {
    return elapsedSeconds >= this.#seconds;
  }
}

/** Stops when a function says so. */
export class FunctionStopper implements Stopper {
  readonly #decide: (trialId: string, result: Result) => boolean;

  constructor(decide: (trialId: string, result: Result) => boolean) {
    this.#decide = decide;
  }
  shouldStop(trialId: string, result: Result): boolean {
    return this.#decide(trialId, result);
  }
  shouldStopAll(): boolean {
    return false;
  }
}

/** Ends a trial when one of its metrics is at or above its threshold. */
class ThresholdStopper implements Stopper {
  readonly #thresholds: Readonly<Record<string, number>>;

  constructor(thresholds: Readonly<Record<string, number>>) {
    for (const [key, threshold] of Object.entries(thresholds)) {
      if (!isNumber(threshold))
        throw new InvalidOptionError(`stop.${key} must be a number, got ${String(threshold)}`);
    }
    this.#thresholds = thresholds;
  }

  shouldStop(trialId: string, result: Result): boolean {
    return Object.entries(this.#thresholds).some(([key, threshold]) => {
      const value = valueAt(result, key);
      if (value === undefined) {
        throw new InvalidOptionError(
          `stop names ${JSON.stringify(key)}, which trial ${trialId} did not report; it reported ${Object.keys(result).join(", ")}`,
        );
      }
      return Number(value) >= threshold;
    });
  }
  shouldStopAll(): boolean {
    return false;
  }
}

/** Stops when any of several does. */
export class CombinedStopper implements Stopper {
  readonly #stoppers: readonly Stopper[];

  constructor(...stoppers: Stopper[]) {
    this.#stoppers = stoppers;
  }

  /** All see every result, whichever stops first. */
  shouldStop(trialId: string, result: Result): boolean {
    return this.#stoppers.map((stopper) => stopper.shouldStop(trialId, result)).some(Boolean);
  }
  shouldStopAll(elapsedSeconds: number): boolean {
    return this.#stoppers.some((stopper) => stopper.shouldStopAll(elapsedSeconds));
  }
  save(): unknown {
    return this.#stoppers.map((stopper) => stopper.save?.() ?? null);
  }
  restore(state: unknown): void {
    (state as unknown[]).forEach((saved, i) => {
      if (saved !== null) this.#stoppers[i]?.restore?.(saved);
    });
  }
}

/** @throws InvalidOptionError for what says nothing of when to stop */
export function resolveStop(option: StopOption | undefined): Stopper {
  if (option === undefined) return new CombinedStopper();
  if (Array.isArray(option))
    return new CombinedStopper(...(option as readonly StopOption[]).map(resolveStop));
  if (typeof option === "function") return new FunctionStopper(option);
  if (typeof option !== "object" || option === null)
    throw new InvalidOptionError(
      "stop is an object of thresholds, a function, a Stopper or an array of these",
    );
  if (typeof (option as Stopper).shouldStop === "function") return option as Stopper;
  return new ThresholdStopper(option as Readonly<Record<string, number>>);
}

function isMode(value: unknown): boolean {
  return value === "min" || value === "max";
}

/** Population standard deviation. */
function deviation(values: readonly number[]): number {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}
