/**
 * What each node has left for actors and placement groups: the raylets' reports, less what was promised to those on their
 * way there.
 *
 * A promise is made at placement. Once the raylet has accepted it, its next report counts it, and the promise falls; it
 * also falls when the actor or group leaves the node, so that none can stay behind.
 */
import type { Labels } from "../../core/base/labels.ts";
import type { NodeInfo } from "../../core/wire/gen/tsray/v1/common.ts";
import { type Amounts, criticalUse, type NodeRoom } from "./placement.ts";

interface Promised {
  readonly amounts: Amounts;
  isAccepted: boolean;
}

interface Room {
  nodeId: string;
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

export class NodeRooms {
  readonly #rooms = new Map<string, Room>();

  get rooms(): ReadonlyMap<string, NodeRoom> {
    return this.#rooms;
  }

  revisionOf(nodeId: string): number {
    return this.#rooms.get(nodeId)?.revision ?? 0;
  }

  /** The node reported what it has. */
  report(view: NodeInfo, actorCount: number): void {
    const total = view.total?.amounts ?? {};
    const reported = view.available?.amounts ?? {};
    const known = this.#rooms.get(view.nodeId);
    const room: Room = known ?? {
      nodeId: view.nodeId,
      labels: view.labels,
      total,
      reported,
      free: {},
      use: 0,
      actorCount,
      revision: 0,
      promised: new Map(),
    };
    room.total = total;
    room.reported = reported;
    room.revision += 1;
    for (const [actorId, promised] of room.promised) if (promised.isAccepted) room.promised.delete(actorId);
    this.#rooms.set(view.nodeId, room);
    count(room);
  }

  remove(nodeId: string): void {
    this.#rooms.delete(nodeId);
  }

  /** An actor is on its way to the node. */
  arrive(nodeId: string, actorId: string, amounts: Amounts): void {
    const room = this.#rooms.get(nodeId);
    if (room === undefined) return;
    room.actorCount += 1;
    this.promise(nodeId, actorId, amounts);
  }

  /** Something is on its way to the node and will take that much. */
  promise(nodeId: string, key: string, amounts: Amounts): void {
    const room = this.#rooms.get(nodeId);
    if (room === undefined || Object.keys(amounts).length === 0) return;
    room.promised.set(key, { amounts, isAccepted: false });
    count(room);
  }

  /** The raylet has it, and counts it from its next report on. */
  accept(nodeId: string, key: string): void {
    const promised = this.#rooms.get(nodeId)?.promised.get(key);
    if (promised !== undefined) promised.isAccepted = true;
  }

  leave(nodeId: string, actorId: string): void {
    const room = this.#rooms.get(nodeId);
    if (room === undefined) return;
    room.actorCount = Math.max(0, room.actorCount - 1);
    this.withdraw(nodeId, actorId);
  }

  withdraw(nodeId: string, key: string): void {
    const room = this.#rooms.get(nodeId);
    if (room?.promised.delete(key)) count(room);
  }
}

function count(room: Room): void {
  room.free = { ...room.reported };
  for (const { amounts } of room.promised.values()) {
    for (const [name, amount] of Object.entries(amounts)) room.free[name] = (room.free[name] ?? 0) - amount;
  }
  room.use = criticalUse(room.total, room.free);
}
