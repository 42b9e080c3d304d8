/** A trial's reports as its `result.json` has them: one line each; what a restart made void is left out. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const HISTORY_FILE = "result.json";

type Report = Readonly<Record<string, unknown>>;

const NOT_FINITE: Readonly<Record<string, number>> = { NaN: Number.NaN, Infinity, "-Infinity": -Infinity };

/** JSON has no NaN: such numbers are written as strings. */
export function toLine(report: Report): string {
  return `${JSON.stringify(report, (_key, value: unknown) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : typeof value === "bigint" ? String(value) : value))}\n`;
}

export function readHistory(trialDirectory: string): Report[] {
  const file = join(trialDirectory, HISTORY_FILE);
  if (!existsSync(file)) return [];
  const reports: Report[] = [];
  for (const line of readFileSync(file, "utf8").split("\n")) {
    if (line === "") continue;
    let report: Report;
    try {
      report = JSON.parse(line, (_key, value: unknown) =>
        typeof value === "string" && Object.hasOwn(NOT_FINITE, value) ? NOT_FINITE[value] : value,
      ) as Report;
    } catch {
      continue; // a line that a crash cut off
    }
    // After a restart from a checkpoint the iterations behind it are made again.
    while (reports.length > 0 && iterationOf(reports.at(-1) as Report) >= iterationOf(report)) reports.pop();
    reports.push(report);
  }
  return reports;
}

function iterationOf(report: Report): number {
  return Number(report.training_iteration);
}
