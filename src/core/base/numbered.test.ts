// Goal: the tables of what is outstanding hold exactly what was put in, in order, and nothing that is dead keeps what
// came later.
// Method: random histories against a Map and a Set; the garbage collector itself, after many rounds through each table.
import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { type InLine, Line, Numbered } from "./numbered.ts";

class Item implements InLine {
  line: InLine["line"];
  before: InLine | undefined;
  after: InLine | undefined;
  readonly number: number;
  constructor(number: number) {
    this.number = number;
  }
}

/** A linear congruential generator: enough to shuffle. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

test.each([1, 2, 3])("Numbered is a Map, Line a Set: 5,000 steps of seed %i", (seed) => {
  const below = random(seed);
  const map = new Map<number, Item>();
  const numbered = new Numbered<Item>();
  const set = new Set<Item>();
  const line = new Line<Item>();
  let next = seed === 3 ? 2 ** 40 : 0;
  for (let i = 0; i < 5000; i++) {
    const known = [...map.keys()][below(map.size || 1)];
    if (below(5) > 1 || known === undefined) {
      const item = new Item(next);
      map.set(next, item);
      numbered.set(next, item);
      set.add(item);
      line.add(item);
      next += 1 + below(3) * below(200);
    } else {
      const item = map.get(known) as Item;
      if (below(2) === 0) {
        expect([numbered.delete(known), numbered.delete(known)]).toEqual([map.delete(known), false]);
        expect([line.delete(item), line.delete(item)]).toEqual([set.delete(item), false]);
      } else if (line.delete(item)) {
        // To the end.
        set.delete(item);
        set.add(item);
        line.add(item);
      }
    }
    const asked = below(next - 0 || 1);
    expect(numbered.get(asked)).toBe(map.get(asked));
    expect([numbered.size, line.size]).toEqual([map.size, set.size]);
  }
  expect(numbered.values()).toEqual([...map.values()]);
  expect(line.values()).toEqual([...set]);
  expect(line.first).toBe([...set][0]);
  const all = [...set];
  expect(line.takeAll()).toEqual(all);
  expect([line.size, line.first, line.values()]).toEqual([0, undefined, []]);
  for (const item of all) line.add(item);
  expect(line.size).toBe(all.length);
});

test("what is no number of an item gives none", () => {
  const numbered = new Numbered<Item>();
  numbered.set(0, new Item(0));
  for (const number of [Number.NaN, 0.5, -1, 1, 2 ** 53]) {
    expect(numbered.get(number)).toBeUndefined();
    expect(numbered.delete(number)).toBe(false);
  }
});

test("an item stands in one line at a time", () => {
  const one = new Line<Item>();
  const other = new Line<Item>();
  const item = new Item(1);
  one.add(item);
  expect(() => other.add(item)).toThrow("in a line already");
  expect(other.delete(item)).toBe(false);
  expect(one.size).toBe(1);
});

test("a million items that run through the tables do not pile up before a full collection", () => {
  const program = `
    import { Line, Numbered } from ${JSON.stringify(new URL("numbered.ts", import.meta.url).href)};
    import { getHeapStatistics } from "node:v8";
    const numbered = new Numbered();
    const line = new Line();
    let collected = 0;
    new PerformanceObserver((list) => {
      for (const { detail } of list.getEntries()) if (detail.kind === 4) collected += 1;
    }).observe({ entryTypes: ["gc"] });
    let number = 0;
    for (let round = 0; round < 1000; round++) {
      const first = number;
      for (let i = 0; i < 1000; i++) {
        const item = { line: undefined, before: undefined, after: undefined, load: new Array(50).fill(0) };
        numbered.set(number++, item);
        line.add(item);
      }
      await new Promise((resolve) => setImmediate(resolve));
      for (let n = first; n < number; n++) {
        line.delete(numbered.get(n));
        numbered.delete(n);
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    console.log(collected);
  `;
  const args = ["--import", "tsx", "--input-type=module", "--eval", program];
  // With a Map and a Set: dozens.
  expect(Number(execFileSync(process.execPath, args, { encoding: "utf8" }))).toBeLessThan(5);
});
