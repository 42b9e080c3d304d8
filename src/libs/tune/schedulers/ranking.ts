/** Values of trials kept in order, so that percentiles and the best cost no sort per report. NaN ranks last. */

export class Ranking {
  /** Worst first; NaN before all. */
  readonly #sorted: { readonly id: string; readonly value: number }[] = [];
  readonly #ids = new Set<string>();
  #nans = 0;

  get size(): number {
    return this.#ids.size;
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  add(id: string, value: number): void {
    this.#ids.add(id);
    if (Number.isNaN(value)) {
      this.#sorted.splice(this.#nans++, 0, { id, value });
      return;
    }
    let low = this.#nans;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#sorted[middle] as { value: number }).value <= value) low = middle + 1;
      else high = middle;
    }
    this.#sorted.splice(low, 0, { id, value });
  }

  /** The ids with the largest values, best first; of equals the one that came later is taken first. */
  best(count: number): string[] {
    return count <= 0
      ? []
      : this.#sorted
          .slice(-count)
          .reverse()
          .map(({ id }) => id);
  }

  /** Linear interpolation between ranks, NaN left out; undefined without any number. */
  percentile(share: number): number | undefined {
    const count = this.#sorted.length - this.#nans;
    if (count === 0) return undefined;
    const at = share * (count - 1);
    const below = Math.floor(at);
    const valueAt = (rank: number) =>
      (this.#sorted[this.#nans + Math.min(rank, count - 1)] as { value: number }).value;
    const low = valueAt(below);
    return at === below ? low : low + (valueAt(below + 1) - low) * (at - below);
  }

  /** For `save`: NaN becomes null in JSON. */
  entries(): [string, number][] {
    return this.#sorted.map(({ id, value }) => [id, value]);
  }
}

/** The middle of the numbers; NaN when there is none. */
export function median(values: readonly number[]): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** Orders numbers ascending with NaN first. */
export function ascending(a: number, b: number): number {
  if (Number.isNaN(a)) return Number.isNaN(b) ? 0 : -1;
  return Number.isNaN(b) ? 1 : a - b;
}
