// How a process chooses to wait: against machines that are written down here as what each way of waiting takes there.
import { expect, test } from "vitest";
import { WaitChoice } from "./busy-poll.ts";

interface Machine {
  readonly lookMs: number;
  readonly sleepMs: number;
}

const QUIET: Machine = { lookMs: 0.015, sleepMs: 0.07 };
/** Whoever looks keeps the other from its core. */
const FULL: Machine = { lookMs: 0.19, sleepMs: 0.01 };
/** Answers take long, whatever is done meanwhile. */
const SLOW: Machine = { lookMs: 5, sleepMs: 5 };

/** @returns the share of waits in which it looked */
function wait(choice: WaitChoice, machine: Machine, count: number, disturb: (i: number) => number = () => 1) {
  let looks = 0;
  for (let i = 0; i < count; i++) {
    if (choice.isLooking) looks += 1;
    choice.took((choice.isLooking ? machine.lookMs : machine.sleepMs) * disturb(i));
  }
  return looks / count;
}

test("where cores are idle it looks, soon and nearly always", () => {
  const choice = new WaitChoice();
  wait(choice, QUIET, 200);
  expect(wait(choice, QUIET, 20_000)).toBeGreaterThan(0.95);
});

test("where all cores are busy, and where answers take long, it sleeps nearly always", () => {
  for (const machine of [FULL, SLOW]) {
    const choice = new WaitChoice();
    wait(choice, machine, 10_000);
    expect(wait(choice, machine, 100_000)).toBeLessThan(0.02);
  }
});

test("it follows the machine when that changes, both ways", () => {
  const choice = new WaitChoice();
  wait(choice, QUIET, 20_000);
  wait(choice, FULL, 300);
  expect(wait(choice, FULL, 20_000)).toBeLessThan(0.05);
  wait(choice, QUIET, 5000);
  expect(wait(choice, QUIET, 5000)).toBeGreaterThan(0.9);
});

test("looking that has come to be in vain is given up within a few hundred waits", () => {
  const choice = new WaitChoice();
  wait(choice, QUIET, 20_000);
  wait(choice, SLOW, 300);
  expect(wait(choice, SLOW, 20_000)).toBeLessThan(0.05);
});

test("one wait in fifty that takes forever does not change its mind", () => {
  const pauses = (i: number) => (i % 50 === 0 ? 1000 : 1);
  const quiet = new WaitChoice();
  wait(quiet, QUIET, 20_000, pauses);
  expect(wait(quiet, QUIET, 20_000, pauses)).toBeGreaterThan(0.9);
  const full = new WaitChoice();
  wait(full, FULL, 20_000, pauses);
  expect(wait(full, FULL, 20_000, pauses)).toBeLessThan(0.05);
});
