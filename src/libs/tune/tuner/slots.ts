/**
 * Where trials run: actors within the cluster's resources, each in a placement group of its own where trials ask for one,
 * kept for the next trial of the same size.
 *
 * Holds: the resources of all slots together are within the cluster's.
 */
import {
  type ActorHandle,
  kill,
  nodes,
  type ObjectRef,
  type PlacementGroup,
  placement,
  placementGroup,
} from "../../../index.ts";
import { UnschedulableError } from "../errors.ts";
import type { Config } from "../search/searcher.ts";
import {
  actorOptions,
  addAmounts,
  canHold,
  type Demand,
  type Group,
  keyOf,
  type Resources,
  showDemand,
  showResources,
} from "./resources.ts";
import { isClassTrainable } from "./trainable.ts";
import { type TrialHost, TrialHostActor } from "./trial-host.ts";

/** An actor for trials, and the trial in it. */
export interface Slot {
  /** undefined until its placement group is made. */
  actor: ActorHandle<TrialHost> | undefined;
  /** Rejects where its placement group cannot be made, or the slot was discarded before. */
  readonly opened: Promise<ActorHandle<TrialHost>>;
  readonly resources: Resources;
  readonly key: string;
  trial: string | undefined;
  /** What is to become of the trial when its trainable has ended. */
  next: Next | undefined;
}

export type Next =
  | { readonly kind: "end" }
  | { readonly kind: "pause" }
  | { readonly kind: "exploit"; readonly source: string; readonly config: Config; readonly pause: boolean }
  | { readonly kind: "reallocate"; readonly resources: Resources }
  /** The run ends: the trial too, or it waits for a restore. */
  | { readonly kind: "interrupt"; readonly ends: boolean };

/** An instance that was kept has as long to clean up. */
const DISPOSE_MS_MAX = 5000;
/** Slots where trials take no resource that is counted. */
const UNCOUNTED_SLOTS = 16;

export class Slots implements Iterable<Slot> {
  readonly #slots = new Set<Slot>();
  readonly #trainable: unknown;
  readonly #parameters: Readonly<Record<string, ObjectRef<unknown>>>;
  readonly #disposals = new Set<Promise<void>>();
  /** Of slots that have one. */
  readonly #groups = new WeakMap<Slot, Promise<PlacementGroup>>();
  readonly #used: Record<string, number> = {};
  #cluster: Record<string, number> = {};
  #nodes: readonly Resources[] = [];

  constructor(trainable: unknown, parameters: Readonly<Record<string, ObjectRef<unknown>>>) {
    this.#trainable = trainable;
    this.#parameters = parameters;
  }

  [Symbol.iterator](): Iterator<Slot> {
    return [...this.#slots][Symbol.iterator]();
  }

  get used(): Resources {
    return this.#used;
  }
  get cluster(): Resources {
    return this.#cluster;
  }

  /** Slots with a trial in them. */
  get running(): number {
    let count = 0;
    for (const { trial } of this.#slots) if (trial !== undefined) count += 1;
    return count;
  }

  /** Asks what the cluster has now. */
  async refresh(): Promise<void> {
    const alive = (await nodes()).filter((node) => node.alive);
    this.#nodes = alive.map(({ resources }) => resources);
    const sum: Record<string, number> = {};
    for (const { resources } of alive) addAmounts(sum, resources, 1);
    this.#cluster = sum;
  }

  /** @throws UnschedulableError where no node, or not all of them together, could ever give that */
  checkFeasible(id: string, demand: Demand): void {
    if (canHold(this.#nodes, demand)) return;
    const offered = this.#nodes.map(showResources).join("; ");
    throw new UnschedulableError(
      `trial ${id} asks for ${showDemand(demand)}, and no node can ever give that (nodes have: ${offered})`,
    );
  }

  /** A free slot of that size; undefined while there is no room for one. */
  find(demand: Demand): Slot | undefined {
    const { resources, group } = demand;
    const key = keyOf(demand);
    for (const slot of this.#slots) if (slot.trial === undefined && slot.key === key) return slot;
    // Idle slots of another size make room.
    for (const slot of this) {
      if (this.#hasRoom(resources)) break;
      if (slot.trial === undefined) this.discard(slot);
    }
    if (!this.#hasRoom(resources)) return undefined;
    const slot = group === undefined ? this.#open(resources, key) : this.#openIn(group, resources, key);
    this.#slots.add(slot);
    addAmounts(this.#used, resources, 1);
    return slot;
  }

  /** Ends the process; one that serves no trial cleans up first. */
  discard(slot: Slot): void {
    if (!this.#slots.delete(slot)) return;
    addAmounts(this.#used, slot.resources, -1);
    const { actor } = slot;
    const group = this.#groups.get(slot);
    if (group === undefined && (slot.trial !== undefined || !isClassTrainable(this.#trainable))) {
      if (actor !== undefined) kill(actor);
      return;
    }
    const isTidy = actor !== undefined && slot.trial === undefined && isClassTrainable(this.#trainable);
    const disposal: Promise<void> = Promise.race([
      isTidy ? actor.dispose.remote() : undefined,
      after(DISPOSE_MS_MAX),
    ])
      .catch(() => {})
      .then(() => (actor === undefined ? undefined : kill(actor)))
      .then(async () => (await group)?.remove())
      .catch(() => {})
      .finally(() => this.#disposals.delete(disposal));
    this.#disposals.add(disposal);
  }

  async close(): Promise<void> {
    for (const slot of this) this.discard(slot);
    await Promise.all(this.#disposals);
  }

  #open(resources: Resources, key: string): Slot {
    const actor = TrialHostActor.options(actorOptions(resources)).remote(this.#trainable, this.#parameters);
    return { actor, opened: Promise.resolve(actor), resources, key, trial: undefined, next: undefined };
  }

  /** The trial is in the group's first bundle; what it starts goes into the others, or where there is room in the group. */
  #openIn({ bundles, strategy }: Group, resources: Resources, key: string): Slot {
    const [own = {}] = bundles;
    const isEmpty = Object.keys(own).length === 0;
    const making = placementGroup(isEmpty ? bundles.slice(1) : bundles, { strategy });
    const opened = making.then((group) => {
      if (!this.#slots.has(slot))
        throw new Error("the run ended before the trial's placement group was made");
      slot.actor = TrialHostActor.options({
        ...actorOptions(own),
        schedulingStrategy: placement(group, { bundle: isEmpty ? -1 : 0, captureChildren: true }),
      }).remote(this.#trainable, this.#parameters);
      return slot.actor;
    });
    opened.catch(() => {}); // told to whoever runs the trial
    const slot: Slot = { actor: undefined, opened, resources, key, trial: undefined, next: undefined };
    this.#groups.set(slot, making);
    return slot;
  }

  #hasRoom(resources: Resources): boolean {
    const names = Object.keys(resources);
    if (names.length === 0) return this.#slots.size < UNCOUNTED_SLOTS;
    const sum = { ...this.#used };
    addAmounts(sum, resources, 1);
    return names.every((name) => (sum[name] ?? 0) <= (this.#cluster[name] ?? 0) + 1e-9);
  }
}

function after(ms: number): Promise<void> {
  return new Promise((settle) => {
    setTimeout(settle, ms).unref();
  });
}
