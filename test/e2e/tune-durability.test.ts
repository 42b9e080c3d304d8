// Goal: an experiment outlives its driver. Method: drivers are killed (SIGKILL) at random moments and started again; what
// the trainables noted themselves is compared with what was recorded. Also: restoring by choice, moved directories, damage.
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  gridSearch,
  type ResultGrid,
  ResultGrid as Results,
  sampleFrom,
  Tuner,
  type TunerOptions,
} from "tsray/tune";
import { describe, expect, test } from "vitest";
import * as trainables from "../fixtures/tune.mjs";
import { REPOSITORY, rejection, Sandbox, temporaryDirectory, until, useCluster } from "./support.ts";

const DRIVER = join(REPOSITORY, "test/fixtures/tune-driver.mjs");
const dir = temporaryDirectory();

interface Outcome {
  readonly interrupted: boolean;
  readonly trials: readonly {
    readonly trialId: string;
    readonly status: string;
    readonly config: Readonly<Record<string, unknown>>;
    readonly metrics: Readonly<Record<string, number>>;
    readonly iterations: number;
  }[];
}

function outcomeOf(stdout: string): Outcome {
  return JSON.parse(stdout.trim().split("\n").at(-1) as string) as Outcome;
}

describe("a driver that is killed", () => {
  /** Kills the driver `kills` times, each time a little further; then lets it end. */
  async function killAndFinish(kind: string, path: string, log: string, kills: number): Promise<Outcome> {
    await using sandbox = new Sandbox({});
    let progress = 0;
    const size = () => (existsSync(log) ? readFileSync(log, "utf8").length : 0) + journalSize(path);
    for (let i = 0; i < kills; i++) {
      const script = sandbox.start(DRIVER, kind, path, log);
      let ended = false;
      void script.ended.then(() => {
        ended = true;
      });
      // As far as it had come before, and a random bit further.
      const goal = progress + 200 + Math.random() * 1500;
      await until(() => ended || size() > goal, "the run to get further", 60_000);
      if (ended) {
        const { code, stdout, stderr } = await script.ended;
        expect(`${stderr}`).toBe("");
        expect(code).toBe(0);
        return outcomeOf(stdout);
      }
      script.child.kill("SIGKILL");
      await script.ended;
      progress = size();
      // Killed before the first record was complete, there is no experiment yet, and the next driver begins one.
      if (Tuner.canRestore(path)) expect(Results.load(path).length).toBeGreaterThanOrEqual(0);
    }
    const { code, stdout, stderr } = await sandbox.run(DRIVER, kind, path, log);
    expect(`${stderr}`).toBe("");
    expect(code).toBe(0);
    return outcomeOf(stdout);
  }

  function journalSize(path: string): number {
    const folder = join(path, "journal");
    if (!existsSync(folder)) return 0;
    return readdirSync(folder).reduce((sum, name) => {
      try {
        return sum + readFileSync(join(folder, name)).length;
      } catch {
        return sum; // compacted meanwhile
      }
    }, 0);
  }

  test("loses at most the last unacknowledged report, and runs nothing that had finished", async () => {
    const log = join(dir, "plain.log");
    writeFileSync(log, "");
    const { trials } = await killAndFinish("plain", join(dir, "plain"), log, 8);
    expect(trials.map(({ status, iterations }) => `${status} ${iterations}`)).toEqual(
      trials.map(() => "TERMINATED 10"),
    );
    expect(trials.map(({ metrics }) => metrics.score)).toEqual([10, 20, 30, 40, 50, 60, 70, 80]);
    const reached = new Map<string, number>();
    for (const line of readFileSync(log, "utf8").trim().split("\n")) {
      const [what, id, count] = line.split(" ") as [string, string, string];
      // What was acknowledged is never run again: each life begins where the last one was acknowledged, or later.
      if (what === "begin") expect(Number(count)).toBeGreaterThanOrEqual(reached.get(id) ?? 0);
      else reached.set(id, Number(count));
      // Killed between its last report and the record of its end, a trial begins once more and has nothing left to run.
      expect(Number(count)).toBeLessThanOrEqual(10);
    }
  }, 180_000);

  test("at 20 random moments of population based training: consistent to the end", async () => {
    const log = join(dir, "pbt.log");
    const { trials } = await killAndFinish("pbt", join(dir, "pbt"), log, 20);
    expect(trials).toHaveLength(4);
    for (const { status, metrics, iterations } of trials) {
      expect(status).toBe("TERMINATED");
      // One that takes over the state of a member which has just reached its 30 steps takes one more of its own.
      expect([30, 31]).toContain(iterations);
      // The model went through as many steps as the trial's count says, whoever took them.
      expect(metrics.steps).toBe(iterations);
      expect(metrics.total).toBeGreaterThan(0);
      expect(metrics.total).toBeLessThanOrEqual(iterations);
    }
    // Whatever moment a driver was killed at: no checkpoint is left that nobody knows of.
    for (const { path, bestCheckpoints } of Results.load(join(dir, "pbt"))) {
      const found = readdirSync(path).filter((name) => /^checkpoint_/.test(name));
      expect(found.map((name) => join(path, name)).sort()).toEqual(
        bestCheckpoints.map(([checkpoint]) => checkpoint.path).sort(),
      );
    }
  }, 300_000);

  test("Ctrl-C ends in order, and the next run goes on", async () => {
    await using sandbox = new Sandbox({});
    const log = join(dir, "interrupt.log");
    const path = join(dir, "interrupt");
    writeFileSync(log, "");
    const script = sandbox.start(DRIVER, "plain", path, log);
    await until(() => readFileSync(log, "utf8").includes("acknowledged 00001 2"), "the second report");
    script.child.kill("SIGINT");
    const first = await script.ended;
    expect(first.code).toBe(0);
    expect(outcomeOf(first.stdout).interrupted).toBe(true);
    const second = outcomeOf((await sandbox.run(DRIVER, "plain", path, log)).stdout);
    expect(second.interrupted).toBe(false);
    expect(second.trials.map(({ iterations }) => iterations)).toEqual([10, 10, 10, 10, 10, 10, 10, 10]);
  }, 60_000);

  test("a trial that is over when Ctrl-C is pressed has ended, and its result counts", async () => {
    await using sandbox = new Sandbox({});
    const log = join(dir, "racing.log");
    const path = join(dir, "racing");
    const first = outcomeOf((await sandbox.run(DRIVER, "racing", path, log)).stdout);
    expect(first.interrupted).toBe(true);
    expect(first.trials.map(({ status }) => status)).toEqual(["TERMINATED", "PAUSED"]);
    expect(first.trials[0]?.metrics.score).toBe(1000);
    const second = outcomeOf((await sandbox.run(DRIVER, "racing", path, log)).stdout);
    expect(second.trials.map(({ status }) => status)).toEqual(["TERMINATED", "TERMINATED"]);
    expect(readFileSync(log, "utf8").match(/begin first/g)).toHaveLength(1);
  }, 60_000);
});

describe("restoring", () => {
  useCluster({ numCpus: 2 });
  type Options = TunerOptions<object>;
  const quiet: Options = { storagePath: dir, progress: false, htmlReport: false, loggers: ["json"] };
  const restore = (path: string, trainable: unknown, options: object = {}): Promise<ResultGrid<object>> =>
    Tuner.restore(
      path,
      trainable as never,
      { progress: false, htmlReport: false, loggers: ["json"], ...options } as object,
    ).fit();
  const iterations = (grid: ResultGrid<object>) => [...grid].map((result) => result.iterations);

  async function failed(name: string) {
    const lives = join(dir, `lives-of-${name}`);
    mkdirSync(lives);
    const space = {
      name: gridSearch(["a", "b", "c", "d"]),
      dir: lives,
      length: 2,
      failAt: sampleFrom((config: { name: string }) => ("bd".includes(config.name) ? [2] : [])),
    };
    const tuner = new Tuner(trainables.failing as never, { ...quiet, name, space });
    const grid = await tuner.fit();
    expect(iterations(grid as never)).toEqual([2, 1, 2, 1]);
    expect(grid.numErrors).toBe(2);
    return { path: tuner.path, space };
  }

  test("failed trials: left, resumed, or restarted", async () => {
    const { path, space } = await failed("errored");
    const copy = join(dir, "errored-copy");
    cpSync(path, copy, { recursive: true });
    const left = await restore(path, trainables.failing, { space });
    expect([left.numErrors, iterations(left)]).toEqual([2, [2, 1, 2, 1]]);
    const resumed = await restore(path, trainables.failing, { space, resumeErrored: true });
    expect([resumed.numErrors, iterations(resumed)]).toEqual([0, [2, 2, 2, 2]]);
    expect(resumed[1]?.metrics.iterations_since_restore).toBe(1);
    const restarted = await restore(copy, trainables.failing, { space, restartErrored: true });
    expect([restarted.numErrors, iterations(restarted)]).toEqual([0, [2, 2, 2, 2]]);
    expect(restarted[1]?.metrics.iterations_since_restore).toBe(2);
  });

  test("ended, failed, running and waiting trials of a killed driver: each as it is asked for", async () => {
    const home = join(dir, "states");
    const path = join(home, "e");
    mkdirSync(home);
    {
      await using sandbox = new Sandbox({});
      const script = sandbox.start(DRIVER, "unfinished", path, "");
      await until(() => existsSync(join(home, "waits")), "the third trial to wait", 60_000);
      script.child.kill("SIGKILL");
      await script.ended;
    }
    const copy = join(dir, "states-copy");
    cpSync(path, copy, { recursive: true });
    writeFileSync(join(home, "go"), "");
    const options = { space: { name: gridSearch(["a", "b", "c", "d"]), dir: home }, maxConcurrentTrials: 1 };
    const shown = (grid: ResultGrid<object>) =>
      [...grid].map(({ status, iterations: count }) => `${status} ${count}`);
    const resumed = await restore(path, trainables.unfinished, options);
    expect(shown(resumed)).toEqual(["TERMINATED 3", "ERROR 1", "TERMINATED 3", "TERMINATED 3"]);
    expect(resumed[2]?.metrics.iterations_since_restore).toBe(2);
    // What was under way counts as ended, what had failed goes on, and what had not begun is run either way.
    const chosen = await restore(copy, trainables.unfinished, {
      ...options,
      resumeUnfinished: false,
      resumeErrored: true,
    });
    expect(shown(chosen)).toEqual(["TERMINATED 3", "TERMINATED 3", "TERMINATED 1", "TERMINATED 3"]);
  }, 120_000);

  test("a finished experiment grows: more samples, more iterations", async () => {
    const space = { length: 4 };
    const tuner = new Tuner(trainables.Counter as never, {
      ...quiet,
      name: "grows",
      space: { length: 9 },
      stop: { n: 4 },
      checkpoint: { atEnd: true },
    });
    expect(iterations((await tuner.fit()) as never)).toEqual([4]);
    const options = { space: { length: 9 }, checkpoint: { atEnd: true } };
    expect(
      iterations(
        await restore(tuner.path, trainables.Counter, { ...options, stop: { n: 4 }, numSamples: 3 }),
      ),
    ).toEqual([4, 4, 4]);
    expect(
      iterations(
        await restore(tuner.path, trainables.Counter, {
          ...options,
          stop: { n: 6 },
          extend: true,
          numSamples: 3,
        }),
      ),
    ).toEqual([6, 6, 6]);
    const error = await rejection(
      Promise.resolve().then(() =>
        restore(tuner.path, trainables.Counter, { space: { ...space, more: gridSearch([1]) } }),
      ),
    );
    expect(error.message).toMatch(/the space must be the experiment's own; missing nothing, new more/);
  });

  test("a moved directory works, checkpoints included", async () => {
    const tuner = new Tuner(trainables.curve as never, {
      ...quiet,
      name: "moves",
      space: { rate: 2, length: 3 },
      metric: "score",
      mode: "max",
    });
    await tuner.fit();
    const moved = join(dir, "moved");
    renameSync(tuner.path, moved);
    const [result] = Results.load(moved);
    expect(result?.checkpoint?.path.startsWith(moved)).toBe(true);
    expect(result?.checkpoint?.value()).toBe(3);
    expect(result?.history()).toHaveLength(3);
    expect(
      (await restore(moved, trainables.curve, { space: { rate: 2, length: 3 } })).getBestResult().metrics
        .score,
    ).toBe(6);
  });

  test("a torn record is left out, a damaged end is kept aside, and both are said", async () => {
    const tuner = new Tuner(trainables.curve as never, {
      ...quiet,
      name: "torn",
      space: { rate: 2, length: 3 },
    });
    await tuner.fit();
    const file = () =>
      join(
        tuner.path,
        "journal",
        readdirSync(join(tuner.path, "journal"))
          .filter((name) => name.endsWith(".jsonl"))
          .at(-1) as string,
      );
    const said: string[] = [];
    const write = process.stdout.write;
    const listen = async (run: () => Promise<unknown>) => {
      said.length = 0;
      process.stdout.write = ((text: string) => said.push(String(text)) > 0) as typeof write;
      try {
        await run();
      } finally {
        process.stdout.write = write;
      }
      return said.join("");
    };
    const again = () =>
      restore(tuner.path, trainables.curve, { space: { rate: 2, length: 3 }, progress: { live: false } });
    appendFileSync(file(), '00000000 {"kind":"rep');
    expect(await listen(again)).toMatch(/the last record of journal\/\d+\.jsonl was cut off and left out/);
    appendFileSync(file(), "ffffffff {}\nffffffff {}\n");
    expect(await listen(again)).toMatch(
      /2 lines at the end of journal\/\d+\.jsonl are damaged and were left out; they are kept in/,
    );
    // The file before is still there.
    truncateSync(file(), 10);
    expect(await listen(again)).toMatch(/journal\/\d+\.jsonl has no readable snapshot and was passed over/);
    for (const name of readdirSync(join(tuner.path, "journal")))
      truncateSync(join(tuner.path, "journal", name), 10);
    expect(() => Results.load(tuner.path)).toThrow(/there is no experiment in/);
  });

  test("a path without an experiment", () => {
    expect(() => Tuner.restore(join(dir, "nowhere"), trainables.number as never)).toThrow(
      /there is no experiment in .*nowhere/,
    );
    expect(Tuner.canRestore(join(dir, "nowhere"))).toBe(false);
  });
});
