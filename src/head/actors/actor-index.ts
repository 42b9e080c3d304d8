/**
 * Who is concerned when a node, a process or a job ends: sets of actor ids by what their lives hang on.
 */
export class ActorIndex {
  readonly #idsByKey = new Map<string, Set<string>>();

  add(key: string, actorId: string): void {
    const ids = this.#idsByKey.get(key);
    if (ids === undefined) this.#idsByKey.set(key, new Set([actorId]));
    else ids.add(actorId);
  }

  remove(key: string, actorId: string): void {
    const ids = this.#idsByKey.get(key);
    if (ids?.delete(actorId) && ids.size === 0) this.#idsByKey.delete(key);
  }

  /** A copy: what is done to the actors may change the index. */
  get(key: string): string[] {
    return [...(this.#idsByKey.get(key) ?? [])];
  }

  count(key: string): number {
    return this.#idsByKey.get(key)?.size ?? 0;
  }
}
