// Goal: actors keep what api.md section 3 promises. Method: an embedded cluster of real processes per file part; every
// wait is for a result or a gate that the test opens.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  ActorDiedError,
  type ActorHandle,
  availableResources,
  exitActor,
  get,
  getActor,
  InvalidOptionError,
  init,
  kill,
  type ObjectRef,
  PendingCallsLimitError,
  put,
  ready,
  shutdown,
  TaskError,
  wait,
} from "tsray";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import {
  addLines,
  after,
  Counter,
  type CounterHandle,
  Disposed,
  Gate,
  incrementMany,
  incrementNested,
  Keeper,
  Log,
  makeCounter,
  NeverMade,
  Parent,
  pidOf,
  plus,
  RemoteGrouped,
  RemoteOverlap,
  Store,
} from "../fixtures/actors.mjs";
import { isRunning, until } from "../fixtures/processes.ts";

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

describe("on a node with 2 CPUs", () => {
  beforeAll(async () => {
    await init({ numCpus: 2, logToDriver: false });
  });
  afterAll(shutdown);

  describe("order and concurrency", () => {
    // Goal: calls of one caller run in the order they were made. Method: 1,000 increments, each answer is its number.
    test("1,000 calls of one caller run in order", async () => {
      const counter = Counter.remote(10);
      const refs = range(0, 1000).map(() => counter.increment.remote());
      expect(await get(refs)).toEqual(range(11, 1011));
    });

    // Goal: callers are ordered each for itself. Method: two tasks make 1,000 calls each; both see their answers rise,
    // and together every number comes once.
    test("1,000 calls from each of two callers", async () => {
      const counter = Counter.remote();
      const [a, b] = await get([incrementMany.remote(counter, 1000), incrementMany.remote(counter, 1000)]);
      for (const seen of [a, b]) expect(seen).toEqual([...seen].sort((x, y) => x - y));
      expect([...a, ...b].sort((x, y) => x - y)).toEqual(range(1, 2001));
    });

    // C2. Method: five tasks and the driver add keyed lines; all are there, each key in order.
    test("handle in five tasks and the driver: everything arrives, in order per caller", async () => {
      const log = Log.remote();
      const tasks = range(0, 5).map((i) => addLines.options({ numCpus: 0.25 }).remote(log, `t${i}`, 100));
      const own = range(0, 100).map((i) => log.add.remote(`own:${i}`));
      await get([...tasks, ...own]);
      const lines = await log.lines.remote();
      expect(lines.length).toBe(600);
      for (const who of ["own", "t0", "t1", "t2", "t3", "t4"]) {
        const mine = lines.filter((line: string) => line.startsWith(`${who}:`));
        expect(mine).toEqual(range(0, 100).map((i) => `${who}:${i}`));
      }
    });

    // C5. Method: the first call waits for a gate's value; the second of the same caller must come after it, one of
    // another caller must not wait for either.
    test("a call with an unresolved argument holds back later calls of its caller only", async () => {
      const gate = Gate.remote();
      const log = Log.remote();
      const late = after.options({ numCpus: 0 }).remote(gate, 1);
      const first = log.add.remote("first", late);
      const second = log.add.remote("second");
      await addLines.remote(log, "other", 1);
      expect((await wait([first, second], { timeout: 0 })).ready).toEqual([]);
      await gate.open.remote();
      await get([first, second]);
      expect(await log.lines.remote()).toEqual(["other:0", "first", "second"]);
    });

    // C8. Method: three calls meet at a gate; only overlapping ones can all be inside it.
    test("maxConcurrency lets calls overlap, up to the limit", async () => {
      const gate = Gate.remote();
      const actor = RemoteOverlap.options({ maxConcurrency: 3 }).remote();
      const refs = range(0, 5).map(() => actor.meet.remote(gate));
      await until(async () => (await gate.waiting.remote()) === 3);
      await gate.open.remote();
      expect(Math.max(...(await get(refs)))).toBe(3);
    });

    // Goal: async methods run one at a time unless the actor says otherwise. Method: three calls that await inside.
    test("async methods run one at a time by default", async () => {
      const gate = Gate.remote();
      const actor = RemoteOverlap.remote();
      const refs = range(0, 3).map(() => actor.meet.remote(gate));
      await until(async () => (await gate.waiting.remote()) === 1);
      await gate.open.remote();
      expect(await get(refs)).toEqual([1, 1, 1]);
    });

    // C10, C11. Method: each group is filled beyond its limit; the others go on.
    test("concurrency groups have limits of their own, and do not block each other", async () => {
      const [ioGate, computeGate, blockGate] = [Gate.remote(), Gate.remote(), Gate.remote()];
      const actor = RemoteGrouped.remote();
      const reads = range(0, 4).map(() => actor.read.remote(ioGate));
      const works = range(0, 6).map(() => actor.work.remote(computeGate));
      const blocked = actor.block.remote(blockGate);
      await until(async () => (await ioGate.waiting.remote()) === 2);
      await until(async () => (await computeGate.waiting.remote()) === 4);
      await until(async () => (await blockGate.waiting.remote()) === 1);
      // The default group is full; the override is not in it.
      await computeGate.open.remote();
      await get(works);
      expect(await actor.plain.options({ concurrencyGroup: "compute" }).remote()).toBe("plain");
      await Promise.all([ioGate.open.remote(), blockGate.open.remote()]);
      expect(Math.max(...(await get(reads)))).toBe(2);
      expect(Math.max(...(await get(works)))).toBe(4);
      expect(await blocked).toBe("unblocked");
    });

    test("an unknown concurrency group is refused at the call's result", async () => {
      const actor = RemoteGrouped.remote();
      await expect(get(actor.plain.options({ concurrencyGroup: "nowhere" }).remote())).rejects.toThrow(
        InvalidOptionError,
      );
    });

    // C20. Method: ten calls behind a gate; the eleventh throws where it is made, and calls work again afterwards.
    test("maxPendingCalls throws at the call beyond the limit", async () => {
      const gate = Gate.remote();
      const actor = RemoteOverlap.options({ maxPendingCalls: 10 }).remote();
      const refs = range(0, 10).map(() => actor.meet.remote(gate));
      expect(() => actor.meet.remote(gate)).toThrow(PendingCallsLimitError);
      await gate.open.remote();
      await get(refs);
      expect(await actor.mostSoFar.remote()).toBe(1);
    });
  });

  describe("handles", () => {
    test("travel as arguments, inside objects and Maps, and as results", async () => {
      const counter = Counter.remote(0);
      expect(await incrementMany.remote(counter, 3)).toEqual([1, 2, 3]);
      expect(await incrementNested.remote({ deep: [new Map([["counter", counter]])] })).toBe(4);
      const [made] = (await makeCounter.remote(41)) as [CounterHandle];
      expect(await made.increment.remote()).toBe(42);
      kill(made);
    });

    // Goal: a handle may reach a task before the head has heard of the actor. Method: warm workers get handles in the
    // turn in which the actors are made.
    test("work in a task that gets them at once", async () => {
      await get([pidOf.remote(), pidOf.remote()]);
      const made = range(0, 8).map((i) => Counter.remote(i));
      const refs = made.map((counter) => incrementMany.options({ numCpus: 0.25 }).remote(counter, 1));
      expect(await get(refs)).toEqual(range(1, 9).map((n) => [n]));
    });

    test("keep the actor alive inside a stored object", async () => {
      const box = put([Counter.remote(7)] as const);
      const [counter] = await box;
      expect(await counter.increment.remote()).toBe(8);
    });

    test("getIfExists handle works in a task that gets it at once", async () => {
      const first = Counter.options({ name: "shared-early" }).remote(5);
      await ready(first);
      const second = Counter.options({ name: "shared-early", getIfExists: true }).remote(0);
      expect(await incrementMany.remote(second, 1)).toEqual([6]);
    });

    test("an actor's handle on itself works elsewhere", async () => {
      const parent = Parent.remote();
      const [self] = (await parent.viaSelf.remote()) as [typeof parent];
      expect(await self.pid.remote()).toBe(await parent.pid.remote());
    });
  });

  describe("construction", () => {
    test("refs among the arguments are resolved, large arrays too; nested refs stay refs", async () => {
      const big = new Float64Array(200_000).fill(0.5);
      const keeper = Keeper.remote(big, put(big), plus.remote(1, 2), "text");
      expect(await keeper.kinds.remote()).toEqual(["Float64Array", "Float64Array", "Number", "String"]);
      expect(await keeper.sums.remote()).toEqual([100_000, 100_000, 3, "text"]);
      const nested = Keeper.remote([plus.remote(2, 2), put("x")]);
      expect(await nested.values.remote()).toEqual([4, "x"]);
    });

    // C23. Method: the constructor throws; every call, and ready(), gives ActorDiedError with the error as its cause.
    test("a constructor that throws gives ActorDiedError with the cause's class", async () => {
      const actor = NeverMade.remote("not today");
      const error = await get(actor.hello.remote()).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(ActorDiedError);
      expect((error as ActorDiedError).cause).toBeInstanceOf(RangeError);
      expect((error as Error).message).toMatch(/constructor failed: RangeError: not today/);
      expect((error as ActorDiedError).maybeExecuted).toBe(false);
      await expect(ready(actor)).rejects.toThrow(ActorDiedError);
      await expect(get(actor.hello.remote())).rejects.toThrow(/not today/);
    });

    test("a constructor argument that failed fails the actor", async () => {
      const bad = Counter.remote().fail.remote("broken argument");
      const actor = Keeper.remote(bad);
      await expect(get(actor.kinds.remote())).rejects.toThrow(/broken argument/);
    });

    test("class extends Actor is remote by itself", async () => {
      const store = Store.remote();
      expect(await store.set.remote("a", 1)).toBe(1);
      const other = Store.options({ name: "store" }).remote();
      expect(await other.get.remote("a")).toBeUndefined();
      expect(await store.get.remote("a")).toBe(1);
      expect(new Store().set("x", 1)).toBe(1);
    });
  });

  describe("methods", () => {
    test("generator methods stream", async () => {
      const counter = Counter.remote();
      const seen: number[] = [];
      for await (const ref of counter.ticks.remote(5)) seen.push(await ref);
      expect(seen).toEqual([0, 1, 2, 3, 4]);
    });

    // C25.
    test("numReturns gives that many refs of a call", async () => {
      const refs = Keeper.remote("x", 1).kinds.options({ numReturns: 2 }).remote();
      expect(refs).toHaveLength(2);
      expect(await get(refs)).toEqual(["String", "Number"]);
      const wrong = Keeper.remote("x").kinds.options({ numReturns: 2 }).remote();
      for (const ref of wrong) await expect(get(ref)).rejects.toThrow(TaskError);
    });

    test("a call's options name it", async () => {
      const counter = Counter.remote();
      const error = await get(counter.fail.options({ name: "renamed" }).remote("x")).catch((e: unknown) => e);
      expect((error as TaskError).functionName).toBe("renamed");
    });

    test("an error of a method is a TaskError with its cause, and the actor lives on", async () => {
      const counter = Counter.remote(1);
      const error = await get(counter.fail.remote("too far")).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(TaskError);
      expect((error as TaskError).cause).toBeInstanceOf(RangeError);
      expect((error as TaskError).functionName).toBe("Counter.fail");
      expect(await counter.increment.remote()).toBe(2);
    });

    test("the context names the actor", async () => {
      const counter = Counter.options({ numCpus: 0.5 }).remote();
      const context = await counter.context.remote();
      expect(context).toMatchObject({
        wasRestarted: false,
        restartCount: 0,
        assignedResources: { CPU: 0.5 },
      });
      expect(context.actorId).toMatch(/./);
      kill(counter);
    });

    test("an exception outside any call ends the actor, and the error shows it", async () => {
      const counter = Counter.remote();
      await counter.throwLater.remote();
      const error = await until(async () => {
        const outcome = await get(counter.increment.remote()).catch((e: unknown) => e);
        return outcome instanceof Error ? outcome : undefined;
      });
      expect(error).toBeInstanceOf(ActorDiedError);
      expect((error as Error).message).toMatch(/exited with code 1[\s\S]*thrown in a timer of the actor/);
    });
  });

  describe("the end", () => {
    // C21. Method: five calls, then one that leaves, then one more, all submitted at once.
    test("exitActor: earlier calls succeed, later ones fail, and nothing restarts it", async () => {
      const counter = Counter.options({ maxRestarts: 5 }).remote();
      const earlier = range(0, 5).map(() => counter.increment.remote());
      const leaving = counter.leave.remote();
      const later = counter.increment.remote();
      expect(await get(earlier)).toEqual([1, 2, 3, 4, 5]);
      for (const [ref, maybeExecuted] of [
        [leaving as ObjectRef<unknown>, true],
        [later, false],
      ] as const) {
        await expect(get(ref)).rejects.toThrow(ActorDiedError);
        await expect(get(ref)).rejects.toThrow(/exitActor/);
        await expect(get(ref)).rejects.toMatchObject({ maybeExecuted });
      }
      await expect(get(counter.increment.remote())).rejects.toThrow(ActorDiedError);
    });

    test("exitActor outside an actor is refused", () => {
      expect(() => exitActor()).toThrow(InvalidOptionError);
    });

    test("kill fails what is outstanding and what comes later, and ends the process", async () => {
      const gate = Gate.remote();
      const actor = RemoteOverlap.remote();
      const running = actor.meet.remote(gate);
      await until(async () => (await gate.waiting.remote()) === 1);
      const counter = Counter.remote();
      const pid = await counter.pid.remote();
      kill(actor);
      kill(counter);
      const error = await get(running).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(ActorDiedError);
      expect((error as ActorDiedError).maybeExecuted).toBe(true);
      await until(async () => {
        const outcome = await get(counter.increment.remote()).catch((e: unknown) => e);
        return outcome instanceof ActorDiedError;
      });
      await until(() => !isRunning(pid));
    });

    test("dispose runs when the last handle goes by exitActor", async () => {
      const dir = mkdtempSync(join(tmpdir(), "tsray-test-"));
      try {
        const file = join(dir, "disposed");
        const actor = Disposed.remote(file);
        const pid = await actor.pid.remote();
        await get(actor.leave.remote()).catch(() => {});
        await until(() => !isRunning(pid));
        expect(readFileSync(file, "utf8")).toBe("disposed");
      } finally {
        rmSync(dir, { recursive: true });
      }
    });
  });

  // C26. Method: 100 tasks while an actor idles; none has its pid.
  test("tasks never run in an actor's process", async () => {
    const counter = Counter.remote();
    const actorPid = await counter.pid.remote();
    const pids = await get(range(0, 100).map(() => pidOf.remote()));
    expect(pids).not.toContain(actorPid);
    await counter.increment.remote();
  });

  test("a named actor that does not exist is an ActorDiedError", async () => {
    await expect(getActor("nobody")).rejects.toThrow(ActorDiedError);
  });
});

describe("on a node with 1 CPU", () => {
  beforeAll(async () => {
    await init({ numCpus: 1, logToDriver: false });
  });
  afterAll(shutdown);

  // C12. Method: ten default actors answer, and the CPU is free for a task.
  test("ten default actors live there and hold nothing", async () => {
    const actors = range(0, 10).map((i) => Counter.remote(i));
    expect(await get(actors.map((actor) => actor.increment.remote()))).toEqual(range(1, 11));
    expect(await plus.remote(1, 1)).toBe(2);
    await until(async () => (await availableResources()).CPU === 1);
    for (const actor of actors) kill(actor);
  });

  test("an actor with numCpus holds them until it ends", async () => {
    const holder = Counter.options({ numCpus: 1 }).remote();
    await ready(holder);
    const task = plus.remote(2, 3);
    expect((await wait([task], { timeout: 300 })).ready).toEqual([]);
    kill(holder);
    expect(await task).toBe(5);
    const second = Counter.options({ numCpus: 1 }).remote();
    expect(await second.increment.remote()).toBe(1);
    kill(second);
  });

  test("an actor that does not fit waits, and starts when there is room", async () => {
    const first = Counter.options({ numCpus: 1 }).remote();
    await ready(first);
    const second: ActorHandle<unknown> = Counter.options({ numCpus: 1 }).remote();
    const waiting = ready(second);
    kill(first);
    await waiting;
    kill(second);
  });
});

describe("out of scope", () => {
  // C14, C16. Method: a script of its own, run with --expose-gc, drops handles and waits for the processes to end.
  test("the actor exits with its last handle, and its resources come back", async () => {
    const script = fileURLToPath(new URL("../fixtures/drop-handles.mjs", import.meta.url));
    const child = spawn(process.execPath, ["--expose-gc", script], { stdio: ["ignore", "pipe", "inherit"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    let out = "";
    child.stdout.on("data", (chunk: Buffer) => {
      out += chunk;
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    expect(out.trim().split("\n")).toEqual([
      "dropped: gone",
      "held by a task: called",
      "held by a task: gone",
      "disposed: yes",
      "name: free",
      "resources: back",
      "borrowed by an actor: alive",
      "borrowed by an actor: gone",
    ]);
    expect(code).toBe(0);
    expect(existsSync(script)).toBe(true);
  });
});
