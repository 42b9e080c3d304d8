/** Who keeps objects alive: refs in drivers, tasks and actors, counted across processes. Scenarios F. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type ActorHandle, get, kill, type ObjectRef, OwnerDiedError, put, WorkerCrashedError } from "tsray";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ObjectStore } from "../../src/core/store/object-store.ts";
import { attachStore } from "../../src/core/store/open-store.ts";
import * as f from "../fixtures/functions.ts";
import { isRunning } from "../fixtures/processes.ts";
import { rejection, Sandbox, until, useCluster } from "./support.ts";

const MB = 1_000_000;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

describe("reference counting", () => {
  const here = useCluster({ logToDriver: false, objectStoreMemory: 200 * MB });
  let store: ObjectStore;
  beforeAll(() => {
    const [file] = readdirSync(join(here.cluster.sessionDir, "nodes"));
    const record = JSON.parse(readFileSync(join(here.cluster.sessionDir, "nodes", file as string), "utf8"));
    store = attachStore({ path: record.storePath, kind: "arena" });
  });
  afterAll(() => store.close());
  const bytesInUse = () => store.stats().usedBytes;

  /** Waits until the store holds no more than `bytes`, collecting garbage meanwhile. */
  async function usesAtMost(bytes: number): Promise<void> {
    await until(() => {
      collectGarbage();
      return bytesInUse() <= bytes;
    }, `the store to shrink to ${bytes}`).catch((error: Error) => {
      throw new Error(`${error.message}; it holds ${JSON.stringify(store.list(50))}`);
    });
  }
  beforeEach(() => usesAtMost(MB));

  /** Lets go of what the callback made: nothing of it stays on this frame. */
  async function scoped<T>(body: () => Promise<T>): Promise<T> {
    const result = await body();
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    return result;
  }

  /** What an actor keeps is still there, and goes when it has dropped it. */
  async function goesWhenDropped(keeper: ActorHandle<f.KeeperClass>): Promise<void> {
    expect(bytesInUse()).toBeGreaterThan(9 * MB);
    await keeper.drop.remote();
    await until(async () => {
      await keeper.collect.remote();
      collectGarbage();
      return bytesInUse() <= MB;
    }, "the kept object to go");
  }

  // Goal: an object goes with its last ref (F1). Method: two copies of a ref, dropped one after the other.
  test("an object lives as long as any ref to it", async () => {
    const held: { a?: ObjectRef<Uint8Array> | undefined; b?: ObjectRef<Uint8Array> | undefined } = {};
    held.a = put(new Uint8Array(10 * MB));
    held.b = held.a;
    held.a = undefined;
    collectGarbage();
    expect(bytesInUse()).toBeGreaterThan(9 * MB);
    expect((await f.byteSum.remote(held.b)) as number).toBe(0);
    held.b = undefined;
    await usesAtMost(MB);
  });

  // Goal: results and large arguments go too, also of tasks that fail (F2).
  test("results, arguments and objects of failed tasks go", async () => {
    await scoped(async () => {
      await f.filled.remote(10 * MB, 1);
      await f.byteSum.remote(new Uint8Array(10 * MB));
      await rejection(f.fail.remote({ bytes: new Uint8Array(10 * MB) } as never));
      await rejection(f.crash.options({ maxRetries: 1 }).remote("/dev/null", "exit"));
    });
    await usesAtMost(MB);
  });

  // Goal: an argument of a pending task is kept although the driver dropped its ref (F2, F5).
  test("an argument of a pending task stays until the task is done", async () => {
    const gate = f.Gate.remote();
    const { pending } = await scoped(async () => ({
      pending: f.readAfter.remote(gate, { ref: put(new Uint8Array(10 * MB).fill(5)) }),
    }));
    await gate.arrivals.remote(1);
    for (let i = 0; i < 5; i++) await f.filled.remote(10 * MB, 9);
    collectGarbage();
    expect(bytesInUse()).toBeGreaterThan(9 * MB);
    await gate.open.remote();
    expect(await pending).toBe(5);
    await usesAtMost(MB);
  });

  // Goal: the same when the task crashes (F6).
  test("a nested ref of a crashed task goes", async () => {
    const gate = f.Gate.remote();
    await scoped(async () => {
      const error = await rejection(
        f.crashWith.options({ maxRetries: 0 }).remote({ ref: put(new Uint8Array(10 * MB)) }, gate),
      );
      expect(error).toBeInstanceOf(WorkerCrashedError);
    });
    await usesAtMost(MB);
  });

  // Goal: a borrower keeps an object whose owner has dropped it (F8). Method: an actor keeps a ref found in its argument.
  test("a ref kept by an actor keeps the object", async () => {
    const keeper = f.Keeper.remote();
    await scoped(async () => {
      await keeper.keep.remote({ ref: put(new Uint8Array(10 * MB).fill(4)) });
    });
    for (let i = 0; i < 10; i++) await f.filled.remote(10 * MB, 9);
    collectGarbage();
    expect(await keeper.read.remote()).toBe(4);
    await goesWhenDropped(keeper);
  });

  test("a ref kept twice by an actor keeps the object until both are dropped", async () => {
    const keeper = f.Keeper.remote();
    await scoped(async () => {
      await keeper.keepTwice.remote({ ref: put(new Uint8Array(10 * MB).fill(4)) });
    });
    expect(await keeper.readSecond.remote()).toBe(4);
    await keeper.collect.remote();
    collectGarbage();
    expect(await keeper.readSecond.remote()).toBe(4);
    await goesWhenDropped(keeper);
  });

  test("a ref kept by an actor that is killed goes", async () => {
    const keeper = f.Keeper.remote();
    await scoped(async () => {
      await keeper.keep.remote({ ref: put(new Uint8Array(10 * MB).fill(4)) });
    });
    expect(await keeper.read.remote()).toBe(4);
    kill(keeper as ActorHandle<f.KeeperClass>);
    await usesAtMost(MB);
  });

  // Goal: a ref that comes back in a result is kept by the one it came to.
  test("a ref given back by an actor that then drops it keeps the object", async () => {
    const keeper = f.Keeper.remote();
    await scoped(async () => {
      await keeper.keep.remote({ ref: put(new Uint8Array(10 * MB).fill(6)) });
    });
    const box: { ref?: ObjectRef<Uint8Array> | undefined } = await keeper.give.remote();
    await keeper.drop.remote();
    await keeper.collect.remote();
    expect((await get(box.ref as ObjectRef<Uint8Array>))[0]).toBe(6);
    box.ref = undefined;
    await usesAtMost(MB);
  });

  // Goal: an object put by a task belongs to that worker; a ref to it in the result can be got in the driver and passed on.
  test("a ref made in a task and returned inside its result is readable and passed on", async () => {
    await scoped(async () => {
      const { ref } = await f.putInside.remote(5 * MB, 8);
      expect((await get(ref))[0]).toBe(8);
      expect(await f.firstByte.remote(ref)).toBe(8);
      expect(await f.passThrough.remote({ ref }, 3)).toBe(8);
      const small = await f.putInside.remote(10, 3);
      expect((await get(small.ref))[0]).toBe(3);
    });
    await usesAtMost(MB);
  });

  // Goal: the object of a dead owner gives OwnerDiedError, it does not hang. Method: the worker that put it is killed.
  test("an object whose owner died gives OwnerDiedError", async () => {
    const keeper = f.Keeper.remote();
    const box = await keeper.make.remote();
    const pid = await keeper.pid.remote();
    kill(keeper as ActorHandle<f.KeeperClass>);
    await until(() => !isRunning(pid), "the actor to die");
    expect(await rejection(get(box.ref))).toBeInstanceOf(OwnerDiedError);
  });

  // Goal: a ref passed down five tasks lives until the last is done (F7).
  test("a ref passed through a chain of tasks lives until the last one ends", async () => {
    const result = await scoped(async () =>
      f.passThrough.remote({ ref: put(new Uint8Array(10 * MB).fill(2)) }, 5),
    );
    expect(await result).toBe(2);
    await usesAtMost(MB);
  });

  // Goal: store use is bounded (F14). Method: 100 rounds of 10 MB through a store of 200 MB, all awaited, refs overwritten.
  test("100 rounds of put, task and get of 10 MB fit a store of 200 MB", async () => {
    // In a frame of its own: the last ref would live as long as this one.
    const round = async (i: number) => {
      const ref = put(new Uint8Array(10 * MB).fill(i));
      expect(((await f.identity.remote(ref as ObjectRef<unknown>)) as Uint8Array)[0]).toBe(i);
      expect((await get(ref))[9]).toBe(i);
    };
    for (let i = 0; i < 100; i++) await round(i);
    await usesAtMost(MB);
  });

  // Goal: garbage is found inside a turn: nothing else can free what a synchronous loop has put. Method: 3 GB through a
  // store of 200 MB without an await; what did not fit would have been spilled.
  // Goal: a stream holds no more than what is on its way (K5). Method: before the next of 10 MB is taken, at most 5 are left.
  test("the items of a stream go as their refs are dropped", async () => {
    const stream = f.bigItems.options({ generatorBackpressure: 2 }).remote(10, MB);
    const take = async () => {
      const { value } = await stream.next();
      return value === undefined ? undefined : (await get(value))[MB - 1];
    };
    for (let i = 0; i < 10; i++) {
      expect(await scoped(take)).toBe(i);
      await usesAtMost(5 * MB);
    }
    expect(await take()).toBeUndefined();
    await usesAtMost(MB);
  });

  test("a synchronous loop of puts whose refs are dropped fills neither memory nor disk", async () => {
    const bytes = new Uint8Array(30 * MB);
    const kept = put(bytes.fill(7));
    let most = 0;
    for (let i = 0; i < 100; i++) {
      put(bytes);
      most = Math.max(most, bytesInUse());
    }
    expect(most).toBeLessThan(200 * MB);
    expect(store.stats().spilledBytesTotal).toBe(0);
    expect((await get(kept))[0]).toBe(7);
  });
});

// Goal: the same in a user's script with a small heap of refs that are dropped, 200 times 10 MB.
test("a script that drops its refs never fills a store of 100 MB", async () => {
  await using sandbox = new Sandbox({
    "main.mjs": `import { get, init, put, remote } from "tsray";
      const sum = remote(function sum(bytes) { return bytes[0] + bytes.length; });
      const make = remote(function make(i) { return new Uint8Array(10_000_000).fill(i); });
      await init({ numCpus: 2, objectStoreMemory: 100_000_000 });
      for (let i = 0; i < 200; i++) {
        const bytes = new Uint8Array(10_000_000).fill(i % 50);
        if ((await get(sum.remote(put(bytes)))) !== (i % 50) + 10_000_000) throw new Error("wrong sum");
        if ((await get(make.remote(i % 50)))[5] !== i % 50) throw new Error("wrong value");
      }
      console.log("done");`,
  });
  const { code, stdout, stderr } = await sandbox.run("--expose-gc", "main.mjs");
  expect(stderr).toBe("");
  expect(stdout).toBe("done\n");
  expect(code).toBe(0);
});

// Goal: an object goes soon after its last drop, although nobody calls tsray or collects garbage. Method: a script drops
// its ref in a timer and then only waits; its store is watched from outside.
test("an object goes when its ref is dropped in a timer of the user's and nothing is called after", async () => {
  await using sandbox = new Sandbox({
    "main.mjs": `import { init, put } from "tsray";
      const cluster = await init({ numCpus: 1, objectStoreMemory: 100_000_000 });
      const held = { ref: put(new Uint8Array(10_000_000)) };
      console.log("dir " + cluster.sessionDir + " held");
      setTimeout(() => { held.ref = undefined; console.log("dropped"); }, 100);
      setTimeout(() => process.exit(1), 60_000);
      process.on("SIGTERM", () => process.exit(0));`,
  });
  const script = sandbox.start("main.mjs");
  await script.prints(" held");
  const sessionDir = /dir (.*) held/.exec(script.stdout)?.[1] as string;
  const [file] = readdirSync(join(sessionDir, "nodes"));
  const { storePath } = JSON.parse(readFileSync(join(sessionDir, "nodes", file as string), "utf8"));
  const store = attachStore({ path: storePath, kind: "arena" });
  try {
    await script.prints("dropped");
    await until(() => store.stats().usedBytes === 0, "the object to go");
  } finally {
    store.close();
    script.child.kill("SIGTERM");
    await script.ended;
  }
});
