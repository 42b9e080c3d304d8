/** Streaming generators: order, back-pressure, early leave, failure, retry. Scenarios K of Ray's black-box tests. */
import {
  ActorDiedError,
  cancel,
  get,
  kill,
  type ObjectRef,
  ObjectRefGenerator,
  TaskCancelledError,
  TaskError,
  WorkerCrashedError,
} from "tsray";
import { describe, expect, test } from "vitest";
import { Counter } from "../fixtures/actors.mjs";
import * as f from "../fixtures/functions.ts";
import { Recorder, rejection, temporaryDirectory, until, useCluster } from "./support.ts";

const dir = temporaryDirectory();
useCluster({ logToDriver: false });
let files = 0;
const recorder = () => new Recorder(dir, `${files++}`);

async function collect<T>(stream: AsyncIterable<ObjectRef<T>>): Promise<T[]> {
  const values: T[] = [];
  for await (const ref of stream) values.push(await ref);
  return values;
}

describe("streaming generators", () => {
  test("a generator function gives an ObjectRefGenerator", async () => {
    const stream = f.count.remote(5);
    expect(stream).toBeInstanceOf(ObjectRefGenerator);
    expect(await collect(stream)).toEqual([0, 1, 2, 3, 4]);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(await collect(f.count.remote(0))).toEqual([]);
  });

  // Goal: items arrive while the producer still runs (K1). Method: the producer stops at a gate after two items.
  test("items can be taken while the generator still runs", async () => {
    const gate = f.Gate.remote();
    const stream = f.countSlowly.remote(4, gate);
    const first = await stream.next();
    const second = await stream.next();
    expect(await get([first.value, second.value] as ObjectRef<number>[])).toEqual([0, 1]);
    await gate.open.remote();
    expect(await collect(stream)).toEqual([2, 3]);
  });

  test("a thousand items come in order, once each", async () => {
    expect(await collect(f.count.remote(1000))).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    const backed = f.count.options({ generatorBackpressure: 3 }).remote(500);
    expect(await collect(backed)).toEqual(Array.from({ length: 500 }, (_, i) => i));
  });

  test("large items, and any iterable with numReturns streaming", async () => {
    let i = 0;
    for await (const ref of f.bigItems.remote(8, 1_000_000)) expect((await ref)[999_999]).toBe(i++);
    expect(i).toBe(8);
    expect(await collect(f.listAsStream.options({ numReturns: "streaming" }).remote(3))).toEqual([0, 1, 2]);
  });

  // Goal: the producer is at most n items ahead (K6). Method: it notes each item it makes; the consumer takes them singly.
  test("back-pressure holds the producer", async () => {
    const file = recorder();
    const stream = f.recordYields.options({ generatorBackpressure: 2 }).remote(file.path, 10);
    for (let taken = 1; taken <= 8; taken++) {
      await stream.next();
      await until(() => file.lines.length >= taken + 1, "the producer to go on");
      expect(file.lines.length).toBeLessThanOrEqual(taken + 3);
    }
    await collect(stream);
    expect(file.lines).toHaveLength(11);
  });

  // Goal: a consumer that leaves stops the producer, and its finally block runs. Method: break out of an endless stream.
  test("leaving early stops the producer", async () => {
    const file = recorder();
    const pid = await f.pid.options({ numCpus: 2 }).remote();
    for await (const ref of f.endless.options({ numCpus: 2 }).remote(file.path)) if ((await ref) === 3) break;
    await until(() => file.lines.includes("closed"), "the producer to stop");
    expect(await f.pid.options({ numCpus: 2 }).remote()).toBeGreaterThan(0);
    expect(pid).toBeGreaterThan(0);
  });

  test("leaving early stops a producer that back-pressure holds", async () => {
    const file = recorder();
    const options = { generatorBackpressure: 2, numCpus: 2 };
    for await (const ref of f.recordYields.options(options).remote(file.path, 1000))
      if ((await ref) === 3) break;
    await until(() => file.lines.at(-1) === "closed", "the producer to stop");
    expect(file.lines.length).toBeLessThan(10);
    expect(await f.add.options({ numCpus: 2 }).remote(1, 1)).toBe(2);
  });

  // Goal: a failure comes after the items before it, as the last item (K3).
  test("an error arrives as an item after those before it, then the end", async () => {
    const stream = f.failAt.remote(3);
    const values: unknown[] = [];
    let failure: Error | undefined;
    for await (const ref of stream) {
      try {
        values.push(await ref);
      } catch (error) {
        failure = error as Error;
      }
    }
    expect(values).toEqual([0, 1, 2]);
    expect(failure).toBeInstanceOf(TaskError);
    expect(failure?.cause).toBeInstanceOf(RangeError);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  // Goal: a retry gives each item once (K4). Method: a crash and a thrown error at item 3 of the first attempt.
  test("a retry after a crash or an error repeats no item", async () => {
    const file = recorder();
    expect(await collect(f.crashAt.remote(file.path, 3, 6))).toEqual([0, 1, 2, 3, 4, 5]);
    expect(file.lines).toEqual(["attempt 0", "attempt 1"]);
    const thrown = f.throwAt.options({ retryExceptions: true }).remote(3, 5);
    expect(await collect(thrown)).toEqual([0, 1, 2, 3, 4]);
  });

  // Goal: the same with back-pressure: what the consumer has taken of the first attempt counts for the second.
  test("a retry is not held by items that were taken before", async () => {
    const file = recorder();
    const backed = f.crashAt.options({ generatorBackpressure: 2 });
    expect(await collect(backed.remote(file.path, 5, 8))).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    const thrown = f.throwAt.options({ retryExceptions: true, generatorBackpressure: 1 }).remote(5, 8);
    expect(await collect(thrown)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test("a crash without retries ends the stream with WorkerCrashedError", async () => {
    const file = recorder();
    const values: number[] = [];
    const consume = async () => {
      for await (const ref of f.crashAt.options({ maxRetries: 0 }).remote(file.path, 2, 6))
        values.push(await ref);
    };
    expect(await rejection(consume())).toBeInstanceOf(WorkerCrashedError);
    expect(values).toEqual([0, 1]);
  });

  // Goal: the death of an actor ends its streams (K3). Method: back-pressure holds the producer at what was taken.
  test("an actor that is killed ends its stream with ActorDiedError", async () => {
    const actor = Counter.remote();
    const stream = actor.ticks.options({ generatorBackpressure: 2 }).remote(1000);
    const values: number[] = [];
    const consume = async () => {
      for await (const ref of stream) {
        values.push(await ref);
        if (values.length === 3) kill(actor);
      }
    };
    expect(await rejection(consume())).toBeInstanceOf(ActorDiedError);
    expect(values).toEqual(values.map((_, i) => i));
    expect(values.length).toBeLessThan(1000);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  // Goal: cancel ends the stream, and whoever takes from it hears why (K10).
  test("cancel ends the stream with TaskCancelledError", async () => {
    const file = recorder();
    const stream = f.endless.remote(file.path);
    await stream.next();
    cancel(stream);
    const last = (await stream.next()).value as ObjectRef<number>;
    expect(await rejection(last)).toBeInstanceOf(TaskCancelledError);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    await until(() => file.lines.includes("closed"), "the producer to stop");
  });

  test("for who has left it is over, items that were there already included", async () => {
    const file = recorder();
    const stream = f.endless.remote(file.path);
    await stream.next();
    await stream.return();
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    await until(() => file.lines.includes("closed"), "the producer to stop");
    const over = f.count.remote(3);
    await over.next();
    await f.add.options({ numCpus: 2 }).remote(1, 1);
    await over.return();
    expect(await over.next()).toEqual({ done: true, value: undefined });
  });

  // Method: the producer computes on after its first item, without a pause: that item comes all the same.
  test("force ends a producer that never looks up", async () => {
    const file = recorder();
    const stream = f.spinAfter.options({ numCpus: 2 }).remote(file.path, 1);
    expect(await (await stream.next()).value).toBe(0);
    await until(() => file.lines.length === 1, "the loop to run");
    cancel(stream, { force: true });
    expect(await f.add.options({ numCpus: 2 }).remote(1, 1)).toBe(2);
    expect(file.lines).toHaveLength(1);
  });

  // Goal: a stream cannot be passed on (K11).
  test("a generator among the arguments is refused", () => {
    expect(() => f.identity.remote(f.count.remote(1) as unknown)).toThrow(/ObjectRefGenerator|generator/);
  });

  // Goal: many consumers and producers at a time; next() called ahead gives items in order.
  test("streams side by side, and next() called ahead of the items", async () => {
    const streams = Array.from({ length: 10 }, (_, i) => f.count.remote(50 + i));
    const all = await Promise.all(streams.map(collect));
    expect(all.map((values) => values.length)).toEqual(streams.map((_, i) => 50 + i));
    const stream = f.count.remote(3);
    const results = await Promise.all([stream.next(), stream.next(), stream.next(), stream.next()]);
    expect(results.map(({ done }) => done)).toEqual([false, false, false, true]);
    const values = await get(results.slice(0, 3).map(({ value }) => value as ObjectRef<number>));
    expect(values).toEqual([0, 1, 2]);
  });
});
