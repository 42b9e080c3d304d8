// Goal: calls between processes that are lost, answered in vain, doubled and delayed change nothing that a user sees:
// nothing is lost, nothing is wrong, nothing takes effect twice (R30, R31 at counts that fit). Method: every process of
// the cluster and this driver run under the fault layer (TSRAY_TEST_FAULTS): two calls in five fail.
import { ActorDiedError, availableResources, get, getActor, kill, nodes } from "tsray";
import { expect, test } from "vitest";
import { Counter, incrementMany } from "../fixtures/actors.mjs";
import * as f from "../fixtures/functions.ts";
import { rejection, until, useCluster } from "./support.ts";

process.env.TSRAY_TEST_FAULTS =
  "seed=3,loseRequest=0.2,loseReply=0.2,inFlight=0.1,duplicate=0.2,delay=0.3,delayMs=40,breakStream=0.002";
useCluster({ numCpus: 2, logToDriver: false });

test("tasks, nested ones too, come out right", async () => {
  const refs = Array.from({ length: 2000 }, (_, i) => f.increment.remote(i));
  expect((await get(refs)).every((value, i) => value === i + 1)).toBe(true);
  expect(await f.fib.remote(8)).toBe(21);
  expect((await f.zeros.remote(1_000_000)).byteLength).toBe(1_000_000);
});

test("actors are made once, keep their order, and end", async () => {
  const counters = Array.from({ length: 8 }, (_, i) => Counter.remote(100 * i));
  const values = await Promise.all(
    counters.map(async (counter) => {
      await incrementMany.options({ numCpus: 0.25 }).remote(counter, 5);
      return get(Array.from({ length: 5 }, () => counter.increment.remote()));
    }),
  );
  values.forEach((mine, i) => {
    expect(mine).toEqual([6, 7, 8, 9, 10].map((n) => 100 * i + n));
  });
  for (const counter of counters) kill(counter);
  for (const counter of counters)
    expect(await rejection(counter.value.remote())).toBeInstanceOf(ActorDiedError);
});

test("a name is given once, whoever asks how often", async () => {
  const same = Array.from({ length: 6 }, () => Counter.options({ name: "one", getIfExists: true }).remote(0));
  const values = await get(same.map((counter) => counter.increment.remote()));
  expect([...values].sort()).toEqual([1, 2, 3, 4, 5, 6]);
  expect(await (await getActor<typeof Counter>("one")).value.remote()).toBe(6);
  kill(same[0] as (typeof same)[0]);
});

// Method: a kill to restart that took effect twice would use up two restarts, one that reached a later life would too.
test("a kill to restart restarts once", async () => {
  const counter = Counter.options({ maxRestarts: 10 }).remote(0);
  let pid = await counter.pid.remote();
  for (let restarts = 1; restarts <= 4; restarts++) {
    kill(counter, { noRestart: false });
    await until(async () => {
      const now = await get(counter.pid.remote()).catch(() => pid);
      const isNew = now !== pid;
      pid = now;
      return isNew;
    }, "the next life");
    expect(await counter.context.remote()).toMatchObject({ restartCount: restarts });
  }
  kill(counter);
});

test("what was held is given back, and the node was never taken for dead", async () => {
  await until(async () => (await availableResources()).CPU === 2, "all CPUs to be free");
  expect((await nodes()).map(({ alive }) => alive)).toEqual([true]);
});
