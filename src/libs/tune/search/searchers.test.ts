// Goal: what every searcher promises. Method: the same checks over all of them, on spaces with branches and lattices.
import { describe, expect, test } from "vitest";
import {
  choice,
  defineSpace,
  loguniform,
  quniform,
  randint,
  randn,
  switchOn,
  type TrialSpace,
  uniform,
} from "../space/index.ts";
import { BOHBSearcher } from "./bohb.ts";
import { CmaEsSearcher } from "./cma-es.ts";
import { GPSearcher } from "./gp.ts";
import { NSGA2Searcher } from "./nsga2.ts";
import { RandomSearcher, SobolSearcher } from "./random.ts";
import type { Searcher } from "./searcher.ts";
import { best, drive, start } from "./test-kit.ts";
import { TPESearcher } from "./tpe.ts";

const ALL: [string, () => Searcher][] = [
  ["random", () => new RandomSearcher()],
  ["Sobol", () => new SobolSearcher()],
  ["TPE", () => new TPESearcher()],
  ["CMA-ES", () => new CmaEsSearcher()],
  ["GP", () => new GPSearcher()],
  ["NSGA-II", () => new NSGA2Searcher({ population: 8 })],
  ["BOHB", () => new BOHBSearcher()],
];
const LEARNING = ALL.filter(([name]) => name !== "random" && name !== "Sobol" && name !== "BOHB");

const mixed = {
  lr: loguniform(1e-5, 1e-1),
  units: randint(1, 200),
  decay: quniform(0, 1, 0.25),
  shift: randn(0, 1),
  fixed: 3,
  model: switchOn("algo", {
    svm: { c: uniform(2, 3) },
    forest: { depth: randint(4, 9), kind: choice(["a", "b"]) },
  }),
};

interface MixedConfig {
  readonly lr: number;
  readonly units: number;
  readonly decay: number;
  readonly shift: number;
  readonly model: { algo: "svm"; c: number } | { algo: "forest"; depth: number; kind: string };
}

const mixedLoss = ({ lr, units, decay, shift, model }: MixedConfig) =>
  (Math.log10(lr) + 3) ** 2 +
  (units - 50) ** 2 / 1e4 +
  decay +
  shift ** 2 +
  (model.algo === "svm" ? 2 + model.c : 0.1 * model.depth + (model.kind === "a" ? 0 : 0.5));

describe.each(ALL)("%s", (_name, make) => {
  test("suggests configs of the space, and never a parameter of a branch not taken", () => {
    const space = defineSpace(mixed);
    const { configs } = drive(start(make(), space), 40, mixedLoss);
    expect(configs).toHaveLength(40);
    for (const config of configs as unknown as MixedConfig[]) {
      space.validate({ ...config });
      const { model } = config;
      expect(Object.keys(model).sort()).toEqual(
        model.algo === "svm" ? ["algo", "c"] : ["algo", "depth", "kind"],
      );
    }
  });

  test("the same seed and results give the same configs; another seed others", () => {
    const run = (seed: number) => drive(start(make(), mixed, seed), 25, mixedLoss).configs;
    expect(run(5)).toEqual(run(5));
    expect(run(5)).not.toEqual(run(6));
  });

  test("a restored one goes on with the same suggestions, running trials included", () => {
    const original = start(make(), mixed, 3);
    drive(original, 23, mixedLoss);
    const open = original.suggest("open");
    original.onReport?.("open", 1, [7]);
    const restored = start(make(), mixed, 3);
    restored.restore(JSON.parse(JSON.stringify(original.save())));
    for (const searcher of [original, restored]) searcher.onComplete("open", [Number.POSITIVE_INFINITY]);
    const going = drive(original, 12, mixedLoss, 100);
    expect(drive(restored, 12, mixedLoss, 100)).toEqual(going);
    expect(open.kind).toBe("config");
  });

  test("survives failed trials, NaN, infinities and equal results", () => {
    const searcher = start(make(), { x: uniform(0, 1), y: uniform(0, 1) });
    const outcomes = [
      undefined,
      [Number.NaN],
      [Number.POSITIVE_INFINITY],
      [Number.NEGATIVE_INFINITY],
      [1],
      [1],
    ];
    for (let i = 0; i < 60; i++) {
      expect(searcher.suggest(`t${i}`).kind).toBe("config");
      searcher.onComplete(`t${i}`, outcomes[i % outcomes.length]);
    }
  });

  test("many trials may run at once, and each id is asked for once", () => {
    const searcher = start(make(), { x: uniform(0, 1), y: uniform(0, 1) });
    drive(searcher, 20, ({ x, y }: { x: number; y: number }) => x + y);
    const open = Array.from({ length: 10 }, (_, i) => JSON.stringify(searcher.suggest(`open${i}`)));
    expect(new Set(open).size).toBe(10);
    expect(() => searcher.suggest("open3")).toThrow("open3");
    searcher.onComplete("unknown", [1]);
  });

  test("refuses no objective, and results of the wrong length", () => {
    expect(() => start(make(), mixed, 1, [])).toThrow("at least one objective");
    const searcher = start(make(), mixed);
    searcher.suggest("a");
    expect(() => searcher.onComplete("a", [1, 2])).toThrow("needs 1 values");
  });
});

describe.each(LEARNING)("%s learns", (name, make) => {
  // Random search reaches 0.013 here in the median of 100 trials.
  const bowl = ({ x, y }: { x: number; y: number }) => (x - 0.3) ** 2 + (y + 0.6) ** 2;
  const box = { x: uniform(-2, 2), y: uniform(-2, 2) };

  // A Gaussian process needs fewer, and more time for each.
  const evaluations = name === "GP" ? 50 : 150;

  test("to minimise", () => {
    const bests = [1, 2, 3]
      .map((seed) => best(drive(start(make(), box, seed), evaluations, bowl)))
      .sort((a, b) => a - b);
    expect(bests[1]).toBeLessThan(0.004);
  });

  test("to maximise", () => {
    const up = [{ metric: "score", direction: "max" as const }];
    const run = drive(start(make(), box, 2, up as never), evaluations, (config) => -bowl(config));
    expect(Math.max(...run.values.map(([value]) => value!))).toBeGreaterThan(-0.01);
  });

  if (name !== "CMA-ES") {
    test("which branch is the good one", () => {
      const { configs } = drive(start(make(), mixed, 4), 80, mixedLoss);
      const late = configs.slice(-30) as unknown as MixedConfig[];
      expect(late.filter(({ model }) => model.algo === "forest").length).toBeGreaterThan(18);
    });

    test("in a space that a function defines", () => {
      const space = defineSpace((trial: TrialSpace) => {
        const kind = trial.suggestCategorical("kind", ["near", "far"]);
        return kind === "near"
          ? { kind, x: trial.suggestFloat("x", 0, 1) }
          : { kind, y: trial.suggestFloat("y", 5, 10), z: trial.suggestInt("z", 1, 3) };
      });
      const loss = (config: { kind: string; x?: number; y?: number }) =>
        config.kind === "near" ? (config.x! - 0.5) ** 2 : config.y!;
      const run = drive(start(make(), space, 1), 60, loss as never);
      expect(best(run)).toBeLessThan(0.01);
      for (const config of run.configs)
        expect(Object.keys(config)).toHaveLength(config.kind === "near" ? 2 : 3);
    });
  }

  test("tries the given points first and takes known results as done", () => {
    const Make = make().constructor as new (options: object) => Searcher;
    const points = [{ x: 0.25, y: -0.5 }, { x: 1.5 }, { x: -1, y: -1 }];
    const searcher = start(new Make({ pointsToEvaluate: points, evaluatedRewards: [0.0125] }), box);
    const { configs } = drive(searcher, 3, bowl);
    expect(configs[0]).toMatchObject({ x: 1.5, y: expect.any(Number) });
    expect(configs[1]).toEqual({ x: -1, y: -1 });
    expect(() => start(new Make({ pointsToEvaluate: [{ z: 1 }] }), box)).toThrow('no parameter "z"');
    expect(() => start(new Make({ pointsToEvaluate: [{ x: 9 }] }), box)).toThrow('"x" must be within');
    expect(() => start(new Make({ evaluatedRewards: [1] }), box)).toThrow("more than the 0 pointsToEvaluate");
  });
});

describe("what a searcher cannot search", () => {
  const two = [
    { metric: "a", direction: "min" as const },
    { metric: "b", direction: "min" as const },
  ];

  test("several objectives", () => {
    expect(() => start(new CmaEsSearcher(), mixed, 1, two)).toThrow(
      "CMA-ES minimises or maximises one metric, got 2",
    );
    expect(() => start(new GPSearcher(), mixed, 1, two)).toThrow(
      "GPSearcher minimises or maximises one metric",
    );
  });

  test("spaces without numbers, for CMA-ES", () => {
    expect(() => start(new CmaEsSearcher(), { kind: choice(["a", "b"]) })).toThrow(
      'got "kind"; use TPESearcher',
    );
    expect(() =>
      start(
        new CmaEsSearcher(),
        defineSpace(() => ({})),
      ),
    ).toThrow("got a function");
  });

  test("options out of range", () => {
    expect(() => new TPESearcher({ startupTrials: 0 })).toThrow("startupTrials");
    expect(() => new TPESearcher({ candidates: 1.5 })).toThrow("candidates");
    expect(() => new GPSearcher({ startupTrials: -1 })).toThrow("startupTrials");
    expect(() => new CmaEsSearcher({ sigma: 0 })).toThrow("sigma");
    expect(() => new CmaEsSearcher({ population: 2 })).toThrow("population");
    expect(() => new NSGA2Searcher({ population: 1 })).toThrow("population");
    expect(() => new NSGA2Searcher({ mutationProbability: 2 })).toThrow("mutationProbability");
    expect(() => new BOHBSearcher({ randomFraction: -1 })).toThrow("randomFraction");
    expect(() => new RandomSearcher({ numSamples: 0 })).toThrow("numSamples");
  });
});
