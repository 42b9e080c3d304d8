/** Who waits for news of an actor or a placement group, by its id. */
export class Watchers {
  readonly #wakesById = new Map<string, Set<() => void>>();

  /** @returns what ends it */
  add(id: string, wake: () => void): () => void {
    const wakes = this.#wakesById.get(id) ?? new Set();
    this.#wakesById.set(id, wakes.add(wake));
    return () => {
      if (wakes.delete(wake) && wakes.size === 0) this.#wakesById.delete(id);
    };
  }

  wake(id: string): void {
    for (const wake of [...(this.#wakesById.get(id) ?? [])]) wake();
  }

  wakeAll(): void {
    for (const id of [...this.#wakesById.keys()]) this.wake(id);
  }
}
