/**
 * Serves this node's objects to the raylets that pull them: chunk after chunk, in the order asked for, straight from the
 * store's memory to the socket. Who is served when, and who is sent elsewhere, upload-line.ts decides, per object.
 */
import { crc32 } from "node:zlib";
import { endpointToTuple } from "../../core/base/endpoint.ts";
import type { Channel } from "../../core/rpc/channel.ts";
import type { Message } from "../../core/rpc/frames.ts";
import { Transfer } from "../../core/rpc/messages.ts";
import { type ObjectStore, STORE_KEY_BYTES } from "../../core/store/object-store.ts";
import type { Chunk } from "./chunk-plan.ts";
import { malformed } from "./data-link.ts";
import type { TransferFaults } from "./faults.ts";
import { CHUNK_BYTES } from "./pull.ts";
import { type Step, UploadLine } from "./upload-line.ts";

/** So many chunks of one upload may be asked for ahead, and so many uploads may be open on one connection. */
const READS_AHEAD_MAX = 16;
const UPLOADS_PER_CONNECTION_MAX = 4096;
/** Objects of which it is remembered who got them from here. */
const IDLE_OBJECTS_MAX = 1024;
/** Those in line hear from us this often, so that they do not take us for dead. */
const QUEUED_MS = 10_000;

/** An object that somebody gets from here, or got lately. */
interface Served {
  readonly key: Buffer;
  readonly hex: string;
  readonly line: UploadLine<Upload>;
  /** Offered or further. */
  readonly uploads: Set<Upload>;
  /** The object's bytes, pinned while they are sent. */
  view: Buffer | undefined;
  /** CRC-32 by offset and length: several get the same chunks. */
  readonly checksums: Map<string, number>;
  /** Chunks of the view that the socket is reading. */
  sending: number;
}

interface Upload {
  readonly id: number;
  readonly connection: Connection;
  readonly object: Served;
  readonly size: number;
  readonly insists: boolean;
  state: "offered" | "waiting" | "serving" | "over";
  /** Asked for while it waits. */
  reads: Chunk[];
  /** Chunks asked for and not sent. */
  ahead: number;
}

/** A connection that a puller dialled. */
interface Connection {
  readonly channel: Channel;
  readonly uploads: Map<number, Upload>;
  /** What is to be sent, in order. */
  readonly queue: { readonly upload: Upload; readonly chunk: Chunk }[];
  isSending: boolean;
}

export class Uploads {
  readonly #store: ObjectStore;
  readonly #faults: TransferFaults | undefined;
  readonly #onSent: (bytes: number) => void;
  readonly #connections = new Map<Channel, Connection>();
  readonly #objects = new Map<string, Served>();
  readonly #timer: NodeJS.Timeout;

  constructor(
    store: ObjectStore,
    onSent: (bytes: number) => void,
    faults: TransferFaults | undefined = undefined,
  ) {
    this.#store = store;
    this.#onSent = onSent;
    this.#faults = faults;
    this.#timer = setInterval(() => this.#tellWaiting(), QUEUED_MS);
    this.#timer.unref();
  }

  /** @throws ClusterUnreachableError for what no raylet of ours would send */
  onMessage(channel: Channel, [kind, id, ...fields]: Message): void {
    if (!isWhole(id)) throw malformed(`named an upload ${String(id)}`);
    const connection = this.#connectionOf(channel);
    if (kind === Transfer.open) {
      this.#open(connection, id, fields[0], fields[1] === true);
      return;
    }
    // Unknown: it was moved or is absent, and the puller did not know that yet.
    const upload = connection.uploads.get(id);
    if (upload === undefined) return;
    if (kind === Transfer.read) this.#read(upload, fields[0], fields[1]);
    else if (kind === Transfer.done) this.#end(upload, fields[0] === true);
    else throw malformed(`sent a message of kind ${kind}`);
  }

  /** The object was freed: who else has it need not be remembered. Uploads under way go on. */
  forget(key: Buffer): void {
    const object = this.#objects.get(key.toString("hex"));
    if (object?.uploads.size === 0) this.#objects.delete(object.hex);
  }

  /** A node has died: nobody is sent there any more, and what it was getting is over. */
  onNodeGone(nodeId: string): void {
    for (const { line } of this.#objects.values())
      line.forget(({ connection }) => connection.channel.peer.nodeId === nodeId);
    for (const { channel } of [...this.#connections.values()]) {
      if (channel.peer.nodeId === nodeId) channel.destroy();
    }
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { channel } of [...this.#connections.values()]) channel.destroy();
  }

  #connectionOf(channel: Channel): Connection {
    let connection = this.#connections.get(channel);
    if (connection === undefined) {
      const made: Connection = { channel, uploads: new Map(), queue: [], isSending: false };
      connection = made;
      this.#connections.set(channel, made);
      channel.onClose(() => {
        this.#connections.delete(channel);
        for (const upload of [...made.uploads.values()]) this.#end(upload, false);
      });
    }
    return connection;
  }

  #open(connection: Connection, id: number, key: unknown, insists: boolean): void {
    if (!(key instanceof Uint8Array) || key.length !== STORE_KEY_BYTES)
      throw malformed("asked for what is no key");
    if (connection.uploads.has(id) || connection.uploads.size >= UPLOADS_PER_CONNECTION_MAX)
      throw malformed(`opened upload ${id} beside ${connection.uploads.size} others`);
    const { channel } = connection;
    const size = this.#store.sizeOf(key);
    if (size === undefined) {
      channel.send([Transfer.absent, id]);
      return;
    }
    const object = this.#objectOf(Buffer.from(key));
    const upload: Upload = { id, connection, object, size, insists, state: "offered", reads: [], ahead: 0 };
    connection.uploads.set(id, upload);
    object.uploads.add(upload);
    const others = object.line.holders
      .map((holder) => holder.connection.channel.peer)
      .filter((node) => node.nodeId !== channel.peer.nodeId);
    channel.send([Transfer.offer, id, size, others.map(endpointToTuple)]);
  }

  #read(upload: Upload, offset: unknown, length: unknown): void {
    const isInside =
      isWhole(offset) &&
      isWhole(length) &&
      length > 0 &&
      length <= CHUNK_BYTES &&
      offset + length <= upload.size;
    if (!isInside)
      throw malformed(`asked for ${String(length)} bytes at ${String(offset)} of ${upload.size}`);
    if (upload.ahead >= READS_AHEAD_MAX)
      throw malformed(`asked for more than ${READS_AHEAD_MAX} chunks ahead`);
    upload.ahead += 1;
    const chunk = { offset, length };
    if (upload.state === "serving") {
      upload.connection.queue.push({ upload, chunk });
      void this.#send(upload.connection);
      return;
    }
    upload.reads.push(chunk);
    if (upload.state !== "offered") return;
    upload.state = "waiting";
    this.#faults?.onAsked();
    this.#carryOut(upload.object.line.ask(upload, upload.insists));
    if ((upload.state as Upload["state"]) === "waiting")
      upload.connection.channel.send([Transfer.queued, upload.id]);
  }

  #carryOut(steps: readonly Step<Upload>[]): void {
    for (const step of steps) {
      const { asker } = step;
      if (asker.state !== "waiting") continue;
      if (step.kind === "serve") {
        this.#serve(asker);
      } else {
        const { peer } = step.holder.connection.channel;
        asker.connection.channel.send([Transfer.moved, asker.id, endpointToTuple(peer)]);
        this.#drop(asker);
      }
    }
  }

  #serve(upload: Upload): void {
    const { connection, object } = upload;
    object.view ??= this.#store.get(object.key);
    if (object.view?.length !== upload.size) {
      this.#endAbsent(upload);
      return;
    }
    upload.state = "serving";
    for (const chunk of upload.reads) connection.queue.push({ upload, chunk });
    upload.reads = [];
    void this.#send(connection);
  }

  /** One chunk at a time: the next when the kernel has taken the last. */
  async #send(connection: Connection): Promise<void> {
    if (connection.isSending) return;
    connection.isSending = true;
    for (let next = connection.queue.shift(); next !== undefined; next = connection.queue.shift()) {
      const { upload, chunk } = next;
      const { object } = upload;
      if (upload.state !== "serving" || object.view === undefined) continue;
      object.sending += 1;
      const { offset, length } = chunk;
      const bytes = object.view.subarray(offset, offset + length);
      const sent =
        this.#faults === undefined ? bytes : await this.#faults.onSend(bytes, offset / CHUNK_BYTES + 1);
      await connection.channel.sendBlob(
        [Transfer.chunk, upload.id, offset],
        sent,
        checksum(object, chunk, bytes),
      );
      if (!connection.channel.closed) this.#onSent(length);
      upload.ahead -= 1;
      object.sending -= 1;
      this.#releaseUnused(object);
    }
    connection.isSending = false;
  }

  #end(upload: Upload, complete: boolean): void {
    if (upload.state === "over") return;
    this.#drop(upload);
    this.#carryOut(upload.object.line.end(upload, complete));
    this.#tidy(upload.object);
  }

  #endAbsent(upload: Upload): void {
    upload.connection.channel.send([Transfer.absent, upload.id]);
    this.#end(upload, false);
  }

  #drop(upload: Upload): void {
    upload.state = "over";
    upload.reads = [];
    upload.connection.uploads.delete(upload.id);
    upload.object.uploads.delete(upload);
    this.#releaseUnused(upload.object);
  }

  #objectOf(key: Buffer): Served {
    const hex = key.toString("hex");
    const known = this.#objects.get(hex);
    if (known !== undefined) return known;
    const object: Served = {
      key,
      hex,
      line: new UploadLine(),
      uploads: new Set(),
      view: undefined,
      checksums: new Map(),
      sending: 0,
    };
    this.#objects.set(hex, object);
    return object;
  }

  /** What nobody gets any more is kept for the sake of its holders only, and not for ever. */
  #tidy(object: Served): void {
    if (object.uploads.size > 0) return;
    this.#objects.delete(object.hex);
    if (object.line.holders.length === 0) return;
    this.#objects.set(object.hex, object);
    if (this.#objects.size <= IDLE_OBJECTS_MAX) return;
    for (const [hex, each] of this.#objects) {
      if (each.uploads.size > 0) continue;
      this.#objects.delete(hex);
      return;
    }
  }

  /** Gives the object's bytes back to the store as soon as nobody is sent any, not when they are collected. */
  #releaseUnused(object: Served): void {
    const { view } = object;
    if (view === undefined || object.sending > 0) return;
    for (const upload of object.uploads) if (upload.state === "serving") return;
    object.view = undefined;
    object.checksums.clear();
    this.#store.release(view);
  }

  #tellWaiting(): void {
    for (const { uploads } of this.#objects.values()) {
      for (const { state, connection, id } of uploads)
        if (state === "waiting") connection.channel.send([Transfer.queued, id]);
    }
  }
}

function checksum({ checksums }: Served, { offset, length }: Chunk, bytes: Buffer): number {
  const name = `${offset}:${length}`;
  let crc = checksums.get(name);
  if (crc === undefined) {
    crc = crcOf(bytes);
    checksums.set(name, crc);
  }
  return crc;
}

/** The processor's cache for one part of a chunk: zlib reads memory far from it at less than half the speed of a copy. */
const near = Buffer.allocUnsafeSlow(64 * 1024);

function crcOf(bytes: Buffer): number {
  let crc = 0;
  for (let at = 0; at < bytes.length; at += near.length) {
    const n = bytes.copy(near, 0, at, at + near.length);
    crc = crc32(near.subarray(0, n), crc);
  }
  return crc;
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
