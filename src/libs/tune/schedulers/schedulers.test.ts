// Goal: schedulers decide as the papers (and Ray, where it differs on purpose) say. Method: reports by hand, decisions out.
import { describe, expect, test } from "vitest";
import { Random } from "../random.ts";
import { TPESearcher } from "../search/index.ts";
import { defineSpace, qrandint, sampleFrom, type TrialSpace, uniform } from "../space/index.ts";
import { explore } from "./explore.ts";
import {
  ASHA,
  asPruner,
  type Decision,
  HyperBand,
  HyperBandForBOHB,
  MedianStopping,
  type Mutations,
  PB2,
  PBT,
  PBTReplay,
  ResourceChanging,
  type Scheduler,
} from "./index.ts";

function ready<S extends Scheduler>(scheduler: S, mode: "min" | "max" = "max", seed = 1): S {
  scheduler.setup({ metric: "score", mode, seed });
  return scheduler;
}

function report(
  scheduler: Scheduler,
  trialId: string,
  time: number,
  value: number,
  othersWait = false,
): Decision {
  return scheduler.onReport({ trialId, time, value, config: {}, othersWait });
}

function add(scheduler: Scheduler, ...ids: string[]): void {
  for (const id of ids) scheduler.onTrialAdd(id, {});
}

/** As it comes back from a journal. */
const viaJson = (state: unknown): unknown => JSON.parse(JSON.stringify(state));

describe("ASHA", () => {
  const fillTwo = (asha: ASHA, sign = 1) => {
    add(asha, "t1", "t2", "t3");
    for (let i = 0; i < 10; i++) expect(report(asha, "t1", i, sign * i * 100)).toBe("continue");
    for (let i = 0; i < 5; i++) expect(report(asha, "t2", i, sign * 450)).toBe("continue");
  };

  test.each([
    ["max", 1],
    ["min", -1],
  ] as const)("stops below the cutoff of each rung (%s)", (mode, sign) => {
    const asha = ready(new ASHA({ maxT: 10, gracePeriod: 1, reductionFactor: 2 }), mode);
    fillTwo(asha, sign);
    asha.onComplete("t1", { time: 10, value: sign * 1000 });
    asha.onComplete("t2", { time: 10, value: sign * 1000 });
    expect(report(asha, "t3", 1, sign * 260)).toBe("stop");
    expect(report(asha, "t3", 2, sign * 260)).toBe("stop");
  });

  test("leaves trials alone during the grace period", () => {
    const asha = ready(new ASHA({ maxT: 10, gracePeriod: 2.5, reductionFactor: 3 }));
    fillTwo(asha);
    expect(report(asha, "t3", 1, 10)).toBe("continue");
    expect(report(asha, "t3", 2, 10)).toBe("continue");
    expect(report(asha, "t3", 3, 10)).toBe("stop");
  });

  test("ends trials at maxT, unless told not to", () => {
    const ending = ready(new ASHA({ maxT: 3, reductionFactor: 2 }));
    add(ending, "a");
    expect(report(ending, "a", 3, 1)).toBe("stop");
    const asha = ready(new ASHA({ maxT: 3, gracePeriod: 1, reductionFactor: 2, stopLastTrials: false }));
    add(asha, "a", "b", "c", "d");
    expect([10, 8, 6, 4].map((value, i) => report(asha, "abcd"[i] as string, 2, value))).toEqual([
      "continue",
      "stop",
      "stop",
      "stop",
    ]);
    for (const [time, value] of [
      [4, 4],
      [8, 8],
      [14, 1],
    ] as const)
      expect(report(asha, "a", time, value)).toBe("continue");
  });

  test("goes on after restore with what it knew", () => {
    const first = ready(new ASHA({ maxT: 10, reductionFactor: 2 }));
    for (let i = 0; i < 5; i++) {
      add(first, `t${i}`);
      expect(report(first, `t${i}`, 1, 10)).toBe("continue");
    }
    add(first, "bad");
    expect(report(first, "bad", 1, 5)).toBe("stop");
    const second = ready(new ASHA({ maxT: 10, reductionFactor: 2 }));
    second.restore(viaJson(first.save()));
    add(second, "x", "y");
    expect(report(second, "x", 1, 4)).toBe("stop");
    expect(report(second, "y", 1, 2)).toBe("stop");
  });

  test("never stops the first at a rung, and lets NaN pass without counting it", () => {
    const asha = ready(new ASHA({ maxT: 10, reductionFactor: 2 }));
    add(asha, "a", "b", "c");
    expect(report(asha, "a", 1, Number.NaN)).toBe("continue");
    expect(report(asha, "b", 1, 5)).toBe("continue");
    expect(report(asha, "c", 1, 4)).toBe("stop");
  });

  /** 8 workers in turn, each trial with one constant score. */
  function simulate(n: number, maxT: number, reductionFactor: number, seed: number) {
    const asha = ready(new ASHA({ maxT, reductionFactor }), "max", seed);
    const random = new Random(seed);
    const scores = Array.from({ length: n }, () => random.next());
    const best = scores.indexOf(Math.max(...scores));
    const running: { id: number; t: number }[] = [];
    let next = 0;
    let spent = 0;
    const reachedEnd = new Set<number>();
    for (;;) {
      while (running.length < 8 && next < n) {
        add(asha, String(next));
        running.push({ id: next++, t: 0 });
      }
      if (running.length === 0) break;
      for (const trial of [...running]) {
        trial.t += 1;
        spent += 1;
        if (trial.t === maxT) reachedEnd.add(trial.id);
        if (report(asha, String(trial.id), trial.t, scores[trial.id] as number) === "stop") {
          asha.onComplete(String(trial.id));
          running.splice(running.indexOf(trial), 1);
        }
      }
    }
    const rungs = asha.rungSizes()[0]?.map(({ recorded }) => recorded) as number[];
    return { fraction: spent / (n * maxT), rungs, reachedEnd, best };
  }

  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

  test.each([
    [100, 100, 4, 0.103, [100, 27.9, 11.7, 8.7]],
    [1000, 100, 4, 0.046, [1000, 251, 69.4, 28.3]],
    [100, 81, 3, 0.122, [100, 35.2, 15.8, 11.0]],
    [1000, 81, 3, 0.06, [1000, 333, 117, 49.5]],
    [256, 27, 3, 0.142, [256, 86.9, 34.9]],
  ] as const)(
    "spends what the reference spends: n=%i, maxT=%i, factor=%i",
    (n, maxT, factor, fraction, sizes) => {
      const runs = Array.from({ length: n === 1000 ? 10 : 30 }, (_, seed) => simulate(n, maxT, factor, seed));
      for (const { reachedEnd, best } of runs) expect(reachedEnd.has(best)).toBe(true);
      const spent = mean(runs.map((run) => run.fraction));
      expect(spent).toBeGreaterThan(fraction * 0.85);
      expect(spent).toBeLessThan(fraction * 1.15);
      sizes.forEach((size, rung) => {
        const reached = mean(runs.map(({ rungs }) => rungs[rung] as number));
        expect(reached / size).toBeGreaterThan(0.85);
        expect(reached / size).toBeLessThan(1.15);
      });
    },
    60_000,
  );

  test("promotion form: pauses at rungs, goes on with the best when a worker is free", () => {
    const asha = ready(new ASHA({ maxT: 9, reductionFactor: 3, form: "promotion" }));
    const paused: { trialId: string; state: "paused" }[] = [];
    for (let i = 0; i < 3; i++) {
      add(asha, `t${i}`);
      expect(report(asha, `t${i}`, 1, i)).toBe("pause");
      paused.push({ trialId: `t${i}`, state: "paused" });
    }
    expect(asha.chooseToRun(paused)).toBe("t2");
    expect(asha.chooseToRun(paused.slice(0, 2))).toBeUndefined();
    expect(report(asha, "t2", 2, 5)).toBe("continue");
    expect(report(asha, "t2", 3, 5)).toBe("pause");
    expect(asha.chooseToRun([...paused, { trialId: "new", state: "pending" }])).toBe("new");
    expect(asha.needsCheckpoints).toBe(true);
  });

  test("refuses bad options by name", () => {
    expect(() => new ASHA({ maxT: -1 })).toThrow(/maxT must be a number > 0, got -1/);
    expect(() => new ASHA({ maxT: 5, gracePeriod: 6 })).toThrow(/gracePeriod must be at most maxT = 5/);
    expect(() => new ASHA({ grace: 6 } as never)).toThrow(/ASHA has no option "grace"; it has timeAttribute/);
  });
});

describe("HyperBand", () => {
  test("has the paper's brackets", () => {
    const table = (maxT: number, reductionFactor: number) =>
      new HyperBand({ maxT, reductionFactor }).table().map(({ size, milestone }) => [size, milestone]);
    expect(table(81, 3)).toEqual([
      [5, 81],
      [8, 27],
      [15, 9],
      [34, 3],
      [81, 1],
    ]);
    const ten = table(1000, 10);
    expect(ten).toHaveLength(4);
    expect([ten[0], ten[3]]).toEqual([
      [4, 1000],
      [1000, 1],
    ]);
    expect(table(1, 3)).toHaveLength(1);
    expect(new HyperBandForBOHB({ maxT: 81 }).table()[0]).toEqual({ size: 81, milestone: 1 });
  });

  test("halves 81 to 27, 9, 3, 1: all but the last of a bracket wait, the best go on", () => {
    const band = ready(new HyperBandForBOHB({ maxT: 81 }));
    let live = Array.from({ length: 81 }, (_, i) => `t${i}`);
    add(band, ...live);
    let time = 1;
    for (const left of [27, 9, 3, 1]) {
      const decisions = live.map((id, i) => report(band, id, time, i));
      expect(new Set(decisions.slice(0, -1))).toEqual(new Set(["pause"]));
      expect(decisions.at(-1)).toBe("continue");
      const stopped = new Set(band.takeOrders().map(({ trialId }) => trialId));
      live = live.filter((id) => !stopped.has(id));
      expect(live).toHaveLength(left);
      expect(band.liveCounts()[0]).toBe(left);
      const resumable = live.slice(0, -1).map((trialId) => ({ trialId, state: "paused" as const }));
      if (resumable.length > 0) expect(band.chooseToRun(resumable)).toBe(resumable[0]?.trialId);
      time *= 3;
    }
    expect(report(band, live[0] as string, 81, 1)).toBe("stop");
  });

  test("the rounds of every bracket are the paper's", () => {
    for (const [size, milestone, expected] of [
      [34, 3, [11, 3, 1]],
      [15, 9, [5, 1]],
      [8, 27, [2]],
    ] as const) {
      const band = ready(new HyperBand({ maxT: 81 }));
      const before = [5, 8, 15, 34].slice(0, [81, 27, 9, 3].indexOf(milestone)).reduce((a, b) => a + b, 0);
      add(band, ...Array.from({ length: before }, (_, i) => `x${i}`));
      let live = Array.from({ length: size }, (_, i) => `t${i}`);
      add(band, ...live);
      let time: number = milestone;
      for (const left of expected) {
        live.forEach((id, i) => void report(band, id, time, i));
        const stopped = new Set(band.takeOrders().map(({ trialId }) => trialId));
        live = live.filter((id) => !stopped.has(id));
        expect(live).toHaveLength(left);
        time *= 3;
      }
      expect(time).toBe(81);
    }
  });

  test("a bracket that never fills goes on with what it has; one that loses a trial halves without it", () => {
    const band = ready(new HyperBandForBOHB({ maxT: 9 }));
    add(band, "a", "b", "c");
    for (const [i, id] of ["a", "b", "c"].entries()) expect(report(band, id, 1, i)).toBe("pause");
    expect(band.takeOrders()).toEqual([]);
    band.onStarved();
    expect(
      band
        .takeOrders()
        .map(({ trialId }) => trialId)
        .sort(),
    ).toEqual(["a", "b"]);
    const full = ready(new HyperBand({ maxT: 9 }));
    add(full, ...Array.from({ length: 3 }, (_, i) => `x${i}`), "p", "q", "r", "s", "t");
    for (const [i, id] of ["p", "q", "r", "s"].entries()) expect(report(full, id, 3, i)).toBe("pause");
    full.onRemove("t");
    expect(
      full
        .takeOrders()
        .map(({ trialId }) => trialId)
        .sort(),
    ).toEqual(["p", "q", "r"]);
  });

  test("goes on after restore", () => {
    const first = ready(new HyperBandForBOHB({ maxT: 9 }));
    add(first, ..."abcdefghi");
    for (const [i, id] of [..."abcdefgh"].entries()) report(first, id, 1, i);
    const second = ready(new HyperBandForBOHB({ maxT: 9 }));
    second.restore(viaJson(first.save()));
    expect(report(second, "i", 1, 9)).toBe("continue");
    expect(second.liveCounts()).toEqual([3]);
  });
});

describe("MedianStopping", () => {
  const filled = (options = {}) => {
    const rule = ready(
      new MedianStopping({ timeAttribute: "t", gracePeriod: 0, minSamplesRequired: 1, ...options }),
    );
    for (let i = 0; i < 10; i++) expect(report(rule, "t1", i, i * 100)).toBe("continue");
    for (let i = 0; i < 5; i++) expect(report(rule, "t2", i, 450)).toBe("continue");
    return rule;
  };

  test("judges a trial's best by the others' running means", () => {
    const rule = filled();
    rule.onComplete("t1", { time: 10, value: 1000 });
    expect(report(rule, "t2", 5, 450)).toBe("continue");
    expect(report(rule, "t2", 6, 0)).toBe("continue");
    expect(report(rule, "t2", 10, 450)).toBe("stop");
  });

  test("keeps the grace period and the number of samples", () => {
    const grace = filled({ gracePeriod: 2.5 });
    expect(report(grace, "t3", 1, 10)).toBe("continue");
    expect(report(grace, "t3", 2, 10)).toBe("continue");
    expect(report(grace, "t3", 3, 10)).toBe("stop");
    const samples = filled({ minSamplesRequired: 2 });
    samples.onComplete("t1", { time: 10, value: 1000 });
    expect(report(samples, "t3", 3, 10)).toBe("stop");
    expect(report(filled({ minSamplesRequired: 3 }), "t3", 3, 10)).toBe("continue");
    expect(report(filled({ minSamplesRequired: 3 }), "t3", 3, 10, true)).toBe("continue");
  });

  test("compares with the median; a soft rule pauses", () => {
    const rule = filled();
    rule.onComplete("t1", { time: 10, value: 1000 });
    rule.onComplete("t2", { time: 10, value: 1000 });
    expect(report(rule, "t3", 1, 260)).toBe("continue");
    expect(report(rule, "t3", 2, 260)).toBe("stop");
    const soft = filled({ hardStop: false });
    soft.onComplete("t1", { time: 10, value: 1000 });
    expect(report(soft, "t3", 5, 1)).toBe("pause");
  });
});

describe("PBT", () => {
  const population = (options: Partial<ConstructorParameters<typeof PBT>[0]> = {}) => {
    const pbt = ready(
      new PBT({
        perturbationInterval: 10,
        quantileFraction: 0.25,
        resampleProbability: 0,
        mutations: { id: [100], float: () => 100, int: () => 10 },
        ...options,
      }),
    );
    const configs = new Map<string, Record<string, unknown>>();
    for (let i = 0; i < 5; i++) {
      configs.set(`${i}`, pbt.onTrialAdd(`${i}`, { id: i, float: 2, int: 10, constant: 3 }));
      report(pbt, `${i}`, 10, 50 * i);
    }
    return pbt;
  };

  test("the best save, those in between do nothing", () => {
    const pbt = population();
    const before = pbt.counts;
    expect(report(pbt, "0", 15, -1000)).toBe("continue");
    expect(report(pbt, "0", 20, 200)).toBe("save");
    expect(pbt.counts.saves - before.saves).toBe(1);
    expect(report(pbt, "1", 30, 201)).toBe("save");
    expect(report(pbt, "4", 30, 199)).toBe("continue");
    expect(pbt.counts).toEqual({ saves: before.saves + 2, perturbations: before.perturbations });
  });

  test("the worst copies one of the best and is perturbed", () => {
    const pbt = population();
    const decision = report(pbt, "0", 20, -100) as Exclude<Decision, string>;
    expect(decision).toMatchObject({ kind: "exploit", pause: false, config: { id: 100, constant: 3 } });
    const { source, config } = decision as Extract<Decision, { kind: "exploit" }>;
    expect(["3", "4"]).toContain(source);
    expect([2.4, 1.6]).toContainEqual(config.float);
    expect([12, 8]).toContain(config.int);
    expect(pbt.policyOf("0")).toEqual([
      { time: 0, config: { id: Number(source), float: 2, int: 10, constant: 3 } },
      { time: 10, config },
    ]);
  });

  test("draws anew with resampleProbability 1", () => {
    const decision = report(population({ resampleProbability: 1 }), "0", 20, -100);
    expect(decision).toMatchObject({ config: { id: 100, float: 100, int: 10, constant: 3 } });
  });

  test("gives way while others wait, and lets the one that trained least go on", () => {
    const pbt = population();
    expect(report(pbt, "2", 20, 100, true)).toBe("pause");
    expect(report(pbt, "0", 20, -100, true)).toMatchObject({ kind: "exploit", pause: true });
    const paused = ["2", "0", "1"].map((trialId) => ({ trialId, state: "paused" as const }));
    expect(pbt.chooseToRun(paused)).toBe("0");
    expect(pbt.chooseToRun([...paused, { trialId: "new", state: "pending" }])).toBe("new");
  });

  test("explores each kind of mutation", () => {
    const outcomes = (value: unknown, mutation: unknown, resampleProbability: number) => {
      const random = new Random(3);
      const options = { resampleProbability, factors: [1.2, 0.8] as const };
      const draws = Array.from({ length: 200 }, () =>
        explore({ v: value }, { v: mutation } as Mutations, options, random),
      );
      return new Set(draws.map(({ v }) => v));
    };
    const list = [3, 4, 8, 10];
    expect(outcomes(4, list, 0)).toEqual(new Set([3, 8]));
    expect(outcomes(3, list, 0)).toEqual(new Set([3, 4]));
    expect(outcomes(10, list, 0)).toEqual(new Set([8, 10]));
    expect(outcomes(7, list, 0)).toEqual(new Set(list));
    expect(outcomes(4, list, 1)).toEqual(new Set(list));
    expect(outcomes(100, () => 1, 0)).toEqual(new Set([120, 80]));
    expect(outcomes(100, () => 1, 1)).toEqual(new Set([1]));
    expect(outcomes(100, qrandint(0, 110), 0)).toEqual(new Set([110, 80]));
  });

  test("refuses mutations that mean nothing", () => {
    const make = (mutation: unknown) => () => new PBT({ mutations: { lr: mutation } as never });
    expect(make(new Set([1, 2]))).toThrow(/mutations\.lr must be a non-empty array, a domain, a function/);
    expect(make("1,2")).toThrow(/mutations\.lr must be .* got "1,2"/);
    expect(make(sampleFrom(() => 1))).toThrow(/mutations\.lr cannot be sampleFrom\(\)/);
    expect(() => new PBT({})).toThrow(/PBT needs mutations or customExplore/);
  });

  test("synchronous: everyone waits at the interval, then the worst copy", () => {
    const pbt = population({ synchronous: true, perturbationInterval: 20 });
    const decisions = [0, 1, 2, 3].map((i) => report(pbt, `${i}`, 20, i));
    expect(decisions).toEqual(["pause", "pause", "pause", "pause"]);
    const paused = [0, 1, 2, 3].map((i) => ({ trialId: `${i}`, state: "paused" as const }));
    expect(pbt.chooseToRun(paused)).toBeUndefined();
    expect(report(pbt, "4", 20, 4)).toBe("pause");
    expect(pbt.takeOrders().map(({ trialId, kind }) => [trialId, kind])).toEqual([
      ["0", "exploit"],
      ["1", "exploit"],
    ]);
    expect(pbt.chooseToRun(paused)).toBeDefined();
  });

  test("goes on after restore with the same choices", () => {
    const first = population();
    const second = ready(
      new PBT({
        perturbationInterval: 10,
        resampleProbability: 0,
        mutations: { id: [100], float: () => 100, int: () => 10 },
      }),
    );
    second.restore(viaJson(first.save()));
    for (const time of [20, 30, 40]) {
      for (let i = 0; i < 5; i++)
        expect(report(second, `${i}`, time, i - time)).toEqual(report(first, `${i}`, time, i - time));
    }
  });

  test("the paper's toy: two members with half the gradient each find the optimum together", () => {
    const best = (seed: number, usesPbt: boolean): number => {
      const pbt = ready(
        new PBT({
          perturbationInterval: 10,
          synchronous: true,
          quantileFraction: 0.5,
          mutations: { h0: uniform(0, 1), h1: uniform(0, 1) },
        }),
        "max",
        seed,
      );
      const value = ([a, b]: readonly [number, number]) => 1.2 - (a * a + b * b);
      const members = [
        { h0: 1, h1: 0 },
        { h0: 0, h1: 1 },
      ].map((config, i) => {
        pbt.onTrialAdd(`${i}`, config);
        return { theta: [0.9, 0.9] as [number, number], config };
      });
      for (let step = 1; step <= 200; step++) {
        members.forEach((member, i) => {
          const { h0, h1 } = member.config;
          const [a, b] = member.theta;
          member.theta = [a - 0.01 * 2 * h0 * a, b - 0.01 * 2 * h1 * b];
          if (!usesPbt) return;
          const decision = report(pbt, `${i}`, step, value(member.theta));
          const own =
            typeof decision === "object" && decision.kind === "exploit"
              ? [{ ...decision, trialId: `${i}` }]
              : [];
          for (const order of [...own, ...pbt.takeOrders()]) {
            if (order.kind !== "exploit") continue;
            const source = members[Number(order.source)] as (typeof members)[number];
            Object.assign(members[Number(order.trialId)] as object, {
              theta: [...source.theta],
              config: order.config,
            });
          }
        });
      }
      return Math.max(...members.map(({ theta }) => value(theta)));
    };
    expect(best(0, false)).toBeCloseTo(0.39, 2);
    const found = Array.from({ length: 21 }, (_, seed) => best(seed, true)).sort((a, b) => a - b);
    expect(found[10]).toBeGreaterThan(1.19);
  });

  test("replay follows the winner's configurations", () => {
    const policy = [
      { time: 0, config: { lr: 1 } },
      { time: 10, config: { lr: 2 } },
      { time: 30, config: { lr: 3 } },
    ];
    const replay = ready(new PBTReplay(policy));
    expect(replay.onTrialAdd("a", { lr: 9, other: 5 })).toEqual({ lr: 1, other: 5 });
    expect(report(replay, "a", 9, 0)).toBe("continue");
    expect(report(replay, "a", 10, 0)).toMatchObject({ kind: "exploit", source: "a", config: { lr: 2 } });
    expect(report(replay, "a", 11, 0)).toBe("continue");
    expect(report(replay, "a", 30, 0)).toMatchObject({ config: { lr: 3 } });
    expect(() => replay.onTrialAdd("b", {})).toThrow(/exactly one trial/);
  });
});

test("PB2 learns which values gain most and keeps to its bounds", () => {
  const pb2 = ready(new PB2({ perturbationInterval: 1, bounds: { lr: [0, 1], layers: [1, 4] } }), "max", 4);
  const members = Array.from({ length: 8 }, (_, i) => ({
    config: pb2.onTrialAdd(`${i}`, { lr: i / 7, layers: 2 }) as { lr: number; layers: number },
    score: 0,
  }));
  const explored: number[] = [];
  for (let step = 1; step <= 30; step++) {
    members.forEach((member, i) => {
      member.score -= (member.config.lr - 0.8) ** 2; // least loss at 0.8
      const decision = pb2.onReport({
        trialId: `${i}`,
        time: step,
        value: member.score,
        config: member.config,
        othersWait: false,
      });
      if (typeof decision !== "object" || decision.kind !== "exploit") return;
      member.score = members[Number(decision.source)]?.score as number;
      member.config = decision.config as typeof member.config;
      expect([1, 2, 3, 4]).toContain(member.config.layers);
      explored.push(member.config.lr);
    });
  }
  const late = explored.slice(-10);
  const off = late.map((lr) => Math.abs(lr - 0.8)).sort((a, b) => a - b);
  expect(off[5]).toBeLessThan(0.2);
  expect(() => new PB2({ bounds: { lr: [2, 1] } })).toThrow(
    /bounds\.lr must be \[low, high\] with low < high/,
  );
});

test("ResourceChanging gives running trials a larger share when others are gone", () => {
  const scheduler = ready(new ResourceChanging());
  let running = ["a", "b"];
  let current: Record<string, number> = { CPU: 1 };
  scheduler.bindResources(() => ({ current, base: { CPU: 1 }, cluster: { CPU: 4 }, running }));
  expect(report(scheduler, "a", 1, 0)).toEqual({ kind: "reallocate", resources: { CPU: 2 } });
  current = { CPU: 2 };
  expect(report(scheduler, "a", 2, 0)).toBe("continue");
  running = ["a"];
  expect(report(scheduler, "a", 3, 0)).toEqual({ kind: "reallocate", resources: { CPU: 4 } });
});

test("a loop of one's own: a space by function, a searcher that is asked and told, a scheduler that prunes", () => {
  const space = defineSpace((trial: TrialSpace) => {
    const deep = trial.suggestCategorical("deep", [true, false]);
    const rate = deep
      ? trial.suggestFloat("rate", 0.01, 1, { log: true })
      : trial.suggestFloat("shallow rate", 0.001, 0.1);
    return { deep, rate };
  });
  const searcher = new TPESearcher();
  searcher.setup(space, [{ metric: "loss", direction: "min" }], 1);
  const pruner = asPruner(new ASHA({ maxT: 9, reductionFactor: 3 }), "min");
  let [steps, best] = [0, Infinity];
  for (let i = 0; i < 60; i++) {
    const id = String(i);
    const suggestion = searcher.suggest(id);
    if (suggestion.kind !== "config") throw new Error(suggestion.kind);
    const { deep, rate } = suggestion.config as { deep: boolean; rate: number };
    let loss = 0;
    for (let step = 1; step <= 9; step++) {
      loss = (Math.log10(rate) + 0.5) ** 2 + (deep ? 0 : 0.5) + 1 / step;
      searcher.onReport?.(id, step, [loss]);
      steps += 1;
      if (pruner.shouldPrune(id, step, loss)) break;
    }
    pruner.complete(id);
    searcher.onComplete(id, [loss]);
    best = Math.min(best, loss);
  }
  expect(best).toBeLessThan(0.15);
  expect(steps).toBeLessThan((60 * 9) / 2);
});

test("a scheduler works as a pruner of a loop of one's own", () => {
  const pruner = asPruner(new ASHA({ maxT: 9, reductionFactor: 3 }), "min");
  const lengths = [1, 5, 0.5, 3].map((loss, i) => {
    let step = 1;
    while (step < 9 && !pruner.shouldPrune(`${i}`, step, loss)) step++;
    pruner.complete(`${i}`);
    return step;
  });
  expect(lengths).toEqual([9, 1, 9, 1]);
});
