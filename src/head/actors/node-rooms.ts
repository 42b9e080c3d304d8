/**
 * What each node has left for actors and placement groups: the raylets' reports, less what was promised to those on their
 * way there.
 *
 * Keeps the nodes in order of use, so that the least used one is at hand however many there are.
 *
 * A promise is made at placement. Once the raylet has accepted it, its next report counts it, and the promise falls; it
 * also falls when the actor or group leaves the node, so that none can stay behind.
 */
import type { Labels } from "../../core/base/labels.ts";
import type { NodeInfo } from "../../core/wire/gen/tsray/v1/common.ts";
import { type Amounts, compareUse, criticalUse, type NodeRoom, type Rooms } from "./placement.ts";

interface Promised {
  readonly amounts: Amounts;
  isAccepted: boolean;
}

interface Room {
  nodeId: string;
  /** As they came. */
  readonly number: number;
  labels: Labels;
  total: Amounts;
  reported: Amounts;
  free: Record<string, number>;
  use: number;
  actorCount: number;
  /** Grows with each report of resources. */
  revision: number;
  readonly promised: Map<string, Promised>;
}

export class NodeRooms implements Rooms {
  readonly #rooms = new Map<string, Room>();
  readonly #inTurn: Room[] = [];
  readonly #byUse: Room[] = [];
  #count = 0;

  get(nodeId: string): NodeRoom | undefined {
    return this.#rooms.get(nodeId);
  }

  get inTurn(): readonly NodeRoom[] {
    return this.#inTurn;
  }

  get byUse(): readonly NodeRoom[] {
    return this.#byUse;
  }

  revisionOf(nodeId: string): number {
    return this.#rooms.get(nodeId)?.revision ?? 0;
  }

  /** The node reported what it has. */
  report(view: NodeInfo, actorCount: number): void {
    const total = view.total?.amounts ?? {};
    const reported = view.available?.amounts ?? {};
    const room = this.#rooms.get(view.nodeId) ?? this.#enter(view, actorCount);
    room.total = total;
    room.reported = reported;
    room.revision += 1;
    for (const [actorId, promised] of room.promised) if (promised.isAccepted) room.promised.delete(actorId);
    this.#recount(room);
  }

  #enter({ nodeId, labels }: NodeInfo, actorCount: number): Room {
    const room: Room = {
      nodeId,
      labels,
      number: this.#count++,
      total: {},
      reported: {},
      free: {},
      use: 0,
      actorCount,
      revision: 0,
      promised: new Map(),
    };
    this.#rooms.set(nodeId, room);
    this.#inTurn.push(room);
    this.#byUse.splice(placeIn(this.#byUse, room), 0, room);
    return room;
  }

  remove(nodeId: string): void {
    const room = this.#rooms.get(nodeId);
    if (room === undefined) return;
    this.#rooms.delete(nodeId);
    this.#inTurn.splice(this.#inTurn.indexOf(room), 1);
    this.#byUse.splice(placeIn(this.#byUse, room), 1);
  }

  /** An actor is on its way to the node. */
  arrive(nodeId: string, actorId: string, amounts: Amounts): void {
    const room = this.#rooms.get(nodeId);
    if (room === undefined) return;
    this.#recount(room, 1);
    this.promise(nodeId, actorId, amounts);
  }

  /** Something is on its way to the node and will take that much. */
  promise(nodeId: string, key: string, amounts: Amounts): void {
    const room = this.#rooms.get(nodeId);
    if (room === undefined || Object.keys(amounts).length === 0) return;
    room.promised.set(key, { amounts, isAccepted: false });
    this.#recount(room);
  }

  /** The raylet has it, and counts it from its next report on. */
  accept(nodeId: string, key: string): void {
    const promised = this.#rooms.get(nodeId)?.promised.get(key);
    if (promised !== undefined) promised.isAccepted = true;
  }

  leave(nodeId: string, actorId: string): void {
    const room = this.#rooms.get(nodeId);
    if (room === undefined) return;
    this.#recount(room, -1);
    this.withdraw(nodeId, actorId);
  }

  withdraw(nodeId: string, key: string): void {
    const room = this.#rooms.get(nodeId);
    if (room?.promised.delete(key)) this.#recount(room);
  }

  /** @param moreActors how many have come, or gone */
  #recount(room: Room, moreActors = 0): void {
    const before = placeIn(this.#byUse, room);
    count(room);
    room.actorCount = Math.max(0, room.actorCount + moreActors);
    const isInOrder = isBefore(this.#byUse[before - 1], room) && isBefore(room, this.#byUse[before + 1]);
    if (isInOrder) return;
    this.#byUse.splice(before, 1);
    this.#byUse.splice(placeIn(this.#byUse, room), 0, room);
  }
}

function isBefore(a: Room | undefined, b: Room | undefined): boolean {
  return a === undefined || b === undefined || (compareUse(a, b) || a.number - b.number) < 0;
}

/** Where the room lies in the ordered list, or belongs. */
function placeIn(ordered: readonly Room[], room: Room): number {
  let low = 0;
  let high = ordered.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(ordered[middle], room)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function count(room: Room): void {
  room.free = { ...room.reported };
  for (const { amounts } of room.promised.values()) {
    for (const [name, amount] of Object.entries(amounts)) room.free[name] = (room.free[name] ?? 0) - amount;
  }
  room.use = criticalUse(room.total, room.free);
}
