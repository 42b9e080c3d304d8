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
import { makeRuntimeDir, recordsIn } from "./processes.ts";
import { rejection, Sandbox, until } from "./support.ts";

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
