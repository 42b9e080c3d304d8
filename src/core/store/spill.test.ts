// Goal: what memory has no room for lies on disk, and nobody can tell; a full or broken disk is a typed error that heals.
// Method: both kinds of store over small memories, real processes that are killed at every step, tmpfs as a small disk.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ObjectStoreFullError } from "../base/errors.ts";
import { collectGarbage as collectNow } from "../base/garbage.ts";
import { ArenaStore } from "./arena-store.ts";
import { FileStore } from "./file-store.ts";
import { loadNative, type NativeAddon } from "./native.ts";
import type { ObjectStore } from "./object-store.ts";
import {
  type Child,
  collectGarbage,
  namedKey,
  newKey,
  removeStore,
  startChild,
  storePath,
} from "./store.fixture.ts";

const { addon } = loadNative();
const MIB = 2 ** 20;

interface Kind {
  readonly kind: ObjectStore["kind"];
  readonly available: boolean;
  create(path: string, capacityBytes: number, spillDir: string): ObjectStore;
}

const KINDS: Kind[] = [
  {
    kind: "arena",
    available: addon !== null,
    create: (path, bytes, spillDir) =>
      ArenaStore.create(addon as NativeAddon, `${path}.arena`, bytes, spillDir),
  },
  {
    kind: "files",
    available: true,
    create: (path, bytes, spillDir) => FileStore.create(`${path}.files`, bytes, spillDir),
  },
];

for (const { kind, available, create } of KINDS) {
  describe.skipIf(!available)(`spilling: ${kind}`, () => {
    let path: string;
    let directory: string;
    let spillDir: string;
    let store: ObjectStore;
    const children: Child[] = [];

    beforeEach(() => {
      path = storePath();
      directory = mkdtempSync(join(tmpdir(), "tsray-spill-"));
      spillDir = join(directory, "spill");
      mkdirSync(spillDir, { mode: 0o700 });
      store = create(path, 8 * MIB, spillDir);
    });
    afterEach(async () => {
      for (const child of children.splice(0)) await child.kill();
      if (store instanceof ArenaStore) expect(store.check()).toBeNull();
      store.close();
      removeStore(path);
      rmSync(directory, { recursive: true, force: true });
    });

    function put(name: string, size: number, fill: number): Buffer {
      const key = namedKey(name);
      expect(store.put(key, size, [{ offset: 0, bytes: Buffer.alloc(size, fill) }])).toBe(true);
      return key;
    }

    function start(script: string, env: Record<string, string> = {}): Child {
      const child = startChild(
        `const store = attachStore(${JSON.stringify({ path, kind })});
        const put = (name, size, fill) =>
          store.put(namedKey(name), size, [{ offset: 0, bytes: Buffer.alloc(size, fill) }]);
        const good = (name, size, fill) => store.get(namedKey(name)).equals(Buffer.alloc(size, fill));
        ${script}`,
        { typescript: true, env },
      );
      children.push(child);
      return child;
    }

    test("ten times as much as memory holds: every object comes back, again and again", () => {
      const sizes = Array.from({ length: 90 }, (_, i) => 300_000 + ((i * 7919) % 1_500_000));
      sizes.forEach((size, i) => void put(`object ${i}`, size, i + 1));
      const stats = store.stats();
      expect(stats.spilledBytes).toBeGreaterThan(5 * 8 * MIB);
      expect(stats.usedBytes).toBeLessThanOrEqual(8 * MIB);
      let seed = 1;
      for (let i = 0; i < 400; i++) {
        seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
        const n = seed % sizes.length;
        const size = sizes[n] as number;
        const key = namedKey(`object ${n}`);
        expect(store.sizeOf(key)).toBe(size);
        const view = store.get(key) as Buffer;
        expect(view.equals(Buffer.alloc(size, n + 1))).toBe(true);
        expect(store.readChunk(key, size - 10, 10)?.every((byte) => byte === n + 1)).toBe(true);
        store.release(view);
      }
      expect(store.stats().readBackBytesTotal).toBeGreaterThan(0);
      for (let n = 0; n < sizes.length; n++) expect(store.delete(namedKey(`object ${n}`))).toBe(true);
      expect(store.stats()).toMatchObject({ objects: 0, usedBytes: 0, spilledBytes: 0, spilledObjects: 0 });
      expect(readdirSync(spillDir)).toEqual([]);
    });

    test("what was used last stays in memory", () => {
      for (let i = 0; i < 7; i++) put(`object ${i}`, MIB, i);
      store.release(store.get(namedKey("object 0")) as Buffer);
      put("more", 3 * MIB, 9);
      const where = new Map(
        store.list(100).map((entry) => [Buffer.from(entry.key, "hex").toString(), entry.where]),
      );
      expect(where.get(namedKey("object 1").toString())).toBe("disk");
      expect(where.get(namedKey("object 0").toString())).toBe("memory");
      expect(where.get(namedKey("more").toString())).toBe("memory");
    });

    test("an object larger than the store is made on disk, in one go or piece by piece", () => {
      const key = put("large", 20 * MIB + 5, 3);
      const view = store.get(key) as Buffer;
      expect(view.equals(Buffer.alloc(20 * MIB + 5, 3))).toBe(true);
      store.release(view);
      const writer = store.create(namedKey("pieces"), 12 * MIB);
      expect(writer?.memory).toBeUndefined();
      for (let at = 0; at < 12; at += 2) writer?.write(at * MIB, Buffer.alloc(2 * MIB, at));
      writer?.seal();
      const chunk = store.readChunk(namedKey("pieces"), 7 * MIB, 2 * MIB);
      expect(chunk?.equals(Buffer.concat([Buffer.alloc(MIB, 6), Buffer.alloc(MIB, 8)]))).toBe(true);
      const aborted = store.create(namedKey("aborted"), 9 * MIB);
      aborted?.write(0, Buffer.alloc(100));
      aborted?.abort();
      expect(store.contains(namedKey("aborted"))).toBe(false);
      store.delete(key);
      store.delete(namedKey("pieces"));
      expect(readdirSync(spillDir)).toEqual([]);
    });

    test("gaps of an object on disk read as zeros", () => {
      store.put(newKey(), 9 * MIB, [{ offset: 0, bytes: Buffer.alloc(9 * MIB, 255) }]);
      const key = newKey();
      store.put(key, 9 * MIB, [{ offset: 9 * MIB - 1, bytes: Buffer.from("x") }]);
      const bytes = store.get(key) as Buffer;
      expect(bytes.length).toBe(9 * MIB);
      expect(bytes[9 * MIB - 1]).toBe("x".charCodeAt(0));
      expect(bytes.subarray(0, 9 * MIB - 1).every((byte) => byte === 0)).toBe(true);
    });

    test("processes spill for one another and read what others spilled", async () => {
      const script = (me: string) => `
        for (let i = 0; i < 30; i++) put("${me} " + i, 700_000, i);
        say("put");
        await step();
        for (let round = 0; round < 3; round++)
          for (const who of ["left", "right"])
            for (let i = 0; i < 30; i++)
              if (!good(who + " " + i, 700_000, i)) throw new Error("wrong " + who + " " + i);
        say("right");
        await step();
        for (let i = 0; i < 30; i++) store.delete(namedKey("${me} " + i));`;
      const both = [start(script("left")), start(script("right"))];
      for (const child of both) expect(await child.line()).toBe("put");
      for (const child of both) child.go();
      for (const child of both) expect(await child.line()).toBe("right");
      for (const child of both) child.go();
      for (const child of both) expect(await child.ended()).toBe(0);
      // They ended with views in their hands.
      for (const child of both) expect(store.reclaim(child.pid)).toBe(true);
      expect(store.stats()).toMatchObject({ spilledObjects: 0, objects: 0 });
      expect(readdirSync(spillDir)).toEqual([]);
    });

    test("spillDownTo writes the oldest out until that little is left", async () => {
      for (let i = 0; i < 8; i++) put(`object ${i}`, MIB - 4096, i);
      expect(await store.spillDownTo(3 * MIB)).toBe(true);
      expect(store.stats().usedBytes).toBeLessThanOrEqual(3 * MIB);
      const inMemory = store.list(100).filter(({ where }) => where === "memory");
      expect(inMemory.map(({ key }) => Buffer.from(key, "hex").toString()).sort()).toEqual(
        ["object 5", "object 6", "object 7"].map((name) => namedKey(name).toString()),
      );
      for (let i = 0; i < 8; i++)
        expect(store.get(namedKey(`object ${i}`))?.equals(Buffer.alloc(MIB - 4096, i))).toBe(true);
    });

    test("a directory that cannot be written to is named, and used again when it can be", () => {
      for (let i = 0; i < 7; i++) put(`object ${i}`, MIB, i);
      rmSync(spillDir, { recursive: true });
      expect(() => put("more", 2 * MIB, 9)).toThrow(ObjectStoreFullError);
      expect(() => put("more", 2 * MIB, 9)).toThrow(/spilled to disk \(.*no such file/i);
      expect(store.stats().spillError).toMatch(/no such file/i);
      mkdirSync(spillDir, { mode: 0o700 });
      put("more", 2 * MIB, 9);
      expect(store.stats().spillError).toBe("");
      for (let i = 0; i < 7; i++) expect(store.get(namedKey(`object ${i}`))?.[0]).toBe(i);
    });

    test("a full disk is an error that says so, nothing is lost, and it heals", (context) => {
      const mount = spawnSync("mount", ["-t", "tmpfs", "-o", "size=6m", "tmpfs", spillDir]);
      if (mount.status !== 0) context.skip("mounting a tmpfs is not permitted here");
      try {
        const keys: Buffer[] = [];
        const fill = () => {
          for (;;) {
            const key = newKey();
            store.put(key, MIB, [{ offset: 0, bytes: Buffer.alloc(MIB, keys.length) }]);
            keys.push(key);
          }
        };
        expect(fill).toThrow(ObjectStoreFullError);
        expect(fill).toThrow(/spilled to disk \(.*no space/i);
        expect(keys.length).toBeGreaterThanOrEqual(11);
        keys.forEach((key, i) => {
          const view = store.get(key) as Buffer;
          expect(view.equals(Buffer.alloc(MIB, i))).toBe(true);
          store.release(view);
        });
        for (const key of keys.splice(0, 4)) store.delete(key);
        const key = newKey();
        expect(store.put(key, MIB, [])).toBe(true);
        for (const each of [...keys, key]) expect(store.delete(each)).toBe(true);
      } finally {
        expect(spawnSync("umount", [spillDir]).status).toBe(0);
      }
    });
  });
}

describe.skipIf(addon === null)("spilling of an arena", () => {
  const Arena = addon?.Arena as NativeAddon["Arena"];
  let path: string;
  let spillDir: string;
  const children: Child[] = [];

  beforeEach(() => {
    path = storePath();
    spillDir = mkdtempSync(join(tmpdir(), "tsray-spill-"));
  });
  afterEach(async () => {
    for (const child of children.splice(0)) await child.kill();
    removeStore(path);
    rmSync(spillDir, { recursive: true, force: true });
  });

  test("what is being read stays where it is; new objects go to disk beside it", async () => {
    const arena = Arena.create(path, 8 * MIB, spillDir);
    const bytes = (fill: number) => [Buffer.alloc(2 * MIB, fill)];
    for (let i = 0; i < 4; i++)
      expect(arena.put(namedKey(`object ${i}`), 2 * MIB, [0], bytes(i), false)).toBe(1);
    const views = [0, 1, 2, 3].map((i) => arena.get(namedKey(`object ${i}`)) as Buffer);
    expect(arena.put(namedKey("late"), 2 * MIB, [0], bytes(9), false)).toBe(1);
    expect(
      arena
        .list(10)
        .filter(({ where }) => where === "disk")
        .map(({ key }) => Buffer.from(key, "hex")),
    ).toEqual([namedKey("late")]);
    expect(views.map((view) => view[2 * MIB - 1])).toEqual([0, 1, 2, 3]);
    for (const view of views) expect(Arena.release(view)).toBe(true);
    expect(arena.put(namedKey("later"), 2 * MIB, [0], bytes(8), false)).toBe(1);
    expect(arena.stats().spilledObjects).toBe(2);
    expect(arena.check()).toBeNull();
    arena.close();
  });

  test("an object deleted while its copy on disk is viewed stays readable, then leaves the disk", async () => {
    const arena = Arena.create(path, MIB, spillDir);
    expect(arena.put(namedKey("large"), 3 * MIB, [0], [Buffer.alloc(3 * MIB, 4)], false)).toBe(1);
    const view = arena.get(namedKey("large")) as Buffer;
    expect(arena.delete(namedKey("large"))).toBe(true);
    expect(arena.check()).toBeNull();
    expect(view.every((byte) => byte === 4)).toBe(true);
    Arena.release(view);
    expect(arena.check()).toBeNull();
    expect(readdirSync(spillDir)).toEqual([]);
    arena.close();
  });

  test("bytes that went bad on disk are not handed out", () => {
    const arena = Arena.create(path, MIB, spillDir);
    for (const name of ["large", "sound"])
      expect(arena.put(namedKey(name), 3 * MIB, [0], [Buffer.alloc(3 * MIB, 4)], false)).toBe(1);
    const [file] = readdirSync(spillDir) as [string];
    writeSync(openSync(join(spillDir, file), "r+"), Buffer.from([5]), 0, 1, MIB);
    expect(arena.get(namedKey("large"))).toBeNull();
    expect(arena.size(namedKey("large"))).toBe(-1);
    expect(arena.stats().damagedObjects).toBe(1);
    expect(arena.get(namedKey("sound"))?.length).toBe(3 * MIB);
    expect(arena.check()).toBeNull();
    arena.close();
  });

  test("killed at every step of spilling, the tables are whole and nothing sealed is lost", async () => {
    let finished = false;
    for (let at = 1; !finished; at += 2) {
      const ends = await Promise.all([at, at + 1].map((point) => killedAt(point)));
      finished = ends.includes(true);
      expect(at).toBeLessThan(400);
    }
  }, 120_000);

  /** Runs one script that is killed at its n-th step; true when it got through. */
  async function killedAt(point: number): Promise<boolean> {
    const file = `${path}.${point}`;
    const disk = join(spillDir, String(point));
    mkdirSync(disk);
    const shared = Arena.create(file, 2 * MIB, disk);
    for (let i = 0; i < 3; i++)
      expect(shared.put(namedKey(`kept ${i}`), 600_000, [0], [Buffer.alloc(600_000, 7)], false)).toBe(1);
    const child = startChild(
      `const arena = Arena.open(${JSON.stringify(file)});
      const put = (name, bytes) => arena.put(namedKey(name), bytes, [0], [Buffer.alloc(bytes, 1)], false);
      put("a", 700_000); put("b", 1_500_000);
      let view = arena.get(namedKey("a"));
      arena.delete(namedKey("a"));
      Arena.release(view);
      put("large", 3_000_000);
      arena.delete(namedKey("large"));
      arena.create(namedKey("half"), 3_000_000, false);
      await arena.spillDownTo(0);
      arena.delete(namedKey("b"));`,
      { env: { TSRAY_TEST_ARENA_KILL_AT: String(point) } },
    );
    children.push(child);
    const end = await child.ended();
    expect(["SIGKILL", 0], `step ${point}`).toContain(end);
    expect(shared.check(), `step ${point}, as found`).toBeNull();
    expect(shared.reclaim(child.pid)).toBe(true);
    expect(shared.check(), `step ${point}, reclaimed`).toBeNull();
    for (let i = 0; i < 3; i++) {
      const kept = shared.get(namedKey(`kept ${i}`)) as Buffer;
      expect(kept?.equals(Buffer.alloc(600_000, 7)), `step ${point}, kept ${i}`).toBe(true);
      Arena.release(kept);
    }
    for (const { key, state, pins } of shared.list(100)) {
      expect([state, pins].join(), `step ${point}`).toBe("sealed,0");
      expect(shared.delete(Buffer.from(key, "hex"))).toBe(true);
    }
    await collectGarbage();
    expect(shared.stats(), `step ${point}`).toMatchObject({
      objects: 0,
      usedBytes: 0,
      spilledObjects: 0,
      spillFiles: 0,
    });
    expect(shared.put(namedKey("all"), 2 * MIB, [], [], false), `step ${point}`).toBe(1);
    expect(shared.check(), `step ${point}, at the end`).toBeNull();
    shared.close();
    expect(readdirSync(disk), `step ${point}`).toEqual([]);
    return end === 0;
  }

  test("a view that is released is empty at once, its pin and its mapping gone; twice is no error", () => {
    const arena = Arena.create(path, 8 * MIB);
    arena.put(namedKey("object"), MIB, [0], [Buffer.alloc(MIB, 1)], false);
    const view = arena.get(namedKey("object")) as Buffer;
    const slice = view.subarray(100, 200);
    expect(arena.stats().pinnedObjects).toBe(1);
    expect(Arena.release(slice)).toBe(true);
    expect([view.length, slice.length]).toEqual([0, 0]);
    expect(arena.stats().pinnedObjects).toBe(0);
    expect(Arena.release(view)).toBe(false);
    expect(Arena.release(Buffer.alloc(10))).toBe(false);
    arena.close();
  });

  test("dead views are given back within the turn that collected them", async () => {
    const arena = Arena.create(path, 8 * MIB);
    arena.put(namedKey("object"), MIB, [0], [Buffer.alloc(MIB, 1)], false);
    const held = arena.get(namedKey("object")) as Buffer;
    const drop = () => {
      for (let i = 0; i < 10; i++) arena.get(namedKey("object"));
    };
    await collectGarbage();
    Arena.sweep(); // of other tests
    drop();
    collectNow();
    expect(Arena.sweep()).toBe(10);
    expect(Arena.sweep()).toBe(0);
    expect(arena.list(1)).toMatchObject([{ pins: 1 }]);
    expect(held[MIB - 1]).toBe(1);
    Arena.release(held);
    await collectGarbage();
    expect(arena.stats().pinnedObjects).toBe(0);
    arena.close();
  });

  test("where a view comes from is known until it is written to, also when it lies on disk", () => {
    const arena = Arena.create(path, 2 * MIB, spillDir);
    for (const [name, size] of [
      ["memory", MIB],
      ["disk", 3 * MIB],
    ] as const) {
      expect(arena.put(namedKey(name), size, [0], [Buffer.alloc(size, 1)], false)).toBe(1);
      const view = arena.get(namedKey(name)) as Buffer;
      expect(view[100_000]).toBe(1);
      const part = new Uint8Array(view.buffer, 200_000, 400_000);
      expect([view, part, view.subarray(8)].map((bytes) => Arena.originOf(bytes))).toEqual([0, 200_000, 8]);
      part[300_000] = 2;
      expect(Arena.originOf(part)).toBe(-1);
      expect(Arena.originOf(view.subarray(0, 400_000))).toBe(0); // the written page is another
      expect(Arena.originOf(view)).toBe(-1);
      expect(Arena.originOf(arena.get(namedKey(name)) as Buffer)).toBe(0);
      Arena.release(view);
      expect(Arena.originOf(view)).toBe(-1);
    }
    expect(Arena.originOf(Buffer.alloc(100))).toBe(-1);
    arena.close();
  });

  test("the memory of a half-made object is written in place, and lost to its writer when sealed", () => {
    const arena = Arena.create(path, 8 * MIB);
    expect(arena.create(namedKey("object"), MIB, false)).toBe(1);
    const memory = arena.memory(namedKey("object")) as Buffer;
    expect(memory.length).toBe(MIB);
    expect(arena.memory(namedKey("object"))).toBe(memory);
    memory.fill(6);
    arena.seal(namedKey("object"));
    expect(memory.length).toBe(0);
    expect(arena.get(namedKey("object"))?.equals(Buffer.alloc(MIB, 6))).toBe(true);
    expect(() => arena.memory(namedKey("object"))).toThrow(/no object/);
    arena.create(namedKey("other"), 100, false);
    const other = arena.memory(namedKey("other")) as Buffer;
    arena.close();
    expect(other.length).toBe(0);
  });

  test.skipIf(addon?.transferableViews === false)(
    "views held do not make V8 collect more often",
    async () => {
      const arena = Arena.create(path, 64 * MIB);
      arena.put(namedKey("object"), 32 * MIB, [0], [Buffer.alloc(32 * MIB, 1)], false);
      const child = startChild(`
      const { PerformanceObserver, constants } = await import("node:perf_hooks");
      let majors = 0;
      new PerformanceObserver((list) => {
        for (const { detail } of list.getEntries()) if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) majors++;
      }).observe({ entryTypes: ["gc"] });
      const arena = Arena.open(${JSON.stringify(path)});
      const views = [];
      for (let i = 0; i < 400; i++) {
        views.push(arena.get(namedKey("object")));
        await tick();
      }
      say(String(majors));`);
      children.push(child);
      // Told of 13 GB of ArrayBuffers, V8 collects a hundred times here.
      expect(Number(await child.line())).toBeLessThan(10);
      expect(await child.ended()).toBe(0);
      arena.close();
    },
  );

  test("a weak reference tells of death within the job that made its target", async () => {
    const make = () => addon?.weakRef({ some: "target" });
    const weak = make();
    const target = {};
    const held = addon?.weakRef(target);
    collectNow();
    expect([weak?.isAlive(), held?.isAlive()]).toEqual([false, true]);
    expect(target).toEqual({});
    expect(() => addon?.weakRef(1 as unknown as object)).toThrow(TypeError);
  });

  test("a spill directory must be an absolute path", () => {
    expect(() => Arena.create(path, MIB, "relative")).toThrow(TypeError);
    expect(() => Arena.create(path, MIB, `/${"x".repeat(600)}`)).toThrow(/too long/);
  });
});
