// Goal: placement groups do what api.md and Ray promise. Method: a cluster of real raylets; tasks and actors tell where
// they ran, files tell that they run; nodes, drivers and the head are killed.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  ActorDiedError,
  availableResources,
  GetTimeoutError,
  getPlacementGroup,
  InvalidOptionError,
  init,
  kill,
  nodes,
  type PlacementGroup,
  PlacementGroupError,
  placement,
  placementGroup,
  placementGroups,
  shutdown,
} from "tsray";
import { Cluster, type ClusterNode } from "tsray/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Counter } from "../fixtures/actors.mjs";
import { startDriver } from "../fixtures/drivers.ts";
import { Asker, type AskerHandle, family, hold, look, runIn } from "../fixtures/placement.mjs";
import { isRunning, until } from "../fixtures/processes.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const CLI = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));

let scratch = "";
let cluster: Cluster;
let a: ClusterNode;
let b: ClusterNode;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), "tsray-test-"));
  cluster = await Cluster.start({ token: TOKEN });
  [a, b] = await Promise.all([
    cluster.addNode({ numCpus: 2, resources: { custom: 1 }, labels: { zone: "a" } }),
    cluster.addNode({ numCpus: 2, labels: { zone: "b" } }),
  ]);
  await join_();
});
afterAll(async () => {
  await shutdown();
  await cluster.shutdown();
  rmSync(scratch, { recursive: true, force: true });
});

async function join_(): Promise<void> {
  await init({ address: cluster.address, token: TOKEN, logToDriver: false, namespace: "team" });
  await until(async () => (await nodes()).filter((node) => node.alive).length === 3, "three nodes");
}

const viewOf = async (group: PlacementGroup) => (await placementGroups()).find(({ id }) => id === group.id);
const nodesOf = async (group: PlacementGroup) =>
  (await viewOf(group))?.bundles.map(({ nodeId }) => nodeId) ?? [];
/** All CPUs of the cluster are free, and nothing of a group is left. */
const allFree = () =>
  until(async () => {
    const free = await availableResources();
    return free.CPU === 4 && !Object.keys(free).some((name) => name.includes("_group_"));
  }, "all resources free");
async function rejection(promise: PromiseLike<unknown>): Promise<Error> {
  try {
    return new Error(`it gave ${JSON.stringify(await promise)}`);
  } catch (error) {
    return error as Error;
  }
}

describe("placing", () => {
  // I11.
  test.each([
    ["PACK", 1],
    ["STRICT_PACK", 1],
    ["SPREAD", 2],
    ["STRICT_SPREAD", 2],
  ] as const)("%s puts two bundles on %i node(s)", async (strategy, count) => {
    const group = await placementGroup([{ CPU: 1 }, { CPU: 1 }], { strategy });
    await group.ready();
    const places = await nodesOf(group);
    expect(new Set(places).size).toBe(count);
    for (const place of places) expect([a.nodeId, b.nodeId]).toContain(place);
    await group.remove();
    expect(await viewOf(group)).toMatchObject({ state: "REMOVED", reason: "remove() was called" });
    await allFree();
  });

  // I12, I20.
  test("a group that does not fit waits, holds nothing meanwhile, says why, and is placed when a node joins", async () => {
    const bundles = [{ CPU: 1 }, { CPU: 1 }, { CPU: 1 }];
    const group = await placementGroup(bundles, { strategy: "STRICT_SPREAD", name: "waiting" });
    const late = await rejection(group.ready({ timeout: 100 }));
    expect(late).toBeInstanceOf(GetTimeoutError);
    // The head's own node is one of the three, and has no CPU.
    expect(late.message).toMatch(/"waiting"\) was not placed within 100 ms: it waits for \{1 CPU\}/);
    expect((await availableResources()).CPU).toBe(4);
    const rows = await list("placement-groups");
    const row = rows.find(({ groupId }) => groupId === group.id);
    expect(row).toMatchObject({ name: "waiting", state: "PENDING", strategy: "STRICT_SPREAD", bundles });
    expect(row?.reason).toContain("each on another node");
    const queued = look
      .options({ schedulingStrategy: placement(group, { bundle: 2 }), name: "queued" })
      .remote();
    const waiting = await until(async () => {
      const tasks = await list("tasks");
      return tasks.find(({ name, reason }) => name === "queued" && String(reason).includes("is PENDING"));
    }, "the task's reason");
    expect(waiting.reason).toContain(`placement group ${group.id} ("waiting") is PENDING: it waits for`);
    const actor = Asker.options({ schedulingStrategy: placement(group) }).remote();
    const node = await cluster.addNode({ numCpus: 1 });
    await group.ready();
    expect(new Set(await nodesOf(group)).size).toBe(3);
    expect((await queued).nodeId).toBe((await nodesOf(group))[2]);
    expect((await actor.look.remote()).group).toBe(group.id);
    await group.remove();
    await cluster.removeNode(node);
    await allFree();
  });

  test("labels of each bundle's node; what no node has is named", async () => {
    const bundleLabelSelectors = [{ zone: "b" }, { zone: "!in(b,c)", disk: "!ssd" }];
    const group = await placementGroup([{ CPU: 1 }, { CPU: 1 }], { bundleLabelSelectors });
    await group.ready();
    expect(await nodesOf(group)).toEqual([b.nodeId, a.nodeId]);
    const nowhere = await placementGroup([{ CPU: 1 }], { bundleLabelSelectors: [{ zone: "z" }] });
    const error = await rejection(nowhere.ready({ timeout: 50 }));
    expect(error.message).toContain("infeasible: no node of 3 has the labels zone=z");
    await Promise.all([group.remove(), nowhere.remove()]);
    await allFree();
  });

  // I21.
  test("200 groups come and go, and leave exactly what was there", async () => {
    for (let round = 0; round < 2; round++) {
      const groups = await Promise.all(
        Array.from({ length: 100 }, () => placementGroup([{ custom: 0.001 }, { custom: 0.002 }])),
      );
      await Promise.all(groups.map((group) => group.ready()));
      await Promise.all(groups.map((group) => group.remove()));
    }
    await until(async () => (await availableResources()).custom === 1, "custom is back");
    await allFree();
  });

  // I22.
  test.each([
    [[], undefined, "placementGroup takes an array of 1 to 1000 bundles"],
    [[{}], undefined, "bundles[0] must set something aside, got {}"],
    [[{ CPU: 0 }], undefined, "bundles[0] must set something aside"],
    [[{ CPU: 1 }, { CPU: -1 }], undefined, "bundles[1].CPU must be a number >= 0"],
    [[{ GPU: 1.5 }], undefined, "bundles[0].GPU must be a number from 0 to 1"],
    [[{ bundle: 1 }], undefined, "must not have a resource of the name 'bundle'"],
    [[{ CPU: 1 }], { strategy: "LOOSE" }, 'strategy must be "PACK", "SPREAD"'],
    [[{ CPU: 1 }], { lifetime: "job" }, 'lifetime must be "detached"'],
    [[{ CPU: 1 }], { bundleLabelSelectors: [] as never[], nmae: "x" }, "did you mean name?"],
    [[{ CPU: 1 }], { bundleLabelSelectors: [{}, {}] }, "one selector per bundle"],
    [
      [{ CPU: 1 }],
      { bundleLabelSelectors: [{ zone: "in(" }] },
      "bundleLabelSelectors[0]: labelSelector.zone must be",
    ],
  ])("%j with %j is refused", async (bundles, options, message) => {
    const error = await rejection(placementGroup(bundles as never, options as never));
    expect(error).toBeInstanceOf(InvalidOptionError);
    expect(error.message).toContain(message);
  });
});

describe("using", () => {
  // I14.
  test("tasks and actors run in the bundle they name, with its resources, and others do not get these", async () => {
    const group = await placementGroup([{ CPU: 1 }, { CPU: 0.5, custom: 0.5 }], {
      strategy: "STRICT_SPREAD",
    });
    await group.ready();
    const places = await nodesOf(group);
    for (const bundle of [0, 1]) {
      const seen = await look
        .options({ numCpus: 0.5, schedulingStrategy: placement(group, { bundle }) })
        .remote();
      expect(seen).toMatchObject({
        nodeId: places[bundle],
        group: group.id,
        assignedResources: { CPU: 0.5 },
      });
    }
    const any = look.options({
      numCpus: 0,
      resources: { custom: 0.5 },
      schedulingStrategy: placement(group),
    });
    expect((await any.remote()).nodeId).toBe(places[1]);
    // A group can be passed on. One that needs no CPU goes to a bundle too.
    expect((await runIn.options({ numCpus: 0 }).remote(group)).nodeId).toBe(places[1]);
    const actor = Counter.options({ schedulingStrategy: placement(group, { bundle: 0 }) }).remote();
    expect((await actor.context.remote()).nodeId).toBe(places[0]);
    const node = (await nodes()).find(({ nodeId }) => nodeId === places[0]);
    expect(node?.resources).toMatchObject({
      CPU: 2,
      [`CPU_group_0_${group.id}`]: 1,
      [`CPU_group_${group.id}`]: 1,
    });
    await until(async () => (await availableResources()).CPU === 2.5, "the bundles' CPUs are taken");
    kill(actor);
    await group.remove();
    await allFree();
  });

  test("captureChildren: children and grandchildren go into the group too, unless they name a strategy", async () => {
    const group = await placementGroup([{ CPU: 2 }]);
    await group.ready();
    const { id } = group;
    const captured = family.options({ schedulingStrategy: placement(group, { captureChildren: true }) });
    expect(await captured.remote(2)).toEqual([id, id, id, null, null]);
    expect(await family.options({ schedulingStrategy: placement(group) }).remote(1)).toEqual([
      id,
      null,
      null,
    ]);
    await group.remove();
    await allFree();
  });

  // I15.
  test("removal ends what runs in the group and what waits for it, with errors that name it, and nothing else", async () => {
    const group = await placementGroup([{ CPU: 1 }, { CPU: 1 }], { name: "doomed" });
    await group.ready();
    const inside = { schedulingStrategy: placement(group, { bundle: 0 }) };
    const other = Counter.remote(1);
    await other.increment.remote();
    const file = join(scratch, "doomed");
    const running = hold.options(inside).remote(file);
    const queued = hold.options(inside).remote(`${file}-2`);
    const actor = Asker.options({
      schedulingStrategy: placement(group, { bundle: 1 }),
      maxRestarts: 5,
    }).remote();
    const pids = [
      await actor.pid.remote(),
      Number(await until(() => existsSync(file) && readFileSync(file, "utf8"))),
    ];
    await group.remove();
    expect(pids.filter(isRunning)).toEqual([]);
    const named = `placement group ${group.id} ("doomed")`;
    const [ranError, queuedError, actorError] = await Promise.all(
      [running, queued, actor.pid.remote()].map(rejection),
    );
    expect(ranError).toBeInstanceOf(PlacementGroupError);
    // On a busy machine the raylet's account of the worker's end may come too late; then it counts as queued again.
    expect(ranError?.message).toMatch(
      /task holdTask (was ended while it ran \(worker \d+ on node|cannot run)/,
    );
    expect(ranError?.message).toContain(named);
    expect(queuedError).toBeInstanceOf(PlacementGroupError);
    expect(queuedError?.message).toContain(
      `task holdTask cannot run: ${named} was removed: remove() was called`,
    );
    expect(actorError).toBeInstanceOf(ActorDiedError);
    expect(actorError?.message).toContain(named);
    // What comes later fails at once; a repeat does nothing; others go on.
    expect(await rejection(look.options(inside).remote())).toBeInstanceOf(PlacementGroupError);
    expect(await rejection(Asker.options(inside).remote().pid.remote())).toBeInstanceOf(ActorDiedError);
    expect((await rejection(group.ready())).message).toContain(`${named} was removed`);
    await group.remove();
    expect(await other.increment.remote()).toBe(3);
    kill(other);
    await allFree();
  });
});

describe("failures", () => {
  // I17.
  test("a dead node's bundles are placed again; actors with restarts come back there, others stay", async () => {
    const third = await cluster.addNode({ numCpus: 2, labels: { zone: "c" } });
    const selectors = [{ zone: "a" }, { zone: "in(c,d)" }];
    const group = await placementGroup([{ CPU: 1 }, { CPU: 1 }], { bundleLabelSelectors: selectors });
    await group.ready();
    const [stays, moves] = [0, 1].map((bundle) =>
      Asker.options({
        numCpus: 1,
        maxRestarts: 1,
        schedulingStrategy: placement(group, { bundle }),
      }).remote(),
    ) as [AskerHandle, AskerHandle];
    const pid = await stays.pid.remote();
    expect((await moves.look.remote()).nodeId).toBe(third.nodeId);
    await cluster.removeNode(third);
    await until(async () => (await viewOf(group))?.state === "RESCHEDULING", "the loss");
    expect(await stays.pid.remote()).toBe(pid);
    const fourth = await cluster.addNode({ numCpus: 2, labels: { zone: "d" } });
    await group.ready();
    expect(await nodesOf(group)).toEqual([a.nodeId, fourth.nodeId]);
    const back = await until(
      async () => moves.look.remote().then(null, () => undefined),
      "the actor's restart",
    );
    expect(back.nodeId).toBe(fourth.nodeId);
    await group.remove();
    await cluster.removeNode(fourth);
    await allFree();
  });

  // I19. Method: another driver makes a detached group and one of its own, and is killed.
  test("a group goes with its job, a detached one stays and is found by its name", async () => {
    const driver = startDriver(cluster.address, TOKEN, "other", "groups");
    const made = (await driver.fact()) as { kept: string; own: string };
    expect((await getPlacementGroup("own", { namespace: "other" })).id).toBe(made.own);
    expect((await rejection(getPlacementGroup("own"))).message).toContain(
      'there is no placement group named "own" in namespace "team"',
    );
    driver.child.kill("SIGKILL");
    await driver.ended;
    await until(async () => (await availableResources()).CPU === 3, "the job's group is gone");
    const kept = await getPlacementGroup("kept", { namespace: "other" });
    expect(kept).toMatchObject({ id: made.kept, name: "kept", bundles: [{ CPU: 1 }] });
    expect((await look.options({ schedulingStrategy: placement(kept) }).remote()).group).toBe(made.kept);
    const own = (await placementGroups()).find(({ id }) => id === made.own);
    expect(own).toMatchObject({ state: "REMOVED", reason: expect.stringContaining("its job") });
    await kept.remove();
    await allFree();
  });

  test("a name is taken once; a group that does not stand any more leaves it free", async () => {
    const first = await placementGroup([{ CPU: 1 }], { name: "n" });
    const error = await rejection(placementGroup([{ CPU: 1 }], { name: "n" }));
    expect(error).toBeInstanceOf(PlacementGroupError);
    expect(error.message).toContain(
      `placement group name "n" is taken in namespace "team" (by group ${first.id})`,
    );
    await first.remove();
    const second = await placementGroup([{ CPU: 1 }], { name: "n" });
    expect((await getPlacementGroup("n")).id).toBe(second.id);
    await second.remove();
    await allFree();
  });

  // Last: the driver leaves and joins again, since its own job ends with the head.
  test("detached groups survive the head: the bundles of nodes that live stay as they are", async () => {
    const group = await placementGroup([{ CPU: 1 }, { CPU: 1 }], { name: "lasting", lifetime: "detached" });
    await group.ready();
    const places = await nodesOf(group);
    await shutdown();
    await cluster.killHead();
    await cluster.startHead();
    await join_();
    const found = await getPlacementGroup("lasting", { namespace: "team" });
    await found.ready();
    expect(await nodesOf(found)).toEqual(places);
    expect(
      (await look.options({ schedulingStrategy: placement(found, { bundle: 1 }) }).remote()).nodeId,
    ).toBe(places[1]);
    await found.remove();
    await allFree();
  });
});

async function list(kind: string): Promise<Record<string, unknown>[]> {
  const tokenFile = join(scratch, "token");
  writeFileSync(tokenFile, TOKEN, { mode: 0o600 });
  const child = spawn(process.execPath, [CLI, "list", kind, "--address", cluster.address, "--json"], {
    env: { ...process.env, TSRAY_TOKEN_FILE: tokenFile },
  });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk;
  });
  await new Promise((resolve) => child.on("close", resolve));
  return JSON.parse(out) as Record<string, unknown>[];
}
