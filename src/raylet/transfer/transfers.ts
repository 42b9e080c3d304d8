/**
 * Objects between nodes, put together: this raylet pulls what its clients ask for, once however many ask, and serves what
 * others pull from it. Bytes are never decoded on the way.
 *
 * A pull goes on when those who asked have gone: the copy is a secondary one, so the store takes it back when it is short.
 */
import { existsSync } from "node:fs";
import { type Endpoint, endpointFromTuple } from "../../core/base/endpoint.ts";
import type { Channel } from "../../core/rpc/channel.ts";
import type { Identity } from "../../core/rpc/connection.ts";
import type { Message } from "../../core/rpc/frames.ts";
import { Transfer } from "../../core/rpc/messages.ts";
import { type ObjectStore, STORE_KEY_BYTES } from "../../core/store/object-store.ts";
import type { TransferCounts } from "../../core/wire/gen/tsray/v1/common.ts";
import { PullAdmission } from "./admission.ts";
import { DataLink, malformed } from "./data-link.ts";
import { transferFaults } from "./faults.ts";
import { Pull } from "./pull.ts";
import { Uploads } from "./uploads.ts";

/** Pulls under way take at most half of the room that is free, and an eighth of a full store, which makes room by spilling. */
const FREE_SHARE_MAX = 1 / 2;
const CAPACITY_SHARE_MIN = 1 / 8;
/** A copy that is here can be evicted between the look and the word that it shall stay. */
const KEEP_ATTEMPTS = 3;

export interface TransferParts {
  readonly store: ObjectStore;
  readonly identity: Identity;
  /** The ordinary channel to another raylet. */
  readonly channelTo: (node: Endpoint) => Channel;
  readonly log: (line: string) => void;
}

export class Transfers {
  readonly #parts: TransferParts;
  readonly #uploads: Uploads;
  readonly #admission: PullAdmission;
  readonly #links = new Map<string, DataLink>();
  readonly #pulls = new Map<string, { readonly pull: Pull; readonly result: Promise<string | null> }>();
  #sentBytes = 0;
  #receivedBytes = 0;
  #receivedObjects = 0;

  constructor(parts: TransferParts) {
    this.#parts = parts;
    const { store, identity } = parts;
    const onSent = (bytes: number) => {
      this.#sentBytes += bytes;
    };
    this.#uploads = new Uploads(store, onSent, transferFaults(identity.self.nodeId));
    this.#admission = new PullAdmission(() => {
      const { capacityBytes, usedBytes, evictableBytes } = store.stats();
      // What is under way has its room already.
      const freeBytes = capacityBytes - usedBytes + evictableBytes + this.#admission.runningBytes;
      return Math.max(freeBytes * FREE_SHARE_MAX, capacityBytes * CAPACITY_SHARE_MIN);
    });
  }

  /** Since the raylet started. */
  get counts(): TransferCounts {
    return {
      sentBytes: this.#sentBytes,
      receivedBytes: this.#receivedBytes,
      receivedObjects: this.#receivedObjects,
    };
  }

  /**
   * Has an object here that stays until it is freed, because its primary copy goes: brought from one of `sources`, or
   * the copy that is here already.
   * @returns null, or why that failed
   */
  async keep(key: Buffer, sources: readonly unknown[]): Promise<string | null> {
    for (let attempt = 0; attempt < KEEP_ATTEMPTS; attempt++) {
      const failed = await this.pull(key, sources, true);
      if (failed !== null || this.#parts.store.keep(key)) return failed;
    }
    return "its copy here was evicted as often as it came";
  }

  /** Has the first of these nodes keep its copy, or bring one there from the others. */
  keepAt(key: Buffer, [first, ...others]: readonly unknown[]): void {
    const node = endpointFromTuple(first);
    if (node?.nodeId === this.#parts.identity.self.nodeId) void this.keep(key, others);
    else if (node !== undefined) this.#parts.channelTo(node).send([Transfer.keep, key, others]);
  }

  /**
   * Brings an object here from one of `sources`.
   * @param isPrimary as what it is made if it is not here yet: it stays until it is freed
   * @returns null, or why that failed
   */
  pull(key: Buffer, sources: readonly unknown[], isPrimary = false): Promise<string | null> {
    const id = key.toString("hex");
    const running = this.#pulls.get(id);
    if (running !== undefined) {
      running.pull.addSources(sources);
      return running.result;
    }
    const { store, identity } = this.#parts;
    const pull = new Pull(key, {
      store,
      admission: this.#admission,
      isPrimary,
      rules: { selfNodeId: identity.self.nodeId, isNear, random: Math.random },
      linkTo: (node) => this.#linkTo(node),
      onReceived: (bytes) => {
        this.#receivedBytes += bytes;
      },
    });
    pull.addSources(sources);
    const result = pull.run().then((failed) => {
      this.#pulls.delete(id);
      if (failed === null) this.#receivedObjects += 1;
      return failed;
    });
    this.#pulls.set(id, { pull, result });
    return result;
  }

  /** An object is freed: drops the copy here, also one on its way, and has other nodes drop theirs. */
  free(key: Buffer, nodes: readonly unknown[]): void {
    this.#drop(key);
    for (const tuple of nodes) {
      const node = endpointFromTuple(tuple);
      if (node !== undefined) this.#parts.channelTo(node).send([Transfer.drop, key]);
    }
  }

  /**
   * A message of another raylet.
   * @throws ClusterUnreachableError for what no raylet of ours would send: the channel ends with it
   */
  onMessage(channel: Channel, message: Message): void {
    const [kind, key, nodes] = message;
    if (kind !== Transfer.drop && kind !== Transfer.keep) {
      this.#uploads.onMessage(channel, message);
      return;
    }
    if (!Buffer.isBuffer(key) || key.length !== STORE_KEY_BYTES)
      throw malformed("dropped or keeps what is no key");
    // Where it cannot be kept, whoever reads it finds out.
    if (kind === Transfer.keep) void this.keep(key, Array.isArray(nodes) ? nodes : []);
    else this.#drop(key);
  }

  onNodeGone(nodeId: string, reason: string): void {
    this.#links.get(nodeId)?.destroy(reason);
    this.#uploads.onNodeGone(nodeId);
  }

  close(): void {
    for (const link of [...this.#links.values()]) link.destroy("this node is ending");
    this.#uploads.close();
  }

  #drop(key: Buffer): void {
    this.#pulls.get(key.toString("hex"))?.pull.free();
    this.#parts.store.delete(key);
    this.#uploads.forget(key);
  }

  #linkTo(node: Endpoint): DataLink {
    const known = this.#links.get(node.nodeId);
    if (known !== undefined && !known.isClosed) return known;
    const link = new DataLink(node, this.#parts.identity, (error) => {
      if (this.#links.get(node.nodeId) === link) this.#links.delete(node.nodeId);
      if (error !== undefined)
        this.#parts.log(`connection for objects of node ${node.nodeId}: ${error.message}`);
    });
    this.#links.set(node.nodeId, link);
    return link;
  }
}

/** Whether the node runs on this machine. */
function isNear(node: Endpoint): boolean {
  return node.unixPath !== "" && existsSync(node.unixPath);
}
