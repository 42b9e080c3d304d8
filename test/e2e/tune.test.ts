// Goal: tsray/tune does what its users were promised. Method: real clusters and trials; scenarios of Ray Tune's own tests in
// substance. Kills and restarts are in tune-durability.test.ts.
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { InvalidOptionError, placementGroups, UnschedulableError } from "tsray";
import {
  ASHA,
  ConcurrencyLimiter,
  gridSearch,
  HyperBandForBOHB,
  MaximumIterationStopper,
  MedianStopping,
  PBT,
  RandomSearcher,
  ResourceChanging,
  type ResultGrid,
  randint,
  run,
  sampleFrom,
  TimeoutStopper,
  TPESearcher,
  TuneError,
  Tuner,
  type TunerOptions,
  uniform,
  withParameters,
  withResources,
} from "tsray/tune";
import { describe, expect, test } from "vitest";
import * as trainables from "../fixtures/tune.mjs";
import { Recorder, rejection, temporaryDirectory, useCluster } from "./support.ts";

const dir = temporaryDirectory();
useCluster({ numCpus: 2 });
let made = 0;

type Options = TunerOptions<object>;
type Grid = ResultGrid<object>;

function tuner(trainable: unknown, options: Options = {}): Tuner {
  return new Tuner(trainable as never, {
    storagePath: dir,
    name: `experiment-${made++}`,
    progress: false,
    htmlReport: false,
    loggers: ["json"],
    ...options,
  });
}

function search(trainable: unknown, options: Options = {}): Promise<Grid> {
  return tuner(trainable, options).fit();
}

const values = (grid: Grid, name: string) => [...grid].map(({ metrics }) => metrics[name]);
const iterations = (grid: Grid) => [...grid].map((result) => result.iterations);

describe("trainables", () => {
  test("a function that returns its result, or a number", async () => {
    const grid = await search(trainables.quadratic, {
      space: { x: gridSearch([0, 0.3, 1]) },
      metric: "loss",
      mode: "min",
    });
    expect(grid).toHaveLength(3);
    expect(grid.getBestResult().config).toEqual({ x: 0.3 });
    expect(grid.getBestResult().metrics).toMatchObject({
      loss: 0,
      training_iteration: 1,
      trial_id: "00001",
      done: false,
    });
    const numbers = await search(trainables.number, { space: { x: gridSearch([1, 5]) }, mode: "max" });
    expect(numbers.getBestResult().metrics._metric).toBe(5);
  });

  test("async and sync generators", async () => {
    const grid = await search(trainables.counting, { space: { length: gridSearch([2, 3]) } });
    expect(values(grid, "score")).toEqual([2, 3]);
    expect(values(await search(trainables.syncCounting, { space: { length: 4 } }), "score")).toEqual([4]);
  });

  test("a generator that is stopped is closed", async () => {
    const log = new Recorder(dir, "closed");
    const grid = await search(trainables.counting, {
      space: { length: 1000, log: log.path },
      stop: { score: 5 },
    });
    expect(values(grid, "score")).toEqual([5]);
    expect(log.lines).toEqual(["closed 00000"]);
  });

  test("a class, with checkpoints by frequency and at the end", async () => {
    const log = new Recorder(dir, "class");
    const grid = await search(trainables.Counter, {
      space: { length: 5, log: log.path },
      checkpoint: { frequency: 2, atEnd: true, numToKeep: null },
      metric: "n",
      mode: "max",
    });
    const [result] = grid;
    expect(result?.metrics).toMatchObject({ n: 5, training_iteration: 5 });
    expect(result?.bestCheckpoints.map(([checkpoint]) => checkpoint.value())).toEqual([
      { n: 5 },
      { n: 4 },
      { n: 2 },
    ]);
    expect(result?.checkpoint?.getMetadata()).toEqual({ iteration: 5 });
    expect(log.lines.at(-1)).toBe("cleanup");
  });

  test("files as checkpoints: copied, and the user's directory stays", async () => {
    const grid = await search(trainables.files, { space: { length: 3 }, checkpoint: { numToKeep: null } });
    expect(values(grid, "kept")).toEqual([true]);
    const [result] = grid;
    expect(result?.bestCheckpoints.map(([{ path }]) => readFileSync(join(path, "step"), "utf8"))).toEqual([
      "3",
      "2",
      "1",
    ]);
    expect(readdirSync(result?.path as string)).toEqual(
      expect.arrayContaining(["checkpoint_000000", "checkpoint_000001", "checkpoint_000002"]),
    );
  });

  test("large parameters are put once and shared by all trials", async () => {
    const data = new Float64Array(100_000).fill(1);
    const prepared = withParameters(trainables.parameters as never, { data, label: "L" });
    const grid = await search(prepared, { space: { x: gridSearch([1, 2, 3]) } });
    expect(values(grid, "sum")).toEqual([100_001, 100_002, 100_003]);
  });

  test("a plain function travels by value, with what it closes over; one that cannot says why", async () => {
    const local = { factor: 2 };
    const closure = (config: { x: number }) => ({ y: config.x * local.factor });
    expect(values(await search(closure, { space: { x: gridSearch([3, 4]) } }), "y")).toEqual([6, 8]);
    const socket = createServer();
    const error = await rejection(search(() => ({ y: socket.listening ? 1 : 0 })));
    expect(error).toBeInstanceOf(TuneError);
    expect(error.message).toMatch(
      /the trainable cannot reach a worker; give remote\(trainable\) at the top level.*socket/s,
    );
  });
});

describe("what is run", () => {
  test("max concurrent trials, and no more than the resources allow", async () => {
    const log = new Recorder(dir, "spans");
    const peak = (lines: readonly string[]) => {
      let now = 0;
      return Math.max(...lines.map((line) => (now += line === "+" ? 1 : -1)));
    };
    const options = { space: { log: log.path }, numSamples: 12 };
    await search(withResources(trainables.spans as never, { numCpus: 0.25 }), {
      ...options,
      maxConcurrentTrials: 3,
    });
    expect(peak(log.lines)).toBeLessThanOrEqual(3);
    const second = new Recorder(dir, "spans-2");
    await search(trainables.spans, { ...options, space: { log: second.path } });
    expect(peak(second.lines)).toBeLessThanOrEqual(2);
    expect(second.lines).toHaveLength(24);
  });

  test("processes are reused, or not", async () => {
    const log = new Recorder(dir, "pids");
    await search(trainables.pids, { space: { log: log.path }, numSamples: 8 });
    expect(new Set(log.lines).size).toBeLessThanOrEqual(2);
    const second = new Recorder(dir, "pids-2");
    await search(trainables.pids, { space: { log: second.path }, numSamples: 3, reuseActors: false });
    expect(new Set(second.lines).size).toBe(3);
  });

  test("a class is reset where it can be, and gets a new process where it refuses", async () => {
    const log = new Recorder(dir, "reset");
    const grid = await search(trainables.Resettable, {
      space: { length: 1, log: log.path, refuses: gridSearch([false, false, true]) },
      maxConcurrentTrials: 1,
    });
    expect(grid.numTerminated).toBe(3);
    expect(log.lines.map((line) => line.split(" ")[0])).toEqual([
      "setup",
      "reset",
      "cleanup",
      "setup",
      "cleanup",
    ]);
    expect(new Set(values(grid, "pid_seen")).size).toBe(2);
  });

  test("resources by function of the configuration", async () => {
    const prepared = withResources(trainables.number as never, (config: { x: number }) => ({
      numCpus: config.x,
    }));
    const grid = await search(prepared, { space: { x: gridSearch([0.5, 1, 2]) } });
    expect(grid.numTerminated).toBe(3);
  });

  test("a placement group per trial, for the trial and what it starts", async () => {
    const grouped = (bundles: readonly Record<string, number>[], options: Options) =>
      search(withResources(trainables.grouped as never, { bundles }), { numSamples: 2, ...options });
    // Trials one after the other share a process, and with it the group.
    const pair = [{ CPU: 1 }, { CPU: 1 }];
    const shared = await grouped(pair, {});
    expect(new Set(values(shared, "group")).size).toBe(1);
    expect(values(shared, "bundles")).toEqual([pair, pair]);
    const own = await grouped([{}, { CPU: 2 }], { reuseActors: false });
    expect(new Set(values(own, "group")).size).toBe(2);
    expect(values(own, "bundles")).toEqual([[{ CPU: 2 }], [{ CPU: 2 }]]);
    for (const grid of [shared, own]) {
      expect(grid.errors).toEqual([]);
      expect(values(grid, "child")).toEqual(values(grid, "group"));
    }
    expect((await placementGroups()).filter(({ state }) => state !== "REMOVED")).toEqual([]);
  }, 180_000);

  test("a searcher and its limits: as many trials as samples, results are told", async () => {
    const grid = await search(trainables.quadratic, {
      space: { x: uniform(0, 1) },
      metric: "loss",
      mode: "min",
      numSamples: 25,
      seed: 1,
      searcher: new TPESearcher(),
    });
    expect(grid).toHaveLength(25);
    expect(grid.getBestResult().metrics.loss).toBeLessThan(0.01);
    const limited = await search(trainables.quadratic, {
      space: { x: uniform(0, 1) },
      metric: "loss",
      mode: "min",
      numSamples: 7,
      searcher: new ConcurrencyLimiter(new RandomSearcher(), 2, { batch: true }),
    });
    expect(limited).toHaveLength(7);
  });

  test("the same seed gives the same configurations", async () => {
    const options = { space: { x: uniform(0, 1), n: randint(0, 100) }, numSamples: 5, seed: 42 };
    const [a, b] = [await search(trainables.number, options), await search(trainables.number, options)];
    expect([...a].map(({ config }) => config)).toEqual([...b].map(({ config }) => config));
  });

  test("grids, calculated values and presets", async () => {
    const grid = await search(trainables.number, {
      space: { a: gridSearch([1, 2]), x: sampleFrom((config: { a: number }) => config.a * 100) },
    });
    expect(values(grid, "_metric")).toEqual([100, 200]);
    const presets = await search(trainables.number, {
      space: { a: gridSearch([1, 2]), x: randint(0, 3) },
      numSamples: 4,
      pointsToEvaluate: [{ a: 2, x: 2 }, { a: 1 }, { x: 2 }],
    });
    expect(presets).toHaveLength(6);
    expect(presets[0]?.config).toEqual({ a: 2, x: 2 });
    expect([...presets].slice(2, 4).map(({ config }) => config)).toEqual([
      { a: 1, x: 2 },
      { a: 2, x: 2 },
    ]);
  });

  test("no end but a stopper's: numSamples -1", async () => {
    let ended = 0;
    const grid = await search(trainables.number, {
      space: { x: uniform(0, 1) },
      numSamples: -1,
      stop: {
        shouldStop: () => false,
        shouldStopAll: () => ended >= 25,
      },
      callbacks: [{ onTrialComplete: () => void ended++ }],
    });
    expect(grid.length).toBeGreaterThanOrEqual(25);
    expect(grid.numErrors).toBe(0);
  });
});

describe("stopping", () => {
  test("thresholds: at or above, whatever the mode", async () => {
    const grid = await search(trainables.counting, {
      space: { length: 50 },
      stop: { score: 5 },
      metric: "score",
      mode: "min",
    });
    expect(iterations(grid)).toEqual([5]);
    const error = await rejection(search(trainables.counting, { stop: { missing: 1 } }));
    expect(error).toBeInstanceOf(InvalidOptionError);
    expect(error.message).toMatch(
      /stop names "missing", which trial 00000 did not report; it reported score, training_iteration/,
    );
  });

  test("functions, stoppers and several of them", async () => {
    const stop = [
      new MaximumIterationStopper(7),
      (_id: string, result: Readonly<Record<string, unknown>>) => result.score === 4,
    ];
    expect(iterations(await search(trainables.counting, { stop }))).toEqual([4]);
    expect(iterations(await search(trainables.counting, { stop: new MaximumIterationStopper(7) }))).toEqual([
      7,
    ]);
  });

  test("a time budget ends what never ends, without errors", async () => {
    const grid = await search(trainables.endless, { numSamples: 4, timeBudget: 1000 });
    expect([...grid].map(({ status }) => status)).not.toContain("ERROR");
    expect(grid.numTerminated).toBe(grid.length);
    const stuck = await search(trainables.stuck, {
      numSamples: 2,
      stop: new TimeoutStopper(0.5),
      timeBudget: 1000,
    });
    expect(stuck.numTerminated).toBe(2);
  });
});

describe("failures", () => {
  test("a failing trial is tried again from its checkpoint, as often as allowed", async () => {
    mkdirSync(join(dir, "f1"));
    const grid = await search(trainables.failing, {
      space: {
        name: gridSearch(["a", "b", "c"]),
        dir: join(dir, "f1"),
        length: 5,
        failAt: sampleFrom((config: { name: string }) => ({ a: [2, 4], b: [2, 3, 4], c: [] })[config.name]),
      },
      failure: { maxFailures: 2 },
    });
    expect([...grid].map(({ status }) => status)).toEqual(["TERMINATED", "ERROR", "TERMINATED"]);
    expect(iterations(grid)).toEqual([5, 3, 5]);
    expect(grid.errors).toHaveLength(1);
    expect(grid.errors[0]?.message).toBe("life 2 of b ends before report 4");
    expect(grid.errors[0]?.name).toBe("RangeError");
    expect(readFileSync(join(grid[1]?.path as string, "error.txt"), "utf8")).toMatch(
      /failure 3 .*\nRangeError: life 2 of b/,
    );
  });

  test("a process that dies fails its trial only", async () => {
    const grid = await search(trainables.crashing, { space: { fatal: gridSearch([true, false]) } });
    expect([...grid].map(({ status }) => status)).toEqual(["ERROR", "TERMINATED"]);
    expect(grid.errors[0]?.message).toMatch(/exit(ed)?.* 7|code 7/);
  });

  test("failFast ends the run and leaves the others to be resumed", async () => {
    mkdirSync(join(dir, "f2"));
    const options: Options = {
      space: {
        name: gridSearch(["a", "b", "c"]),
        dir: join(dir, "f2"),
        length: 30,
        failAt: sampleFrom((config: { name: string }) => (config.name === "b" ? [1] : [])),
      },
    };
    const first = tuner(trainables.failing, { ...options, failure: { failFast: true } });
    const grid = await first.fit();
    expect(grid.numErrors).toBe(1);
    expect(grid.numTerminated).toBeLessThan(2);
    const again = await Tuner.restore(first.path, trainables.failing as never, {
      ...options,
      progress: false,
      htmlReport: false,
    }).fit();
    expect([...again].map(({ status }) => status)).toEqual(["TERMINATED", "ERROR", "TERMINATED"]);
  });
});

describe("schedulers", () => {
  test("ASHA stops the worse half early", async () => {
    const grid = await search(trainables.curve, {
      space: { rate: gridSearch([8, 7, 6, 5, 4, 3, 2, 1]) },
      metric: "score",
      mode: "max",
      maxConcurrentTrials: 1,
      scheduler: new ASHA({ maxT: 9, reductionFactor: 3 }),
    });
    expect(iterations(grid)).toEqual([9, 1, 1, 1, 1, 1, 1, 1]);
  });

  test("promotion ASHA and HyperBand pause, resume from checkpoints and finish", async () => {
    const space = { rate: gridSearch([1, 2, 3, 4, 5, 6, 7, 8, 9]) };
    const promoted = await search(trainables.curve, {
      space,
      metric: "score",
      mode: "max",
      scheduler: new ASHA({ maxT: 9, reductionFactor: 3, form: "promotion" }),
    });
    expect(promoted.numTerminated).toBe(9);
    expect(promoted[8]?.metrics).toMatchObject({ score: 81, training_iteration: 9 });
    const halved = await search(trainables.curve, {
      space,
      metric: "score",
      mode: "max",
      scheduler: new HyperBandForBOHB({ maxT: 9 }),
    });
    expect(iterations(halved)).toEqual([1, 1, 1, 1, 1, 1, 3, 3, 9]);
  });

  test("median stopping", async () => {
    const grid = await search(trainables.curve, {
      space: { rate: gridSearch([5, 5, 5, 1]) },
      metric: "score",
      mode: "max",
      maxConcurrentTrials: 1,
      scheduler: new MedianStopping({
        timeAttribute: "training_iteration",
        gracePeriod: 3,
        minSamplesRequired: 2,
      }),
    });
    expect(iterations(grid)).toEqual([9, 9, 9, 3]);
  });

  test.each([false, true])("PBT: the worst take over the best (synchronous: %s)", async (synchronous) => {
    const grid = await search(trainables.Member, {
      space: { rate: gridSearch([1, 2, 3, 10]) },
      metric: "total",
      mode: "max",
      stop: { training_iteration: 12 },
      checkpoint: { numToKeep: 2 },
      scheduler: new PBT({
        perturbationInterval: 3,
        synchronous,
        mutations: { rate: [1, 2, 3, 10] },
        resampleProbability: 0,
      }),
    });
    expect(grid.numErrors).toBe(0);
    expect(grid.numTerminated).toBe(4);
    const totals = values(grid, "total") as number[];
    expect(Math.min(...totals)).toBeGreaterThan(12);
    for (const { path, bestCheckpoints } of grid) {
      expect(bestCheckpoints.length).toBeLessThanOrEqual(3);
      expect(readdirSync(path).filter((name) => name.startsWith("checkpoint_")).length).toBe(
        bestCheckpoints.length,
      );
    }
    expect(readdirSync(grid.experimentPath).some((name) => name.startsWith("pbt_policy_"))).toBe(true);
  });

  test.each([
    [1, 200],
    [3, 40],
  ])(
    "PBT with %i checkpoints kept never misses one in %i steps",
    async (numToKeep, steps) => {
      const openFiles = () => readdirSync("/proc/self/fd").length;
      const before = openFiles();
      const opened: number[] = [];
      const grid = await search(trainables.Member, {
        space: { rate: uniform(0, 1) },
        numSamples: 3,
        seed: 3,
        metric: "total",
        mode: "max",
        stop: { training_iteration: steps },
        checkpoint: { numToKeep, frequency: 1 },
        callbacks: [{ onTrialResult: () => void opened.push(openFiles() - before) }],
        scheduler: new PBT({ perturbationInterval: 2, mutations: { rate: uniform(0, 1) } }),
      });
      expect(grid.errors).toEqual([]);
      expect(Math.max(...opened)).toBeLessThan(20);
      // The best, the latest, and one that another trial is about to load.
      for (const { path } of grid)
        expect(readdirSync(path).filter((name) => name.startsWith("checkpoint_")).length).toBeLessThanOrEqual(
          numToKeep + 2,
        );
    },
    180_000,
  );

  test("PBT passes over reports without its metric where it may, and says so once", async () => {
    const said: string[] = [];
    const write = process.stdout.write;
    process.stdout.write = ((text: string) => said.push(String(text)) > 0) as typeof write;
    const options = (requireAttributes: boolean): Options => ({
      space: { rate: gridSearch([1, 2, 3, 4]) },
      metric: "score",
      mode: "max",
      progress: { live: false },
      scheduler: new PBT({ perturbationInterval: 2, requireAttributes, mutations: { rate: [1, 2, 3, 4] } }),
    });
    try {
      const grid = await search(trainables.lateScore, options(false));
      expect(grid.errors).toEqual([]);
      expect(grid.numTerminated).toBe(4);
    } finally {
      process.stdout.write = write;
    }
    const notes = said.join("").match(/did not report "score": PBT passes over such reports/g);
    expect(notes).toHaveLength(1);
    const error = await rejection(search(trainables.lateScore, { ...options(true), progress: false }));
    expect(error.message).toMatch(/did not report the metric "score"; its report has the keys i, /);
  });

  test("resources change when others are gone", async () => {
    const grid = await search(withResources(trainables.curve as never, { numCpus: 1 }), {
      space: { rate: 1, length: gridSearch([3, 40]) },
      metric: "score",
      mode: "max",
      scheduler: new ResourceChanging(),
    });
    expect(values(grid, "score")).toEqual([3, 40]);
  });
});

describe("results", () => {
  test("the last, the best and the average of what was reported", async () => {
    const grid = await search(trainables.upAndDown, {
      space: { p: gridSearch([1, 2]), nested: { param: "n" } },
      metric: "score",
      mode: "max",
    });
    const column = (rows: readonly Readonly<Record<string, unknown>>[], name: string) =>
      rows.map((row) => row[name]);
    expect(column(grid.toTable(), "score")).toEqual([3, 6]);
    expect(column(grid.toTable({ filterMetric: "score", filterMode: "max" }), "score")).toEqual([4, 8]);
    expect(column(grid.toTable({ filterMetric: "score", filterMode: "min" }), "score")).toEqual([1, 2]);
    expect(column(grid.toTable(), "config/nested/param")).toEqual(["n", "n"]);
    const [one] = grid;
    const scopes = ["last", "best", "avg", "last-5-avg", "last-10-avg"] as const;
    expect(scopes.map((scope) => one?.valueOf("score", "max", scope))).toEqual([3, 4, 8 / 3, 8 / 3, 8 / 3]);
    expect(one?.history().map(({ score }) => score)).toEqual([1, 4, 3]);
  });

  test("the best without metric: only of a single trial", async () => {
    const one = await search(trainables.number, { space: { x: 1 } });
    expect(one.getBestResult().config).toEqual({ x: 1 });
    const two = await search(trainables.number, { space: { x: gridSearch([1, 2]) } });
    expect(() => two.getBestResult()).toThrow(/needs metric and mode/);
    expect(() => two.getBestResult({ metric: "none", mode: "max" })).toThrow(/No best trial found/);
    expect(two.getBestResult({ metric: "_metric", mode: "max" }).config).toEqual({ x: 2 });
  });

  test("NaN and infinite values are kept, and not the best", async () => {
    const grid = await search(trainables.nan, {
      space: { x: gridSearch([0, 1, 2]) },
      metric: "loss",
      mode: "min",
    });
    expect(grid.getBestResult().config).toEqual({ x: 1 });
    expect(grid[0]?.metrics.loss).toBeNaN();
    expect(grid[0]?.history()[0]?.huge).toBe(Infinity);
  });

  test("several objectives have a Pareto front", async () => {
    const grid = await search(trainables.curve, {
      space: { rate: gridSearch([1, 2, 3]), length: gridSearch([2, 3]) },
      metric: ["score", "training_iteration"],
      mode: ["max", "min"],
    });
    expect(
      grid
        .getParetoFront()
        .map(({ config }) => config)
        .sort(),
    ).toEqual([
      { rate: 3, length: 2 },
      { rate: 3, length: 3 },
    ]);
  });
});

describe("bad input", () => {
  test("a metric that is not reported: the keys that are", async () => {
    const error = await rejection(search(trainables.misnamed, { metric: "acc", mode: "max" }));
    expect(error).toBeInstanceOf(TuneError);
    expect(error.message).toMatch(
      /trial 00000 did not report the metric "acc"; its report has the keys accuracy, epoch, /,
    );
  });

  test("options that do not exist or do not fit", () => {
    const make = (options: object) => () => tuner(trainables.number, options);
    expect(make({ numSample: 3 })).toThrow(/Tuner has no option "numSample"; it has space, metric/);
    expect(make({ numSamples: 0 })).toThrow(/numSamples must be a whole number >= 1, or -1, got 0/);
    expect(make({ metric: "loss" })).toThrow(/mode is missing/);
    expect(make({ metric: "loss", mode: "least" })).toThrow(/mode must be "min" or "max"/);
    expect(make({ scheduler: new ASHA() })).toThrow(/the scheduler ASHA needs metric and mode/);
    expect(make({ checkpoint: { numToKeep: -1 } })).toThrow(/numToKeep must be a whole number >= 0, or null/);
    expect(make({ space: { x: uniform(2, 1) } })).toThrow(/x/);
    expect(make({ name: "a/b" })).toThrow(/name must be a name for a directory/);
    expect(make({ loggers: ["wandb"] })).toThrow(
      /loggers must be an array of json, csv, tensorboard, mlflow/,
    );
    const pbt = new PBT({ mutations: { x: [1] } });
    expect(make({ scheduler: pbt, searcher: new TPESearcher(), metric: "loss", mode: "min" })).toThrow(
      /PBT changes configurations itself, so it does not go with a searcher/,
    );
    expect(() => new Tuner({} as never)).toThrow(/a trainable is a function or a class with step\(\)/);
    expect(() => withResources(trainables.number as never, { cpus: 1 } as never)).toThrow(
      /no "cpus"; they have numCpus/,
    );
    const bundled = (resources: object) => () =>
      withResources(trainables.number as never, resources as never);
    expect(bundled({ bundles: [] })).toThrow(/bundles must be an array such as/);
    expect(bundled({ bundles: [{}] })).toThrow(/bundles must be an array such as/);
    expect(bundled({ bundles: [{ CPU: 1 }, {}] })).toThrow(
      /bundles\[1\] must be an object .* only the first/,
    );
    expect(bundled({ bundles: [{ CPU: -1 }] })).toThrow(/bundles\[0\]\.CPU must be a number > 0, got -1/);
    expect(bundled({ bundles: [{ CPU: 1 }], strategy: "NEAR" })).toThrow(/strategy must be one of PACK, /);
    expect(bundled({ bundles: [{ CPU: 1 }], numCpus: 1 })).toThrow(/nothing beside them .* "numCpus"/);
  });

  test("resources that no node has are said at once", async () => {
    const error = await rejection(
      search(withResources(trainables.number as never, { numCpus: 64 }), { space: { x: 1 } }),
    );
    expect(error).toBeInstanceOf(UnschedulableError);
    expect(error.message).toMatch(
      /trial 00000 asks for 64 CPU, and no node can ever give that \(nodes have: /,
    );
    for (const resources of [
      { bundles: [{ CPU: 2 }, { CPU: 1 }] },
      { bundles: [{ CPU: 1 }, { CPU: 1 }], strategy: "STRICT_SPREAD" as const },
    ]) {
      const grouped = withResources(trainables.grouped as never, resources);
      expect((await rejection(search(grouped))).message).toMatch(
        /trial 00000 asks for bundles of \d CPU \+ 1 CPU \((PACK|STRICT_SPREAD)\), and no node can ever give/,
      );
    }
    const changing = withResources(trainables.grouped as never, { bundles: [{ CPU: 1 }] });
    expect(
      (await rejection(search(changing, { metric: "m", mode: "max", scheduler: new ResourceChanging() })))
        .message,
    ).toMatch(/ResourceChanging shares out amounts; it does not go with bundles/);
  });

  test("a name that is taken, a storage that cannot be written", async () => {
    const { path } = tuner(trainables.number, { name: "taken" });
    await search(trainables.number, { name: "taken", space: { x: 1 } });
    expect(existsSync(path)).toBe(true);
    expect(() => tuner(trainables.number, { name: "taken" })).toThrow(
      /there is an experiment .*taken already: choose another name/,
    );
    // A file; places where nobody can make a directory, each of which says so in another way.
    for (const storagePath of [import.meta.filename, "/dev/null", "/proc", "/proc/self/none", "/sys/none"]) {
      const error = await rejection(search(trainables.number, { storagePath, space: { x: 1 } }));
      expect(error).toBeInstanceOf(TuneError);
      expect(error.message).toMatch(/^\S+ cannot be used: E[A-Z]+/);
      expect(error.message.startsWith(storagePath)).toBe(true);
    }
  });

  test("the one-call form rejects when trials fail", async () => {
    mkdirSync(join(dir, "f3"));
    const options = {
      storagePath: dir,
      name: "one-call",
      progress: false,
      htmlReport: false,
      space: { name: "x", dir: join(dir, "f3"), failAt: [1] },
    };
    const error = await rejection(run(trainables.failing as never, options as never));
    expect(error.message).toMatch(/1 of 1 trials failed; the first: life 0 of x ends before report 1/);
  });
});
