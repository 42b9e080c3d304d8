/**
 * Loggers: JSON lines, CSV, TensorBoard, MLflow's file store. One file (or folder) each per trial, opened at the first
 * report and closed with the trial, so that many trials hold few files open.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { Objective } from "../search/searcher.ts";
import type { Storage } from "../storage/storage.ts";
import type { Callback, TrialInfo } from "../tuner/callback.ts";
import type { Result } from "../tuner/experiment.ts";
import { header as csvHeader, csvLine } from "./csv.ts";
import { flatten, flattenNumbers } from "./flatten.ts";
import { HISTORY_FILE, toLine } from "./history.ts";
import { MLflowLogger } from "./mlflow.ts";
import { TensorBoardWriter } from "./tensorboard.ts";

export type LoggerName = "json" | "csv" | "tensorboard" | "mlflow";

export function makeLoggers(
  names: readonly LoggerName[],
  storage: Storage,
  objectives: readonly Objective[],
): Callback[] {
  const make: Readonly<Record<LoggerName, () => Callback>> = {
    json: () => new JsonLogger(),
    csv: () => new CsvLogger(),
    tensorboard: () => new TensorBoardLogger(objectives),
    mlflow: () => new MLflowLogger(storage.location),
  };
  return [...new Set(names)].map((name) => make[name]());
}

/** Something open per trial, closed when the trial waits or is over. */
abstract class PerTrialLogger<W> implements Callback {
  readonly #open = new Map<string, W>();

  protected abstract open(trial: TrialInfo): W;
  protected abstract write(writer: W, result: Result, trial: TrialInfo): void;
  protected abstract close(writer: W, trial: TrialInfo): void;

  onTrialResult(trial: TrialInfo, result: Result): void {
    let writer = this.#open.get(trial.id);
    if (writer === undefined) {
      mkdirSync(trial.path, { recursive: true });
      writer = this.open(trial);
      this.#open.set(trial.id, writer);
    }
    this.write(writer, result, trial);
  }

  onTrialStart(trial: TrialInfo): void {
    this.#close(trial);
  }
  onTrialChange(trial: TrialInfo): void {
    this.#close(trial);
  }
  onTrialComplete(trial: TrialInfo): void {
    this.#close(trial);
  }
  onTrialError(trial: TrialInfo): void {
    this.#close(trial);
  }
  onExperimentEnd(trials: readonly TrialInfo[]): void {
    for (const trial of trials) this.#close(trial);
  }

  #close(trial: TrialInfo): void {
    const writer = this.#open.get(trial.id);
    if (writer === undefined) return;
    this.#open.delete(trial.id);
    this.close(writer, trial);
  }
}

/** `params.json`, and `result.json` with one line per report. */
class JsonLogger extends PerTrialLogger<number> {
  protected open(trial: TrialInfo): number {
    writeFileSync(join(trial.path, "params.json"), toLine(trial.config));
    return openSync(join(trial.path, HISTORY_FILE), "a");
  }
  protected write(fd: number, result: Result): void {
    writeSync(fd, toLine(result));
  }
  protected close(fd: number): void {
    closeSync(fd);
  }
}

interface CsvFile {
  fd: number;
  readonly path: string;
  columns: string[];
}

/** `progress.csv`. A column that appears later is added: the file is written again with it. */
class CsvLogger extends PerTrialLogger<CsvFile> {
  protected open(trial: TrialInfo): CsvFile {
    const path = join(trial.path, "progress.csv");
    const columns = existsSync(path) ? csvHeader(readFileSync(path, "utf8")) : [];
    return { fd: openSync(path, "a"), path, columns };
  }

  protected write(file: CsvFile, result: Result): void {
    const flat = flatten(result);
    const added = Object.keys(flat).filter((name) => !file.columns.includes(name));
    if (added.length > 0) this.#widen(file, added);
    writeSync(file.fd, csvLine(file.columns.map((name) => flat[name])));
  }

  protected close({ fd }: CsvFile): void {
    closeSync(fd);
  }

  /** Rows that are there get empty cells at the end. */
  #widen(file: CsvFile, added: readonly string[]): void {
    const before = readFileSync(file.path, "utf8");
    const hadColumns = file.columns.length > 0;
    file.columns = [...file.columns, ...added];
    const rest = hadColumns ? widenRows(before.slice(before.indexOf("\n") + 1), added.length) : "";
    closeSync(file.fd);
    truncateSync(file.path, 0);
    file.fd = openSync(file.path, "a");
    writeSync(file.fd, csvLine(file.columns) + rest);
  }
}

/** Line ends within quotes do not end a row. */
function widenRows(text: string, count: number): string {
  let isQuoted = false;
  let widened = "";
  for (const character of text) {
    if (character === '"') isQuoted = !isQuoted;
    widened += character === "\n" && !isQuoted ? `${",".repeat(count)}\n` : character;
  }
  return widened;
}

/** Scalars by report as `ray/tune/<metric>`, so that boards made for Ray Tune fit; hyperparameters with the last metrics. */
class TensorBoardLogger extends PerTrialLogger<TensorBoardWriter> {
  readonly #objectives: readonly Objective[];

  constructor(objectives: readonly Objective[]) {
    super();
    this.#objectives = objectives;
  }

  protected open(trial: TrialInfo): TensorBoardWriter {
    return new TensorBoardWriter(trial.path);
  }
  protected write(writer: TensorBoardWriter, result: Result): void {
    const step = Number(result.timesteps_total ?? result.training_iteration);
    writer.scalars(step, prefixed(flattenNumbers(result)));
  }
  protected close(writer: TensorBoardWriter, trial: TrialInfo): void {
    if (trial.status === "TERMINATED" && trial.lastResult !== undefined) {
      writer.hyperparameters(
        flatten(trial.config),
        this.#objectives.map(({ metric }) => `ray/tune/${metric}`),
      );
    }
    writer.close();
  }
}

function prefixed(numbers: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(numbers).map(([name, value]) => [`ray/tune/${name}`, value]));
}
