// Goal: a closure that was encoded and decoded does what the original does; what cannot travel is refused with a path to
// it. Method: the table of closures, through the value codec within this process, and once more from what was decoded.
import { createRequire } from "node:module";
import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import { cases } from "../../../test/fixtures/closure-cases.mjs";
import { NotLoaded, ValueCodec } from "../serialize/index.ts";
import { createFunctionCodec } from "./index.ts";

type Fn = (...args: unknown[]) => unknown;

const functions = createFunctionCodec({
  classNamed: () => undefined,
  isEntry: (url) => /closure-cases|\.test\.ts$/.test(url),
  own: () => undefined,
  beforeImport: async () => {},
  mapsStacks: () => false,
});
const classes = { nameOf: () => undefined, find: () => undefined };
const codec = new ValueCodec({ handles: [], classes, functions });

type Encoded = ReturnType<ValueCodec["encode"]>;

async function decode({ payload, buffers }: Encoded): Promise<unknown> {
  for (;;) {
    try {
      return codec.decode(payload, buffers);
    } catch (error) {
      if (!(error instanceof NotLoaded)) throw error;
      await error.load();
    }
  }
}

async function run(fn: Fn, args: readonly unknown[]): Promise<unknown> {
  const result = await fn(...args);
  if (typeof (result as { next?: unknown })?.next !== "function") return result;
  const items: unknown[] = [];
  for await (const item of result as AsyncIterable<unknown>) items.push(item);
  return items;
}

async function travel<T>(value: T): Promise<T> {
  return (await decode(codec.encode(value))) as T;
}

describe("closures that travel", () => {
  test.each(cases.filter((each) => each.fails === undefined))("$name", async ({ make, args = [] }) => {
    const there = codec.encode([make(), ...args]);
    const twice = codec.encode(await travel([make(), ...args]));
    const expected = await run(make() as Fn, args);
    for (const encoded of [there, twice]) {
      const [fn, ...decoded] = (await decode(encoded)) as [Fn, ...unknown[]];
      expect(await run(fn, decoded)).toEqual(expected);
    }
  });

  test.each(cases.filter((each) => each.fails !== undefined))("not: $name", ({ make, fails }) => {
    expect(() => codec.encode([make()], "the function", { subject: "f" })).toThrow(fails);
  });
});

test("what two functions share they share at the other side", async () => {
  const box = { n: 1 };
  const [add, read] = await travel([() => (box.n += 1), () => box.n] as const);
  add();
  expect(read()).toBe(2);
  expect(box.n).toBe(1);
});

test("variables are read anew each time, code once", async () => {
  let n = 1;
  const fn = () => n;
  const first = codec.encode(fn, "", { definitionsApart: true });
  n = 2;
  const second = codec.encode(fn, "", { definitionsApart: true });
  expect([...first.definitions.keys()]).toEqual([...second.definitions.keys()]);
  for (const definition of first.definitions.values()) functions.define(definition);
  expect(((await decode(first)) as Fn)()).toBe(1);
  expect(((await decode(second)) as Fn)()).toBe(2);
});

test("equal names with different bodies stay apart", async () => {
  const make = (k: number) => (k === 0 ? { work: () => "a" }.work : { work: () => "b" }.work);
  const decoded = await Promise.all([travel(make(0)), travel(make(1)), travel(make(0))]);
  expect(decoded.map((fn) => fn())).toEqual(["a", "b", "a"]);
});

test("a codec without functions refuses them on both sides; code that was tampered with is refused", async () => {
  const plain = new ValueCodec({ handles: [], classes });
  expect(() => plain.encode({ fn: () => 1 })).toThrow(/value\.fn is the function fn/);
  expect(() => codec.encode({ fn: () => 1 }, "", { dataOnly: true })).toThrow(
    /a function cannot travel here/,
  );
  const encoded = codec.encode({ fn: () => 1 });
  expect(() => plain.decode(encoded.payload, [])).toThrow(/it holds functions, which are refused here/);
  const text = Buffer.from(encoded.payload).toString("latin1");
  const forged = Buffer.from(text.replace("() => 1", "() => 2"), "latin1");
  expect(forged.equals(encoded.payload)).toBe(false);
  expect(() => codec.decode(forged, [])).toThrow(/a function whose code is broken/);
});

test("values without functions are as before", () => {
  expect(
    isDeepStrictEqual(
      codec.decode(codec.encode(new Map([[{ a: 1 }, [1]]])).payload, []),
      new Map([[{ a: 1 }, [1]]]),
    ),
  ).toBe(true);
});

describe("what is the same each time it is sent", () => {
  const factor = 3;
  const table = [1, 2];
  const even = (n: number): boolean => n === 0 || odd(n - 1);
  const odd = (n: number): boolean => n !== 0 && even(n - 1);
  class Scaler {
    by = factor;
  }
  let changing = 1;

  const isFixed = (fn: Fn) => {
    codec.encode([fn]);
    return codec.isFixed(fn as never);
  };

  test("a function is, with numbers and text that are never assigned to, imports, and functions that are so", () => {
    const scale = (x: never) => x * factor;
    expect(codec.isFixed(scale), "before it was looked at").toBe(false);
    expect(isFixed(scale as Fn)).toBe(true);
    expect(isFixed(() => isDeepStrictEqual(factor, 3))).toBe(true);
    expect(isFixed((() => even(factor)) as Fn)).toBe(true);
  });

  test("with arrays, classes and variables that are assigned to it is not", () => {
    expect(isFixed(() => table[0])).toBe(false);
    expect(isFixed(() => new Scaler().by)).toBe(false);
    expect(isFixed(() => changing)).toBe(false);
    changing += 1;
    const outer = () => table.length;
    expect(isFixed(() => outer())).toBe(false);
  });

  test("nor is one that has properties, or uses one that has them, also when it got them later", () => {
    const inner: { (): number; extra?: number } = () => factor;
    const outer = () => inner();
    expect(isFixed(outer)).toBe(true);
    inner.extra = 1;
    expect(isFixed(outer)).toBe(false);
    const own = Object.assign(() => factor, { extra: 1 });
    expect(isFixed(own)).toBe(false);
    function made(this: { x: number }) {
      this.x = factor;
    }
    expect(isFixed(made as Fn)).toBe(true);
    made.prototype.get = () => 1;
    expect(isFixed(made as Fn)).toBe(false);
  });

  test("nor after its prototype, its name or a property was replaced by another", () => {
    const changes: ((fn: { prototype: object; name: string }) => unknown)[] = [
      (fn) => Object.assign(fn, { prototype: { get: () => 1 } }),
      (fn) => Object.setPrototypeOf(fn.prototype, { get: () => 1 }),
      (fn) => Object.setPrototypeOf(fn, { get: () => 1 }),
      (fn) => Object.defineProperty(fn, "name", { value: "other" }),
      (fn) => {
        delete (fn as { length?: number }).length;
        Object.assign(fn, { extra: 1 });
      },
    ];
    for (const change of changes) {
      const fn = function given() {
        return factor;
      };
      expect(isFixed(fn)).toBe(true);
      change(fn);
      expect(isFixed(fn), String(change)).toBe(false);
    }
  });

  test("nor with a variable that a loop, a second declaration or `arguments` gives another value", async () => {
    interface Late {
      readonly name: string;
      readonly fn: Fn;
      readonly change: () => void;
    }
    // Not import, which would make it a strict script under a test runner.
    const { late } = createRequire(import.meta.url)("../../../test/fixtures/late-assignments.cjs") as {
      readonly late: readonly Late[];
    };
    expect(late).toHaveLength(6);
    for (const { name, fn, change } of late) {
      codec.encode([fn]);
      expect(codec.isFixed(fn as never), name).toBe(false);
      const before = await run((await travel([fn]))[0] as Fn, []);
      change();
      expect(await run((await travel([fn]))[0] as Fn, []), name).not.toEqual(before);
    }
  });

  test("nor with a value that is imported by its name: its module may replace it", () => {
    expect(isFixed(() => cases)).toBe(false);
  });
});
