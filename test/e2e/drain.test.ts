// Goal: a node that is drained leaves, and nothing is lost. Method: gates hold its work; cluster.removeNode and
// `tsray drain` take it away; what it had is looked for afterwards.
import { ActorDiedError, get, init, nodeAffinity, nodes, put, shutdown, wait } from "tsray";
import { Cluster } from "tsray/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { busyMs, Counter, Gate, makeBytes, nodeAtGate, sumAndNode } from "../fixtures/actors.mjs";
import { isRunning, until } from "../fixtures/processes.ts";
import { rejection } from "./support.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const MB = 1_000_000;
const range = (to: number) => Array.from({ length: to }, (_, i) => i);

describe("a node that is drained", () => {
  let cluster: Cluster;
  beforeEach(async () => {
    cluster = await Cluster.start({ token: TOKEN });
    await init({ address: cluster.address, token: TOKEN, logToDriver: false });
  });
  afterEach(async () => {
    await shutdown();
    await cluster.shutdown();
  });
  const stateOf = async (nodeId: string) => (await nodes()).find((node) => node.nodeId === nodeId)?.state;

  test("finishes its tasks, takes none, and is listed as drained", async () => {
    const leaving = await cluster.addNode({ numCpus: 2, resources: { a: 2 } });
    const gate = Gate.options({
      numCpus: 0,
      schedulingStrategy: nodeAffinity(cluster.nodes[0]?.nodeId ?? ""),
    }).remote();
    const running = nodeAtGate.options({ maxRetries: 0, resources: { a: 1 } }).remote(gate);
    await until(async () => (await gate.waiting.remote()) === 1);
    const left = cluster.removeNode(leaving, { graceful: true });
    await until(async () => (await stateOf(leaving.nodeId)) === "DRAINING");
    const later = busyMs.options({ resources: { a: 1 } }).remote(1, 7);
    const other = await cluster.addNode({ numCpus: 1, resources: { a: 1 } });
    expect(await later).toMatchObject({ value: 7 });
    expect(await stateOf(leaving.nodeId)).toBe("DRAINING");
    await gate.open.remote();
    expect(await running).toBe(leaving.nodeId);
    await left;
    expect(await stateOf(leaving.nodeId)).toBe("DRAINED");
    expect(await stateOf(other.nodeId)).toBe("ALIVE");
  });

  // Method: calls without retries are made all the while; the actor counts, and begins again at its new place.
  test("its actors move if they may restart, and no call is lost or made twice", async () => {
    const first = await cluster.addNode({ numCpus: 1, resources: { a: 1 } });
    const counter = Counter.options({ resources: { a: 1 }, maxRestarts: 1 }).remote();
    const calls = range(30).map(() => counter.increment.remote());
    await get(calls);
    const next = await cluster.addNode({ numCpus: 1, resources: { a: 1 } });
    const during = range(200).map(() => counter.increment.remote());
    await Promise.all([cluster.removeNode(first, { graceful: true }), get(during)]);
    const values = await get(during);
    const restart = values.indexOf(1);
    const expected = range(200).map((i) => (restart < 0 || i < restart ? 31 + i : i - restart + 1));
    expect(values).toEqual(expected);
    expect(await counter.context.remote()).toMatchObject({ nodeId: next.nodeId });
    // The move has used up no restart.
    await rejection(get(counter.die.remote()));
    await until(
      async () =>
        (await counter.value.remote().then(
          () => true,
          () => false,
        )) === true,
    );
  });

  test("an actor that may not restart ends when the time is up, and says why", async () => {
    const leaving = await cluster.addNode({ numCpus: 1, resources: { a: 1 } });
    const counter = Counter.options({ resources: { a: 1 } }).remote();
    expect(await counter.increment.remote()).toBe(1);
    await cluster.removeNode(leaving, { graceful: true, gracePeriod: 0 });
    const error = await rejection(get(counter.increment.remote()));
    expect(error).toBeInstanceOf(ActorDiedError);
    expect(error.message).toContain(leaving.nodeId);
    expect(error.message).toContain("drained");
  });

  // Method: SIGTERM, and what asks for the node's resources afterwards.
  test("a node that is stopped by a signal says that it leaves, and gets nothing more", async () => {
    const leaving = await cluster.addNode({ numCpus: 2, resources: { a: 2 } });
    const gate = Gate.options({ numCpus: 0 }).remote();
    const running = nodeAtGate.options({ resources: { a: 1 } }).remote(gate);
    await until(async () => (await gate.waiting.remote()) === 1);
    process.kill(leaving.pid, "SIGTERM");
    await until(async () => (await stateOf(leaving.nodeId)) === "DRAINING");
    const counter = Counter.options({ resources: { a: 1 } }).remote();
    const other = await cluster.addNode({ numCpus: 2, resources: { a: 2 } });
    expect(await counter.context.remote()).toMatchObject({ nodeId: other.nodeId });
    await gate.open.remote();
    // Where its grace was over first, it has been made again.
    expect([leaving.nodeId, other.nodeId]).toContain(await running);
    await until(async () => (await stateOf(leaving.nodeId)) === "DRAINED");
  });

  // Method: SIGKILL of the head while a gate holds the node; the actor leaves it while nobody can be told where to.
  test("a head that dies meanwhile changes nothing: the node leaves in order, its actor moves", async () => {
    const leaving = await cluster.addNode({ numCpus: 2, resources: { a: 2 } });
    const gate = Gate.options({
      numCpus: 0,
      schedulingStrategy: nodeAffinity(cluster.nodes[0]?.nodeId ?? ""),
    }).remote();
    const counter = Counter.options({ resources: { a: 1 }, maxRestarts: 1 }).remote();
    const pid = await counter.pid.remote();
    const running = nodeAtGate.options({ maxRetries: 0, resources: { a: 1 } }).remote(gate);
    await until(async () => (await gate.waiting.remote()) === 1);
    process.kill(pid, "SIGSTOP");
    const left = cluster.removeNode(leaving, { graceful: true });
    await until(async () => (await stateOf(leaving.nodeId)) === "DRAINING");
    await cluster.killHead();
    process.kill(pid, "SIGCONT");
    await gate.open.remote();
    expect(await running).toBe(leaving.nodeId);
    await until(() => !isRunning(pid));
    await cluster.startHead();
    await left;
    expect(await stateOf(leaving.nodeId)).toBe("DRAINED");
    const next = await cluster.addNode({ numCpus: 1, resources: { a: 1 } });
    expect(await counter.context.remote()).toMatchObject({ nodeId: next.nodeId });
    // The move has used up no restart.
    process.kill(await counter.pid.remote(), "SIGKILL");
    await until(() =>
      counter.value.remote().then(
        () => true,
        () => false,
      ),
    );
  });

  // Method: the head is made to die when it is about to tell the node.
  test("an order that its head could not give any more is given by the next", async () => {
    const leaving = await cluster.addNode({ numCpus: 1, resources: { a: 1 } });
    await cluster.killHead();
    process.env.TSRAY_TEST_EXIT_AT = "head: asking Drain";
    try {
      await cluster.startHead();
    } finally {
      delete process.env.TSRAY_TEST_EXIT_AT;
    }
    await until(async () => (await nodes()).filter(({ alive }) => alive).length === 2);
    const removed = cluster.removeNode(leaving, { graceful: true });
    // Where the head's answer was lost too, that is told.
    const answer = removed.catch((error: Error) => error.name);
    await until(() =>
      cluster.startHead().then(
        () => true,
        () => false,
      ),
    );
    expect([undefined, "ClusterUnreachableError"]).toContain(await answer);
    await until(async () => (await stateOf(leaving.nodeId)) === "DRAINED");
    await until(() => !isRunning(leaving.pid));
  });

  // Method: results and put objects of maxRetries 0: whoever makes them again would be told so.
  test("its objects move to another node", async () => {
    const leaving = await cluster.addNode({ numCpus: 1, resources: { a: 1 } });
    await cluster.addNode({ numCpus: 1, resources: { b: 1 } });
    const made = range(10).map((i) =>
      makeBytes.options({ numCpus: 0, resources: { a: 0.1 }, maxRetries: 0 }).remote(MB, i),
    );
    await wait(made, { numReturns: 10 });
    await cluster.removeNode(leaving, { graceful: true });
    const sums = made.map((ref) => sumAndNode.options({ numCpus: 0, resources: { b: 0.1 } }).remote(ref));
    expect((await get(sums)).map(({ sum }) => sum)).toEqual(range(10).map((i) => i * MB));
    expect((await get(made)).map((bytes) => bytes[0])).toEqual(range(10));
    expect((await get(put(1))) === 1).toBe(true);
  });

  // Method: the only other node has read the object before, so it has a copy that it may evict; then its store is filled.
  test("a node that had a copy keeps it for good", async () => {
    const leaving = await cluster.addNode({ numCpus: 1, resources: { a: 1 } });
    const made = makeBytes.options({ numCpus: 0, resources: { a: 0.1 }, maxRetries: 0 }).remote(4 * MB, 3);
    const here = sumAndNode.options({
      numCpus: 0,
      schedulingStrategy: nodeAffinity(cluster.nodes[0]?.nodeId ?? ""),
    });
    expect(await here.remote(made)).toMatchObject({ sum: 12 * MB });
    await cluster.removeNode(leaving, { graceful: true });
    const filling = range(40).map((i) => put(new Uint8Array(4 * MB).fill(i)));
    expect(await here.remote(made)).toMatchObject({ sum: 12 * MB });
    expect(await here.remote(filling[7] as (typeof filling)[0])).toMatchObject({ sum: 28 * MB });
  });

  // R39 at a small count.
  test("one after the other, under load: nothing is lost, and nothing runs twice", async () => {
    let old = await Promise.all([cluster.addNode({ numCpus: 1 }), cluster.addNode({ numCpus: 1 })]);
    const refs = range(600).map((i) => busyMs.options({ maxRetries: 0 }).remote(5, i));
    for (const _ of range(2)) {
      const [leaving, stays] = old as [(typeof old)[0], (typeof old)[0]];
      const fresh = await cluster.addNode({ numCpus: 1 });
      await cluster.removeNode(leaving, { graceful: true });
      old = [stays, fresh];
    }
    expect((await get(refs)).map(({ value }) => value)).toEqual(range(600));
  });
});
