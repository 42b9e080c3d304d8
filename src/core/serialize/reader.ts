/**
 * Turns msgpack bytes into plain data, trusting nothing.
 *
 * A closed list of types: nil, booleans, numbers, bigints, strings, binary (always copied out), arrays, string-keyed maps
 * and the one-byte extension that msgpackr writes for `undefined`. Every other extension (records, RegExp, shared
 * references, bundled strings ...) is refused, which msgpackr's own decoder cannot be made to do. Allocates only in
 * proportion to the bytes that are really there, and `__proto__` is an ordinary key.
 */

import { SerializationError } from "../base/errors.ts";

/** Nesting allowed; covers {@link PLAIN_DEPTH_MAX} of plain.ts and the table of lower.ts. */
const DEPTH_MAX = 120;
const SHORT_TEXT_BYTES_MAX = 12;
const KEY_CACHE_SIZE = 1024;
const KEY_CACHE_BYTES_MAX = 32;

interface CachedKey {
  readonly bytes: Uint8Array;
  readonly text: string;
}
const keyCache: (CachedKey | undefined)[] = new Array(KEY_CACHE_SIZE).fill(undefined);

/** Reads one value that must fill the bytes from `start` to the end exactly. */
export function readMsgpack(bytes: Uint8Array, start = 0): unknown {
  const reader = new Reader(bytes, start);
  const value = reader.read(0);
  reader.finish();
  return value;
}

function garbage(what: string, at: number): SerializationError {
  return new SerializationError(`cannot decode a value: ${what} at byte ${at}`);
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #at: number;
  #text: Buffer | undefined;
  #view: DataView | undefined;

  constructor(bytes: Uint8Array, start: number) {
    this.#bytes = bytes;
    this.#end = bytes.length;
    this.#at = start;
  }

  finish(): void {
    if (this.#at !== this.#end) throw garbage(`${this.#end - this.#at} bytes too many`, this.#at);
  }

  read(depth: number): unknown {
    const at = this.#at;
    if (at >= this.#end) throw garbage("unexpected end", at);
    const token = this.#bytes[at]!;
    this.#at = at + 1;
    if (token < 0x80) return token;
    if (token < 0x90) return this.#map(token & 0x0f, depth);
    if (token < 0xa0) return this.#array(token & 0x0f, depth);
    if (token < 0xc0) return this.#string(token & 0x1f);
    if (token >= 0xe0) return token - 0x100;
    switch (token) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#binary(this.#uint(1));
      case 0xc5:
        return this.#binary(this.#uint(2));
      case 0xc6:
        return this.#binary(this.#uint(4));
      case 0xca:
        return this.#numbers.getFloat32(this.#take(4));
      case 0xcb:
        return this.#numbers.getFloat64(this.#take(8));
      case 0xcc:
        return this.#uint(1);
      case 0xcd:
        return this.#uint(2);
      case 0xce:
        return this.#uint(4);
      case 0xcf:
        return this.#numbers.getBigUint64(this.#take(8));
      case 0xd0:
        return (this.#uint(1) << 24) >> 24;
      case 0xd1:
        return (this.#uint(2) << 16) >> 16;
      case 0xd2:
        return this.#uint(4) | 0;
      case 0xd3:
        return this.#numbers.getBigInt64(this.#take(8));
      case 0xd4:
        if (this.#uint(2) !== 0) throw garbage("an unknown extension", at);
        return undefined;
      case 0xd9:
        return this.#string(this.#uint(1));
      case 0xda:
        return this.#string(this.#uint(2));
      case 0xdb:
        return this.#string(this.#uint(4));
      case 0xdc:
        return this.#array(this.#uint(2), depth);
      case 0xdd:
        return this.#array(this.#uint(4), depth);
      case 0xde:
        return this.#map(this.#uint(2), depth);
      case 0xdf:
        return this.#map(this.#uint(4), depth);
      default:
        throw garbage(`an unknown type 0x${token.toString(16)}`, at);
    }
  }

  #take(count: number): number {
    const at = this.#at;
    if (count > this.#end - at) throw garbage("unexpected end", at);
    this.#at = at + count;
    return at;
  }

  #uint(size: 1 | 2 | 4): number {
    const bytes = this.#bytes;
    const at = this.#take(size);
    if (size === 1) return bytes[at]!;
    if (size === 2) return (bytes[at]! << 8) | bytes[at + 1]!;
    return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
  }

  get #numbers(): DataView {
    this.#view ??= new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    return this.#view;
  }

  #binary(length: number): Uint8Array {
    const at = this.#take(length);
    return new Uint8Array(this.#bytes.subarray(at, at + length));
  }

  #array(length: number, depth: number): unknown[] {
    if (depth >= DEPTH_MAX) throw garbage("too deep nesting", this.#at);
    if (length > this.#end - this.#at) throw garbage("an array longer than the message", this.#at);
    const array: unknown[] = [];
    for (let i = 0; i < length; i++) array.push(this.read(depth + 1));
    return array;
  }

  #map(length: number, depth: number): Record<string, unknown> {
    if (depth >= DEPTH_MAX) throw garbage("too deep nesting", this.#at);
    if (length * 2 > this.#end - this.#at) throw garbage("a map longer than the message", this.#at);
    const object: Record<string, unknown> = {};
    for (let i = 0; i < length; i++) {
      const key = this.#key();
      const value = this.read(depth + 1);
      if (key === "__proto__") {
        Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
      } else {
        object[key] = value;
      }
    }
    return object;
  }

  #key(): string {
    const at = this.#at;
    if (at >= this.#end) throw garbage("unexpected end", at);
    const token = this.#bytes[at]!;
    if (token < 0xa0 || token >= 0xc0) {
      const key = this.read(DEPTH_MAX);
      if (typeof key !== "string") throw garbage("a key that is not a string", at);
      return key;
    }
    this.#at = at + 1;
    const length = token & 0x1f;
    if (length === 0 || length > KEY_CACHE_BYTES_MAX) return this.#string(length);
    return this.#cachedKey(this.#take(length), length);
  }

  #cachedKey(at: number, length: number): string {
    const bytes = this.#bytes;
    const slot =
      (bytes[at]! * 31 + bytes[at + length - 1]! * 7 + bytes[at + (length >> 1)]! * 131 + length) &
      (KEY_CACHE_SIZE - 1);
    const cached = keyCache[slot];
    if (cached !== undefined && cached.bytes.length === length) {
      let i = 0;
      while (i < length && cached.bytes[i] === bytes[at + i]) i++;
      if (i === length) return cached.text;
    }
    this.#at = at;
    const text = this.#string(length);
    keyCache[slot] = { bytes: new Uint8Array(bytes.subarray(at, at + length)), text };
    return text;
  }

  #string(length: number): string {
    const at = this.#take(length);
    if (length <= SHORT_TEXT_BYTES_MAX) {
      let text = "";
      let i = 0;
      for (; i < length; i++) {
        const byte = this.#bytes[at + i]!;
        if (byte >= 0x80) break;
        text += String.fromCharCode(byte);
      }
      if (i === length) return text;
    }
    this.#text ??= Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    return this.#text.toString("utf8", at, at + length);
  }
}
