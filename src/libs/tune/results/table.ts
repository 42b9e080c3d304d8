/** Text tables of trials, as the terminal and `tsray tune show` print them. Pure. */
import type { Objective } from "../search/searcher.ts";
import type { Experiment, TrialState, TrialStatus } from "../tuner/experiment.ts";
import { flatten, valueAt } from "./flatten.ts";

export interface TableSettings {
  readonly maxRows: number;
  /** Metrics to show (default: the objectives, iterations and time). */
  readonly metricColumns: readonly string[] | undefined;
  /** Parameters to show (default: all that fit). */
  readonly parameterColumns: readonly string[] | undefined;
}

const STATUS_ORDER: readonly TrialStatus[] = ["RUNNING", "PAUSED", "PENDING", "ERROR", "TERMINATED"];
const AUTO_PARAMETERS = 6;

const SHORT: Readonly<Record<string, string>> = {
  training_iteration: "iter",
  time_total_s: "time (s)",
  mean_accuracy: "acc",
  mean_loss: "loss",
};

/** "12/40 (9 terminated, 2 running, 1 pending)" */
export function countsText(experiment: Experiment, total: number): string {
  const { byStatus, trials } = experiment;
  const parts = STATUS_ORDER.filter((status) => byStatus[status].size > 0).map(
    (status) => `${byStatus[status].size} ${status.toLowerCase()}`,
  );
  return `${trials.size}${Number.isFinite(total) ? `/${total}` : ""} trials (${parts.join(", ") || "none yet"})`;
}

/** How many rows each status gets: as many each, and what one does not use goes to the others. */
export function fairShares(sizes: readonly number[], rows: number): number[] {
  const shares = sizes.map(() => 0);
  let left = Math.min(
    rows,
    sizes.reduce((a, b) => a + b, 0),
  );
  while (left > 0) {
    const open = sizes.map((_, i) => i).filter((i) => (shares[i] as number) < (sizes[i] as number));
    const each = Math.max(1, Math.floor(left / open.length));
    // What does not divide goes to the last, which are the fuller ones as a rule.
    const receivers = left < open.length ? open.slice(-left) : open;
    for (const i of receivers) {
      const more = Math.min(each, (sizes[i] as number) - (shares[i] as number), left);
      shares[i] = (shares[i] as number) + more;
      left -= more;
    }
  }
  return shares;
}

/** The trials to show: of every status some, the best first. */
export function chooseRows(
  experiment: Experiment,
  objective: Objective | undefined,
  rows: number,
): TrialState[] {
  const groups = STATUS_ORDER.map((status) => experiment.byStatus[status]);
  const shares = fairShares(
    groups.map(({ size }) => size),
    rows,
  );
  return groups.flatMap((group, i) => topOf(group, experiment, objective, shares[i] as number));
}

function topOf(
  ids: ReadonlySet<string>,
  experiment: Experiment,
  objective: Objective | undefined,
  count: number,
): TrialState[] {
  if (count === 0) return [];
  const trials = [...ids].map((id) => experiment.get(id));
  if (objective === undefined) return trials.slice(0, count);
  const { metric, direction } = objective;
  const score = (trial: TrialState) => {
    const value = valueAt(trial.lastResult ?? {}, metric);
    if (typeof value !== "number" || Number.isNaN(value)) return -Infinity;
    return direction === "max" ? value : -value;
  };
  return trials
    .map((trial) => [score(trial), trial] as const)
    .sort(([a], [b]) => (a === b ? 0 : b - a))
    .slice(0, count)
    .map(([, trial]) => trial);
}

/** Lines of a table, with a line about what is not shown. */
export function trialTable(
  experiment: Experiment,
  objectives: readonly Objective[],
  settings: TableSettings,
  width: number,
): string[] {
  const rows = chooseRows(experiment, objectives[0], settings.maxRows);
  if (rows.length === 0) return [];
  const metrics = settings.metricColumns ?? [
    ...objectives.map(({ metric }) => metric),
    "training_iteration",
    "time_total_s",
  ];
  const configs = rows.map(({ config }) => flatten(config));
  const parameters =
    settings.parameterColumns ??
    [...new Set(configs.flatMap((config) => Object.keys(config)))].slice(0, AUTO_PARAMETERS);
  const titles = ["trial", "status", ...parameters, ...metrics.map((name) => SHORT[name] ?? name)];
  const cells = rows.map((trial, i) => [
    trial.id,
    trial.status,
    ...parameters.map((name) => show((configs[i] as Record<string, unknown>)[name])),
    ...metrics.map((name) => show(valueAt(trial.lastResult ?? {}, name))),
  ]);
  const lines = alignColumns([titles, ...cells]).map((line) => line.slice(0, width));
  const hidden = experiment.trials.size - rows.length;
  return hidden > 0 ? [...lines, `... ${hidden} more trials`] : lines;
}

/** Columns as wide as their widest cell; numbers to the right. */
export function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const count = rows[0]?.length ?? 0;
  const widths = Array.from({ length: count }, (_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  const isNumber = widths.map((_, column) =>
    rows.slice(1).every((row) => /^(-?[\d.]+(e[+-]?\d+)?|)$/.test(row[column] ?? "")),
  );
  return rows.map((row) =>
    row
      .map((text, column) =>
        isNumber[column] ? text.padStart(widths[column] as number) : text.padEnd(widths[column] as number),
      )
      .join("  ")
      .trimEnd(),
  );
}

/** The best trial so far by its last report. */
export function bestTrial(experiment: Experiment, objective: Objective | undefined): TrialState | undefined {
  if (objective === undefined) return undefined;
  let best: TrialState | undefined;
  let bestValue = Number.NaN;
  for (const trial of experiment.trials.values()) {
    const value = valueAt(trial.lastResult ?? {}, objective.metric);
    if (typeof value !== "number" || Number.isNaN(value)) continue;
    if (best === undefined || (objective.direction === "max" ? value > bestValue : value < bestValue)) {
      best = trial;
      bestValue = value;
    }
  }
  return best;
}

export function bestText(experiment: Experiment, objective: Objective | undefined): string | undefined {
  const best = bestTrial(experiment, objective);
  if (best === undefined || objective === undefined) return undefined;
  const parameters = Object.entries(flatten(best.config)).map(([name, value]) => `${name}=${show(value)}`);
  const value = show(valueAt(best.lastResult ?? {}, objective.metric));
  return `best: ${objective.metric} ${value} by trial ${best.id}${parameters.length > 0 ? `, ${parameters.join(" ")}` : ""}`;
}

export function show(value: unknown): string {
  if (typeof value === "number")
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
  if (value === undefined || value === null) return "";
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return text.replace(/\p{Cc}+/gu, " ").slice(0, 40);
}

/** "1 h 02 min", "3 min 05 s", "12.3 s" */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}
