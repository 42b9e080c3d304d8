/** Tasks: arguments, results, options, errors of user code, resources. Scenarios A of Ray's black-box tests. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  get,
  InvalidOptionError,
  type ObjectRef,
  put,
  remote,
  TaskCancelledError,
  TaskError,
  UnschedulableError,
  wait,
} from "tsray";
import { describe, expect, test } from "vitest";
import * as f from "../fixtures/functions.ts";
import { Recorder, rejection, temporaryDirectory, useCluster } from "./support.ts";

const dir = temporaryDirectory();
useCluster({ resources: { license: 2 }, labels: {} });

describe("calls and results", () => {
  // Goal: a call gives a ref at once, and plain calls stay plain. Method: both forms of the same function.
  test("a call gives its result through get and through await", async () => {
    const ref = f.add.remote(2, 3);
    expect(await get(ref)).toBe(5);
    expect(await ref).toBe(5);
    expect(f.add(2, 3)).toBe(5);
    expect(await f.nothing.remote()).toBeUndefined();
  });

  // Goal: refs given as arguments are values in the function. Method: chains of refs, also of refs not ready yet.
  test("refs among the arguments are resolved", async () => {
    let ref: ObjectRef<number> = put(0);
    for (let i = 0; i < 50; i++) ref = f.increment.remote(ref);
    expect(await ref).toBe(50);
    expect(await f.add.remote(f.add.remote(1, 2), put(4))).toBe(7);
  });

  // Goal: only top-level refs are resolved. Method: the function reports what it got.
  test("refs inside containers stay refs", async () => {
    expect(await f.kinds.remote(put(1) as unknown, [put(2)], { ref: put(3) }, "x")).toEqual([
      "number:1",
      expect.stringContaining("object:ObjectRef("),
      "object:[object Object]",
      "string:x",
    ]);
    expect(await f.nestedSum.remote({ refs: [put(1), f.add.remote(1, 1), put(3)] })).toBe(6);
  });

  // Goal: numReturns 0, 1, n. Method: the same function under each.
  test("numReturns gives that many refs", async () => {
    const three = f.many.options({ numReturns: 3 }).remote(3);
    expect(three).toHaveLength(3);
    expect(await get([...three])).toEqual([0, 10, 20]);
    const none: unknown = f.many.options({ numReturns: 0 }).remote(3);
    expect(none === undefined || (Array.isArray(none) && none.length === 0)).toBe(true);
    const [one] = [f.many.options({ numReturns: 1 }).remote(2)];
    expect(await one).toEqual([0, 10]);
  });

  // Goal: a result that does not match numReturns fails every ref. Method: 3 values where 2 were announced.
  test("a result of another length than numReturns fails all its refs", async () => {
    const refs = f.many.options({ numReturns: 2 }).remote(3);
    for (const ref of refs) {
      const error = await rejection(ref);
      expect(error).toBeInstanceOf(TaskError);
      expect(error.message).toMatch(/numReturns 2/);
    }
  });

  // Goal: all refs of a failed call fail alike.
  test("an error fails all refs of the call", async () => {
    const refs = f.failMany.options({ numReturns: 3 }).remote();
    for (const ref of refs) expect((await rejection(ref)).cause).toBeInstanceOf(RangeError);
  });

  // Goal: large arguments go through the store and arrive whole. Method: a sum over 20 MB, given by value and by ref.
  test("large arguments arrive whole", async () => {
    const bytes = new Uint8Array(20_000_000).fill(3);
    expect(await f.byteSum.remote(bytes)).toBe(60_000_000);
    expect(await f.byteSum.remote(put(bytes))).toBe(60_000_000);
    expect((await f.zeros.remote(5_000_000)).byteLength).toBe(5_000_000);
  });

  // Goal: tasks may call tasks without end of CPUs. Method: fib(15) makes 1973 tasks on 2 CPUs.
  test("recursive tasks finish on 2 CPUs", async () => {
    expect(await f.fib.remote(15)).toBe(610);
  });

  // Goal: volume. Method: 100,000 tiny tasks at once, values in order.
  test("100,000 tiny tasks give their own values", async () => {
    const refs = Array.from({ length: 100_000 }, (_, i) => f.increment.remote(i));
    const values = await get(refs);
    expect(values.every((value, i) => value === i + 1)).toBe(true);
  });

  // Goal: many refs in one get, and as arguments of one call.
  test("10,000 refs in one get, 1,000 refs as arguments of one call", async () => {
    const refs = Array.from({ length: 10_000 }, (_, i) => put({ i }));
    expect((await get(refs)).every(({ i }, at) => i === at)).toBe(true);
    const box = { refs: Array.from({ length: 1000 }, () => put(1)) };
    expect(await f.nestedSum.remote(box)).toBe(1000);
    const kinds = await f.kinds.remote(...(Array.from({ length: 1000 }, (_, i) => put(i)) as unknown[]));
    expect(kinds.every((kind, i) => kind === `number:${i}`)).toBe(true);
  });

  // Goal: correctness under interleaving (A14). Method: loops in the driver that use all kinds of calls at a time.
  test("concurrent loops in the driver see their own values", async () => {
    const loop = async (id: number) => {
      for (let i = 0; i < 25; i++) {
        const n = id * 1000 + i;
        expect(await f.increment.remote(n)).toBe(n + 1);
        expect(await get(put({ n }))).toEqual({ n });
        expect(await f.identity.remote([n, String(n)])).toEqual([n, String(n)]);
      }
    };
    await Promise.all(Array.from({ length: 10 }, (_, id) => loop(id)));
  });

  test("so do concurrent loops in a task and in an actor, at the same time", async () => {
    const keeper = f.Keeper.remote();
    const inTask = f.loopsInTask.remote(keeper);
    expect(await get([inTask, f.Looper.remote().loop.remote(keeper)])).toEqual([0, 0]);
  });

  // Goal: functions of the same name are told apart (A4).
  test("functions of one name in one module are told apart", async () => {
    const versions = await import("../fixtures/versions.ts");
    const refs = versions.all.flatMap((version, v) =>
      Array.from({ length: 50 }, () => [version.remote(), v] as const),
    );
    for (const [ref, v] of refs) expect(await ref).toBe(v);
  });
});

describe("errors of user code", () => {
  // Goal: the cause keeps its class and fields; the error names function and process.
  test("built-in errors keep class, message and cause", async () => {
    const error = (await rejection(f.fail.remote("range"))) as TaskError;
    expect(error).toBeInstanceOf(TaskError);
    expect(error.code).toBe("ERR_TSRAY_TASK");
    expect(error.functionName).toBe("fail");
    expect(error.pid).toBeGreaterThan(0);
    expect(error.pid).not.toBe(process.pid);
    expect(error.message).toContain("out of range");
    expect(error.remoteStack).toContain("functions.ts");
    const cause = error.cause as Error;
    expect(cause).toBeInstanceOf(RangeError);
    expect(cause.message).toBe("out of range");
    expect(cause.cause).toBeInstanceOf(SyntaxError);
    expect((await rejection(f.fail.remote("type"))).cause).toBeInstanceOf(TypeError);
    expect((await rejection(f.fail.remote("async"))).cause).toBeInstanceOf(EvalError);
    const dom = (await rejection(f.fail.remote("dom"))).cause as DOMException;
    expect(dom.name).toBe("AbortError");
  });

  // Goal: a user's own error class, at module level, comes back as that class (A8).
  test("a user's error class comes back with fields and methods", async () => {
    const cause = (await rejection(f.fail.remote("quota"))).cause as f.QuotaError;
    expect(cause).toBeInstanceOf(f.QuotaError);
    expect(cause.describe()).toBe("too much (7)");
    expect(cause.limits).toEqual(new Map([["cpu", 4]]));
  });

  test("what is thrown without a text, or throws when it is asked for one, fails the task and not its worker", async () => {
    for (const how of ["null", "hostile"] as const) {
      const error = await rejection(f.throwBare.options({ name: "bare" }).remote(how));
      expect(error).toBeInstanceOf(TaskError);
      expect(error.message).toMatch(/^bare\(\) failed with Error: /);
    }
  });

  test("an AggregateError keeps its errors", async () => {
    const cause = (await rejection(f.fail.remote("aggregate"))).cause as AggregateError;
    expect(cause).toBeInstanceOf(AggregateError);
    expect(cause.errors[0]).toBeInstanceOf(TypeError);
    expect(cause.errors[1]).toBeInstanceOf(f.QuotaError);
  });

  // Goal: what is thrown need not be an Error. Method: the thrown value can be found in the chain of causes.
  test.each([
    ["string", "just a string"],
    ["undefined", undefined],
    ["object", { code: 42 }],
  ])("a thrown %s is reported", async (kind, thrown) => {
    const error = await rejection(f.fail.remote(kind));
    expect(error).toBeInstanceOf(TaskError);
    expect((error.cause as Error).cause).toEqual(thrown);
  });

  // Goal: a failed argument fails its dependants, and their bodies never run (A13).
  test("a failed argument fails the calls that need it", async () => {
    const ran = new Recorder(dir, "ran");
    const failed = f.fail.remote("quota");
    const error = await rejection(f.record.remote(ran.path, "ran", f.identity.remote(failed)));
    expect(error).toBeInstanceOf(TaskError);
    expect((error as TaskError).functionName).toBe("fail");
    expect(error.cause).toBeInstanceOf(f.QuotaError);
    expect(ran.lines).toEqual([]);
  });
});

describe("options", () => {
  // Goal: options that do not exist or are out of range throw at the call (A15).
  test.each([
    { numCpu: 1 },
    { numCpus: -1 },
    { numCpus: 0.00001 },
    { resources: { CPU: 1 } },
    { numReturns: -1 },
    { maxRetries: 1.5 },
    { retryExceptions: "yes" },
    { timeout: -5 },
    { maxCalls: 2 },
    { generatorBackpressure: 2 },
    { runtimeEnv: { envVars: { A: 1 } } },
  ])("%j is refused", (options) => {
    expect(() => f.add.options(options as object).remote(1, 2)).toThrow(InvalidOptionError);
  });

  test("the name is shown in errors", async () => {
    const error = await rejection(f.fail.options({ name: "my-task" }).remote("range"));
    expect((error as TaskError).functionName).toBe("my-task");
  });

  // Goal: what a task knows of itself.
  test("the runtime context names task, node and resources", async () => {
    const a = await f.context.remote();
    const b = await f.context.options({ numCpus: 0.5, resources: { license: 1 } }).remote();
    expect(a.attempt).toBe(0);
    expect(a.taskId).not.toBe("");
    expect(a.taskId).not.toBe(b.taskId);
    expect(a.nodeId).toBe(b.nodeId);
    expect(a.assignedResources).toEqual({ CPU: 1 });
    expect(b.assignedResources).toEqual({ CPU: 0.5, license: 1 });
    expect(a.gpuIds).toEqual([]);
  });

  // Goal: retryExceptions false, true, list (E4). Method: the body notes each attempt in a file.
  test.each([
    { retryExceptions: false, kind: "range" as const, runs: 1 },
    { retryExceptions: true, kind: "range" as const, runs: 3 },
    { retryExceptions: [RangeError], kind: "range" as const, runs: 3 },
    { retryExceptions: [RangeError], kind: "type" as const, runs: 1 },
    { retryExceptions: [Error], kind: "type" as const, runs: 3 },
  ])("retryExceptions %j: a $kind error gives $runs runs", async ({ retryExceptions, kind, runs }) => {
    const attempts = new Recorder(dir, `retry-${Math.random()}`);
    const options = { retryExceptions, maxRetries: 2 };
    await rejection(f.failUntil.options(options).remote(attempts.path, 99, kind));
    expect(attempts.lines).toEqual(Array.from({ length: runs }, (_, i) => `attempt ${i}`));
  });

  test("a retry that succeeds gives its value", async () => {
    const attempts = new Recorder(dir, "succeeds");
    const options = { retryExceptions: true, maxRetries: 5 };
    expect(await f.failUntil.options(options).remote(attempts.path, 2, "range")).toBe(2);
    expect(attempts.lines).toEqual(["attempt 0", "attempt 1", "attempt 2"]);
  });

  // Goal: maxCalls replaces the worker (E6). Method: process ids of six calls, one after the other.
  test("maxCalls 2: six calls run in three processes, two in each", async () => {
    const pids: number[] = [];
    for (let i = 0; i < 6; i++) pids.push(await f.pidTwice.remote());
    const perPid = new Map<number, number>();
    for (const pid of pids) perPid.set(pid, (perPid.get(pid) ?? 0) + 1);
    expect([...perPid.values()]).toEqual([2, 2, 2]);
  });

  // Goal: a task over its timeout is cancelled; so is one whose signal aborts.
  test("timeout and signal cancel a task", async () => {
    const gate = f.Gate.remote();
    expect(await rejection(f.holdOpen.options({ timeout: 50 }).remote(gate))).toBeInstanceOf(
      TaskCancelledError,
    );
    const controller = new AbortController();
    const ref = f.holdOpen.options({ signal: controller.signal }).remote(gate);
    controller.abort();
    expect(await rejection(ref)).toBeInstanceOf(TaskCancelledError);
    const late = f.add.options({ signal: AbortSignal.abort() }).remote(1, 2);
    expect(await rejection(late)).toBeInstanceOf(TaskCancelledError);
    await gate.open.remote();
  });
});

describe("tasks queued at a worker", () => {
  const spin = (ms: number) => {
    for (const endMs = performance.now() + ms; performance.now() < endMs; );
    return ms;
  };
  const busy = remote(spin);
  /** It is known how long they take from then on. */
  const learn = () => get(Array.from({ length: 8 }, () => busy.remote(10)));

  // Goal: nothing waits behind a task of unknown length. Method: one that ends only when all others have.
  test("a task that holds its worker holds no other task", async () => {
    await learn();
    const path = join(dir, "others-are-done");
    const hold = remote((end: string) => {
      const { existsSync } = process.getBuiltinModule("node:fs");
      while (!existsSync(end));
      return "held";
    });
    const held = hold.remote(path);
    const others = Array.from({ length: 20 }, () => busy.remote(10));
    expect(await get(others)).toEqual(others.map(() => 10));
    writeFileSync(path, "");
    expect(await held).toBe("held");
  });

  // Goal: what waits behind one that takes longer than was known runs elsewhere. Method: tasks known to be short, which end
  // when all have begun; their class has no worker yet, so that several are sent to the first that comes.
  test("tasks that were short and now wait for each other all begin", async () => {
    const meet = remote(async (path: string, n: number) => {
      const { appendFileSync, readFileSync } = process.getBuiltinModule("node:fs");
      appendFileSync(path, ".");
      while (readFileSync(path).length < n) await new Promise((resolve) => setTimeout(resolve, 5));
      return n;
    });
    await get(Array.from({ length: 64 }, () => meet.remote(join(dir, "alone"), 1)));
    const refs = Array.from({ length: 4 }, () =>
      meet.options({ numCpus: 0.5 }).remote(join(dir, "together"), 4),
    );
    expect(await get(refs)).toEqual([4, 4, 4, 4]);
  });

  // Goal: nothing is queued at a worker that is about to end. Method: tasks with maxCalls among others that would queue.
  test("tasks with maxCalls among others: all give their results", async () => {
    await learn();
    const last = remote((ms: number) => spin(ms), { maxCalls: 1 });
    const refs = Array.from({ length: 48 }, (_, i) => (i % 8 === 0 ? last : busy).remote(10));
    expect(await get(refs)).toEqual(refs.map(() => 10));
  });
});

describe("resources", () => {
  function mostAtATime(lines: readonly string[]): number {
    let now = 0;
    let most = 0;
    for (const line of lines) {
      now += line === "in" ? 1 : -1;
      most = Math.max(most, now);
    }
    return most;
  }

  // Goal: never more at a time than the resources allow, and as many as they allow. Method: tasks append "in" and "out".
  test.each([
    { options: { numCpus: 1 }, most: 2 },
    { options: { numCpus: 2 }, most: 1 },
    { options: { numCpus: 0.5 }, most: 4 },
    { options: { numCpus: 0, resources: { license: 1 } }, most: 2 },
    { options: { numCpus: 0, resources: { license: 2 } }, most: 1 },
    { options: { numCpus: 0.1, resources: { license: 0.5 } }, most: 4 },
  ])("$options runs at most $most at a time", async ({ options, most }) => {
    const file = new Recorder(dir, `meter-${Math.random()}`);
    await get(Array.from({ length: 24 }, () => f.exclusive.options(options).remote(file.path)));
    expect(file.lines).toHaveLength(48);
    expect(mostAtATime(file.lines)).toBeLessThanOrEqual(most);
  });

  // Goal: tasks do run side by side. Method: two tasks wait for each other at a gate, holding the node's two CPUs.
  test("two tasks of 1 CPU and four of half a CPU run at the same time", async () => {
    for (const [numCpus, n] of [
      [1, 2],
      [0.5, 4],
    ] as const) {
      const file = new Recorder(dir, `together-${numCpus}`);
      const refs = Array.from({ length: n }, () => f.meet.options({ numCpus }).remote(file.path, n));
      expect(await get(refs)).toEqual(Array.from({ length: n }, () => n));
    }
  });

  // Goal: a task that waits in get gives its CPU back. Method: 6 tasks that each hold a CPU wait for a gate on 2 CPUs.
  test("tasks that wait in get give their CPUs to others", async () => {
    const gate = f.Gate.remote();
    const waiting = Array.from({ length: 6 }, () => f.holdOpen.remote(gate));
    await gate.arrivals.remote(6);
    expect(await f.add.options({ numCpus: 2 }).remote(1, 1)).toBe(2);
    await gate.open.remote();
    expect(await get(waiting)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  // I7. Method: a task that holds all licenses waits at a gate; its CPU goes to others, a task that needs a license waits.
  test("tasks that wait in get keep their custom resources", async () => {
    const gate = f.Gate.remote();
    const holding = f.holdOpen.options({ resources: { license: 2 } }).remote(gate);
    await gate.arrivals.remote(1);
    const needing = f.increment.options({ numCpus: 0, resources: { license: 1 } }).remote(1);
    expect(await f.add.options({ numCpus: 2 }).remote(1, 1)).toBe(2);
    expect((await wait([needing], { timeout: 50 })).ready).toEqual([]);
    await gate.open.remote();
    expect(await get([holding, needing])).toEqual([0, 2]);
  });

  // Goal: a worker goes on after a task that left a wait behind. Method: what is waited for arrives in the same moment as
  // what the task ends with, some ticks before or after its end.
  test("a wait that outlives its task does not keep the worker from the next", async () => {
    for (let ticks = 0; ticks < 16; ticks++) {
      const [first, second] = f.pair.remote();
      await f.leaveWaiting.options({ numCpus: 2 }).remote({ first, second }, ticks);
      expect(await f.add.options({ numCpus: 2 }).remote(ticks, 1)).toBe(ticks + 1);
    }
  });

  // Goal: a demand that no node can ever meet waits (autoscaled clusters may grow), it does not fail or block others.
  test("a demand that cannot be met does not block others", async () => {
    const controller = new AbortController();
    const never = f.add.options({ numCpus: 64, signal: controller.signal }).remote(1, 1);
    expect(await f.add.remote(1, 2)).toBe(3);
    controller.abort();
    expect(await rejection(never)).toSatisfy(
      (error) => error instanceof TaskCancelledError || error instanceof UnschedulableError,
    );
  });
});

describe("what can be called", () => {
  test("remote() refuses what is no function or class", () => {
    expect(() => remote(3 as never)).toThrow(InvalidOptionError);
    expect(() => remote("x" as never)).toThrow(InvalidOptionError);
  });
});
