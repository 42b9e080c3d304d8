// Goal: the flat form puts every buffer on a 64-byte boundary, reads back as views, and refuses anything malformed.

import { expect, test } from "vitest";
import { SerializationError } from "../base/errors.ts";
import { fromBytes, layoutOf, toBytes } from "./layout.ts";

const payload = Buffer.from("payload");
const buffers = [
  new Uint8Array(5000).fill(1),
  new Uint8Array(64).fill(2),
  new Uint8Array(0),
  new Uint8Array(1).fill(3),
];

test("buffers start at multiples of 64 and nothing overlaps", () => {
  const { size, segments } = layoutOf({ payload, buffers });
  let end = 0;
  for (const { offset, bytes } of segments) {
    expect(offset).toBeGreaterThanOrEqual(end);
    if (buffers.some((buffer) => buffer === bytes)) expect(offset % 64).toBe(0);
    end = offset + bytes.byteLength;
  }
  expect(size).toBe(end);
  expect(segments.slice(2).map(({ bytes }) => bytes)).toEqual(buffers);
});

test("the flat form reads back as views over it", () => {
  const flat = toBytes({ payload, buffers });
  const copy = fromBytes(flat);
  expect(Buffer.from(copy.payload).toString()).toBe("payload");
  expect(copy.buffers.map((bytes) => Uint8Array.from(bytes))).toEqual(buffers);
  expect(copy.buffers[0]!.buffer).toBe(flat.buffer);
  expect(fromBytes(toBytes({ payload, buffers: [] })).buffers).toEqual([]);
});

test("every cut, every extra byte and every wild length is refused", () => {
  const flat = toBytes({ payload, buffers: [new Uint8Array(100)] });
  for (let length = 0; length < flat.length; length++) {
    expect(() => fromBytes(flat.subarray(0, length))).toThrow(SerializationError);
  }
  expect(() => fromBytes(Buffer.concat([flat, Buffer.alloc(1)]))).toThrow(/left over/);
  for (const [offset, lengths] of [
    [8, [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60, 1e9]],
    [16, [-1, 0.5, Number.NaN, 2 ** 53, 101]],
  ] as const) {
    for (const length of lengths) {
      const wild = Buffer.from(flat);
      wild.writeDoubleLE(length, offset);
      expect(() => fromBytes(wild)).toThrow(SerializationError);
    }
  }
  const many = Buffer.from(flat);
  many.writeUInt32LE(0xffffffff, 4);
  expect(() => fromBytes(many)).toThrow(/claims/);
});
