// Goal: names, namespaces and detached lifetimes hold across drivers. Method: a cluster with a head and one node; every
// driver beside this one is a process of its own.
import { queryObjects } from "node:v8";
import { ActorDiedError, get, getActor, InvalidOptionError, init, kill, ready, shutdown } from "tsray";
import { Cluster } from "tsray/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Counter, findAndIncrement } from "../fixtures/actors.mjs";
import { startDriver } from "../fixtures/drivers.ts";
import { isRunning, until } from "../fixtures/processes.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";

describe("named actors", () => {
  let cluster: Cluster;
  const driver = (...command: string[]) => startDriver(cluster.address, TOKEN, "team", ...command);

  beforeAll(async () => {
    cluster = await Cluster.start({ head: { numCpus: 2 }, token: TOKEN });
    await init({ address: cluster.address, token: TOKEN, namespace: "team", logToDriver: false });
  });
  afterAll(async () => {
    await shutdown();
    await cluster.shutdown();
  });

  // C15. Method: one name, twice in a namespace, once in another.
  test("a name is taken once per namespace", async () => {
    const first = Counter.options({ name: "pinger" }).remote(1);
    await ready(first);
    const second = Counter.options({ name: "pinger" }).remote(2);
    await expect(get(second.value.remote())).rejects.toThrow(InvalidOptionError);
    await expect(ready(second)).rejects.toThrow(/taken in namespace "team"/);
    const third = Counter.options({ name: "pinger", namespace: "other" }).remote(3);
    expect(await third.value.remote()).toBe(3);
    expect(await (await getActor<typeof Counter>("pinger")).value.remote()).toBe(1);
    const found = await getActor<typeof Counter>("pinger", { namespace: "other" });
    expect(await found.value.remote()).toBe(3);
    await expect(getActor("pinger", { namespace: "nowhere" })).rejects.toThrow(ActorDiedError);
    kill(first);
    kill(third);
  });

  // Goal: looking for an actor leaves nothing. Method: what V8 counts of what this process could remember handles by.
  test("an actor may be looked for as often as one likes", async () => {
    const counter = Counter.options({ name: "often" }).remote(1);
    await ready(counter);
    const remembered = () => queryObjects(WeakRef, { format: "count" });
    const before = remembered();
    for (let i = 0; i < 100; i++) await getActor<typeof Counter>("often");
    await until(() => remembered() < before + 40, "handles are forgotten");
    kill(counter);
  });

  // Goal: what getActor returns works at once, and tells of a missing actor. Method: calls on it without awaiting it.
  test("a named actor can be called while it is looked for", async () => {
    const counter = Counter.options({ name: "sought" }).remote(7);
    await ready(counter);
    const sought = getActor<typeof Counter>("sought");
    expect(await get([sought.increment.remote(1), sought.increment.remote(1)])).toEqual([8, 9]);
    await ready(sought);
    const missing = getActor<typeof Counter>("never made");
    await expect(get(missing.value.remote())).rejects.toThrow(/no live actor named "never made"/);
    expect(() => findAndIncrement.remote(getActor("sought") as never)).toThrow(/await getActor\(\) first/);
    kill(sought);
    await until(async () => (await getActor("sought").catch((e: unknown) => e)) instanceof ActorDiedError);
  });

  test("tasks find actors by name, and a name is free at its actor's death", async () => {
    const counter = Counter.options({ name: "found" }).remote(0);
    await ready(counter);
    expect(await findAndIncrement.remote("found")).toBe(1);
    kill(counter);
    const next = await until(async () => {
      const made = Counter.options({ name: "found" }).remote(5);
      return await get(made.value.remote()).then(
        (value) => ({ made, value }),
        () => undefined,
      );
    });
    expect(next.value).toBe(5);
    expect(await findAndIncrement.remote("found")).toBe(6);
    kill(next.made);
  });

  // C17. Method: driver 1 makes it and leaves; driver 2 finds it; driver 3 kills it; the name is free afterwards.
  test("a detached actor outlives its driver, is found by the next and killed by it", async () => {
    const first = driver("detach", "global");
    const made = await first.fact();
    expect(made).toMatchObject({ value: 1 });
    expect(await first.ended).toBe(0);
    const second = driver("find", "global");
    expect(await second.fact()).toEqual({ value: 2, pid: made.pid });
    expect(await second.ended).toBe(0);
    expect(isRunning(made.pid as number)).toBe(true);
    const third = driver("kill", "global");
    expect(await third.fact()).toEqual({ error: "ActorDiedError" });
    await third.ended;
    await until(() => !isRunning(made.pid as number));
    await expect(getActor("global")).rejects.toThrow(ActorDiedError);
  });

  // Method: its driver is gone when the actor submits a task of its own.
  test("a detached actor submits tasks after its driver has ended", async () => {
    const gone = driver("detach-parent", "submitter");
    expect(await gone.fact()).toEqual({ value: 3 });
    await gone.ended;
    const parent = await getActor<{ submitsTask(): Promise<number> }>("submitter");
    expect(await parent.submitsTask.remote()).toBe(3);
    kill(parent);
  });

  // Method: the driver is SIGKILLed; its detached actor lives, its other one ends, and the name is free.
  test("SIGKILL of a driver ends its actors, but not the detached ones", async () => {
    const killed = driver("hold", "held");
    const held = await killed.fact();
    const detaching = driver("detach", "kept");
    const kept = await detaching.fact();
    await detaching.ended;
    killed.child.kill("SIGKILL");
    await killed.ended;
    await until(() => !isRunning(held.pid as number));
    await until(async () => (await getActor("held").catch((e: unknown) => e)) instanceof ActorDiedError);
    expect(isRunning(kept.pid as number)).toBe(true);
    const counter = await getActor<typeof Counter>("kept");
    expect(await counter.increment.remote()).toBe(2);
    kill(counter);
  });

  // C19. Method: three drivers race for one name; all reach one process.
  test("getIfExists from several drivers at once gives one actor", async () => {
    const drivers = [1, 2, 3].map(() => driver("get-or-create", "raced"));
    const facts = await Promise.all(drivers.map((each) => each.fact()));
    expect(new Set(facts.map(({ pid }) => pid)).size).toBe(1);
    expect(facts.map(({ value }) => value).sort()).toEqual([1, 2, 3]);
    await Promise.all(drivers.map((each) => each.ended));
    kill(await getActor("raced"));
  });

  test("getIfExists needs a name", () => {
    expect(() => Counter.options({ getIfExists: true }).remote()).toThrow(InvalidOptionError);
  });

  test("getActor waits for an actor that is yet to come", async () => {
    const coming = getActor<typeof Counter>("late", { timeout: 20_000 });
    const counter = Counter.options({ name: "late" }).remote(4);
    expect(await (await coming).value.remote()).toBe(4);
    kill(counter);
  });
});
