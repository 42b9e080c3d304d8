/**
 * The state of an experiment and how events change it. Pure: the live run and the replay of the journal go through the
 * same `apply`, so what is restored is what was.
 */

import { flattenNumbers } from "../results/flatten.ts";
import type { Config, Direction } from "../search/searcher.ts";
import type { HostError, Metrics, SavedCheckpoint } from "./protocol.ts";
import type { Demand, Group, Resources } from "./resources.ts";

export type TrialStatus = "PENDING" | "RUNNING" | "PAUSED" | "TERMINATED" | "ERROR";

/** A report with what Tune adds to it: training_iteration, time_total_s and so on. */
export type Result = Readonly<Record<string, unknown>>;

/** What is kept of a metric, so that results need no history. */
export interface MetricStats {
  readonly count: number;
  readonly mean: number;
  readonly min: number;
  readonly max: number;
  /** The last ten, oldest first. */
  readonly tail: readonly number[];
}

export interface StoredCheckpoint {
  /** Relative to the experiment's directory. */
  readonly path: string;
  readonly iteration: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/** What to go on from. */
export interface ResumePoint {
  readonly path: string;
  readonly iteration: number;
}

export interface TrialState {
  readonly id: string;
  readonly status: TrialStatus;
  readonly config: Config;
  /** In all. */
  readonly resources: Resources;
  /** How they lie on the nodes, where the trial has a placement group. */
  readonly group?: Group;
  readonly iteration: number;
  readonly timeTotal: number;
  /** Of this life: since the last start from a checkpoint or from nothing. */
  readonly iterationsSinceRestore: number;
  readonly timeSinceRestore: number;
  readonly lastResult: Result | undefined;
  readonly metrics: Readonly<Record<string, MetricStats>>;
  readonly checkpoints: readonly StoredCheckpoint[];
  readonly nextCheckpoint: number;
  readonly failures: number;
  readonly error: HostError | undefined;
  /** Where the next start goes on from, if not from the latest checkpoint. */
  readonly resume: ResumePoint | undefined;
  /** How often it took over another trial. */
  readonly exploits: number;
  /** What was decided about its last report; "continue" before the first. */
  readonly verdict: Verdict;
  /** A stopper ended it, so that it could go on if there was more to do. */
  readonly byStopper: boolean;
  /** How often it was started: after a pause, a failure, a restore. */
  readonly lives: number;
}

export interface Header {
  readonly version: 1;
  readonly name: string;
  readonly trainable: string;
  readonly metrics: readonly string[];
  readonly modes: readonly Direction[];
  readonly seed: number;
  readonly numSamples: number;
  /** Paths of the space's parameters; undefined where a function defines them. */
  readonly parameters: readonly string[] | undefined;
  readonly searcher: string;
  readonly scheduler: string;
  readonly createdAt: number;
  /** How its driver was started: for `tsray tune resume`. */
  readonly command: {
    readonly script: string;
    readonly args: readonly string[];
    readonly execArgv: readonly string[];
    readonly cwd: string;
  };
}

export type Verdict = "continue" | "stop" | "pause" | "save" | "exploit" | "reallocate";

export type ExperimentEvent =
  | ({ readonly kind: "add"; readonly id: string; readonly config: Config } & Demand)
  | { readonly kind: "exhausted" }
  | { readonly kind: "start"; readonly id: string }
  | {
      readonly kind: "report";
      readonly id: string;
      readonly metrics: Metrics;
      readonly seconds: number;
      readonly pid: number;
      readonly hostname: string;
      readonly checkpoint?: SavedCheckpoint;
      /** ms since 1970 */
      readonly at: number;
      readonly othersWait: boolean;
      readonly verdict: Verdict;
      /** Whether a stopper, not the scheduler, ended it. */
      readonly byStopper?: boolean;
      /** ms that the experiment has run */
      readonly elapsed: number;
    }
  | { readonly kind: "saved"; readonly id: string; readonly checkpoint: SavedCheckpoint }
  | { readonly kind: "pause"; readonly id: string }
  | {
      readonly kind: "end";
      readonly id: string;
      readonly status: "TERMINATED" | "ERROR";
      readonly error?: HostError;
    }
  | { readonly kind: "retry"; readonly id: string; readonly error: HostError }
  | {
      readonly kind: "exploit";
      readonly id: string;
      readonly source: string;
      readonly config: Config;
      readonly resume: ResumePoint;
    }
  | { readonly kind: "reallocate"; readonly id: string; readonly resources: Resources }
  | { readonly kind: "drop"; readonly id: string; readonly path: string }
  /** Goes again from the start or the last checkpoint, as `Tuner.restore` was asked to. */
  | { readonly kind: "reopen"; readonly id: string; readonly fromScratch: boolean };

export const TRIAL_FOLDER = "trials";

export function trialPath(id: string): string {
  return `${TRIAL_FOLDER}/${id}`;
}

export class Experiment {
  readonly header: Header;
  readonly trials = new Map<string, TrialState>();
  /** Of each status, in the order in which trials came to it. */
  readonly byStatus: Readonly<Record<TrialStatus, Set<string>>> = {
    PENDING: new Set(),
    RUNNING: new Set(),
    PAUSED: new Set(),
    TERMINATED: new Set(),
    ERROR: new Set(),
  };
  /** Checkpoints that are given up, and may still be on the storage. */
  readonly doomed = new Set<string>();
  exhausted = false;
  elapsed = 0;

  constructor(header: Header) {
    this.header = header;
  }

  static fromSnapshot(snapshot: ReturnType<Experiment["snapshot"]>): Experiment {
    const experiment = new Experiment(snapshot.header);
    experiment.exhausted = snapshot.exhausted;
    experiment.elapsed = snapshot.elapsed;
    for (const trial of snapshot.trials) experiment.#put({ ...trial });
    for (const path of snapshot.doomed ?? []) experiment.doomed.add(path);
    return experiment;
  }

  snapshot() {
    return {
      header: this.header,
      exhausted: this.exhausted,
      elapsed: this.elapsed,
      trials: [...this.trials.values()],
      doomed: [...this.doomed],
    };
  }

  get(id: string): TrialState {
    const trial = this.trials.get(id);
    if (trial === undefined) throw new Error(`the experiment has no trial ${id}`);
    return trial;
  }

  apply(event: ExperimentEvent): void {
    if (event.kind === "exhausted") this.exhausted = true;
    else if (event.kind === "add") this.#put(newTrial(event));
    else this.#put(next(this.get(event.id), event));
    if (event.kind === "report") this.elapsed = event.elapsed;
    if (event.kind === "drop") this.doomed.add(event.path);
  }

  #put(trial: TrialState): void {
    const before = this.trials.get(trial.id)?.status;
    if (before !== trial.status) {
      if (before !== undefined) this.byStatus[before].delete(trial.id);
      this.byStatus[trial.status].add(trial.id);
    }
    this.trials.set(trial.id, trial);
  }
}

function newTrial({ id, config, resources, group }: Extract<ExperimentEvent, { kind: "add" }>): TrialState {
  return {
    id,
    status: "PENDING",
    config,
    resources,
    ...(group === undefined ? {} : { group }),
    iteration: 0,
    timeTotal: 0,
    iterationsSinceRestore: 0,
    timeSinceRestore: 0,
    lastResult: undefined,
    metrics: {},
    checkpoints: [],
    nextCheckpoint: 0,
    failures: 0,
    error: undefined,
    resume: undefined,
    exploits: 0,
    verdict: "continue",
    byStopper: false,
    lives: 0,
  };
}

function next(trial: TrialState, event: Exclude<ExperimentEvent, { kind: "add" | "exhausted" }>): TrialState {
  switch (event.kind) {
    case "start": {
      const from = resumePointOf(trial);
      return {
        ...trial,
        status: "RUNNING",
        iteration: from?.iteration ?? 0,
        iterationsSinceRestore: 0,
        timeSinceRestore: 0,
        verdict: "continue",
        lives: trial.lives + 1,
      };
    }
    case "report":
      return afterReport(trial, event);
    case "saved":
      return withCheckpoint(trial, event.checkpoint);
    case "pause":
      return { ...trial, status: "PAUSED" };
    case "end":
      return { ...trial, status: event.status, error: event.error };
    case "retry":
      return { ...trial, status: "PENDING", failures: trial.failures + 1, error: event.error };
    case "exploit":
      return { ...trial, config: event.config, resume: event.resume, exploits: trial.exploits + 1 };
    case "reallocate":
      return { ...trial, resources: event.resources };
    case "drop":
      return { ...trial, checkpoints: trial.checkpoints.filter(({ path }) => path !== event.path) };
    case "reopen": {
      const reopened: TrialState = {
        ...trial,
        status: "PENDING",
        error: undefined,
        verdict: "continue",
        failures: 0,
      };
      if (!event.fromScratch) return reopened;
      return {
        ...newTrial({ ...trial, kind: "add" }),
        nextCheckpoint: trial.nextCheckpoint,
        lives: trial.lives,
      };
    }
  }
}

/** Where a trial goes on when it starts again; undefined: at the beginning. */
export function resumePointOf({ resume, checkpoints }: TrialState): ResumePoint | undefined {
  const latest = checkpoints.at(-1);
  return resume ?? (latest === undefined ? undefined : { path: latest.path, iteration: latest.iteration });
}

/** The trial after that report, which has not been judged yet where `verdict` is "continue". */
export function afterReport(
  trial: TrialState,
  event: Extract<ExperimentEvent, { kind: "report" }>,
): TrialState {
  const iteration = trial.iteration + 1;
  const iterationsSinceRestore = trial.iterationsSinceRestore + 1;
  const timeTotal = trial.timeTotal + event.seconds;
  const timeSinceRestore = trial.timeSinceRestore + event.seconds;
  const numbers = flattenNumbers(event.metrics);
  const metrics: Record<string, MetricStats> = { ...trial.metrics };
  for (const [name, value] of Object.entries(numbers)) metrics[name] = addTo(metrics[name], value);
  const reported: TrialState = {
    ...trial,
    iteration,
    iterationsSinceRestore,
    timeTotal,
    timeSinceRestore,
    metrics,
    verdict: event.verdict,
    byStopper: event.byStopper === true,
    lastResult: {
      ...event.metrics,
      training_iteration: iteration,
      time_this_iter_s: event.seconds,
      time_total_s: timeTotal,
      iterations_since_restore: iterationsSinceRestore,
      time_since_restore: timeSinceRestore,
      timestamp: Math.floor(event.at / 1000),
      trial_id: trial.id,
      pid: event.pid,
      hostname: event.hostname,
      done: event.verdict === "stop" || event.metrics.done === true,
    },
  };
  return event.checkpoint === undefined ? reported : withCheckpoint(reported, event.checkpoint);
}

function withCheckpoint(trial: TrialState, { name, iteration }: SavedCheckpoint): TrialState {
  const stored: StoredCheckpoint = {
    path: `${trialPath(trial.id)}/${name}`,
    iteration,
    metrics: trial.lastResult === undefined ? {} : flattenNumbers(trial.lastResult),
  };
  return {
    ...trial,
    checkpoints: [...trial.checkpoints, stored],
    nextCheckpoint: Number(name.slice(name.lastIndexOf("_") + 1)) + 1,
    resume: undefined,
  };
}

const TAIL = 10;

function addTo(stats: MetricStats | undefined, value: number): MetricStats {
  if (stats === undefined) return { count: 1, mean: value, min: value, max: value, tail: [value] };
  const count = stats.count + 1;
  return {
    count,
    mean: stats.mean + (value - stats.mean) / count,
    // NaN never replaces a number, and a number always replaces NaN.
    min: Number.isNaN(stats.min) || value < stats.min ? value : stats.min,
    max: Number.isNaN(stats.max) || value > stats.max ? value : stats.max,
    tail: [...stats.tail.slice(1 - TAIL), value],
  };
}
