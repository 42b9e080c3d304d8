/**
 * The head's calls to raylets: one gRPC client per live node with one stream for the calls that are many, and a bound on
 * those that wait for each. Every call carries the epoch of this head, so that a raylet which has heard of a later one
 * refuses it.
 */
import { CallStream, type Method } from "../core/rpc/call-stream.ts";
import { createClient, EPOCH_KEY } from "../core/rpc/grpc.ts";
import { RayletServiceClient } from "../core/wire/gen/tsray/v1/raylet.ts";

/** Calls under way to one raylet; further ones wait their turn here, where no deadline runs. */
const CALLS_IN_FLIGHT_PER_NODE_MAX = 64;

interface Node {
  readonly address: string;
  readonly client: RayletServiceClient;
  readonly calls: CallStream;
  inFlight: number;
  readonly queue: (() => void)[];
}

export class RayletClients {
  readonly #nodes = new Map<string, Node>();
  readonly #token: string;
  readonly #epoch: number;

  constructor(token: string, epoch: number) {
    this.#token = token;
    this.#epoch = epoch;
  }

  add(nodeId: string, address: string): void {
    if (this.#nodes.get(nodeId)?.address === address) return;
    this.drop(nodeId);
    const client = createClient(RayletServiceClient, address, this.#token, {
      [EPOCH_KEY]: String(this.#epoch),
    });
    this.#nodes.set(nodeId, { address, client, calls: new CallStream(client), inFlight: 0, queue: [] });
  }

  /** Makes one call to the node when its turn comes. @throws when the node is gone, or as the call does */
  async call<Q, R>(nodeId: string, method: Method<Q, R>, request: Q, timeoutMs: number): Promise<R> {
    const node = this.#node(nodeId);
    if (node.inFlight >= CALLS_IN_FLIGHT_PER_NODE_MAX)
      await new Promise<void>((resolve) => node.queue.push(resolve));
    node.inFlight += 1;
    try {
      return await node.calls.call(method, request, timeoutMs);
    } finally {
      node.inFlight -= 1;
      node.queue.shift()?.();
    }
  }

  /** Makes a call of its own that does not wait for others: for short questions with a short deadline. */
  async callNow<R>(nodeId: string, send: (client: RayletServiceClient) => Promise<R>): Promise<R> {
    return send(this.#node(nodeId).client);
  }

  drop(nodeId: string): void {
    const node = this.#nodes.get(nodeId);
    if (node === undefined) return;
    this.#nodes.delete(nodeId);
    node.calls.close();
    node.client.close();
    // Those that wait fail at the closed client, each in its turn.
    node.queue.shift()?.();
  }

  close(): void {
    for (const nodeId of [...this.#nodes.keys()]) this.drop(nodeId);
  }

  #node(nodeId: string): Node {
    const node = this.#nodes.get(nodeId);
    if (node === undefined) throw new Error(`node ${nodeId} is not part of the cluster`);
    return node;
  }
}
