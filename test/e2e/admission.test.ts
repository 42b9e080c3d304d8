// Goal: labels, GPUs, memory and affinity decide where tasks and actors run, and CPUs that nobody uses are lent on.
// Method: a cluster of real raylets; tasks and actors tell where they ran and with what, files hold them there.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ActorDiedError,
  get,
  init,
  kill,
  nodeAffinity,
  nodes,
  shutdown,
  UnschedulableError,
  wait,
} from "tsray";
import { Cluster, type ClusterNode } from "tsray/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Asker, hold, look } from "../fixtures/placement.mjs";
import { until } from "../fixtures/processes.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
let scratch = "";
let cluster: Cluster;
let a: ClusterNode;
let b: ClusterNode;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), "tsray-test-"));
  cluster = await Cluster.start({ token: TOKEN });
  [a, b] = await Promise.all([
    cluster.addNode({ numCpus: 1, labels: { zone: "a" } }),
    cluster.addNode({ numCpus: 2, numGpus: 2, labels: { zone: "b", disk: "ssd" }, resources: { onB: 1 } }),
  ]);
  await init({ address: cluster.address, token: TOKEN, logToDriver: false });
  await until(async () => (await nodes()).filter((node) => node.alive).length === 3, "three nodes");
});
afterAll(async () => {
  await shutdown();
  await cluster.shutdown();
  rmSync(scratch, { recursive: true, force: true });
});

async function rejection(promise: PromiseLike<unknown>): Promise<Error> {
  try {
    return new Error(`it gave ${JSON.stringify(await promise)}`);
  } catch (error) {
    return error as Error;
  }
}

describe("labels", () => {
  // I6.
  test.each([
    [{ zone: "a" }, "a"],
    [{ zone: "!a", disk: "in(ssd,nvme)" }, "b"],
    [{ zone: "in(a,c)" }, "a"],
    [{ zone: "!in(a,c)", disk: "!hdd" }, "b"],
  ])("%j leads to node %s", async (labelSelector, name) => {
    const { nodeId } = name === "a" ? a : b;
    expect((await look.options({ labelSelector }).remote()).nodeId).toBe(nodeId);
    const spread = look.options({ labelSelector, schedulingStrategy: "SPREAD" });
    expect(new Set((await get([spread.remote(), spread.remote()])).map((seen) => seen.nodeId))).toEqual(
      new Set([nodeId]),
    );
    const actor = Asker.options({ labelSelector }).remote();
    expect((await actor.look.remote()).nodeId).toBe(nodeId);
    kill(actor);
  });

  test("what no node has waits until one joins that has it; acceleratorType is such a label", async () => {
    const task = look.options({ labelSelector: { zone: "z" } }).remote();
    const actor = Asker.options({ acceleratorType: "T4" }).remote();
    const seen = actor.look.remote();
    expect((await wait([task], { timeout: 100 })).ready).toEqual([]);
    const labels = { zone: "z", "tsray.io/accelerator-type": "T4" };
    const node = await cluster.addNode({ numCpus: 1, labels });
    expect((await nodes()).find(({ nodeId }) => nodeId === node.nodeId)?.labels).toEqual(labels);
    expect((await task).nodeId).toBe(node.nodeId);
    expect((await seen).nodeId).toBe(node.nodeId);
    kill(actor);
    await cluster.removeNode(node);
  });

  test("hard affinity against the labels, or to no node, is an error, for actors too", async () => {
    const wrong = { schedulingStrategy: nodeAffinity(a.nodeId), labelSelector: { zone: "b" } };
    const taskError = await rejection(look.options(wrong).remote());
    expect(taskError).toBeInstanceOf(UnschedulableError);
    expect(taskError.message).toContain(`node ${a.nodeId} does not have the labels zone=b`);
    for (const options of [
      wrong,
      { schedulingStrategy: nodeAffinity("0123456789abcdef") },
      { schedulingStrategy: nodeAffinity(a.nodeId), numCpus: 2 },
    ]) {
      const error = await rejection(Asker.options(options).remote().pid.remote());
      expect(error).toBeInstanceOf(ActorDiedError);
      expect(error.message).toMatch(
        /does not have the labels|is not part of the cluster|it needs 2 CPU, and node/,
      );
    }
    const soft = { ...wrong, schedulingStrategy: nodeAffinity(a.nodeId, { soft: true }) };
    expect((await look.options(soft).remote()).nodeId).toBe(b.nodeId);
    const actor = Asker.options({
      schedulingStrategy: nodeAffinity("0123456789abcdef", { soft: true }),
    }).remote();
    expect([a.nodeId, b.nodeId]).toContain((await actor.look.remote()).nodeId);
    kill(actor);
  });
});

describe("devices and memory", () => {
  // I9. Method: two tasks with half a device each, held, and one with a whole one.
  test("GPUs are given by number: fractions share one, a whole one is another, none is none", async () => {
    const files = [0, 1].map((i) => join(scratch, `gpu-${i}`));
    const go = join(scratch, "gpu-go");
    const halves = files.map((file) => hold.options({ numCpus: 0, numGpus: 0.5 }).remote(file, go));
    const whole = hold.options({ numCpus: 0, numGpus: 1 }).remote(join(scratch, "gpu-2"), go);
    const none = await look.options({ numCpus: 0, resources: { onB: 1 } }).remote();
    expect(none).toMatchObject({ gpuIds: [], visible: process.env.CUDA_VISIBLE_DEVICES ?? null });
    const fourth = look.options({ numCpus: 0, numGpus: 0.5 }).remote();
    writeFileSync(go, "");
    const seen = await get([...halves, whole]);
    for (const { gpuIds, visible } of seen) expect(visible).toBe(gpuIds.join(","));
    expect(seen[0]?.gpuIds).toEqual(seen[1]?.gpuIds);
    expect([...(seen[0]?.gpuIds ?? []), ...(seen[2]?.gpuIds ?? [])].sort()).toHaveLength(2);
    expect(seen[2]?.gpuIds).not.toEqual(seen[0]?.gpuIds);
    expect((await fourth).gpuIds).toHaveLength(1);
    const actor = Asker.options({ numGpus: 2 }).remote();
    const held = await actor.look.remote();
    expect([held.gpuIds.length, held.visible]).toEqual([2, held.gpuIds.join(",")]);
    kill(actor);
  });

  // Method: tasks that each ask for more than half of a node's memory; the second waits for the first.
  test("memory is counted when tasks are let in", async () => {
    const { resources = {} } = (await nodes()).find(({ nodeId }) => nodeId === b.nodeId) ?? {};
    const options = {
      numCpus: 0,
      memory: Math.ceil((resources.memory ?? 0) * 0.6),
      resources: { onB: 0.5 },
    };
    const [first, go] = [join(scratch, "memory"), join(scratch, "memory-go")];
    const running = hold.options(options).remote(first, go);
    const waiting = look.options(options).remote();
    expect((await wait([waiting], { timeout: 300 })).ready).toEqual([]);
    writeFileSync(go, "");
    expect([(await running).nodeId, (await waiting).nodeId]).toEqual([b.nodeId, b.nodeId]);
  });
});

// Method: an actor holds a node's only CPU, and asks for a task that needs it.
test("an actor whose calls wait in get gives its CPUs back meanwhile", async () => {
  const node = await cluster.addNode({ numCpus: 1, labels: { zone: "q" } });
  const actor = Asker.options({ numCpus: 1, labelSelector: { zone: "q" } }).remote();
  expect(await actor.askIn.remote({ zone: "q" })).toBe(node.nodeId);
  expect(await actor.askIn.remote({ zone: "q" })).toBe(node.nodeId);
  // While it does not wait, nobody gets its CPU.
  const other = look.options({ labelSelector: { zone: "q" } }).remote();
  expect((await wait([other], { timeout: 300 })).ready).toEqual([]);
  kill(actor);
  expect((await other).nodeId).toBe(node.nodeId);
  await cluster.removeNode(node);
});
