/** The actors that this process has to do with, by id, each for as long as something here uses its client. */
import type { ActorClient } from "./actor-client.ts";

export class KnownActors {
  readonly #clients = new Map<string, WeakRef<ActorClient>>();
  readonly #collected = new FinalizationRegistry<string>((actorId) => {
    // There may be another by now.
    if (this.get(actorId) === undefined) this.#clients.delete(actorId);
  });

  get(actorId: string): ActorClient | undefined {
    return this.#clients.get(actorId)?.deref();
  }

  set(actorId: string, client: ActorClient): void {
    this.#clients.set(actorId, new WeakRef(client));
    this.#collected.register(client, actorId);
  }

  delete(actorId: string): void {
    this.#clients.delete(actorId);
  }

  *values(): IterableIterator<ActorClient> {
    for (const client of this.#clients.values()) {
      const alive = client.deref();
      if (alive !== undefined) yield alive;
    }
  }
}
