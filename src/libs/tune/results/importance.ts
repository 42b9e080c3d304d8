/**
 * How much each parameter matters for the metric: a random forest is fitted to the trials (Breiman 2001), and a parameter's
 * importance is how much worse the forest does on trials it did not see when that parameter's values are shuffled among them.
 */
import { Random } from "../random.ts";

export interface Importance {
  readonly parameter: string;
  /** Shares; they sum to 1 unless nothing matters. */
  readonly share: number;
}

const TREES = 48;
const DEPTH_MAX = 12;
const LEAF_MIN = 2;
/** Fewer trials tell nothing. */
const TRIALS_MIN = 8;
const TRIALS_MAX = 1000;

interface Tree {
  readonly feature: number;
  readonly threshold: number;
  readonly left: Tree | number;
  readonly right: Tree | number;
}

/** Empty where there are too few trials or nothing varies. */
export function importances(
  rows: readonly Readonly<Record<string, unknown>>[],
  values: readonly number[],
  seed = 0,
): Importance[] {
  const finite = rows.map((_, i) => i).filter((i) => Number.isFinite(values[i]));
  const used = finite.slice(-TRIALS_MAX);
  const names = [...new Set(used.flatMap((i) => Object.keys(rows[i] as object)))];
  const columns = names.map((name) =>
    encodeColumn(used.map((i) => (rows[i] as Record<string, unknown>)[name])),
  );
  const varying = columns.map((column) => column.some((value) => value !== column[0]));
  const y = used.map((i) => values[i] as number);
  if (used.length < TRIALS_MIN || y.every((value) => value === y[0]) || !varying.includes(true)) return [];
  const random = new Random(seed);
  const increase = names.map(() => 0);
  for (let t = 0; t < TREES; t++) {
    const sample = Array.from(y, () => random.integer(y.length));
    const seen = new Set(sample);
    const unseen = y.map((_, i) => i).filter((i) => !seen.has(i));
    if (unseen.length < 2) continue;
    const tree = grow(columns, y, sample, random, 0);
    const base = errorOf(tree, columns, y, unseen, undefined);
    for (const [feature, isVarying] of varying.entries()) {
      if (!isVarying) continue;
      const shuffled = random.shuffle([...unseen]);
      increase[feature] =
        (increase[feature] as number) + errorOf(tree, columns, y, unseen, { feature, shuffled }) - base;
    }
  }
  const positive = increase.map((each) => Math.max(0, each));
  const total = positive.reduce((a, b) => a + b, 0);
  return names
    .map((parameter, i) => ({ parameter, share: total === 0 ? 0 : (positive[i] as number) / total }))
    .filter((_, i) => varying[i])
    .sort((a, b) => b.share - a.share);
}

/** Numbers as they are, anything else by the order of first appearance; what a trial lacks is -1 below the rest. */
function encodeColumn(values: readonly unknown[]): number[] {
  const isNumeric = values.every((value) => typeof value === "number" || value === undefined);
  const codes = new Map<string, number>();
  const numbers = values.filter((value): value is number => typeof value === "number");
  const missing = Math.min(0, ...numbers) - 1;
  return values.map((value) => {
    if (value === undefined) return missing;
    if (isNumeric) return value as number;
    const key = JSON.stringify(value) ?? String(value);
    if (!codes.has(key)) codes.set(key, codes.size);
    return codes.get(key) as number;
  });
}

function grow(
  columns: readonly number[][],
  y: readonly number[],
  rows: readonly number[],
  random: Random,
  depth: number,
): Tree | number {
  const mean = rows.reduce((sum, i) => sum + (y[i] as number), 0) / rows.length;
  if (depth >= DEPTH_MAX || rows.length < 2 * LEAF_MIN) return mean;
  const tried = random.shuffle(columns.map((_, i) => i)).slice(0, Math.max(1, Math.ceil(columns.length / 2)));
  let best: { feature: number; threshold: number; gain: number } | undefined;
  for (const feature of tried) {
    const split = bestSplit(columns[feature] as number[], y, rows);
    if (split !== undefined && (best === undefined || split.gain > best.gain)) best = { feature, ...split };
  }
  if (best === undefined) return mean;
  const { feature, threshold } = best;
  const goesLeft = (i: number) => ((columns[feature] as number[])[i] as number) <= threshold;
  return {
    feature,
    threshold,
    left: grow(columns, y, rows.filter(goesLeft), random, depth + 1),
    right: grow(
      columns,
      y,
      rows.filter((i) => !goesLeft(i)),
      random,
      depth + 1,
    ),
  };
}

/** The threshold that takes most of the variance away. */
function bestSplit(column: readonly number[], y: readonly number[], rows: readonly number[]) {
  const sorted = [...rows].sort((a, b) => (column[a] as number) - (column[b] as number));
  const total = sorted.reduce((sum, i) => sum + (y[i] as number), 0);
  let left = 0;
  let best: { threshold: number; gain: number } | undefined;
  for (let k = 0; k < sorted.length - 1; k++) {
    left += y[sorted[k] as number] as number;
    const here = column[sorted[k] as number] as number;
    const next = column[sorted[k + 1] as number] as number;
    if (here === next || k + 1 < LEAF_MIN || sorted.length - k - 1 < LEAF_MIN) continue;
    const right = total - left;
    const gain = left ** 2 / (k + 1) + right ** 2 / (sorted.length - k - 1) - total ** 2 / sorted.length;
    if (gain > 1e-12 && (best === undefined || gain > best.gain))
      best = { threshold: (here + next) / 2, gain };
  }
  return best;
}

/** Mean squared error on rows, with one feature's values taken from other rows. */
function errorOf(
  tree: Tree | number,
  columns: readonly number[][],
  y: readonly number[],
  rows: readonly number[],
  swap: { readonly feature: number; readonly shuffled: readonly number[] } | undefined,
): number {
  let sum = 0;
  rows.forEach((row, k) => {
    let node = tree;
    while (typeof node !== "number") {
      const from = swap?.feature === node.feature ? (swap.shuffled[k] as number) : row;
      node = ((columns[node.feature] as number[])[from] as number) <= node.threshold ? node.left : node.right;
    }
    sum += (node - (y[row] as number)) ** 2;
  });
  return sum / rows.length;
}
