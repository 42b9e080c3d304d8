/** Several objectives, less being better: domination, ranks, crowding. */

/** No worse in any objective and better in one. */
export function dominates(a: readonly number[], b: readonly number[]): boolean {
  let better = false;
  for (let i = 0; i < a.length; i++) {
    if (a[i]! > b[i]!) return false;
    if (a[i]! < b[i]!) better = true;
  }
  return better;
}

/** Indices front by front: front 0 is dominated by none, front 1 only by front 0, and so on. */
export function paretoFronts(points: readonly (readonly number[])[]): number[][] {
  const dominators = new Uint32Array(points.length);
  const dominated: number[][] = points.map(() => []);
  for (let i = 0; i < points.length; i++) {
    for (let j = 0; j < i; j++) {
      if (dominates(points[i]!, points[j]!)) {
        dominated[i]!.push(j);
        dominators[j]! += 1;
      } else if (dominates(points[j]!, points[i]!)) {
        dominated[j]!.push(i);
        dominators[i]! += 1;
      }
    }
  }
  const fronts: number[][] = [];
  let front = [...points.keys()].filter((i) => dominators[i] === 0);
  while (front.length > 0) {
    fronts.push(front);
    const next: number[] = [];
    for (const i of front) for (const j of dominated[i]!) if (--dominators[j]! === 0) next.push(j);
    front = next.sort((a, b) => a - b);
  }
  return fronts;
}

/** Crowding distance of each member of a front (Deb et al., NSGA-II, 2002): large at the ends and where it is sparse. */
export function crowding(
  points: readonly (readonly number[])[],
  front: readonly number[],
): Map<number, number> {
  const distance = new Map(front.map((i) => [i, 0]));
  const objectives = points[front[0]!]?.length ?? 0;
  for (let m = 0; m < objectives; m++) {
    const order = [...front].sort((a, b) => points[a]![m]! - points[b]![m]!);
    const width = points[order.at(-1)!]![m]! - points[order[0]!]![m]!;
    for (const [rank, i] of order.entries()) {
      const before = order[rank - 1];
      const after = order[rank + 1];
      const gap =
        before === undefined || after === undefined
          ? Number.POSITIVE_INFINITY
          : width > 0 && Number.isFinite(width)
            ? (points[after]![m]! - points[before]![m]!) / width
            : 0;
      distance.set(i, distance.get(i)! + gap);
    }
  }
  return distance;
}

/** Indices from best to worst, at least the first `count` in order: by value, or by front and then crowding. */
export function paretoOrder(points: readonly (readonly number[])[], count: number): number[] {
  if ((points[0]?.length ?? 1) === 1)
    return [...points.keys()].sort((a, b) => points[a]![0]! - points[b]![0]!);
  const order: number[] = [];
  for (const front of paretoFronts(points)) {
    const spread = crowding(points, front);
    order.push(...front.sort((a, b) => spread.get(b)! - spread.get(a)! || a - b));
    if (order.length >= count) break;
  }
  return order;
}

/** Indices of the points that no other dominates, with a direction per objective. NaN is never among them. */
export function paretoFront(
  points: readonly (readonly number[])[],
  directions: readonly ("min" | "max")[],
): number[] {
  const known = [...points.keys()].filter((i) => !points[i]!.some(Number.isNaN));
  const turned = known.map((i) => points[i]!.map((x, m) => (directions[m] === "max" ? -x : x)));
  return (paretoFronts(turned)[0] ?? []).map((i) => known[i]!);
}
