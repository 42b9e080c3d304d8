// Goal: a node finds the head again as soon as the network is back, and a slow head is not dialled to death.
import { expect, test } from "vitest";
import { HeadDial } from "./head-dial.ts";

const LOOK_MS = 250;

/** When there were new connections, where the network is there at those times. */
function dials(
  seconds: number,
  isHeard: (nowMs: number) => boolean,
  isThere: (nowMs: number) => boolean,
): number[] {
  const dial = new HeadDial(0);
  const dialled: number[] = [];
  for (let nowMs = 0; nowMs <= 1000 * seconds; nowMs += LOOK_MS) {
    if (!dial.look(isHeard(nowMs), nowMs) || !isThere(nowMs)) continue;
    dial.dialled(nowMs);
    dialled.push(nowMs / 1000);
  }
  return dialled;
}

test("a network that comes back is used at once, however long it was gone", () => {
  const isCut = (nowMs: number) => nowMs > 20_000 && nowMs < 300_000;
  const [first] = dials(
    400,
    (nowMs) => !isCut(nowMs) && nowMs < 300_000,
    (nowMs) => !isCut(nowMs),
  );
  expect(first).toBe(300);
});

test("a head that takes connections and says nothing is dialled less and less often", () => {
  const at = dials(
    300,
    () => false,
    () => true,
  );
  const gaps = at.slice(1).map((second, i) => second - (at[i] as number));
  expect(at[0]).toBe(2);
  for (let i = 1; i < gaps.length; i++) expect(gaps[i]).toBeGreaterThan(1.5 * (gaps[i - 1] as number));
  expect(at.length).toBeLessThan(9);
});

test("a head that answers is left alone, and patience begins anew after it", () => {
  const always = () => true;
  expect(dials(60, always, always)).toEqual([]);
  const at = dials(60, (nowMs) => nowMs > 20_000 && nowMs < 40_000, always);
  expect(at.filter((second) => second >= 40).slice(0, 2)).toEqual([40, 44]);
});
