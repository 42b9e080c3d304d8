/**
 * The actor that trials run in, one after the other. It runs the trainable, keeps its reports until the runner asks, and
 * holds the trainable back until the runner has decided. It decides nothing itself.
 */
import { readdirSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { get, type ObjectRef, remote } from "../../../index.ts";
import { InvalidOptionError } from "../errors.ts";
import type { Config } from "../search/searcher.ts";
import { LocalStorage } from "../storage/storage.ts";
import { Checkpoint, makeSavingDirectory, removeUnsaved, withDirectoryOf } from "./checkpoint.ts";
import type {
  Answer,
  Command,
  HostError,
  HostEvent,
  HostReport,
  Metrics,
  SavedCheckpoint,
  TrialStart,
} from "./protocol.ts";
import { type ReportOptions, setSession, type TrialSession, TrialStopped } from "./session.ts";
import {
  type ClassTrainable,
  contentOf,
  isClassTrainable,
  type TrainableClass,
  type TrainableFunction,
} from "./trainable.ts";

/** Reports that a trainable may have made without awaiting any. */
const UNANSWERED_MAX = 10_000;

const PLACE = { pid: process.pid, hostname: hostname() };

/** Public methods are the actor's; see {@link Command} and {@link HostEvent}. */
export class TrialHost {
  readonly #trainable: unknown;
  readonly #parameterRefs: Readonly<Record<string, ObjectRef<unknown>>>;
  #parameters: Readonly<Record<string, unknown>> | undefined;
  #trial: RunningTrial | undefined;
  /** A class instance that may serve the next trial too. */
  #kept: ClassTrainable | undefined;

  constructor(trainable: unknown, parameters: Readonly<Record<string, ObjectRef<unknown>>>) {
    this.#trainable = trainable;
    this.#parameterRefs = parameters;
  }

  async exchange(command: Command): Promise<HostEvent> {
    if (command.kind === "start") {
      const reset = await this.#prepareInstance(command.start);
      if (!reset) return { kind: "cannot-reuse" };
      this.#begin(command.start);
    } else this.#trial?.answer(command.answer);
    if (this.#trial === undefined) throw new InvalidOptionError("no trial runs here");
    const event = await this.#trial.nextEvent();
    if (event.kind === "ended") {
      this.#trial = undefined;
      setSession(undefined);
    }
    return event;
  }

  /** The trial is to end at its next report; its signal is aborted. */
  interrupt(): void {
    this.#trial?.interrupt();
  }

  /** Ends the instance that was kept. */
  async dispose(): Promise<void> {
    await this.#kept?.cleanup?.();
    this.#kept = undefined;
  }

  async #prepareInstance(start: TrialStart): Promise<boolean> {
    const kept = this.#kept;
    if (kept === undefined) return true;
    if (start.reuse && kept.resetConfig !== undefined) {
      if (await kept.resetConfig(start.config)) return true;
      await this.dispose();
      return false;
    }
    await this.dispose();
    return true;
  }

  #begin(start: TrialStart): void {
    const trial = new RunningTrial(start);
    this.#trial = trial;
    setSession(trial);
    void this.#run(trial, start).then(
      (last) => trial.end(last, undefined),
      (error: unknown) => trial.end(undefined, error),
    );
  }

  async #run(trial: RunningTrial, start: TrialStart): Promise<SavedCheckpoint | undefined> {
    this.#parameters ??= await resolveParameters(this.#parameterRefs);
    await trial.open();
    if (isClassTrainable(this.#trainable)) return this.#runClass(this.#trainable, trial, start);
    const result: unknown = await (this.#trainable as TrainableFunction<Config, unknown>)(
      start.config,
      this.#parameters,
    );
    if (isIterable(result))
      for await (const metrics of result) await trial.report(checkMetrics(metrics, "yielded"));
    else if (typeof result === "number") trial.submit({ _metric: result }, undefined);
    else if (result !== undefined) trial.submit(checkMetrics(result, "returned"), undefined);
    return undefined;
  }

  async #runClass(
    Class: TrainableClass,
    trial: RunningTrial,
    start: TrialStart,
  ): Promise<SavedCheckpoint | undefined> {
    let instance = this.#kept;
    this.#kept = undefined;
    if (instance === undefined) {
      instance = new Class();
      await instance.setup?.(start.config, this.#parameters);
    }
    let isSound = false;
    try {
      if (trial.checkpoint !== undefined) {
        if (instance.loadCheckpoint === undefined)
          throw new InvalidOptionError(`${Class.name} must have loadCheckpoint() to go on from a checkpoint`);
        await instance.loadCheckpoint(contentOf(trial.checkpoint));
      }
      const last = await runSteps(instance, trial, start);
      isSound = true;
      return last;
    } finally {
      if (isSound && start.reuse && instance.resetConfig !== undefined) this.#kept = instance;
      else await instance.cleanup?.();
    }
  }
}

/** Steps until something says that it is enough. */
async function runSteps(
  instance: ClassTrainable,
  trial: RunningTrial,
  start: TrialStart,
): Promise<SavedCheckpoint | undefined> {
  let savedAt = -1;
  const save = async (): Promise<SavedCheckpoint | undefined> => {
    if (instance.saveCheckpoint === undefined || savedAt === trial.iteration) return undefined;
    savedAt = trial.iteration;
    return saveInstance(instance, trial);
  };
  for (;;) {
    const { shouldCheckpoint, ...metrics } = checkMetrics(await instance.step(), "step() returned") as Record<
      string,
      unknown
    >;
    trial.iteration += 1;
    const { checkpointFrequency, checkpointAtEnd } = start;
    const isDue = checkpointFrequency > 0 && trial.iteration % checkpointFrequency === 0;
    const isLast = metrics.done === true;
    const checkpoint =
      isDue || shouldCheckpoint === true || (isLast && checkpointAtEnd) ? await save() : undefined;
    const answer = trial.submit(metrics, checkpoint);
    if (isLast) return undefined;
    switch (await answer) {
      case "save":
        trial.saved(await save());
        if ((await trial.answered()) !== "continue") return undefined;
        break;
      case "pause":
        return save();
      case "stop":
        return checkpointAtEnd ? save() : undefined;
      case "continue":
        break;
    }
  }
}

async function saveInstance(instance: ClassTrainable, trial: RunningTrial): Promise<SavedCheckpoint> {
  const directory = makeSavingDirectory(trial.trialDirectory);
  try {
    const result = await instance.saveCheckpoint?.(directory);
    if (result instanceof Checkpoint) return await trial.persist(result, trial.iteration);
    const wroteFiles = readdirSync(directory).length > 0;
    if (wroteFiles || result === undefined)
      return await trial.persist(Checkpoint.fromDirectory(directory), trial.iteration);
    return await trial.persist(Checkpoint.fromValue(result), trial.iteration);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** One trial between its start and its end: reports on their way out, decisions on their way in. */
class RunningTrial implements TrialSession {
  readonly trialId: string;
  readonly experiment: string;
  readonly trialDirectory: string;
  readonly config: Config;
  iteration: number;
  checkpoint: Checkpoint | undefined;
  readonly #start: TrialStart;
  readonly #storage: LocalStorage;
  readonly #abort = new AbortController();
  #nextCheckpoint: number;
  /** Not yet given to the runner. */
  #waiting: HostReport[] = [];
  /** Given to the runner, or waiting: one per report, in order. */
  #unanswered: ((answer: Answer) => void)[] = [];
  #delivered = 0;
  #saved: { readonly checkpoint: SavedCheckpoint | undefined } | undefined;
  #end:
    | {
        readonly checkpoint: SavedCheckpoint | undefined;
        readonly error: HostError | undefined;
        readonly byItself: boolean;
      }
    | undefined;
  #verdict: "stop" | "pause" | undefined;
  #interrupted = false;
  #wake: (() => void) | undefined;
  #reportedAt = performance.now();

  constructor(start: TrialStart) {
    this.#start = start;
    this.trialId = start.trialId;
    this.experiment = start.experiment;
    this.trialDirectory = join(start.location, start.trialPath);
    this.config = start.config;
    this.iteration = start.iteration;
    this.#nextCheckpoint = start.nextCheckpoint;
    this.#storage = new LocalStorage(start.location);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  async open(): Promise<void> {
    removeUnsaved(this.trialDirectory);
    const { checkpoint } = this.#start;
    if (checkpoint !== undefined)
      this.checkpoint = Checkpoint.fromDirectory(await this.#storage.fetchDirectory(checkpoint));
    this.#reportedAt = performance.now();
  }

  // ------------------------------------------------------------------------------------------- the trainable's side

  async report(metrics: Metrics, { checkpoint }: ReportOptions = {}): Promise<void> {
    checkMetrics(metrics, "report() got");
    if (this.#verdict !== undefined) throw new TrialStopped(this.#verdict);
    this.iteration += 1;
    const { iteration } = this;
    const given = typeof checkpoint === "string" ? Checkpoint.fromDirectory(checkpoint) : checkpoint;
    const saved = given === undefined ? undefined : await this.persist(given, iteration);
    const answer = await this.submit(metrics, saved);
    if (answer === "stop" || answer === "pause") throw new TrialStopped(answer);
  }

  /** @returns the decision about it */
  submit(metrics: Metrics, checkpoint: SavedCheckpoint | undefined): Promise<Answer> {
    if (this.#unanswered.length >= UNANSWERED_MAX)
      throw new InvalidOptionError(
        `${UNANSWERED_MAX} reports were made without awaiting one: await report(...)`,
      );
    const now = performance.now();
    this.#waiting.push({ metrics, checkpoint, seconds: (now - this.#reportedAt) / 1000 });
    this.#reportedAt = now;
    this.#wake?.();
    return this.answered();
  }

  answered(): Promise<Answer> {
    return new Promise((resolve) => this.#unanswered.push(resolve));
  }

  saved(checkpoint: SavedCheckpoint | undefined): void {
    this.#saved = { checkpoint };
    this.#wake?.();
  }

  /** Copies a checkpoint to the trial's place in the storage. */
  async persist(checkpoint: Checkpoint, iteration: number): Promise<SavedCheckpoint> {
    const name = `checkpoint_${String(this.#nextCheckpoint++).padStart(6, "0")}`;
    await withDirectoryOf(checkpoint, this.trialDirectory, (path) =>
      this.#storage.saveDirectory(path, `${this.#start.trialPath}/${name}`),
    );
    const path = join(this.trialDirectory, name, ".metadata.json");
    writeFileSync(path, `${JSON.stringify({ ...checkpoint.getMetadata(), iteration })}\n`);
    return { name, iteration };
  }

  end(checkpoint: SavedCheckpoint | undefined, error: unknown): void {
    const isFailure =
      error !== undefined &&
      !(error instanceof TrialStopped) &&
      !(this.#verdict !== undefined && isStop(error));
    const byItself = this.#verdict === undefined && !this.#interrupted;
    this.#end = { checkpoint, error: isFailure ? describe(error) : undefined, byItself };
    this.#wake?.();
  }

  // ---------------------------------------------------------------------------------------------- the runner's side

  interrupt(): void {
    this.#interrupted = true;
    this.#abort.abort(new TrialStopped("stop"));
  }

  answer(answer: Answer): void {
    const decided = this.#interrupted && answer === "continue" ? "stop" : answer;
    if (decided === "stop" || decided === "pause") {
      this.#verdict = decided;
      this.#abort.abort(new TrialStopped(decided));
    }
    this.#reportedAt = performance.now();
    // Those made meanwhile get the decision too where it is an end.
    const count = this.#verdict === undefined ? this.#delivered : this.#unanswered.length;
    for (const resolve of this.#unanswered.splice(0, Math.max(1, count))) resolve(decided);
    this.#delivered = 0;
    if (this.#verdict !== undefined) this.#waiting = [];
  }

  async nextEvent(): Promise<HostEvent> {
    for (;;) {
      if (this.#saved !== undefined) {
        const { checkpoint } = this.#saved;
        this.#saved = undefined;
        return { kind: "saved", checkpoint };
      }
      if (this.#end !== undefined)
        return { kind: "ended", reports: this.#waiting.splice(0), place: PLACE, ...this.#end };
      if (this.#waiting.length > 0) {
        const reports = this.#waiting.splice(0);
        this.#delivered = reports.length;
        return { kind: "reports", reports, place: PLACE };
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}

async function resolveParameters(
  refs: Readonly<Record<string, ObjectRef<unknown>>>,
): Promise<Record<string, unknown>> {
  const names = Object.keys(refs);
  const values = await get(names.map((name) => refs[name] as ObjectRef<unknown>));
  return Object.fromEntries(names.map((name, i) => [name, values[i]]));
}

function checkMetrics(metrics: unknown, who: string): Metrics {
  if (typeof metrics !== "object" || metrics === null || Array.isArray(metrics))
    throw new InvalidOptionError(
      `${who} ${metrics === null ? "null" : typeof metrics}; metrics are an object of values by name`,
    );
  return metrics as Metrics;
}

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return (
    Symbol.asyncIterator in value ||
    (Symbol.iterator in value && typeof (value as { next?: unknown }).next === "function")
  );
}

function isStop(error: unknown): boolean {
  return error instanceof Error && (error.name === "TrialStopped" || error.name === "AbortError");
}

function describe(error: unknown): HostError {
  if (error instanceof Error)
    return { name: error.name, message: error.message, stack: error.stack ?? String(error) };
  return { name: "Error", message: String(error), stack: String(error) };
}

/** Here, so that workers find it by evaluating this module. `interrupt` must come through while `exchange` waits. */
export const TrialHostActor = remote(TrialHost, { maxConcurrency: 4 });
