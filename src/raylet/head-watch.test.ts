// Goal: a node ends its workers in time when it is cut off, and never because only the head is gone.
// Method: seconds pass one by one, with the defaults of a cluster (8 s, 60 s) and what others say at each.
import { describe, expect, test } from "vitest";
import { HEALTH_CHECK_DEFAULT } from "../core/launch/daemon-config.ts";
import { healthTimes } from "../core/launch/health-rules.ts";
import { HeadWatch, type Hearsay } from "./head-watch.ts";

const SECOND = 1000;

/** The second at which it fences itself, and why; undefined = not within `untilS`. */
function fenceAt(
  untilS: number,
  say: (second: number) => readonly Hearsay[],
  options: { graceMs?: number; answers?: (second: number) => boolean } = {},
): { second: number; reason: string } | undefined {
  const check = { ...HEALTH_CHECK_DEFAULT, outageGraceMs: options.graceMs ?? 60_000 };
  const watch = new HeadWatch(healthTimes(check), 0);
  for (let second = 1; second <= untilS; second += 1) {
    const nowMs = second * SECOND;
    const verdict = watch.look(nowMs);
    if (verdict.kind === "fence") return { second, reason: verdict.reason };
    watch.sent(second, nowMs);
    if (options.answers?.(second)) watch.answered(second);
    if (verdict.kind === "ask") for (const what of say(second)) watch.told(what, nowMs);
  }
  return undefined;
}

describe("a node that the head does not answer", () => {
  test("goes on while answers come, also late ones", () => {
    expect(fenceAt(600, () => [], { answers: () => true })).toBeUndefined();
    expect(fenceAt(600, () => [], { answers: (second) => second % 7 === 0 })).toBeUndefined();
  });

  test("with nobody to ask, fences itself after 8 s", () => {
    expect(fenceAt(600, () => [])).toMatchObject({
      second: 9,
      reason: expect.stringContaining("nobody says"),
    });
  });

  test("that others hear, fences itself as soon, whatever else is said", () => {
    expect(fenceAt(600, () => ["heard"])).toMatchObject({
      second: 9,
      reason: expect.stringContaining("hear it"),
    });
    expect(fenceAt(600, () => ["lost", "heard"])?.second).toBe(9);
  });

  test("and that others have lost as well, waits for it as long as it may", () => {
    expect(fenceAt(600, () => ["lost"])).toMatchObject({
      second: 61,
      reason: expect.stringContaining("any longer"),
    });
    expect(fenceAt(600, () => ["lost"], { graceMs: 0 })?.second).toBe(9);
  });

  test("but stands on this machine, waits as long, unless others hear it", () => {
    expect(fenceAt(600, () => ["stuck"])).toMatchObject({
      second: 61,
      reason: expect.stringContaining("any longer"),
    });
    expect(fenceAt(600, () => ["stuck", "heard"])?.second).toBe(9);
  });

  test("ends its wait when one hears it again, or none is left to ask", () => {
    expect(fenceAt(600, (second) => (second < 20 ? ["lost"] : ["heard"]))?.second).toBe(21);
    expect(fenceAt(600, (second) => (second < 20 ? ["lost"] : []))?.second).toBe(23);
  });

  test("of a head that was seen to be gone, waits for the next even when nobody says any more", () => {
    const goneAt5 = (second: number): Hearsay[] => (second === 5 ? ["gone"] : []);
    expect(fenceAt(600, goneAt5)).toMatchObject({
      second: 61,
      reason: expect.stringContaining("any longer"),
    });
    // It came back, and was lost once more.
    const answers = (second: number) => second === 30;
    expect(fenceAt(600, goneAt5, { answers })?.second).toBe(39);
    expect(fenceAt(600, (second) => (second < 20 ? goneAt5(second) : ["heard"]))?.second).toBe(21);
  });

  test("an answer counts from when its report left", () => {
    const watch = new HeadWatch(healthTimes(HEALTH_CHECK_DEFAULT), 0);
    watch.sent(1, 1000);
    for (const second of [1, 2, 3, 4, 5, 6, 7]) watch.look(second * SECOND);
    watch.answered(1);
    expect(watch.look(8500).kind).toBe("ask");
    expect(watch.look(9100).kind).toBe("fence");
  });

  test("after it stood still, it looks once more before it decides", () => {
    const watch = new HeadWatch(healthTimes(HEALTH_CHECK_DEFAULT), 0);
    watch.sent(1, 500);
    expect(watch.look(9000).kind).toBe("ask");
    watch.sent(2, 9000);
    watch.answered(2);
    expect(watch.look(10_000).kind).toBe("hears");
  });
});
