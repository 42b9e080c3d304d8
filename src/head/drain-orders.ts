/**
 * Nodes that are told to leave. Decides when the order is acknowledged (when it is on the store, since the next head then
 * gives it too), and that it is told to the raylet until that has answered, or its node is gone or says that it leaves.
 */
import { TsrayError } from "../core/base/errors.ts";
import { unary } from "../core/rpc/grpc.ts";
import type { DrainNodeReply, DrainNodeRequest } from "../core/wire/gen/tsray/v1/head.ts";
import type { NodeTable } from "./nodes.ts";
import type { RayletClients } from "./raylet-clients.ts";
import { Timers } from "./timers.ts";

const CALL_TIMEOUT_MS = 5000;
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 2000;

export interface DrainOrdersOptions {
  readonly nodes: Pick<NodeTable, "drain" | "isAlive">;
  readonly clients: RayletClients;
  readonly log: (line: string) => void;
}

export class DrainOrders {
  readonly #options: DrainOrdersOptions;
  /** Nodes that are being told. */
  readonly #telling = new Set<string>();
  readonly #timers = new Timers();
  #isClosed = false;

  constructor(options: DrainOrdersOptions) {
    this.#options = options;
  }

  /** @throws ClusterUnreachableError when it cannot be stored: then nothing has happened, and it may be repeated */
  async drain(order: DrainNodeRequest): Promise<DrainNodeReply> {
    if (!(await this.#options.nodes.drain(order))) return { found: false };
    void this.tell(order);
    return { found: true };
  }

  /** The raylet may not have heard of it: a repeat is nothing new to it. */
  async tell({ nodeId, graceMs, reason }: DrainNodeRequest): Promise<void> {
    const { nodes, clients, log } = this.#options;
    if (this.#telling.has(nodeId)) return;
    this.#telling.add(nodeId);
    for (let waitMs = RETRY_MS_MIN; !this.#isClosed && nodes.isAlive(nodeId); waitMs *= 2) {
      try {
        await clients.callNow(nodeId, (client) =>
          unary(client, client.drain, { graceMs, reason }, CALL_TIMEOUT_MS),
        );
        break;
      } catch (error) {
        log(`node ${nodeId} could not be told to leave: ${(error as Error).message}`);
        if (error instanceof TsrayError && !error.retryable) break;
      }
      await new Promise<void>((resolve) => this.#timers.after(Math.min(waitMs, RETRY_MS_MAX), resolve));
    }
    this.#telling.delete(nodeId);
  }

  close(): void {
    this.#isClosed = true;
    this.#timers.close();
  }
}
