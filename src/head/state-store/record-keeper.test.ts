// Goal: what is acknowledged is on the store; what could not be written is, as soon as the store takes it.
// Method: a store in memory that refuses writes as long as the test says.
import { expect, test } from "vitest";
import { FullStore } from "../full-store.fixture.ts";
import { type KeptRecord, RecordKeeper } from "./record-keeper.ts";

const TABLE = "things";

interface Thing {
  value: number;
  readonly kept: KeptRecord;
}

function kept() {
  const store = new FullStore();
  const lines: string[] = [];
  const keeper = new RecordKeeper((line) => lines.push(line));
  const make = (key: string): Thing => {
    const thing: Thing = {
      value: 0,
      kept: keeper.keep(async () => {
        await store.put(TABLE, key, Buffer.from([thing.value]));
      }),
    };
    return thing;
  };
  const change = (thing: Thing, value: number) => {
    thing.value = value;
    thing.kept.changed();
  };
  const stored = async (key: string) => (await store.get(TABLE, key))?.value[0];
  return { store, keeper, lines, make, change, stored };
}

test("is durable when its latest change is on the store, however many there were", async () => {
  const { store, make, change, stored } = kept();
  const thing = make("a");
  await thing.kept.durable();
  expect(await stored("a")).toBeUndefined();
  for (let value = 1; value <= 100; value++) change(thing, value);
  await thing.kept.durable();
  expect(await stored("a")).toBe(100);
  // Those of one turn go in one.
  expect(store.writes).toBe(1);
});

test("a failed write is made again by whoever must acknowledge it, and told when it fails again", async () => {
  const { store, make, change, stored, keeper } = kept();
  const thing = make("a");
  store.isFull = true;
  change(thing, 1);
  await expect(thing.kept.durable()).rejects.toThrow(
    /cannot write to its state store: no space left.*repeat it/,
  );
  await expect(thing.kept.durable()).rejects.toMatchObject({
    name: "ClusterUnreachableError",
    retryable: true,
  });
  store.isFull = false;
  await thing.kept.durable();
  expect(await stored("a")).toBe(1);
  await keeper.close();
});

test("what nobody repeats is written once there is room, and who acts on it waits so long", async () => {
  const { store, make, change, stored, keeper, lines } = kept();
  const things = ["a", "b", "c"].map(make);
  store.isFull = true;
  for (const thing of things) change(thing, 7);
  let isWritten = false;
  const written = Promise.all(things.map((thing) => thing.kept.written())).then(() => {
    isWritten = true;
  });
  await Promise.all(things.map((thing) => expect(thing.kept.durable()).rejects.toThrow("no space left")));
  expect(isWritten).toBe(false);
  store.isFull = false;
  await written;
  expect(await Promise.all(["a", "b", "c"].map(stored))).toEqual([7, 7, 7]);
  await keeper.close();
  expect(lines).toEqual([
    expect.stringContaining("cannot write to the state store: no space left"),
    expect.stringContaining("is written"),
  ]);
});

test("one that the store never takes keeps nothing else back", async () => {
  const { store, make, change, stored, keeper } = kept();
  const [bad, good] = [make("bad"), make("good")];
  store.refusedKey = "bad";
  change(bad, 1);
  await expect(bad.kept.durable()).rejects.toThrow("no space left");
  store.isFull = true;
  change(good, 2);
  await expect(good.kept.durable()).rejects.toThrow("no space left");
  store.isFull = false;
  await good.kept.written();
  expect(await stored("good")).toBe(2);
  await keeper.close();
});

test("the end of the keeper tries once more, and keeps nobody waiting", async () => {
  const { store, make, change, keeper, stored } = kept();
  const [late, never] = [make("late"), make("never")];
  store.isFull = true;
  for (const thing of [late, never]) change(thing, 1);
  await Promise.all(
    [late, never].map((thing) => expect(thing.kept.durable()).rejects.toThrow("no space left")),
  );
  const waiting = never.kept.written();
  store.isFull = false;
  store.refusedKey = "never";
  await keeper.close();
  await waiting;
  expect([await stored("late"), await stored("never")]).toEqual([1, undefined]);
});
