// Goal: tasks and actors go where api.md and Ray's policy send them. Method: clusters of several real raylets; tasks
// tell where they ran, and gates hold them there while others are placed.
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  availableResources,
  get,
  init,
  kill,
  nodeAffinity,
  nodes,
  shutdown,
  type TaskOptions,
  UnschedulableError,
  wait,
} from "tsray";
import { Cluster, type ClusterNode } from "tsray/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  busyMs,
  Counter,
  holdCpu,
  makeBytes,
  nested,
  nodeOf,
  plus,
  putBytes,
  sleepMs,
  sumAndNode,
} from "../fixtures/actors.mjs";
import { startDriver } from "../fixtures/drivers.ts";
import { until } from "../fixtures/processes.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const CLI = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
const counts = (names: readonly string[]) => {
  const count: Record<string, number> = {};
  for (const name of names) count[name] = (count[name] ?? 0) + 1;
  return count;
};

let scratch = "";
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "tsray-test-"));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe("two nodes of 4 CPUs and a head without any", () => {
  let cluster: Cluster;
  let a: ClusterNode;
  let b: ClusterNode;

  beforeAll(async () => {
    cluster = await Cluster.start({ token: TOKEN });
    [a, b] = await Promise.all([
      cluster.addNode({ numCpus: 4, resources: { onlyA: 2 } }),
      cluster.addNode({ numCpus: 4, resources: { onlyB: 2 } }),
    ]);
    await init({ address: cluster.address, token: TOKEN, logToDriver: false });
    await until(async () => (await nodes()).filter((node) => node.alive).length === 3);
  });
  afterAll(async () => {
    await shutdown();
    await cluster.shutdown();
  });

  /** Unused leases go back after half a second, and the head hears of it later: free is what stays free. */
  async function idle(): Promise<void> {
    let freeFor = 0;
    await until(async () => {
      freeFor = (await availableResources()).CPU === 8 ? freeFor + 1 : 0;
      return freeFor === 60;
    });
  }

  /** Tasks that keep their CPUs until `go`, all of them begun. */
  async function hold(count: number, options: TaskOptions<1> = {}) {
    const dir = mkdtempSync(join(scratch, "hold-"));
    const task = holdCpu.options<1>({ ...options, numReturns: 1 });
    const refs = range(0, count).map((i) => task.remote(dir, i));
    await until(() => readdirSync(dir).length === count);
    const go = () => {
      writeFileSync(join(dir, "go"), "");
      return get(refs);
    };
    return { go };
  }

  /** @returns how many of `count` tasks that run at the same time came to each node */
  async function place(count: number, options: TaskOptions<1> = {}): Promise<number[]> {
    await idle();
    const held = await hold(count, options);
    return Object.values(counts(await held.go())).sort();
  }

  test("a head without CPUs runs no task", async () => {
    const placed = await get(range(0, 20).map(() => nodeOf.remote()));
    for (const nodeId of placed) expect([a.nodeId, b.nodeId]).toContain(nodeId);
  });

  // I1. Method: two tasks at once pack on one node; four spread two and two, since a node is left at 50 %.
  test("the hybrid policy packs until a node is half full, then spreads", async () => {
    expect(await place(2)).toEqual([2]);
    expect(await place(4)).toEqual([2, 2]);
    expect(await place(8)).toEqual([4, 4]);
  });

  test("SPREAD goes round the nodes", async () => {
    expect(await place(2, { schedulingStrategy: "SPREAD" })).toEqual([1, 1]);
    expect(await place(4, { schedulingStrategy: "SPREAD" })).toEqual([2, 2]);
  });

  // I5.
  test("hard affinity runs there, waits while that node is full, and fails when there is no such node", async () => {
    const there = nodeOf.options({ schedulingStrategy: nodeAffinity(b.nodeId) });
    expect(await there.remote()).toBe(b.nodeId);
    const full = await hold(4, { schedulingStrategy: nodeAffinity(b.nodeId) });
    const waiting = there.remote();
    expect((await wait([waiting], { timeout: 500 })).ready).toEqual([]);
    await full.go();
    expect(await waiting).toBe(b.nodeId);
    const nowhere = nodeOf.options({ schedulingStrategy: nodeAffinity("0123456789abcdef") }).remote();
    await expect(get(nowhere)).rejects.toThrow(UnschedulableError);
    const soft = nodeAffinity("0123456789abcdef", { soft: true });
    expect([a.nodeId, b.nodeId]).toContain(await nodeOf.options({ schedulingStrategy: soft }).remote());
    const actor = Counter.options({ schedulingStrategy: nodeAffinity(b.nodeId) }).remote();
    expect((await actor.context.remote()).nodeId).toBe(b.nodeId);
    kill(actor);
  });

  test("custom resources lead to the node that has them, and limit how many run", async () => {
    const onB = nodeOf.options({ numCpus: 0, resources: { onlyB: 1 } });
    expect(new Set(await get(range(0, 10).map(() => onB.remote())))).toEqual(new Set([b.nodeId]));
    const held = await hold(2, { numCpus: 0, resources: { onlyA: 1 } });
    const third = nodeOf.options({ numCpus: 0, resources: { onlyA: 1 } }).remote();
    expect((await wait([third], { timeout: 300 })).ready).toEqual([]);
    expect(await held.go()).toEqual([a.nodeId, a.nodeId]);
    expect(await third).toBe(a.nodeId);
    const actor = Counter.options({ resources: { onlyA: 1 } }).remote();
    expect((await actor.context.remote()).nodeId).toBe(a.nodeId);
    kill(actor);
  });

  test("a task's children run on other nodes", async () => {
    const parent = nested.options({ numCpus: 0, resources: { onlyA: 1 } });
    expect(await parent.remote("onlyB")).toEqual({ own: a.nodeId, child: b.nodeId });
  });

  // I3. Method: 8 MB made on B; a task that takes it goes to B although A is as free.
  test("large arguments draw their task to their node", async () => {
    await idle();
    const ref = makeBytes.options({ numCpus: 0, resources: { onlyB: 1 } }).remote(8_000_000, 1);
    await wait([ref]);
    for (let i = 0; i < 3; i++) expect((await sumAndNode.remote(ref)).nodeId).toBe(b.nodeId);
  });

  // B6. Method: made on B; read by the driver (head's node) and by a task on A.
  test("objects move between nodes with equal bytes", async () => {
    const ref = makeBytes.options({ numCpus: 0, resources: { onlyB: 1 } }).remote(8_000_000, 3);
    const here = await get(ref);
    expect([here.length, here.every((byte: number) => byte === 3)]).toEqual([8_000_000, true]);
    const onA = sumAndNode.options({ numCpus: 0, resources: { onlyA: 1 } });
    expect(await onA.remote(ref)).toEqual({ sum: 24_000_000, length: 8_000_000, nodeId: a.nodeId });
    const [inner] = await putBytes.options({ numCpus: 0, resources: { onlyB: 1 } }).remote(8_000_000);
    expect(await onA.remote(inner as never)).toMatchObject({ sum: 40_000_000, nodeId: a.nodeId });
  });

  // I2, scaled down. Method: 400 sleeping tasks on 8 CPUs.
  test("under load every node is used", async () => {
    const placed = counts(await get(range(0, 400).map(() => sleepMs.remote(20))));
    for (const { nodeId } of [a, b]) expect(placed[nodeId]).toBeGreaterThanOrEqual(100);
  });

  // Method: one driver floods the cluster with 20,000 tasks; tasks of this one get their turn meanwhile.
  test("a driver with 20,000 queued tasks does not starve another", async () => {
    const flood = startDriver(cluster.address, TOKEN, "flood", "flood", "20000");
    try {
      expect(await flood.fact()).toEqual({ submitted: 20_000 });
      expect(await get(range(0, 20).map((i) => plus.remote(i, i)))).toEqual(range(0, 20).map((i) => 2 * i));
      const rest = flood.fact();
      const first = await Promise.race([
        get(range(0, 50).map((i) => busyMs.remote(1, i))).then(() => "mine"),
        rest.then(() => "flood"),
      ]);
      expect(first).toBe("mine");
    } finally {
      flood.child.kill("SIGKILL");
      await flood.ended;
    }
  });

  // I8. Method: a driver of its own with a task that no node can hold: listed with its reason, warned of once.
  test("an infeasible task waits, is listed with its reason, and gets one warning", async () => {
    const driver = startDriver(cluster.address, TOKEN, "stuck", "stuck");
    try {
      expect(await driver.fact()).toEqual({ submitted: 1 });
      const rows = await until(async () => {
        const listed = await listTasks(cluster.address);
        const stuck = listed.filter((row) => row.name === "stuck");
        return stuck.some((row) => /unobtainium/.test(String(row.reason))) ? stuck : undefined;
      });
      expect(rows).toHaveLength(1);
      expect(rows[0]).toMatchObject({ state: "PENDING_NODE_ASSIGNMENT" });
      const warning = await until(() => driver.stderr().match(/stuck[^\n]*unobtainium/g) ?? undefined);
      expect(warning).toHaveLength(1);
      // A node that has it runs it.
      const node = await cluster.addNode({ numCpus: 1, resources: { unobtainium: 1 } });
      expect(await driver.ended).toBe(0);
      await cluster.removeNode(node);
    } finally {
      driver.child.kill("SIGKILL");
      await driver.ended;
    }
  });
});

async function listTasks(address: string): Promise<Record<string, unknown>[]> {
  const tokenFile = join(scratch, "token");
  writeFileSync(tokenFile, TOKEN, { mode: 0o600 });
  const child = spawn(process.execPath, [CLI, "list", "tasks", "--address", address, "--json"], {
    env: { ...process.env, TSRAY_TOKEN_FILE: tokenFile },
  });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk;
  });
  await new Promise((resolve) => child.on("close", resolve));
  const parsed = JSON.parse(out || "[]") as unknown;
  return (Array.isArray(parsed) ? parsed : ((parsed as { tasks?: unknown }).tasks ?? [])) as Record<
    string,
    unknown
  >[];
}
