// Goal: a row's number is what was done per second, and a wrong result never becomes a number.
// Method: rows of plain functions, short rounds.
import { expect, test } from "vitest";
import { measure, median, type RateWork, type SampleWork } from "./measure.ts";

const EFFORT = { settleSeconds: 0, warmUpSeconds: 0.01, rounds: 3, roundSeconds: 0.01 };
const row = (work: RateWork | SampleWork) => ({ name: "r", unit: "things/s", what: "", prepare: () => work });

test("every round is a number of its own, in the row's unit; results are checked after warm-up and rounds", async () => {
  let [runs, checks, closed] = [0, 0, 0];
  const work: RateWork = {
    amount: 1000,
    run: () => {
      runs += 1;
    },
    check: () => {
      checks += 1;
    },
    close: () => {
      closed += 1;
    },
  };
  const { name, unit, value, rounds } = await measure(row(work), EFFORT);
  expect({ name, unit, checks, closed, rounds: rounds.length }).toEqual({
    name: "r",
    unit: "things/s",
    checks: 4,
    closed: 1,
    rounds: 3,
  });
  expect(value).toBe(median(rounds));
  // No more than was done, all of it in one of four spells of 0.01 s.
  expect(Math.max(...rounds)).toBeLessThanOrEqual((1000 * runs) / 0.01);
});

test("operations follow one another: a promise is awaited before the next begins", async () => {
  let [running, most] = [0, 0];
  const run = async () => {
    running += 1;
    most = Math.max(most, running);
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
  };
  await measure(row({ amount: 1, run }), EFFORT);
  expect({ running, most }).toEqual({ running: 0, most: 1 });
});

test("a wrong result fails the row, and what it made is closed", async () => {
  let closed = false;
  const wrong = row({
    amount: 1,
    run: () => undefined,
    check: () => {
      throw new Error("wrong result: 1 instead of 2");
    },
    close: () => {
      closed = true;
    },
  });
  await expect(measure(wrong, EFFORT)).rejects.toThrow("wrong result: 1 instead of 2");
  expect(closed).toBe(true);
});

test("work that times itself gives its own numbers; the first, which warms up, is left out", async () => {
  let n = 0;
  const sample = async () => (n += 1);
  expect(await measure(row({ samples: 3, sample }), EFFORT)).toMatchObject({ value: 3, rounds: [2, 3, 4] });
  n = 0;
  expect(await measure(row({ samples: 1, sample }), EFFORT)).toMatchObject({ value: 1, rounds: [1] });
});

test("the median of an even number of values lies between the two in the middle", () => {
  expect([median([3, 1, 2]), median([4, 1, 2, 3]), median([7])]).toEqual([2, 2.5, 7]);
});
