// Goal: connections that break, stall and go on change nothing that a user sees: each call of an actor takes effect once and
// in order, nothing is lost, nothing is wrong, nobody is taken for dead (R20, R30, R31 for channels, at counts that fit).
// Method: every process of the cluster and this driver cut and hold their connections at random (TSRAY_TEST_FAULTS), and say
// again what the other side has already.
import { availableResources, get, nodes } from "tsray";
import { expect, test } from "vitest";
import { Counter, Log } from "../fixtures/actors.mjs";
import * as f from "../fixtures/functions.ts";
import { until, useCluster } from "./support.ts";

const names = (who: number, n: number) => Array.from({ length: n }, (_, i) => `${who}:${i}`);

process.env.TSRAY_TEST_FAULTS = "seed=5,cut=0.02,replay=0.5,hold=0.02,holdMs=20";
useCluster({ numCpus: 2, logToDriver: false });

test("tasks, nested ones too, come out right", async () => {
  const refs = Array.from({ length: 1000 }, (_, i) => f.increment.remote(i));
  expect(await get(refs)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1));
  expect(await f.fib.remote(6)).toBe(8);
  expect((await f.zeros.remote(1_000_000)).byteLength).toBe(1_000_000);
});

test("numbered calls of actors take effect once and in order, and their answers fit", async () => {
  const logs = Array.from({ length: 2 }, () => Log.options({ numCpus: 0 }).remote());
  const answers = await Promise.all(
    logs.map(async (log, who) => {
      const counts: number[] = [];
      for (let burst = 0; burst < 10; burst++)
        counts.push(
          ...(await get(
            names(who, 300)
              .slice(30 * burst, 30 * burst + 30)
              .map((name) => log.add.remote(name)),
          )),
        );
      return counts;
    }),
  );
  for (const [who, log] of logs.entries()) {
    expect(await log.lines.remote()).toEqual(names(who, 300));
    expect(answers[who]).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
  }
});

test("generators give each item once", async () => {
  const counter = Counter.options({ numCpus: 0 }).remote();
  const items: number[] = [];
  for await (const ref of counter.ticks.remote(100)) items.push(await ref);
  expect(items).toHaveLength(100);
  expect([...items].sort((a, b) => a - b)).toEqual(items);
  expect(await counter.context.remote()).toMatchObject({ restartCount: 0 });
});

test("what was held is given back", async () => {
  await until(async () => (await availableResources()).CPU === 2, "all CPUs to be free");
  expect((await nodes()).map(({ alive }) => alive)).toEqual([true]);
});
