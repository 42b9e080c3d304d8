// Goal: the head keeps its promises to raylets, drivers and clients.
// Method: a real head over Unix sockets, simulated raylets and drivers that speak the real protocol; waits are for events.
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AuthenticationError, InvalidOptionError } from "../core/base/errors.ts";
import { createClient, unary } from "../core/rpc/grpc.ts";
import {
  type ClusterUpdate,
  HeadServiceClient,
  type KvPutReply,
  NodeReport,
  StoredNode,
} from "../core/wire/gen/tsray/v1/head.ts";
import { openStateStore } from "./state-store/open-state-store.ts";
import { TestCluster } from "./test-kit.ts";

const ANYWHERE = { kind: "DEFAULT", nodeId: "", soft: false, labels: [], groupId: "", bundle: -1 };

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await TestCluster.start();
});
afterEach(() => cluster.stop());

const cpu = (whole: number) => ({ amounts: { CPU: whole * 10_000 } });

describe("door", () => {
  test("refuses a wrong token, on calls and on streams", async () => {
    const intruder = createClient(HeadServiceClient, cluster.head.address, "wrong-token-wrong-token");
    await expect(unary(intruder, intruder.listNodes, {}, 5000)).rejects.toThrow(AuthenticationError);
    const stream = intruder.nodeSession();
    const code = new Promise((resolve) =>
      stream.on("error", (error: { code?: number }) => resolve(error.code)),
    );
    stream.on("data", () => {});
    expect(await code).toBe(16);
    intruder.close();
  });

  test("closes with sessions and long polls open, and twice", async () => {
    const raylet = await cluster.raylet("n1");
    const driver = cluster.driver({ jobId: "j" });
    await driver.accepted();
    await cluster.create({ actorId: "a" });
    const { version } = await cluster.actor("a", (a) => a.state === "STARTING");
    const poll = cluster.watch("a", version, 9000);
    poll.catch(() => {});
    await cluster.head.close();
    await cluster.head.close();
    await raylet.ends.until(() => true);
    await driver.ended;
    driver.leave();
  });
});

/** Whether the update says that the node has so much free. */
function tellsOf({ nodes, rooms }: ClusterUpdate, nodeId: string, free: Record<string, number>): boolean {
  const told = [
    ...nodes.map((node) => ({ nodeId: node.nodeId, available: node.available?.amounts ?? {} })),
    ...rooms,
  ].filter((each) => each.nodeId === nodeId);
  return told.some(({ available }) => Object.entries(free).every(([name, n]) => available[name] === n));
}

describe("nodes", () => {
  test("tells a node of the others, and the others of its changes", async () => {
    const one = await cluster.raylet("n1", 4);
    const two = await cluster.raylet("n2", 2);
    const welcome = two.updates.all[0]!;
    expect(welcome.registered).toBe(true);
    expect(welcome.healthCheck?.periodMs).toBe(10_000);
    expect(welcome.nodes.map((n) => n.nodeId)).toEqual(["n1"]);
    await one.updates.until((u) => u.nodes.some((n) => n.nodeId === "n2" && n.alive));
    two.free(1);
    await one.updates.until((u) => tellsOf(u, "n2", { CPU: 10_000 }));
    // Its own view may come along with others, never alone.
    expect(one.updates.all.some((u) => u.nodes.length > 0 && u.nodes.every((n) => n.nodeId === "n1"))).toBe(
      false,
    );
    const { nodes } = await unary(cluster.client, cluster.client.listNodes, {}, 5000);
    expect(nodes.map((n) => `${n.nodeId} ${n.alive}`)).toEqual(["n1 true", "n2 true"]);
  });

  // Method: what is told of the third node at last would bring along whatever the second had caused before.
  test("a report that says the same again is no news to the others", async () => {
    const one = await cluster.raylet("n1", 4);
    const two = await cluster.raylet("n2", 2);
    const three = await cluster.raylet("n3", 2);
    const hears = (nodeId: string, cpus: number) =>
      one.updates.until((u) => tellsOf(u, nodeId, { CPU: cpus * 10_000 }));
    two.free(1);
    await hears("n2", 1);
    two.report({ beat: 7, available: { amounts: { CPU: 10_000 } } });
    await two.updates.until((u) => u.heardBeat === 7);
    three.free(1);
    const { nodes, rooms } = await hears("n3", 1);
    expect([...nodes, ...rooms].map((n) => n.nodeId)).toEqual(["n3"]);
    two.free(2);
    const last = one.updates.all.length;
    await one.updates.until((u) => one.updates.all.indexOf(u) >= last && tellsOf(u, "n2", { CPU: 20_000 }));
  });

  test("of a node that is known only the resources are told that changed, and those it has no more", async () => {
    const one = await cluster.raylet("n1", 4);
    const two = await cluster.raylet("n2", 2);
    const report = async (available: Record<string, number>, total: Record<string, number>) => {
      const seen = one.updates.all.length;
      two.report({ available: { amounts: available }, total: { amounts: total } });
      const isNews = (u: ClusterUpdate) => one.updates.all.indexOf(u) >= seen;
      const { rooms } = await one.updates.until((u) => isNews(u) && u.nodes.length + u.rooms.length > 0);
      return rooms;
    };
    await one.updates.until((u) => u.nodes.some((n) => n.nodeId === "n2"));
    expect(await report({ CPU: 5000, gold: 7 }, { CPU: 20_000, gold: 7 })).toEqual([
      { nodeId: "n2", available: { CPU: 5000, gold: 7 }, total: { gold: 7 }, gone: [] },
    ]);
    expect(await report({ CPU: 5000, gold: 6 }, { CPU: 20_000, gold: 7 })).toEqual([
      { nodeId: "n2", available: { gold: 6 }, total: {}, gone: [] },
    ]);
    expect(await report({ CPU: 6000 }, { CPU: 20_000 })).toEqual([
      { nodeId: "n2", available: { CPU: 6000, gold: 0 }, total: { gold: 0 }, gone: ["gold"] },
    ]);
    // Who comes later is told all of it, as it is by then.
    const three = await cluster.raylet("n3", 2);
    const told = three.updates.all.flatMap(({ nodes }) => nodes).find(({ nodeId }) => nodeId === "n2");
    expect([told?.available?.amounts, told?.total?.amounts]).toEqual([{ CPU: 6000 }, { CPU: 20_000 }]);
  });

  test("what one node was told early is told to all, also when it is as before again", async () => {
    const one = await cluster.raylet("n1", 4);
    const two = await cluster.raylet("n2", 2);
    await one.updates.until((u) => u.nodes.some((n) => n.nodeId === "n2"));
    // In one burst: the change, a node that is told of it at its registration, the way back.
    two.free(1);
    const third = cluster.raylet("n3", 2);
    two.free(2);
    const three = await third;
    const last = () =>
      three.updates.all.reduce<number | undefined>((known, { nodes, rooms }) => {
        const told = nodes.find((n) => n.nodeId === "n2")?.available?.amounts.CPU;
        return rooms.find((n) => n.nodeId === "n2")?.available.CPU ?? told ?? known;
      }, undefined);
    two.report({ beat: 9 });
    await two.updates.until((u) => u.heardBeat === 9);
    await three.updates.until(() => last() === 20_000);
  });

  test("a broken stream and a failed probe are death, told once to all, and the node is fenced", async () => {
    const one = await cluster.raylet("n1");
    const two = await cluster.raylet("n2");
    const driver = cluster.driver({ jobId: "j" });
    await driver.accepted();
    two.close();
    const update = await one.updates.until((u) => u.nodes.some((n) => n.nodeId === "n2" && !n.alive));
    expect(update.nodes[0]?.deathReason).toContain("does not listen any more");
    expect((await driver.events.until((e) => e.deadNodes.length > 0)).deadNodes[0]?.nodeId).toBe("n2");
    const { nodes } = await unary(cluster.client, cluster.client.listNodes, {}, 5000);
    expect(nodes.map((n) => `${n.nodeId} ${n.alive}`)).toEqual(["n1 true", "n2 false"]);
    expect((await two.register()).fenced).toBe(true);
    driver.leave();
  });

  test("a node whose stream broke, but which lives, registers again and goes on", async () => {
    const one = await cluster.raylet("n1");
    await cluster.create({ actorId: "a" });
    await one.bringUp("a");
    one.breakStream();
    expect((await one.register()).registered).toBe(true);
    one.free(3);
    expect((await cluster.info("a")).state).toBe("ALIVE");
  });

  test("a silent node is dead, one that reports is not", async () => {
    await cluster.stopHead();
    await cluster.startHead({
      healthCheck: { periodMs: 40, timeoutMs: 40, failureThreshold: 3, outageGraceMs: 0 },
    });
    const one = await cluster.raylet("n1");
    const beat = setInterval(() => one.report({}), 20);
    const two = await cluster.raylet("n2");
    await one.updates.until((u) =>
      u.nodes.some((n) => n.nodeId === "n2" && n.deathReason.includes("silent")),
    );
    await two.updates.until((u) => u.fenced);
    clearInterval(beat);
    const { nodes } = await unary(cluster.client, cluster.client.listNodes, {}, 5000);
    expect(nodes.map((n) => `${n.nodeId} ${n.alive}`)).toEqual(["n1 true", "n2 false"]);
  });

  test("a session that does not begin with a registration is refused", async () => {
    const stream = cluster.client.nodeSession();
    const error = new Promise<Error>((resolve) => stream.on("error", resolve));
    stream.on("data", () => {});
    stream.write(NodeReport.fromPartial({}));
    expect((await error).message).toContain("must register");
  });

  test("lists tasks of all raylets, and names those that do not answer", async () => {
    await cluster.raylet("n1");
    const two = await cluster.raylet("n2");
    const all = await unary(cluster.client, cluster.client.listTasks, {}, 5000);
    expect(all.tasks.map((t) => t.taskId)).toEqual(["t-n1", "t-n2"]);
    two.isStuck = true;
    const rest = await unary(cluster.client, cluster.client.listWorkers, {}, 5000);
    expect(rest.unreachable).toEqual(["n2"]);
  });
});

describe("jobs", () => {
  test("start and end are told to raylets and kept in the table", async () => {
    const one = await cluster.raylet("n1");
    const driver = cluster.driver({ jobId: "j", namespace: "ns", driverPid: 7 });
    await driver.accepted();
    await one.updates.until((u) => u.jobs.some((j) => j.jobId === "j" && j.driverPid === 7));
    const two = await cluster.raylet("n2");
    expect(two.updates.all[0]?.jobs.map((j) => j.jobId)).toEqual(["j"]);
    driver.leave();
    await one.updates.until((u) => u.endedJobIds.includes("j"));
    const { jobs } = await unary(cluster.client, cluster.client.listJobs, {}, 5000);
    expect(jobs.map((j) => `${j.jobId} ${j.state} ${j.endedAtMs > 0}`)).toEqual(["j ENDED true"]);
    expect(await cluster.driver({ jobId: "j" }).ended).toContain("has ended");
  });

  test("its end kills non-detached actors only", async () => {
    const one = await cluster.raylet("n1");
    const driver = cluster.driver({ jobId: "job" });
    await driver.accepted();
    await cluster.create({ actorId: "mortal", name: "m" });
    await cluster.create({ actorId: "detached", detached: true });
    await one.bringUp("mortal");
    await one.bringUp("detached");
    driver.leave();
    const dead = await cluster.actor("mortal", (a) => a.state === "DEAD");
    expect(dead.deathReason).toContain("job");
    await one.stops.until((s) => s.actorId === "mortal");
    expect((await cluster.info("detached")).state).toBe("ALIVE");
    // One that arrives late is not left behind.
    expect((await cluster.create({ actorId: "late" })).actor?.state).toBe("DEAD");
  });

  test("worker output goes to its own driver, if that wants it", async () => {
    const one = await cluster.raylet("n1");
    const wants = cluster.driver({ jobId: "j1", logToDriver: true });
    const wantsNot = cluster.driver({ jobId: "j2" });
    await Promise.all([wants.accepted(), wantsNot.accepted()]);
    const line = (text: string) => ({ name: "f", pid: 1, isStderr: false, text });
    one.report({
      logs: [
        { jobId: "j2", nodeId: "n1", lines: [line("two")] },
        { jobId: "j1", nodeId: "n1", lines: [line("one")] },
        { jobId: "j9", nodeId: "n1", lines: [line("nine")] },
      ],
    });
    const event = await wants.events.until((e) => e.logs.length > 0);
    expect(event.logs.map((batch) => batch.lines[0]?.text)).toEqual(["one"]);
    expect(wantsNot.events.all.some((e) => e.logs.length > 0)).toBe(false);
    wants.leave();
    wantsNot.leave();
  });

  test("a driver that does not read loses lines, and is told how many", async () => {
    const one = await cluster.raylet("n1");
    const driver = cluster.driver({ jobId: "j", logToDriver: true });
    await driver.accepted();
    driver.stream.pause();
    const text = "x".repeat(512 * 1024);
    const batches = 40;
    for (let i = 0; i < batches; i += 1) {
      one.report({
        logs: [{ jobId: "j", nodeId: "n1", lines: [{ name: "f", pid: 1, isStderr: false, text }] }],
      });
    }
    // The head has read them all once it has answered for a resource report behind them.
    await cluster.raylet("n2");
    one.free(1);
    await cluster.raylets[1]!.updates.until((u) => tellsOf(u, "n1", { CPU: 10_000 }));
    driver.stream.resume();
    const { warning } = await driver.events.until((e) => e.warning !== "");
    const dropped = Number(/^(\d+) log lines/.exec(warning)?.[1]);
    expect(dropped).toBeGreaterThan(0);
    expect(driver.events.all.filter((e) => e.logs.length > 0).length).toBeLessThanOrEqual(batches - dropped);
    driver.leave();
  });
});

describe("actors", () => {
  test("is created, placed, started and found by name; a repeat gets the same actor", async () => {
    const one = await cluster.raylet("n1");
    const reply = await cluster.create({ actorId: "a", name: "counter" });
    expect(reply.existed).toBe(false);
    await one.bringUp("a");
    const alive = await cluster.actor("a", (a) => a.state === "ALIVE");
    expect(alive.endpoint?.processId).toBe("worker-of-a-0");
    expect((await cluster.create({ actorId: "a", name: "counter" })).actor?.state).toBe("ALIVE");
    const { found, actor } = await unary(
      cluster.client,
      cluster.client.findActor,
      { name: "counter", namespace: "ns" },
      5000,
    );
    expect([found, actor?.actorId]).toEqual([true, "a"]);
    expect(one.starts.all).toHaveLength(1);
    const { actors } = await unary(cluster.client, cluster.client.listActors, {}, 5000);
    expect(actors.map((a) => a.actorId)).toEqual(["a"]);
  });

  test("a taken name is refused by name and namespace, and is free again after death", async () => {
    await cluster.raylet("n1");
    await cluster.create({ actorId: "a", name: "x" });
    expect((await cluster.create({ actorId: "b", name: "x" })).error).toMatch(/"x".*"ns".*actor a/);
    expect((await cluster.create({ actorId: "c", name: "x", namespace: "other" })).error).toBe("");
    await cluster.kill("a");
    expect((await cluster.create({ actorId: "b", name: "x" })).error).toBe("");
  });

  test("of many racing creators with getIfExists one creates, the rest get that actor", async () => {
    await cluster.raylet("n1");
    const racers = Array.from({ length: 30 }, (_, i) =>
      cluster.create({ actorId: `r${i}`, name: "one", getIfExists: true }),
    );
    const replies = await Promise.all(racers);
    expect(replies.filter((r) => !r.existed)).toHaveLength(1);
    expect(new Set(replies.map((r) => r.actor?.actorId)).size).toBe(1);
  });

  test("watch: unknown, dead and timed-out are answered", async () => {
    expect((await cluster.info("nobody")).found).toBe(false);
    await cluster.create({ actorId: "a" });
    const waits = await cluster.info("a");
    expect(waits).toMatchObject({
      state: "PENDING",
      pendingReason: "the cluster has no node yet",
      found: true,
    });
    expect((await cluster.watch("a", waits.version, 30)).version).toBe(waits.version);
    await cluster.kill("a");
    const dead = await cluster.watch("a", 999, 9000);
    expect(dead).toMatchObject({ state: "DEAD", deathReason: "test kill" });
  });

  test("restarts after a crash as often as it may; an old report changes nothing", async () => {
    const one = await cluster.raylet("n1");
    await cluster.create({ actorId: "a", maxRestarts: 1 });
    await one.bringUp("a", 0);
    await one.say("a", 0, "CRASHED", { reason: "exit code 1" });
    await one.bringUp("a", 1);
    await one.say("a", 0, "CRASHED");
    expect(await cluster.info("a")).toMatchObject({ state: "ALIVE", incarnation: 1 });
    await one.say("a", 1, "CRASHED", { reason: "exit code 2" });
    expect(await cluster.info("a")).toMatchObject({ state: "DEAD", deathReason: "exit code 2" });
  });

  test("a failed constructor and an exit are not restarted", async () => {
    const one = await cluster.raylet("n1");
    await cluster.create({ actorId: "a", maxRestarts: -1 });
    await cluster.create({ actorId: "b", maxRestarts: -1 });
    await one.starts.until((s) => s.spec?.actorId === "a");
    await one.say("a", 0, "INIT_FAILED", { error: Buffer.from("bytes"), reason: "boom" });
    await one.bringUp("b");
    await one.say("b", 0, "EXITED");
    const dead = await cluster.info("a");
    expect([dead.state, dead.deathReason, dead.deathError.toString()]).toEqual(["DEAD", "boom", "bytes"]);
    expect((await cluster.info("b")).state).toBe("DEAD");
  });

  test("moves to another node when its node dies", async () => {
    const one = await cluster.raylet("n1");
    const owner = { processId: "", nodeId: "n1", unixPath: "", host: "", port: 0, pid: 0 };
    await cluster.create({ actorId: "a", maxRestarts: 1, detached: true, owner });
    await cluster.create({ actorId: "b", detached: true, owner });
    await one.bringUp("a");
    await one.bringUp("b");
    const two = await cluster.raylet("n2");
    one.close();
    await two.bringUp("a", 1);
    expect((await cluster.info("a")).endpoint?.nodeId).toBe("n2");
    expect((await cluster.info("b")).deathReason).toContain("node n1 is dead");
  });

  test("kill ends the process; a kill that lets it restart ends the old one first", async () => {
    const one = await cluster.raylet("n1");
    await cluster.create({ actorId: "a", maxRestarts: 1 });
    await one.bringUp("a", 0);
    await cluster.kill("a", { noRestart: false });
    await one.stops.until((s) => s.actorId === "a");
    await one.bringUp("a", 1);
    await cluster.kill("a", { noRestart: true });
    await cluster.kill("a", { noRestart: true });
    expect((await cluster.info("a")).state).toBe("DEAD");
    expect(one.starts.all.map((s) => s.incarnation)).toEqual([0, 1]);
    // A process of it that shows up after all is ended too.
    const stopsBefore = one.stops.all.length;
    await one.say("a", 1, "ALIVE");
    await one.stops.until((s) => one.stops.all.indexOf(s) >= stopsBefore);
  });

  test("dies with its owner: worker process or node, and not when it is detached", async () => {
    const one = await cluster.raylet("n1");
    const two = await cluster.raylet("n2");
    const ownedBy = (processId: string, nodeId: string) => ({
      owner: { processId, nodeId, unixPath: "", host: "", port: 0, pid: 0 },
    });
    await cluster.create({ actorId: "a", ...ownedBy("w1", "n1") });
    await cluster.create({ actorId: "kept", detached: true, ...ownedBy("w1", "n1") });
    await cluster.create({
      actorId: "b",
      ...ownedBy("w2", "n2"),
      strategy: { ...ANYWHERE, kind: "NODE_AFFINITY", nodeId: "n1", soft: false },
    });
    await cluster.create({ actorId: "parent" });
    await cluster.actor("parent", (a) => a.state === "STARTING");
    const host = one.starts.all.some((s) => s.spec?.actorId === "parent") ? one : two;
    await host.bringUp("parent");
    await cluster.create({ actorId: "child", ...ownedBy("worker-of-parent-0", "n1") });
    one.report({ endedProcessIds: ["w1"] });
    expect((await cluster.actor("a", (a) => a.state === "DEAD")).deathReason).toContain("process w1");
    expect((await cluster.create({ actorId: "late", ...ownedBy("w1", "n1") })).actor?.state).toBe("DEAD");
    await host.say("parent", 0, "CRASHED");
    await cluster.actor("child", (a) => a.state === "DEAD");
    two.close();
    expect((await cluster.actor("b", (a) => a.state === "DEAD")).deathReason).toContain("node n2 is dead");
    expect((await cluster.info("kept")).state).not.toBe("DEAD");
  });

  test("waits with a reason until a node has room, and goes on when views change", async () => {
    const one = await cluster.raylet("n1", 2);
    await cluster.create({ actorId: "big", resources: cpu(3), placement: cpu(3) });
    expect((await cluster.info("big")).pendingReason).toContain("needs 3 CPU, and node n1 has at most 2");
    one.free(0);
    await cluster.create({ actorId: "a", resources: cpu(1) });
    await cluster.actor("a", (a) =>
      a.state === "PENDING" ? a.pendingReason.includes("waits for 1 CPU") : a.state !== "PENDING",
    );
    one.free(2);
    await one.bringUp("a");
    const two = await cluster.raylet("n2", 4);
    await two.bringUp("big");
  });

  test("does not promise the same resources twice", async () => {
    const one = await cluster.raylet("n1", 2);
    await Promise.all([1, 2, 3].map((i) => cluster.create({ actorId: `a${i}`, resources: cpu(1) })));
    const { actors } = await unary(cluster.client, cluster.client.listActors, {}, 5000);
    expect(actors.map((a) => a.state).sort()).toEqual(["PENDING", "STARTING", "STARTING"]);
    await Promise.all(["a1", "a2"].map((id) => one.bringUp(id)));
    one.free(0);
    await one.say("a1", 0, "EXITED");
    one.free(1);
    await one.bringUp("a3");
  });

  test("goes elsewhere when a raylet refuses it, and back when that has room again", async () => {
    const full = await cluster.raylet("n1", 4, () => ({ accepted: false, reason: "no worker slot" }));
    const owner = { processId: "p", nodeId: "n1", unixPath: "", host: "", port: 0, pid: 0 };
    await cluster.create({ actorId: "a", owner });
    await cluster.actor("a", (a) => a.state === "PENDING" && a.pendingReason.includes("no worker slot"));
    const two = await cluster.raylet("n2");
    await two.bringUp("a");
    await cluster.create({
      actorId: "b",
      owner,
      strategy: { ...ANYWHERE, kind: "NODE_AFFINITY", nodeId: "n1", soft: false },
    });
    await cluster.actor("b", (a) => a.state === "PENDING" && a.pendingReason.includes("no worker slot"));
    full.behave = () => ({ accepted: true });
    full.free(4);
    await full.bringUp("b");
  });

  test("hard affinity to a dead node is death with the reason, a wrong report is refused", async () => {
    const one = await cluster.raylet("n1");
    const two = await cluster.raylet("n2", 4, () => ({ accepted: false, reason: "no worker slot" }));
    one.close();
    await two.updates.until((u) => u.nodes.some((n) => !n.alive));
    await cluster.create({
      actorId: "a",
      strategy: { ...ANYWHERE, kind: "NODE_AFFINITY", nodeId: "n1", soft: false },
    });
    expect(await cluster.info("a")).toMatchObject({ state: "DEAD" });
    // So it is for those that already wait for it, all of them.
    const strategy = { ...ANYWHERE, kind: "NODE_AFFINITY", nodeId: "n2", soft: false };
    for (const actorId of ["b", "c"]) {
      await cluster.create({ actorId, resources: cpu(2), strategy });
      await cluster.actor(actorId, (a) => a.pendingReason.includes("no worker slot"));
    }
    // Where it can never be met, it is so at once; an unknown node is waited for a little.
    await cluster.create({ actorId: "never", resources: cpu(9), strategy });
    expect((await cluster.info("never")).deathReason).toContain("it needs 9 CPU, and node n2 has at most");
    await cluster.create({ actorId: "unknown", strategy: { ...strategy, nodeId: "n9" } });
    expect((await cluster.info("unknown")).state).toBe("PENDING");
    const unknown = await cluster.actor("unknown", (a) => a.state === "DEAD");
    expect(unknown.deathReason).toContain("the node n9 that it must run on is not part of the cluster");
    const three = await cluster.raylet("n3");
    two.close();
    for (const actorId of ["b", "c"]) await cluster.actor(actorId, (a) => a.state === "DEAD");
    await expect(three.say("a", 0, "SLEEPY")).rejects.toThrow(InvalidOptionError);
  });
});

describe("key-value", () => {
  const put = (key: string, value: string, expectedRevision = 0): Promise<KvPutReply> =>
    unary(
      cluster.client,
      cluster.client.kvPut,
      { namespace: "n", key, value: Buffer.from(value), expectedRevision },
      5000,
    );
  const get = (key: string, namespace = "n") =>
    unary(cluster.client, cluster.client.kvGet, { namespace, key }, 5000);

  test("puts, gets, lists, deletes", async () => {
    await put("a/1", "x");
    await put("a/2", "y");
    await put("b", "z");
    expect((await get("a/1")).value.toString()).toBe("x");
    expect((await get("a/1", "other")).found).toBe(false);
    const keys = await unary(cluster.client, cluster.client.kvKeys, { namespace: "n", prefix: "a/" }, 5000);
    expect(keys.keys).toEqual(["a/1", "a/2"]);
    await unary(cluster.client, cluster.client.kvDelete, { namespace: "n", key: "a/1" }, 5000);
    expect((await get("a/1")).found).toBe(false);
  });

  test("compare and swap: of many racers one wins", async () => {
    const firsts = await Promise.all(Array.from({ length: 10 }, (_, i) => put("k", `${i}`, -1)));
    expect(firsts.filter((r) => r.stored)).toHaveLength(1);
    const { revision } = await get("k");
    const seconds = await Promise.all(Array.from({ length: 10 }, (_, i) => put("k", `${i}`, revision)));
    expect(seconds.filter((r) => r.stored)).toHaveLength(1);
    expect((await put("k", "any")).stored).toBe(true);
  });
});

describe("a head that starts again on the same state", () => {
  const store = () => openStateStore(`lmdb:${join(cluster.directory, "state")}`);

  test("knows its cluster, its key-values, nodes, jobs, names, actors and dead; what runs goes on", async () => {
    await cluster.stopHead();
    await cluster.startHead({ store: await store() });
    const before = await unary(cluster.client, cluster.client.clusterInfo, {}, 5000);
    await unary(
      cluster.client,
      cluster.client.kvPut,
      { namespace: "n", key: "k", value: Buffer.from("v"), expectedRevision: 0 },
      5000,
    );
    const one = await cluster.raylet("n1");
    const driver = cluster.driver({ jobId: "job" }, "n1");
    await driver.accepted();
    await cluster.create({ actorId: "kept", name: "kept", detached: true, creation: Buffer.from("args") });
    await cluster.create({ actorId: "once", name: "once" });
    await cluster.create({ actorId: "dead", name: "dead" });
    await cluster.create({ actorId: "waits", name: "waits", detached: true, resources: cpu(1000) });
    for (const actorId of ["kept", "once", "dead"]) await one.bringUp(actorId);
    await cluster.kill("dead");
    await cluster.actor("dead", (a) => a.state === "DEAD");
    const kept = await cluster.info("kept");
    await cluster.stopHead();

    await cluster.startHead({ store: await store() });
    const after = await unary(cluster.client, cluster.client.clusterInfo, {}, 5000);
    expect([after.clusterId, after.epoch]).toEqual([before.clusterId, before.epoch + 1]);
    const value = await unary(cluster.client, cluster.client.kvGet, { namespace: "n", key: "k" }, 5000);
    expect(value.value.toString()).toBe("v");
    const { nodes } = await unary(cluster.client, cluster.client.listNodes, {}, 5000);
    expect(nodes.map((n) => `${n.nodeId} ${n.alive}`)).toEqual(["n1 true"]);
    const jobs = () => unary(cluster.client, cluster.client.listJobs, {}, 5000);
    expect((await jobs()).jobs.map((j) => `${j.jobId} ${j.state}`)).toEqual(["job RUNNING"]);
    expect(await cluster.info("kept")).toMatchObject({
      state: "ALIVE",
      incarnation: 0,
      name: "kept",
      endpoint: kept.endpoint,
    });
    expect((await cluster.info("kept")).version).toBeGreaterThan(kept.version);
    expect(await cluster.info("once")).toMatchObject({ state: "ALIVE" });
    expect(await cluster.info("dead")).toMatchObject({ state: "DEAD" });
    expect(await cluster.info("waits")).toMatchObject({ state: "PENDING" });
    expect((await cluster.create({ actorId: "x", name: "kept" })).error).toContain("taken");

    // Its node comes back with what runs there: the driver has ended meanwhile, and one that is known to be dead still runs.
    const running = ["kept", "once", "dead", "ghost"];
    const welcome = await one.register({ actors: running.map((actorId) => ({ actorId, incarnation: 0 })) });
    expect([welcome.clusterId, welcome.epoch]).toEqual([after.clusterId, after.epoch]);
    for (const actorId of ["dead", "ghost", "once"]) await one.stops.until((s) => s.actorId === actorId);
    expect(one.stops.all.some((s) => s.actorId === "kept")).toBe(false);
    expect(await cluster.info("once")).toMatchObject({ state: "DEAD" });
    expect((await jobs()).jobs.map((j) => `${j.jobId} ${j.state}`)).toEqual(["job ENDED"]);
    expect(await cluster.info("kept")).toMatchObject({ state: "ALIVE", incarnation: 0 });
    driver.leave();
  });

  test("a job goes on when its driver's raylet opens its session again", async () => {
    await cluster.stopHead();
    await cluster.startHead({ store: await store() });
    const one = await cluster.raylet("n1");
    const driver = cluster.driver({ jobId: "job" }, "n1");
    await driver.accepted();
    await cluster.create({ actorId: "a", jobId: "job" });
    await one.bringUp("a");
    await cluster.stopHead();
    await cluster.startHead({ store: await store() });
    await one.register({ actors: [{ actorId: "a", incarnation: 0 }], jobIds: ["job"] });
    const again = cluster.driver({ jobId: "job" }, "n1");
    await again.accepted();
    expect(await cluster.info("a")).toMatchObject({ state: "ALIVE", incarnation: 0 });
    again.sayEnded();
    await one.stops.until((s) => s.actorId === "a");
    driver.leave();
    again.leave();
  });

  test("a job whose driver's node died meanwhile ends, and its actors with it", async () => {
    await cluster.stopHead();
    await cluster.startHead({ store: await store() });
    const one = await cluster.raylet("n1");
    const two = await cluster.raylet("n2", 0);
    const driver = cluster.driver({ jobId: "job" }, "n2");
    await driver.accepted();
    await cluster.create({ actorId: "a", jobId: "job" });
    await one.bringUp("a");
    await cluster.stopHead();
    two.close();
    await cluster.startHead({ store: await store() });
    await one.register({ actors: [{ actorId: "a", incarnation: 0 }] });
    await one.stops.until((s) => s.actorId === "a");
    expect((await cluster.info("a")).deathReason).toContain("job");
    driver.leave();
  });

  test("gives the actors of a node that died meanwhile to another", async () => {
    await cluster.stopHead();
    await cluster.startHead({ store: await store() });
    const one = await cluster.raylet("n1");
    await cluster.create({ actorId: "a", detached: true, maxRestarts: -1 });
    await one.bringUp("a");
    await cluster.stopHead();
    one.close();
    await cluster.startHead({ store: await store() });
    const two = await cluster.raylet("n2");
    await two.bringUp("a", 1);
  });

  // Method: the driver's call is answered by nobody, and made again at the next head.
  test("takes a kill that is repeated for the same one", async () => {
    await cluster.stopHead();
    await cluster.startHead({ store: await store() });
    const one = await cluster.raylet("n1");
    await cluster.create({ actorId: "a", detached: true, maxRestarts: -1 });
    await one.bringUp("a");
    await cluster.kill("a", { requestId: "r1" });
    await one.bringUp("a", 1);
    await cluster.stopHead();
    await cluster.startHead({ store: await store() });
    await one.register({ actors: [{ actorId: "a", incarnation: 1 }] });
    await cluster.kill("a", { requestId: "r1" });
    expect(await cluster.info("a")).toMatchObject({ state: "ALIVE", incarnation: 1 });
    await cluster.kill("a", { requestId: "r2" });
    await one.bringUp("a", 2);
  });

  // Method: as if the head before had died right after it had written down that the node was dead.
  test("places bundles of a node that is known to be dead at once", async () => {
    await cluster.stopHead();
    await cluster.startHead({ store: await store() });
    const one = await cluster.raylet("n1");
    one.takesBundles = true;
    const { client } = cluster;
    const bundles = [{ resources: cpu(1), labels: [] }];
    const spec = { groupId: "g", name: "", namespace: "ns", strategy: "PACK", bundles, detached: true };
    const specs = [{ ...spec, jobId: "job", creatorActorId: "" }];
    await unary(client, client.createPlacementGroups, { specs }, 5000);
    const settled = async () => {
      const request = { groups: [{ groupId: "g", knownVersion: -1 }], settled: true, waitMs: 5000 };
      return (await unary(cluster.client, cluster.client.watchPlacementGroups, request, 9000)).groups;
    };
    expect(await settled()).toMatchObject([{ state: "CREATED", nodeIds: ["n1"] }]);
    await cluster.stopHead();
    const tables = await store();
    const [entry] = await tables.list("nodes");
    const { info } = StoredNode.decode(entry!.value);
    const dead = { info: { ...info!, alive: false, state: "DEAD" }, drain: undefined };
    await tables.put("nodes", "n1", StoredNode.encode(dead).finish());
    await tables.close();
    await cluster.startHead({ store: await store() });
    const two = await cluster.raylet("n2");
    two.takesBundles = true;
    expect(await settled()).toMatchObject([{ state: "CREATED", nodeIds: ["n2"] }]);
  });

  test("is the only one on its tables", async () => {
    await cluster.stopHead();
    await cluster.startHead({ store: await store() });
    await expect(store()).rejects.toThrow("another head of this machine runs on these tables");
  });
});
