/** Checksums: CRC-32 (of zlib, for the journal) and CRC-32C (Castagnoli, for TensorBoard's record files). */
import * as zlib from "node:zlib";

const native = (zlib as { crc32?: (data: Uint8Array) => number }).crc32;

const TABLE = makeTable(0xedb88320);
const TABLE_C = makeTable(0x82f63b78);

function makeTable(polynomial: number): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, n) => {
    let value = n;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
    return value >>> 0;
  });
}

function byTable(table: Uint32Array, data: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < data.length; i++)
    crc = (table[(crc ^ (data[i] as number)) & 0xff] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

export function crc32(data: Uint8Array): number {
  return native === undefined ? byTable(TABLE, data) : native(data);
}

export function crc32c(data: Uint8Array): number {
  return byTable(TABLE_C, data);
}
