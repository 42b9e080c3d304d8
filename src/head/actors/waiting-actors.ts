/**
 * Actors that wait for a node: when each is looked at, and where it goes.
 *
 * Decides who is asked first (first come, first served; of each shape only until the first that fits nowhere), which
 * nodes are not asked again for a while because they refused, and for how long a node that nobody has heard of may
 * still come. Which node fits is placement.ts.
 */
import { Refusals } from "../refusals.ts";
import { Timers } from "../timers.ts";
import type { ActorEvent } from "./actor-machine.ts";
import { type ActorRecord, demandOf, groupOf } from "./actor-record.ts";
import type { NodeRooms } from "./node-rooms.ts";
import { choosePlacement, type Placement } from "./placement.ts";

/** Waiting actors are looked at again at most this often, however many views change. */
const PLACE_AGAIN_MS = 20;
/** A node may join after an actor has been pinned to it; the news of it takes less than this. */
const UNHEARD_OF_MS = 2000;

export interface WaitingActorsOptions {
  readonly rooms: NodeRooms;
  readonly isDead: (nodeId: string) => boolean;
  /** Why an actor cannot run in the group (now): undefined = its bundles are where they should be. */
  readonly whyNotInGroup: (
    groupId: string,
  ) => { readonly kind: "waits" | "unschedulable"; readonly reason: string } | undefined;
  /** Its machine is told what was found. */
  readonly apply: (record: ActorRecord, event: ActorEvent) => void;
}

export class WaitingActors {
  readonly #options: WaitingActorsOptions;
  /** First come first. */
  readonly #waiting = new Map<string, ActorRecord>();
  readonly #refusals: Refusals;
  readonly #timers = new Timers();
  #spreadTurn = 0;
  /** From then on all nodes of an earlier head's time have come back, or are gone. */
  #completeAtMs = 0;
  #placeTimer: NodeJS.Timeout | undefined;
  #unheardTimer: NodeJS.Timeout | undefined;

  constructor(options: WaitingActorsOptions) {
    this.#options = options;
    this.#refusals = new Refusals(
      (nodeId) => options.rooms.revisionOf(nodeId),
      () => this.lookSoon(0),
    );
  }

  /** Nodes of an earlier head's time may come back for so long. */
  nodesMayComeFor(ms: number): void {
    this.#completeAtMs = performance.now() + ms;
  }

  /** It needs a node: it is placed now, or waits. */
  add(record: ActorRecord): void {
    this.#waiting.set(record.spec.actorId, record);
    this.#place(record);
  }

  /** It has a node, or needs none any more. */
  remove(actorId: string): void {
    this.#waiting.delete(actorId);
  }

  /** The raylet would not have it: others are asked first. */
  refused(record: ActorRecord, nodeId: string): void {
    this.#refusals.note(record.spec.actorId, nodeId);
  }

  /** What nodes have free, or where groups lie, may have changed. */
  lookSoon(waitMs = PLACE_AGAIN_MS): void {
    if (this.#placeTimer !== undefined || this.#waiting.size === 0) return;
    this.#placeTimer = this.#timers.after(waitMs, () => {
      this.#placeTimer = undefined;
      this.#placeAll();
    });
  }

  close(): void {
    this.#timers.close();
    this.#refusals.close();
  }

  /** One look at all that wait: of each shape only until the first that fits nowhere. */
  #placeAll(): void {
    const hopeless = new Set<string>();
    for (const record of [...this.#waiting.values()]) {
      const isFree = !this.#refusals.has(record.spec.actorId);
      if (isFree && hopeless.has(record.shape)) continue;
      if (this.#place(record) === "waits" && isFree) hopeless.add(record.shape);
    }
  }

  #place(record: ActorRecord): Placement["kind"] {
    const { rooms, isDead, whyNotInGroup, apply } = this.#options;
    const nowMs = performance.now();
    const { actorId } = record.spec;
    const isAllowed = (nodeId: string) => this.#refusals.allows(actorId, nodeId);
    const isComplete = nowMs >= Math.max(this.#completeAtMs, record.enteredAtMs + UNHEARD_OF_MS);
    const cluster = { rooms, isDead, isComplete, spreadTurn: this.#spreadTurn };
    const found = choosePlacement(demandOf(record.spec), cluster, isAllowed);
    const groupId = groupOf(record.spec);
    const inGroup = found.kind === "node" || groupId === "" ? undefined : whyNotInGroup(groupId);
    const answer = inGroup ?? found;
    // An unknown node may be news to come; if it is not, nothing else may happen that leads here again.
    if (answer.kind === "waits" && !isComplete && record.spec.strategy?.kind === "NODE_AFFINITY")
      this.#unheardTimer ??= this.#timers.after(UNHEARD_OF_MS, () => {
        this.#unheardTimer = undefined;
        this.lookSoon(0);
      });
    if (answer.kind === "node") {
      this.#spreadTurn += 1;
      apply(record, { kind: "placed", nodeId: answer.nodeId });
      return "node";
    }
    // Where a raylet has refused it, its word says more than the view does.
    const isRefused = this.#refusals.has(actorId) && record.state.pendingReason !== "";
    if (answer.kind === "unschedulable" || !isRefused) apply(record, answer);
    return answer.kind;
  }
}
