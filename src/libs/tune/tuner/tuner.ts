/** The Tuner: an experiment from its options to its results, fresh or restored. */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { type ObjectRef, put } from "../../../index.ts";
import { InvalidOptionError, TuneError } from "../errors.ts";
import { Journal } from "../journal/journal.ts";
import { writeHtmlReport } from "../results/html-report.ts";
import { makeLoggers } from "../results/loggers.ts";
import { makeProgress } from "../results/progress.ts";
import { ResultGrid } from "../results/result-grid.ts";
import type { Config, Objective } from "../search/searcher.ts";
import type { ConfigOf } from "../space/types.ts";
import { LocalStorage, type Storage } from "../storage/storage.ts";
import type { Callback, TrialInfo } from "./callback.ts";
import { Experiment, type ExperimentEvent, type Header, resumePointOf, trialPath } from "./experiment.ts";
import { lock } from "./lock.ts";
import { type ResolvedOptions, resolveTunerOptions, type TunerOptions } from "./options.ts";
import { HEADER_FILE, type Replayed, readHeader, replay, snapshotOf } from "./replay.ts";
import { Runner } from "./runner.ts";
import { Study } from "./study.ts";
import { type Prepared, prepare, type Trainable } from "./trainable.ts";

export interface RestoreOptions<S extends object = object>
  extends Omit<TunerOptions<S>, "name" | "storagePath" | "seed"> {
  /** Whether trials that had begun and not ended go on (default true); else they count as ended. The rest is run either way. */
  readonly resumeUnfinished?: boolean;
  /** Whether failed trials go on from their last checkpoint (default false). */
  readonly resumeErrored?: boolean;
  /** Whether failed trials begin anew (default false). */
  readonly restartErrored?: boolean;
  /** Whether trials that `stop` or the time budget had ended go on, as far as the new `stop` lets them (default false). */
  readonly extend?: boolean;
}

const DEFAULT_STORAGE = "tsray_results";

/**
 * Searches a space of configurations: `new Tuner(train, { space, metric: "loss", mode: "min", numSamples: 20 }).fit()`.
 *
 * The trainable is a function or a class, given to `remote()` at the top level of a module (above `init()`), or wrapped by
 * `withResources`, `withParameters`. The experiment is recorded as it goes: after a crash or Ctrl-C,
 * `Tuner.restore(path, trainable, options)` goes on with it.
 */
export class Tuner<S extends object = object> {
  readonly #prepared: Prepared<Config>;
  readonly #options: ResolvedOptions;
  readonly #storage: Storage;
  readonly #name: string;
  readonly #seed: number;
  readonly #restore: RestoreOptions | undefined;
  #hasRun = false;

  /** @throws InvalidOptionError for an option that is unknown or out of range, and a space that cannot be searched */
  constructor(trainable: Trainable<ConfigOf<S>>, options: TunerOptions<S> = {}) {
    const own = options as TunerOptions & { [RESTORE]?: Restoring };
    const { [RESTORE]: asked, ...given } = own;
    this.#prepared = prepare(trainable) as unknown as Prepared<Config>;
    const restoring = asked ?? resumedByCommand(given, trainableName(this.#prepared));
    const { header } = restoring ?? {};
    this.#options = resolveTunerOptions(
      restoring === undefined ? "Tuner" : "Tuner.restore",
      given,
      restoring?.objectives,
    );
    this.#seed = header?.seed ?? given.seed ?? Math.floor(Math.random() * 2 ** 31);
    this.#name = header?.name ?? given.name ?? defaultName(trainableName(this.#prepared));
    this.#storage =
      restoring?.storage ??
      new LocalStorage(join(resolve(given.storagePath ?? join(homedir(), DEFAULT_STORAGE)), this.#name));
    this.#restore = restoring?.options;
    // Wrong combinations of space, searcher and scheduler are said now, not at fit().
    if (restoring === undefined && Journal.exists(this.#storage)) {
      throw new InvalidOptionError(
        `there is an experiment ${this.#storage.location} already: choose another name, or go on with it by Tuner.restore(path, trainable, options)`,
      );
    }
  }

  /** The experiment's directory. */
  get path(): string {
    return this.#storage.location;
  }

  /**
   * Goes on with an experiment that was interrupted, or extends one that ended (with a larger `numSamples`, or with
   * `extend` and another `stop`). Give the trainable and the options again: functions cannot be recorded. Metric, mode,
   * numSamples and seed are remembered.
   * @throws TuneError where no experiment is recorded; InvalidOptionError
   */
  static restore<S extends object = object>(
    path: string,
    trainable: Trainable<ConfigOf<S>>,
    options: RestoreOptions<S> = {},
  ): Tuner<S> {
    const storage = new LocalStorage(resolve(path));
    const header = readHeader(storage);
    if (header === undefined) throw new TuneError(`there is no experiment in ${path}`);
    const { resumeUnfinished, resumeErrored, restartErrored, extend, ...tunerOptions } =
      options as RestoreOptions;
    for (const [name, value] of Object.entries({ resumeUnfinished, resumeErrored, restartErrored, extend })) {
      if (value !== undefined && typeof value !== "boolean")
        throw new InvalidOptionError(`Tuner.restore: ${name} must be true or false, got ${String(value)}`);
    }
    const restoring: Restoring = {
      storage,
      header,
      objectives: objectivesOf(header),
      options: options as RestoreOptions,
    };
    return new Tuner<S>(trainable, {
      numSamples: header.numSamples,
      ...tunerOptions,
      [RESTORE]: restoring,
    } as unknown as TunerOptions<S>);
  }

  /** Whether an experiment is recorded there. */
  static canRestore(path: string): boolean {
    return Journal.exists(new LocalStorage(resolve(path)));
  }

  /** The results so far, without running anything. @throws TuneError where nothing is recorded */
  getResults(): ResultGrid<ConfigOf<S>> {
    return ResultGrid.load(this.path);
  }

  /**
   * Runs the experiment to its end. Ctrl-C ends it early and leaves it to be restored; `interrupted` of the results
   * tells.
   * @throws (rejects) TuneError when it cannot go on (a metric that is not reported, a storage that cannot be written);
   *   UnschedulableError when no node can ever run a trial. Failures of trials are in the results instead
   */
  async fit(): Promise<ResultGrid<ConfigOf<S>>> {
    if (this.#hasRun)
      throw new TuneError(
        "fit() was called twice on one Tuner: Tuner.restore(path, ...) goes on with an experiment",
      );
    this.#hasRun = true;
    const unlock = lock(this.#storage);
    try {
      return await this.#fit();
    } finally {
      unlock();
    }
  }

  async #fit(): Promise<ResultGrid<ConfigOf<S>>> {
    const options = this.#options;
    const study = new Study({ ...options, seed: this.#seed });
    const replayed = this.#restore === undefined ? undefined : replay(this.#storage, study);
    const experiment = replayed?.experiment ?? new Experiment(this.#header());
    if (replayed === undefined)
      this.#storage.writeText(HEADER_FILE, `${JSON.stringify(experiment.header, undefined, 2)}\n`);
    const notes = [...(replayed?.notes ?? [])];
    if (replayed !== undefined) this.#checkSameSpace(experiment.header);
    experiment.exhausted = false;
    const journal = Journal.create<ExperimentEvent>(
      this.#storage,
      snapshotOf(experiment, study, [...(replayed?.orders.values() ?? [])]),
    );
    const requeued = replayed === undefined ? [] : await this.#reopen(replayed, experiment, study, journal);
    const progress = makeProgress(options.progress, options.objectives);
    for (const note of notes) progress.warn(note);
    const callbacks: Callback[] = [
      ...makeLoggers(options.loggers, this.#storage, options.objectives),
      ...options.callbacks,
    ];
    const runner = new Runner({
      experiment,
      study,
      journal,
      storage: this.#storage,
      callbacks: [...callbacks, progress],
      requeued,
      orders: replayed?.orders ?? new Map(),
      warn: (text) => progress.warn(text),
      settings: {
        ...options,
        trainable: this.#prepared.subject,
        parameters: await putAll(this.#prepared.parameters ?? {}),
        resourcesOf: this.#prepared.resources ?? (() => options.demand),
      },
    });
    progress.watch(experiment, runner, study, this.#storage.location, options.trialsExpected);
    const info = { header: experiment.header, path: this.path, restored: replayed !== undefined };
    for (const callback of [...callbacks, progress]) callback.onExperimentStart?.(info);
    const onInterrupt = interrupter(runner, () => progress.warn(`ending; press Ctrl-C again to end at once`));
    try {
      await runner.run();
    } finally {
      process.off("SIGINT", onInterrupt);
      journal.close();
      const trials: TrialInfo[] = [...experiment.trials.values()].map((trial) => ({
        ...trial,
        path: join(this.path, trialPath(trial.id)),
      }));
      for (const [name, text] of filesOf(study)) this.#storage.writeText(name, text);
      for (const callback of callbacks) await callback.onExperimentEnd?.(trials);
      if (options.htmlReport && trials.length > 0) writeHtmlReport(experiment, this.#storage);
      progress.onExperimentEnd();
    }
    return new ResultGrid(experiment, this.path, runner.stopReason === "interrupt");
  }

  #header(): Header {
    const { space, objectives, numSamples, searcher, scheduler } = this.#options;
    return {
      version: 1,
      name: this.#name,
      trainable: trainableName(this.#prepared),
      metrics: objectives.map(({ metric }) => metric),
      modes: objectives.map(({ direction }) => direction),
      seed: this.#seed,
      numSamples,
      parameters: space.dynamic ? undefined : space.parameters.map(({ path }) => path),
      searcher: searcher.constructor.name,
      scheduler: scheduler.name,
      createdAt: Date.now(),
      command: {
        script: process.argv[1] ?? "",
        args: process.argv.slice(2),
        execArgv: process.execArgv,
        cwd: process.cwd(),
      },
    };
  }

  #checkSameSpace({ parameters }: Header): void {
    const { space } = this.#options;
    if (space.dynamic || parameters === undefined) return;
    const now = space.parameters.map(({ path }) => path);
    const gone = parameters.filter((path) => !now.includes(path));
    const added = now.filter((path) => !parameters.includes(path));
    if (gone.length + added.length === 0) return;
    throw new InvalidOptionError(
      `Tuner.restore: the space must be the experiment's own; missing ${gone.join(", ") || "nothing"}, new ${added.join(", ") || "nothing"}`,
    );
  }

  /** What a restore does to trials that had not ended, or failed. @returns those that run first */
  async #reopen(
    replayed: Replayed,
    experiment: Experiment,
    study: Study,
    journal: Journal<ExperimentEvent>,
  ): Promise<string[]> {
    const {
      resumeUnfinished = true,
      resumeErrored = false,
      restartErrored = false,
      extend = false,
    } = this.#restore ?? {};
    const record = (event: ExperimentEvent) => {
      journal.append(event);
      experiment.apply(event);
    };
    const requeued: string[] = [];
    for (const id of replayed.interrupted) {
      const trial = experiment.get(id);
      await removeUnknownCheckpoints(
        this.#storage,
        id,
        trial.checkpoints.map(({ path }) => path),
      );
      if (trial.verdict === "stop") {
        record({ kind: "end", id, status: "TERMINATED" });
        study.ended(trial, false);
        continue;
      }
      record({ kind: "pause", id });
      // A pause that was decided is a pause; the scheduler says when the trial goes on.
      const waits = trial.verdict === "pause" && resumePointOf(trial) !== undefined;
      if (!waits) requeued.push(id);
    }
    if (!resumeUnfinished) {
      for (const id of [...experiment.byStatus.PENDING, ...experiment.byStatus.PAUSED]) {
        record({ kind: "end", id, status: "TERMINATED" });
        study.ended(experiment.get(id), false);
      }
      requeued.length = 0;
    }
    const reopened = [
      ...(resumeErrored || restartErrored ? experiment.byStatus.ERROR : []),
      ...(extend ? [...experiment.byStatus.TERMINATED].filter((id) => experiment.get(id).byStopper) : []),
    ];
    for (const id of reopened) {
      record({ kind: "reopen", id, fromScratch: restartErrored && experiment.get(id).status === "ERROR" });
      requeued.push(id);
    }
    // Tried again and waiting for it when the driver ended.
    for (const id of experiment.byStatus.PENDING)
      if (experiment.get(id).lives > 0 && !requeued.includes(id)) requeued.push(id);
    return requeued;
  }
}

/** How `restore` speaks to the constructor; not for users. */
const RESTORE = Symbol("restore");

interface Restoring {
  readonly storage: Storage;
  readonly header: Header;
  readonly objectives: readonly Objective[];
  readonly options: RestoreOptions;
}

/** `tsray tune resume` runs the script again: the Tuner that began the experiment goes on with it, others begin as ever. */
function resumedByCommand({ name, storagePath }: TunerOptions, trainable: string): Restoring | undefined {
  const path = process.env.TSRAY_TUNE_RESUME ?? "";
  if (path === "") return undefined;
  if (
    name !== undefined &&
    join(resolve(storagePath ?? join(homedir(), DEFAULT_STORAGE)), name) !== resolve(path)
  )
    return undefined;
  const storage = new LocalStorage(resolve(path));
  const header = readHeader(storage);
  if (header === undefined || header.trainable !== trainable) return undefined;
  delete process.env.TSRAY_TUNE_RESUME;
  return { storage, header, objectives: objectivesOf(header), options: {} };
}

/** `new Tuner(trainable, options).fit()` in one call; failed trials reject unless `raiseOnFailedTrial` is false. */
export async function run<S extends object = object>(
  trainable: Trainable<ConfigOf<S>>,
  { raiseOnFailedTrial = true, ...options }: TunerOptions<S> & { readonly raiseOnFailedTrial?: boolean } = {},
): Promise<ResultGrid<ConfigOf<S>>> {
  const results = await new Tuner<S>(trainable, options as TunerOptions<S>).fit();
  const [error] = results.errors;
  if (raiseOnFailedTrial && error !== undefined)
    throw new TuneError(
      `${results.errors.length} of ${results.length} trials failed; the first: ${error.message}`,
      { cause: error },
    );
  return results;
}

function objectivesOf({ metrics, modes }: Header): readonly Objective[] {
  return metrics.map((metric, i) => ({ metric, direction: modes[i] ?? "max" }));
}

function trainableName({ subject }: Prepared): string {
  return subject.name === "" ? "trainable" : subject.name;
}

/** Sorts by time, and two in a second differ. */
function defaultName(trainable: string): string {
  const time = new Date().toISOString().replace(/[-:]/g, "").replace("T", "-").slice(0, 15);
  const random = Math.floor(Math.random() * 36 ** 4)
    .toString(36)
    .padStart(4, "0");
  return `${trainable.replace(/[^A-Za-z0-9_-]/g, "_")}-${time}-${random}`;
}

async function putAll(
  values: Readonly<Record<string, unknown>>,
): Promise<Record<string, ObjectRef<unknown>>> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, put(value)]));
}

/** The first Ctrl-C ends the run in order, the second the process. */
function interrupter(runner: Runner, say: () => void): () => void {
  let presses = 0;
  const onInterrupt = () => {
    presses += 1;
    if (presses > 1) process.exit(130);
    say();
    runner.stop("interrupt");
  };
  process.on("SIGINT", onInterrupt);
  return onInterrupt;
}

function filesOf({ scheduler }: Study): ReadonlyMap<string, string> {
  const { files } = scheduler as { files?: () => ReadonlyMap<string, string> };
  return files?.call(scheduler) ?? new Map();
}

/** What a trial wrote and could not report before the driver ended. */
async function removeUnknownCheckpoints(
  storage: Storage,
  id: string,
  known: readonly string[],
): Promise<void> {
  for (const name of storage.list(trialPath(id))) {
    const path = `${trialPath(id)}/${name}`;
    if (name.startsWith(".tmp-") || (/^checkpoint_\d+$/.test(name) && !known.includes(path)))
      await storage.remove(path);
  }
}
