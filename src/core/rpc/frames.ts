/**
 * Frames of the data plane: length, type, body. A batch frame is one msgpack array of messages; a blob frame is one
 * message followed by raw bytes that are never packed (object chunks).
 *
 * Decoding trusts nothing: lengths are capped before anything is allocated, and msgpack runs without records, shared
 * structures or generated code.
 */
import { Packr, Unpackr } from "msgpackr/index-no-eval";
import { ClusterUnreachableError } from "../base/errors.ts";

/** First element tells the kind; see messages.ts. */
export type Message = readonly [kind: number, ...fields: unknown[]];

/** Largest frame after the handshake. Values above the inline limit travel as chunks of a few MiB. */
export const FRAME_BYTES_MAX = 256 * 1024 * 1024;
/** Largest frame from a peer that has not shown its token yet. */
export const FRAME_BYTES_MAX_UNAUTHENTICATED = 16 * 1024;

const HEADER_BYTES = 5;
const BATCH = 0;
const BLOB = 1;

const OPTIONS = { useRecords: false, mapsAsObjects: true, moreTypes: false, int64AsType: "number" } as const;
const packr = new Packr(OPTIONS);
const unpackr = new Unpackr(OPTIONS);

export function encodeBatch(messages: readonly Message[]): [header: Buffer, body: Buffer] {
  const body = packr.pack(messages);
  return [header(body.length, BATCH), body];
}

export function encodeBlob(
  message: Message,
  blob: Uint8Array,
): [header: Buffer, packed: Buffer, blob: Uint8Array] {
  const packed = packr.pack(message);
  const head = Buffer.allocUnsafe(HEADER_BYTES + 4);
  head.writeUInt32LE(4 + packed.length + blob.length, 0);
  head[4] = BLOB;
  head.writeUInt32LE(packed.length, HEADER_BYTES);
  return [head, packed, blob];
}

function header(bodyBytes: number, type: number): Buffer {
  const head = Buffer.allocUnsafe(HEADER_BYTES);
  head.writeUInt32LE(bodyBytes, 0);
  head[4] = type;
  return head;
}

/** Packs plain data that travels inside a protobuf field. */
export function packPlain(value: unknown): Buffer {
  return packr.pack(value);
}

/** @throws ClusterUnreachableError when the bytes are not msgpack */
export function unpackPlain(bytes: Uint8Array): unknown {
  return unpack(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}

/** Cuts a byte stream into frames and hands on their messages; a blob comes as the last field of its message. */
export class FrameReader {
  frameBytesMax: number = FRAME_BYTES_MAX_UNAUTHENTICATED;
  readonly #deliver: (message: Message) => void;
  readonly #head = Buffer.allocUnsafe(HEADER_BYTES);
  #headFilled = 0;
  #body: Buffer | undefined;
  #bodyFilled = 0;

  constructor(deliver: (message: Message) => void) {
    this.#deliver = deliver;
  }

  /** @throws ClusterUnreachableError when the bytes are not frames of ours */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#body === undefined) {
        const n = Math.min(HEADER_BYTES - this.#headFilled, chunk.length - at);
        chunk.copy(this.#head, this.#headFilled, at, at + n);
        this.#headFilled += n;
        at += n;
        if (this.#headFilled < HEADER_BYTES) return;
        const length = this.#head.readUInt32LE(0);
        if (length > this.frameBytesMax)
          throw malformed(`a frame of ${length} bytes (at most ${this.frameBytesMax})`);
        this.#headFilled = 0;
        if (chunk.length - at >= length) {
          this.#dispatch(this.#head[4] as number, chunk.subarray(at, at + length));
          at += length;
          continue;
        }
        this.#body = Buffer.allocUnsafeSlow(length);
        this.#bodyFilled = 0;
      }
      const n = Math.min(this.#body.length - this.#bodyFilled, chunk.length - at);
      chunk.copy(this.#body, this.#bodyFilled, at, at + n);
      this.#bodyFilled += n;
      at += n;
      if (this.#bodyFilled === this.#body.length) {
        const body = this.#body;
        this.#body = undefined;
        this.#dispatch(this.#head[4] as number, body);
      }
    }
  }

  #dispatch(type: number, body: Buffer): void {
    if (type === BATCH) {
      const batch = unpack(body);
      if (!Array.isArray(batch)) throw malformed("a batch that is no list");
      for (const message of batch) {
        if (!isMessage(message)) throw malformed("an entry that is no message");
        this.#deliver(message);
      }
    } else if (type === BLOB && body.length >= 4) {
      const packedBytes = body.readUInt32LE(0);
      if (packedBytes > body.length - 4) throw malformed("a blob frame shorter than its message");
      const message = unpack(body.subarray(4, 4 + packedBytes));
      if (!isMessage(message)) throw malformed("an entry that is no message");
      this.#deliver([...message, body.subarray(4 + packedBytes)] as unknown as Message);
    } else {
      throw malformed(`a frame of type ${type}`);
    }
  }
}

function unpack(bytes: Buffer): unknown {
  try {
    return unpackr.unpack(bytes);
  } catch (cause) {
    throw new ClusterUnreachableError("a peer sent a frame that is not msgpack", { cause });
  }
}

function isMessage(value: unknown): value is Message {
  return Array.isArray(value) && typeof value[0] === "number";
}

function malformed(what: string): ClusterUnreachableError {
  return new ClusterUnreachableError(`a peer sent ${what}; is something else talking to this port?`);
}
