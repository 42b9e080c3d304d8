/**
 * Which node an actor goes to.
 *
 * Decides by the head's view: a node is feasible when its totals hold what placing needs and its free resources hold
 * what the actor keeps while it lives. DEFAULT packs on the owner's node while that node's scarcest resource is less
 * than half used, then takes the least used node; SPREAD takes the feasible nodes in turn; NODE_AFFINITY takes the node
 * it names, and another only where it is soft. Of a placement group what it has at a node counts, under its names. Nodes
 * whose labels are not as asked for do not count at all. Pure. The raylet has the last word: a view may be stale.
 */

import { describeTerms, fitsLabels, type Labels, type LabelTerm } from "../../core/base/labels.ts";

/** Resource amounts by name, in units of 1/10000. */
export type Amounts = Readonly<Record<string, number>>;

const UNITS_PER_WHOLE = 10_000;
const PACK_BELOW_USE = 0.5;

/** What placement knows of a node. `free` counts what was promised to actors on their way there as used. */
export interface NodeRoom {
  readonly nodeId: string;
  readonly labels: Labels;
  readonly total: Amounts;
  readonly free: Amounts;
  /** criticalUse() of the two above, kept because each placement may look at each node. */
  readonly use: number;
  /** Actors placed there: the tie-break between nodes that are used alike. */
  readonly actorCount: number;
}

export interface PlacementDemand {
  /** Held while the actor lives. */
  readonly resources: Amounts;
  /** Needed in a node's totals to be placed there. */
  readonly placement: Amounts;
  readonly strategy: {
    readonly kind: string;
    readonly nodeId: string;
    readonly soft: boolean;
    readonly labels: readonly LabelTerm[];
  };
  readonly ownerNodeId: string;
}

/** The nodes, in the orders in which they are looked through: each placement may look at each node. */
export interface Rooms {
  get(nodeId: string): NodeRoom | undefined;
  /** As they came. */
  readonly inTurn: readonly NodeRoom[];
  /** The least used first: {@link compareUse}, and as they came where that says nothing. */
  readonly byUse: readonly NodeRoom[];
}

export interface ClusterRoom {
  readonly rooms: Rooms;
  /** Whether the node is known to have died (as against: not known). */
  isDead(nodeId: string): boolean;
  /** Whether nodes that are not known may still be on their way here. */
  readonly isComplete: boolean;
  /** Grows by one with each SPREAD placement. */
  readonly spreadTurn: number;
}

export type Placement =
  | { kind: "node"; nodeId: string }
  | { kind: "waits"; reason: string }
  | { kind: "unschedulable"; reason: string };

/** @param isAllowed leaves out nodes that have just refused this actor */
export function choosePlacement(
  demand: PlacementDemand,
  cluster: ClusterRoom,
  isAllowed: (nodeId: string) => boolean = () => true,
): Placement {
  const { strategy } = demand;
  if (strategy.kind === "NODE_AFFINITY") {
    const answer = placeOnNamed(demand, cluster, isAllowed);
    if (answer !== undefined) return answer;
  }
  const fits = (room: NodeRoom | undefined): room is NodeRoom =>
    room !== undefined && isAllowed(room.nodeId) && hasRoom(room, demand);
  const chosen =
    strategy.kind === "SPREAD"
      ? nextInTurn(cluster, fits)
      : packThenSpread(cluster, demand.ownerNodeId, fits);
  if (chosen !== undefined) return { kind: "node", nodeId: chosen.nodeId };
  return { kind: "waits", reason: whyNowhere(demand, cluster.rooms.inTurn) };
}

/** The named node, or why not; undefined when a soft affinity may look elsewhere. */
function placeOnNamed(
  demand: PlacementDemand,
  cluster: ClusterRoom,
  isAllowed: (nodeId: string) => boolean,
): Placement | undefined {
  const { nodeId, soft } = demand.strategy;
  const room = cluster.rooms.get(nodeId);
  if (room === undefined) {
    if (soft) return undefined;
    if (cluster.isDead(nodeId))
      return { kind: "unschedulable", reason: `the node ${nodeId} that it must run on has died` };
    const reason = `the node ${nodeId} that it must run on is not part of the cluster`;
    return { kind: cluster.isComplete ? "unschedulable" : "waits", reason };
  }
  if (isAllowed(nodeId) && hasRoom(room, demand)) return { kind: "node", nodeId };
  // Soft: elsewhere only when the node can never fit it.
  const isPossible =
    firstMissing(mostOf(demand), room.total) === undefined && fitsLabels(demand.strategy.labels, room.labels);
  if (soft && !isPossible) return undefined;
  return { kind: isPossible ? "waits" : "unschedulable", reason: whyNowhere(demand, [room]) };
}

function nextInTurn(cluster: ClusterRoom, fits: (room: NodeRoom) => boolean): NodeRoom | undefined {
  const rooms = cluster.rooms.inTurn;
  for (let i = 0; i < rooms.length; i += 1) {
    const room = rooms[(cluster.spreadTurn + i) % rooms.length];
    if (room !== undefined && fits(room)) return room;
  }
  return undefined;
}

function packThenSpread(
  cluster: ClusterRoom,
  ownerNodeId: string,
  fits: (room: NodeRoom | undefined) => room is NodeRoom,
): NodeRoom | undefined {
  const own = cluster.rooms.get(ownerNodeId);
  if (fits(own) && own.use < PACK_BELOW_USE) return own;
  return cluster.rooms.byUse.find(fits);
}

/** The least used first, then that with the fewest actors. */
export const compareUse = (a: NodeRoom, b: NodeRoom): number => a.use - b.use || a.actorCount - b.actorCount;

function hasRoom(room: NodeRoom, demand: PlacementDemand): boolean {
  return (
    fitsLabels(demand.strategy.labels, room.labels) &&
    firstMissing(demand.placement, room.total) === undefined &&
    firstMissing(demand.resources, room.free) === undefined
  );
}

/** The used share of the resource that is used most, 0 to 1. */
export function criticalUse(total: Amounts, free: Amounts): number {
  let use = 0;
  for (const name in total) {
    // What placement groups have counts as the node's own, which was set aside for them.
    if (name.includes("_group_")) continue;
    const amount = total[name] ?? 0;
    if (amount > 0) use = Math.max(use, 1 - (free[name] ?? 0) / amount);
  }
  return use;
}

export function firstMissing(wanted: Amounts, have: Amounts): string | undefined {
  for (const name in wanted) {
    const amount = wanted[name] ?? 0;
    if (amount > 0 && (have[name] ?? 0) < amount) return name;
  }
  return undefined;
}

function mostOf({ resources, placement }: PlacementDemand): Amounts {
  const most: Record<string, number> = { ...placement };
  for (const [name, amount] of Object.entries(resources)) most[name] = Math.max(most[name] ?? 0, amount);
  return most;
}

/** Names the resource that is missing. Steady: the text changes only when the kind of shortage does. */
function whyNowhere(demand: PlacementDemand, all: readonly NodeRoom[]): string {
  if (all.length === 0) return "the cluster has no node yet";
  const { labels } = demand.strategy;
  const rooms = all.filter((room) => fitsLabels(labels, room.labels));
  if (rooms.length === 0) {
    const where = all.length === 1 ? `node ${all[0]?.nodeId} does not have` : `no node of ${all.length} has`;
    return `${where} the labels ${describeTerms(labels)}`;
  }
  const wanted = mostOf(demand);
  const where = rooms.length === 1 ? `node ${rooms[0]?.nodeId}` : `any of the ${rooms.length} nodes`;
  for (const [name, amount] of Object.entries(wanted)) {
    const largest = Math.max(...rooms.map((room) => room.total[name] ?? 0));
    if (largest < amount)
      return `it needs ${say(amount)} ${name}, and ${where} has at most ${say(largest)} in total`;
  }
  const able = rooms.filter((room) => firstMissing(wanted, room.total) === undefined);
  if (able.length === 0) return `no single node has all of ${sayAll(wanted)}`;
  for (const [name, amount] of Object.entries(demand.resources)) {
    if (able.every((room) => (room.free[name] ?? 0) < amount))
      return `it waits for ${say(amount)} ${name} to be free`;
  }
  return `it waits for a node with ${sayAll(wanted)} free`;
}

export const say = (amount: number) => String(amount / UNITS_PER_WHOLE);

export const sayAll = (amounts: Amounts) =>
  Object.entries(amounts)
    .map(([name, amount]) => `${say(amount)} ${name}`)
    .join(", ") || "nothing";
