// Goal: the arena keeps its tables whole whatever happens to the processes that share it.
// Method: real processes that exit while mapped, are killed at every step of a mutation, and race; check() after each.
import {
  closeSync,
  openSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadNative, type NativeAddon, type NativeArena } from "./native.ts";
import {
  ADDON_FILE,
  type Child,
  collectGarbage,
  namedKey,
  newKey,
  removeStore,
  startChild,
  storePath,
} from "./store.fixture.ts";

const { addon, reason } = loadNative();
const MIB = 2 ** 20;

describe.skipIf(addon === null)(`arena ${reason ?? ""}`, () => {
  const Arena = addon?.Arena as NativeAddon["Arena"]; // the body runs, its tests do not, where there is no addon
  let path: string;
  let arena: NativeArena;
  const children: Child[] = [];

  beforeEach(() => {
    path = storePath();
    arena = Arena.create(path, 16 * MIB);
  });
  afterEach(async () => {
    for (const child of children.splice(0)) await child.kill();
    arena.close();
    removeStore(path);
  });

  function start(script: string, env: Record<string, string> = {}): Child {
    const child = startChild(
      `const arena = Arena.open(${JSON.stringify(path)});
      const put = (name, size, fill = 1, secondary = false) =>
        arena.put(namedKey(name), size, [0], [Buffer.alloc(size, fill)], secondary);
      ${script}`,
      { env },
    );
    children.push(child);
    return child;
  }

  function put(name: string, size: number, secondary = false): void {
    expect(arena.put(namedKey(name), size, [0], [Buffer.alloc(size, 1)], secondary)).toBe(1);
  }

  test("the file is private, sparse, and never opened through a link or in a wrong shape", () => {
    const { mode, size, blocks } = statSync(path);
    expect(mode & 0o777).toBe(0o600);
    expect(blocks * 512).toBeLessThan(size / 8);
    expect(() => Arena.create(path, MIB)).toThrow(expect.objectContaining({ code: "EEXIST" }));
    symlinkSync(path, `${path}.link`);
    expect(() => Arena.open(`${path}.link`)).toThrow(expect.objectContaining({ code: "ELOOP" }));
    expect(() => Arena.open(`${path}.none`)).toThrow(expect.objectContaining({ code: "ENOENT" }));
    writeFileSync(`${path}.junk`, Buffer.alloc(100_000, 1));
    expect(() => Arena.open(`${path}.junk`)).toThrow(expect.objectContaining({ code: "EBADMSG" }));
    truncateSync(path, size - 4096);
    expect(() => Arena.open(path)).toThrow(expect.objectContaining({ code: "EBADMSG" }));
    truncateSync(path, size);
  });

  test("calls in a wrong shape throw and never crash", () => {
    const loose = Arena as unknown as Record<"create" | "open", (...args: unknown[]) => unknown>;
    const Constructor = Arena as unknown as new () => unknown;
    expect(() => new Constructor()).toThrow(TypeError);
    for (const args of [[], [1], [""], ["a\0b", MIB], [path], [path, "1"], [path, 1], [path, 2 ** 60]]) {
      expect(() => loose.create(...args)).toThrow();
    }
    for (const args of [[], [1], [""], [{}]]) expect(() => loose.open(...args)).toThrow(TypeError);
    const values = [undefined, null, 1, -1, "x", {}, [], [1], Symbol("s"), () => {}, new Float32Array(4), 2n];
    const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(arena)).filter(
      (name) => name !== "constructor",
    );
    expect(methods).toContain("put");
    const table = arena as unknown as Record<string, (...args: unknown[]) => unknown>;
    for (const name of methods.filter((method) => !["close", "stats", "check", "list"].includes(method))) {
      for (const first of [newKey(), ...values]) {
        for (const second of values) {
          for (const third of values) {
            try {
              table[name]?.(first, second, third, [Buffer.alloc(1)], "no");
            } catch (error) {
              expect(error).toBeInstanceOf(Error);
            }
          }
        }
      }
      expect(() => table[name]?.call({}, newKey())).toThrow(TypeError);
    }
    expect(arena.check()).toBeNull();
  });

  test("a getter among the parts can neither dangle a pointer nor use a closed arena", () => {
    const victim = new Uint8Array(100_000);
    const parts: Uint8Array[] = [victim];
    Object.defineProperty(parts, 1, {
      get: () => {
        structuredClone(victim.buffer, { transfer: [victim.buffer] });
        arena.close();
        return new Uint8Array(1);
      },
    });
    expect(() => arena.put(newKey(), 200_000, [0, 100_000], parts, false)).toThrow(/closed/);
    arena = Arena.open(path);
    expect(arena.stats().objects).toBe(0);
  });

  test("views start at a multiple of 64 bytes, whatever lies before them", async () => {
    for (let i = 1; i <= 40; i++) {
      put(`small ${i}`, i * 7);
      put(`large ${i}`, 65_537 + i * 13);
    }
    for (let i = 1; i <= 40; i += 3) arena.delete(namedKey(`small ${i}`));
    for (let i = 1; i <= 40; i++) put(`late ${i}`, 70_000 + i);
    // The file offset of a view: its mapping's place in the file, as the kernel tells, plus what lies before the mark.
    const child = start(`
      for (const name of ["large 1", "large 17", "large 40", "late 3", "late 40"]) {
        globalThis.view = arena.get(namedKey(name));
        view.write("MARK" + name);
        const line = readFileSync("/proc/self/maps", "utf8").split("\\n").find((text) => text.includes(" rw-p ") && text.includes(${JSON.stringify(path)}));
        const [from, until] = line.split(" ")[0].split("-").map((hex) => Number.parseInt(hex, 16));
        const { openSync, readSync, closeSync } = await import("node:fs");
        const memory = openSync("/proc/self/mem", "r");
        const page = Buffer.alloc(8192);
        readSync(memory, page, 0, Math.min(8192, until - from), from);
        closeSync(memory);
        say(String((from + page.indexOf("MARK" + name)) % 64) + " " + page.includes("MARK" + name));
        view = null;
        await collect();
      }`);
    for (let i = 0; i < 5; i++) expect(await child.line()).toBe("0 true");
    expect(await child.ended()).toBe(0);
    expect(arena.check()).toBeNull();
  });

  test("freed memory is used again from the lowest address, and neighbours merge", () => {
    for (const name of ["a", "b", "c", "d"]) put(name, 4 * MIB);
    for (const name of ["a", "c", "b"]) expect(arena.delete(namedKey(name))).toBe(true);
    expect(arena.check()).toBeNull();
    put("abc", 12 * MIB);
    expect(arena.put(namedKey("e"), 1, [0], [Buffer.alloc(1)], false)).toBe(-1);
  });

  test("thousands of objects of mixed sizes, put and deleted in a scrambled order, leave no trace", () => {
    let seed = 12345;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return seed % below;
    };
    const held = new Map<number, number>();
    const bytes = Buffer.alloc(8192, 1);
    for (let i = 0; i < 40_000; i++) {
      const id = random(6000);
      const key = namedKey(`object ${id}`);
      if (held.delete(id)) {
        expect(arena.delete(key)).toBe(true);
      } else {
        const size = random(id % 10 === 0 ? 8192 : 1000);
        const code = arena.put(key, size, [0], [bytes.subarray(0, size)], false);
        expect(code).toBe(1);
        held.set(id, size);
      }
      if (i % 4000 === 0) expect(arena.check()).toBeNull();
    }
    for (const [id, size] of held) expect(arena.size(namedKey(`object ${id}`))).toBe(size);
    for (const id of held.keys()) arena.delete(namedKey(`object ${id}`));
    expect(arena.check()).toBeNull();
    expect(arena.stats()).toMatchObject({ usedBytes: 0, objects: 0 });
  });

  test("more objects than the first index holds", () => {
    const bytes = [Buffer.alloc(8, 1)];
    for (let i = 0; i < 7000; i++) expect(arena.put(namedKey(`n ${i}`), 8, [0], bytes, false)).toBe(1);
    expect(arena.check()).toBeNull();
    for (let i = 0; i < 7000; i++) expect(arena.contains(namedKey(`n ${i}`))).toBe(true);
    let code: number = 1;
    for (let i = 7000; code === 1 && i < 20_000; i++)
      code = arena.put(namedKey(`n ${i}`), 8, [0], bytes, false);
    expect(code).toBe(-1); // the table is bounded, and its end is a full store
    expect(arena.delete(namedKey("n 0"))).toBe(true);
    expect(arena.put(namedKey("again"), 8, [0], bytes, false)).toBe(1);
    expect(arena.check()).toBeNull();
  });

  test("eviction takes the copy that was not read for longest", () => {
    for (const name of ["a", "b", "c"]) {
      expect(arena.put(namedKey(name), 60_000, [], [], true)).toBe(1);
    }
    arena.get(namedKey("a"));
    put("rest", 16 * MIB - 4 * 60_032 + 64);
    put("more", 60_000);
    expect(["a", "b", "c"].filter((name) => arena.contains(namedKey(name)))).toEqual(["a", "c"]);
    expect(arena.check()).toBeNull();
  });

  test("a pinned copy is not evicted; once collected it is", async () => {
    put("copy", 10 * MIB, true);
    const look = () => {
      const view = arena.get(namedKey("copy"));
      expect(arena.put(namedKey("big"), 10 * MIB, [], [], false)).toBe(-1);
      expect(view?.[10 * MIB - 1]).toBe(1);
      expect(arena.stats().pinnedObjects).toBe(1);
    };
    look();
    await collectGarbage();
    expect(arena.stats().pinnedObjects).toBe(0);
    expect(arena.put(namedKey("big"), 10 * MIB, [], [], false)).toBe(1);
    expect(arena.stats().evictions).toBe(1);
    expect(arena.check()).toBeNull();
  });

  test("a deleted object lives until the process that holds a view ends", async () => {
    put("object", MIB);
    const child = start(`
      globalThis.view = arena.get(namedKey("object"));
      say("pinned");
      await step();
      say(String(view.every((byte) => byte === 1)));
      await step();`);
    expect(await child.line()).toBe("pinned");
    expect(arena.delete(namedKey("object"))).toBe(true);
    expect(arena.list(10)).toMatchObject([{ state: "deleting", pins: 1 }]);
    put("object", 2 * MIB); // the key is free, the memory is not
    child.go();
    expect(await child.line()).toBe("true");
    expect(arena.check()).toBeNull();
    await child.kill();
    expect(arena.stats()).toMatchObject({ objects: 2, pinnedObjects: 1 });
    expect(arena.reclaim(child.pid)).toBe(true);
    expect(arena.stats()).toMatchObject({ objects: 1, pinnedObjects: 0, usedBytes: 2 * MIB });
    expect(arena.check()).toBeNull();
  });

  test("what a process still views when it exits is free once it is reclaimed", async () => {
    put("object", MIB);
    const child = start(`globalThis.view = arena.get(namedKey("object")); arena.close();`);
    expect(await child.ended()).toBe(0);
    expect(arena.reclaim(child.pid)).toBe(true);
    expect(arena.stats().pinnedObjects).toBe(0);
    expect(arena.check()).toBeNull();
  });

  test("a full arena takes back what dead processes held before it says so", async () => {
    const child = start(`arena.create(namedKey("half"), ${12 * MIB}, false); say("made"); await step();`);
    await child.line();
    expect(arena.put(newKey(), 8 * MIB, [], [], false)).toBe(-1);
    await child.kill();
    expect(arena.put(newKey(), 8 * MIB, [], [], false)).toBe(1);
    expect(arena.check()).toBeNull();
  });

  test("killed at every step of every mutation, the tables are whole and nothing sealed is lost", async () => {
    let finished = false;
    for (let at = 1; !finished; at += 2) {
      const [first, second] = [at, at + 1].map(async (point) => {
        const file = `${path}.${point}`;
        const shared = Arena.create(file, 4 * MIB);
        try {
          return await killedAt(point, file, shared);
        } finally {
          shared.close();
        }
      });
      finished = (await first) === true || (await second) === true;
      expect(at).toBeLessThan(400);
    }
  }, 120_000);

  /** Runs one script that is killed at its n-th step; true when it got through. */
  async function killedAt(point: number, file: string, shared: NativeArena): Promise<boolean> {
    const bytes = Buffer.alloc(100_000, 7);
    for (const name of ["kept", "pinned", "copy"]) {
      expect(shared.put(namedKey(name), bytes.length, [0], [bytes], name === "copy")).toBe(1);
    }
    const child = startChild(
      `const arena = Arena.open(${JSON.stringify(file)});
      const bytes = [Buffer.alloc(500_000, 1)];
      const put = (name, secondary) => arena.put(namedKey(name), 500_000, [0], bytes, secondary);
      let view = arena.get(namedKey("pinned"));
      view = arena.get(namedKey("pinned"));
      put("a", false); put("b", true); put("c", true); put("d", false);
      arena.delete(namedKey("a"));
      arena.delete(namedKey("pinned"));
      arena.create(namedKey("e"), 100, false); arena.abort(namedKey("e"));
      arena.delete(namedKey("d"));
      arena.keep(namedKey("copy"));
      view = null;
      await collect();
      arena.create(namedKey("f"), 3_000_000, false); arena.seal(namedKey("f"));`,
      { env: { TSRAY_TEST_ARENA_KILL_AT: String(point) } },
    );
    children.push(child);
    const end = await child.ended();
    expect(["SIGKILL", 0], `step ${point}`).toContain(end);
    expect(shared.check(), `step ${point}, as found`).toBeNull();
    expect(shared.reclaim(child.pid)).toBe(true);
    expect(shared.check(), `step ${point}, reclaimed`).toBeNull();
    expect(shared.get(namedKey("kept"))?.equals(bytes)).toBe(true);
    for (const { key, state, pins } of shared.list(100)) {
      expect([state, pins].join(), `step ${point}`).toMatch(/^sealed,[01]$/);
      const read = shared.readChunk(Buffer.from(key, "hex"), 0, 1)?.[0];
      expect([0, 1, 7]).toContain(read);
      expect(shared.delete(Buffer.from(key, "hex"))).toBe(true);
    }
    await collectGarbage(); // the view of "kept"
    expect(shared.stats(), `step ${point}`).toMatchObject({ objects: 0, usedBytes: 0, pinnedObjects: 0 });
    expect(shared.put(namedKey("all"), 4 * MIB, [], [], false), `step ${point}`).toBe(1);
    expect(shared.check(), `step ${point}, at the end`).toBeNull();
    return end === 0;
  }

  test("processes killed in the middle of racing puts and deletes leave whole tables", async () => {
    put("kept", 10_000);
    for (let round = 0; round < 6; round++) {
      const racers = [0, 1].map((racer) =>
        start(`
          say("racing");
          for (let i = 0; ; i++) {
            const key = namedKey("object " + (i * ${racer + 1}) % 50);
            const size = (i * 977) % 30_000;
            if (i % 3 === 0) arena.delete(key);
            else arena.put(key, size, [0], [Buffer.alloc(size, i)], i % 2 === 0);
            const read = arena.get(key);
            if (read !== null && read.some((byte) => byte !== read[0])) throw new Error("read a torn object");
          }`),
      );
      for (const racer of racers) await racer.line();
      for (let i = 0; i < 2000 * (round + 1); i++) arena.delete(namedKey(`object ${i % 50}`));
      for (const racer of racers) await racer.kill();
      expect(racers.map((racer) => racer.process.signalCode)).toEqual(["SIGKILL", "SIGKILL"]);
      expect(arena.check()).toBeNull();
      for (const racer of racers) expect(arena.reclaim(racer.pid)).toBe(true);
      expect(arena.check()).toBeNull();
    }
    expect(arena.get(namedKey("kept"))?.equals(Buffer.alloc(10_000, 1))).toBe(true);
    for (const { key } of arena.list(1000)) arena.delete(Buffer.from(key, "hex"));
    expect(arena.stats().usedBytes).toBe(0);
  });

  test("10,000 views taken and collected, or released, leave mappings, pins and resident memory as before", async () => {
    put("object", 100_000);
    const child = start(`
      const mappings = () => readFileSync("/proc/self/maps", "utf8").split("\\n").filter((line) => line.includes(${JSON.stringify(path)})).length;
      const before = mappings();
      for (let i = 0; i < 10_000; i++) {
        arena.get(namedKey("object"))[0] = 2;
        if (i % 500 === 499) await collect();
      }
      await collect();
      const residentBytes = process.memoryUsage().rss;
      for (let i = 0; i < 10_000; i++) {
        const view = arena.get(namedKey("object"));
        view[0] = 2;
        Arena.release(view);
        if (i % 500 === 499) await collect();
      }
      await collect();
      const grownBytes = process.memoryUsage().rss - residentBytes;
      say(JSON.stringify([before, mappings(), arena.stats().pinnedObjects, grownBytes]));`);
    const [before, after, pinned, grownBytes] = JSON.parse(await child.line()) as number[];
    expect(after).toBe(before);
    expect(pinned).toBe(0);
    // A view that stayed resident would cost a page at least: 40 MB for all.
    expect(grownBytes).toBeLessThan(20_000_000);
    expect(await child.ended()).toBe(0);
  });

  test("opened and closed 10,000 times, the file keeps room for attachments", () => {
    for (let i = 0; i < 10_000; i++) Arena.open(path).close();
    expect(arena.check()).toBeNull();
  });

  test("a worker thread has an addon of its own and gives its pins back when it ends", async () => {
    put("object", MIB);
    const worker = new Worker(
      `const { workerData, parentPort } = require("node:worker_threads");
      const { Arena } = require(workerData.addon);
      const arena = Arena.open(workerData.path);
      globalThis.view = arena.get(workerData.key);
      parentPort.postMessage(view[0]);
      parentPort.on("message", () => process.exit(0));`,
      { eval: true, workerData: { addon: ADDON_FILE, path, key: namedKey("object") } },
    );
    const first = await new Promise((resolve, reject) =>
      worker.once("message", resolve).once("error", reject),
    );
    expect(first).toBe(1);
    expect(arena.stats().pinnedObjects).toBe(1);
    await worker.terminate();
    expect(arena.stats().pinnedObjects).toBe(0);
    expect(arena.check()).toBeNull();
  });

  test("prefault makes the pages of the file present", async () => {
    const before = statSync(path).blocks * 512;
    expect(await arena.prefault(0, 8 * MIB)).toBe(true);
    expect(statSync(path).blocks * 512 - before).toBeGreaterThanOrEqual(8 * MIB);
  });

  test("mapShared: what is written there is in the file, for whoever reads it", () => {
    const file = `${path}.page`;
    const fd = openSync(file, "w+");
    try {
      writeSync(fd, Buffer.alloc(4096));
      const native = addon as NativeAddon;
      const page = native.mapShared(fd, 4096);
      page.writeDoubleLE(42, 8);
      expect(readFileSync(file).readDoubleLE(8)).toBe(42);
      expect(() => native.mapShared(fd, 0)).toThrow(RangeError);
      expect(() => native.mapShared(1_000_000, 4096)).toThrow(/cannot map descriptor 1000000/);
    } finally {
      closeSync(fd);
      unlinkSync(file);
    }
  });

  test("setParentDeathSignal: a child ends with the parent that started it, and learns if that is gone", async () => {
    const native = addon as NativeAddon;
    expect(native.setParentDeathSignal(0, process.ppid)).toBe(true);
    expect(native.setParentDeathSignal(0, 1_999_999_999)).toBe(false);
    expect(() => native.setParentDeathSignal(65, 1)).toThrow(RangeError);
    const parent = start(`
      const { spawn } = await import("node:child_process");
      const child = spawn(process.execPath, ["-e", \`
        const ok = require(process.env.ADDON_FILE).setParentDeathSignal(9, \${process.pid});
        console.log(ok + " " + process.pid);
        setInterval(() => {}, 1000);\`], { stdio: ["ignore", "inherit", "inherit"] });
      await step();`);
    const [ok] = (await parent.line()).split(" ");
    expect(ok).toBe("true");
    await parent.kill(); // resolves when standard output is closed: by the grandchild too
  });
});
