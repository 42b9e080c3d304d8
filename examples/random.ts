// Seeded random numbers, so that every run of an example computes the same thing.

/** Gives uniform numbers in [0, 1). Who keeps `state` and sets it again gets the same numbers again. */
export interface SeededRandom {
  (): number;
  state: number;
}

/** mulberry32: small and good enough for examples. */
export function seededRandom(seed: number): SeededRandom {
  const next: SeededRandom = () => {
    next.state = (next.state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(next.state ^ (next.state >>> 15), next.state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
  next.state = seed >>> 0;
  return next;
}

/** One draw from the standard normal distribution (Box-Muller). */
export function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Shuffles in place (Fisher-Yates) and returns the same array. */
export function shuffle<T extends { [index: number]: number; length: number }>(
  items: T,
  random: () => number,
): T {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const kept = items[last]!;
    items[last] = items[other]!;
    items[other] = kept;
  }
  return items;
}
