// Goal: a process that stood still for too long acts on nothing any more, whatever its timers say.
// Method: a clock of the test's own; a real machine cannot be suspended here.
import { hostname, networkInterfaces } from "node:os";
import { expect, test } from "vitest";
import { isHere, ownClock } from "./own-clock.ts";
import { PauseGuard } from "./pause-guard.ts";

const LIMIT_MS = 10_000;

test("the first question after a long pause is answered with no, and so are all after it", () => {
  let nowMs = 5;
  const pauses: number[] = [];
  const guard = new PauseGuard(
    LIMIT_MS,
    (ms) => pauses.push(ms),
    () => nowMs,
  );
  for (const step of [1, 9_000, 10_000]) {
    nowMs += step;
    expect(guard.check()).toBe(true);
  }
  nowMs += 10_001;
  expect([guard.check(), guard.check()]).toEqual([false, false]);
  nowMs += 1;
  expect(guard.check()).toBe(false);
  expect(pauses).toEqual([10_001]);
  guard.close();
});

test("a raylet knows whether its head sleeps with it", () => {
  const own = Object.values(networkInterfaces()).flatMap((all) => all?.map(({ address }) => address) ?? []);
  for (const host of ["127.0.0.1", "127.5.6.7", "localhost", "[::1]", hostname(), ...own])
    expect([host, isHere(`${host}:6379`)]).toEqual([host, true]);
  expect(isHere("unix:/run/head.sock")).toBe(true);
  for (const host of ["203.0.113.7", "head.example", "[2001:db8::7]"])
    expect(isHere(`${host}:6379`)).toBe(false);
});

test("both clocks move", () => {
  for (const address of ["127.0.0.1:1", "203.0.113.7:1"]) {
    const clock = ownClock(address);
    const beforeMs = clock();
    const untilMs = performance.now() + 50;
    while (performance.now() < untilMs);
    expect(clock()).toBeGreaterThan(beforeMs);
  }
});
