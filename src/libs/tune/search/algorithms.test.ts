// Goal: each algorithm does what its source says. Method: small cases with known answers.
import { describe, expect, test } from "vitest";
import { choice, gridSearch, qrandint, sampleFrom, switchOn, uniform } from "../space/index.ts";
import { BOHBSearcher } from "./bohb.ts";
import { CmaEsSearcher } from "./cma-es.ts";
import { ConcurrencyLimiter } from "./limiter.ts";
import { NSGA2Searcher } from "./nsga2.ts";
import { crowding, paretoFront, paretoFronts } from "./pareto.ts";
import { bandwidths, PARZEN_DEFAULTS } from "./parzen.ts";
import { GridSearcher, RandomSearcher, SobolSearcher } from "./random.ts";
import { Repeater, TRIAL_INDEX } from "./repeater.ts";
import type { Searcher } from "./searcher.ts";
import { drive, start } from "./test-kit.ts";
import { ageWeights, TPESearcher } from "./tpe.ts";

const none = () => 0;

describe("grids", () => {
  test("all combinations, the first name varying fastest", () => {
    const space = { foo: gridSearch([1, 2, 3]), bar: gridSearch([true, false]), baz: "asd" };
    const { configs } = drive(start(new RandomSearcher({ numSamples: 1 }), space), 10, none);
    expect(configs.map(({ bar, foo }) => [bar, foo])).toEqual([
      [true, 1],
      [false, 1],
      [true, 2],
      [false, 2],
      [true, 3],
      [false, 3],
    ]);
  });

  test("points take the place of one pass each", () => {
    const space = { a: gridSearch([1, 2]), b: choice([0, 1, 2]) };
    const searcher = new RandomSearcher({
      numSamples: 4,
      pointsToEvaluate: [{ a: 2, b: 2 }, { a: 1 }, { b: 2 }],
    });
    const { configs } = drive(start(searcher, space), 20, none);
    expect(configs).toHaveLength(6);
    expect(configs[0]).toEqual({ a: 2, b: 2 });
    expect(configs[1]!.a).toBe(1);
    expect(configs.slice(2, 4)).toEqual([
      { a: 1, b: 2 },
      { a: 2, b: 2 },
    ]);
  });

  test("random values are kept over a pass if asked to", () => {
    const space = { a: gridSearch([1, 2, 3]), x: uniform(0, 1) };
    const run = (constantGridSearch: boolean) =>
      drive(start(new RandomSearcher({ numSamples: 2, constantGridSearch }), space), 9, none).configs.map(
        ({ x }) => x,
      );
    expect(new Set(run(false)).size).toBe(6);
    const kept = run(true);
    expect(new Set(kept).size).toBe(2);
    expect(new Set(kept.slice(0, 3)).size).toBe(1);
  });

  test("a grid in a branch belongs to that branch alone", () => {
    const space = { m: switchOn("algo", { a: { k: gridSearch([1, 2, 3]) }, b: {} }) };
    const { configs } = drive(start(new RandomSearcher({ numSamples: 1 }), space), 10, none);
    expect(configs.map(({ m }) => JSON.stringify(m)).sort()).toEqual([
      '{"algo":"a","k":1}',
      '{"algo":"a","k":2}',
      '{"algo":"a","k":3}',
      '{"algo":"b"}',
    ]);
  });

  test("grid values may be calculated from other values", () => {
    const space = { x: gridSearch([1, 2]), y: sampleFrom((config: { x: number }) => config.x * 100) };
    const { configs } = drive(start(new RandomSearcher({ numSamples: 1 }), space), 10, none);
    expect(configs).toEqual([
      { x: 1, y: 100 },
      { x: 2, y: 200 },
    ]);
  });

  test("GridSearcher visits every finite config once, in order or shuffled, and refuses a continuous one", () => {
    const space = { n: qrandint(1, 3), m: switchOn("on", { yes: { k: choice(["p", "q"]) }, no: {} }) };
    const runs = [false, true].map(
      (shuffle) => drive(start(new GridSearcher({ shuffle }), space), 99, none).configs,
    );
    for (const configs of runs) expect(new Set(configs.map((config) => JSON.stringify(config))).size).toBe(9);
    for (const configs of runs) expect(configs).toHaveLength(9);
    expect(runs[0]).not.toEqual(runs[1]);
    expect(() => start(new GridSearcher(), { x: uniform(0, 1) })).toThrow(/parameter "x" is uniform\(0, 1\)/);
  });

  test("Sobol points fill the box more evenly than random ones", () => {
    const space = { x: uniform(0, 1), y: uniform(0, 1) };
    const cells = (searcher: Searcher) => {
      const { configs } = drive(start(searcher, space), 64, none);
      return new Set(
        configs.map(({ x, y }) => `${Math.floor((x as number) * 8)},${Math.floor((y as number) * 8)}`),
      ).size;
    };
    expect(cells(new SobolSearcher())).toBe(64);
    expect(cells(new RandomSearcher())).toBeLessThan(60);
  });
});

describe("TPE", () => {
  const halves = (values: number[]) => values.map((x) => x / 2);
  const widths = (seen: number[], options: object) => [
    ...bandwidths(
      Float64Array.from(seen, (x) => (x + 1) / 2),
      { ...PARZEN_DEFAULTS, ...options },
    ),
  ];

  // The vectors are for the interval [-1, 1]: twice ours.
  test.each([
    [[0.4], { endpoints: true, floor: 0 }, [1.4]],
    [[-0.3, 0.3], {}, [0.6, 0.6]],
    [[-0.3, 0.3], { endpoints: true }, [0.7, 0.7]],
    [[-0.4, 0.4, 0.41, 0.42], { endpoints: true, floor: 0 }, [0.8, 0.8, 0.01, 0.58]],
    [[-0.4, 0.4, 0.41, 0.42], { endpoints: true }, [0.8, 0.8, 1 / 3, 0.58]],
  ])("bandwidths of %j with %j", (seen, options, expected) => {
    for (const [i, width] of widths(seen, options).entries())
      expect(width).toBeCloseTo(halves(expected)[i]!, 12);
  });

  test("old observations fade", () => {
    expect([...ageWeights(3)]).toEqual([1, 1, 1]);
    const weights = ageWeights(50);
    expect(weights[0]).toBeCloseTo(1 / 50, 12);
    expect(weights[24]).toBe(1);
    expect(weights[49]).toBe(1);
  });

  test("parallel trials keep apart because running ones count as bad", () => {
    const closest = (constantLiar: boolean) => {
      let sum = 0;
      for (let seed = 1; seed <= 30; seed++) {
        const searcher = start(
          new TPESearcher({ constantLiar }),
          { x: uniform(0, 1), y: uniform(0, 1) },
          seed,
        );
        drive(searcher, 40, ({ x, y }: { x: number; y: number }) => (x - 0.5) ** 2 + (y - 0.5) ** 2);
        const open = Array.from({ length: 10 }, (_, i) => {
          const suggestion = searcher.suggest(`open${i}`);
          return suggestion.kind === "config"
            ? (suggestion.config as { x: number; y: number })
            : { x: 0, y: 0 };
        });
        const gaps = open.flatMap((a, i) => open.slice(0, i).map((b) => Math.hypot(a.x - b.x, a.y - b.y)));
        sum += Math.min(...gaps);
      }
      return sum;
    };
    expect(closest(true)).toBeGreaterThan(1.25 * closest(false));
  });

  test("several objectives: the front spreads between their optima", () => {
    const two = ["a", "b"].map((metric) => ({ metric, direction: "min" as const }));
    const run = drive(
      start(new TPESearcher(), { x: uniform(-5, 5) }, 1, two),
      100,
      ({ x }: { x: number }) => [x ** 2, (x - 2) ** 2],
    );
    const late = run.configs.slice(-40).map(({ x }) => x as number);
    expect(late.filter((x) => x > -0.5 && x < 2.5).length).toBeGreaterThan(24);
  });
});

test("CMA-ES finds the bottom of a bowl with eight trials at once: the model's optimum is tried while others run", () => {
  const searcher = start(new CmaEsSearcher(), { x: uniform(-5, 5), y: uniform(-5, 5) });
  const running: [string, number][] = [];
  let lowest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 80; i++) {
    const suggestion = searcher.suggest(`t${i}`);
    const { x, y } = (suggestion.kind === "config" ? suggestion.config : {}) as { x: number; y: number };
    running.push([`t${i}`, (x - 1) ** 2 + 3 * (y + 2) ** 2 + x * y]);
    if (running.length < 8) continue;
    const [id, value] = running.shift()!;
    lowest = Math.min(lowest, value);
    searcher.onComplete(id, [value]);
  }
  expect(lowest + 37 / 11).toBeLessThan(1e-5); // at x = 24/11, y = -26/11
});

describe("NSGA-II", () => {
  test("fronts and crowding", () => {
    const points = [
      [1, 5],
      [2, 2],
      [5, 1],
      [3, 3],
      [6, 6],
    ];
    expect(paretoFronts(points)).toEqual([[0, 1, 2], [3], [4]]);
    const spread = crowding(points, [0, 1, 2]);
    expect(spread.get(0)).toBe(Number.POSITIVE_INFINITY);
    expect(spread.get(1)).toBeCloseTo(2, 12);
    expect(
      paretoFront(
        [
          [1, 1],
          [2, 0],
          [Number.NaN, 9],
        ],
        ["max", "min"],
      ),
    ).toEqual([1]);
  });

  test("finds the trade-off of two objectives, better than random search", () => {
    const two = ["a", "b"].map((metric) => ({ metric, direction: "min" as const }));
    const space = Object.fromEntries(["x", "y", "z"].map((name) => [name, uniform(-4, 4)]));
    // Fonseca and Fleming: the front is the diagonal from -1/sqrt 3 to 1/sqrt 3.
    const both = (config: Record<string, number>) =>
      [1, -1].map(
        (sign) =>
          1 - Math.exp(-Object.values(config).reduce((sum, v) => sum + (v - sign / Math.sqrt(3)) ** 2, 0)),
      );
    const near = (searcher: Searcher) => {
      const { values } = drive(start(searcher, space, 2, two), 400, both as never);
      return values.slice(-100).filter(([a, b]) => a! + b! < 1.9).length;
    };
    expect(near(new NSGA2Searcher({ population: 20 }))).toBeGreaterThan(3 * near(new RandomSearcher()) + 10);
  });
});

describe("BOHB", () => {
  /** How many of the later configs are near what long runs say is best, and near what short ones say. */
  const run = (longRuns: boolean) => {
    const searcher = start(new BOHBSearcher({ randomFraction: 0 }), { x: uniform(0, 1) }, 1);
    const late: number[] = [];
    for (let i = 0; i < 40; i++) {
      const suggestion = searcher.suggest(`t${i}`);
      const x = suggestion.kind === "config" ? (suggestion.config.x as number) : 0;
      if (i >= 10) late.push(x);
      searcher.onReport(`t${i}`, 1, [(x - 0.9) ** 2]);
      if (longRuns) searcher.onReport(`t${i}`, 9, [(x - 0.1) ** 2]);
      searcher.onComplete(`t${i}`, [(x - 0.9) ** 2]);
    }
    return [late.filter((x) => x < 0.35).length, late.filter((x) => x > 0.65).length] as const;
  };

  test("models the largest budget that enough trials reached", () => {
    const [long, short] = run(true);
    expect(long).toBeGreaterThan(3 * short);
    const [nearLong, nearShort] = run(false);
    expect(nearShort).toBeGreaterThan(3 * nearLong);
  });
});

describe("ConcurrencyLimiter", () => {
  const space = { x: uniform(0, 1) };

  test("makes the rest wait until a trial ends", () => {
    const searcher = start(new ConcurrencyLimiter(new TPESearcher(), 2), space);
    const kinds = ["a", "b", "c"].map((id) => searcher.suggest(id).kind);
    expect(kinds).toEqual(["config", "config", "wait"]);
    searcher.onComplete("a", undefined);
    expect(searcher.suggest("c").kind).toBe("config");
  });

  test("a batch is told when it is over, also after a restore", () => {
    const told: string[] = [];
    class Watched extends TPESearcher {
      override onComplete(id: string, values: readonly number[] | undefined): void {
        told.push(id);
        super.onComplete(id, values);
      }
    }
    const first = start(new ConcurrencyLimiter(new Watched(), 2, { batch: true }), space);
    first.suggest("a");
    first.suggest("b");
    first.onComplete("a", [Number.NaN]);
    expect(told).toEqual([]);
    expect(first.suggest("c").kind).toBe("wait");
    const second = start(new ConcurrencyLimiter(new Watched(), 2, { batch: true }), space);
    second.restore(JSON.parse(JSON.stringify(first.save())));
    second.onComplete("b", [2]);
    expect(told).toEqual(["a", "b"]);
    expect(second.suggest("c").kind).toBe("config");
  });

  test("needs a whole number", () => {
    expect(() => new ConcurrencyLimiter(new TPESearcher(), 0)).toThrow("maxConcurrent");
  });
});

describe("Repeater", () => {
  test("runs each config several times and tells their mean", () => {
    const told: [string, readonly number[] | undefined][] = [];
    class Watched extends TPESearcher {
      override onComplete(id: string, values: readonly number[] | undefined): void {
        told.push([id, values]);
        super.onComplete(id, values);
      }
    }
    const searcher = start(new Repeater(new Watched(), 3), { x: uniform(0, 1) });
    const configs = ["a", "b", "c", "d"].map((id) => {
      const suggestion = searcher.suggest(id);
      return suggestion.kind === "config" ? suggestion.config : {};
    });
    expect(configs.map((config) => config[TRIAL_INDEX])).toEqual([0, 1, 2, 0]);
    expect(new Set(configs.slice(0, 3).map(({ x }) => x)).size).toBe(1);
    expect(configs[3]!.x).not.toBe(configs[0]!.x);
    searcher.onComplete("b", [4]);
    searcher.onComplete("a", [2]);
    const restored = start(new Repeater(new Watched(), 3), { x: uniform(0, 1) });
    restored.restore(JSON.parse(JSON.stringify(searcher.save())));
    restored.onComplete("c", undefined);
    expect(told).toEqual([["a", [3]]]);
    expect(() => new Repeater(new TPESearcher(), 0)).toThrow("repeat");
  });
});
