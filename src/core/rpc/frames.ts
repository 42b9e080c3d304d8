/**
 * Frames of the data plane: length, type, body. A batch frame is one msgpack array of messages; a blob frame is one
 * message followed by raw bytes that are never packed (object chunks), under a checksum.
 *
 * Decoding trusts nothing: lengths are capped before anything is allocated, and msgpack runs without records, shared
 * structures or generated code.
 */
import { crc32 } from "node:zlib";
import { Packr, Unpackr } from "msgpackr/index-no-eval";
import { ClusterUnreachableError } from "../base/errors.ts";

/** First element tells the kind; see messages.ts. */
export type Message = readonly [kind: number, ...fields: unknown[]];

/** Largest frame after the handshake. Values above the inline limit travel as chunks of a few MiB. */
export const FRAME_BYTES_MAX = 256 * 1024 * 1024;
/** Largest frame from a peer that has not shown its token yet. */
export const FRAME_BYTES_MAX_UNAUTHENTICATED = 16 * 1024;
/** Largest message in front of a blob. */
const BLOB_MESSAGE_BYTES_MAX = 16 * 1024;

const HEADER_BYTES = 5;
/** A blob frame's header goes on with the length of its message and the CRC-32 of its blob. */
const BLOB_HEADER_BYTES = HEADER_BYTES + 8;
const BATCH = 0;
const BLOB = 1;

/** Frames that carry nothing but a number: what channels that outlive connections say to each other (resume-machine.ts). */
export const Control = {
  /** So many of your frames have been taken. */
  confirm: 2,
  /** This connection takes over from another; its first frame has that number. */
  begin: 3,
  /** The channel is over. */
  bye: 4,
} as const;
const CONTROL_BYTES = 6;

/** What a reader is given to read into, where nothing better is known. */
const SCRATCH_BYTES = 64 * 1024;
/** Longest single read into a blob's own place: what is checked right after it is still in the processor's cache. */
const BLOB_READ_BYTES_MAX = 256 * 1024;

const OPTIONS = { useRecords: false, mapsAsObjects: true, moreTypes: false, int64AsType: "number" } as const;
const packr = new Packr(OPTIONS);
const unpackr = new Unpackr(OPTIONS);
/** For bytes that will be overwritten: what it gives shares no memory with them. */
const copyingUnpackr = new Unpackr({ ...OPTIONS, copyBuffers: true });

/** Where the blobs of a connection go. */
export interface BlobSink {
  /**
   * A blob of `length` bytes comes behind `message`: it is read straight into the memory given here, which must stay
   * valid until `placed` or the end of the connection. Undefined: it is skipped. What this throws ends the connection.
   */
  place(message: Message, length: number): Buffer | undefined;
  /** It is there, or skipped. `intact`: its checksum is right. */
  placed(message: Message, intact: boolean): void;
}

export function encodeBatch(messages: readonly Message[]): [header: Buffer, body: Buffer] {
  const body = packr.pack(messages);
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt32LE(body.length, 0);
  header[4] = BATCH;
  return [header, body];
}

export function encodeControl(kind: number, number: number): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + CONTROL_BYTES);
  frame.writeUInt32LE(CONTROL_BYTES, 0);
  frame[4] = kind;
  frame.writeUIntLE(number, HEADER_BYTES, CONTROL_BYTES);
  return frame;
}

/** @param crc CRC-32 of the blob (node:zlib) */
export function encodeBlob(
  message: Message,
  blob: Uint8Array,
  crc: number,
): [header: Buffer, packed: Buffer, blob: Uint8Array] {
  const packed = packr.pack(message);
  const header = Buffer.allocUnsafe(BLOB_HEADER_BYTES);
  header.writeUInt32LE(BLOB_HEADER_BYTES - HEADER_BYTES + packed.length + blob.length, 0);
  header[4] = BLOB;
  header.writeUInt32LE(packed.length, HEADER_BYTES);
  header.writeUInt32LE(crc, HEADER_BYTES + 4);
  return [header, packed, blob];
}

/** Packs plain data that travels inside a protobuf field. */
export function packPlain(value: unknown): Buffer {
  return packr.pack(value);
}

/** @throws ClusterUnreachableError when the bytes are not msgpack */
export function unpackPlain(bytes: Uint8Array): unknown {
  return unpack(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), unpackr);
}

/** What is being read: a header, a body that becomes messages, or a blob. */
interface Filling {
  /** Undefined: its bytes are skipped. */
  readonly into: Buffer | undefined;
  readonly length: number;
  filled: number;
}

interface IncomingBlob extends Filling {
  readonly message: Message;
  readonly expectedCrc: number;
  crc: number;
}

/**
 * Cuts a byte stream into frames and hands on their messages; blobs go to the sink, and without one a blob frame is
 * malformed. Whoever reads from the socket may ask for `room`, so that large bodies and blobs are read where they belong.
 */
export class FrameReader {
  frameBytesMax: number = FRAME_BYTES_MAX_UNAUTHENTICATED;
  deliver: (message: Message) => void;
  /** A batch of that many bytes is here. @returns whether its messages are delivered. Set where frames are counted */
  onBatch: ((bytes: number) => boolean) | undefined;
  /** A {@link Control} frame is here. Set where such are expected. */
  onControl: ((kind: number, number: number) => void) | undefined;
  readonly #sink: BlobSink | undefined;
  readonly #header = Buffer.allocUnsafe(BLOB_HEADER_BYTES);
  #headerFilled = 0;
  #body: Filling | undefined;
  #blob: IncomingBlob | undefined;
  #scratch: Buffer | undefined;

  constructor(deliver: (message: Message) => void, sink?: BlobSink) {
    this.deliver = deliver;
    this.#sink = sink;
  }

  /** Where the next bytes should be read to; they are then given to `push`. */
  room(): Buffer {
    const filling = this.#blob ?? this.#body;
    if (filling?.into !== undefined) {
      const { into, filled, length } = filling;
      return into.subarray(filled, Math.min(length, filled + BLOB_READ_BYTES_MAX));
    }
    this.#scratch ??= Buffer.allocUnsafeSlow(SCRATCH_BYTES);
    return this.#scratch;
  }

  /** @throws ClusterUnreachableError when the bytes are not frames of ours */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#blob !== undefined) at += this.#fillBlob(this.#blob, chunk, at);
      else if (this.#body !== undefined) at += this.#fillBody(this.#body, chunk, at);
      else at += this.#readHeader(chunk, at);
    }
  }

  /** @returns how many bytes it took; small bodies that are there whole are taken with their header */
  #readHeader(chunk: Buffer, from: number): number {
    let at = from;
    at += this.#fillHeader(HEADER_BYTES, chunk, at);
    if (this.#headerFilled < HEADER_BYTES) return at - from;
    const length = this.#header.readUInt32LE(0);
    if (length > this.frameBytesMax)
      throw malformed(`a frame of ${length} bytes (at most ${this.frameBytesMax})`);
    const type = this.#header[4] as number;
    if (type === BLOB && this.#sink !== undefined) {
      at += this.#fillHeader(BLOB_HEADER_BYTES, chunk, at);
      if (this.#headerFilled < BLOB_HEADER_BYTES) return at - from;
      this.#headerFilled = 0;
      const messageBytes = this.#header.readUInt32LE(HEADER_BYTES);
      if (
        messageBytes === 0 ||
        messageBytes > BLOB_MESSAGE_BYTES_MAX ||
        length < BLOB_HEADER_BYTES - HEADER_BYTES + messageBytes
      )
        throw malformed("a blob frame shorter than its message");
      this.#body = filling(messageBytes);
      return at - from;
    }
    if (type >= Control.confirm && type <= Control.bye && this.onControl !== undefined) {
      if (length !== CONTROL_BYTES) throw malformed(`a control frame of ${length} bytes`);
      at += this.#fillHeader(HEADER_BYTES + CONTROL_BYTES, chunk, at);
      if (this.#headerFilled < HEADER_BYTES + CONTROL_BYTES) return at - from;
      this.#headerFilled = 0;
      this.onControl(type, this.#header.readUIntLE(HEADER_BYTES, CONTROL_BYTES));
      return at - from;
    }
    if (type !== BATCH) throw malformed(`a frame of type ${type}`);
    this.#headerFilled = 0;
    if (chunk.length - at < length) {
      this.#body = filling(length);
      return at - from;
    }
    // Whole: decoded where it lies. What is read into scratch memory is overwritten by the next read.
    const isScratch = chunk.buffer === this.#scratch?.buffer;
    this.#dispatch(chunk.subarray(at, at + length), isScratch ? copyingUnpackr : unpackr);
    return at + length - from;
  }

  #fillHeader(bytes: number, chunk: Buffer, at: number): number {
    const n = Math.min(bytes - this.#headerFilled, chunk.length - at);
    if (n <= 0) return 0;
    chunk.copy(this.#header, this.#headerFilled, at, at + n);
    this.#headerFilled += n;
    return n;
  }

  #fillBody(body: Filling, chunk: Buffer, at: number): number {
    const n = fill(body, chunk, at);
    if (body.filled < body.length) return n;
    this.#body = undefined;
    if (this.#header[4] === BATCH) this.#dispatch(body.into as Buffer, unpackr);
    else this.#beginBlob(unpack(body.into as Buffer, unpackr), body.length);
    return n;
  }

  #beginBlob(message: unknown, messageBytes: number): void {
    if (!isMessage(message)) throw malformed("an entry that is no message");
    const length = this.#header.readUInt32LE(0) - (BLOB_HEADER_BYTES - HEADER_BYTES) - messageBytes;
    const expectedCrc = this.#header.readUInt32LE(HEADER_BYTES + 4);
    const into = this.#sink?.place(message, length);
    const blob: IncomingBlob = { into, length, filled: 0, message, expectedCrc, crc: 0 };
    if (length === 0) this.#endBlob(blob);
    else this.#blob = blob;
  }

  #fillBlob(blob: IncomingBlob, chunk: Buffer, at: number): number {
    const n = fill(blob, chunk, at);
    if (blob.into !== undefined) blob.crc = crc32(blob.into.subarray(blob.filled - n, blob.filled), blob.crc);
    if (blob.filled === blob.length) this.#endBlob(blob);
    return n;
  }

  #endBlob(blob: IncomingBlob): void {
    this.#blob = undefined;
    this.#sink?.placed(blob.message, blob.crc === blob.expectedCrc);
  }

  #dispatch(body: Buffer, decoder: Unpackr): void {
    if (this.onBatch?.(body.length) === false) return;
    const batch = unpack(body, decoder);
    if (!Array.isArray(batch)) throw malformed("a batch that is no list");
    for (const message of batch) {
      if (!isMessage(message)) throw malformed("an entry that is no message");
      this.deliver(message);
    }
  }
}

function filling(length: number): Filling {
  return { into: Buffer.allocUnsafeSlow(length), length, filled: 0 };
}

/** Takes what belongs to `filling`, copying it unless it was read there. @returns how many bytes that was */
function fill(filling: Filling, chunk: Buffer, at: number): number {
  const { into, filled, length } = filling;
  const n = Math.min(length - filled, chunk.length - at);
  const isThere =
    into !== undefined && chunk.buffer === into.buffer && chunk.byteOffset + at === into.byteOffset + filled;
  if (into !== undefined && !isThere) chunk.copy(into, filled, at, at + n);
  filling.filled += n;
  return n;
}

function unpack(bytes: Buffer, decoder: Unpackr): unknown {
  try {
    return decoder.unpack(bytes);
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
