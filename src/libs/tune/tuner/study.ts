/**
 * All that decides: searcher, scheduler and stopper of one experiment. Pure, so that the journal's replay leads to the
 * same state as the run did.
 */
import { TuneError } from "../errors.ts";
import { valueAt } from "../results/flatten.ts";
import type { Candidate, Decision, Order, Scheduler } from "../schedulers/scheduler.ts";
import type { Objective, Searcher, Suggestion } from "../search/searcher.ts";
import type { Space } from "../space/space.ts";
import type { Stopper } from "../stoppers/stoppers.ts";
import type { Result, TrialState } from "./experiment.ts";

export interface Judgement {
  readonly decision: Decision;
  readonly byStopper: boolean;
  /** The metric or time that the report lacks, where the scheduler passes over such reports. */
  readonly lacks?: string | undefined;
}

export class Study {
  readonly objectives: readonly Objective[];
  readonly scheduler: Scheduler;
  readonly searcher: Searcher;
  readonly #stopper: Stopper;

  constructor(parts: {
    readonly space: Space;
    readonly objectives: readonly Objective[];
    readonly searcher: Searcher;
    readonly scheduler: Scheduler;
    readonly stopper: Stopper;
    readonly seed: number;
  }) {
    const { space, objectives, searcher, scheduler, stopper, seed } = parts;
    this.objectives = objectives;
    this.searcher = searcher;
    this.scheduler = scheduler;
    this.#stopper = stopper;
    const [first] = objectives;
    // Searchers that learn nothing need no metric, yet the contract asks for one.
    searcher.setup(space, first === undefined ? [{ metric: "_metric", direction: "max" }] : objectives, seed);
    scheduler.setup({ metric: first?.metric ?? "_metric", mode: first?.direction ?? "max", seed });
  }

  suggest(id: string): Suggestion {
    const suggestion = this.searcher.suggest(id);
    if (suggestion.kind !== "config") return suggestion;
    return { kind: "config", config: this.scheduler.onTrialAdd(id, suggestion.config) ?? suggestion.config };
  }

  /** @throws TuneError when the result lacks what the searcher or the scheduler needs */
  judge(trial: TrialState, othersWait: boolean, elapsedSeconds: number): Judgement {
    const { id, config } = trial;
    const result = trial.lastResult ?? {};
    const values = this.#values(id, result);
    const time = this.#time(id, result);
    if (values.length > 0)
      this.searcher.onReport?.(id, Number.isFinite(time) ? time : trial.iteration, values);
    const lacks = this.#lacking(result);
    const decision = this.scheduler.onReport({
      trialId: id,
      time,
      value: values[0] ?? Number.NaN,
      config,
      othersWait,
      isComplete: lacks === undefined,
    });
    const byStopper = this.#stopper.shouldStop(id, result) || this.#stopper.shouldStopAll(elapsedSeconds);
    const isDone = result.done === true;
    return byStopper || isDone
      ? { decision: "stop", byStopper: true, lacks }
      : { decision, byStopper: false, lacks };
  }

  shouldStopAll(elapsedSeconds: number): boolean {
    return this.#stopper.shouldStopAll(elapsedSeconds);
  }

  /** The trial is over for good. */
  ended(trial: TrialState, failed: boolean): void {
    const { id, lastResult } = trial;
    const values =
      lastResult === undefined
        ? undefined
        : this.objectives.map(({ metric }) => numberAt(lastResult, metric));
    const isKnown = !failed && values !== undefined && values.length > 0 && !values.some(Number.isNaN);
    this.searcher.onComplete(id, isKnown ? values : undefined);
    if (failed || lastResult === undefined) this.scheduler.onRemove(id);
    else {
      this.scheduler.onComplete(id, {
        time: numberAt(lastResult, this.scheduler.timeAttribute),
        value: values?.[0] ?? Number.NaN,
      });
    }
  }

  takeOrders(): readonly Order[] {
    return this.scheduler.takeOrders();
  }

  chooseToRun(candidates: readonly Candidate[]): string | undefined {
    return this.scheduler.chooseToRun(candidates);
  }

  save(): unknown {
    return {
      searcher: this.searcher.save() ?? null,
      scheduler: this.scheduler.save() ?? null,
      stopper: this.#stopper.save?.() ?? null,
    };
  }

  restore(state: unknown): void {
    const saved = state as { searcher: unknown; scheduler: unknown; stopper: unknown };
    this.searcher.restore(saved.searcher);
    this.scheduler.restore(saved.scheduler);
    if (saved.stopper !== null) this.#stopper.restore?.(saved.stopper);
  }

  /** Where the scheduler requires all it goes by, a report that lacks something has been refused already. */
  #lacking(result: Result): string | undefined {
    if (this.scheduler.requiresMetric) return undefined;
    const keys = [...this.objectives.map(({ metric }) => metric), this.scheduler.timeAttribute];
    return keys.find((key) => valueAt(result, key) === undefined);
  }

  #values(id: string, result: Result): number[] {
    return this.objectives.map(({ metric }) => {
      if (valueAt(result, metric) === undefined && this.scheduler.requiresMetric)
        throw missing(id, "the metric", metric, result);
      return numberAt(result, metric);
    });
  }

  #time(id: string, result: Result): number {
    const { timeAttribute, requiresMetric } = this.scheduler;
    if (valueAt(result, timeAttribute) === undefined && requiresMetric)
      throw missing(id, `${this.scheduler.name}'s time attribute`, timeAttribute, result);
    return numberAt(result, timeAttribute);
  }
}

/** NaN for what is no number. */
function numberAt(result: Result, path: string): number {
  const value = valueAt(result, path);
  return typeof value === "number" ? value : Number.NaN;
}

function missing(id: string, what: string, key: string, result: Result): TuneError {
  return new TuneError(
    `trial ${id} did not report ${what} ${JSON.stringify(key)}; its report has the keys ${Object.keys(result).join(", ")}`,
  );
}
