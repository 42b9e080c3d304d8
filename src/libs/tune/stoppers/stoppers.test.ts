// Goal: stoppers end what they promise to, and no earlier. Method: results fed by hand, and the same after a restore.
import { describe, expect, test } from "vitest";
import {
  CombinedStopper,
  ExperimentPlateauStopper,
  MaximumIterationStopper,
  resolveStop,
  type Stopper,
  TimeoutStopper,
  TrialPlateauStopper,
} from "./stoppers.ts";

/** How many results of a trial it takes until the stopper ends it; undefined: more than there are. */
function endsAfter(stopper: Stopper, values: readonly number[], trialId = "a"): number | undefined {
  const at = values.findIndex((m) => stopper.shouldStop(trialId, { m }));
  return at < 0 ? undefined : at + 1;
}

/** A new stopper with what the first had noted, through JSON. */
function restored(first: Stopper, second: Stopper): Stopper {
  second.restore?.(JSON.parse(JSON.stringify(first.save?.())));
  return second;
}

describe("a trial's plateau", () => {
  test("the deviation of the last results, after the grace period", () => {
    expect(endsAfter(new TrialPlateauStopper({ metric: "m" }), [1, 1, 1, 1, 1])).toBe(4);
    expect(endsAfter(new TrialPlateauStopper({ metric: "m", gracePeriod: 6 }), [1, 1, 1, 1, 1, 1])).toBe(6);
    expect(endsAfter(new TrialPlateauStopper({ metric: "m" }), [9, 5, 1, 1, 1, 1])).toBe(6);
    // Population deviation of 0, 0, 0, 1 is 0.433.
    const values = [0, 0, 0, 1];
    expect(endsAfter(new TrialPlateauStopper({ metric: "m", std: 0.44 }), values)).toBe(4);
    expect(endsAfter(new TrialPlateauStopper({ metric: "m", std: 0.43 }), values)).toBeUndefined();
  });

  test("each trial for itself, and never on NaN", () => {
    const stopper = new TrialPlateauStopper({ metric: "m", numResults: 2, gracePeriod: 0 });
    expect(stopper.shouldStop("a", { m: 1 })).toBe(false);
    expect(stopper.shouldStop("b", { m: 1 })).toBe(false);
    expect(stopper.shouldStop("a", { m: 1 })).toBe(true);
    expect(endsAfter(stopper, [Number.NaN, Number.NaN, Number.NaN], "c")).toBeUndefined();
  });

  test("only past a threshold, which needs a mode", () => {
    const options = { metric: "m", metricThreshold: 2, numResults: 2, gracePeriod: 0 } as const;
    const values = [5, 5, 1, 1];
    expect(endsAfter(new TrialPlateauStopper({ ...options, mode: "min" }), values)).toBe(4);
    expect(endsAfter(new TrialPlateauStopper({ ...options, mode: "max" }), values)).toBe(2);
    expect(() => new TrialPlateauStopper(options)).toThrow(/metricThreshold needs mode/);
  });

  test("goes on after a restore", () => {
    const first = new TrialPlateauStopper({ metric: "m" });
    expect(endsAfter(first, [1, 1, 1])).toBeUndefined();
    expect(endsAfter(restored(first, new TrialPlateauStopper({ metric: "m" })), [1])).toBe(1);
  });
});

describe("the experiment's plateau", () => {
  const options = { metric: "m", top: 3, std: 0.1 } as const;

  test("the best results of all trials no longer move", () => {
    const stopper: Stopper = new ExperimentPlateauStopper(options);
    expect(endsAfter(stopper, [9, 5, 1])).toBeUndefined();
    expect(stopper.shouldStopAll(0)).toBe(false);
    expect(endsAfter(stopper, [7, 1, 1], "b")).toBe(3);
    expect(stopper.shouldStopAll(0)).toBe(true);
    expect(stopper.shouldStop("c", { m: 0 })).toBe(true);
    expect(endsAfter(new ExperimentPlateauStopper({ ...options, mode: "max" }), [1, 9, 1, 9, 9])).toBe(5);
  });

  test("for as many results in a row as patience says", () => {
    expect(endsAfter(new ExperimentPlateauStopper({ ...options, patience: 3 }), [1, 1, 1, 1, 1, 1, 1])).toBe(
      5,
    );
    // A better result breaks the row.
    expect(
      endsAfter(new ExperimentPlateauStopper({ ...options, patience: 3 }), [1, 1, 1, 0, 0, 0, 0, 0]),
    ).toBe(8);
  });

  test("goes on after a restore", () => {
    const first: Stopper = new ExperimentPlateauStopper(options);
    expect(endsAfter(first, [1, 1])).toBeUndefined();
    const second: Stopper = restored(first, new ExperimentPlateauStopper(options));
    expect(endsAfter(second, [1])).toBe(1);
    const third: Stopper = restored(second, new ExperimentPlateauStopper(options));
    expect(third.shouldStopAll(0)).toBe(true);
  });

  test("options out of range are named", () => {
    const make = (more: object) => () => new ExperimentPlateauStopper({ metric: "m", ...more });
    expect(make({ top: 1 })).toThrow(/top must be a whole number >= 2, got 1/);
    expect(make({ patience: -1 })).toThrow(/patience must be a whole number >= 0, got -1/);
    expect(make({ std: 0 })).toThrow(/std must be a number > 0, got 0/);
    expect(make({ mode: "lower" })).toThrow(/mode must be "min" or "max"/);
    expect(make({ window: 3 })).toThrow(/has no option "window"; it has metric, std, top, mode, patience/);
  });
});

test("iterations, time, and any of several: all of them see every result", () => {
  const iterations = new MaximumIterationStopper(3);
  const all = new CombinedStopper(iterations, new TimeoutStopper(10));
  expect(endsAfter(all, [1, 1, 1, 1])).toBe(3);
  expect([all.shouldStopAll(9.9), all.shouldStopAll(10)]).toEqual([false, true]);
  const plateau = () => new TrialPlateauStopper({ metric: "m", numResults: 2, gracePeriod: 0 });
  const first = new CombinedStopper(new MaximumIterationStopper(3), plateau());
  expect(endsAfter(first, [1, 5])).toBeUndefined();
  expect(
    endsAfter(restored(first, new CombinedStopper(new MaximumIterationStopper(9), plateau())), [5]),
  ).toBe(1);
  expect(
    endsAfter(restored(first, new CombinedStopper(new MaximumIterationStopper(3), plateau())), [9]),
  ).toBe(1);
  expect(() => new MaximumIterationStopper(0)).toThrow(/maxIterations must be a whole number >= 1, got 0/);
  expect(() => new TimeoutStopper(0)).toThrow(/seconds must be a number > 0, got 0/);
});

test("what `stop` may be", () => {
  expect(endsAfter(resolveStop({ m: 3 }), [1, 2, 3, 4])).toBe(3);
  expect(
    endsAfter(
      resolveStop((_id, { m }) => m === 2),
      [1, 2, 3],
    ),
  ).toBe(2);
  expect(endsAfter(resolveStop([{ m: 9 }, new MaximumIterationStopper(2)]), [1, 2, 3])).toBe(2);
  expect(endsAfter(resolveStop(undefined), [1, 2, 3])).toBeUndefined();
  expect(() => resolveStop({ m: Number.NaN })).toThrow(/stop\.m must be a number, got NaN/);
  expect(() => resolveStop(5 as never)).toThrow(/stop is an object of thresholds, a function, a Stopper/);
});
