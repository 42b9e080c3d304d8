/**
 * What the other nodes have free, as this one believes. Pure.
 *
 * What is sent to a node is counted off its last report, so that the next task does not go where there is no room any
 * more. The count ends with the node's next report, or with the second tick after it: a node that reports nothing new
 * has had the time to begin what was sent, so it was not taken there, or is over again.
 */
import { add, type Resources, subtract } from "../../core/base/resources.ts";
import type { NodeView } from "./policy.ts";

interface Believed extends NodeView {
  readonly available: Record<string, number>;
}

/** Counted off a node, by age. */
interface Sent {
  readonly sinceTick: Record<string, number>;
  readonly beforeTick: Record<string, number>;
}

export class OtherViews {
  readonly #views = new Map<string, Believed>();
  readonly #sent = new Map<string, Sent>();

  get(nodeId: string): NodeView | undefined {
    return this.#views.get(nodeId);
  }

  all(): Iterable<NodeView> {
    return this.#views.values();
  }

  /** Whether something is counted off: then ticks are wanted. */
  get isCounting(): boolean {
    return this.#sent.size > 0;
  }

  reported(node: NodeView): void {
    this.#views.set(node.nodeId, { ...node, available: { ...node.available } });
    this.#sent.delete(node.nodeId);
  }

  gone(nodeId: string): void {
    this.#views.delete(nodeId);
    this.#sent.delete(nodeId);
  }

  sent(nodeId: string, resources: Resources, count: number): void {
    const view = this.#views.get(nodeId);
    if (view === undefined) return;
    const { sinceTick, beforeTick } = this.#sent.get(nodeId) ?? { sinceTick: {}, beforeTick: {} };
    for (let i = 0; i < count; i++) {
      subtract(view.available, resources);
      add(sinceTick, resources);
    }
    this.#sent.set(nodeId, { sinceTick, beforeTick });
  }

  tick(): void {
    for (const [nodeId, { sinceTick, beforeTick }] of this.#sent) {
      const view = this.#views.get(nodeId);
      if (view !== undefined) add(view.available, beforeTick);
      if (Object.keys(sinceTick).length === 0) this.#sent.delete(nodeId);
      else this.#sent.set(nodeId, { sinceTick: {}, beforeTick: sinceTick });
    }
  }
}
