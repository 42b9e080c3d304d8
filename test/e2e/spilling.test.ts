/** More data than memory: what users see of spilling is nothing, and what they are told when the disk is full. H1, H3, H6, H10. */
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { free, get, init, ObjectStoreFullError, put, shutdown } from "tsray";
import { Cluster } from "tsray/testing";
import { afterEach, describe, expect, test } from "vitest";
import * as f from "../fixtures/spilling.ts";
import { temporaryDirectory, until, useCluster } from "./support.ts";

const MIB = 2 ** 20;
const LENGTH = MIB / 8;

describe("an embedded cluster with 16 MiB for objects", () => {
  const parent = temporaryDirectory();
  useCluster({ objectStoreMemory: 16 * MIB, spillDir: parent, logToDriver: false });
  const spilled = () => readdirSync(parent).flatMap((dir) => readdirSync(join(parent, dir)));

  // Goal: ten times as much as memory holds is live, and every value is right (H1); dropped, the disk is empty (H6).
  // Method: values put by the driver, returned by tasks and put inside tasks; read at random by driver and tasks.
  test("holds 160 MiB of live objects, every one right, and the disk is empty after the last ref", async () => {
    await (async () => {
      const put1 = Array.from({ length: 60 }, (_, i) => put(f.pattern(i, LENGTH)));
      const made = Array.from({ length: 60 }, (_, i) => f.make.remote(60 + i, LENGTH));
      const nested = await get(f.putMany.remote(120, 40, LENGTH));
      const refs = [...put1, ...made, ...nested];
      await get(made.at(-1) as (typeof made)[number]);
      expect(spilled().length).toBeGreaterThan(0);
      let seed = 7;
      for (let i = 0; i < 200; i++) {
        seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
        const n = seed % refs.length;
        const ref = refs[n] as (typeof refs)[number];
        if (i % 4 === 0) expect(await get(f.isPattern.remote(ref, n))).toBe(true);
        else expect(Buffer.compare(bytesOf(await get(ref)), bytesOf(f.pattern(n, LENGTH)))).toBe(0);
      }
    })();
    // Refs drop when a collection finds them: a little traffic gives it reason to look.
    await until(async () => {
      await get(f.make.remote(1, 10));
      return spilled().length === 0;
    }, "the spill directory is empty");
  });

  // Method: awaiting what is there already is no turn of the event loop, so no finalizer runs in the whole loop.
  test("a loop that puts, gets and frees without ever ending its turn spills nothing", async () => {
    const value = f.pattern(1, 4 * LENGTH);
    for (let i = 0; i < 40; i++) {
      const ref = put(value);
      expect((await ref)[5]).toBe(1e6 + 5);
      free(ref);
    }
    expect(spilled()).toEqual([]);
  });

  test("takes an object larger than the store, as value and as argument (H10)", async () => {
    const ref = put(f.pattern(3, 3 * 16 * LENGTH));
    expect(await get(f.isPattern.remote(ref, 3))).toBe(true);
    expect((await get(ref)).length).toBe(3 * 16 * LENGTH);
    expect(await get(f.isPattern.remote(await get(f.make.remote(4, 2 * 16 * LENGTH)), 4))).toBe(true);
  });
});

describe("a spill directory", () => {
  const parent = temporaryDirectory();
  afterEach(async () => {
    await shutdown();
  });

  test("that is gone makes put() say so, and works again when it is back (H5)", async () => {
    await init({ numCpus: 1, objectStoreMemory: 4 * MIB, spillDir: parent, logToDriver: false });
    const [own] = readdirSync(parent) as [string];
    rmSync(join(parent, own), { recursive: true });
    const refs: unknown[] = [];
    const fill = () => {
      for (let i = 0; i < 20; i++) refs.push(put(f.pattern(i, LENGTH)));
    };
    expect(fill).toThrow(ObjectStoreFullError);
    expect(fill).toThrow(/spilled to disk \(No such file or directory\).*--spill-dir/);
    mkdirSync(join(parent, own), { mode: 0o700 });
    const ref = put(f.pattern(5, LENGTH));
    expect(await get(f.isPattern.remote(ref, 5))).toBe(true);
  });

  test.each([
    ["relative/path", /spillDir must be an absolute path, got .relative\/path/],
    ["/proc/nothing", /the spill directory \/proc\/nothing\/tsray-spill-.* cannot be made/],
  ])("%s is refused before anything starts (H8)", async (spillDir, message) => {
    await expect(init({ numCpus: 1, spillDir, logToDriver: false })).rejects.toThrow(message);
  });

  test("goes with its node, also when that is killed", async () => {
    const cluster = await Cluster.start({ head: { numCpus: 1, spillDir: parent } });
    const [own] = readdirSync(parent) as [string];
    const node = await cluster.addNode({ numCpus: 1, spillDir: parent });
    expect(readdirSync(parent).sort()).toEqual([own, `tsray-spill-${node.nodeId}`].sort());
    await cluster.removeNode(node);
    expect(readdirSync(parent)).toEqual([own]);
    await cluster.shutdown();
    expect(existsSync(join(parent, own))).toBe(false);
  });

  // Goal: an object that was spilled at one node is read at another (H3). Method: two nodes of 8 MiB, tasks on the other.
  test("is no matter to other nodes: they get what was spilled", async () => {
    const cluster = await Cluster.start({
      head: { numCpus: 0, objectStoreMemory: 8 * MIB, spillDir: parent },
    });
    try {
      await cluster.addNode({ numCpus: 1, objectStoreMemory: 8 * MIB, spillDir: parent });
      await init({ address: cluster.address, logToDriver: false });
      const refs = Array.from({ length: 24 }, (_, i) => put(f.pattern(i, LENGTH)));
      const answers = await get(refs.map((ref, i) => f.isPattern.remote(ref, i)));
      expect(answers).toEqual(refs.map(() => true));
      const back = await get(refs.map((ref) => ref));
      expect(back.map((value) => (value[0] as number) / 1e6)).toEqual(refs.map((_, i) => i));
    } finally {
      await shutdown();
      await cluster.shutdown();
    }
  });
});

function bytesOf(array: Float64Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
