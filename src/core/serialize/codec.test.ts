// Goal: every type that tsray promises to carry arrives as it left, and every other one is refused by name and path.
// Method: encode, flatten, unflatten, decode; compare structure, then the details that toEqual does not see.

import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { ObjectLostError, SerializationError, TaskError, TsrayError } from "../base/errors.ts";
import { makeSamples } from "./fixture-classes.ts";
import {
  type CodecHooks,
  createScopeResolver,
  fromBytes,
  type HandleCodec,
  registerSerializer,
  toBytes,
  unregisterSerializer,
  ValueCodec,
} from "./index.ts";

class Ref {
  readonly id: string;
  constructor(id: string) {
    this.id = id;
  }
  // biome-ignore lint/suspicious/noThenProperty: an ObjectRef is thenable, and the codec must not mind
  then(): never {
    throw new Error("the codec awaited a ref");
  }
}
const remoteFunctions = new Map<string, () => void>();
const refCodec: HandleCodec<Ref> = {
  tag: "ref",
  test: (value): value is Ref => value instanceof Ref,
  encode: (ref) => ({ id: Buffer.from(ref.id) }),
  decode: (data) => new Ref(Buffer.from((data as { id: Uint8Array }).id).toString()),
};
const functionCodec: HandleCodec = {
  tag: "fn",
  test: (value): value is object => typeof value === "function" && remoteFunctions.get(value.name) === value,
  encode: (fn) => (fn as () => void).name,
  decode: (data) => remoteFunctions.get(data as string)!,
};
const scopes = createScopeResolver();
scopes.addAnchor(makeSamples, "fixture");
const hooks: CodecHooks = { handles: [refCodec as unknown as HandleCodec, functionCodec], classes: scopes };
const codec = new ValueCodec(hooks);

function trip<T>(value: T): T {
  const encoded = codec.encode(value);
  const flat = toBytes(encoded);
  expect(flat.length).toBe(encoded.byteLength);
  const { payload, buffers } = fromBytes(flat);
  return codec.decode(payload, buffers) as T;
}

describe("values that keep their type", () => {
  const big = Array.from({ length: 2000 }, (_, i) => ({ i, name: `n${i}`, f: i / 3 }));
  const table: [string, unknown][] = [
    ["undefined", undefined],
    ["null", null],
    ["true", true],
    ["-0", -0],
    ["NaN", Number.NaN],
    ["Infinity", Number.POSITIVE_INFINITY],
    [
      "integers",
      [
        0,
        1,
        127,
        128,
        255,
        256,
        65535,
        65536,
        2 ** 32 - 1,
        2 ** 32,
        2 ** 53,
        -1,
        -32,
        -33,
        -128,
        -129,
        -32769,
        -(2 ** 31),
        -(2 ** 40),
      ],
    ],
    ["fractions", [0.1, -1.5, 1e300, 5e-324]],
    ["bigint small", 5n],
    ["bigint limits", [2n ** 63n - 1n, -(2n ** 63n), 2n ** 64n - 1n, -1n]],
    ["bigint large", [2n ** 64n, -(2n ** 63n) - 1n, 10n ** 500n, -(10n ** 500n)]],
    [
      "strings",
      ["", "a", "é", "日本語", "😀", "x".repeat(31), "x".repeat(32), "é".repeat(100), "y".repeat(70000)],
    ],
    ["lone surrogates", ["\ud800", "a\udc00b", `${"x".repeat(100)}\ud800`]],
    ["key with a lone surrogate", { "\ud800": 1 }],
    ["undefined inside", { a: undefined, b: [undefined, 1] }],
    ["big plain", big],
    ["date", new Date(1234567890123)],
    ["invalid date", new Date(Number.NaN)],
    ["regexp", /a(b)+[\n/]/giu],
    [
      "map",
      new Map<unknown, unknown>([
        ["a", 1],
        [{ k: 1 }, new Set([1, -0])],
        [Number.NaN, undefined],
      ]),
    ],
    ["set", new Set<unknown>([1, "a", new Map(), undefined, null])],
    ["nested arrays", [[[[]]], [], [{}]]],
    ["empty key", { "": 1, "1": 2, "a b": 3 }],
    ["constructor key", { constructor: 1, hasOwnProperty: 2, toString: 3, toJSON: 4, valueOf: 5 }],
    ["DataView", new DataView(new Uint8Array([1, 2, 3]).buffer, 1, 2)],
    ["ArrayBuffer", new Uint8Array([1, 2, 3]).buffer],
    ["large ArrayBuffer", new Uint8Array(10_000).fill(7).buffer],
    ["Buffer", Buffer.from("hello")],
    ["large Buffer", Buffer.alloc(5000, 3)],
    [
      "boxed",
      [new Number(-0), new String("s"), new Boolean(false), Object(10n ** 30n), Object(Symbol.iterator)],
    ],
    ["symbols", [Symbol.iterator, Symbol.for("x"), Symbol.for("iterator")]],
    ...[
      Int8Array,
      Uint8Array,
      Uint8ClampedArray,
      Int16Array,
      Uint16Array,
      Int32Array,
      Uint32Array,
      Float32Array,
      Float64Array,
    ].flatMap((Class): [string, unknown][] => [
      [Class.name, Class.from([1, 2, 255])],
      [`large ${Class.name}`, new Class(5000).fill(3)],
    ]),
    ["BigInt64Array", BigInt64Array.from([1n, -1n])],
    ["large BigUint64Array", new BigUint64Array(1000).fill(9n)],
    [
      "empty views",
      [new Float64Array(0), Buffer.alloc(0), new ArrayBuffer(0), new DataView(new ArrayBuffer(0))],
    ],
  ];
  test.each(table)("%s", (_, value) => {
    const copy = trip(value);
    expect(copy).toStrictEqual(value);
    expect(Object.prototype.toString.call(copy)).toBe(Object.prototype.toString.call(value));
    if (typeof value === "object" && value !== null)
      expect(Object.getPrototypeOf(copy)).toBe(Object.getPrototypeOf(value));
    expect(trip([value, new Date(0)])).toStrictEqual([value, new Date(0)]);
  });

  test("a regexp starts again from the beginning", () => {
    const regexp = /a/g;
    regexp.lastIndex = 3;
    expect(trip(regexp).lastIndex).toBe(0);
  });

  test("holes, sparse arrays and named properties of arrays stay", () => {
    // biome-ignore lint/suspicious/noSparseArray: the point of the test
    const holes = trip([1, , undefined, 2]);
    expect([holes.length, 1 in holes, 2 in holes]).toEqual([4, false, true]);
    const sparse: unknown[] = [];
    sparse[4_000_000_000] = { a: 1 };
    sparse[5] = "five";
    const copy = trip(sparse);
    expect(copy.length).toBe(4_000_000_001);
    expect(Object.keys(copy)).toEqual(["5", "4000000000"]);
    expect(copy[4_000_000_000]).toEqual({ a: 1 });
    const match = "xab".match(/a(?<second>b)/)!;
    const matchCopy = trip(match);
    expect([matchCopy[1], matchCopy.index, matchCopy.input, matchCopy.groups?.second]).toEqual([
      "b",
      1,
      "xab",
      "b",
    ]);
    const csv = Object.assign(
      Array.from({ length: 2000 }, (_, i) => i),
      { columns: ["a", "b"] },
    );
    expect(trip(csv).columns).toEqual(["a", "b"]);
    expect(trip(csv)).toStrictEqual(csv);
  });

  test("objects without a prototype, of another realm, and with __proto__ as an own key", () => {
    const bare = Object.assign(Object.create(null), JSON.parse('{"a": 1, "__proto__": 2}'));
    expect(Object.getPrototypeOf(trip(bare))).toBeNull();
    expect(Object.entries(trip(bare))).toEqual([
      ["a", 1],
      ["__proto__", 2],
    ]);
    const foreign = runInNewContext("({ a: [1, new Map([[1, new Date(5)]]), new TypeError('t')] })");
    const copy = trip(foreign) as { a: [number, Map<number, Date>, TypeError] };
    expect(copy.a[1].get(1)).toEqual(new Date(5));
    expect(copy.a[2]).toBeInstanceOf(TypeError);
    const evil = JSON.parse('{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}');
    const evilCopy = trip(evil);
    expect(Object.hasOwn(evilCopy, "__proto__")).toBe(true);
    expect(Object.getPrototypeOf(evilCopy)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  test("cycles and shared parts keep their identity", () => {
    const shared = { s: 1 };
    const a: Record<string, unknown> = { list: [shared, shared], map: new Map(), set: new Set() };
    a.self = a;
    (a.map as Map<unknown, unknown>).set(a, shared);
    (a.set as Set<unknown>).add(a.list);
    const copy = trip(a) as { list: unknown[]; map: Map<unknown, unknown>; set: Set<unknown>; self: unknown };
    expect(copy.self).toBe(copy);
    expect(copy.list[0]).toBe(copy.list[1]);
    expect(copy.map.get(copy)).toBe(copy.list[0]);
    expect(copy.set.has(copy.list)).toBe(true);
    const date = new Date(1);
    const [first, second] = trip([date, date]);
    expect(first).toBe(second);
  });

  test("a linked list of 100,000 nodes and an array nested 100,000 deep make the trip", () => {
    let list: { next: unknown } | null = null;
    for (let i = 0; i < 100_000; i++) list = { next: list };
    let depth = 0;
    for (let at = trip(list); at !== null; at = at.next as typeof list) depth++;
    expect(depth).toBe(100_000);
    let nested: unknown[] = [];
    for (let i = 0; i < 100_000; i++) nested = [nested];
    let levels = 0;
    for (let at = trip(nested); at.length > 0; at = at[0] as unknown[]) levels++;
    expect(levels).toBe(100_000);
  });
});

describe("binary data", () => {
  test("large parts travel beside the payload, without a copy on either side", () => {
    const big = new Float64Array(1000).fill(1.5);
    const encoded = codec.encode({ big, small: new Uint8Array(10) });
    expect(encoded.buffers.length).toBe(1);
    expect(encoded.buffers[0]!.buffer).toBe(big.buffer);
    expect(encoded.payload.length).toBeLessThan(200);
    const flat = fromBytes(toBytes(encoded));
    const aligned = codec.decode(encoded.payload, encoded.buffers) as { big: Float64Array };
    expect(aligned.big.buffer).toBe(big.buffer);
    const copy = codec.decode(flat.payload, flat.buffers) as { big: Float64Array };
    expect(copy.big).toEqual(big);
    const odd = new Uint8Array(8001).subarray(1);
    odd.set(encoded.buffers[0]!);
    expect(codec.decode(encoded.payload, [odd])).toStrictEqual({ big, small: new Uint8Array(10) });
  });

  test("a small view of a large buffer sends only its own bytes", () => {
    const view = new Uint8Array(1 << 20).subarray(100, 110);
    expect(codec.encode(view).byteLength).toBeLessThan(200);
    expect(trip(view).buffer.byteLength).toBe(10);
  });

  test("views that overlap, and a buffer and its views, share memory on the other side", () => {
    const memory = new ArrayBuffer(64);
    const [bytes, doubles] = trip([new Uint8Array(memory, 3, 40), new Float64Array(memory, 8, 4)] as const);
    doubles[0] = 1.5;
    expect(new Float64Array(bytes.slice(5, 13).buffer)[0]).toBe(1.5);
    for (const size of [64, 8192]) {
      const buffer = new ArrayBuffer(size);
      const value = trip({ view: new Int32Array(buffer, 4, 2), buffer });
      value.view[0] = 77;
      expect(value.view.buffer).toBe(value.buffer);
      expect(new Int32Array(value.buffer)[1]).toBe(77);
    }
  });
});

describe("errors", () => {
  test("keep class, message, stack, cause and own properties", () => {
    const error = Object.assign(new RangeError("outer", { cause: new TypeError("inner") }), {
      code: "E1",
      list: [1],
    });
    const copy = trip(error) as RangeError & { code: string; cause: Error };
    expect(copy).toBeInstanceOf(RangeError);
    expect([copy.message, copy.code, copy.stack, copy.cause.message]).toEqual([
      "outer",
      "E1",
      error.stack,
      "inner",
    ]);
    expect(copy.cause).toBeInstanceOf(TypeError);
    expect(Object.keys(copy)).toEqual(["code", "list"]);
    const aggregate = trip(new AggregateError([new Error("a"), 5], "many"));
    expect(aggregate).toBeInstanceOf(AggregateError);
    expect([aggregate.message, (aggregate.errors[0] as Error).message, aggregate.errors[1]]).toEqual([
      "many",
      "a",
      5,
    ]);
    const circular = new Error("c");
    circular.cause = circular;
    const circularCopy = trip(circular);
    expect(circularCopy.cause).toBe(circularCopy);
    const abort = trip(new DOMException("stop", "AbortError"));
    expect(abort).toBeInstanceOf(DOMException);
    expect([abort.name, abort.message, abort.code]).toEqual(["AbortError", "stop", 20]);
  });

  test("of tsray come back as the same class with the advice said once", () => {
    const error = new TaskError(
      "f() failed",
      { functionName: "f", pid: 3 },
      { cause: new Map([[1, new RangeError("r")]]) },
    );
    const copy = trip(trip(error));
    expect(copy).toBeInstanceOf(TaskError);
    expect([copy.message, copy.functionName, copy.pid, copy.code, copy.stack]).toEqual([
      error.message,
      "f",
      3,
      error.code,
      error.stack,
    ]);
    expect((copy.cause as Map<number, Error>).get(1)).toBeInstanceOf(RangeError);
    expect(trip(new ObjectLostError("gone", { objectId: "o" }))).toMatchObject({ objectId: "o" });
    expect(trip(new ObjectLostError("gone"))).toBeInstanceOf(TsrayError);
  });

  test("of a user's class find it where it can be found, and keep its name where not", () => {
    const { error } = makeSamples();
    const copy = trip(error);
    expect(copy.constructor).toBe(error.constructor);
    expect([copy.name, copy.message, copy.status]).toEqual(["HttpError", "gone", 410]);
    class LocalError extends TypeError {
      override name = "LocalError";
      extra = 1;
    }
    const local = trip(new LocalError("l"));
    expect(Object.getPrototypeOf(local)).toBe(TypeError.prototype);
    expect([local.name, local.message, local.extra, String(local)]).toEqual([
      "LocalError",
      "l",
      1,
      "LocalError: l",
    ]);
  });
});

describe("handles", () => {
  test("many of one kind in an array come back in order, beside others and twice elsewhere", () => {
    const refs = Array.from({ length: 100 }, (_, i) => new Ref(String(i)));
    const value = {
      refs,
      again: refs[7],
      mixed: [...refs.slice(0, 40), 1],
      twice: [refs[1], ...refs.slice(0, 50)],
    };
    const encoded = codec.encode(value);
    const back = codec.decode(encoded.payload, encoded.buffers) as typeof value;
    const ids = (list: readonly unknown[]) => list.map((item) => (item instanceof Ref ? item.id : item));
    expect(ids(back.refs)).toEqual(refs.map(({ id }) => id));
    expect(back.again?.id).toBe("7");
    expect(ids(back.mixed)).toEqual([...refs.slice(0, 40).map(({ id }) => id), 1]);
    expect(ids(back.twice)).toEqual(["1", ...refs.slice(0, 50).map(({ id }) => id)]);
    expect(new Set(encoded.handles)).toEqual(new Set(refs));
  });

  test("are found at any depth, listed once each, and rebuilt", () => {
    function remote() {}
    remoteFunctions.set("remote", remote);
    const shared = new Ref("s");
    const value = { a: [shared, new Map([["k", new Ref("m")]])], b: shared, fn: remote };
    const encoded = codec.encode(value);
    expect(encoded.handles.map((handle) => (handle as Ref).id ?? "fn").sort()).toEqual(["fn", "m", "s"]);
    const copy = codec.decode(encoded.payload, encoded.buffers) as typeof value;
    expect(copy.a[0]).toBeInstanceOf(Ref);
    expect(copy.b).toBe(copy.a[0]);
    expect(copy.b.id).toBe("s");
    expect((copy.a[1] as Map<string, Ref>).get("k")!.id).toBe("m");
    expect(copy.fn).toBe(remote);
    expect(codec.encode([1, { a: 2 }]).handles).toEqual([]);
    expect((trip(shared) as Ref).id).toBe("s");
  });
});

describe("classes", () => {
  test("of a module travel by name; their setters do not run; private fields are refused", () => {
    const { point, guarded, guardedCalls, secret } = makeSamples();
    const copy = trip({ point, again: point });
    expect(copy.point.constructor).toBe(point.constructor);
    expect([copy.point.norm(), copy.again === copy.point]).toEqual([5, true]);
    expect(trip(guarded).value).toBe(5);
    expect(guardedCalls()).toBe(0);
    expect(() => codec.encode(secret)).toThrow(/value is an instance of class Secret, whose private fields/);
  });

  test("registered with no functions: own properties, also in a cycle", () => {
    class Tree {
      parent: Tree | undefined;
      kids: Tree[] = [];
      add(kid: Tree): this {
        kid.parent = this;
        this.kids.push(kid);
        return this;
      }
    }
    expect(() => codec.encode({ t: new Tree() })).toThrow(/value\.t is an instance of class Tree/);
    registerSerializer(Tree);
    const copy = trip(new Tree().add(new Tree()));
    expect(copy).toBeInstanceOf(Tree);
    expect(copy.kids[0]!.parent).toBe(copy);
    expect(unregisterSerializer(Tree)).toBe(true);
    expect(() => codec.encode(new Tree())).toThrow(SerializationError);
  });

  test("registered with functions: deserialize sees finished data, inner ones first", () => {
    class Box {
      readonly #inner: unknown;
      constructor(inner: unknown) {
        this.#inner = inner;
      }
      get inner(): unknown {
        return this.#inner;
      }
    }
    const sizes: number[] = [];
    registerSerializer(Box, {
      name: "app.Box",
      serialize: (box) => ({ inner: box.inner, map: new Map([["k", 1]]) }),
      deserialize: (data: { inner: unknown; map: Map<string, number> }) => {
        sizes.push(data.map.size, data.inner instanceof Box && !(data.inner.inner instanceof Date) ? -1 : 0);
        return new Box(data.inner);
      },
    });
    const inner = new Box(new Date(5));
    const copy = trip({ outer: new Box(inner), inner });
    expect(copy.outer.inner).toBe(copy.inner);
    expect(copy.inner.inner).toEqual(new Date(5));
    expect(sizes).toEqual([1, 0, 1, 0]);
    const list: unknown[] = [];
    list.push(new Box(list));
    const looped = trip(list);
    expect((looped[0] as Box).inner).toBe(looped);
    const knot: { box?: Box } = {};
    knot.box = new Box(knot);
    expect(() => trip(knot.box)).toThrow(/app\.Box returned leads back/);
    unregisterSerializer(Box);
  });

  test("a name belongs to one class", () => {
    class A {}
    class B {}
    registerSerializer(A, { name: "same" });
    expect(() => registerSerializer(B, { name: "same" })).toThrow(/taken by another class/);
    registerSerializer(A, { name: "other" });
    registerSerializer(B, { name: "same" });
    expect([unregisterSerializer(A), unregisterSerializer(B), unregisterSerializer(B)]).toEqual([
      true,
      true,
      false,
    ]);
  });
});

describe("what cannot travel is refused by path", () => {
  class Logger {}
  class OddMap extends Map {}
  const deep = {
    config: { logger: new Logger(), list: [0, { fn: function onDone() {} }], "a b": Symbol("s") },
  };
  const cases: [string, unknown, RegExp][] = [
    [
      "instance",
      { config: { logger: deep.config.logger } },
      /^cannot serialize argument 0 of fit\(\): value\.config\.logger is an instance of class Logger/,
    ],
    [
      "function",
      { list: deep.config.list },
      /value\.list\[1\]\.fn is the function onDone; a function cannot travel here; pass a remote function or its name/,
    ],
    ["class", [Logger], /value\[0\] is the class Logger/],
    ["symbol", { "a b": Symbol("s") }, /value\["a b"\] is the symbol Symbol\(s\)/],
    ["in a map", new Map([["key", () => 1]]), /value<key> is the function/],
    ["WeakMap", { w: new WeakMap() }, /value\.w is a WeakMap/],
    ["WeakRef", new WeakRef({}), /value is a WeakRef/],
    ["Promise", [Promise.resolve(1)], /value\[0\] is a Promise; await it first/],
    ["generator", [(function* () {})()], /value\[0\] is a generator/],
    ["iterator", [new Map().keys()], /value\[0\] is an iterator; pass the collection/],
    ["SharedArrayBuffer", { s: new SharedArrayBuffer(8) }, /value\.s is a SharedArrayBuffer/],
    [
      "shared view",
      [new Uint8Array(new SharedArrayBuffer(8))],
      /value\[0\] is a view of a SharedArrayBuffer/,
    ],
    [
      "subclass of a built-in",
      [new OddMap()],
      /value\[0\] is an instance of class OddMap, which extends Map/,
    ],
    ["stream", { out: process.stdout }, /value\.out is a stream or socket/],
    [
      "own prototype",
      [Object.create({ a: 1 })],
      /value\[0\] is an object \(\[object Object\]\) whose prototype belongs to no class/,
    ],
    ["error cause", new Error("e", { cause: () => 1 }), /value\.cause is the function/],
    [
      "getter that throws",
      {
        a: {
          get b() {
            throw new Error("boom");
          },
        },
      },
      /value\.a\.b could not be read: boom/,
    ],
  ];
  test.each(cases)("%s", (_, value, message) => {
    expect(() => codec.encode(value, "argument 0 of fit()")).toThrow(SerializationError);
    expect(() => codec.encode(value, "argument 0 of fit()")).toThrow(message);
  });

  test("an unknown class, handle or registration at the receiver is named", () => {
    const bare = new ValueCodec({ handles: [], classes: { nameOf: () => undefined, find: () => undefined } });
    const { payload } = codec.encode(makeSamples().point);
    expect(() => bare.decode(payload, [])).toThrow(/finds no class Point at the top level of fixture/);
    expect(() => bare.decode(codec.encode(new Ref("x")).payload, [])).toThrow(/unknown handle "ref"/);
  });
});
