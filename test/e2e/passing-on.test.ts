/** Views of stored objects are passed on, whole or in slices, without being copied again; what was written to is copied. */
import { free, get, init, kill, type ObjectRef, OwnerDiedError, put, shutdown } from "tsray";
import { Cluster } from "tsray/testing";
import { describe, expect, test } from "vitest";
import { Keeper } from "../fixtures/functions.ts";
import * as f from "../fixtures/passing-on.ts";
import { temporaryDirectory, until, useCluster } from "./support.ts";

const MIB = 2 ** 20;
/** 24 MiB: a second copy beside it does not fit into 40 MiB, so that it would have to be written to disk. */
const LENGTH = 3 * MIB;
const ones = () => new Float64Array(LENGTH).fill(1);

describe("on one node", () => {
  const spillDir = temporaryDirectory();
  const here = useCluster({ objectStoreMemory: 40 * MIB, spillDir, logToDriver: false });
  const spilled = async () => {
    const { attachStore } = await import("../../src/core/store/open-store.ts");
    const { readdirSync, readFileSync } = await import("node:fs");
    const { join } = await import("node:path");
    const nodes = join(here.cluster.sessionDir, "nodes");
    const record = JSON.parse(readFileSync(join(nodes, readdirSync(nodes)[0] as string), "utf8")) as {
      storePath: string;
    };
    const store = attachStore({ path: record.storePath, kind: "arena" });
    const { spilledBytesTotal } = store.stats();
    store.close();
    return spilledBytesTotal;
  };

  test("a view is put again, passed to tasks and returned by them without another copy", async () => {
    const before = await spilled();
    const ref = put(ones());
    const view = await get(ref);
    const again = [
      put(view),
      put({ deep: [view, view.subarray(1000)] }),
      put(view.subarray(5, 2_000_000)),
    ] as const;
    expect((await get(again[0])).length).toBe(LENGTH);
    const { deep } = await get(again[1]);
    expect(deep.map((part) => [part.length, part[0]])).toEqual([
      [LENGTH, 1],
      [LENGTH - 1000, 1],
    ]);
    expect((await get(again[2])).length).toBe(1_999_995);
    expect(await f.sum.remote(view)).toBe(LENGTH);
    expect(await f.sumThrice.remote(ref)).toEqual([LENGTH, LENGTH / 2, LENGTH / 2]);
    expect((await get(f.echo.remote(ref))).length).toBe(LENGTH);
    expect(await f.firstOf.remote(f.inBox.remote(ref))).toEqual([1, 1]);
    expect(await spilled()).toBe(before);
  });

  test("what is passed on lives after the ref that it came from is dropped", async () => {
    const box: { ref?: ObjectRef<Float64Array> } = {};
    await (async () => {
      const first = f.identity.remote(put(ones()) as ObjectRef<unknown>) as ObjectRef<Float64Array>;
      box.ref = put((await get(first)).subarray(7));
    })();
    for (let i = 0; i < 5; i++) await f.sum.remote(new Float64Array(20_000));
    const values = await get(box.ref as ObjectRef<Float64Array>);
    expect([values.length, values.every((x) => x === 1)]).toEqual([LENGTH - 7, true]);
  });

  test("what was put does not depend on an object that is freed, or whose owner may end first", async () => {
    const freed = put(ones());
    const view = await get(freed);
    free(freed);
    expect((await get(put(view)))[LENGTH - 1]).toBe(1);
    expect(await f.sum.remote(view)).toBe(LENGTH);
    const keeper = Keeper.remote();
    const { ref } = await keeper.makeBytes.remote(4 * MIB);
    const kept = put(await get(ref));
    kill(keeper as Parameters<typeof kill>[0]);
    await until(
      () =>
        get(keeper.makeBytes.remote(1)).then(
          () => false,
          (error: Error) => error.name === "ActorDiedError",
        ),
      "the actor to die",
    );
    expect((await get(kept)).length).toBe(4 * MIB);
    // Until its node has deleted what it owned, the object is there and right.
    await until(
      () =>
        get(ref).then(
          () => false,
          (error: Error) => error instanceof OwnerDiedError,
        ),
      "the end of what the actor owned",
    );
  });

  test("a view that was written to is passed on as it is now, and stays the writer's own", async () => {
    const ref = put(ones());
    const view = await get(ref);
    view[3] = 100;
    expect(await f.sum.remote(view)).toBe(LENGTH + 99);
    const copy = put(view);
    view[4] = 100;
    expect((await get(copy)).subarray(2, 6)).toEqual(new Float64Array([1, 100, 1, 1]));
    expect(await f.changeAndPass.remote(ref)).toBe(LENGTH - 6);
    expect((await get(ref)).subarray(0, 6)).toEqual(new Float64Array([1, 1, 1, 1, 1, 1]));
  });
});

describe("between nodes", () => {
  // Method: a view of an object of the driver's node is passed to, and returned by, a task that runs on another.
  test("a passed-on view is read on another node, and a slice that is returned from there is read here", async () => {
    const cluster = await Cluster.start({ head: { numCpus: 0 } });
    try {
      await cluster.addNode({ numCpus: 2 });
      await init({ address: cluster.address, logToDriver: false });
      const view = await get(put(ones()));
      expect(await f.sum.remote(view.subarray(0, 100_000))).toBe(100_000);
      const box = await get(f.inBox.remote(put(view)));
      expect(box.parts.map((part) => [part.length, part.at(-1)])).toEqual([
        [LENGTH, 1],
        [LENGTH - 10, 1],
      ]);
    } finally {
      await shutdown();
      await cluster.shutdown();
    }
  });
});
