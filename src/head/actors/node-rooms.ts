/**
 * What each node has left for actors: the raylets' reports, less what was promised to actors on their way there.
 *
 * A promise is made at placement. Once the raylet has accepted the actor, its next report counts it, and the promise
 * falls; it also falls when the actor leaves the node, so that none can stay behind.
 */
import type { NodeInfo } from "../../core/wire/gen/tsray/v1/common.ts";
import { type Amounts, criticalUse, type NodeRoom } from "./placement.ts";

interface Promised {
  readonly amounts: Amounts;
  isAccepted: boolean;
}

interface Room {
  nodeId: string;
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
    if (Object.keys(amounts).length === 0) return;
    room.promised.set(actorId, { amounts, isAccepted: false });
    count(room);
  }

  /** The raylet has it, and counts it from its next report on. */
  accept(nodeId: string, actorId: string): void {
    const promised = this.#rooms.get(nodeId)?.promised.get(actorId);
    if (promised !== undefined) promised.isAccepted = true;
  }

  leave(nodeId: string, actorId: string): void {
    const room = this.#rooms.get(nodeId);
    if (room === undefined) return;
    room.actorCount = Math.max(0, room.actorCount - 1);
    if (room.promised.delete(actorId)) count(room);
  }
}

function count(room: Room): void {
  room.free = { ...room.reported };
  for (const { amounts } of room.promised.values()) {
    for (const [name, amount] of Object.entries(amounts)) room.free[name] = (room.free[name] ?? 0) - amount;
  }
  room.use = criticalUse(room.total, room.free);
}
