// Goal: a node finds the head again soon after the network does, and a slow head is not dialled to death.
import { expect, test } from "vitest";
import { HeadDial } from "./head-dial.ts";

/** When a line in that state is dialled again, looked at every half second. */
function dials(
  seconds: number,
  line: (nowMs: number) => { isConnecting: boolean; isHeard: boolean },
): number[] {
  const dial = new HeadDial(0);
  const dialled: number[] = [];
  for (let nowMs = 0; nowMs <= 1000 * seconds; nowMs += 500) {
    if (dial.look(line(nowMs), nowMs)) dialled.push(nowMs / 1000);
  }
  return dialled;
}

test("a connection that does not come about is dialled again every three seconds at the latest", () => {
  const at = dials(60, () => ({ isConnecting: true, isHeard: false }));
  expect(at[0]).toBe(1);
  for (let i = 1; i < at.length; i++)
    expect((at[i] as number) - (at[i - 1] as number)).toBeLessThanOrEqual(3);
  expect(60 - (at.at(-1) as number)).toBeLessThan(3);
});

test("a head that takes connections and says nothing is dialled less and less often", () => {
  const at = dials(300, () => ({ isConnecting: false, isHeard: false }));
  const gaps = at.slice(1).map((second, i) => second - (at[i] as number));
  expect(at[0]).toBe(2);
  for (let i = 1; i < gaps.length; i++) expect(gaps[i]).toBeGreaterThan(1.5 * (gaps[i - 1] as number));
  expect(at.length).toBeLessThan(9);
});

test("a head that answers is left alone, and patience begins anew after it", () => {
  expect(dials(60, () => ({ isConnecting: false, isHeard: true }))).toEqual([]);
  const at = dials(60, (nowMs) => ({ isConnecting: false, isHeard: nowMs > 20_000 && nowMs < 40_000 }));
  expect(at.filter((second) => second > 40)[0]).toBe(42);
});
