/** A scheduler as a pruner for loops of one's own: report a value, learn whether to give up. */
import type { Config, Direction } from "../search/searcher.ts";
import type { Scheduler } from "./scheduler.ts";

/** Judges the trials of a loop of one's own. */
export interface Pruner {
  /** @returns whether the trial should end now */
  shouldPrune(trialId: string, step: number, value: number): boolean;
  /** The trial is over. */
  complete(trialId: string): void;
}

/**
 * Uses a scheduler that stops (ASHA, MedianStopping, ...) outside of a Tuner: `shouldPrune` after each step of training.
 * What a scheduler would pause is kept running: a loop has nothing to pause.
 */
export function asPruner(scheduler: Scheduler, mode: Direction, seed = 0): Pruner {
  scheduler.setup({ metric: "value", mode, seed });
  const last = new Map<string, { readonly time: number; readonly value: number }>();
  return {
    shouldPrune(trialId, step, value) {
      if (!last.has(trialId)) scheduler.onTrialAdd(trialId, {} as Config);
      last.set(trialId, { time: step, value });
      const decision = scheduler.onReport({
        trialId,
        time: step,
        value,
        config: {} as Config,
        othersWait: false,
      });
      const ordered = scheduler
        .takeOrders()
        .some((order) => order.trialId === trialId && order.kind === "stop");
      return decision === "stop" || ordered;
    },
    complete(trialId) {
      scheduler.onComplete(trialId, last.get(trialId));
      last.delete(trialId);
    },
  };
}
