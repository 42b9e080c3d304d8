/**
 * The other nodes of the cluster, as the head tells of them: who is told here when one comes, changes, is drained or
 * dies, and which processes of it have ended with it.
 */
import { type Endpoint, endpointFromTuple } from "../core/base/endpoint.ts";
import type { NodeInfo } from "../core/wire/gen/tsray/v1/common.ts";
import type { ClusterUpdate, NodeRoom } from "../core/wire/gen/tsray/v1/head.ts";
import { ForeignOwners } from "./foreign-owners.ts";
import type { LeaseEvent } from "./lease/lease-machine.ts";
import type { NodeView } from "./scheduling/policy.ts";

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
  /** Of those that take work, as last told. */
  readonly #views = new Map<string, NodeView>();
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
  update({ nodes, rooms, registered: isAll }: Pick<ClusterUpdate, "nodes" | "rooms" | "registered">): void {
    if (isAll) {
      const alive = new Set(nodes.map(({ nodeId }) => nodeId));
      for (const nodeId of [...this.#targets.keys()]) {
        if (!alive.has(nodeId)) this.#gone(nodeId, `node ${nodeId} is no longer part of the cluster`);
      }
    }
    for (const node of nodes) if (node.nodeId !== this.#parts.nodeId) this.#update(node);
    for (const room of rooms) this.#hasRoom(room);
  }

  #update({ nodeId, state, alive, rayletAddress, total, available, labels, deathReason }: NodeInfo): void {
    const { feedLeases } = this.#parts;
    if (!alive) this.#gone(nodeId, deathReason);
    else if (state === "DRAINING") {
      // It takes no work, but what lies there can still be had.
      this.#targets.set(nodeId, "");
      this.#views.delete(nodeId);
      feedLeases({ kind: "nodeGone", nodeId });
    } else {
      this.#targets.set(nodeId, rayletAddress);
      this.#seen({
        nodeId,
        address: rayletAddress,
        total: total?.amounts ?? {},
        available: available?.amounts ?? {},
        labels,
      });
    }
  }

  /** Of one that is not known to take work it does not matter. */
  #hasRoom({ nodeId, available, total, gone }: NodeRoom): void {
    const view = this.#views.get(nodeId);
    if (view === undefined) return;
    const node = {
      ...view,
      available: { ...view.available, ...available },
      total: { ...view.total, ...total },
    };
    for (const name of gone) {
      delete node.available[name];
      delete node.total[name];
    }
    this.#seen(node);
  }

  #seen(node: NodeView): void {
    this.#views.set(node.nodeId, node);
    this.#parts.feedLeases({ kind: "nodeView", node });
  }

  #gone(nodeId: string, reason: string): void {
    this.#targets.delete(nodeId);
    this.#views.delete(nodeId);
    this.#parts.feedLeases({ kind: "nodeGone", nodeId });
    this.#parts.onGone(nodeId, reason);
    for (const processId of this.#owners.nodeEnded(nodeId)) this.#parts.onOwnerEnded(processId);
  }
}
