/**
 * The flat form of an encoded value: what travels on a stream and what lies in the object store.
 *
 *   0   u32  magic      4   u32  number of buffers      8   f64  payload bytes
 *   16  f64  bytes of each buffer
 *       the payload, then every buffer at the next multiple of 64 (all little-endian)
 *
 * Offsets follow from the lengths, so there is nothing in a header that can point anywhere. A store object starts on a
 * 64-byte boundary, so its buffers do too. Padding between the parts carries no meaning.
 */

import { SerializationError } from "../base/errors.ts";
import type { EncodedValue } from "./hooks.ts";

const MAGIC = 0x31565354; // "TSV1"
const HEADER_BYTES = 16;
const LENGTH_BYTES = 8;
const ALIGNMENT = 64;
/** More buffers than this in one value are refused on both sides. */
export const BUFFERS_MAX = 1 << 20;

/** One part of the flat form and where it goes. */
export interface Segment {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Size of the flat form, in bytes. */
export function flatSize(payload: Uint8Array, buffers: readonly Uint8Array[]): number {
  let end = HEADER_BYTES + buffers.length * LENGTH_BYTES + payload.byteLength;
  for (const buffer of buffers) end = align(end) + buffer.byteLength;
  return end;
}

/** Where each part goes. The segments refer to the encoded value: nothing is copied. */
export function layoutOf(encoded: Pick<EncodedValue, "payload" | "buffers">): {
  size: number;
  segments: Segment[];
} {
  const { payload, buffers } = encoded;
  const header = new Uint8Array(HEADER_BYTES + buffers.length * LENGTH_BYTES);
  const view = new DataView(header.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, buffers.length, true);
  view.setFloat64(8, payload.byteLength, true);
  const segments: Segment[] = [
    { offset: 0, bytes: header },
    { offset: header.length, bytes: payload },
  ];
  let end = header.length + payload.byteLength;
  for (const [i, bytes] of buffers.entries()) {
    view.setFloat64(HEADER_BYTES + i * LENGTH_BYTES, bytes.byteLength, true);
    segments.push({ offset: align(end), bytes });
    end = align(end) + bytes.byteLength;
  }
  return { size: end, segments };
}

/** The flat form in one piece of memory. */
export function toBytes(encoded: Pick<EncodedValue, "payload" | "buffers">): Buffer {
  const { size, segments } = layoutOf(encoded);
  const flat = Buffer.allocUnsafe(size);
  let end = 0;
  for (const { offset, bytes } of segments) {
    flat.fill(0, end, offset);
    flat.set(bytes, offset);
    end = offset + bytes.byteLength;
  }
  return flat;
}

/** The parts of a flat form, as views over it. `bytes` must be the flat form and nothing else. */
export function fromBytes(bytes: Uint8Array): { payload: Uint8Array; buffers: Uint8Array[] } {
  if (bytes.byteLength < HEADER_BYTES) throw broken("it is shorter than its header");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== MAGIC) throw broken("it does not start like one");
  const count = view.getUint32(4, true);
  const start = HEADER_BYTES + count * LENGTH_BYTES;
  if (count > BUFFERS_MAX || start > bytes.byteLength) throw broken(`it claims ${count} buffers`);
  let end = start + lengthAt(view, 8);
  if (end > bytes.byteLength) throw broken("its payload is longer than it");
  const payload = bytes.subarray(start, end);
  const buffers: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const offset = align(end);
    end = offset + lengthAt(view, HEADER_BYTES + i * LENGTH_BYTES);
    if (end > bytes.byteLength) throw broken(`buffer ${i} is longer than it`);
    buffers.push(bytes.subarray(offset, end));
  }
  if (end !== bytes.byteLength) throw broken(`${bytes.byteLength - end} bytes are left over`);
  return { payload, buffers };
}

function align(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}

function lengthAt(view: DataView, at: number): number {
  const length = view.getFloat64(at, true);
  if (!Number.isSafeInteger(length) || length < 0) throw broken("a length is not a whole number");
  return length;
}

function broken(why: string): SerializationError {
  return new SerializationError(`cannot decode a stored value: ${why}`);
}
