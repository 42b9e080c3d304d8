/**
 * Which nodes the bundles of a placement group go to.
 *
 * Decides by the head's view of what is free. PACK takes one node if one has room for all, else as few as it finds;
 * SPREAD prefers nodes without a bundle of the group, the strict strategies allow nothing else. Large bundles first, tight
 * nodes first; a bounded search goes back where that leads nowhere. All bundles or none. Pure. The raylets have the last word.
 */
import { describeTerms, fitsLabels, type LabelTerm } from "../../core/base/labels.ts";
import { type Amounts, firstMissing, type NodeRoom, say, sayAll } from "../actors/placement.ts";

/** Steps of the search for one group. */
const STEPS_MAX = 20_000;

export interface BundleWish {
  readonly resources: Amounts;
  readonly labels: readonly LabelTerm[];
}

export interface GroupWish {
  readonly strategy: string;
  /** Those to be placed now. */
  readonly bundles: readonly BundleWish[];
  /** Nodes of those that lie already. */
  readonly taken: readonly string[];
}

export type BundlePlacement =
  | { readonly kind: "placed"; readonly nodeIds: readonly string[] }
  | { readonly kind: "waits"; readonly reason: string };

interface Candidate {
  readonly room: NodeRoom;
  readonly hasGpu: boolean;
  /** What bundles of this search have left of the room's; undefined = none of them lies there. */
  free: Record<string, number> | undefined;
  /** Bundles of the group there. */
  count: number;
}

/** @param isAllowed leaves out nodes that have just refused this group */
export function placeBundles(
  wish: GroupWish,
  rooms: readonly NodeRoom[],
  isAllowed: (nodeId: string) => boolean = () => true,
): BundlePlacement {
  const candidates: Candidate[] = [];
  for (const room of rooms) {
    if (!isAllowed(room.nodeId)) continue;
    let count = 0;
    for (const nodeId of wish.taken) if (nodeId === room.nodeId) count += 1;
    candidates.push({ room, hasGpu: (room.total.GPU ?? 0) > 0, free: undefined, count });
  }
  const chosen = wish.strategy.endsWith("PACK")
    ? (onOneNode(wish, candidates) ?? (wish.strategy === "PACK" ? search(wish, candidates) : undefined))
    : search(wish, candidates);
  if (chosen === undefined) return { kind: "waits", reason: whyNowhere(wish, rooms) };
  return { kind: "placed", nodeIds: chosen };
}

/** All on the node where it is tightest: that of the group's other bundles, where it has some and must. */
function onOneNode(
  { strategy, bundles, taken }: GroupWish,
  candidates: readonly Candidate[],
): string[] | undefined {
  const all = sum(bundles);
  const isTied = taken.length > 0;
  const fits = ({ room, count }: Candidate) =>
    (!isTied || count > 0 || strategy === "PACK") &&
    firstMissing(all, room.free) === undefined &&
    bundles.every(({ labels }) => fitsLabels(labels, room.labels));
  const best = leastFit(
    candidates,
    fits,
    (a, b) => b.count - a.count || keepsGpus(a, all) - keepsGpus(b, all) || b.room.use - a.room.use,
  );
  return best === undefined ? undefined : bundles.map(() => best.room.nodeId);
}

/**
 * Depth first over the bundles, the largest first, nodes in the order that the strategy likes. Mostly the first choice
 * leads to the end, so the others are put in order only where it does not.
 */
function search(wish: GroupWish, candidates: readonly Candidate[]): string[] | undefined {
  const { strategy, bundles } = wish;
  const sizeOf = sizesBy(candidates);
  const order = bundles
    .map((bundle, index) => ({ bundle, index, size: sizeOf(bundle.resources) }))
    .sort((a, b) => b.size - a.size);
  /** Bundles of one kind fit the same nodes, while nothing of the group lies there. */
  const fittingByKind = new Map<string, readonly Candidate[]>();
  const fitting = ({ resources, labels }: BundleWish): readonly Candidate[] => {
    const kind = JSON.stringify([resources, labels]);
    let found = fittingByKind.get(kind);
    if (found === undefined) {
      found = candidates.filter(
        ({ room }) => fitsLabels(labels, room.labels) && firstMissing(resources, room.free) === undefined,
      );
      fittingByKind.set(kind, found);
    }
    return found;
  };
  const isPack = strategy === "PACK";
  const isStrict = strategy === "STRICT_SPREAD";
  const chosen: string[] = new Array(bundles.length);
  let steps = 0;
  const place = (depth: number): boolean => {
    const next = order[depth];
    if (next === undefined) return true;
    const { resources } = next.bundle;
    const fits = ({ free, count }: Candidate) =>
      (!isStrict || count === 0) && (free === undefined || firstMissing(resources, free) === undefined);
    const compare = (a: Candidate, b: Candidate) =>
      (isPack ? Math.sign(b.count) - Math.sign(a.count) : a.count - b.count) ||
      keepsGpus(a, resources) - keepsGpus(b, resources) ||
      (isPack ? b.room.use - a.room.use : a.room.use - b.room.use);
    const leadsOn = (candidate: Candidate): boolean => {
      candidate.free ??= { ...candidate.room.free };
      take(candidate.free, resources, -1);
      candidate.count += 1;
      chosen[next.index] = candidate.room.nodeId;
      if (place(depth + 1)) return true;
      take(candidate.free, resources, 1);
      candidate.count -= 1;
      return false;
    };
    const able = fitting(next.bundle);
    const first = leastFit(able, fits, compare);
    if (first === undefined || ++steps > STEPS_MAX) return false;
    if (leadsOn(first)) return true;
    for (const candidate of able.filter((each) => each !== first && fits(each)).sort(compare)) {
      if (++steps > STEPS_MAX) return false;
      if (leadsOn(candidate)) return true;
    }
    return false;
  };
  return place(0) ? chosen : undefined;
}

/** The largest share of a resource that something takes of any node. */
function sizesBy(candidates: readonly Candidate[]): (resources: Amounts) => number {
  const mostByName = new Map<string, number>();
  const most = (name: string): number => {
    let known = mostByName.get(name);
    if (known === undefined) {
      known = 1;
      for (const { room } of candidates) known = Math.max(known, room.total[name] ?? 0);
      mostByName.set(name, known);
    }
    return known;
  };
  return (resources) => {
    let size = 0;
    for (const name in resources) size = Math.max(size, (resources[name] ?? 0) / most(name));
    return size;
  };
}

/** Bundles without GPUs leave machines with GPUs alone while others have room. */
const keepsGpus = ({ hasGpu }: Candidate, wanted: Amounts): number =>
  hasGpu && (wanted.GPU ?? 0) === 0 ? 1 : 0;

function sum(bundles: readonly BundleWish[]): Amounts {
  const all: Record<string, number> = {};
  for (const { resources } of bundles) take(all, resources, 1);
  return all;
}

function take(from: Record<string, number>, amounts: Amounts, sign: 1 | -1): void {
  for (const name in amounts) from[name] = (from[name] ?? 0) + sign * (amounts[name] ?? 0);
}

function leastFit<T>(
  items: readonly T[],
  fits: (item: T) => boolean,
  compare: (a: T, b: T) => number,
): T | undefined {
  let best: T | undefined;
  for (const each of items) if (fits(each) && (best === undefined || compare(each, best) < 0)) best = each;
  return best;
}

/** Names what is missing. Steady: the text changes only when the kind of shortage does. */
function whyNowhere(wish: GroupWish, rooms: readonly NodeRoom[]): string {
  if (rooms.length === 0) return "the cluster has no node yet";
  const { strategy, bundles, taken } = wish;
  for (const { resources, labels } of bundles) {
    const able = rooms.filter((room) => fitsLabels(labels, room.labels));
    if (able.length === 0)
      return `infeasible: no node of ${rooms.length} has the labels ${describeTerms(labels)}`;
    if (able.some((room) => firstMissing(resources, room.total) === undefined)) continue;
    for (const [name, amount] of Object.entries(resources)) {
      const largest = Math.max(...able.map((room) => room.total[name] ?? 0));
      if (largest < amount)
        return `infeasible: a bundle needs ${say(amount)} ${name}, and no node of ${able.length} has more than ${say(largest)} in total`;
    }
    return `infeasible: no node has all of ${sayAll(resources)}`;
  }
  const all = sum(bundles);
  if (strategy === "STRICT_PACK" && !rooms.some((room) => firstMissing(all, room.total) === undefined))
    return `infeasible: STRICT_PACK needs one node with ${sayAll(all)}`;
  const wanted = bundles.length + taken.length;
  if (strategy === "STRICT_SPREAD" && rooms.length < wanted)
    return `infeasible: STRICT_SPREAD needs ${wanted} nodes, and there are ${rooms.length}`;
  const where =
    strategy === "STRICT_PACK"
      ? " on one node"
      : strategy === "STRICT_SPREAD"
        ? ", each on another node"
        : "";
  return `it waits for ${bundles
    .map(({ resources }) => `{${sayAll(resources)}}`)
    .slice(0, 8)
    .join(" ")} to be free${where}`;
}
