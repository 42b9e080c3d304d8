/**
 * What the terminal shows while an experiment runs: on a terminal a table that is redrawn in place, elsewhere a line now
 * and then. Verbosity 0 prints nothing at all.
 */
import { join } from "node:path";
import { InvalidOptionError } from "../errors.ts";
import { boolean, checkOptions, wholeFrom } from "../schedulers/scheduler.ts";
import type { Objective } from "../search/searcher.ts";
import type { Callback, TrialInfo } from "../tuner/callback.ts";
import type { Experiment, Result } from "../tuner/experiment.ts";
import type { Resources } from "../tuner/resources.ts";
import { LiveArea } from "./live-area.ts";
import { bestText, countsText, duration, show, trialTable } from "./table.ts";

export interface ProgressSettings {
  /** 0: nothing; 1: status (default); 2: a line per trial that ends; 3: a line per report. */
  readonly verbosity?: 0 | 1 | 2 | 3;
  /** Rows of the table (default 12). */
  readonly maxRows?: number;
  /** Metrics to show (default: the objectives, iterations and time). */
  readonly metricColumns?: readonly string[];
  /** Parameters to show (default: the first six). */
  readonly parameterColumns?: readonly string[];
  /** Redraw in place (default: on a terminal). */
  readonly live?: boolean;
}

/** false and `{ verbosity: 0 }` are silent. */
export type ProgressOption = boolean | ProgressSettings;

export interface RunView {
  readonly elapsedMs: number;
  readonly usedResources: Resources;
  readonly clusterResources: Resources;
}

const REDRAW_MS = 200;
const HEARTBEAT_MS = 30_000;

/** @throws InvalidOptionError */
export function makeProgress(option: ProgressOption | undefined, objectives: readonly Objective[]): Progress {
  const settings: ProgressSettings =
    option === undefined || option === true ? {} : option === false ? { verbosity: 0 } : option;
  if (typeof settings !== "object" || settings === null)
    throw new InvalidOptionError("progress is true, false or { verbosity, maxRows, ... }");
  const isNames = (v: unknown) => Array.isArray(v) && v.every((each) => typeof each === "string");
  checkOptions<ProgressSettings>("progress", settings, {
    verbosity: [(v) => [0, 1, 2, 3].includes(v as number), "0, 1, 2 or 3"],
    maxRows: wholeFrom(1),
    metricColumns: [isNames, "an array of names"],
    parameterColumns: [isNames, "an array of names"],
    live: boolean,
  });
  return new Progress(settings, objectives);
}

export class Progress implements Callback {
  readonly #verbosity: number;
  readonly #settings: ProgressSettings;
  readonly #objectives: readonly Objective[];
  readonly #area: LiveArea | undefined;
  #experiment: Experiment | undefined;
  #run: RunView | undefined;
  #describe: () => string = () => "";
  #location = "";
  #total = Infinity;
  #timer: NodeJS.Timeout | undefined;
  #finishedBefore = 0;

  constructor(settings: ProgressSettings, objectives: readonly Objective[]) {
    this.#settings = settings;
    this.#objectives = objectives;
    this.#verbosity = settings.verbosity ?? 1;
    const isLive = settings.live ?? process.stdout.isTTY === true;
    this.#area = isLive && this.#verbosity > 0 ? new LiveArea(process.stdout) : undefined;
  }

  watch(
    experiment: Experiment,
    run: RunView,
    study: { readonly scheduler: { describe(): string }; readonly searcher: object },
    location: string,
    /** How many trials there will be; Infinity where nobody knows. */
    total: number,
  ): void {
    this.#experiment = experiment;
    this.#run = run;
    this.#location = location;
    this.#describe = () => study.scheduler.describe();
    this.#total = total;
    this.#finishedBefore = this.#finished();
  }

  onExperimentStart(): void {
    if (this.#verbosity === 0) return;
    this.#print(`experiment ${this.#location}`);
    this.#timer = setInterval(
      () => (this.#area === undefined ? this.#print(this.#line()) : this.#area.show(this.#screen())),
      this.#area === undefined ? HEARTBEAT_MS : REDRAW_MS,
    );
    this.#timer.unref();
  }

  onTrialResult(trial: TrialInfo, result: Result): void {
    if (this.#verbosity < 3) return;
    const values = Object.entries(result).map(([name, value]) => `${name}=${show(value)}`);
    this.#print(`trial ${trial.id}: ${values.join(" ")}`);
  }

  onTrialComplete(trial: TrialInfo): void {
    if (this.#verbosity < 2) return;
    const values = this.#objectives.map(({ metric }) => `${metric} ${show(trial.lastResult?.[metric])}`);
    this.#print(
      `trial ${trial.id} ended after ${trial.iteration} reports${values.length > 0 ? `: ${values.join(", ")}` : ""}`,
    );
  }

  onTrialError(trial: TrialInfo, error: Error): void {
    if (this.#verbosity === 0) return;
    this.#print(
      `trial ${trial.id} failed: ${error.name}: ${error.message.split("\n")[0]} (see ${join(trial.path, "error.txt")})`,
    );
  }

  warn(text: string): void {
    if (this.#verbosity > 0) this.#print(`tune: ${text}`);
  }

  onExperimentEnd(): void {
    clearInterval(this.#timer);
    if (this.#verbosity === 0 || this.#experiment === undefined) return;
    this.#area?.show(this.#screen());
    this.#area?.end();
    if (this.#area === undefined) this.#print(this.#line());
    const best = bestText(this.#experiment, this.#objectives[0]);
    if (best !== undefined && this.#area === undefined) this.#print(best);
  }

  #print(text: string): void {
    process.stdout.write(`${text}\n`);
  }

  #finished(): number {
    const { TERMINATED, ERROR } = (this.#experiment as Experiment).byStatus;
    return TERMINATED.size + ERROR.size;
  }

  #line(): string {
    const experiment = this.#experiment as Experiment;
    const eta = this.#eta();
    return `${countsText(experiment, this.#total)}, ${duration((this.#run?.elapsedMs ?? 0) / 1000)}${eta === "" ? "" : `, ${eta}`}`;
  }

  #eta(): string {
    const finished = this.#finished() - this.#finishedBefore;
    const left = this.#total - this.#finished();
    if (finished < 2 || !Number.isFinite(left) || left <= 0) return "";
    return `about ${duration((((this.#run?.elapsedMs ?? 0) / finished) * left) / 1000)} left`;
  }

  #screen(): string[] {
    const experiment = this.#experiment as Experiment;
    const width = process.stdout.columns ?? 100;
    const height = process.stdout.rows ?? 24;
    const { usedResources = {}, clusterResources = {} } = this.#run ?? {};
    const used = ["CPU", "GPU"]
      .filter((name) => (clusterResources[name] ?? 0) > 0)
      .map((name) => `${show(usedResources[name] ?? 0)}/${show(clusterResources[name])} ${name}`)
      .join(", ");
    const head = [
      this.#line(),
      `${used}; ${this.#describe()}`,
      bestText(experiment, this.#objectives[0]) ?? "",
    ];
    const settings = {
      maxRows: Math.max(1, Math.min(this.#settings.maxRows ?? 12, height - 7)),
      metricColumns: this.#settings.metricColumns,
      parameterColumns: this.#settings.parameterColumns,
    };
    return [
      ...head.filter((text) => text !== ""),
      "",
      ...trialTable(experiment, this.#objectives, settings, width),
    ].map((text) => text.slice(0, width - 1));
  }
}
