/**
 * A report of the experiment as one HTML file that needs nothing else: history, learning curves, slices, parallel coordinates,
 * parameter importances, Pareto front, the table of trials. This file makes the data; `html-page.ts` shows them.
 */
import { join } from "node:path";
import { paretoFront } from "../search/pareto.ts";
import type { Storage } from "../storage/storage.ts";
import { type Experiment, type TrialState, trialPath } from "../tuner/experiment.ts";
import { flatten, valueAt } from "./flatten.ts";
import { readHistory } from "./history.ts";
import { pageOf, type ReportData, type ReportTrial } from "./html-page.ts";
import { importances } from "./importance.ts";

export const REPORT_FILE = "report.html";

const TRIALS_MAX = 2000;
const CURVES_MAX = 100;
const POINTS_MAX = 200;

/** Writes `report.html` into the experiment's directory. */
export function writeHtmlReport(experiment: Experiment, storage: Storage): void {
  storage.writeText(REPORT_FILE, pageOf(reportData(experiment, storage.location)));
}

export function reportData(experiment: Experiment, location: string): ReportData {
  const { header } = experiment;
  const metrics = header.metrics.length > 0 ? header.metrics : ["_metric"];
  const all = [...experiment.trials.values()];
  const shown = best(all, metrics[0] as string, header.modes[0] ?? "max", TRIALS_MAX);
  const points = shown.map((trial) => metrics.map((metric) => numberOf(trial, metric)));
  const pareto = new Set(header.metrics.length > 1 ? paretoFront(points, header.modes) : []);
  const trials = shown.map(
    (trial, i): ReportTrial => ({
      id: trial.id,
      status: trial.status,
      config: flatten(trial.config),
      values: (points[i] as number[]).map((value) => (Number.isFinite(value) ? value : null)),
      iterations: trial.iteration,
      seconds: trial.timeTotal,
      error: trial.status === "ERROR" ? trial.error?.message : undefined,
      isPareto: pareto.has(i),
    }),
  );
  const curves = shown
    .slice(0, CURVES_MAX)
    .map(({ id }) => ({ id, points: curveOf(join(location, trialPath(id)), metrics[0] as string) }))
    .filter(({ points: line }) => line.length > 0);
  return {
    name: header.name,
    metrics,
    modes: header.modes,
    summary: [
      ["trainable", header.trainable],
      ["searcher", header.searcher],
      ["scheduler", header.scheduler],
      ["seed", String(header.seed)],
      ["trials", String(all.length)],
      ["failed", String(experiment.byStatus.ERROR.size)],
      ["run time", `${(experiment.elapsed / 1000).toFixed(1)} s`],
    ],
    trials,
    curves,
    importances: importances(
      trials.map(({ config }) => config),
      trials.map(({ values }) => values[0] ?? Number.NaN),
    ),
    total: all.length,
  };
}

/** Best first; those without a value last. */
function best(trials: readonly TrialState[], metric: string, mode: string, count: number): TrialState[] {
  const score = (trial: TrialState) => {
    const value = numberOf(trial, metric);
    return Number.isNaN(value) ? -Infinity : mode === "max" ? value : -value;
  };
  return trials
    .map((trial) => [score(trial), trial] as const)
    .sort(([a], [b]) => (a === b ? 0 : b - a))
    .slice(0, count)
    .map(([, trial]) => trial);
}

function numberOf(trial: TrialState, metric: string): number {
  const value = valueAt(trial.lastResult ?? {}, metric);
  return typeof value === "number" ? value : Number.NaN;
}

function curveOf(directory: string, metric: string): (readonly [number, number])[] {
  const points = readHistory(directory)
    .map((report) => [Number(report.training_iteration), valueAt(report, metric)] as const)
    .filter(
      (point): point is readonly [number, number] =>
        typeof point[1] === "number" && Number.isFinite(point[1]),
    );
  const stride = Math.ceil(points.length / POINTS_MAX);
  return points.filter((_, i) => i % stride === 0 || i === points.length - 1);
}
