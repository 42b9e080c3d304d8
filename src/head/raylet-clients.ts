/**
 * The head's calls to raylets: one gRPC client per live node, and a bound on the calls that wait for each.
 */
import { createClient, unary } from "../core/rpc/grpc.ts";
import { RayletServiceClient } from "../core/wire/gen/tsray/v1/raylet.ts";

/** Calls under way to one raylet; further ones wait their turn here, where no deadline runs. */
const CALLS_IN_FLIGHT_PER_NODE_MAX = 64;

/** A node that answers none of these is gone. */
const PROBES_MAX = 3;
const PROBE_PAUSE_MS = 50;

interface Node {
  readonly address: string;
  readonly client: RayletServiceClient;
  inFlight: number;
  readonly queue: (() => void)[];
}

export class RayletClients {
  readonly #nodes = new Map<string, Node>();
  readonly #token: string;

  constructor(token: string) {
    this.#token = token;
  }

  add(nodeId: string, address: string): void {
    if (this.#nodes.get(nodeId)?.address === address) return;
    this.drop(nodeId);
    const client = createClient(RayletServiceClient, address, this.#token);
    this.#nodes.set(nodeId, { address, client, inFlight: 0, queue: [] });
  }

  /** Makes one call to the node when its turn comes. @throws when the node is gone, or as the call does */
  async call<R>(nodeId: string, send: (client: RayletServiceClient) => Promise<R>): Promise<R> {
    const node = this.#node(nodeId);
    if (node.inFlight >= CALLS_IN_FLIGHT_PER_NODE_MAX)
      await new Promise<void>((resolve) => node.queue.push(resolve));
    node.inFlight += 1;
    try {
      return await send(node.client);
    } finally {
      node.inFlight -= 1;
      node.queue.shift()?.();
    }
  }

  /** Makes a call that does not wait for others: for short questions with a short deadline. */
  async callNow<R>(nodeId: string, send: (client: RayletServiceClient) => Promise<R>): Promise<R> {
    return send(this.#node(nodeId).client);
  }

  /** Whether the raylet of that node answers, and is the one that is meant. */
  async ping(nodeId: string, timeoutMs: number): Promise<boolean> {
    for (let probe = 1; probe <= PROBES_MAX; probe++) {
      try {
        const reply = await this.callNow(nodeId, (client) => unary(client, client.ping, {}, timeoutMs));
        return reply.nodeId === nodeId;
      } catch {
        // One lost message must not cost a node its life.
        if (probe < PROBES_MAX) await new Promise((resolve) => setTimeout(resolve, PROBE_PAUSE_MS));
      }
    }
    return false;
  }

  drop(nodeId: string): void {
    const node = this.#nodes.get(nodeId);
    if (node === undefined) return;
    this.#nodes.delete(nodeId);
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
