/** Workers that die, modules that do not load, values that cannot travel. Scenarios E of Ray's black-box tests. */
import { connect, Socket } from "node:net";
import {
  FunctionNotFoundError,
  get,
  OwnerDiedError,
  PoisonTaskError,
  put,
  SerializationError,
  TaskError,
  WorkerCrashedError,
} from "tsray";
import { describe, expect, test } from "vitest";
import * as f from "../fixtures/functions.ts";
import { isRunning } from "../fixtures/processes.ts";
import { Recorder, rejection, Sandbox, temporaryDirectory, until, useCluster } from "./support.ts";

describe("worker crashes", () => {
  const dir = temporaryDirectory();
  useCluster({ logToDriver: false });

  // Goal: a task whose worker ends runs maxRetries + 1 times, then fails with how the worker ended and what it said.
  // Method: the body notes each attempt in a file, prints to stderr and ends its process in one of several ways.
  test.each([
    { how: "exit", exitCode: 7, signal: null },
    { how: "exit0", exitCode: 0, signal: null },
    { how: "kill", exitCode: null, signal: "SIGKILL" },
    { how: "abort", exitCode: null, signal: "SIGABRT" },
    { how: "segv", exitCode: null, signal: "SIGSEGV" },
  ])("$how: retried maxRetries times, then WorkerCrashedError", async ({ how, exitCode, signal }) => {
    const runs = new Recorder(dir, how);
    const error = (await rejection(
      f.crash.options({ maxRetries: 2 }).remote(runs.path, how),
    )) as WorkerCrashedError;
    expect(error).toBeInstanceOf(WorkerCrashedError);
    expect(error.exitCode).toBe(exitCode);
    expect(error.signal).toBe(signal);
    expect(error.stderrTail).toContain(`about to end by ${how}`);
    expect(error.message).toContain(`about to end by ${how}`);
    expect(runs.lines).toEqual(["attempt 0", "attempt 1", "attempt 2"]);
  });

  test("the default is three retries", async () => {
    const runs = new Recorder(dir, "default");
    await rejection(f.crash.remote(runs.path, "exit"));
    expect(runs.lines).toHaveLength(4);
  });

  test("a retry that survives gives its value (E2)", async () => {
    const runs = new Recorder(dir, "survives");
    expect(await f.crash.remote(runs.path, "exit", 2)).toBe("survived at 2");
    expect(runs.lines).toHaveLength(3);
  });

  test("a retry sees what earlier attempts have told an actor (D6)", async () => {
    expect(await f.crashUntil.remote(f.Meter.remote(), 3)).toBe(3);
  });

  // E8. Method: the parent notes itself and its child, gives the child's ref to an actor, and is SIGKILLed.
  test("a child ends with its parent's process, and who holds its ref gets OwnerDiedError", async () => {
    const runs = new Recorder(dir, "child");
    const [keeper, gate] = [f.Keeper.remote(), f.Gate.remote()];
    const parent = f.parentOfOne.options({ maxRetries: 0 }).remote(runs.path, keeper, gate);
    await gate.arrivals.remote(2);
    const pids = new Map(runs.lines.map((line) => line.split(" ") as [string, string]));
    process.kill(Number(pids.get("parent")), "SIGKILL");
    expect(await rejection(parent)).toBeInstanceOf(WorkerCrashedError);
    await until(() => !isRunning(Number(pids.get("child"))), "the child to end", 30_000);
    expect((await rejection(keeper.read.remote())).cause).toBeInstanceOf(OwnerDiedError);
  });

  test("maxRetries 0: one run (E1)", async () => {
    const runs = new Recorder(dir, "never");
    const error = await rejection(f.crash.options({ maxRetries: 0 }).remote(runs.path, "exit"));
    expect(error).toBeInstanceOf(WorkerCrashedError);
    expect(runs.lines).toEqual(["attempt 0"]);
  });

  // Goal: maxRetries 0 never runs a body twice, and no innocent task is lost. Method: 400 short tasks in flight, some of
  // which end their process; each notes that it began.
  test("maxRetries 0: among many tasks in flight none begins twice", async () => {
    const runs = new Recorder(dir, "in-flight");
    const task = f.once.options({ maxRetries: 0 });
    await get(Array.from({ length: 50 }, () => f.once.remote("/dev/null", 1, -1)));
    const refs = Array.from({ length: 400 }, (_, i) => task.remote(runs.path, i, i % 100 === 50 ? i : -1));
    const results = await Promise.allSettled(refs);
    const counts = new Map<string, number>();
    for (const line of runs.lines) counts.set(line, (counts.get(line) ?? 0) + 1);
    expect([...counts.values()].filter((n) => n !== 1)).toEqual([]);
    results.forEach((result, i) => {
      if (i % 100 === 50) expect(result.status).toBe("rejected");
      else expect(result).toEqual({ status: "fulfilled", value: i });
    });
  });

  // Goal: what was only queued at a crashed worker is not charged a run. Method: one task that may be run again once is
  // behind each of three crashes in the same queue; what ran says which attempt it was.
  test("tasks that had not begun when their worker crashed are not charged", async () => {
    const runs = new Recorder(dir, "uncharged");
    await get(Array.from({ length: 200 }, () => f.onceSlowly.remote("/dev/null", 1, [])));
    const task = f.onceSlowly.options({ maxRetries: 1, numCpus: 2 });
    await get(Array.from({ length: 50 }, () => task.remote("/dev/null", 1, [])));
    const fatal = [20, 40, 60, 80];
    const refs = Array.from({ length: 400 }, (_, i) => task.remote(runs.path, i, fatal));
    const results = await Promise.allSettled(refs);
    results.forEach((result, i) => {
      if (fatal.includes(i))
        expect((result as PromiseRejectedResult).reason).toBeInstanceOf(WorkerCrashedError);
      else expect(result).toEqual({ status: "fulfilled", value: i });
    });
    // A second run is one of the crashing tasks, or of one whose answer was lost with the process: never of one that
    // came behind the crash.
    for (const line of runs.lines) {
      const [i = 0, attempt = 0] = line.split(" ").map(Number);
      if (attempt > 0) expect(fatal.some((at) => i <= at && i > at - 20)).toBe(true);
    }
    expect(runs.lines.filter((line) => /^(20|40|60|80) /.test(line))).toHaveLength(8);
  });

  // Goal: the poison rule. Method: a task that aborts its process each time, with more retries than the rule lets it have.
  test("a task that crashes its workers by itself is poison, however large maxRetries is", async () => {
    const runs = new Recorder(dir, "poison");
    const error = (await rejection(
      f.crash.options({ maxRetries: 100 }).remote(runs.path, "abort"),
    )) as PoisonTaskError;
    expect(error).toBeInstanceOf(PoisonTaskError);
    expect(error).toBeInstanceOf(WorkerCrashedError);
    expect(error.code).toBe("ERR_TSRAY_POISON_TASK");
    expect(error.message).toMatch(
      /task crash2? is poison: it crashed its worker 4 times, on 4 workers[\s\S]*maxRetries \(100\)[\s\S]*SIGABRT[\s\S]*about to end by abort[\s\S]*maxRetries: -1/,
    );
    expect(runs.lines).toHaveLength(4);
  });

  test("a task whose workers are killed by others is not poison", async () => {
    const runs = new Recorder(dir, "killed");
    expect(await f.crash.options({ maxRetries: 10 }).remote(runs.path, "kill", 7)).toBe("survived at 7");
    expect(runs.lines).toHaveLength(8);
  });

  // Goal: with retries, tasks queued behind one that crashes are none the worse. Method: as above, one poisoned task.
  test("a crash costs the tasks queued behind it nothing", async () => {
    const runs = new Recorder(dir, "behind");
    await get(Array.from({ length: 200 }, () => f.once.remote("/dev/null", 1, -1)));
    const refs = Array.from({ length: 1000 }, (_, i) => f.once.remote(runs.path, i, 500));
    const results = await Promise.allSettled(refs);
    results.forEach((result, i) => {
      if (i === 500) expect(result.status).toBe("rejected");
      else expect(result).toEqual({ status: "fulfilled", value: i });
    });
    expect(runs.lines.filter((line) => line === "500")).toHaveLength(4);
  });

  // Goal: a retried exception and a crash share the budget, and attempts are counted on.
  test("an unhandled rejection in the worker ends it, and is retried as a crash", async () => {
    const runs = new Recorder(dir, "unhandled");
    const error = (await rejection(
      f.rejectLater.options({ maxRetries: 1 }).remote(runs.path),
    )) as WorkerCrashedError;
    expect(error).toBeInstanceOf(WorkerCrashedError);
    expect(error.stderrTail).toContain("nobody awaits this");
    expect(runs.lines).toEqual(["attempt 0", "attempt 1"]);
    expect(await f.add.remote(1, 1)).toBe(2);
  });
});

/** Never connected. */
const socket = new Socket();
class Sealed {
  #n = 1;
  read(): number {
    return this.#n;
  }
}

describe("values that cannot travel", () => {
  useCluster({ logToDriver: false });

  // Goal: what cannot be serialised throws at the call, and says where it is.
  test.each([
    ["a socket", () => connect({ port: 1, host: "127.0.0.1" }).on("error", () => {}), /socket|Socket/],
    ["a WeakMap", () => new WeakMap(), /WeakMap/],
    ["a promise", () => Promise.resolve(1), /[Pp]romise/],
    ["a symbol", () => Symbol("s"), /symbol/i],
    ["an instance with private fields", () => new Sealed(), /Sealed, whose private fields/],
    ["a native function", () => Proxy.revocable({}, {}).revoke, /native code: wrap it/],
    ["a function over a socket", () => () => socket.readyState, /-> socket is/],
  ])("%s among the arguments throws SerializationError at the call", (_, make, message) => {
    const value: unknown = make();
    try {
      expect(() => f.identity.remote(value)).toThrow(SerializationError);
      expect(() => f.identity.remote({ deep: [0, { inside: value }] })).toThrow(/deep.*1.*inside/s);
      expect(() => put({ inside: value })).toThrow(message);
    } finally {
      (value as { destroy?: () => void }).destroy?.();
    }
  });

  // Goal: a result that cannot travel fails the call and leaves the worker as it was.
  test("an unserialisable result rejects and the worker goes on", async () => {
    const pid = await f.pid.remote();
    for (const task of [f.unserialisable, f.weak]) {
      const error = await rejection(task.remote());
      expect(error).toSatisfy((e) => e instanceof TaskError || e instanceof SerializationError);
      expect(error.message).toMatch(/inside|list/);
    }
    const pids = await get(Array.from({ length: 20 }, () => f.pid.remote()));
    expect(pids).toContain(pid);
  });
});

describe("functions that workers cannot find", () => {
  // Goal: a module that throws while a worker evaluates it is named with its stack. Method: it throws in workers only.
  test("a module that throws at load gives FunctionNotFoundError with the stack", async () => {
    await using sandbox = new Sandbox({
      "jobs.mjs": `import { remote } from "tsray";
        if (process.title.startsWith("tsray:")) throw new RangeError("the module is broken here");
        export const f = remote(() => 1);`,
      "main.mjs": `import { init } from "tsray"; import { f } from "./jobs.mjs";
        await init({ numCpus: 1 });
        await f.remote().catch((error) => console.log(error.name, error.message));`,
    });
    const { code, stdout } = await sandbox.run("main.mjs");
    expect(code).toBe(0);
    expect(stdout).toContain(new FunctionNotFoundError("x").name);
    expect(stdout).toContain("the module is broken here");
    expect(stdout).toContain("jobs.mjs:2");
  });
});
