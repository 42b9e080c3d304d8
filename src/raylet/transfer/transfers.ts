/**
 * Objects between nodes: this raylet pulls chunks from another's store into its own, and serves the chunks of its own.
 * One transfer per object however many ask; several chunks in flight; bytes are never decoded on the way.
 */
import { type Endpoint, endpointFromTuple } from "../../core/base/endpoint.ts";
import type { Channel } from "../../core/rpc/channel.ts";
import type { Message } from "../../core/rpc/frames.ts";
import { Transfer } from "../../core/rpc/messages.ts";
import type { ObjectStore, ObjectWriter } from "../../core/store/object-store.ts";

const CHUNK_BYTES = 4 * 1024 * 1024;
const CHUNKS_IN_FLIGHT_MAX = 4;

interface Pull {
  readonly key: Buffer;
  readonly channel: Channel;
  readonly finish: (error: string | null) => void;
  writer: ObjectWriter | undefined;
  size: number;
  /** First byte not asked for yet. */
  next: number;
  received: number;
}

export class Transfers {
  readonly #store: ObjectStore;
  readonly #channelTo: (node: Endpoint) => Channel;
  readonly #running = new Map<string, Promise<string | null>>();
  readonly #pulls = new Map<number, Pull>();
  #nextRequest = 1;

  constructor(store: ObjectStore, channelTo: (node: Endpoint) => Channel) {
    this.#store = store;
    this.#channelTo = channelTo;
  }

  /** Brings an object here from the first of `sources` that has it. @returns null, or why that failed */
  pull(key: Buffer, sources: readonly unknown[]): Promise<string | null> {
    const id = key.toString("hex");
    const running = this.#running.get(id);
    if (running !== undefined) return running;
    const pull = this.#pullFromAny(key, sources).finally(() => this.#running.delete(id));
    this.#running.set(id, pull);
    return pull;
  }

  /** Asks other nodes to drop their copies. */
  drop(key: Buffer, nodes: readonly unknown[]): void {
    for (const tuple of nodes) {
      const node = endpointFromTuple(tuple);
      if (node !== undefined) this.#channelTo(node).send([Transfer.drop, key]);
    }
  }

  onMessage(channel: Channel, message: Message): void {
    switch (message[0]) {
      case Transfer.open: {
        const [, requestId, key] = message as unknown as [number, number, Buffer];
        channel.send([Transfer.meta, requestId, this.#store.sizeOf(key) ?? -1]);
        break;
      }
      case Transfer.meta: {
        const [, requestId, size] = message as unknown as [number, number, number];
        this.#onMeta(requestId, size);
        break;
      }
      case Transfer.read: {
        const [, requestId, key, offset, length] = message as unknown as [
          number,
          number,
          Buffer,
          number,
          number,
        ];
        const bytes =
          this.#store.sizeOf(key) === undefined ? undefined : this.#store.readChunk(key, offset, length);
        void channel.sendBlob([Transfer.chunk, requestId, offset], bytes ?? Buffer.alloc(0));
        break;
      }
      case Transfer.chunk: {
        const [, requestId, offset, bytes] = message as unknown as [number, number, number, Buffer];
        this.#onChunk(requestId, offset, bytes);
        break;
      }
      case Transfer.drop:
        this.#store.delete(message[1] as Buffer);
        break;
    }
  }

  onChannelClosed(channel: Channel): void {
    for (const [requestId, pull] of this.#pulls) {
      if (pull.channel === channel)
        this.#end(requestId, pull, "the connection to the node that holds it broke");
    }
  }

  async #pullFromAny(key: Buffer, sources: readonly unknown[]): Promise<string | null> {
    if (this.#store.contains(key)) return null;
    let why = "no node holds a copy";
    for (const tuple of sources) {
      const node = endpointFromTuple(tuple);
      if (node === undefined) continue;
      const failed = await this.#pullFrom(key, node);
      if (failed === null) return null;
      why = `node ${node.nodeId}: ${failed}`;
    }
    return why;
  }

  #pullFrom(key: Buffer, node: Endpoint): Promise<string | null> {
    const channel = this.#channelTo(node);
    if (channel.closed) return Promise.resolve("the node does not answer");
    return new Promise((finish) => {
      const requestId = this.#nextRequest++;
      this.#pulls.set(requestId, { key, channel, finish, writer: undefined, size: 0, next: 0, received: 0 });
      channel.send([Transfer.open, requestId, key]);
    });
  }

  #onMeta(requestId: number, size: number): void {
    const pull = this.#pulls.get(requestId);
    if (pull === undefined) return;
    if (size < 0) {
      this.#end(requestId, pull, "the copy is gone there");
      return;
    }
    try {
      pull.writer = this.#store.create(pull.key, size, { secondary: true });
    } catch (error) {
      this.#end(requestId, pull, (error as Error).message);
      return;
    }
    if (pull.writer === undefined) {
      // Another way brought it here meanwhile.
      this.#end(
        requestId,
        pull,
        this.#store.contains(pull.key) ? null : "it is being written here by someone else",
      );
      return;
    }
    pull.size = size;
    for (let i = 0; i < CHUNKS_IN_FLIGHT_MAX; i++) this.#askNext(requestId, pull);
    if (size === 0) this.#seal(requestId, pull);
  }

  #askNext(requestId: number, pull: Pull): void {
    if (pull.next >= pull.size) return;
    const length = Math.min(CHUNK_BYTES, pull.size - pull.next);
    pull.channel.send([Transfer.read, requestId, pull.key, pull.next, length]);
    pull.next += length;
  }

  #onChunk(requestId: number, offset: number, bytes: Buffer): void {
    const pull = this.#pulls.get(requestId);
    if (pull?.writer === undefined) return;
    if (bytes.length === 0 || offset + bytes.length > pull.size) {
      this.#end(requestId, pull, "the copy vanished there while it was read");
      return;
    }
    pull.writer.write(offset, bytes);
    pull.received += bytes.length;
    if (pull.received >= pull.size) this.#seal(requestId, pull);
    else this.#askNext(requestId, pull);
  }

  #seal(requestId: number, pull: Pull): void {
    pull.writer?.seal();
    pull.writer = undefined;
    this.#end(requestId, pull, null);
  }

  #end(requestId: number, pull: Pull, error: string | null): void {
    this.#pulls.delete(requestId);
    pull.writer?.abort();
    pull.finish(error);
  }
}
