/**
 * A cluster in miniature for the placement group machine: the head's groups, raylets with their real ledgers, and messages
 * between them that are late, lost and repeated; nodes die and join, heads are replaced. Seeded: same seed, same history.
 */
import type { Resources } from "../../core/base/resources.ts";
import { LeaseMachine } from "../../raylet/lease/lease-machine.ts";
import { criticalUse, type NodeRoom } from "../actors/placement.ts";
import { placeBundles } from "./bundle-placement.ts";
import {
  checkInvariants,
  type GroupEffect,
  type GroupEvent,
  type GroupState,
  newGroupState,
  step,
  unplaced,
} from "./group-machine.ts";

const UNIT = 10_000;
const STRATEGIES = ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"];
const GROUPS_MAX = 6;
const NODES_MAX = 5;
const PER_EPOCH = 1000;

interface Raylet {
  readonly nodeId: string;
  readonly ledger: LeaseMachine;
  readonly total: Resources;
  /** A task that runs in a bundle until the bundle is taken away. */
  readonly users: { readonly groupId: string; readonly end: () => void }[];
}

interface Group {
  state: GroupState;
  readonly bundles: readonly Resources[];
}

/** To a raylet, or the answer on its way back. Of an earlier head's, none is answered to. */
interface Message {
  readonly epoch: number;
  readonly nodeId: string;
  readonly what: string;
  deliver(): void;
}

export class GroupSimulator {
  readonly story: string[] = [];
  readonly #random: () => number;
  #raylets = new Map<string, Raylet>();
  #groups = new Map<string, Group>();
  /** What the head has written: all that is left of it after a crash. */
  #stored = new Map<string, Group>();
  #messages: Message[] = [];
  /** Nodes that have registered with the present head. */
  #known = new Set<string>();
  #epoch = 1;
  #isSettling = false;
  #nextNode = 1;
  #nextGroup = 1;
  /** Counts what happened, so that a run which tests nothing can be told. */
  readonly seen = { created: 0, rescheduled: 0, removed: 0, refused: 0, headRestarts: 0, nodesDied: 0 };

  constructor(random: () => number) {
    this.#random = random;
    for (let i = 0; i < 3; i++) this.#join();
  }

  /** One thing happens. @throws Error when an invariant breaks */
  tick(): void {
    const at = this.#random();
    if (at < 0.55) this.#deliverOne(true);
    else if (at < 0.67) this.#create();
    else if (at < 0.74) this.#remove(this.#pick([...this.#groups.values()]));
    else if (at < 0.8) this.#use();
    else if (at < 0.84) this.#join();
    else if (at < 0.89) this.#die(this.#pick([...this.#raylets.values()]));
    else if (at < 0.91) this.#restartHead();
    else if (at < 0.95) this.#register(this.#pick([...this.#raylets.values()]));
    else this.#placeWaiting();
    this.check();
  }

  /** Everything under way arrives, every node reports: what is left waiting can only wait for room. */
  settle(): void {
    this.#isSettling = true;
    for (const raylet of this.#raylets.values()) this.#register(raylet);
    for (const nodeId of this.#placesOf()) if (!this.#raylets.has(nodeId)) this.#tellDead(nodeId);
    for (let round = 0; round < 1000; round++) {
      for (let i = 0; this.#messages.length > 0; i++) {
        if (i > 100_000) throw new Error("it does not come to rest");
        this.#deliverOne(false);
      }
      this.#placeWaiting();
      if (this.#messages.length === 0) break;
    }
    this.check();
    for (const { state } of this.#groups.values()) {
      if (state.phase === "CREATED" || state.phase === "REMOVED") continue;
      if (state.givingBack.length > 0) throw new Error(`${state.groupId} gives back for ever`);
      if (state.pendingReason === "")
        throw new Error(`${state.groupId} is ${state.phase} and waits for nothing`);
    }
  }

  /** All groups go: nothing may be left of them anywhere. */
  removeAll(): void {
    for (const group of [...this.#groups.values()]) this.#remove(group);
    this.settle();
    for (const { nodeId, ledger, total } of this.#raylets.values()) {
      const [have, free] = [JSON.stringify(ledger.total), JSON.stringify(ledger.available)];
      if (have !== JSON.stringify(total) || free !== have)
        throw new Error(
          `node ${nodeId} has ${free} of ${have} free, and began with ${JSON.stringify(total)}`,
        );
    }
  }

  check(): void {
    for (const { state } of this.#groups.values()) checkInvariants(state);
    for (const { nodeId, ledger } of this.#raylets.values()) {
      // No resource given twice: what is free and what is set aside make up what the node has.
      ledger.checkInvariants(this.#heldByUsers(nodeId));
      for (const name of ["CPU", "GPU"])
        if ((ledger.available[name] ?? 0) < 0) throw new Error(`node ${nodeId} has given out ${name} twice`);
      for (const { groupId, index, attempt, committed } of ledger.bundles.held()) {
        const state = this.#groups.get(groupId)?.state;
        // No half group: a bundle is only open where the whole group was set aside once.
        if (committed && state?.phase !== "REMOVED" && state?.isDecided === false)
          throw new Error(
            `${groupId}/${index} is open at ${nodeId} under ${attempt} and its group is not decided`,
          );
      }
    }
    for (const { state, bundles } of this.#groups.values()) {
      if (state.phase !== "CREATED" || this.#known.size < this.#raylets.size) continue;
      state.bundles.forEach((bundle, index) => {
        const raylet = this.#raylets.get(bundle.nodeId ?? "");
        const held = raylet?.ledger.bundles.held() ?? [];
        const isOpen = held.some((h) => h.groupId === state.groupId && h.index === index && h.committed);
        if (raylet !== undefined && !isOpen)
          throw new Error(`${state.groupId}/${index} counts as open at ${bundle.nodeId}, and is not`);
        if (bundles[index] === undefined) throw new Error("a bundle too many");
      });
    }
  }

  // ---- what happens

  #create(): void {
    if ([...this.#groups.values()].filter(({ state }) => state.phase !== "REMOVED").length >= GROUPS_MAX)
      return;
    const groupId = (this.#nextGroup++).toString(16).padStart(16, "0");
    const bundles = Array.from({ length: 1 + this.#int(3) }, (): Resources => {
      const CPU = (1 + this.#int(4)) * (UNIT / 2);
      return this.#random() < 0.3 ? { CPU, GPU: UNIT / 2 } : { CPU };
    });
    const strategy = this.#pick(STRATEGIES) as string;
    this.#tell(`create ${groupId} ${strategy} ${JSON.stringify(bundles)}`);
    const group = {
      bundles,
      state: newGroupState(
        { groupId, strategy, detached: true, bundleCount: bundles.length },
        this.#epoch * PER_EPOCH,
      ),
    };
    this.#groups.set(groupId, group);
    this.#apply(group, { kind: "created" });
  }

  #remove(group: Group | undefined): void {
    if (group === undefined || group.state.phase === "REMOVED") return;
    this.#tell(`remove ${group.state.groupId}`);
    this.seen.removed += 1;
    this.#apply(group, { kind: "removed", reason: "asked to" });
  }

  #join(): void {
    if (this.#raylets.size >= NODES_MAX) return;
    const nodeId = `n${this.#nextNode++}`;
    const total: Resources = { CPU: (1 + this.#int(4)) * UNIT, GPU: this.#int(2) * UNIT };
    const ledger = new LeaseMachine({
      nodeId,
      labels: {},
      total,
      gpuIds: total.GPU === 0 ? [] : ["0"],
      workersPerJobMax: 4,
      lendBlockedFrom: 4,
      startingMax: 4,
    });
    this.#raylets.set(nodeId, { nodeId, ledger, total, users: [] });
    this.#tell(`${nodeId} joins with ${JSON.stringify(total)}`);
    if (this.#random() < 0.8) this.#register(this.#raylets.get(nodeId));
  }

  #die(raylet: Raylet | undefined): void {
    if (raylet === undefined || this.#raylets.size < 2) return;
    this.#tell(`${raylet.nodeId} dies`);
    this.seen.nodesDied += 1;
    this.#raylets.delete(raylet.nodeId);
    this.#messages = this.#messages.filter(({ nodeId }) => nodeId !== raylet.nodeId);
    this.#tellDead(raylet.nodeId);
  }

  #tellDead(nodeId: string): void {
    this.#known.delete(nodeId);
    for (const group of [...this.#groups.values()]) this.#apply(group, { kind: "nodeDied", nodeId });
  }

  /** The node reports to the head, for the first time or after it has come back: with all that it holds. */
  #register(raylet: Raylet | undefined): void {
    if (raylet === undefined || this.#known.has(raylet.nodeId)) return;
    const { nodeId, ledger } = raylet;
    this.#tell(`${nodeId} registers`);
    this.#known.add(nodeId);
    const held = ledger.bundles.held();
    ledger.bundles.fence(this.#epoch * PER_EPOCH);
    for (const group of [...this.#groups.values()]) {
      const of = held.filter(({ groupId }) => groupId === group.state.groupId);
      const isHere = group.state.bundles.some((bundle) => bundle.nodeId === nodeId);
      if (isHere || of.length > 0) this.#apply(group, { kind: "nodeBack", nodeId, held: of });
    }
    for (const { groupId, attempt } of held)
      if (!this.#groups.has(groupId)) this.#close(raylet, groupId, attempt, true);
    this.#placeWaiting();
  }

  /** A head that knows what was written, and nothing else; what the old one sent may still arrive. */
  #restartHead(): void {
    this.#tell("the head restarts");
    this.seen.headRestarts += 1;
    this.#epoch += 1;
    this.#known.clear();
    this.#groups = new Map([...this.#stored].map(([id, { state, bundles }]) => [id, { state, bundles }]));
    for (const group of [...this.#groups.values()]) {
      const { state } = group;
      // As the tables keep it: what was not decided is not there.
      const bundles = state.bundles.map((b) =>
        b.stage === "committing" || b.stage === "committed"
          ? { ...b, stage: "committing" as const }
          : { stage: "nowhere" as const, nodeId: undefined, attempt: 0 },
      );
      group.state = { ...state, bundles, givingBack: [] };
      if (state.phase !== "REMOVED")
        this.#apply(group, { kind: "headRestarted", attempt: this.#epoch * PER_EPOCH });
    }
    for (const nodeId of this.#placesOf()) {
      if (!this.#raylets.has(nodeId)) this.#tellDead(nodeId);
    }
  }

  /** A task begins to run in an open bundle. */
  #use(): void {
    const raylet = this.#pick([...this.#raylets.values()]);
    const open = raylet?.ledger.bundles.held().filter(({ committed }) => committed) ?? [];
    const bundle = this.#pick(open);
    if (raylet === undefined || bundle === undefined) return;
    const { groupId, index } = bundle;
    const place = { groupId, bundle: this.#random() < 0.5 ? index : -1 };
    const share = raylet.ledger.acquire({ CPU: UNIT / 2 }, place);
    if (share === undefined) return;
    raylet.users.push({
      groupId,
      end: () => raylet.ledger.giveBack(share),
      ...{ resources: share.resources },
    });
  }

  #heldByUsers(nodeId: string): Resources {
    const held: Record<string, number> = {};
    for (const user of this.#raylets.get(nodeId)?.users ?? []) {
      const { resources } = user as unknown as { resources: Resources };
      for (const [name, amount] of Object.entries(resources)) held[name] = (held[name] ?? 0) + amount;
    }
    return held;
  }

  // ---- the head

  #apply(group: Group, event: GroupEvent): void {
    const before = group.state;
    const { state, effects } = step(before, event);
    group.state = state;
    this.#tell(`  ${state.groupId} ${JSON.stringify(event)} -> ${state.phase}`);
    if (state.phase === "CREATED" && before.phase !== "CREATED") {
      this.seen.created += 1;
      if (before.phase === "RESCHEDULING") this.seen.rescheduled += 1;
    }
    checkInvariants(state);
    for (const effect of effects) this.#carryOut(group, effect);
  }

  #carryOut(group: Group, effect: GroupEffect): void {
    const { groupId } = group.state;
    switch (effect.kind) {
      case "save":
        this.#stored.set(groupId, { ...group });
        return;
      case "place":
        this.#place(group);
        return;
      case "prepare": {
        const { nodeId, attempt, indexes } = effect;
        this.#ask(
          nodeId,
          `prepare ${groupId} ${attempt}`,
          (raylet) => {
            const refusals = indexes.map((index) =>
              raylet.ledger.bundles.prepare({
                groupId,
                index,
                attempt,
                resources: group.bundles[index] as Resources,
              }),
            );
            const reason = refusals.find((refusal) => refusal !== undefined);
            if (reason !== undefined) this.seen.refused += 1;
            return reason === undefined
              ? { kind: "prepared", nodeId, attempt }
              : { kind: "refused", nodeId, attempt, reason };
          },
          groupId,
        );
        return;
      }
      case "commit": {
        const { nodeId, attempt, indexes } = effect;
        this.#ask(
          nodeId,
          `commit ${groupId} ${attempt}`,
          (raylet) => {
            const refusals = indexes.map((index) =>
              raylet.ledger.bundles.commit({ groupId, index, attempt }),
            );
            const reason = refusals.find((refusal) => refusal !== undefined);
            return reason === undefined
              ? { kind: "committed", nodeId, attempt }
              : { kind: "commitFailed", nodeId, attempt, reason };
          },
          groupId,
        );
        return;
      }
      case "giveBack": {
        const { nodeId, attempt, earlier } = effect;
        this.#ask(
          nodeId,
          `give back ${groupId} ${attempt}`,
          (raylet) => {
            this.#close(raylet, groupId, attempt, earlier);
            return { kind: "returned", nodeId, attempt };
          },
          groupId,
        );
      }
    }
  }

  #place(group: Group): void {
    const { state, bundles } = group;
    if (unplaced(state).length === 0 || state.phase === "REMOVED") return;
    const wish = {
      strategy: state.strategy,
      bundles: unplaced(state).map((index) => ({ resources: bundles[index] as Resources, labels: [] })),
      taken: state.bundles.flatMap(({ nodeId }) => nodeId ?? []),
    };
    const rooms: NodeRoom[] = [];
    for (const nodeId of this.#known) {
      const raylet = this.#raylets.get(nodeId);
      if (raylet === undefined) continue;
      const { total, available } = raylet.ledger;
      // A view may be stale: now and then the node is taken for empty.
      const isStale = !this.#isSettling && this.#random() < 0.2;
      const free = isStale ? { ...available, ...raylet.total } : { ...available };
      rooms.push({ nodeId, labels: {}, total, free, use: criticalUse(total, free), actorCount: 0 });
    }
    const answer = placeBundles(wish, rooms);
    this.#apply(group, answer);
  }

  #placeWaiting(): void {
    for (const group of [...this.#groups.values()]) {
      const { state } = group;
      const isBusy = state.bundles.some(({ stage }) => stage === "preparing" || stage === "prepared");
      if (!isBusy && state.givingBack.length === 0) this.#place(group);
    }
  }

  // ---- raylets, and the way to them

  #close(raylet: Raylet, groupId: string, attempt: number, earlier: boolean): void {
    raylet.ledger.bundles.close(groupId, attempt, earlier);
    if (!earlier) return;
    for (const user of raylet.users.filter((each) => each.groupId === groupId)) {
      raylet.users.splice(raylet.users.indexOf(user), 1);
      user.end();
    }
  }

  #ask(nodeId: string, what: string, act: (raylet: Raylet) => GroupEvent, groupId: string): void {
    const epoch = this.#epoch;
    const request: Message = {
      epoch,
      nodeId,
      what,
      deliver: () => {
        const raylet = this.#raylets.get(nodeId);
        if (raylet === undefined) return;
        const answer = act(raylet);
        this.#messages.push({
          epoch,
          nodeId,
          what: `answer to ${what}`,
          deliver: () => {
            const group = this.#groups.get(groupId);
            if (group !== undefined && epoch === this.#epoch) this.#apply(group, answer);
          },
        });
      },
    };
    this.#messages.push(request);
  }

  /** In any order; a request or its answer may be lost, and is then sent again, or come twice. */
  #deliverOne(isRough: boolean): void {
    const index = this.#int(this.#messages.length);
    const message = this.#messages[index];
    if (message === undefined) return;
    const fate = isRough ? this.#random() : 1;
    // Lost: the head asks again after a while, as long as it is the same head.
    if (fate < 0.1 && message.epoch === this.#epoch) return;
    if (fate >= 0.2 || message.epoch !== this.#epoch) this.#messages.splice(index, 1);
    this.#tell(`${message.what} at ${message.nodeId}`);
    message.deliver();
  }

  // ---- small parts

  #placesOf(): Set<string> {
    const nodeIds = [...this.#groups.values()].flatMap(({ state }) => [
      ...state.bundles.flatMap(({ nodeId }) => nodeId ?? []),
      ...state.givingBack.map(({ nodeId }) => nodeId),
    ]);
    return new Set(nodeIds);
  }

  #int(n: number): number {
    return Math.floor(this.#random() * n);
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[this.#int(items.length)];
  }

  #tell(line: string): void {
    this.story.push(line);
    if (this.story.length > 60) this.story.shift();
  }
}
