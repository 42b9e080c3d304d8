/**
 * Which processes of other nodes have to do with this one: their objects may lie here. When their node ends, so have
 * they, and nobody tells of each; when this node leaves, they must learn where their objects are now.
 */
import type { Endpoint } from "../core/base/endpoint.ts";

/** The oldest is forgotten first. */
const OWNERS_MAX = 100_000;

export class ForeignOwners {
  readonly #owners = new Map<string, Endpoint>();

  note(owner: Endpoint): void {
    this.#owners.set(owner.processId, owner);
    const [oldest] = this.#owners.keys();
    if (this.#owners.size > OWNERS_MAX && oldest !== undefined) this.#owners.delete(oldest);
  }

  get(processId: string): Endpoint | undefined {
    return this.#owners.get(processId);
  }

  ended(processId: string): void {
    this.#owners.delete(processId);
  }

  /** @returns the processes that have ended with the node */
  nodeEnded(nodeId: string): string[] {
    const gone = [...this.#owners.values()].filter((owner) => owner.nodeId === nodeId);
    for (const { processId } of gone) this.#owners.delete(processId);
    return gone.map(({ processId }) => processId);
  }
}
