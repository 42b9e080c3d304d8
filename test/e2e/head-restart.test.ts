// Goal: a head that is killed takes nothing with it; what needs it waits for the next one (R8, R10, L1-L4, L8).
// Method: the head's process is SIGKILLed while gates hold tasks, actors run and drivers are connected.
import { get, getActor, init, kill, nodeAffinity, nodes, put, ready, shutdown } from "tsray";
import { Cluster } from "tsray/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { busyMs, Counter, Gate, nodeAtGate } from "../fixtures/actors.mjs";
import { isRunning, until } from "../fixtures/processes.ts";
import { Holder } from "../fixtures/recorded.ts";
import { CLI, startProgram } from "./processes.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const range = (to: number) => Array.from({ length: to }, (_, i) => i);

describe("a head that is killed and started again", () => {
  let cluster: Cluster;
  beforeEach(async () => {
    cluster = await Cluster.start({ token: TOKEN, healthCheck: { period: 100 } });
    await cluster.addNode({ numCpus: 2, resources: { a: 10 } });
    await init({ address: cluster.address, token: TOKEN, namespace: "test", logToDriver: false });
  });
  afterEach(async () => {
    await shutdown();
    await cluster.shutdown();
  });

  test("running tasks, actors, names and objects go on; what is asked for meanwhile waits and completes", async () => {
    const gate = Gate.options({ numCpus: 0 }).remote();
    const named = Counter.options({ name: "named", resources: { a: 1 } }).remote(10);
    const detached = Counter.options({ name: "detached", lifetime: "detached", resources: { a: 1 } }).remote(
      20,
    );
    expect(await get([named.increment.remote(), detached.increment.remote()])).toEqual([11, 21]);
    const pid = await named.pid.remote();
    const running = nodeAtGate.remote(gate);
    await until(async () => (await gate.waiting.remote()) === 1);
    const before = (await nodes()).map(({ nodeId }) => nodeId);

    await cluster.killHead();
    // Needs no head.
    expect(await named.increment.remote()).toBe(12);
    expect(await get(range(50).map((i) => busyMs.remote(1, i)))).toMatchObject(
      range(50).map((value) => ({ value })),
    );
    // Needs one.
    const created = Counter.options({ resources: { a: 1 } }).remote(30);
    const waiting = [created.increment.remote(), getActor("detached"), nodes()] as const;
    await cluster.startHead();
    expect(await waiting[0]).toBe(31);
    const found = (await waiting[1]) as typeof detached;
    expect(await found.increment.remote()).toBe(22);
    expect((await waiting[2]).map(({ nodeId }) => nodeId)).toEqual(before);
    expect(await named.pid.remote()).toBe(pid);
    expect(() => Counter.options({ name: "named" }).remote()).not.toThrow();
    await expect(ready(Counter.options({ name: "named" }).remote())).rejects.toThrow("is taken");
    await gate.open.remote();
    await get(running);
  });

  // Method: SIGKILLs of two actors and a node while there is no head to tell.
  test("what ended meanwhile is found to have", async () => {
    const doomed = await cluster.addNode({ numCpus: 1, resources: { c: 1 } });
    const once = Counter.options({ name: "once", resources: { a: 1 } }).remote();
    const again = Counter.options({
      name: "again",
      maxRestarts: 1,
      maxTaskRetries: -1,
      resources: { a: 1 },
    }).remote();
    const there = Counter.options({ resources: { c: 1 }, maxRestarts: 0 }).remote();
    const pids = await get([once.pid.remote(), again.pid.remote(), there.pid.remote()]);
    await cluster.killHead();
    for (const pid of pids.slice(0, 2)) process.kill(pid as number, "SIGKILL");
    process.kill(doomed.pid, "SIGKILL");
    await until(() => pids.every((pid) => !isRunning(pid as number)));
    await cluster.startHead();
    await expect(get(once.value.remote())).rejects.toThrow(/killed by SIGKILL/);
    expect(await again.increment.remote()).toBe(1);
    await expect(get(there.value.remote())).rejects.toThrow(doomed.nodeId);
    await until(async () => (await nodes()).find(({ nodeId }) => nodeId === doomed.nodeId)?.alive === false);
    // Its name is free again.
    expect(
      await Counter.options({ name: "once", resources: { a: 1 } })
        .remote(5)
        .value.remote(),
    ).toBe(5);
    kill(again);
  });

  // Method: ten kills under a load of tasks and actor calls without retries.
  test("again and again, under load", async () => {
    const counter = Counter.options({ resources: { a: 1 } }).remote();
    let calls = 0;
    for (const _ of range(10)) {
      const tasks = range(20).map((i) => busyMs.options({ maxRetries: 0 }).remote(2, i));
      const counts = range(20).map(() => counter.increment.remote());
      await cluster.killHead();
      const late = Counter.options({ numCpus: 0 }).remote(calls);
      const value = late.value.remote();
      await cluster.startHead();
      expect(await get(tasks)).toMatchObject(range(20).map((i) => ({ value: i })));
      expect(await get(counts)).toEqual(range(20).map((i) => calls + i + 1));
      expect(await value).toBe(calls);
      kill(late);
      calls += 20;
    }
    expect((await nodes()).map(({ alive }) => alive)).toEqual([true, true]);
  });

  test("a driver that leaves meanwhile takes its actors with it, not the detached ones", async () => {
    const mine = Counter.options({ resources: { a: 1 } }).remote();
    const kept = Counter.options({ name: "kept", lifetime: "detached", resources: { a: 1 } }).remote();
    const [pid, keptPid] = await get([mine.pid.remote(), kept.pid.remote()]);
    await cluster.killHead();
    await shutdown();
    await cluster.startHead();
    await until(() => !isRunning(pid as number));
    expect(isRunning(keptPid as number)).toBe(true);
    await init({ address: cluster.address, token: TOKEN, namespace: "test", logToDriver: false });
    const found = (await getActor("kept")) as typeof kept;
    expect(await found.pid.remote()).toBe(keptPid);
  });

  // Method: the driver leaves with all that it owned; then the actor's process is killed.
  test("a detached actor needs nothing of the driver that made it", async () => {
    const MB = 1_000_000;
    const options = { lifetime: "detached", maxRestarts: 1, numCpus: 0 } as const;
    const large = put(new Uint8Array(MB).fill(2));
    const holder = Holder.options({ ...options, name: "holder" }).remote(
      new Uint8Array(MB).fill(1),
      large as never,
    );
    expect(await holder.sum.remote()).toBe(3 * MB);
    await holder.again.remote(large);
    const pid = await holder.pid.remote();
    const tooLarge = Holder.options(options).remote(new Uint8Array(5 * MB));
    await expect(ready(tooLarge)).rejects.toThrow(/take 50\d{5} bytes, and at most 4194304/);
    await shutdown();
    await init({ address: cluster.address, token: TOKEN, namespace: "test", logToDriver: false });
    const found = (await getActor("holder")) as typeof holder;
    expect(await found.keptSum.remote()).toBe(2 * MB);
    process.kill(pid, "SIGKILL");
    await until(() => !isRunning(pid));
    await until(() =>
      found.sum.remote().then(
        (sum) => sum === 3 * MB,
        () => false,
      ),
    );
  });

  test("hard affinity and placement wait for the nodes to come back", async () => {
    const [first] = cluster.nodes;
    await cluster.killHead();
    const actor = Counter.options({
      numCpus: 0,
      schedulingStrategy: nodeAffinity(first?.nodeId ?? ""),
    }).remote();
    const value = actor.increment.remote();
    await cluster.startHead();
    expect(await value).toBe(1);
  });
});

// Method: a head dies before it has a driver's job on its store, and the next one hears of it from another node first: the
// driver's is stopped (SIGSTOP) until then.
test("a job that the next head has not heard of yet goes on at the nodes that are back before its driver's", async () => {
  const cluster = await Cluster.start({ healthCheck: { period: 100 } });
  try {
    const node = await cluster.addNode({ numCpus: 2 });
    const some = () => get(range(20).map((i) => busyMs.remote(2, i)));
    // Then the driver's node knows the other one, and needs no head to send it work.
    await init({ address: cluster.address, logToDriver: false });
    await some();
    await shutdown();
    await until(async () => (await listJobs(cluster.address)).every(({ state }) => state === "ENDED"));
    await cluster.killHead();
    process.env.TSRAY_TEST_EXIT_AT = "head: committing jobs";
    await cluster.startHead();
    delete process.env.TSRAY_TEST_EXIT_AT;
    await init({ address: cluster.address, logToDriver: false });
    await some();
    // Leases that nobody uses go back after half a second: then nothing of the driver is at the node.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const [drivers] = cluster.nodes;
    process.kill(drivers?.pid ?? 0, "SIGSTOP");
    try {
      await until(() =>
        cluster.startHead().then(
          () => true,
          // The end of the last one is not known yet.
          () => false,
        ),
      );
      const isBack = async () =>
        (await nodes()).some(
          ({ nodeId, available }) => nodeId === node.nodeId && available.CPU !== undefined,
        );
      await until(isBack);
    } finally {
      process.kill(drivers?.pid ?? 0, "SIGCONT");
    }
    expect(await some()).toHaveLength(20);
  } finally {
    delete process.env.TSRAY_TEST_EXIT_AT;
    await shutdown();
    await cluster.shutdown();
  }
});

async function listJobs(address: string): Promise<{ state: string }[]> {
  const { stdout } = await startProgram([CLI, "list", "jobs", "--address", address, "--json"], {}).ended;
  return JSON.parse(stdout) as { state: string }[];
}
