// tsray/testing itself: nodes come, go and are killed while tasks run.
import { rmSync } from "node:fs";
import {
  type ActorHandle,
  AuthenticationError,
  get,
  getActor,
  InvalidOptionError,
  init,
  nodeAffinity,
  nodes,
  remote,
  shutdown,
} from "tsray";
import { Cluster, Signal } from "tsray/testing";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Counter, passGate, RemoteCounter, whereAmI } from "../fixtures/gates.ts";
import {
  CLI,
  fixture,
  makeRuntimeDir,
  processesOf,
  recordsIn,
  sessionsIn,
  startProgram,
  storeFilesOf,
  until,
} from "./processes.ts";

let runtimeDir = "";
const before = process.env.XDG_RUNTIME_DIR;

beforeAll(() => {
  runtimeDir = makeRuntimeDir();
  process.env.XDG_RUNTIME_DIR = runtimeDir;
});

afterAll(() => {
  if (before === undefined) delete process.env.XDG_RUNTIME_DIR;
  else process.env.XDG_RUNTIME_DIR = before;
  rmSync(runtimeDir, { recursive: true, force: true });
});

// Whatever a test did to its cluster: nothing is left.
afterEach(async () => {
  await shutdown();
  await until(() => processesOf(runtimeDir).length === 0);
  expect(sessionsIn(runtimeDir)).toEqual([]);
});

/** A gate that lives on the head's node, which stays. */
function makeGate(cluster: Cluster): ActorHandle<Signal> {
  return remote(Signal)
    .options({ schedulingStrategy: nodeAffinity(cluster.nodes[0]?.nodeId ?? "") })
    .remote();
}

describe("nodes", () => {
  test("a node that is added runs what asks for its resources, and is listed with its labels", async () => {
    await using cluster = await Cluster.start();
    const node = await cluster.addNode({ numCpus: 2, resources: { special: 1 }, labels: { zone: "a" } });
    expect(cluster.address).toMatch(/^127\.0\.0\.1:\d+$/);
    await using driver = await init({ address: cluster.address });
    expect(driver.address).toBe(cluster.address);
    expect(await get(whereAmI.options({ resources: { special: 1 } }).remote())).toBe(node.nodeId);
    expect(await nodes()).toMatchObject([
      {
        nodeId: cluster.nodes[0]?.nodeId,
        isHead: true,
        alive: true,
        resources: expect.not.objectContaining({ CPU: expect.anything() as number }) as object,
      },
      { ...node, isHead: false, alive: true, labels: { zone: "a" }, resources: { CPU: 2, special: 1 } },
    ]);
    expect(cluster.nodes).toHaveLength(2);
  });

  // Goal: a task on a node that is killed runs again elsewhere.
  // Method: the task waits at a gate; its node is killed while the gate is shut.
  test("a task whose node is killed runs again on another", async () => {
    await using cluster = await Cluster.start();
    const first = await cluster.addNode({ resources: { special: 1 } });
    await using _driver = await init({ address: cluster.address });
    const [started, gate] = [makeGate(cluster), makeGate(cluster)];
    const ref = passGate.options({ resources: { special: 1 } }).remote(started, gate);
    await get(started.wait.remote());

    await cluster.removeNode(first);
    expect(cluster.nodes).toHaveLength(1);
    expect(await nodes()).toMatchObject([{ alive: true }, { nodeId: first.nodeId, alive: false }]);

    const second = await cluster.addNode({ resources: { special: 1 } });
    await get(gate.send.remote());
    expect(await get(ref)).toEqual({ nodeId: second.nodeId, attempt: 1 });
  });

  test("a node leaves gracefully, and cannot leave twice", async () => {
    await using cluster = await Cluster.start();
    const node = await cluster.addNode();
    await using _driver = await init({ address: cluster.address });
    expect(await get(whereAmI.remote())).toBe(node.nodeId);
    await cluster.removeNode(node, { graceful: true });
    expect((await nodes()).map(({ alive }) => alive)).toEqual([true, false]);
    await expect(cluster.removeNode(node)).rejects.toBeInstanceOf(InvalidOptionError);
    const [head] = cluster.nodes;
    if (head !== undefined) await expect(cluster.removeNode(head)).rejects.toThrow("killHead");
  });
});

describe("the head", () => {
  // Goal: the next head has the address and the tables of the one that was killed, and the nodes come to it.
  test("what ran under a head that was killed runs on under the next", async () => {
    await using cluster = await Cluster.start();
    const node = await cluster.addNode();
    await using _driver = await init({ address: cluster.address, namespace: "test" });
    const counter = RemoteCounter.options({ name: "counter", lifetime: "detached" }).remote();
    expect(await get([counter.add.remote(), counter.where.remote()])).toEqual([1, node.nodeId]);

    const { address } = cluster;
    const before = cluster.nodes;
    await cluster.killHead();
    await expect(cluster.killHead()).rejects.toBeInstanceOf(InvalidOptionError);
    expect(cluster.nodes).toEqual(before);
    expect(await counter.add.remote()).toBe(2);
    await cluster.startHead();
    expect([cluster.address, cluster.nodes]).toEqual([address, before]);
    await expect(cluster.startHead()).rejects.toBeInstanceOf(InvalidOptionError);
    const found = await getActor<Counter>("counter");
    expect(await found.add.remote()).toBe(3);
  });
});

describe("whom it lets in, and what it leaves", () => {
  test("a token that is given must be brought", async () => {
    const token = "a-token-for-this-test-only";
    await using cluster = await Cluster.start({ token, head: { numCpus: 1 } });
    await expect(init({ address: cluster.address })).rejects.toBeInstanceOf(AuthenticationError);
    await expect(init({ address: cluster.address, token: `${token}-not` })).rejects.toBeInstanceOf(
      AuthenticationError,
    );
    await using _driver = await init({ address: cluster.address, token });
    expect(await get(whereAmI.remote())).toBe(cluster.nodes[0]?.nodeId);
  });

  test("commands do not take it for a standing cluster, and `tsray stop` leaves it alone", async () => {
    await using cluster = await Cluster.start({ state: "memory" });
    const run = (...args: string[]) => startProgram([CLI, ...args], { XDG_RUNTIME_DIR: runtimeDir }).ended;
    expect(await run("stop")).toMatchObject({
      code: 0,
      stdout: "no node of this user runs on this machine\n",
    });
    expect(await run("status")).toMatchObject({ code: 1 });
    expect(await run("status", "--json", "--address", cluster.address)).toMatchObject({
      code: 0,
      stderr: "",
    });
  });

  // Goal: no daemon outlives the process that started it, however that ends.
  test("its daemons end when the process of the test is killed", async () => {
    const owner = startProgram(["--import", "tsx", fixture("cluster-owner.ts")], {
      XDG_RUNTIME_DIR: runtimeDir,
    });
    const { pids } = JSON.parse(await owner.line(() => true)) as { pids: number[] };
    const stores = recordsIn(runtimeDir).map(({ storePath }) => storePath);
    expect(stores).toHaveLength(2);
    expect(processesOf(runtimeDir)).toEqual(expect.arrayContaining(pids));
    owner.child.kill("SIGKILL");
    await owner.ended;
    await until(() => processesOf(runtimeDir).length === 0);
    expect(storeFilesOf(stores)).toEqual([]);
  });

  test.each([
    [{ head: { numCpus: -1 } }, "numCpus"],
    [{ head: { cpus: 1 } }, "cpus"],
    [{ state: "nats://127.0.0.1:4222" }, "NATS"],
    [{ state: "sqlite" }, "state"],
    [{ token: "short" }, "token"],
    [{ healthCheck: { period: 0 } }, "period"],
    [{ nodes: 3 }, "nodes"],
  ])("refuses %j", async (options, word) => {
    const error: unknown = await Cluster.start(options as Parameters<typeof Cluster.start>[0]).catch(
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(InvalidOptionError);
    expect((error as Error).message).toContain(word);
  });

  test("is shut down once, and takes no more nodes", async () => {
    const cluster = await Cluster.start();
    await Promise.all([cluster.shutdown(), cluster.shutdown()]);
    expect(cluster.nodes).toEqual([]);
    await expect(cluster.addNode()).rejects.toThrow("shut down");
  });
});

describe("Signal", () => {
  test("lets those who wait go on, and shuts again", async () => {
    await using cluster = await Cluster.start();
    await using _driver = await init({ address: cluster.address });
    const gate = remote(Signal).remote();
    const waiting = [gate.wait.remote(), gate.wait.remote()];
    expect(await get(gate.waiting.remote())).toBe(2);
    await get(gate.send.remote());
    await get(waiting);
    await get(gate.wait.remote());

    await get(gate.reset.remote());
    const late = gate.wait.remote();
    expect(await get(gate.waiting.remote())).toBe(1);
    await get(gate.send.remote());
    await get(late);
  });

  test("is an ordinary class where no cluster is needed", async () => {
    const gate = new Signal();
    const passed = gate.wait();
    gate.send();
    await passed;
    expect(gate.waiting()).toBe(0);
  });
});
