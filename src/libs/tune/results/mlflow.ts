/** MLflow's file store, `mlruns/` in the experiment's directory: `mlflow ui --backend-store-uri DIR/mlruns` shows it. */
import { createHash } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Callback, ExperimentInfo, TrialInfo } from "../tuner/callback.ts";
import type { Result } from "../tuner/experiment.ts";
import { flatten, flattenNumbers } from "./flatten.ts";

const RUNNING = 1;
const FINISHED = 3;
const FAILED = 4;

export class MLflowLogger implements Callback {
  readonly #root: string;
  #experimentId = "0";
  #name = "";

  constructor(experimentDirectory: string) {
    this.#root = join(experimentDirectory, "mlruns");
  }

  onExperimentStart({ header }: ExperimentInfo): void {
    this.#name = header.name;
    // Ids of the file store are decimal.
    this.#experimentId = String(createHash("sha1").update(header.name).digest().readUIntBE(0, 6));
    const directory = join(this.#root, this.#experimentId);
    if (existsSync(join(directory, "meta.yaml"))) return;
    mkdirSync(directory, { recursive: true });
    writeFileSync(
      join(directory, "meta.yaml"),
      yaml({
        artifact_location: `file://${directory}`,
        creation_time: header.createdAt,
        experiment_id: this.#experimentId,
        last_update_time: header.createdAt,
        lifecycle_stage: "active",
        name: header.name,
      }),
    );
  }

  onTrialStart(trial: TrialInfo): void {
    const run = this.#run(trial);
    for (const folder of ["metrics", "params", "tags", "artifacts"])
      mkdirSync(join(run, folder), { recursive: true });
    this.#meta(trial, RUNNING, undefined);
    for (const [name, value] of Object.entries(flatten(trial.config)))
      writeKey(run, "params", name, typeof value === "object" ? JSON.stringify(value) : String(value));
    writeKey(run, "tags", "mlflow.runName", trial.id);
    writeKey(run, "tags", "trial_id", trial.id);
  }

  onTrialResult(trial: TrialInfo, result: Result): void {
    const run = this.#run(trial);
    const now = Date.now();
    for (const [name, value] of Object.entries(flattenNumbers(result))) {
      const path = keyPath(run, "metrics", name);
      const line = `${now} ${value} ${Number(result.training_iteration)}\n`;
      try {
        appendFileSync(path, line);
      } catch {
        mkdirSync(dirname(path), { recursive: true });
        appendFileSync(path, line);
      }
    }
  }

  onTrialComplete(trial: TrialInfo): void {
    this.#meta(trial, FINISHED, Date.now());
  }

  onTrialError(trial: TrialInfo): void {
    this.#meta(trial, FAILED, Date.now());
  }

  #run(trial: TrialInfo): string {
    return join(this.#root, this.#experimentId, this.#runId(trial));
  }

  #runId({ id }: TrialInfo): string {
    return createHash("md5").update(`${this.#name}/${id}`).digest("hex");
  }

  #meta(trial: TrialInfo, status: number, endTime: number | undefined): void {
    const run = this.#run(trial);
    if (!existsSync(run)) return; // it ended before it began
    writeFileSync(
      join(run, "meta.yaml"),
      yaml({
        artifact_uri: `file://${join(run, "artifacts")}`,
        end_time: endTime ?? null,
        entry_point_name: "",
        experiment_id: this.#experimentId,
        lifecycle_stage: "active",
        run_id: this.#runId(trial),
        run_name: trial.id,
        run_uuid: this.#runId(trial),
        source_name: "",
        source_type: 4,
        source_version: "",
        start_time: Math.round(Date.now() - trial.timeTotal * 1000),
        status,
        tags: [],
        user_id: "tsray",
      }),
    );
  }
}

/** The store takes letters, digits, `_-. /` in names. */
function keyPath(run: string, folder: string, name: string): string {
  return join(run, folder, name.replace(/[^\w./ -]|\.\.+/g, "_"));
}

function writeKey(run: string, folder: string, name: string, value: string): void {
  const path = keyPath(run, folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, value);
}

/** Strings as JSON, which is YAML; ids too, so that they stay strings. */
function yaml(fields: Readonly<Record<string, unknown>>): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`)
    .join("");
}
