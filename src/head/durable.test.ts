// Goal: what the head acknowledges is on its store, or the call fails and may be repeated (issue 5: synced before
// acknowledged). Method: heads, drivers and simulated raylets on a store that is full when the test says so; a head that
// starts again on the same store shows what is there.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { unary } from "../core/rpc/grpc.ts";
import { ActorSpec, PlacementGroupSpec } from "../core/wire/gen/tsray/v1/head.ts";
import { FullStore } from "./full-store.fixture.ts";
import { type Driver, type FakeRaylet, TestCluster } from "./test-kit.ts";

const CALL_MS = 10_000;
const NOT_STORED = { name: "ClusterUnreachableError", retryable: true };

let cluster: TestCluster;
let store: FullStore;
let driver: Driver;
beforeEach(async () => {
  store = new FullStore();
  cluster = await TestCluster.start({ store });
  driver = cluster.driver({ jobId: "job" });
  await driver.accepted();
});
afterEach(async () => {
  driver.leave();
  await cluster.stop();
});

/** Another head on the same store, while the first still runs: as after a SIGKILL, nothing more is written. */
async function nextHead(): Promise<void> {
  store.isFull = true;
  await cluster.stopHead();
  store.isFull = false;
  await cluster.startHead({ store });
}

const isState = (state: string) => (info: { state: string }) => info.state === state;

test("a node is part of the cluster, to itself and to others, when it is stored", async () => {
  const first = await cluster.raylet("n1");
  store.refusedKey = "n2";
  const joining = cluster.raylet("n2");
  const isTold = ({ nodes }: { nodes: readonly { nodeId: string }[] }) =>
    nodes.some(({ nodeId }) => nodeId === "n2");
  // Another joins meanwhile, and all are told of what is there.
  const third = await cluster.raylet("n3");
  await first.updates.until(({ nodes }) => nodes.some(({ nodeId }) => nodeId === "n3"));
  expect([...first.updates.all, ...third.updates.all].some(isTold)).toBe(false);
  expect(await cluster.stateOf("n2")).toBe(undefined);
  store.refusedKey = "";
  await joining;
  await first.updates.until(isTold);
  expect(await cluster.stateOf("n2")).toBe("ALIVE");
});

describe("with a full store", () => {
  let raylet: FakeRaylet;
  beforeEach(async () => {
    raylet = await cluster.raylet("n1");
  });

  test("a kill is not acknowledged, and its repeat is when it is written", async () => {
    await cluster.create({ actorId: "a1", detached: true, maxRestarts: 3 });
    await raylet.bringUp("a1");
    await cluster.actor("a1", isState("ALIVE"));
    store.isFull = true;
    const how = { noRestart: true, requestId: "kill-1" };
    await expect(cluster.kill("a1", how)).rejects.toMatchObject(NOT_STORED);
    await expect(cluster.kill("a1", how)).rejects.toThrow(/state store: no space left on device/);
    // Nobody is told of what the next head might not know, and nothing is ended for it.
    await expect(cluster.info("a1")).rejects.toMatchObject(NOT_STORED);
    expect(raylet.stops.all).toEqual([]);
    store.isFull = false;
    await cluster.kill("a1", how);
    await raylet.stops.until(({ actorId }) => actorId === "a1");
    await nextHead();
    expect(await cluster.info("a1")).toMatchObject({ state: "DEAD", deathReason: "test kill" });
  });

  test("a kill that could not be written is none to the next head", async () => {
    await cluster.create({ actorId: "a1", detached: true });
    await raylet.bringUp("a1");
    await cluster.actor("a1", isState("ALIVE"));
    store.isFull = true;
    await expect(cluster.kill("a1", { noRestart: true, requestId: "kill-1" })).rejects.toMatchObject(
      NOT_STORED,
    );
    await nextHead();
    await raylet.register({ actors: [{ actorId: "a1", incarnation: 0 }] });
    expect(await cluster.info("a1")).toMatchObject({ state: "ALIVE", incarnation: 0 });
    expect(raylet.stops.all).toEqual([]);
    await cluster.kill("a1", { noRestart: true, requestId: "kill-1" });
    expect(await cluster.info("a1")).toMatchObject({ state: "DEAD" });
  });

  // The lesser spec of the history has no constructor arguments: an actor that is not dead on the store must not have it.
  test("a dead actor's spec is not written before its death is", async () => {
    await cluster.create({ actorId: "a1", detached: true, creation: Buffer.from("arguments") });
    await raylet.bringUp("a1");
    store.refusedTable = "actor-states";
    await expect(cluster.kill("a1", { noRestart: true })).rejects.toMatchObject(NOT_STORED);
    const spec = await store.get("actor-specs", "a1");
    expect(ActorSpec.decode(spec?.value ?? new Uint8Array()).creation).toEqual(Buffer.from("arguments"));
    store.refusedTable = "";
    await cluster.kill("a1", { noRestart: true });
    const later = await store.get("actor-specs", "a1");
    expect(ActorSpec.decode(later?.value ?? new Uint8Array()).creation).toHaveLength(0);
  });

  test("a report is not taken, and its repeat is", async () => {
    await cluster.create({ actorId: "a1", detached: true });
    await raylet.starts.until(({ spec }) => spec?.actorId === "a1");
    store.isFull = true;
    await expect(raylet.say("a1", 0, "ALIVE")).rejects.toMatchObject(NOT_STORED);
    await expect(raylet.say("a1", 0, "ALIVE")).rejects.toMatchObject(NOT_STORED);
    store.isFull = false;
    await raylet.say("a1", 0, "ALIVE");
    await nextHead();
    await raylet.register({ actors: [{ actorId: "a1", incarnation: 0 }] });
    expect(await cluster.info("a1")).toMatchObject({ state: "ALIVE" });
  });

  test("an actor is neither acknowledged nor started, and both when its creation is repeated", async () => {
    store.isFull = true;
    const spec = { actorId: "a1", name: "one", detached: true };
    await expect(cluster.create(spec)).rejects.toMatchObject(NOT_STORED);
    await expect(cluster.create(spec)).rejects.toMatchObject(NOT_STORED);
    expect(raylet.starts.all).toEqual([]);
    store.isFull = false;
    expect(await cluster.create(spec)).toMatchObject({ existed: false, error: "" });
    await raylet.bringUp("a1");
    await nextHead();
    await raylet.register({ actors: [{ actorId: "a1", incarnation: 0 }] });
    expect(await cluster.info("a1")).toMatchObject({ state: "ALIVE", name: "one" });
  });

  test("a start that nobody repeats leaves when its place is written", async () => {
    store.refusedTable = "actor-states";
    await expect(cluster.create({ actorId: "a1", detached: true })).rejects.toMatchObject(NOT_STORED);
    store.refusedTable = "";
    await raylet.bringUp("a1");
    expect(await cluster.info("a1")).toMatchObject({ state: "ALIVE" });
  });

  test("a placement group is neither acknowledged nor removed, until it is written", async () => {
    raylet.takesBundles = true;
    const spec = PlacementGroupSpec.fromPartial({
      groupId: "g1",
      namespace: "ns",
      strategy: "PACK",
      bundles: [{ resources: { amounts: { CPU: 10_000 } } }],
      detached: true,
    });
    const { client } = cluster;
    const create = () => unary(client, client.createPlacementGroups, { specs: [spec] }, CALL_MS);
    const remove = () =>
      unary(client, client.removePlacementGroups, { groupIds: ["g1"], reason: "not needed" }, CALL_MS);
    store.isFull = true;
    await expect(create()).rejects.toMatchObject(NOT_STORED);
    store.isFull = false;
    expect(await create()).toMatchObject({ groups: [{ error: "" }] });
    store.isFull = true;
    await expect(remove()).rejects.toMatchObject(NOT_STORED);
    store.isFull = false;
    await remove();
    await nextHead();
    const { groups } = await unary(cluster.client, cluster.client.listPlacementGroups, {}, CALL_MS);
    expect(groups.map(({ state }) => state)).toEqual(["REMOVED"]);
  });
});

describe("aliases of getIfExists", () => {
  const getIfExists = (actorId: string) =>
    cluster.create({ actorId, name: "one", getIfExists: true, detached: true });

  test("are on the store before their creators are answered", async () => {
    expect(await getIfExists("a1")).toMatchObject({ existed: false });
    store.refusedTable = "actor-aliases";
    await expect(getIfExists("a2")).rejects.toMatchObject(NOT_STORED);
    await expect(getIfExists("a2")).rejects.toMatchObject(NOT_STORED);
    store.refusedTable = "";
    expect(await getIfExists("a2")).toMatchObject({ existed: true, actor: { actorId: "a1" } });
    expect(await getIfExists("a3")).toMatchObject({ existed: true, actor: { actorId: "a1" } });
    await nextHead();
    expect(await cluster.info("a2")).toMatchObject({ found: true, actorId: "a1" });
    expect(await getIfExists("a3")).toMatchObject({ existed: true, actor: { actorId: "a1" } });
    await cluster.kill("a2");
    expect(await cluster.info("a3")).toMatchObject({ actorId: "a1", state: "DEAD" });
  });

  test("go with their actor", async () => {
    await getIfExists("a1");
    await getIfExists("a2");
    await store.delete("actor-specs", "a1");
    await nextHead();
    expect(await cluster.info("a2")).toMatchObject({ found: false });
    await cluster.stopHead();
    expect(await store.keys("actor-aliases", "", 10)).toEqual([]);
    await cluster.startHead({ store });
  });
});

describe("a node that is told to leave", () => {
  let leaving: FakeRaylet;
  beforeEach(async () => {
    leaving = await cluster.raylet("n1");
  });
  /** Which of the nodes gets the next actor. */
  const taker = async (actorId: string, raylets: FakeRaylet[]) => {
    await cluster.create({ actorId, detached: true });
    return Promise.race(
      raylets.map(async (raylet) => {
        await raylet.starts.until(({ spec }) => spec?.actorId === actorId);
        return raylet.nodeId;
      }),
    );
  };

  test("is told so, and given no work, once that is on the store", async () => {
    store.isFull = true;
    await expect(cluster.drain("n1")).rejects.toMatchObject(NOT_STORED);
    expect(await cluster.stateOf("n1")).toBe("ALIVE");
    store.isFull = false;
    expect(await taker("a1", [leaving])).toBe("n1");
    expect(leaving.drains.all).toEqual([]);
    expect(await cluster.drain("n1")).toEqual({ found: true });
    expect(await cluster.stateOf("n1")).toBe("DRAINING");
    expect(await leaving.drains.until(() => true)).toEqual({ graceMs: 1234, reason: "test drain" });
    expect(await taker("a2", [leaving, await cluster.raylet("n2")])).toBe("n2");
    expect(await cluster.drain("n3")).toEqual({ found: false });
  });

  test("is told by the next head when the first died before the order arrived", async () => {
    leaving.isDeafToDrains = true;
    await cluster.drain("n1");
    await nextHead();
    expect(await cluster.stateOf("n1")).toBe("DRAINING");
    leaving.isDeafToDrains = false;
    await leaving.register();
    expect(await leaving.drains.until(() => true)).toEqual({ graceMs: 1234, reason: "test drain" });
    expect(await cluster.stateOf("n1")).toBe("DRAINING");
    expect(await taker("a1", [leaving, await cluster.raylet("n2")])).toBe("n2");
  });

  test("of its own will is given no work either, by the next head neither", async () => {
    const other = await cluster.raylet("n2");
    leaving.report({ draining: true });
    await other.updates.until(({ nodes }) => nodes.some((n) => n.nodeId === "n1" && n.state === "DRAINING"));
    expect(await taker("a1", [leaving, other])).toBe("n2");
    await nextHead();
    await leaving.register({ draining: true });
    expect(await cluster.stateOf("n1")).toBe("DRAINING");
    await other.register({ actors: [{ actorId: "a1", incarnation: 0 }] });
    expect(await taker("a2", [leaving, other])).toBe("n2");
    leaving.report({ leaving: "its work is done" });
    await other.updates.until(({ nodes }) => nodes.some((n) => n.nodeId === "n1" && n.state === "DRAINED"));
  });

  // Nothing of the first head's memory helps: the node never came to be known as one that leaves.
  test("says so at its first registration with a head that does not know it", async () => {
    store.isFull = true;
    leaving.report({ draining: true });
    await cluster.stopHead();
    store.isFull = false;
    await store.delete("nodes", "n1");
    await cluster.startHead({ store });
    await leaving.register({ draining: true });
    expect(await cluster.stateOf("n1")).toBe("DRAINING");
    expect(await taker("a1", [leaving, await cluster.raylet("n2")])).toBe("n2");
  });
});

test("a job is accepted when it is stored, and its end is written when that can be", async () => {
  await cluster.raylet("n1");
  store.isFull = true;
  const refused = cluster.driver({ jobId: "j2" }, "n1");
  expect(await refused.ended).toContain("no space left on device");
  refused.leave();
  driver.sayEnded();
  await cluster.lines.until((line) => line.includes("job job ended"));
  store.isFull = false;
  const accepted = cluster.driver({ jobId: "j2" }, "n1");
  await accepted.accepted();
  await cluster.lines.until((line) => line.includes("is written"));
  await nextHead();
  const { jobs } = await unary(cluster.client, cluster.client.listJobs, {}, CALL_MS);
  expect(Object.fromEntries(jobs.map(({ jobId, state }) => [jobId, state]))).toEqual({
    job: "ENDED",
    j2: "RUNNING",
  });
  accepted.leave();
});

test("what a dead node had is given away when its death is on the store", async () => {
  const [doomed, other] = [await cluster.raylet("n1"), await cluster.raylet("n2", 0)];
  await cluster.create({ actorId: "a1", detached: true, maxRestarts: 1 });
  await doomed.bringUp("a1");
  store.refusedKey = "n1";
  doomed.close();
  await cluster.lines.until((line) => line.includes("node n1 is dead"));
  expect(await cluster.info("a1")).toMatchObject({ state: "ALIVE", incarnation: 0 });
  store.refusedKey = "";
  await other.updates.until(({ nodes }) => nodes.some((n) => n.nodeId === "n1" && n.state === "DEAD"));
  await cluster.actor("a1", isState("RESTARTING"));
});
