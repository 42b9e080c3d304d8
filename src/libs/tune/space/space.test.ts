// Goal: spaces give what they promise and refuse what is wrong by name. Method: many seeded draws, and wrong spaces.
import { describe, expect, test } from "vitest";
import { InvalidOptionError } from "../errors.ts";
import { Random } from "../random.ts";
import {
  choice,
  defineSpace,
  gridSearch,
  lograndint,
  loguniform,
  qlograndint,
  qloguniform,
  qrandint,
  qrandn,
  quniform,
  randint,
  randn,
  sampleFrom,
  switchOn,
  type TrialSpace,
  uniform,
} from "./index.ts";

/** Values of x in many draws. */
function draws<T>(domain: { readonly source: string } & object, count = 4000): T[] {
  const space = defineSpace({ x: domain });
  const random = new Random(7);
  return Array.from({ length: count }, () => (space.sample(random) as { x: T }).x);
}

describe("domains", () => {
  test("uniform stays within its bounds and fills them", () => {
    const xs = draws<number>(uniform(-2, 3));
    expect(Math.min(...xs)).toBeGreaterThanOrEqual(-2);
    expect(Math.max(...xs)).toBeLessThan(3);
    expect(Math.min(...xs)).toBeLessThan(-1.9);
    expect(Math.max(...xs)).toBeGreaterThan(2.9);
  });

  test("loguniform is even in the exponent", () => {
    const exponents = draws<number>(loguniform(1e-10, 1e-1)).map(Math.log10);
    expect(Math.min(...exponents)).toBeCloseTo(-10, 1);
    expect(Math.max(...exponents)).toBeCloseTo(-1, 1);
    expect(exponents.filter((x) => x < -5.5).length / exponents.length).toBeCloseTo(0.5, 1);
  });

  test("quniform gives clean multiples, both ends as likely as the rest", () => {
    const xs = draws<number>(quniform(0, 0.3, 0.1));
    expect([...new Set(xs)].sort()).toEqual([0, 0.1, 0.2, 0.3]);
    for (const x of [0, 0.1, 0.2, 0.3])
      expect(xs.filter((y) => y === x).length / xs.length).toBeCloseTo(0.25, 1);
  });

  test.each([
    ["randint", randint(2, 5), [2, 3, 4]],
    ["qrandint", qrandint(2, 8, 2), [2, 4, 6, 8]],
    ["qrandint with q = 1 includes the upper bound", qrandint(2, 4), [2, 3, 4]],
    ["lograndint", lograndint(1, 5), [1, 2, 3, 4]],
    ["qlograndint", qlograndint(4, 12, 4), [4, 8, 12]],
    ["qloguniform", qloguniform(0.5, 1.5, 0.5), [0.5, 1, 1.5]],
    ["choice", choice([3, 1, 2]), [1, 2, 3]],
    ["an integer of one value", randint(3, 4), [3]],
  ])("%s has exactly its values", (_name, domain, values) => {
    expect([...new Set(draws<number>(domain))].sort((a, b) => a - b)).toEqual(values);
  });

  test("randn has its mean and deviation, qrandn its step", () => {
    const xs = draws<number>(randn(10, 2));
    const mean = xs.reduce((sum, x) => sum + x, 0) / xs.length;
    expect(mean).toBeCloseTo(10, 0);
    expect(Math.sqrt(xs.reduce((sum, x) => sum + (x - mean) ** 2, 0) / xs.length)).toBeCloseTo(2, 0);
    expect(draws<number>(qrandn(0, 1, 0.5)).every((x) => Number.isInteger(x * 2))).toBe(true);
  });
});

describe("configs", () => {
  test("nested objects, arrays and constants come through as they are", () => {
    const date = new Date(0);
    const space = defineSpace({
      a: { b: [uniform(0, 1), "fixed", { c: choice([true]) }] },
      date,
      none: null,
    });
    const config = space.sample(new Random(1)) as Record<string, unknown>;
    expect(config).toMatchObject({ a: { b: [expect.any(Number), "fixed", { c: true }] }, none: null });
    expect(config.date).toBe(date);
    expect(space.parameters.map(({ path }) => path)).toEqual(["a/b/0", "a/b/2/c"]);
  });

  test("the same seed gives the same configs", () => {
    const space = defineSpace({ x: uniform(0, 1), y: choice(["a", "b"]), z: randn() });
    const run = () =>
      Array.from(
        { length: 5 },
        (
          (random) => () =>
            space.sample(random)
        )(new Random(3)),
      );
    expect(run()).toEqual(run());
  });

  test("sampleFrom reads values in any order, also through others", () => {
    const space = defineSpace({
      z: sampleFrom((config: { y: number }) => config.y + 1),
      y: sampleFrom((config: { x: number }) => config.x + 1),
      x: 1,
      deep: {
        w: sampleFrom((config: { deep: { v: number } }) => config.deep.v * 100),
        v: sampleFrom(() => 12),
      },
    });
    expect(space.sample(new Random(1))).toEqual({ z: 3, y: 2, x: 1, deep: { w: 1200, v: 12 } });
  });

  test("sampleFrom draws from the run's generator", () => {
    const space = defineSpace({ x: sampleFrom((_config, random) => random.next()) });
    expect(space.sample(new Random(5))).toEqual(space.sample(new Random(5)));
    expect(space.sample(new Random(5))).not.toEqual(space.sample(new Random(6)));
  });

  test("a value that needs itself is an error", () => {
    const space = defineSpace({
      foo: sampleFrom((config: { bar: number }) => config.bar),
      bar: sampleFrom((config: { foo: number }) => config.foo),
    });
    expect(() => space.sample(new Random(1))).toThrow("`foo` recursively depends on");
  });

  test("sampleFrom cannot change the config", () => {
    const space = defineSpace({ x: 1, y: sampleFrom((config: { x: number }) => (config.x = 2)) });
    expect(() => space.sample(new Random(1))).toThrow(InvalidOptionError);
  });

  test("grid values may be calculated", () => {
    const space = defineSpace({
      x: gridSearch([
        sampleFrom((c: { y: number }) => c.y * 100),
        sampleFrom((c: { y: number }) => c.y * 200),
      ]),
      y: sampleFrom(() => 1),
    });
    expect(space.gridSize).toBe(2);
    expect([0, 1].map((index) => space.build(new Map([["x", index]])))).toEqual([
      { x: 100, y: 1 },
      { x: 200, y: 1 },
    ]);
  });
});

describe("conditional spaces", () => {
  const space = defineSpace({
    model: switchOn("algo", {
      svm: { c: uniform(0, 1), kernel: switchOn("name", { rbf: { width: uniform(1, 2) }, linear: {} }) },
      forest: { depth: randint(1, 5), c: uniform(7, 8) },
    }),
  });

  test("only the taken branch is in the config", () => {
    const random = new Random(2);
    const seen = new Set<string>();
    for (let i = 0; i < 200; i++) {
      const { model } = space.sample(random);
      seen.add(model.algo);
      if (model.algo === "forest") expect(Object.keys(model).sort()).toEqual(["algo", "c", "depth"]);
      else
        expect(Object.keys(model.kernel)).toEqual(model.kernel.name === "rbf" ? ["name", "width"] : ["name"]);
    }
    expect([...seen].sort()).toEqual(["forest", "svm"]);
  });

  test("each parameter has a name of its own and knows its branch", () => {
    expect(space.parameters.map(({ path, condition }) => [path, condition?.path, condition?.index])).toEqual([
      ["model/algo", undefined, undefined],
      ["model/svm/c", "model/algo", 0],
      ["model/svm/kernel/name", "model/algo", 0],
      ["model/svm/kernel/rbf/width", "model/svm/kernel/name", 0],
      ["model/forest/depth", "model/algo", 1],
      ["model/forest/c", "model/algo", 1],
    ]);
  });

  test("a sampled config reads back to the same numbers", () => {
    const random = new Random(4);
    for (let i = 0; i < 50; i++) {
      const { values, config } = space.resolve(
        ({ domain }) =>
          "fromUnit" in domain ? domain.fromUnit(random.next()) : random.integer(domain.count),
        random,
      );
      const read = space.read(config);
      for (const parameter of space.parameters) expect(read(parameter)).toBe(values.get(parameter.path));
      expect(space.build(values)).toEqual(config);
    }
  });

  test("a function may decide what it asks next", () => {
    const dynamic = defineSpace((trial: TrialSpace) => {
      const layers = trial.suggestInt("layers", 1, 3);
      return {
        layers,
        sizes: Array.from({ length: layers }, (_, i) => trial.suggestInt(`size${i}`, 4, 64, { log: true })),
      };
    });
    const random = new Random(1);
    const configs = Array.from({ length: 40 }, () => dynamic.sample(random));
    for (const { layers, sizes } of configs) {
      expect(sizes).toHaveLength(layers);
      expect(sizes.every((size) => Number.isInteger(size) && size >= 4 && size <= 64)).toBe(true);
    }
    expect(dynamic.parameters.map(({ path }) => path).sort()).toEqual(["layers", "size0", "size1", "size2"]);
  });

  test("a function that returns nothing gives the values by name", () => {
    const dynamic = defineSpace((trial: TrialSpace) => {
      trial.suggestFloat("x", 0, 1, { step: 0.25 });
      trial.suggestCategorical("kind", ["a", "b"]);
      return undefined as unknown as { x: number; kind: string };
    });
    const { x, kind } = dynamic.sample(new Random(1));
    expect([0, 0.25, 0.5, 0.75, 1]).toContain(x);
    expect(["a", "b"]).toContain(kind);
  });
});

describe("wrong spaces", () => {
  test.each([
    [
      "bounds in the wrong order",
      { net: { lr: uniform(1, 0) } },
      /parameter "net\/lr": uniform\(1, 0\).*lower bound/,
    ],
    ["bounds that are no numbers", { x: uniform(0, Number.NaN) }, /"x".*finite/],
    ["a logarithm of zero", { lr: loguniform(0, 1) }, /"lr".*above 0/],
    ["bounds off the lattice", { x: quniform(0, 1, 0.3) }, /"x".*multiples of 0.3/],
    ["bounds that are no multiples", { x: quniform(0.5, 1.5, 1) }, /"x".*multiples of 1/],
    ["a step of zero", { x: quniform(0, 1, 0) }, /"x".*step/],
    ["an empty range of integers", { n: randint(3, 3) }, /"n".*no whole number/],
    ["integers that are none", { n: randint(0.5, 3) }, /"n".*whole numbers/],
    ["a negative deviation", { x: randn(0, -1) }, /"x".*standard deviation/],
    ["an empty choice", { x: choice([]) }, /"x".*at least one/],
    ["a bare function", { x: () => 3 }, /"x" is a function: wrap it in sampleFrom/],
    [
      "a branch that takes the switch's key",
      { m: switchOn("algo", { a: { algo: 1 } }) },
      /"m\/algo".*without the key/,
    ],
    ["a wrong domain inside a choice", { x: choice([1, uniform(2, 1)]) }, /"x\/1"/],
  ])("%s", (_name, space, message) => {
    expect(() => defineSpace(space)).toThrow(InvalidOptionError);
    expect(() => defineSpace(space)).toThrow(message);
  });

  test("no space at all", () => {
    expect(() => defineSpace(uniform(0, 1))).toThrow("a search space is an object of parameters");
    expect(() => defineSpace([uniform(0, 1)])).toThrow("a search space is an object or a function");
  });

  test("configs outside the space are refused by name", () => {
    const space = defineSpace({ a: { x: uniform(0, 1) }, k: choice(["p", "q"]), n: qrandint(0, 10, 5) });
    expect(() => space.read({ a: { x: 2 } })).toThrow(/"a\/x" must be within uniform\(0, 1\), got 2/);
    expect(() => space.read({ k: "r" })).toThrow(/"k" must be one of p, q, got 'r'/);
    expect(() => space.read({ n: 3 })).toThrow(/"n" must be within/);
    expect(() => space.read({ b: 1 })).toThrow(/no parameter "b"; here it has "a", "k", "n"/);
    expect(() => space.validate({ a: { x: 0.5 }, k: "p" })).toThrow(/lacks parameter "n"/);
    space.validate({ a: { x: 0.5 }, k: "p", n: 5 });
  });

  test("a function that asks for one name in two ways", () => {
    const space = defineSpace((trial: TrialSpace) => ({
      a: trial.suggestFloat("x", 0, 1),
      b: trial.suggestFloat("x", 0, 2),
    }));
    expect(() => space.sample(new Random(1))).toThrow(/parameter "x".*has asked for it as/);
  });
});
