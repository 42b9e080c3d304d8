/**
 * BOHB: TPE for trials of several lengths. The model is made of results at one budget (the step of a report), the largest
 * at which enough trials have been seen; some configs are always drawn at random.
 *
 * Source: S. Falkner et al., "BOHB: Robust and Efficient Hyperparameter Optimization at Scale" (2018). Bandwidths are those
 * of our TPE. To be used with the HyperBand scheduler made for it.
 */
import { InvalidOptionError } from "../errors.ts";
import type { PointOptions, Proposal, TrialRecord } from "./history.ts";
import { type Split, splitTrials, TPESearcher } from "./tpe.ts";

export interface BOHBOptions extends PointOptions {
  /** Trials needed at a budget beside one per parameter. Default 1, as published: d + 1 in all. */
  readonly minPointsInModel?: number;
  /** Percentage of a budget's trials that count as good. Default 15. */
  readonly topPercent?: number;
  /** Candidates drawn per suggestion. Default 64. */
  readonly candidates?: number;
  /** Share of configs drawn at random. Default 1/3. */
  readonly randomFraction?: number;
}

export class BOHBSearcher extends TPESearcher {
  readonly #options: BOHBOptions;

  constructor(options: BOHBOptions = {}) {
    const { candidates = 64, randomFraction = 1 / 3, topPercent = 15, minPointsInModel = 1 } = options;
    super({ ...options, candidates });
    this.#options = options;
    if (!(randomFraction >= 0 && randomFraction <= 1)) {
      throw new InvalidOptionError(`randomFraction must be from 0 to 1, got ${randomFraction}`);
    }
    if (!(topPercent > 0 && topPercent < 100)) {
      throw new InvalidOptionError(`topPercent must be between 0 and 100, got ${topPercent}`);
    }
    if (!(Number.isInteger(minPointsInModel) && minPointsInModel > 0)) {
      throw new InvalidOptionError(
        `minPointsInModel must be a whole number above 0, got ${minPointsInModel}`,
      );
    }
  }

  protected override propose(trialId: string): Proposal {
    const { randomFraction = 1 / 3 } = this.#options;
    return this.random.next() < randomFraction ? () => undefined : super.propose(trialId);
  }

  protected override split(): Split | undefined {
    const { minPointsInModel = 1, topPercent = 15 } = this.#options;
    const budgets = new Map<number, Map<TrialRecord, readonly number[]>>();
    for (const trial of this.trials) {
      if (trial.state === "failed" && trial.reports.length === 0) continue;
      for (const [step, results] of trial.reports) {
        if (results.some(Number.isNaN)) continue;
        const at = budgets.get(step) ?? new Map<TrialRecord, readonly number[]>();
        at.set(trial, results);
        budgets.set(step, at);
      }
    }
    // Good and others both need enough points for a model of their own.
    const needed = this.space.parameters.length + minPointsInModel;
    const steps = [...budgets.keys()].sort((a, b) => b - a);
    const budget = steps.find((step) => budgets.get(step)!.size >= needed + 1);
    if (budget === undefined) return undefined;
    const seen = budgets.get(budget)!;
    const trials = [...seen.keys()].sort((a, b) => a.number - b.number);
    const count = Math.max(1, Math.round((topPercent / 100) * trials.length));
    return splitTrials(trials, trials, (trial) => seen.get(trial)!, count);
  }
}
