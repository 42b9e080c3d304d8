// Goal: what a process owned goes with it, on every node: nobody can get it any more, and clusters outlive many drivers.
// Method: drivers of their own that leave without letting go; the nodes' stores are looked into from outside.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { get, init, kill, type ObjectRef, shutdown } from "tsray";
import { Cluster } from "tsray/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ObjectStore } from "../../src/core/store/object-store.ts";
import { attachStore } from "../../src/core/store/open-store.ts";
import * as f from "../fixtures/functions.ts";
import { isRunning } from "../fixtures/processes.ts";
import { makeRuntimeDir, recordsIn } from "./processes.ts";
import { Recorder, rejection, Sandbox, until } from "./support.ts";

const MB = 1_000_000;
const TOKEN = "0123456789abcdef0123456789abcdef";
const before = process.env.XDG_RUNTIME_DIR;
let runtimeDir = "";
let cluster: Cluster;
let stores: ObjectStore[] = [];

beforeEach(async () => {
  runtimeDir = makeRuntimeDir();
  process.env.XDG_RUNTIME_DIR = runtimeDir;
  cluster = await Cluster.start({ head: { numCpus: 0 }, token: TOKEN });
  await cluster.addNode({ numCpus: 2 });
  stores = recordsIn(runtimeDir).map(({ storePath }) => attachStore({ path: storePath, kind: "arena" }));
});
afterEach(async () => {
  for (const store of stores.splice(0)) store.close();
  await shutdown();
  await cluster.shutdown();
  rmSync(runtimeDir, { recursive: true, force: true });
  if (before === undefined) delete process.env.XDG_RUNTIME_DIR;
  else process.env.XDG_RUNTIME_DIR = before;
});

const used = () => stores.map((store) => store.stats().usedBytes + store.stats().spilledBytes);

describe("a driver that ends", () => {
  // Its own puts lie on the head's node, results of its tasks on the other, and copies of each on both.
  const script = `
    import { get, init, put, remote, shutdown } from "tsray";
    const make = remote((n) => new Uint8Array(n).fill(1));
    const length = remote((bytes) => bytes.length);
    await init({ address: process.argv[2], token: "${TOKEN}", logToDriver: false });
    const refs = [...Array(4)].map(() => put(new Uint8Array(${5 * MB}))).concat([...Array(4)].map(() => make.remote(${5 * MB})));
    for (const ref of refs) if ((await length.remote(ref)) !== ${5 * MB}) throw new Error("wrong");
    for (const ref of refs.slice(4)) await get(ref);
    console.log("holding");
    await new Promise((resolve) => (process.argv[3] === "leaves" ? resolve() : setTimeout(resolve, 1e9)));
    void refs;
    await shutdown();`;

  test.each(["leaves", "is killed"])("takes its objects with it, on all nodes, when it %s", async (how) => {
    await using sandbox = new Sandbox({ "driver.mjs": script });
    const driver = sandbox.start(join(sandbox.dir, "driver.mjs"), cluster.address, how);
    await driver.prints("holding");
    if (how === "is killed") {
      expect(Math.min(...used())).toBeGreaterThan(19 * MB);
      driver.child.kill("SIGKILL");
    }
    const { stderr } = await driver.ended;
    expect(stderr).toBe("");
    await until(() => used().every((bytes) => bytes === 0), "both stores to be empty");
  });
});

// Method: when nothing else keeps its event loop alive, and node would end it.
test("a driver stays until what it gets has come from another node", async () => {
  await using sandbox = new Sandbox({
    "driver.mjs": `
      import { get, init, isInitialized, remote, shutdown, wait } from "tsray";
      const make = remote((n) => new Uint8Array(n).fill(1));
      await init({ address: process.argv[2], token: "${TOKEN}", logToDriver: false });
      const ref = make.remote(${100 * MB});
      await wait([ref]);
      // Leases, and the sessions over which they are held, go back meanwhile.
      await new Promise((resolve) => setTimeout(resolve, 1500));
      process.on("beforeExit", () => isInitialized() && console.log("it would have ended"));
      console.log("got " + (await get(ref)).length + (isInitialized() ? "" : " too late"));
      await shutdown();`,
  });
  const { stdout, stderr, code } = await sandbox.run(join(sandbox.dir, "driver.mjs"), cluster.address);
  expect({ stdout, stderr, code }).toEqual({ stdout: `got ${100 * MB}\n`, stderr: "", code: 0 });
});

// Method: the group never fits, and the program waits for it no longer than 100 ms.
test("a driver that has given up waiting for a placement group ends by itself", async () => {
  await using sandbox = new Sandbox({
    "driver.mjs": `
      import { init, placementGroup } from "tsray";
      await init({ address: process.argv[2], token: "${TOKEN}", logToDriver: false });
      const group = await placementGroup([{ CPU: 64 }]);
      await group.ready({ timeout: 100 }).catch(({ name }) => console.log(name));`,
  });
  const { stdout, stderr, code } = await sandbox.run(join(sandbox.dir, "driver.mjs"), cluster.address);
  expect({ stdout, stderr, code }).toEqual({ stdout: "GetTimeoutError\n", stderr: "", code: 0 });
});

// R7, at a count that fits: the actor owns what it has put, the driver borrows it.
test("borrowers of what a dead worker owned get OwnerDiedError, and its objects are gone", async () => {
  await init({ address: cluster.address, token: TOKEN, logToDriver: false });
  const keeper = f.Keeper.remote();
  const boxes = await Promise.all(Array.from({ length: 20 }, () => keeper.makeBytes.remote(MB)));
  expect(Math.max(...used())).toBeGreaterThan(MB);
  kill(keeper as Parameters<typeof kill>[0]);
  await until(() => used().every((bytes) => bytes === 0), "the stores to be empty");
  const errors = await Promise.all(boxes.map(({ ref }) => rejection(get(ref as ObjectRef<unknown>))));
  expect(new Set(errors.map(({ name }) => name))).toEqual(new Set(["OwnerDiedError"]));
});

// Goal: a node that dies takes what its processes owned with it, on the nodes that live on. Method: an actor there owns
// results that its tasks stored here.
test("what the processes of a dead node owned is deleted on the others, and borrowers are told which died", async () => {
  await init({ address: cluster.address, token: TOKEN, logToDriver: false });
  const doomed = await cluster.addNode({ numCpus: 1, resources: { c: 1 } });
  const keeper = f.TaskOwner.options({ resources: { c: 1 } }).remote();
  const boxes = await keeper.makeElsewhere.remote(10, MB);
  await until(() => Math.max(...used()) > 9 * MB, "the results to lie on a node that stays");
  await cluster.removeNode(doomed);
  await until(() => used().every((bytes) => bytes === 0), "the stores to be empty");
  const errors = await Promise.all(boxes.map(({ ref }) => rejection(get(ref))));
  expect(new Set(errors.map(({ name }) => name))).toEqual(new Set(["OwnerDiedError"]));
  expect(errors[0]?.message).toContain(doomed.nodeId);
});

// R28, at a count that fits. Method: tasks start processes, one of each pair in a session of its own; the driver is
// SIGKILLed while all of them run.
test("a driver that is killed leaves no task, actor, process or object, but its detached actors", async () => {
  const script = `
    import { spawn } from "node:child_process";
    import { appendFileSync } from "node:fs";
    import { get, init, put, remote } from "tsray";
    const hold = remote((file) => {
      const pids = [false, true].map((detached) => spawn("sleep", ["1000"], { detached, stdio: "ignore" }).pid);
      appendFileSync(file, [process.pid, ...pids].join(" ") + "\\n");
      return new Promise(() => {});
    }, { numCpus: 0.25 });
    class Quiet { ping() { return process.pid; } }
    const Actor = remote(Quiet);
    const [, , address, file] = process.argv;
    await init({ address, token: "${TOKEN}", namespace: "killed" });
    const kept = Actor.options({ name: "kept", lifetime: "detached", numCpus: 0 }).remote();
    const mine = Array.from({ length: 3 }, () => Actor.options({ numCpus: 0 }).remote());
    const pids = await get([kept, ...mine].map((actor) => actor.ping.remote()));
    const large = put(new Uint8Array(5_000_000));
    const held = Array.from({ length: 500 }, () => hold.remote(file));
    console.log("pids " + pids.join(" "));
    await get(held);
    void large;`;
  await using sandbox = new Sandbox({ "driver.mjs": script });
  const recorder = new Recorder(sandbox.dir, "pids");
  const driver = sandbox.start(join(sandbox.dir, "driver.mjs"), cluster.address, recorder.path);
  await driver.prints("pids ");
  await until(() => recorder.lines.length >= 4, "tasks to run");
  const [kept = 0, ...mine] = (/pids (.*)/.exec(driver.stdout)?.[1] ?? "").split(" ").map(Number);
  driver.child.kill("SIGKILL");
  await driver.ended;
  const running = () =>
    [...mine, ...recorder.lines.flatMap((line) => line.split(" ").map(Number))].filter(isRunning);
  await until(() => running().length === 0, "its processes to end", 30_000);
  await until(() => used().every((bytes) => bytes === 0), "the stores to be empty");
  expect(isRunning(kept)).toBe(true);
});
