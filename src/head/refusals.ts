/**
 * Nodes whose raylets would not have an actor or a bundle that their view had room for: others are asked first.
 */
import { Timers } from "./timers.ts";

/** A node that refused something is asked for it again after this time, or when it reports other resources. */
const REFUSED_MS = 1000;

interface Refusal {
  /** Of the node's view. */
  readonly revision: number;
  readonly timer: NodeJS.Timeout;
}

export class Refusals {
  readonly #revisionOf: (nodeId: string) => number;
  readonly #onOver: () => void;
  readonly #timers = new Timers();
  /** By what was refused, then by node. */
  readonly #refusedBy = new Map<string, Map<string, Refusal>>();

  /** @param onOver a node may be asked again */
  constructor(revisionOf: (nodeId: string) => number, onOver: () => void) {
    this.#revisionOf = revisionOf;
    this.#onOver = onOver;
  }

  note(id: string, nodeId: string): void {
    const nodes = this.#refusedBy.get(id) ?? new Map<string, Refusal>();
    this.#timers.cancel(nodes.get(nodeId)?.timer);
    const timer = this.#timers.after(REFUSED_MS, () => {
      nodes.delete(nodeId);
      if (nodes.size === 0) this.#refusedBy.delete(id);
      this.#onOver();
    });
    this.#refusedBy.set(id, nodes.set(nodeId, { revision: this.#revisionOf(nodeId), timer }));
  }

  has(id: string): boolean {
    return this.#refusedBy.has(id);
  }

  /** Whether the node may be asked for it now. */
  allows(id: string, nodeId: string): boolean {
    const refusal = this.#refusedBy.get(id)?.get(nodeId);
    return refusal?.revision !== this.#revisionOf(nodeId);
  }

  close(): void {
    this.#timers.close();
  }
}
