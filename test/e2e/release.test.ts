// Goal: users can let go of an object and of its memory at a place of their choosing: `using` and release().
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { get, type ObjectRef, put, RefDisposedError, release, SerializationError, wait } from "tsray";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadNative } from "../../src/core/store/native.ts";
import type { ObjectStore } from "../../src/core/store/object-store.ts";
import { attachStore } from "../../src/core/store/open-store.ts";
import * as f from "../fixtures/functions.ts";
import { rejection, until, useCluster } from "./support.ts";

const MB = 1_000_000;
const here = useCluster({ logToDriver: false, objectStoreMemory: 200 * MB });
let store: ObjectStore;
beforeAll(() => {
  const [file] = readdirSync(join(here.cluster.sessionDir, "nodes"));
  const record = JSON.parse(readFileSync(join(here.cluster.sessionDir, "nodes", file as string), "utf8"));
  store = attachStore({ path: record.storePath, kind: "arena" });
});
afterAll(() => store.close());
const bytesInUse = () => store.stats().usedBytes;

const canTransfer = loadNative().addon?.transferableViews !== false;
test.runIf(canTransfer)(
  "a value's buffer is transferred to a thread; the object can be got again",
  async () => {
    const ref = put(new Float64Array(MB).fill(3));
    const value = await get(ref);
    const moved = structuredClone(value, { transfer: [value.buffer as ArrayBuffer] });
    expect(value.byteLength).toBe(0);
    expect(moved.every((number) => number === 3)).toBe(true);
    expect((await get(ref)).every((number) => number === 3)).toBe(true);
  },
);

describe("disposing of a ref", () => {
  test("lets go of the object at the end of the scope", async () => {
    {
      using ref = put(new Uint8Array(10 * MB).fill(1));
      expect((await f.byteSum.remote(ref)) as number).toBe(10 * MB);
    }
    await until(() => bytesInUse() === 0, "the object to go");
  });

  test("leaves other refs to it as they are, and may be repeated", async () => {
    const kept = put(new Uint8Array(10 * MB).fill(2));
    const inside = await get(put([kept]));
    const other = inside[0] as ObjectRef<Uint8Array>;
    expect(other).not.toBe(kept);
    other[Symbol.dispose]();
    other[Symbol.dispose]();
    expect((await get(kept))[0]).toBe(2);
    expect(String(other)).toBe(String(kept));
  });

  test("makes every later use an error that says so; what was asked for before arrives", async () => {
    const ref = f.increment.remote(1);
    const asked = get(ref);
    ref[Symbol.dispose]();
    const uses: Record<string, () => unknown> = {
      get: () => get(ref),
      "get of a list": () => get([ref]),
      await: () => ref.then((value) => value),
      wait: () => wait([ref]),
      "an argument": () => f.increment.remote(ref),
      "inside an argument": () => f.identity.remote({ ref } as unknown),
      "inside put": () => put([ref]),
    };
    for (const [name, use] of Object.entries(uses)) {
      const error = await rejection((async () => use())());
      // Inside a value the codec says where it met the ref.
      const reason = error instanceof SerializationError ? error.cause : error;
      expect(reason, name).toBeInstanceOf(RefDisposedError);
      expect(error.message, name).toContain(ref.id);
    }
    expect(await asked).toBe(2);
  });
});

describe("release", () => {
  // Method: the object is held by its ref alone once the pins of its readers are gone.
  test("gives back the memory under views of all kinds, wherever they are in the value", async () => {
    const bytes = () => new Uint8Array(MB).fill(3);
    const cyclic: { bytes: Uint8Array; self?: unknown } = { bytes: bytes() };
    cyclic.self = cyclic;
    const value = {
      floats: new Float64Array(MB / 8).fill(1),
      buffer: Buffer.from(bytes()),
      view: new DataView(bytes().buffer),
      raw: bytes().buffer,
      list: [bytes(), [bytes()]],
      map: new Map<unknown, unknown>([[bytes(), bytes()]]),
      set: new Set([bytes()]),
      cyclic,
    };
    const ref = put(value);
    const got = (await get(ref)) as typeof value;
    const pins = () => store.list(100).find(({ key }) => key === ref.id)?.pins;
    expect(pins()).toBe(1);
    expect(release(got)).toBeGreaterThan(10 * MB);
    expect(pins()).toBe(0);
    expect(got.floats).toHaveLength(0);
    expect(got.view.buffer.byteLength).toBe(0);
    expect(got.list[0]).toHaveLength(0);
    expect(release(got)).toBe(0);
    // The object itself is untouched.
    expect(((await get(ref)) as typeof value).floats[0]).toBe(1);
  });

  test("leaves everything else alone: other memory, refs inside, values without views", async () => {
    const own = new Uint8Array(MB).fill(4);
    const inner = put(new Uint8Array(MB).fill(5));
    expect(release({ own, inner, n: 1, text: "x", nothing: null })).toBe(0);
    expect(own[0]).toBe(4);
    expect((await get(inner))[0]).toBe(5);
    for (const value of [1, "text", null, undefined, new Map()]) expect(release(value)).toBe(0);
  });
});
