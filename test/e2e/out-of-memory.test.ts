// Goal: whoever takes too much memory is ended, in the right order, and the error says so with figures. Method: clusters
// of one node whose own limit (TSRAY_MEMORY_LIMIT_BYTES) is far below the machine's memory; tasks that really take it.
// Scenarios M of Ray's black-box tests.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ActorDiedError, get, kill, OutOfMemoryError } from "tsray";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { growLater, Holder, hold, litter, oomScore } from "../fixtures/memory.ts";
import { rejection, Sandbox, temporaryDirectory, until, useCluster } from "./support.ts";

const LIMIT_MIB = 700;
const HOG_MIB = 600;

/** Environment that the cluster's daemon and this driver see. */
function useEnvironment(variables: Readonly<Record<string, string>>): void {
  const before = new Map(Object.keys(variables).map((name) => [name, process.env[name]]));
  beforeAll(() => {
    Object.assign(process.env, variables);
  });
  afterAll(() => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });
}

/** A directory for one test: files that tasks write, and "go". */
let dirs = 0;
const base = temporaryDirectory();
function makeDir(): { path: string; go: () => void; has: (file: string) => boolean } {
  const path = join(base, String(dirs++));
  mkdirSync(path);
  return {
    path,
    go: () => writeFileSync(join(path, "go"), ""),
    has: (file) => existsSync(join(path, file)),
  };
}

const isGone = (pid: number) => {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true;
  }
};

describe("the memory monitor", () => {
  useEnvironment({ TSRAY_MEMORY_LIMIT_BYTES: String(LIMIT_MIB * 2 ** 20), TSRAY_OOM_RETRIES: "2" });
  useCluster({ numCpus: 3, logToDriver: false, objectStoreMemory: 64 * 2 ** 20 });

  // M1. Method: a task that may not run again takes more than the limit leaves.
  test("maxRetries 0: OutOfMemoryError with figures, after one run", async () => {
    const dir = makeDir();
    const error = (await rejection(
      hold.options({ maxRetries: 0 }).remote(dir.path, HOG_MIB + 200, "hog"),
    )) as OutOfMemoryError;
    expect(error).toBeInstanceOf(OutOfMemoryError);
    expect(error.code).toBe("ERR_TSRAY_OUT_OF_MEMORY");
    expect(error.message).toMatch(
      /task hold2? was ended: worker \d+ on node [0-9a-f]+ held \d+ MiB when \d+ MiB of 700 MiB were used there, more than 95 %[\s\S]*other workers[\s\S]*ask for more memory per task/,
    );
    expect(error.workerBytes).toBeGreaterThan(0.8 * HOG_MIB * 2 ** 20);
    expect(error.usedBytes).toBeGreaterThan(0.95 * LIMIT_MIB * 2 ** 20);
    expect(error.limitBytes).toBe(LIMIT_MIB * 2 ** 20);
    expect(isGone(error.pid)).toBe(true);
    expect(readdirSync(dir.path).filter((name) => name !== "hog-0")).toEqual([]);
  });

  // M5, R21. Method: a hog beside two small tasks that began before and after it. Its memory budget is two retries.
  test("the hog is ended, not its neighbours, and its memory budget is apart from maxRetries", async () => {
    const dir = makeDir();
    const before = hold.remote(dir.path, 1, "before");
    await until(() => dir.has("before-0"), "the first task");
    const hog = hold.options({ maxRetries: -1 }).remote(dir.path, HOG_MIB + 100, "hog");
    const after = hold.remote(dir.path, 1, "after");
    const error = await rejection(hog);
    expect(error).toBeInstanceOf(OutOfMemoryError);
    expect(error.message).toContain("(attempt 3)");
    dir.go();
    expect(await get([before, after])).toEqual(["before held 1 MiB", "after held 1 MiB"]);
    expect(dir.has("before-1") || dir.has("after-1")).toBe(false);
  });

  // Method: two equal tasks fit; a third does not, and is the one that is ended and run again when there is room.
  test("the newest of equal tasks is ended, and runs again later", async () => {
    const dir = makeDir();
    const first = hold.remote(dir.path, 250, "first");
    await until(() => dir.has("first-0"), "the first task");
    const second = hold.remote(dir.path, 400, "second");
    await until(() => dir.has("second-0"), "the second task");
    await until(() => isGone(pidIn(dir.path, "second-0")), "its end");
    dir.go();
    expect(await first).toBe("first held 250 MiB");
    expect(dir.has("first-1")).toBe(false);
    expect(await second).toBe("second held 400 MiB");
  });

  // M3. Method: an old actor holds most of the memory, a new task brings it over the limit.
  test("an actor outlives a task", async () => {
    const dir = makeDir();
    const holder = Holder.remote();
    const pid = await holder.take.remote(350);
    const task = hold.options({ maxRetries: 0 }).remote(dir.path, 350, "task");
    expect(await rejection(task)).toBeInstanceOf(OutOfMemoryError);
    expect(await holder.held.remote()).toBe(350);
    expect(isGone(pid)).toBe(false);
    kill(holder);
    await until(() => isGone(pid), "the actor to end");
  });

  // M2. Method: an actor that takes too much by itself.
  test("an actor that takes too much dies with the figures", async () => {
    const holder = Holder.remote();
    const takeAndStay = async () => {
      await holder.take.remote(HOG_MIB + 200);
      for (;;) await holder.held.remote();
    };
    const error = await rejection(takeAndStay());
    expect(error).toBeInstanceOf(ActorDiedError);
    expect(error.message).toMatch(
      /since memory was short: worker \d+ on node .* held \d+ MiB when \d+ MiB of 700 MiB/,
    );
  });

  // M2. Method: each life of the actor takes too much, in the call that is made again.
  test("an actor with one restart and one retry is ended twice", async () => {
    const dir = makeDir();
    const holder = Holder.options({ maxRestarts: 1, maxTaskRetries: 1 }).remote();
    const error = await rejection(holder.takeForever.remote(dir.path, HOG_MIB + 200));
    expect(error).toBeInstanceOf(ActorDiedError);
    expect(error.message).toContain("since memory was short");
    const pids = readFileSync(join(dir.path, "runs"), "utf8").split("\n").slice(0, -1);
    expect(new Set(pids).size).toBe(2);
    expect(pids).toHaveLength(2);
  });

  // M6. Method: one worker sits idle on memory, while the task of another takes more.
  test("an idle worker goes first", async () => {
    const dir = makeDir();
    const grows = growLater.options({ maxRetries: 0 }).remote(dir.path, 400);
    await until(() => dir.has("began"), "the task");
    const idle = await litter.remote(350);
    writeFileSync(join(dir.path, "grow"), "");
    await until(() => isGone(idle), "the idle worker to go");
    dir.go();
    expect(await grows).toBe(400);
  });

  test("the kernel would take a worker before a daemon", async () => {
    const { worker, daemon } = await oomScore.remote();
    expect(Number(worker)).toBe(1000);
    expect(Number(daemon)).toBeLessThan(1000);
  });
});

function pidIn(dir: string, file: string): number {
  return existsSync(join(dir, file)) ? Number(readFileSync(join(dir, file), "utf8")) : process.pid;
}

/** A control group (version 1) of our own with a memory limit; undefined where that is not permitted. */
function cappedGroup(bytes: number): { readonly path: string; remove(): void } | undefined {
  const path = `/sys/fs/cgroup/memory/tsray-test-${process.pid}`;
  try {
    mkdirSync(path);
    writeFileSync(join(path, "memory.limit_in_bytes"), String(bytes));
    writeFileSync(join(path, "memory.memsw.limit_in_bytes"), String(bytes));
  } catch {
    if (!existsSync(join(path, "memory.limit_in_bytes"))) return undefined;
  }
  return { path, remove: () => rmdirSync(path) };
}
const probe = cappedGroup(2 ** 30);
probe?.remove();

describe("the kernel's out-of-memory killer", () => {
  // M8, R22. Method: driver, daemon and workers in a control group of 600 MiB; the monitor is told never to act. A task and
  // an actor take 900 MiB; a worker that somebody else kills is still told as a crash.
  test.skipIf(probe === undefined)(
    "is told as what it is, with figures, and counts on the memory budget (needs root and control groups of version 1)",
    async () => {
      const group = cappedGroup(600 * 2 ** 20) as { path: string; remove(): void };
      await using sandbox = new Sandbox({
        "main.mjs": `import { init, remote, shutdown } from "tsray";
          const hog = remote(function hog() { const kept = []; for (let i = 0; i < 90; i++) kept.push(Buffer.alloc(10 * 2 ** 20, 1)); return kept.length; });
          const Hog = remote(class Hog { take() { const kept = []; for (let i = 0; i < 90; i++) kept.push(Buffer.alloc(10 * 2 ** 20, 1)); } });
          const victim = remote(function victim() { process.kill(process.pid, "SIGKILL"); }, { maxRetries: 0 });
          await init({ numCpus: 1, logToDriver: false, objectStoreMemory: 64 * 2 ** 20 });
          await hog.options({ maxRetries: 0 }).remote().catch((error) => console.log(error.name, error.limitBytes === 600 * 2 ** 20, error.message));
          await hog.options({ maxRetries: -1 }).remote().catch((error) => console.log(error.name, error.message));
          await Hog.remote().take.remote().catch((error) => console.log(error.name, error.message));
          await victim.remote().catch((error) => console.log(error.name, error.signal));
          await shutdown();`,
      });
      try {
        const script = sandbox.spawn(
          "/bin/sh",
          ["-c", `echo $$ > ${group.path}/cgroup.procs && exec "$0" main.mjs`, process.execPath],
          { TSRAY_MEMORY_THRESHOLD: "1", TSRAY_OOM_RETRIES: "1" },
        );
        const { code, stdout } = await script.ended;
        const killed = String.raw`worker \d+ on node [0-9a-f]+ was killed by the kernel, because memory was gone .*its control group has 600 MiB, of which \d+ MiB were used`;
        expect(stdout).toMatch(new RegExp(`^OutOfMemoryError true task hog was ended: ${killed}`));
        expect(stdout).toMatch(
          new RegExp(`\nOutOfMemoryError task hog \\(attempt 2\\) was ended: ${killed}`),
        );
        expect(stdout).toMatch(new RegExp(`\nActorDiedError actor Hog .*since memory was short: ${killed}`));
        expect(stdout).toContain("\nWorkerCrashedError SIGKILL\n");
        expect(code).toBe(0);
      } finally {
        await until(() => {
          try {
            group.remove();
            return true;
          } catch {
            return false; // its processes are on their way out
          }
        }, "the end of the control group");
      }
    },
    120_000,
  );
});

describe("the JavaScript heap", () => {
  // Method: a driver with a small heap, as its workers get; a task that fills it.
  test("its exhaustion is told as such, with what to do", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { init, remote, shutdown } from "tsray";
        const fill = remote(function fill() { const kept = []; for (;;) kept.push(Array.from({ length: 1000 }, () => ({ of: kept.length }))); }, { maxRetries: 0 });
        const Filler = remote(class Filler { fill() { const kept = []; for (;;) kept.push(Array.from({ length: 1000 }, () => ({ of: kept.length }))); } });
        await init({ numCpus: 1, logToDriver: false });
        await fill.remote().catch((error) => console.log(error.name, error.message));
        await Filler.remote().fill.remote().catch((error) => console.log(error.name, error.message));
        await shutdown();`,
    });
    const { code, stdout } = await sandbox.run("--max-old-space-size=60", "main.mjs");
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^OutOfMemoryError the JavaScript heap of worker \d+ on node [0-9a-f]+ was exhausted while it ran task fill: FATAL ERROR: .*heap.*\n[\s\S]*--max-old-space-size=MEGABYTES/,
    );
    expect(stdout).toMatch(/ActorDiedError actor Filler [\s\S]*FATAL ERROR: .*heap.*--max-old-space-size/);
  });
});
