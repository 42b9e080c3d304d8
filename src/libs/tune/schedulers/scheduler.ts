/**
 * What a scheduler is: it sees every report and says whether the trial goes on, waits or ends.
 *
 * Schedulers are pure: no clock, no process, no file; events in, decisions out, the same for the same seed and order of
 * calls. The trial runner feeds them and carries out what they decide. `save` and `restore` make them durable.
 */
import { InvalidOptionError } from "../errors.ts";
import type { Config, Direction } from "../search/searcher.ts";

/** One report of a trial, as far as schedulers look at it. */
export interface TrialReport {
  readonly trialId: string;
  /** The scheduler's time attribute: by default the number of reports so far. */
  readonly time: number;
  /** The metric; NaN where the report has none that is a number. */
  readonly value: number;
  readonly config: Config;
  /** Whether some other trial waits for resources. */
  readonly othersWait: boolean;
  /** false: the report lacks the metric or the time (default true). */
  readonly isComplete?: boolean;
}

/** What one scheduler decides about the trial that just reported. */
export type Decision =
  | "continue"
  /** The trial writes a checkpoint and leaves its resources to others, until {@link Scheduler.chooseToRun} picks it. */
  | "pause"
  | "stop"
  /** The trial goes on, and writes a checkpoint first. */
  | "save"
  | Exploit
  | Reallocate;

/** The trial goes on from another trial's checkpoint with another configuration (population based training). */
export interface Exploit {
  readonly kind: "exploit";
  /** Whose latest checkpoint to load. */
  readonly source: string;
  readonly config: Config;
  /** Whether the trial waits afterwards, because others wait for resources. */
  readonly pause: boolean;
}

/** The trial goes on from its checkpoint with other resources. */
export interface Reallocate {
  readonly kind: "reallocate";
  readonly resources: Readonly<Record<string, number>>;
}

/** What is decided about a trial that waits. */
export type Order =
  | { readonly trialId: string; readonly kind: "stop" }
  | { readonly trialId: string; readonly kind: "exploit"; readonly source: string; readonly config: Config };

/** A trial that could run now. */
export interface Candidate {
  readonly trialId: string;
  readonly state: "pending" | "paused";
}

export interface SchedulerSetup {
  readonly metric: string;
  readonly mode: Direction;
  readonly seed: number;
}

/**
 * Early stopping, time sharing and population based training are schedulers. Calls come one at a time, and a trial's in
 * the order in which things happened to it. A scheduler of one's own implements this.
 */
export interface Scheduler {
  /** As the report and the terminal show it. */
  readonly name: string;
  /** The result key that tells time. */
  readonly timeAttribute: string;
  /** Whether a report that lacks metric or time attribute is an error (else it is passed over). */
  readonly requiresMetric: boolean;
  /** Whether trials must write checkpoints: what is paused goes on from its last one. */
  readonly needsCheckpoints: boolean;
  /** Whether configurations are changed during the search: such a scheduler does not go with a model-based searcher. */
  readonly changesConfig: boolean;
  /** Once, before anything else. */
  setup(setup: SchedulerSetup): void;
  /** @returns the configuration to start with, where it differs from the one that is given */
  onTrialAdd(trialId: string, config: Config): Config | undefined;
  onReport(report: TrialReport): Decision;
  /** The trial is over and its last report counts. */
  onComplete(trialId: string, last?: { readonly time: number; readonly value: number }): void;
  /** The trial is over and counts no more: it failed, or a stopper ended it without a report. */
  onRemove(trialId: string): void;
  /** What the last call decided about trials that wait; each order is given once. */
  takeOrders(): readonly Order[];
  /** Which of these runs next; undefined: none of them yet. */
  chooseToRun(candidates: readonly Candidate[]): string | undefined;
  /** Nothing runs and nothing can be started: what waits for trials that will not come must go on with what is there. */
  onStarved(): void;
  /** JSON-able state and back. */
  save(): unknown;
  restore(state: unknown): void;
  /** One line for the terminal. */
  describe(): string;
}

/** What most schedulers share: they look at values so that larger is better, and give no orders. */
export abstract class BaseScheduler implements Scheduler {
  abstract readonly name: string;
  readonly timeAttribute: string;
  readonly requiresMetric: boolean = true;
  readonly needsCheckpoints: boolean = false;
  readonly changesConfig: boolean = false;
  protected sign = 1;
  protected seed = 0;

  constructor(timeAttribute: string) {
    this.timeAttribute = timeAttribute;
  }

  setup({ mode, seed }: SchedulerSetup): void {
    this.sign = mode === "max" ? 1 : -1;
    this.seed = seed;
  }

  onTrialAdd(_trialId: string, _config: Config): Config | undefined {
    return undefined;
  }

  abstract onReport(report: TrialReport): Decision;

  onComplete(_trialId: string, _last?: { readonly time: number; readonly value: number }): void {}

  onRemove(_trialId: string): void {}

  takeOrders(): readonly Order[] {
    return [];
  }

  /** Trials that never ran first, then paused ones, each in the order they came. */
  chooseToRun(candidates: readonly Candidate[]): string | undefined {
    return (candidates.find(({ state }) => state === "pending") ?? candidates[0])?.trialId;
  }

  onStarved(): void {}

  abstract save(): unknown;
  abstract restore(state: unknown): void;

  describe(): string {
    return this.name;
  }
}

// ------------------------------------------------------------------------------------------------- checking options

type Checks<O> = { readonly [K in keyof O]-?: readonly [test: (value: unknown) => boolean, takes: string] };

/** @throws InvalidOptionError for an unknown option, or one that is out of range */
export function checkOptions<O extends object>(owner: string, given: O, checks: Checks<O>): void {
  for (const [name, value] of Object.entries(given)) {
    const check = (checks as Record<string, readonly [(value: unknown) => boolean, string]>)[name];
    if (check === undefined) {
      throw new InvalidOptionError(
        `${owner} has no option ${JSON.stringify(name)}; it has ${Object.keys(checks).join(", ")}`,
      );
    }
    if (value !== undefined && !check[0](value)) {
      throw new InvalidOptionError(`${owner}: ${name} must be ${check[1]}, got ${show(value)}`);
    }
  }
}

export const isNumber = (value: unknown): value is number =>
  typeof value === "number" && Number.isFinite(value);
export const positive = [(v: unknown) => isNumber(v) && v > 0, "a number > 0"] as const;
export const notNegative = [(v: unknown) => isNumber(v) && v >= 0, "a number >= 0"] as const;
export const wholeFrom = (min: number) =>
  [(v: unknown) => Number.isSafeInteger(v) && (v as number) >= min, `a whole number >= ${min}`] as const;
export const boolean = [(v: unknown) => typeof v === "boolean", "true or false"] as const;
export const text = [(v: unknown) => typeof v === "string" && v !== "", "a non-empty string"] as const;
export const aFunction = [(v: unknown) => typeof v === "function", "a function"] as const;

export function show(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return `the function ${value.name || "(anonymous)"}`;
  if (typeof value !== "object" || value === null) return String(value);
  try {
    return JSON.stringify(value).slice(0, 100);
  } catch {
    return Object.prototype.toString.call(value);
  }
}
