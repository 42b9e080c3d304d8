/**
 * A map that forgets its oldest entry when it would grow over its bound: the histories of the head.
 */
export class BoundedMap<K, V> {
  readonly #entries = new Map<K, V>();
  readonly #entriesMax: number;
  readonly #onEvict: (key: K, value: V) => void;

  constructor(entriesMax: number, onEvict: (key: K, value: V) => void = () => {}) {
    this.#entriesMax = entriesMax;
    this.#onEvict = onEvict;
  }

  get(key: K): V | undefined {
    return this.#entries.get(key);
  }

  has(key: K): boolean {
    return this.#entries.has(key);
  }

  /** Adds or replaces; an entry that is replaced becomes the newest. */
  set(key: K, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#entriesMax) return;
    const [oldest] = this.#entries;
    if (oldest === undefined) return;
    this.#entries.delete(oldest[0]);
    this.#onEvict(...oldest);
  }

  delete(key: K): void {
    this.#entries.delete(key);
  }

  values(): Iterable<V> {
    return this.#entries.values();
  }
}
