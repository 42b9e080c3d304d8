// Goal: a node is given up only when it has ended its workers for certain, and no later than that needs.
// Method: silences as they would be after cuts; the defaults of a cluster (8 s, 15 s, 60 s).
import { describe, expect, test } from "vitest";
import { HEALTH_CHECK_DEFAULT } from "../core/launch/daemon-config.ts";
import { healthTimes } from "../core/launch/health-rules.ts";
import { judgeSilence } from "./node-silence.ts";

const times = healthTimes(HEALTH_CHECK_DEFAULT);
const LONG = 3_600_000;
const judge = (silences: Record<string, number>, runsMs = LONG, rules = times) =>
  judgeSilence(
    Object.entries(silences).map(([nodeId, silentMs]) => ({ nodeId, silentMs })),
    runsMs,
    rules,
  );

describe("silent nodes", () => {
  test("the defaults leave half as much again as a node needs to fence itself", () => {
    expect(times).toMatchObject({ selfFenceMs: 8000, declareDeadMs: 15_000, graceMs: 60_000 });
  });

  test("one alone is dead after the time, not before", () => {
    expect(judge({ a: 15_000, b: 100, c: 900 })).toEqual([]);
    expect(judge({ a: 15_001, b: 100, c: 900 })).toEqual(["a"]);
    expect(judge({ a: 15_001 })).toEqual(["a"]);
  });

  test("two that were cut off together have their grace", () => {
    expect(judge({ a: 20_000, b: 20_000, c: 100 })).toEqual([]);
    expect(judge({ a: 75_000, b: 74_000, c: 100 })).toEqual([]);
    expect(judge({ a: 75_001, b: 75_001, c: 100 })).toEqual(["a", "b"]);
  });

  test("one that was silent before another was cut off had heard from that one", () => {
    expect(judge({ a: 20_000, b: 6000, c: 100 })).toEqual(["a"]);
  });

  test("a head that has just begun waits for nodes that wait for it", () => {
    expect(judge({ a: 20_000, b: 100 }, 20_000)).toEqual([]);
    expect(judge({ a: 75_001, b: 100 }, 75_001)).toEqual(["a"]);
  });

  test("without a grace nobody waits", () => {
    const strict = healthTimes({ ...HEALTH_CHECK_DEFAULT, outageGraceMs: 0 });
    expect(judge({ a: 15_001, b: 15_001 }, 15_001, strict)).toEqual(["a", "b"]);
  });
});
