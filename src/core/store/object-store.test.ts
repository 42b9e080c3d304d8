// Goal: both kinds of store keep the one contract of ObjectStore.
// Method: the same suite over an arena and over files, in this process and between real processes.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { NotInitializedError, ObjectStoreFullError } from "../base/errors.ts";
import { ArenaStore } from "./arena-store.ts";
import { FileStore } from "./file-store.ts";
import { loadNative, type NativeAddon } from "./native.ts";
import type { ObjectStore } from "./object-store.ts";
import { type Child, namedKey, newKey, removeStore, startChild, storePath } from "./store.fixture.ts";

const { addon } = loadNative();
const MIB = 2 ** 20;

interface Kind {
  readonly kind: ObjectStore["kind"];
  readonly available: boolean;
  create(path: string, capacityBytes: number): ObjectStore;
}

const KINDS: Kind[] = [
  {
    kind: "arena",
    available: addon !== null,
    create: (path, capacityBytes) => ArenaStore.create(addon as NativeAddon, `${path}.arena`, capacityBytes),
  },
  {
    kind: "files",
    available: true,
    create: (path, capacityBytes) => FileStore.create(`${path}.files`, capacityBytes),
  },
];

for (const { kind, available, create } of KINDS) {
  describe.skipIf(!available)(`object store: ${kind}`, () => {
    let path: string;
    let store: ObjectStore;
    const children: Child[] = [];

    beforeEach(() => {
      path = storePath();
      store = create(path, 8 * MIB);
    });
    afterEach(async () => {
      for (const child of children.splice(0)) await child.kill();
      store.close();
      removeStore(path);
    });

    function put(bytes: Uint8Array, options = {}, key = newKey()): Buffer {
      expect(store.put(key, bytes.length, [{ offset: 0, bytes }], options)).toBe(true);
      return key;
    }

    function start(script: string): Child {
      const child = startChild(
        `const store = attachStore(${JSON.stringify({ path, kind })});
        const put = (name, size, fill, options) =>
          store.put(namedKey(name), size, [{ offset: 0, bytes: Buffer.alloc(size, fill) }], options);
        ${script}`,
        { typescript: true },
      );
      children.push(child);
      return child;
    }

    test.each([0, 1, 63, 64, 65, 4096, 65536, 65537, 100_001, 3 * MIB])("%d bytes come back", (size) => {
      const bytes = Buffer.alloc(size, "tsray");
      const key = put(bytes);
      expect(store.contains(key)).toBe(true);
      expect(store.sizeOf(key)).toBe(size);
      const read = store.get(key);
      expect(read?.equals(bytes)).toBe(true);
      expect(read?.byteOffset).toBe(0);
    });

    test("an object that is not there is undefined, not an error", () => {
      const key = newKey();
      expect(store.contains(key)).toBe(false);
      expect(store.sizeOf(key)).toBeUndefined();
      expect(store.get(key)).toBeUndefined();
      expect(store.readChunk(key, 0, 1)).toBeUndefined();
      expect(store.delete(key)).toBe(false);
    });

    test("segments land at their offsets and gaps are zeros, also over bytes used before", () => {
      store.delete(put(Buffer.alloc(200, 255)));
      const key = newKey();
      const segments = [
        { offset: 3, bytes: Buffer.from("ab") },
        { offset: 10, bytes: Buffer.from("cd") },
      ];
      expect(store.put(key, 14, segments)).toBe(true);
      expect(store.get(key)?.toString("latin1")).toBe("\0\0\0ab\0\0\0\0\0cd\0\0");
    });

    test("a second put of a key changes nothing and says so", () => {
      const key = put(Buffer.from("first"));
      expect(store.put(key, 6, [{ offset: 0, bytes: Buffer.from("second") }])).toBe(false);
      expect(store.get(key)?.toString()).toBe("first");
    });

    test("a writer's object is invisible until sealed, and its key is taken", () => {
      const key = newKey();
      const writer = store.create(key, 6);
      expect(store.contains(key)).toBe(false);
      expect(store.get(key)).toBeUndefined();
      expect(store.create(key, 6)).toBeUndefined();
      expect(store.put(key, 1, [])).toBe(false);
      expect(store.list(10)).toMatchObject([{ key: key.toString("hex"), state: "creating", size: 6 }]);
      writer?.write(3, Buffer.from("def"));
      writer?.write(0, Buffer.from("abc"));
      expect(() => writer?.write(4, Buffer.from("xyz"))).toThrow(RangeError);
      writer?.seal();
      expect(store.get(key)?.toString()).toBe("abcdef");
      expect(() => writer?.write(0, Buffer.from("z"))).toThrow(/sealed/);
      writer?.abort(); // after seal: nothing
      expect(store.contains(key)).toBe(true);
    });

    test("an aborted object leaves its key and its memory free", () => {
      const key = newKey();
      store.create(key, 8 * MIB)?.abort();
      expect(store.stats()).toMatchObject({ objects: 0, usedBytes: 0 });
      expect(store.create(key, 8 * MIB)).toBeDefined();
    });

    test("readChunk copies a range and refuses one outside", () => {
      const key = put(Buffer.from("0123456789"));
      expect(store.readChunk(key, 2, 3)?.toString()).toBe("234");
      expect(store.readChunk(key, 10, 0)?.length).toBe(0);
      expect(() => store.readChunk(key, 8, 3)).toThrow(RangeError);
    });

    test.each([1000, 200_000])("what a reader writes into its %d bytes stays with that reader", (size) => {
      const key = put(Buffer.alloc(size, 1));
      const mine = store.get(key);
      mine?.fill(2);
      expect(store.get(key)?.equals(Buffer.alloc(size, 1))).toBe(true);
      expect(store.readChunk(key, 0, 1)?.[0]).toBe(1);
      expect(mine?.[size - 1]).toBe(2);
    });

    test("a view outlives the delete of its object and the close of its store", () => {
      const key = put(Buffer.alloc(300_000, 5));
      const view = store.get(key);
      expect(store.delete(key)).toBe(true);
      expect(store.contains(key)).toBe(false);
      expect(store.get(key)).toBeUndefined();
      put(Buffer.alloc(300_000, 6), {}, key); // the key is free at once
      store.close();
      expect(view?.equals(Buffer.alloc(300_000, 5))).toBe(true);
    });

    test("a full store says what did not fit, and takes objects again once some are deleted", () => {
      const key = put(Buffer.alloc(6 * MIB));
      const attempt = () => put(Buffer.alloc(3 * MIB));
      expect(attempt).toThrow(ObjectStoreFullError);
      expect(attempt).toThrow(/3145728 bytes.*6291456 of 8388608/);
      store.delete(key);
      attempt();
    });

    test("secondary copies make room for others, the least recently used first; primaries never do", () => {
      const primary = put(Buffer.alloc(2 * MIB));
      const copies = [1, 2, 3].map((fill) => put(Buffer.alloc(2 * MIB, fill), { secondary: true }));
      const [first, second, third] = copies as [Buffer, Buffer, Buffer];
      expect(store.readChunk(first, 0, 1)?.[0]).toBe(1);
      store.delete(third);
      put(Buffer.alloc(2 * MIB));
      expect(store.stats().evictions).toBe(0);
      put(Buffer.alloc(1 * MIB)); // must evict one
      expect([first, second].filter((key) => store.contains(key))).toHaveLength(1);
      expect(store.contains(primary)).toBe(true);
      expect(store.stats().evictions).toBe(1);
      expect(() => put(Buffer.alloc(8 * MIB))).toThrow(ObjectStoreFullError);
      expect(store.stats().evictions).toBe(1); // in vain, so nothing was evicted for it
    });

    test("a secondary copy that is kept is not evicted any more", () => {
      const [kept, other] = [1, 2].map((fill) => put(Buffer.alloc(2 * MIB, fill), { secondary: true }));
      expect(store.keep(kept as Buffer)).toBe(true);
      expect(store.keep(kept as Buffer)).toBe(true);
      expect(store.keep(newKey())).toBe(false);
      expect(store.stats().evictableBytes).toBe(2 * MIB);
      put(Buffer.alloc(6 * MIB));
      expect(store.contains(other as Buffer)).toBe(false);
      expect(() => put(Buffer.alloc(2 * MIB))).toThrow(ObjectStoreFullError);
      expect(store.get(kept as Buffer)?.equals(Buffer.alloc(2 * MIB, 1))).toBe(true);
      expect(store.delete(kept as Buffer)).toBe(true);
      expect(store.keep(kept as Buffer)).toBe(false);
    });

    test("all objects of a prefix are deleted in one go; others, and what is being made, are not", () => {
      const keys = [1, 1, 1, 2, 2].map((first) =>
        Buffer.concat([Buffer.alloc(8, first), newKey().subarray(8)]),
      );
      for (const key of keys) put(Buffer.alloc(100_000, 1), {}, key);
      const half = Buffer.concat([Buffer.alloc(8, 1), newKey().subarray(8)]);
      const writer = store.create(half, 1000);
      expect(store.deleteAll(Buffer.alloc(8, 1))).toBe(3);
      expect(keys.map((key) => store.contains(key))).toEqual([false, false, false, true, true]);
      writer?.seal();
      expect(store.contains(half)).toBe(true);
      expect(store.deleteAll(Buffer.alloc(8, 1))).toBe(1);
      expect(store.deleteAll(Buffer.alloc(1, 3))).toBe(0);
      for (const prefix of [Buffer.alloc(0), Buffer.alloc(17)])
        expect(() => store.deleteAll(prefix)).toThrow(RangeError);
      expect(() => store.deleteAll("x" as unknown as Buffer)).toThrow(TypeError);
    });

    test("wrong arguments are TypeErrors", () => {
      const wrong = (value: unknown) => value as Uint8Array;
      for (const key of [undefined, null, 1, "x", [], {}, Buffer.alloc(15), new Float64Array(2)]) {
        expect(() => store.put(wrong(key), 1, [])).toThrow(TypeError);
        expect(() => store.create(wrong(key), 1)).toThrow(TypeError);
        expect(() => store.get(wrong(key))).toThrow(TypeError);
        expect(() => store.contains(wrong(key))).toThrow(TypeError);
        expect(() => store.sizeOf(wrong(key))).toThrow(TypeError);
        expect(() => store.readChunk(wrong(key), 0, 1)).toThrow(TypeError);
        expect(() => store.keep(wrong(key))).toThrow(TypeError);
        expect(() => store.delete(wrong(key))).toThrow(TypeError);
      }
      for (const size of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60]) {
        expect(() => store.put(newKey(), size, [])).toThrow(TypeError);
        expect(() => store.create(newKey(), size)).toThrow(TypeError);
      }
      const bytes = Buffer.alloc(8);
      expect(() => store.put(newKey(), 8, [{ offset: 1, bytes }])).toThrow(RangeError);
      expect(() =>
        store.put(newKey(), 16, [
          { offset: 8, bytes },
          { offset: 0, bytes },
        ]),
      ).toThrow(RangeError);
      expect(() => store.put(newKey(), 8, [{ offset: 0, bytes: wrong("x") }])).toThrow(TypeError);
      expect(store.stats().objects).toBe(0);
    });

    test("after close every call throws", () => {
      const writer = store.create(newKey(), 1);
      store.close();
      store.close();
      writer?.abort();
      expect(() => writer?.seal()).toThrow();
      for (const call of [
        () => store.get(newKey()),
        () => store.put(newKey(), 0, []),
        () => store.stats(),
        () => store.list(1),
        () => store.reclaim(1),
      ]) {
        expect(call).toThrow(NotInitializedError);
      }
    });

    test("processes see each other's objects", async () => {
      const key = put(Buffer.alloc(200_000, 7), {}, namedKey("from parent"));
      const child = start(`
        say(String(store.get(namedKey("from parent")).every((byte) => byte === 7)));
        put("from child", 150_000, 8);
        store.get(namedKey("from parent")).fill(9);
        say("done");
        await step();
        say(String(store.contains(namedKey("from parent"))));`);
      expect(await child.line()).toBe("true");
      expect(await child.line()).toBe("done");
      expect(store.get(namedKey("from child"))?.equals(Buffer.alloc(150_000, 8))).toBe(true);
      expect(store.get(key)?.every((byte) => byte === 7)).toBe(true);
      store.delete(key);
      child.go();
      expect(await child.line()).toBe("false");
      expect(await child.ended()).toBe(0);
    });

    test("what a killed process left half made is dropped by reclaim, not before", async () => {
      const child = start(`
        store.create(namedKey("half"), 4_000_000).write(0, Buffer.from("x"));
        put("whole", 100, 1);
        say("made");
        await step();`);
      await child.line();
      expect(store.put(namedKey("half"), 1, [])).toBe(false);
      expect(store.reclaim(child.pid)).toBe(false); // it runs
      expect(store.stats().objects).toBe(2);
      await child.kill();
      expect(store.reclaim(child.pid)).toBe(true);
      expect(store.list(10).map(({ key }) => key)).toEqual([namedKey("whole").toString("hex")]);
      expect(store.put(namedKey("half"), 1, [])).toBe(true);
    });

    test("the key of a dead creator is free even before it is reclaimed", async () => {
      const child = start(`store.create(namedKey("half"), 1000); say("made"); await step();`);
      await child.line();
      await child.kill();
      expect(store.put(namedKey("half"), 2, [{ offset: 0, bytes: Buffer.from("ok") }])).toBe(true);
    });

    test("a full file system is an error, not a crash", (context) => {
      const directory = mkdtempSync(join(tmpdir(), "tsray-tmpfs-"));
      const mount = spawnSync("mount", ["-t", "tmpfs", "-o", "size=12m", "tmpfs", directory]);
      if (mount.status !== 0) {
        rmSync(directory, { recursive: true });
        context.skip("mounting a tmpfs is not permitted here");
      }
      try {
        mkdirSync(join(directory, "in"));
        const small = create(join(directory, "in", "store"), 64 * MIB);
        const keys: Buffer[] = [];
        const fill = () => {
          for (;;) {
            const key = newKey();
            small.put(key, MIB, [{ offset: 0, bytes: Buffer.alloc(MIB, 3) }]);
            keys.push(key);
          }
        };
        expect(fill).toThrow(ObjectStoreFullError);
        expect(fill).toThrow(/file system/);
        expect(keys.length).toBeGreaterThan(6);
        expect(() => small.create(newKey(), 20 * MIB)?.write(0, Buffer.alloc(20 * MIB))).toThrow(
          ObjectStoreFullError,
        );
        for (const key of keys) expect(small.readChunk(key, 0, MIB)?.[MIB - 1]).toBe(3);
        const reused = keys[0] as Buffer;
        small.delete(reused);
        expect(small.put(reused, MIB, [])).toBe(true); // its pages are still there
        small.close();
      } finally {
        expect(spawnSync("umount", [directory]).status).toBe(0);
        rmSync(directory, { recursive: true });
      }
    });
  });
}
