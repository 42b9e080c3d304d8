/** get, wait and await: order, limits, errors. Scenarios B of Ray's black-box tests. */
import {
  ActorDiedError,
  type ActorHandle,
  GetTimeoutError,
  get,
  InvalidOptionError,
  kill,
  type ObjectRef,
  put,
  TaskError,
  wait,
} from "tsray";
import { describe, expect, test } from "vitest";
import * as f from "../fixtures/functions.ts";
import { rejection, Sandbox, useCluster } from "./support.ts";

useCluster({ logToDriver: false });

describe("get", () => {
  // Goal: a timeout ends the wait, not the task (B1). Method: the task stands at a gate.
  test("a get that times out leaves the task running", async () => {
    const gate = f.Gate.remote();
    const ref = f.holdOpen.remote(gate, "x");
    expect(await rejection(get(ref, { timeout: 100 }))).toBeInstanceOf(GetTimeoutError);
    expect(await rejection(get([ref, put(1)], { timeout: 0 }))).toBeInstanceOf(GetTimeoutError);
    await gate.open.remote();
    expect(await get(ref, { timeout: 30_000 })).toBe(1);
    expect(await get(ref, { timeout: 0 })).toBe(1);
  });

  test("a signal ends the wait with its reason", async () => {
    const gate = f.Gate.remote();
    const ref = f.holdOpen.remote(gate);
    const reason = new Error("enough");
    const controller = new AbortController();
    const waiting = get(ref, { signal: controller.signal });
    controller.abort(reason);
    expect(await rejection(waiting)).toBe(reason);
    expect(await rejection(get(ref, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    await gate.open.remote();
    expect(await ref).toBe(0);
  });

  test("values come in the order of the refs; an empty list gives an empty list", async () => {
    const refs = [f.add.remote(1, 0), put(2), f.add.remote(3, 0)];
    expect(await get(refs)).toEqual([1, 2, 3]);
    expect(await get([])).toEqual([]);
    const one = put({});
    expect(await get([one, one])).toEqual([{}, {}]);
  });

  // Goal: the first error ends the get without waiting for slower refs.
  test("a get of several rejects with the first error at once", async () => {
    const gate = f.Gate.remote();
    const slow = f.holdOpen.remote(gate);
    expect(await rejection(get([slow, f.fail.remote("range")]))).toBeInstanceOf(TaskError);
    await gate.open.remote();
    expect(await slow).toBe(0);
  });

  // A11.
  test("so it does when an actor dies under a call", async () => {
    const [gate, doomed] = [f.Gate.remote(), f.Gate.remote()];
    const slow = f.holdOpen.remote(gate);
    const call = doomed.wait.remote();
    await doomed.arrivals.remote(1);
    kill(doomed as ActorHandle<f.GateClass>);
    expect(await rejection(get([slow, call]))).toBeInstanceOf(ActorDiedError);
    await gate.open.remote();
    expect(await slow).toBe(0);
  });

  // A6.
  test("put and get need no worker", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { get, init, put, shutdown } from "tsray"; import { deepStrictEqual } from "node:assert";
        await init({ numCpus: 0 });
        const values = Array.from({ length: 100 }, (_, i) => [i, i / 3, "text " + i, [i, [String(i)]]][i % 4]);
        deepStrictEqual(await get(values.map((value) => put(value))), values);
        console.log("equal");
        await shutdown();`,
    });
    expect(await sandbox.run("main.mjs")).toEqual({ code: 0, signal: null, stdout: "equal\n", stderr: "" });
  });

  // Goal: Promise tools work with refs (B8).
  test("refs work with Promise.all, race, allSettled and for await", async () => {
    const refs = Array.from({ length: 100 }, (_, i) => f.increment.remote(i));
    expect(await Promise.all(refs)).toEqual(refs.map((_, i) => i + 1));
    expect(await Promise.race([f.add.remote(1, 1)])).toBe(2);
    const settled = await Promise.allSettled([put(1), f.fail.remote("range")]);
    expect(settled.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    const seen: number[] = [];
    for await (const value of refs.slice(0, 3)) seen.push(value);
    expect(seen).toEqual([1, 2, 3]);
  });

  test("a failed ref gives the same error to all who await it, also later", async () => {
    const ref = f.fail.remote("range");
    const errors = await Promise.all([rejection(ref), rejection(get(ref)), rejection(get([ref]))]);
    for (const error of [...errors, await rejection(ref)]) expect(error.cause).toBeInstanceOf(RangeError);
  });

  // Goal: wrong arguments throw at the call (A5).
  test("arguments that are no refs throw at the call", async () => {
    expect(() => get(3 as never)).toThrow(InvalidOptionError);
    expect(() => get([put(1), 2] as never)).toThrow(InvalidOptionError);
    expect(() => put(put(1))).toThrow(InvalidOptionError);
    expect(() => get(put(1), { timeout: -1 })).toThrow(InvalidOptionError);
    expect(() => get(put(1), { timeOut: 1 } as never)).toThrow(InvalidOptionError);
    const ref = put(1);
    expect(await rejection(wait([ref, ref]))).toBeInstanceOf(InvalidOptionError);
    expect(await rejection(wait([ref], { numReturns: 2 }))).toBeInstanceOf(InvalidOptionError);
    expect(await rejection(wait([ref], { numReturns: 0 }))).toBeInstanceOf(InvalidOptionError);
    expect(await rejection(wait(ref as never))).toBeInstanceOf(InvalidOptionError);
  });

  // Goal: a rejected ref that nobody awaits does not end the driver. Method: the next call still works.
  test("an error that nobody asks for is no unhandled rejection", async () => {
    f.fail.remote("range");
    f.fail.remote("type");
    expect(await f.add.remote(1, 1)).toBe(2);
  });
});

describe("wait", () => {
  function gated(n: number) {
    const gates = Array.from({ length: n }, () => f.Gate.remote());
    const refs = gates.map((gate) => f.holdOpen.options({ numCpus: 0 }).remote(gate)) as ObjectRef<number>[];
    return { gates, refs };
  }

  // Goal: wait gives the ready ones in the order given (B2). Method: tasks at gates, one opened.
  test("one of four is ready, order is kept", async () => {
    const { gates, refs } = gated(4);
    await gates[2]?.open.remote();
    const { ready, pending } = await wait(refs);
    expect(ready).toEqual([refs[2]]);
    expect(pending).toEqual([refs[0], refs[1], refs[3]]);
    for (const gate of gates) gate.open.remote();
    const all = await wait(refs, { numReturns: 4 });
    expect(all.ready).toEqual(refs);
    expect(all.pending).toEqual([]);
  });

  // Goal: no more than numReturns are ready, even when more are (B4).
  test("of five finished ones, exactly numReturns are ready", async () => {
    const refs = Array.from({ length: 5 }, (_, i) => put(i));
    const { ready, pending } = await wait(refs, { numReturns: 2 });
    expect(ready).toEqual(refs.slice(0, 2));
    expect(pending).toEqual(refs.slice(2));
  });

  // Goal: timeout 0 polls (B3); a timeout gives what there is.
  test("a timeout gives what is ready by then", async () => {
    const { gates, refs } = gated(2);
    const none = await wait(refs, { numReturns: 2, timeout: 0 });
    expect(none.ready).toEqual([]);
    const done = f.add.remote(1, 1);
    await done;
    const some = await wait([...refs, done], { numReturns: 3, timeout: 50 });
    expect(some.ready).toEqual([done]);
    expect(some.pending).toEqual(refs);
    for (const gate of gates) gate.open.remote();
    await get(refs);
  });

  test("a failed ref is ready; a signal rejects", async () => {
    const failed = f.fail.remote("range");
    expect((await wait([failed])).ready).toEqual([failed]);
    const { gates, refs } = gated(1);
    const reason = new Error("enough");
    const controller = new AbortController();
    const waiting = wait(refs, { signal: controller.signal });
    controller.abort(reason);
    expect(await rejection(waiting)).toBe(reason);
    for (const gate of gates) gate.open.remote();
    await get(refs);
  });

  // Goal: a loop over wait sees each result once. Method: 200 tasks taken as they finish.
  test("taking results as they come sees each once", async () => {
    let pending: ObjectRef<number>[] = Array.from({ length: 200 }, (_, i) => f.increment.remote(i));
    const seen = new Set<number>();
    while (pending.length > 0) {
      const round = await wait(pending, { numReturns: Math.min(7, pending.length) });
      for (const value of await get([...round.ready])) seen.add(value);
      pending = [...round.pending];
    }
    expect(seen.size).toBe(200);
  });
});
