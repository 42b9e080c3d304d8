// Goal: a lease session whose stream breaks between living processes costs nobody anything: leases stay, no task is charged or
// run twice; and the end of an owner is found out all the same. Method: every process breaks its streams to raylets at
// random (TSRAY_TEST_FAULTS), on its node and to others; tasks may not be retried, and write down each run.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { availableResources, get, init, kill, shutdown } from "tsray";
import { Cluster } from "tsray/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { busyMs, TaskHolder } from "../fixtures/actors.mjs";
import * as f from "../fixtures/functions.ts";
import { until } from "../fixtures/processes.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const range = (to: number) => Array.from({ length: to }, (_, i) => i);

process.env.TSRAY_TEST_FAULTS = "seed=11,breakStream=0.2,only=LeaseSession";
let cluster: Cluster;
let dir = "";
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "tsray-test-"));
  cluster = await Cluster.start({ token: TOKEN });
  await Promise.all([cluster.addNode({ numCpus: 2 }), cluster.addNode({ numCpus: 2 })]);
  await init({ address: cluster.address, token: TOKEN, logToDriver: false });
});
afterAll(async () => {
  await shutdown();
  await cluster.shutdown();
  rmSync(dir, { recursive: true, force: true });
  delete process.env.TSRAY_TEST_FAULTS;
});

const free = async () => (await availableResources()).CPU === 4;

test("tasks that may not be retried run once each, and every lease comes back", async () => {
  const file = join(dir, "runs");
  const once = f.record.options({ maxRetries: 0 });
  const slow = busyMs.options({ maxRetries: 0 });
  for (const round of range(3)) {
    const lines = range(60).map((i) => `${round}-${i}`);
    const held = range(12).map((i) => slow.remote(20, i));
    expect(await get(lines.map((line) => once.remote(file, line)))).toEqual(lines);
    expect((await get(held)).map(({ value }) => value)).toEqual(range(12));
  }
  const runs = readFileSync(file, "utf8").trim().split("\n");
  expect(runs.length).toBe(180);
  expect(new Set(runs).size).toBe(180);
  expect(await f.fib.remote(7)).toBe(13);
  await until(free);
});

test("the leases of an owner that is killed go back", async () => {
  const holder = TaskHolder.options({ numCpus: 0 }).remote();
  const held = mkdtempSync(join(dir, "held-"));
  await holder.hold.remote(held, 4);
  await until(() => readdirSync(held).length === 4);
  kill(holder);
  await until(free);
});
