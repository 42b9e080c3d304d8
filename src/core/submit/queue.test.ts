// Goal: first in, first out, whatever is put back in front or taken from the middle. Method: a plain array as the model.
import { expect, test } from "vitest";
import { Queue } from "./queue.ts";

/** Uniform numbers in [0, 1), the same for the same seed. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test("is empty at first", () => {
  const queue = new Queue<number>();
  expect([queue.length, queue.peek(), queue.shift(), [...queue]]).toEqual([0, undefined, undefined, []]);
});

test("keeps the order of what is put back in front", () => {
  const queue = new Queue<number>();
  for (const n of [3, 4, 5]) queue.push(n);
  expect(queue.shift()).toBe(3);
  queue.unshift([1, 2]);
  expect([...queue]).toEqual([1, 2, 4, 5]);
});

test.each([1, 2, 3, 4, 5])("does what an array does, over 20,000 random steps (seed %i)", (seed) => {
  const random = seeded(seed);
  const queue = new Queue<{ n: number }>();
  const model: { n: number }[] = [];
  let next = 0;
  for (let i = 0; i < 20_000; i++) {
    const what = random();
    if (what < 0.5) {
      const item = { n: next++ };
      queue.push(item);
      model.push(item);
    } else if (what < 0.9) expect(queue.shift()).toBe(model.shift());
    else if (what < 0.95) {
      const items = [{ n: next++ }, { n: next++ }];
      queue.unshift(items);
      model.unshift(...items);
    } else {
      const item = model[Math.floor(random() * model.length)] ?? { n: -1 };
      const at = model.indexOf(item);
      if (at >= 0) model.splice(at, 1);
      expect(queue.remove(item)).toBe(at >= 0);
    }
    expect(queue.length).toBe(model.length);
    expect(queue.peek()).toBe(model[0]);
  }
  expect([...queue]).toEqual(model);
});
