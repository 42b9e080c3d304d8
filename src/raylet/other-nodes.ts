/**
 * The other nodes of the cluster, as the head tells of them: who is told here when one comes, changes, is drained or
 * dies, and which processes of it have ended with it.
 */
import { type Endpoint, endpointFromTuple } from "../core/base/endpoint.ts";
import type { NodeInfo } from "../core/wire/gen/tsray/v1/common.ts";
import { ForeignOwners } from "./foreign-owners.ts";
import type { LeaseEvent } from "./lease/lease-machine.ts";

export interface OtherNodesParts {
  readonly nodeId: string;
  readonly feedLeases: (event: LeaseEvent) => void;
  readonly onGone: (nodeId: string, reason: string) => void;
  /** A process is gone, and what it owned is nobody's. */
  readonly onOwnerEnded: (processId: string) => void;
}

export class OtherNodes {
  readonly #parts: OtherNodesParts;
  /** gRPC targets of their raylets; "" of those that are being drained. */
  readonly #targets = new Map<string, string>();
  readonly #owners = new ForeignOwners();

  constructor(parts: OtherNodesParts) {
    this.#parts = parts;
  }

  /** gRPC targets of the raylets that take work. */
  targets(): string[] {
    return [...this.#targets.values()].filter((target) => target !== "");
  }

  ownerOf(processId: string): Endpoint | undefined {
    return this.#owners.get(processId);
  }

  /** A client has to do with this process of another node. */
  note(tuple: unknown): void {
    const process = endpointFromTuple(tuple);
    if (process !== undefined) this.#owners.note(process);
  }

  ownerEnded(processId: string): void {
    this.#owners.ended(processId);
    this.#parts.onOwnerEnded(processId);
  }

  /** @param isAll these are all there are: others that were known are gone */
  update(nodes: readonly NodeInfo[], isAll: boolean): void {
    if (isAll) {
      const alive = new Set(nodes.map(({ nodeId }) => nodeId));
      for (const nodeId of [...this.#targets.keys()]) {
        if (!alive.has(nodeId)) this.#gone(nodeId, `node ${nodeId} is no longer part of the cluster`);
      }
    }
    for (const node of nodes) if (node.nodeId !== this.#parts.nodeId) this.#update(node);
  }

  #update({ nodeId, state, alive, rayletAddress, total, available, labels, deathReason }: NodeInfo): void {
    const { feedLeases } = this.#parts;
    if (!alive) this.#gone(nodeId, deathReason);
    else if (state === "DRAINING") {
      // It takes no work, but what lies there can still be had.
      this.#targets.set(nodeId, "");
      feedLeases({ kind: "nodeGone", nodeId });
    } else {
      this.#targets.set(nodeId, rayletAddress);
      feedLeases({
        kind: "nodeView",
        node: {
          nodeId,
          address: rayletAddress,
          total: total?.amounts ?? {},
          available: available?.amounts ?? {},
          labels,
        },
      });
    }
  }

  #gone(nodeId: string, reason: string): void {
    this.#targets.delete(nodeId);
    this.#parts.feedLeases({ kind: "nodeGone", nodeId });
    this.#parts.onGone(nodeId, reason);
    for (const processId of this.#owners.nodeEnded(nodeId)) this.#parts.onOwnerEnded(processId);
  }
}
