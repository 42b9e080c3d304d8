// Goal: two lives of one actor never run at the same time, whatever becomes of the node of the first (R27).
// Method: actors write when they run, by the clock that all processes of the machine share; their raylet is stopped
// (SIGSTOP) and woken.
import { get, init, nodes, shutdown } from "tsray";
import { Cluster } from "tsray/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadNative } from "../../src/core/store/native.ts";
import { Counter } from "../fixtures/actors.mjs";
import { childTitled, isRunning } from "../fixtures/processes.ts";
import { Recorded, recordTwice } from "../fixtures/recorded.ts";
import { Recorder, rejection, temporaryDirectory, until } from "./support.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const LIMIT_MS = 60_000;
/** Without it, what is in a loop ends when its raylet wakes. */
const hasAddon = loadNative().addon !== null;
const dir = temporaryDirectory();

/** When each life was seen to run, first and last. */
function lives(recorder: Recorder): { life: number; pid: number; firstMs: number; lastMs: number }[] {
  const seen = new Map<number, { life: number; pid: number; firstMs: number; lastMs: number }>();
  for (const line of recorder.lines) {
    const [life, pid, atMs] = line.split(" ").map(Number) as [number, number, number];
    const known = seen.get(life);
    if (known === undefined) seen.set(life, { life, pid, firstMs: atMs, lastMs: atMs });
    else known.lastMs = atMs;
  }
  return [...seen.values()];
}

function expectNoOverlap(recorder: Recorder): void {
  const all = lives(recorder);
  all.forEach((life, i) => {
    const before = all[i - 1];
    if (before !== undefined) expect(life.firstMs).toBeGreaterThan(before.lastMs);
  });
}

describe("a raylet that is stopped", () => {
  let cluster: Cluster;
  beforeEach(async () => {
    // A node ends its workers after 3 s, is woken too late after 5 s, and is given up after 7.5 s.
    const healthCheck = { period: 200, timeout: 1000, failureThreshold: 10, outageGrace: 0 };
    cluster = await Cluster.start({ token: TOKEN, healthCheck });
    await init({ address: cluster.address, token: TOKEN, logToDriver: false });
  });
  afterEach(async () => {
    await shutdown();
    await cluster.shutdown();
  });

  test("for long has lost its actors to another node, and comes back as a new one", async () => {
    const first = await cluster.addNode({ numCpus: 1, resources: { a: 2 } });
    const recorder = new Recorder(dir, "stopped");
    const actor = Recorded.options({ resources: { a: 1 }, maxRestarts: -1, maxTaskRetries: -1 }).remote(
      recorder.path,
    );
    await get(actor.ping.remote());
    // One more that does not look up from what it does.
    const spins = new Recorder(dir, "spins");
    const spinner = Recorded.options({ resources: { a: 1 } }).remote(spins.path);
    const spinning = rejection(spinner.spin.remote());
    await until(() => spins.lines.at(-1)?.endsWith("spins"), "the other actor to be in its loop", LIMIT_MS);
    const spinnerPid = Number(spins.lines.at(-1)?.split(" ")[1]);
    await cluster.addNode({ numCpus: 1, resources: { a: 1 } });
    process.kill(first.pid, "SIGSTOP");
    await until(() => lives(recorder).length === 2, "the next life", LIMIT_MS);
    const [old] = lives(recorder);
    expect(isRunning(old?.pid ?? 0)).toBe(false);
    if (hasAddon) expect(isRunning(spinnerPid)).toBe(false);
    expect(await spinning).toMatchObject({ maybeExecuted: true });
    process.kill(first.pid, "SIGCONT");
    const isBack = async () => (await nodes()).some((node) => node.alive && node.pid === first.pid);
    await until(isBack, "the machine to come back as a new node", LIMIT_MS);
    expect((await nodes()).find(({ nodeId }) => nodeId === first.nodeId)).toMatchObject({
      alive: false,
      state: "DEAD",
    });
    await get(actor.ping.remote());
    expectNoOverlap(recorder);
  });

  test("leaves a worker alone that was stopped itself: its task waits, and runs once", async () => {
    const node = await cluster.addNode({ numCpus: 1 });
    const recorder = new Recorder(dir, "worker");
    const before = await nodes();
    const running = recordTwice.remote(recorder.path);
    await until(() => recorder.lines.length === 1, "the task to run", LIMIT_MS);
    const pid = Number(recorder.lines[0]?.split(" ")[0]);
    process.kill(pid, "SIGSTOP");
    // Longer than a node may be silent, and than a worker waits for its raylet.
    const wokenAt = performance.now() + 6000;
    await until(() => performance.now() > wokenAt, "the time to pass", LIMIT_MS);
    process.kill(pid, "SIGCONT");
    expect(await running).toBe(pid);
    expect(recorder.lines).toEqual([`${pid} begins`, `${pid} ends`]);
    expect((await nodes()).map(({ nodeId, alive }) => [nodeId, alive])).toEqual(
      before.map(({ nodeId, alive }) => [nodeId, alive]),
    );
    expect(isRunning(node.pid)).toBe(true);
  });

  test("for a moment goes on", async () => {
    const node = await cluster.addNode({ numCpus: 1, resources: { a: 1 } });
    const recorder = new Recorder(dir, "paused");
    const actor = Recorded.options({ resources: { a: 1 }, maxRestarts: 5 }).remote(recorder.path);
    await get(actor.ping.remote());
    process.kill(node.pid, "SIGSTOP");
    const stoppedAt = recorder.lines.length;
    // A second of its actor's writing, every 20 ms.
    await until(() => recorder.lines.length > stoppedAt + 30, "the actor to write on");
    process.kill(node.pid, "SIGCONT");
    await get(actor.ping.remote());
    expect(lives(recorder)).toHaveLength(1);
    expect((await nodes()).every(({ alive }) => alive)).toBe(true);
  });
});

// Method: the head is away for longer than a node that is cut off waits before it fences itself; then all come back, one
// before the other. Actors without restarts would be lost with their nodes.
test("a head that was away for long finds every node as it was, whoever comes back first", async () => {
  const cluster = await Cluster.start({
    token: TOKEN,
    // 3 s; what others say counts for 1.5 s.
    healthCheck: { period: 500, timeout: 500, failureThreshold: 5, outageGrace: 60_000 },
  });
  try {
    await Promise.all(["a", "b", "c", "d"].map((name) => cluster.addNode({ resources: { [name]: 1 } })));
    await init({ address: cluster.address, token: TOKEN, logToDriver: false });
    const actors = ["a", "b", "c", "d"].map((name) => Counter.options({ resources: { [name]: 1 } }).remote());
    await get(actors.map((actor) => actor.increment.remote()));
    const before = (await nodes()).map(({ nodeId }) => nodeId).sort();
    await cluster.killHead();
    await new Promise((resolve) => setTimeout(resolve, 4500));
    await cluster.startHead();
    const reporting = async () => (await nodes()).filter(({ available }) => available.CPU !== undefined);
    await until(async () => (await reporting()).length >= 4, "the nodes to report", LIMIT_MS);
    expect(await get(actors.map((actor) => actor.increment.remote()))).toEqual([2, 2, 2, 2]);
    const after = (await nodes()).filter(({ alive }) => alive).map(({ nodeId }) => nodeId);
    expect(after.sort()).toEqual(before);
  } finally {
    await shutdown();
    await cluster.shutdown();
  }
});

test("a head that stood still for long on its only node's machine finds it as it was", async () => {
  const cluster = await Cluster.start({
    token: TOKEN,
    head: { numCpus: 1 },
    healthCheck: { period: 500, timeout: 500, failureThreshold: 5, outageGrace: 60_000 },
  });
  try {
    await init({ address: cluster.address, token: TOKEN, logToDriver: false });
    const actor = Counter.remote();
    expect(await get(actor.increment.remote())).toBe(1);
    const head = childTitled("tsray:head");
    process.kill(head, "SIGSTOP");
    // 3 s without an answer is what a node takes that is cut off.
    await new Promise((resolve) => setTimeout(resolve, 4500));
    process.kill(head, "SIGCONT");
    expect(await get(actor.increment.remote())).toBe(2);
    const [node] = cluster.nodes;
    expect(await nodes()).toMatchObject([{ nodeId: node?.nodeId, pid: node?.pid, alive: true }]);
  } finally {
    await shutdown();
    await cluster.shutdown();
  }
});
