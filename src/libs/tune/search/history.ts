/**
 * The part that searchers share: presets first, one record per trial, results turned so that less is better, and the
 * state to save. A searcher adds how it picks the numbers of the next config.
 */
import { InvalidOptionError } from "../errors.ts";
import { Sobol } from "../maths/sobol.ts";
import { Random, type RandomState } from "../random.ts";
import { CategoryDomain } from "../space/domain.ts";
import { type Choose, drawPrior, type Parameter, type Space, type Values } from "../space/space.ts";
import { fromJson, type JsonNumber, toJson } from "./json.ts";
import type { Config, Objective, Searcher, Suggestion } from "./searcher.ts";

export interface TrialRecord {
  readonly id: string;
  /** Order in which configs were suggested. */
  readonly number: number;
  /** Parameter's number by path. */
  readonly values: Values;
  /** The same in the unit interval; a category's index as it is. */
  readonly units: Values;
  state: "running" | "done" | "failed";
  /** One per objective, less is better; final when `done`, the latest reported otherwise. */
  results: readonly number[] | undefined;
  /** Step and results of each report. */
  readonly reports: [step: number, results: readonly number[]][];
}

export interface PointOptions {
  /** Configs, or parts of them, to try first; what a part lacks is drawn at random. */
  readonly pointsToEvaluate?: readonly Readonly<Record<string, unknown>>[];
  /** Results known for the first of `pointsToEvaluate`, in order: those are not run but taken as done. */
  readonly evaluatedRewards?: readonly (number | readonly number[])[];
}

interface SavedTrial {
  readonly id: string;
  readonly values: readonly (readonly [string, number])[];
  readonly state: TrialRecord["state"];
  readonly results: readonly JsonNumber[] | null;
  readonly reports: readonly (readonly [number, readonly JsonNumber[]])[];
}

interface SavedHistory {
  readonly random: RandomState;
  readonly pointsTaken: number;
  readonly trials: readonly SavedTrial[];
  readonly own: unknown;
}

/** Picks the numbers of one config. Asked for parents before children; undefined leaves a parameter to its prior. */
export type Proposal = (parameter: Parameter) => number | undefined;

export abstract class HistorySearcher implements Searcher {
  protected space!: Space;
  protected objectives: readonly Objective[] = [];
  protected random!: Random;
  readonly #options: PointOptions;
  readonly #trials = new Map<string, TrialRecord>();
  #seed = 0;
  #sobol: Sobol | undefined;
  #points: readonly ((parameter: Parameter) => number | undefined)[] = [];
  #pointsTaken = 0;

  constructor(options: PointOptions = {}) {
    this.#options = options;
  }

  setup(space: Space, objectives: readonly Objective[], seed: number): void {
    if (objectives.length === 0) throw new InvalidOptionError("a searcher needs at least one objective");
    this.space = space;
    this.objectives = objectives;
    this.random = new Random(seed);
    this.#seed = seed;
    this.check(space);
    const { pointsToEvaluate = [], evaluatedRewards = [] } = this.#options;
    if (evaluatedRewards.length > pointsToEvaluate.length) {
      throw new InvalidOptionError(
        `evaluatedRewards has ${evaluatedRewards.length} values, more than the ${pointsToEvaluate.length} pointsToEvaluate`,
      );
    }
    this.#points = pointsToEvaluate.map((point) => space.read(point));
    for (const [i, reward] of evaluatedRewards.entries()) {
      const id = `evaluated-${i}`;
      this.suggest(id);
      this.onComplete(id, typeof reward === "number" ? [reward] : reward);
    }
  }

  suggest(trialId: string): Suggestion {
    if (this.#trials.has(trialId)) throw new InvalidOptionError(`trial ${trialId} has a config already`);
    const point = this.#points[this.#pointsTaken];
    const proposal = point ?? this.propose(trialId);
    if (typeof proposal !== "function") return { kind: proposal };
    if (point !== undefined) this.#pointsTaken += 1;
    const choose: Choose = (parameter) => proposal(parameter) ?? drawPrior(parameter, this.random);
    const { values, config } = this.space.resolve(choose, this.random);
    this.#record(trialId, values);
    return { kind: "config", config: config as Config };
  }

  onReport(trialId: string, step: number, values: readonly number[]): void {
    const trial = this.#running(trialId);
    if (trial === undefined) return;
    trial.results = this.#turn(values);
    trial.reports.push([step, trial.results]);
  }

  onComplete(trialId: string, values: readonly number[] | undefined): void {
    const trial = this.#running(trialId);
    if (trial === undefined) return;
    const results = values === undefined ? undefined : this.#turn(values);
    trial.state = results === undefined || results.some(Number.isNaN) ? "failed" : "done";
    if (results !== undefined) trial.results = results;
    this.learn(trial);
  }

  save(): unknown {
    const trials = this.trials.map(({ id, values, state, results, reports }) => ({
      id,
      values: [...values],
      state,
      results: toJson(results),
      reports: reports.map(([step, at]) => [step, toJson(at)]),
    }));
    return {
      random: this.random.save(),
      pointsTaken: this.#pointsTaken,
      trials,
      own: this.saveOwn() ?? null,
    };
  }

  restore(state: unknown): void {
    const saved = state as SavedHistory;
    this.#trials.clear();
    const byPath = new Map(this.space.parameters.map((parameter) => [parameter.path, parameter]));
    for (const { id, values, state: at, results, reports } of saved.trials) {
      // A define-by-run space learns its parameters by being run.
      if (values.some(([path]) => !byPath.has(path))) {
        this.space.build(new Map(values));
        for (const parameter of this.space.parameters) byPath.set(parameter.path, parameter);
      }
      const trial = this.#record(id, new Map(values));
      trial.state = at;
      trial.results = fromJson(results);
      for (const [step, at] of reports) trial.reports.push([step, fromJson(at)!]);
    }
    this.random.restore(saved.random);
    this.#pointsTaken = saved.pointsTaken;
    this.restoreOwn(saved.own);
  }

  /** All trials, oldest first. */
  protected get trials(): TrialRecord[] {
    return [...this.#trials.values()];
  }

  /** Refuses spaces that it cannot search. */
  protected check(_space: Space): void {}

  /** The next config's numbers, or why there are none. */
  protected abstract propose(trialId: string): Proposal | "wait" | "exhausted";

  /**
   * The next of points that fill the space evenly (scrambled Sobol), for what is tried before there is a model: fewer holes
   * and clumps than random draws. A define-by-run space has no box to fill: drawn at random.
   */
  protected spread(): Proposal {
    const { parameters, dynamic } = this.space;
    if (dynamic) return () => undefined;
    // Its own generator: the points of a seed do not depend on what else was drawn.
    this.#sobol ??= new Sobol(parameters.length, new Random(this.#seed).bits());
    const point = this.#sobol.point(this.#trials.size);
    const dimensions = new Map(parameters.map(({ path }, i) => [path, i]));
    return ({ path, domain }) => {
      const u = point[dimensions.get(path)!]!;
      return domain instanceof CategoryDomain ? Math.floor(u * domain.count) : domain.fromUnit(u);
    };
  }

  /** A trial is over. */
  protected learn(_trial: TrialRecord): void {}

  /** State beyond the trials and the generator, plain JSON. */
  protected saveOwn(): unknown {
    return undefined;
  }

  protected restoreOwn(_state: unknown): void {}

  #record(id: string, values: Values): TrialRecord {
    const units = new Map<string, number>();
    for (const { path, domain } of this.space.parameters) {
      const value = values.get(path);
      if (value !== undefined)
        units.set(path, domain instanceof CategoryDomain ? value : domain.toUnit(value));
    }
    const trial: TrialRecord = {
      id,
      number: this.#trials.size,
      values,
      units,
      state: "running",
      results: undefined,
      reports: [],
    };
    this.#trials.set(id, trial);
    return trial;
  }

  #running(trialId: string): TrialRecord | undefined {
    const trial = this.#trials.get(trialId);
    return trial?.state === "running" ? trial : undefined;
  }

  #turn(values: readonly number[]): readonly number[] {
    if (values.length !== this.objectives.length) {
      throw new InvalidOptionError(
        `a result needs ${this.objectives.length} values, one per objective, got ${values.length}`,
      );
    }
    return values.map((value, i) => (this.objectives[i]?.direction === "max" ? -value : value));
  }
}

/** Refuses more than one objective. */
export function requireOneObjective(name: string, objectives: readonly Objective[]): void {
  if (objectives.length > 1) {
    throw new InvalidOptionError(
      `${name} minimises or maximises one metric, got ${objectives.length}; use NSGA2Searcher or TPESearcher for several`,
    );
  }
}
