// Nodes of the transfer tests: a store, a server and the transfers of a raylet, with real memory and real sockets.
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Endpoint, endpointToTuple } from "../../core/base/endpoint.ts";
import type { Channel } from "../../core/rpc/channel.ts";
import { type ChannelServer, listenForChannels } from "../../core/rpc/channel-server.ts";
import type { Identity } from "../../core/rpc/connection.ts";
import type { Message } from "../../core/rpc/frames.ts";
import { Peers } from "../../core/rpc/peers.ts";
import { FileStore } from "../../core/store/file-store.ts";
import { createStore, type OwnedObjectStore } from "../../core/store/open-store.ts";
import { Transfers } from "./transfers.ts";

export const TOKEN = "a token of this test, long enough";
const MIB = 1024 * 1024;

export interface NodeOptions {
  readonly storeBytes?: number;
  /** The store without the addon. */
  readonly files?: boolean;
  /** As TSRAY_TEST_TRANSFER in the raylet's environment. */
  readonly faults?: string;
}

export class Node implements Disposable {
  readonly id: string;
  readonly store: OwnedObjectStore;
  readonly transfers: Transfers;
  readonly log: string[] = [];
  readonly #dir: string;
  readonly #server: ChannelServer;
  readonly #peers: Peers;
  #gone = false;

  private constructor(id: string, dir: string, server: ChannelServer, options: NodeOptions) {
    this.id = id;
    this.#dir = dir;
    this.#server = server;
    const path = `/dev/shm/tsray-test-${randomBytes(8).toString("hex")}`;
    const capacityBytes = options.storeBytes ?? 64 * MIB;
    this.store = options.files === true ? filesAt(path, capacityBytes) : createStore({ path, capacityBytes });
    const identity: Identity = { self: server.endpoint, token: TOKEN };
    this.#peers = new Peers(
      identity,
      () => {},
      () => {},
    );
    if (options.faults !== undefined) process.env.TSRAY_TEST_TRANSFER = options.faults;
    this.transfers = new Transfers({
      store: this.store,
      identity,
      channelTo: (node) => this.#peers.to(node),
      log: (line) => this.log.push(line),
    });
    delete process.env.TSRAY_TEST_TRANSFER;
  }

  static async start(options: NodeOptions = {}): Promise<Node> {
    const id = randomBytes(8).toString("hex");
    const dir = mkdtempSync(join(tmpdir(), "tst-"));
    let node: Node | undefined;
    const onPeer = (channel: Channel) => {
      channel.onMessage = (message) => node?.transfers.onMessage(channel, message);
    };
    const server = await serve(id, dir, onPeer, (line) => node?.log.push(line));
    node = new Node(id, dir, server, options);
    return node;
  }

  get endpoint(): Endpoint {
    return this.#server.endpoint;
  }

  get tuple(): readonly unknown[] {
    return endpointToTuple(this.endpoint);
  }

  /** A new object of so many random bytes. */
  put(size: number, key: Buffer = randomBytes(16)): { readonly key: Buffer; readonly bytes: Buffer } {
    const bytes = randomBytes(size);
    this.store.put(key, size, size === 0 ? [] : [{ offset: 0, bytes }]);
    return { key, bytes };
  }

  /** Pulls, and says whether what is here then is what it should be. */
  async pulls(key: Buffer, from: readonly Node[], expected: Buffer): Promise<string | null | "other bytes"> {
    const failed = await this.transfers.pull(
      key,
      from.map(({ tuple }) => tuple),
    );
    if (failed !== null) return failed;
    return this.store.get(key)?.equals(expected) === true ? null : "other bytes";
  }

  /** It dies, as far as others can see. */
  [Symbol.dispose](): void {
    if (this.#gone) return;
    this.#gone = true;
    this.transfers.close();
    this.#peers.closeAll();
    this.#server.close();
    this.store.destroy();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** Something in a raylet's place that answers as the test says. */
export class Impostor implements Disposable {
  readonly endpoint: Endpoint;
  readonly #server: ChannelServer;
  readonly #dir: string;

  private constructor(server: ChannelServer, dir: string) {
    this.endpoint = server.endpoint;
    this.#server = server;
    this.#dir = dir;
  }

  static async start(answer: (channel: Channel, message: Message) => void): Promise<Impostor> {
    const dir = mkdtempSync(join(tmpdir(), "tst-"));
    const server = await serve(randomBytes(8).toString("hex"), dir, (channel) => {
      channel.onMessage = (message) => answer(channel, message);
    });
    return new Impostor(server, dir);
  }

  get tuple(): readonly unknown[] {
    return endpointToTuple(this.endpoint);
  }

  [Symbol.dispose](): void {
    this.#server.close();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

function serve(
  id: string,
  dir: string,
  onPeer: (channel: Channel) => void,
  log?: (line: string) => void,
): Promise<ChannelServer> {
  const unixPath = join(dir, "raylet.sock");
  return listenForChannels({
    processId: id,
    nodeId: id,
    unixPath,
    host: "127.0.0.1",
    token: TOKEN,
    onPeer,
    log,
  });
}

function filesAt(path: string, capacityBytes: number): OwnedObjectStore {
  const store = FileStore.create(path, capacityBytes);
  return Object.assign(store, {
    destroy(): void {
      store.close();
      rmSync(path, { recursive: true, force: true });
    },
  });
}
