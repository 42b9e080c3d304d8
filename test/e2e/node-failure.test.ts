// Goal: what runs on a node that dies is run again, or fails with an error that says so. Method: clusters of real
// raylets; nodes are ended with SIGKILL while gates hold their work.
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import {
  ActorDiedError,
  cancel,
  get,
  init,
  NodeDiedError,
  nodeAffinity,
  nodes,
  ObjectLostError,
  type ObjectRef,
  OwnerDiedError,
  ready,
  shutdown,
  TaskCancelledError,
  UnschedulableError,
  wait,
} from "tsray";
import { Cluster } from "tsray/testing";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import {
  busyMs,
  Counter,
  Gate,
  makeBytes,
  nodeOf,
  putBytes,
  RemoteOverlap,
  spinFor,
  sumAndNode,
} from "../fixtures/actors.mjs";
import { countSlowly, Gate as StreamGate } from "../fixtures/functions.ts";
import { isRunning, until } from "../fixtures/processes.ts";

const CLI = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));
const TOKEN = "0123456789abcdef0123456789abcdef";
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
const failure = (promise: PromiseLike<unknown>): Promise<unknown> =>
  Promise.resolve(promise).then(
    (value) => {
      throw new Error(`it gave ${String(value)}`);
    },
    (error: unknown) => error,
  );

describe("node failure", () => {
  let cluster: Cluster;
  beforeEach(async () => {
    cluster = await Cluster.start({ token: TOKEN });
    await init({ address: cluster.address, token: TOKEN, logToDriver: false });
  });
  afterEach(async () => {
    await shutdown();
    await cluster.shutdown();
  });
  const addNode = async (resources: Record<string, number>, numCpus = 2) => {
    const node = await cluster.addNode({ numCpus, resources });
    await until(async () => (await nodes()).some((each) => each.nodeId === node.nodeId && each.alive));
    return node;
  };

  // G8. Method: two items are taken; then the node is killed while its generator stands at a gate.
  test("a stream whose node dies goes on elsewhere with the items that are missing", async () => {
    const gate = StreamGate.options({ numCpus: 0 }).remote();
    await ready(gate);
    const doomed = await addNode({ s: 1 });
    const stream = countSlowly.options({ resources: { s: 1 } }).remote(5, gate);
    const next = async () => get((await stream.next()).value as ObjectRef<number>);
    expect([await next(), await next()]).toEqual([0, 1]);
    await gate.arrivals.remote(1);
    await addNode({ s: 1 });
    await cluster.removeNode(doomed);
    await gate.arrivals.remote(2);
    await gate.open.remote();
    const rest: number[] = [];
    for await (const ref of stream) rest.push(await ref);
    expect(rest).toEqual([2, 3, 4]);
  });

  // Method: 2,000 short tasks over three nodes; one raylet is SIGKILLed in the middle.
  test("2,000 tasks come out right although a node dies under them", async () => {
    await Promise.all([addNode({ a: 1 }), addNode({ b: 1 })]);
    const doomed = await addNode({ c: 1 });
    await wait([busyMs.options({ numCpus: 0, resources: { c: 1 } }).remote(1, 0)]);
    const refs = range(0, 2000).map((i) => busyMs.remote(3, i));
    await wait(refs, { numReturns: 500 });
    await cluster.removeNode(doomed);
    const results = await get(refs);
    expect(results.map(({ value }) => value)).toEqual(range(0, 2000));
  });

  // E6. Method: the task is inside a gate on the node when that is killed.
  test("a task without retries fails with NodeDiedError, one with retries runs elsewhere", async () => {
    const [doomed, gate] = [await addNode({ c: 2 }), Gate.options({ numCpus: 0 })];
    const keeper = await addNode({ k: 1 });
    const g = gate.options({ schedulingStrategy: nodeAffinity(keeper.nodeId) }).remote();
    const options = { numCpus: 0, resources: { c: 1 } };
    const hopeless = spinFor.options({ ...options, maxRetries: 0 }).remote(g, false);
    const again = spinFor.options({ ...options, maxRetries: 1 }).remote(g, false);
    await until(async () => (await g.told.remote()).length === 2);
    await cluster.removeNode(doomed);
    const error = await failure(hopeless);
    expect(error).toBeInstanceOf(NodeDiedError);
    expect((error as Error).message).toContain(doomed.nodeId);
    const other = await addNode({ c: 2 });
    await until(async () => (await g.told.remote()).length === 3);
    await cluster.removeNode(other);
    expect(await failure(again)).toBeInstanceOf(NodeDiedError);
  });

  // L10. Method: one worker in a synchronous loop, one waiting, one actor; the raylet is SIGKILLed from outside.
  test("workers of a killed raylet end, also in a synchronous loop", async () => {
    const keeper = await addNode({ k: 1 });
    const doomed = await addNode({ c: 3 });
    const gate = Gate.options({ schedulingStrategy: nodeAffinity(keeper.nodeId) }).remote();
    const options = { numCpus: 0, resources: { c: 1 }, maxRetries: 0 };
    const refs = [spinFor.options(options).remote(gate, true), spinFor.options(options).remote(gate, false)];
    const actor = Counter.options({ numCpus: 0, resources: { c: 1 } }).remote();
    const actorPid = await actor.pid.remote();
    const pids = await until(async () => {
      const told = await gate.told.remote();
      return told.length === 2 ? [...told, actorPid] : undefined;
    });
    process.kill(doomed.pid, "SIGKILL");
    for (const ref of refs) expect(await failure(ref)).toBeInstanceOf(NodeDiedError);
    await until(() => pids.every((pid) => !isRunning(pid)));
    const error = await failure(actor.value.remote());
    expect(error).toBeInstanceOf(ActorDiedError);
    const dead = (await nodes()).find((node) => node.nodeId === doomed.nodeId);
    expect(dead?.alive).toBe(false);
    await expect(
      get(nodeOf.options({ schedulingStrategy: nodeAffinity(doomed.nodeId) }).remote()),
    ).rejects.toThrow(UnschedulableError);
    const lost = Counter.options({ schedulingStrategy: nodeAffinity(doomed.nodeId) }).remote();
    await expect(get(lost.value.remote())).rejects.toThrow(ActorDiedError);
  });

  // D3, D13. Method: five actors on the doomed node; they count from 1 again on the other.
  test("actors with restarts come back on another node", async () => {
    const doomed = await addNode({ c: 5 });
    const actors = range(0, 5).map(() =>
      Counter.options({ maxRestarts: 1, maxTaskRetries: -1, resources: { c: 1 } }).remote(),
    );
    expect(await get(actors.map((actor) => actor.increment.remote()))).toEqual([1, 1, 1, 1, 1]);
    await cluster.removeNode(doomed);
    const pending = actors.map((actor) => actor.increment.remote());
    const other = await addNode({ c: 5 });
    expect(await get(pending)).toEqual([1, 1, 1, 1, 1]);
    for (const actor of actors) {
      expect(await actor.context.remote()).toMatchObject({ wasRestarted: true, nodeId: other.nodeId });
    }
  });

  // D13. Method: the node dies when the first of the actors has answered; the others are anywhere on their way.
  test("actors whose node dies while they are being created come up on another", async () => {
    const doomed = await addNode({ c: 6 });
    const options = { maxRestarts: 1, maxTaskRetries: -1, resources: { c: 1 } };
    const firsts = range(0, 6).map(() => Counter.options(options).remote().increment.remote());
    await wait(firsts);
    await cluster.removeNode(doomed);
    await addNode({ c: 6 });
    expect(await get(firsts)).toEqual([1, 1, 1, 1, 1, 1]);
  });

  // B7. Method: the call stands at a gate on another node when the actor's node is killed.
  test("wait says that a dead actor's call is ready, and it rejects", async () => {
    const doomed = await addNode({ c: 1 });
    const gate = Gate.options({
      schedulingStrategy: nodeAffinity((await addNode({ k: 1 })).nodeId),
    }).remote();
    const call = RemoteOverlap.options({ resources: { c: 1 } })
      .remote()
      .meet.remote(gate);
    await until(async () => (await gate.waiting.remote()) === 1);
    await cluster.removeNode(doomed);
    expect((await wait([call])).ready).toEqual([call]);
    const error = await failure(call);
    expect(error).toBeInstanceOf(ActorDiedError);
    expect((error as Error).message).toContain(doomed.nodeId);
  });

  // D14. Method: the only copy of a call's result lies on the actor's node, which dies, and the next one too.
  test("an actor's lost result is made again by the actor's next life, as maxTaskRetries allows", async () => {
    let doomed = await addNode({ c: 1 });
    const actor = Counter.options({ maxRestarts: -1, maxTaskRetries: 2, resources: { c: 1 } }).remote();
    const big = actor.big.remote(4_000_000);
    await wait([big]);
    for (let round = 0; round < 2; round++) {
      await cluster.removeNode(doomed);
      doomed = await addNode({ c: 1 });
      expect((await get(sumAndNode.remote(big))).sum).toBe(28_000_000);
    }
    await cluster.removeNode(doomed);
    await addNode({ c: 1 });
    const error = await failure(sumAndNode.remote(big));
    expect(error).toBeInstanceOf(ObjectLostError);
    expect((error as Error).message).toContain(
      "Counter.big was run again 2 times, as often as its maxTaskRetries",
    );
    expect(await actor.increment.remote()).toBe(1);
  });

  // D14. Method: as above, without retries.
  test("without retries an actor's lost result is an error that says so, and the actor answers after its restart", async () => {
    const doomed = await addNode({ c: 1 });
    const actor = Counter.options({ maxRestarts: -1, resources: { c: 1 } }).remote();
    const big = actor.big.remote(4_000_000);
    await wait([big]);
    await cluster.removeNode(doomed);
    await addNode({ c: 1 });
    const error = await failure(sumAndNode.remote(big));
    expect(error).toBeInstanceOf(ObjectLostError);
    expect((error as Error).message).toContain("an actor's call with maxTaskRetries 0");
    expect(await get(actor.increment.options({ maxTaskRetries: -1 }).remote())).toBe(1);
  });

  // J11. Method: the task stands at a gate on the node that is killed; the next node could run it.
  test("a cancelled task is not run again when its node dies, however many retries it has", async () => {
    const doomed = await addNode({ c: 1 });
    const keeper = await addNode({ k: 1 });
    const gate = Gate.options({ schedulingStrategy: nodeAffinity(keeper.nodeId) }).remote();
    const there = { numCpus: 0, resources: { c: 1 } };
    const ref = spinFor.options({ ...there, maxRetries: -1 }).remote(gate, false);
    await until(async () => (await gate.told.remote()).length === 1);
    cancel(ref);
    await cluster.removeNode(doomed);
    expect(await failure(ref)).toBeInstanceOf(TaskCancelledError);
    const other = await addNode({ c: 1 });
    expect(await nodeOf.options(there).remote()).toBe(other.nodeId);
    expect(await gate.told.remote()).toHaveLength(1);
  });

  // G2, G4. Method: the only copies lie on the doomed node; a task's result is made again, what was put is lost.
  test("a task's lost result is made again; a lost put object is an error", async () => {
    const doomed = await addNode({ c: 1, m: 1 });
    const made = makeBytes.options({ numCpus: 0, resources: { m: 1 } }).remote(4_000_000, 2);
    const [put] = await putBytes.options({ numCpus: 0, resources: { c: 1 } }).remote(4_000_000);
    const once = makeBytes.options({ numCpus: 0, resources: { m: 1 }, maxRetries: 0 }).remote(4_000_000, 2);
    await wait([made, once], { numReturns: 2 });
    const other = await addNode({ m: 1 });
    await cluster.removeNode(doomed);
    expect(await sumAndNode.options({ numCpus: 1 }).remote(made)).toMatchObject({
      sum: 8_000_000,
      nodeId: other.nodeId,
    });
    expect((await get(made)).length).toBe(4_000_000);
    expect(await failure(get(once))).toBeInstanceOf(ObjectLostError);
    const error = await failure(get(put as never));
    expect(error instanceof ObjectLostError || error instanceof OwnerDiedError).toBe(true);
  });

  // G1. Method: a copy was read on another node before the maker died: no second run is needed.
  test("a surviving copy is used", async () => {
    const doomed = await addNode({ c: 1 });
    const other = await addNode({ k: 1 });
    const made = makeBytes.options({ numCpus: 0, resources: { c: 1 }, maxRetries: 0 }).remote(4_000_000, 2);
    const onOther = sumAndNode.options({ numCpus: 0, resources: { k: 1 } });
    expect((await onOther.remote(made)).nodeId).toBe(other.nodeId);
    expect((await get(made)).length).toBe(4_000_000);
    await cluster.removeNode(doomed);
    expect((await get(made)).length).toBe(4_000_000);
  });

  // Method: as above; then the other node's store is filled, so that it evicts what it may. The owner has told it to keep its
  // copy by when the driver's list of objects lacks the dead node.
  test("a surviving copy is kept for good", async () => {
    const doomed = await addNode({ c: 1 });
    const other = await addNode({ k: 1 });
    const made = makeBytes.options({ numCpus: 0, resources: { c: 1 }, maxRetries: 0 }).remote(4_000_000, 2);
    const onOther = sumAndNode.options({ numCpus: 0, resources: { k: 1 } });
    expect(await onOther.remote(made)).toMatchObject({ sum: 8_000_000, nodeId: other.nodeId });
    const dir = mkdtempSync(join(tmpdir(), "tsray-test-"));
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
    const file = join(dir, "token");
    writeFileSync(file, TOKEN, { mode: 0o600 });
    const listed = async () => {
      const args = [CLI, "list", "objects", "--json", "--address", cluster.address, "--token-file", file];
      const { stdout } = await promisify(execFile)(process.execPath, args);
      const rows = JSON.parse(stdout) as { objectId: string; nodes: string }[];
      return rows.find(({ objectId }) => objectId === made.id)?.nodes;
    };
    expect(await listed()).toBe(`${doomed.nodeId} ${other.nodeId}`);
    await cluster.removeNode(doomed);
    await until(async () => (await listed()) === other.nodeId);
    const filling = makeBytes.options({ numCpus: 0, resources: { k: 0.1 } });
    const filled = range(0, 40).map((i) => filling.remote(4_000_000, i));
    await wait(filled, { numReturns: 40 });
    expect(await onOther.remote(made)).toMatchObject({ sum: 8_000_000, nodeId: other.nodeId });
  });

  test("a node that is ended in order takes no task with it that may be retried", async () => {
    const leaving = await addNode({ a: 1 });
    await addNode({ b: 1 });
    const refs = range(0, 300).map((i) => busyMs.remote(3, i));
    await wait(refs, { numReturns: 50 });
    await cluster.removeNode(leaving, { graceful: true });
    expect((await get(refs)).map(({ value }) => value)).toEqual(range(0, 300));
  });
});
