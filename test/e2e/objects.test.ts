/** Values: what survives the trip through a task, what a view of shared memory may do. Scenarios A1, A2, F13. */
import { free, get, ObjectLostError, type ObjectRef, put, registerSerializer } from "tsray";
import { describe, expect, test } from "vitest";
import * as f from "../fixtures/functions.ts";
import { rejection, useCluster } from "./support.ts";

useCluster({ logToDriver: false });

const cyclic: { self?: unknown; list: unknown[] } = { list: [] };
cyclic.self = cyclic;
cyclic.list.push(cyclic, cyclic.list);

/** Through put and get, through a task by value, and through a task by ref. */
async function trips<T>(value: T): Promise<T[]> {
  return [
    await get(put(value)),
    (await get(f.identity.remote(value as unknown))) as T,
    (await get(f.identity.remote(put(value) as ObjectRef<unknown>))) as T,
  ];
}

describe("round trips", () => {
  // Goal: every type of the contract comes back equal and of the same type (A1). Method: three ways for each value.
  const values: readonly (readonly [string, unknown])[] = [
    ["integers", [0, 1, -1, 2 ** 31, -(2 ** 31), 2 ** 53 - 1, -(2 ** 53 - 1), 4294967296]],
    [
      "numbers",
      [0.1, -1.5, 1e308, 5e-324, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, -0],
    ],
    ["-0", -0],
    ["bigints", [0n, 1n, -1n, 2n ** 64n, -(2n ** 200n), 12345678901234567890n]],
    ["strings", ["", "a", "\u0000", "ä€😀", "x".repeat(5000), "\u{10FFFF}", "line\nbreak"]],
    ["a long string", "ü".repeat(300_000)],
    ["a lone surrogate", "\ud800"],
    ["booleans, null, undefined", [true, false, null, undefined]],
    ["undefined properties", { a: undefined, b: null }],
    ["nested containers", { a: [{ b: [[]] }, {}], c: { d: { e: {} } } }],
    [
      "Map",
      new Map<unknown, unknown>([
        [1, "a"],
        ["k", new Map([[{ a: 1 }, [2]]])],
        [Number.NaN, undefined],
      ]),
    ],
    ["Set", new Set<unknown>([1, "1", new Set([2]), null, undefined])],
    ["Date", [new Date(0), new Date(1e12 + 1), new Date(-1)]],
    ["RegExp", /a(b+)[^c]/giu],
    ["boxed primitives", [Object(1), Object("s"), Object(true), Object(10n)]],
    ["ArrayBuffer", new Uint8Array([1, 2, 3]).buffer],
    ["Buffer", Buffer.from("hello")],
    ["a big ArrayBuffer", new Uint8Array(200_000).fill(5).buffer],
    ["DataView", new DataView(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2)],
    ["an empty array", []],
    ["__proto__ as a key", JSON.parse('{"__proto__": 1, "constructor": 2, "toString": 3}')],
    ["numeric keys", { 1: "a", 0: "b", "-1": "c", 1.5: "d" }],
    ["an object without prototype", Object.assign(Object.create(null) as object, { a: 1 })],
  ];
  test.each(values)("%s", async (_, value) => {
    for (const back of await trips(value)) {
      expect(back).toStrictEqual(value);
      expect(Object.prototype.toString.call(back)).toBe(Object.prototype.toString.call(value));
    }
  });

  test.each([
    Int8Array,
    Uint8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float32Array,
    Float64Array,
    BigInt64Array,
    BigUint64Array,
  ])("%o, small, large and as a part of its buffer", async (TypedArray) => {
    for (const length of [0, 3, 1000, 60_000]) {
      const big = TypedArray === BigInt64Array || TypedArray === BigUint64Array;
      const whole = new TypedArray(length + 2);
      for (let i = 0; i < whole.length; i++)
        (whole as unknown as unknown[])[i] = big ? BigInt(i % 100) : i % 100;
      const part = whole.subarray(1, length + 1);
      for (const back of await trips(part)) {
        expect(back.constructor).toBe(TypedArray);
        expect(back).toHaveLength(length);
        expect(Buffer.compare(bytesOf(back), bytesOf(part))).toBe(0);
      }
    }
  });

  test("sparse arrays keep their holes", async () => {
    const sparse: unknown[] = [];
    sparse[2] = "c";
    sparse[5] = undefined;
    for (const back of await trips(sparse)) {
      expect(back).toHaveLength(6);
      expect(Object.keys(back)).toEqual(["2", "5"]);
    }
  });

  // Goal: an object that contains itself keeps its shape (A2).
  test("cycles and shared parts keep their identity", async () => {
    for (const back of await trips(cyclic)) {
      expect(back.self).toBe(back);
      expect(back.list[0]).toBe(back);
      expect(back.list[1]).toBe(back.list);
    }
    const shared = { n: 1 };
    const bytes = new Uint8Array(10_000);
    for (const back of await trips({ a: shared, b: [shared], x: bytes, y: bytes.subarray(10, 20) })) {
      expect(back.a).toBe(back.b[0]);
      expect(back.x.buffer).toBe(back.y.buffer);
    }
    const map = new Map<unknown, unknown>();
    map.set(map, map);
    for (const back of await trips(map)) expect(back.get(back)).toBe(back);
  });

  test("a nesting of 5,000 levels survives or is refused with an error, and never ends a process", async () => {
    let deep: unknown = "end";
    for (let i = 0; i < 5000; i++) deep = [deep];
    const outcome = await (async () => f.identity.remote(deep))().then(
      (value) => value,
      (error: Error) => error.name,
    );
    expect(outcome === "SerializationError" || outcome === "TaskError" || Array.isArray(outcome)).toBe(true);
    expect(await f.add.remote(1, 1)).toBe(2);
  });

  test("errors keep class, cause and fields", async () => {
    const error = Object.assign(new RangeError("far", { cause: new TypeError("near") }), { code: "E1" });
    for (const back of await trips(error)) {
      expect(back).toBeInstanceOf(RangeError);
      expect(back.message).toBe("far");
      expect(back.cause).toBeInstanceOf(TypeError);
      expect((back as { code?: string }).code).toBe("E1");
      expect(back.stack).toContain("far");
    }
  });

  // Goal: instances of module-level classes are of the same class on the other side.
  test("instances of module-level classes keep their class", async () => {
    const moved = await f.move.remote(new f.Point(3, 4), 1);
    expect(moved).toBeInstanceOf(f.Point);
    expect(moved.length).toBeCloseTo(Math.hypot(4, 5));
  });

  test("refs in values stay refs to the same object", async () => {
    const ref = put([1, 2, 3]);
    const back = await f.identity.remote({ deep: [ref] } as unknown);
    const inner = (back as { deep: [ObjectRef<number[]>] }).deep[0];
    expect(inner.id).toBe(ref.id);
    expect(await inner).toEqual([1, 2, 3]);
  });

  test("a class with a serializer of its own", async () => {
    const url = new URL("https://example.org/a?b=1");
    registerSerializer(URL, { serialize: (url) => url.href, deserialize: (href) => new URL(href) });
    expect((await get(put({ url }))).url.href).toBe(url.href);
  });
});

describe("views of shared memory", () => {
  // Goal: writing to what get gave is allowed, and nobody else sees it. Method: driver and a task write; all read anew.
  test("writing to a value is seen by nobody else", async () => {
    const ref = put(new Uint8Array(1_000_000).fill(1));
    const mine = await get(ref);
    mine[0] = 77;
    expect(mine[0]).toBe(77);
    expect(await f.firstByte.remote(ref)).toBe(1);
    expect(await f.scribble.remote(ref)).toBe(9);
    expect(await f.firstByte.remote(ref)).toBe(1);
    expect((await get(ref))[0]).toBe(1);
    expect(mine[0]).toBe(77);
  });

  // Goal: put takes a copy. Method: the original changes after put and after the call.
  test("changing the original after put or after a call changes nothing", async () => {
    for (const bytes of [10, 1_000_000]) {
      const original = new Uint8Array(bytes).fill(1);
      const ref = put(original);
      const call = f.firstByte.remote(original);
      original.fill(2);
      expect((await get(ref))[0]).toBe(1);
      expect(await call).toBe(1);
    }
    const box = { n: 1 };
    const ref = put(box);
    box.n = 2;
    expect((await get(ref)).n).toBe(1);
  });

  // Goal: a value outlives its ref. Method: the only ref is dropped, memory is reused, the value is read again.
  test("a value that was got stays valid when its ref is gone", async () => {
    const values: Uint8Array[] = [];
    for (let i = 0; i < 20; i++) values.push(await get(f.filled.remote(2_000_000, i)));
    for (let i = 0; i < 20; i++) await f.filled.remote(2_000_000, 200);
    values.forEach((value, i) => {
      expect(value[0]).toBe(i);
      expect(value[1_999_999]).toBe(i);
    });
  });
});

describe("free", () => {
  // Goal: free drops stored values; small ones stay (F13).
  test("a freed object is lost, a small one stays", async () => {
    const large = put(new Uint8Array(1_000_000));
    const small = put([1, 2]);
    const result = f.zeros.remote(1_000_000);
    await get(result);
    free([large, small, result]);
    expect(await rejection(get(large))).toBeInstanceOf(ObjectLostError);
    expect(await rejection(get(result))).toBeInstanceOf(ObjectLostError);
    expect(await get(small)).toEqual([1, 2]);
    expect(await rejection(f.byteSum.remote(large))).toBeInstanceOf(ObjectLostError);
  });
});

function bytesOf(array: ArrayBufferView): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}
