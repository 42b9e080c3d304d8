// Goal: bytes of a broken or hostile peer cannot crash, hang, exhaust or poison the process that decodes them.
// Method: known attacks on msgpackr by hand, then seeded mutations of honest payloads.

import { expect, test } from "vitest";
import { SerializationError } from "../base/errors.ts";
import { makeSamples } from "./fixture-classes.ts";
import { createScopeResolver, fromBytes, toBytes, ValueCodec } from "./index.ts";

const scopes = createScopeResolver();
scopes.addAnchor(makeSamples, "fixture");
const codec = new ValueCodec({ handles: [], classes: scopes });
const MUTATIONS = 100_000;

function decodes(bytes: Uint8Array, buffers: Uint8Array[] = []): boolean {
  try {
    codec.decode(bytes, buffers);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(SerializationError);
    return false;
  }
}

test("known attacks are refused, and without memory", () => {
  const nested = (token: number[], times: number) =>
    Buffer.from(Array.from({ length: times }, () => token).flat());
  const table = (root: number[], nodes: number[]) => Buffer.from([0xc1, 0x93, ...root, ...nodes, 0x90]);
  const attacks: Uint8Array[] = [
    new Uint8Array(0),
    Buffer.from([0xc1]),
    Buffer.from("dd01ffffff", "hex"), // M8: array of 33 million in five bytes
    Buffer.from("df01ffffff", "hex"),
    Buffer.from("c6ffffffff", "hex"),
    Buffer.from("dbffffffff", "hex"),
    nested([0xdd, 0, 0, 0xff, 0xff], 20_000),
    nested([0x91], 200_000), // stack
    nested([0x81, 0xa1, 0x61], 200_000),
    Buffer.from("d4724093a16161a16201", "hex"), // M9: record definition
    Buffer.from("c70378a1610000", "hex"), // RegExp
    Buffer.from("d6690000000190", "hex"), // structured clone ids
    Buffer.from("d67000000001", "hex"),
    Buffer.from("c7046200000001", "hex"), // bundled strings
    Buffer.from("d6ff00000000", "hex"), // timestamp
    table([0x91, 5], [0x90]), // reference to nowhere
    table([0x91, 0], [0x91, 0x93, 1, 0xce, 0xff, 0xff, 0xff, 0xff, 0xcd, 0xff, 0xff]), // sparse, too short
  ];
  const before = process.memoryUsage.rss();
  for (const attack of attacks) expect(decodes(attack)).toBe(false);
  // A long empty array is legal, and must be free.
  expect(decodes(table([0x91, 0], [0x91, 0x93, 1, 0xce, 0x01, 0xff, 0xff, 0xff, 0]))).toBe(true);
  expect(process.memoryUsage.rss() - before).toBeLessThan(100e6);
});

test("a view may not reach past its buffer into the memory around it", () => {
  const { payload } = codec.encode(new Float64Array(512));
  const arena = new Uint8Array(16_384);
  const honest = codec.decode(payload, [arena.subarray(64, 64 + 4096)]) as Float64Array;
  expect([honest.buffer === arena.buffer, honest.byteOffset, honest.length]).toEqual([true, 64, 512]);
  for (const length of [4095, 4092, 8, 0])
    expect(decodes(payload, [arena.subarray(64, 64 + length)])).toBe(false);
  expect(decodes(payload, [])).toBe(false);
});

test("own keys called __proto__ reach no prototype, in either form", () => {
  const evil = Buffer.from("81a95f5f70726f746f5f5f81a161c3", "hex");
  const copy = codec.decode(evil, []) as object;
  expect(Object.getPrototypeOf(copy)).toBe(Object.prototype);
  expect(Object.hasOwn(copy, "__proto__")).toBe(true);
});

test(`${MUTATIONS} mutated payloads give a value or a SerializationError`, () => {
  const { point, error } = makeSamples();
  const memory = new ArrayBuffer(32);
  const cyclic: unknown[] = [1];
  cyclic.push(cyclic, new Map([[cyclic, new Set([1n << 80n])]]));
  const seeds = [
    [1, "a", { x: 1, y: [true, null, undefined, 1.5, -7, 70000, "é"] }],
    { k: "v".repeat(40), big: 5n, nested: { a: { b: { c: [[[]]] } } } },
    [new Date(5), /x/gi, new Error("e", { cause: new TypeError("t") }), error, point],
    [new Uint8Array(memory, 1, 9), new Float64Array(memory), new Float32Array(3000), Buffer.from("b")],
    cyclic,
    [
      Object.create(null),
      new String("s"),
      Symbol.for("s"),
      new SerializationError("x"),
      new DOMException("m", "AbortError"),
    ],
    // biome-ignore lint/suspicious/noSparseArray: holes are one of the forms
    Object.assign([1, , 3], { named: -0 }),
  ].map((value) => codec.encode(value));
  const prototypes = [
    Object.prototype,
    Array.prototype,
    Error.prototype,
    Map.prototype,
    Object.getPrototypeOf(point) as object,
  ];
  const before = prototypes.map((proto) => Reflect.ownKeys(proto).length);

  let state = 0x9e3779b9;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  let accepted = 0;
  for (let i = 0; i < MUTATIONS; i++) {
    const seed = seeds[random(seeds.length)]!;
    let bytes = Buffer.from(seed.payload);
    for (let n = random(4) + 1; n > 0; n--) {
      const at = random(bytes.length);
      const kind = random(4);
      if (kind === 0) bytes[at] = random(256);
      else if (kind === 1) bytes[at]! ^= 1 << random(8);
      else if (kind === 2)
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random(3)), Buffer.alloc(1)]);
      else bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(random(bytes.length))]);
      if (bytes.length === 0) bytes = Buffer.alloc(1);
    }
    if (decodes(bytes, [...seed.buffers])) accepted++;
  }
  expect(accepted).toBeGreaterThan(0);
  expect(accepted).toBeLessThan(MUTATIONS);
  expect(prototypes.map((proto) => Reflect.ownKeys(proto).length)).toEqual(before);
  expect(({} as Record<string, unknown>).x).toBeUndefined();
});

test("mutated flat forms give parts or a SerializationError", () => {
  const flat = toBytes(codec.encode([new Uint8Array(5000), { a: 1 }]));
  for (let at = 0; at < 40; at++) {
    for (const byte of [0, 1, 0x7f, 0x80, 0xff]) {
      const bytes = Buffer.from(flat);
      bytes[at] = byte;
      try {
        const { payload, buffers } = fromBytes(bytes);
        decodes(payload, buffers);
      } catch (error) {
        expect(error).toBeInstanceOf(SerializationError);
      }
    }
  }
});
