/**
 * The placement groups of the cluster: where their bundles are, by id and by name.
 *
 * The thin shell of group-machine.ts. It feeds the machine with what clients ask, raylets answer and nodes do, and carries
 * out its effects: writes, choices of nodes, calls to raylets, waking of those who watch. Decides itself only about names
 * (unique per namespace among groups that stand), about bounds, and who is served first: groups that lost bundles before
 * new ones, first come first.
 */
import { InvalidOptionError } from "../../core/base/errors.ts";
import type { HeldBundle } from "../../core/wire/gen/tsray/v1/common.ts";
import type {
  CreatedPlacementGroup,
  CreatePlacementGroupsReply,
  FindPlacementGroupReply,
  PlacementGroupInfo,
  PlacementGroupList,
  PlacementGroupSpec,
  RemovePlacementGroupsRequest,
  WatchPlacementGroupsRequest,
} from "../../core/wire/gen/tsray/v1/head.ts";
import type { NodeRooms } from "../actors/node-rooms.ts";
import { BoundedMap } from "../bounded-map.ts";
import type { RayletClients } from "../raylet-clients.ts";
import { Refusals } from "../refusals.ts";
import type { KeptRecord, RecordKeeper } from "../state-store/record-keeper.ts";
import type { StateStore } from "../state-store/state-store.ts";
import { Timers } from "../timers.ts";
import { Watchers } from "../watchers.ts";
import { placeBundles } from "./bundle-placement.ts";
import { type GroupEffect, type GroupEvent, type GroupState, step, unplaced } from "./group-machine.ts";
import { GroupTables, stateOf } from "./group-tables.ts";
import { RayletOutbox } from "./raylet-outbox.ts";

const GROUPS_MAX = 100_000;
const GROUPS_REMOVED_MAX = 10_000;
/** Rows of ListPlacementGroups, so that the answer fits one message. */
const GROUPS_LISTED_MAX = 50_000;
const WATCHERS_MAX = 200_000;
const WATCH_MS_MAX = 30_000;
/** Waiting groups are looked at again at most this often, however many views change. */
const PLACE_AGAIN_MS = 20;
/** Versions and attempts of groups read back from an earlier head start above any that it can have used. */
const PER_EPOCH = 1_000_000_000;

export interface PlacementGroupsOptions {
  readonly store: StateStore;
  readonly keeper: RecordKeeper;
  readonly clients: RayletClients;
  readonly rooms: NodeRooms;
  readonly nodes: { isAlive(nodeId: string): boolean; isDead(nodeId: string): boolean };
  readonly jobs: { hasEnded(jobId: string): boolean };
  /** Whether it is a detached actor that lives: its groups outlive the job. */
  readonly isDetachedActor: (actorId: string) => boolean;
  /** The group stands no more: actors in it end. */
  readonly onRemoved: (groupId: string, reason: string) => void;
  /** The group stands (again): actors that wait for it may be placed. */
  readonly onCreated: () => void;
  log(line: string): void;
}

interface GroupRecord {
  readonly spec: PlacementGroupSpec;
  state: GroupState;
  /** Spec and state on the store. */
  readonly kept: KeptRecord;
  readonly onGivenBack: (() => void)[];
  readonly shape: string;
}

export class PlacementGroups {
  readonly #options: PlacementGroupsOptions;
  readonly #tables: GroupTables;
  readonly #outbox: RayletOutbox;
  readonly #live = new Map<string, GroupRecord>();
  readonly #removed: BoundedMap<string, GroupRecord>;
  readonly #idsByName = new Map<string, string>();
  /** Groups with bundles that have no node, first come first. */
  readonly #waiting = new Map<string, GroupRecord>();
  /** Nodes that have registered with this head: what they hold is what it told them to. */
  readonly #seen = new Set<string>();
  /** After a restart of the head: nodes with bundles that have not come back yet. */
  readonly #stale = new Set<string>();
  readonly #timers = new Timers();
  /** Attempts to place groups are numbered from here: those of earlier heads are below. */
  firstAttempt = 0;
  readonly #watchers = new Watchers();
  readonly #refusals: Refusals;
  #watcherCount = 0;
  #placeTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: PlacementGroupsOptions) {
    this.#options = options;
    this.#tables = new GroupTables(options.store);
    const { clients, nodes, log } = options;
    this.#outbox = new RayletOutbox({ clients, log, isAlive: (nodeId) => nodes.isAlive(nodeId) });
    this.#refusals = new Refusals(
      (nodeId) => options.rooms.revisionOf(nodeId),
      () => this.#placeAgainSoon(0),
    );
    this.#removed = new BoundedMap(GROUPS_REMOVED_MAX, (id, { kept }) =>
      kept.replaced(() => this.#tables.delete(id)),
    );
  }

  /**
   * Reads the groups back. What was open counts as open, until its node comes and says otherwise, or stays away for
   * `silenceMsMax`; what was open on a node that an earlier head knew to be dead is lost. Nodes must have been read before.
   */
  async load(epoch: number, silenceMsMax: number): Promise<void> {
    this.firstAttempt = epoch * PER_EPOCH;
    for (const { spec, state } of await this.#tables.load()) {
      const version = Math.max(state.version, epoch * PER_EPOCH);
      const record = this.#newRecord(spec, { ...state, version }, true);
      if (state.phase === "REMOVED") {
        this.#removed.set(spec.groupId, record);
        continue;
      }
      this.#enter(record);
      this.#apply(record, { kind: "headRestarted", attempt: this.firstAttempt });
      for (const nodeId of new Set(state.bundles.flatMap((bundle) => bundle.nodeId ?? []))) {
        if (this.#options.nodes.isAlive(nodeId)) this.#stale.add(nodeId);
        else this.#apply(record, { kind: "nodeDied", nodeId });
      }
    }
    if (this.#stale.size > 0) this.#timers.after(silenceMsMax, () => this.#giveUpStale());
  }

  /** After {@link load}, when the actors are known too: groups whose job or creator did not outlive the earlier head go. */
  endOrphans(): void {
    for (const record of [...this.#live.values()]) {
      const gone = this.#whyOwnerIsGone(record.spec);
      if (gone !== undefined) this.#apply(record, { kind: "removed", reason: gone });
    }
  }

  /** @throws InvalidOptionError when a spec is none; ClusterUnreachableError when it cannot be stored */
  async create(specs: readonly PlacementGroupSpec[]): Promise<CreatePlacementGroupsReply> {
    return { groups: await Promise.all(specs.map((spec) => this.#create(spec))) };
  }

  /** Answers as soon as one of them is news, or after `waitMs`. */
  watch(request: WatchPlacementGroupsRequest): Promise<PlacementGroupList> | PlacementGroupList {
    const news = () => ({ groups: this.#newsFor(request) });
    const now = news();
    const { groups, waitMs } = request;
    if (now.groups.length > 0 || waitMs <= 0 || this.#isClosed || this.#watcherCount >= WATCHERS_MAX)
      return now;
    return new Promise((resolve) => {
      let isTold = false;
      let isOver = false;
      const wake = () => {
        if (isTold || (news().groups.length === 0 && !this.#isClosed)) return;
        isTold = true;
        // What becomes of other groups in the same turn goes along.
        setImmediate(end);
      };
      const end = () => {
        if (isOver) return;
        isOver = true;
        this.#timers.cancel(timer);
        for (const unwatch of unwatches) unwatch();
        this.#watcherCount -= 1;
        resolve(news());
      };
      const timer = this.#timers.after(Math.min(waitMs, WATCH_MS_MAX), end);
      const unwatches = groups.map(({ groupId }) => this.#watchers.add(groupId, wake));
      this.#watcherCount += 1;
    });
  }

  find(namespace: string, name: string): FindPlacementGroupReply {
    const record = this.#live.get(this.#idsByName.get(nameKey(namespace, name)) ?? "");
    return { found: record !== undefined, group: record && infoOf(record) };
  }

  /** Resolves when the groups' resources are given back. @throws ClusterUnreachableError when it cannot be stored now */
  async remove({ groupIds, reason }: RemovePlacementGroupsRequest): Promise<void> {
    const records = groupIds.flatMap((groupId) => this.#find(groupId) ?? []);
    for (const record of records) this.#apply(record, { kind: "removed", reason });
    await Promise.all(
      records.map(async (record) => {
        await record.kept.durable();
        if (record.state.givingBack.length === 0) return;
        await new Promise<void>((resolve) => record.onGivenBack.push(resolve));
      }),
    );
  }

  list(): PlacementGroupList {
    return {
      groups: [...this.#live.values(), ...this.#removed.values()].slice(0, GROUPS_LISTED_MAX).map(infoOf),
    };
  }

  /** What becomes of an actor that is to run in the group: undefined = its bundles are where they should be. */
  whyNotIn(
    groupId: string,
  ): { readonly kind: "waits" | "unschedulable"; readonly reason: string } | undefined {
    const record = this.#find(groupId);
    if (record === undefined)
      return { kind: "unschedulable", reason: `there is no placement group ${groupId}` };
    const { phase, removedReason } = record.state;
    const group = tellGroup(record.spec);
    if (phase === "REMOVED")
      return { kind: "unschedulable", reason: `${group} was removed: ${removedReason}` };
    if (phase === "CREATED") return undefined;
    return { kind: "waits", reason: `${group} is ${phase}${reasonOf(record)}` };
  }

  nodeRegistered(nodeId: string, held: readonly HeldBundle[]): void {
    const byGroup = new Map<string, HeldBundle[]>();
    for (const bundle of held) byGroup.set(bundle.groupId, [...(byGroup.get(bundle.groupId) ?? []), bundle]);
    this.#stale.delete(nodeId);
    if (!this.#seen.has(nodeId)) {
      this.#seen.add(nodeId);
      for (const record of [...this.#live.values(), ...this.#removed.values()]) {
        const bundles = byGroup.get(record.spec.groupId) ?? [];
        const isHere = record.state.bundles.some((bundle) => bundle.nodeId === nodeId);
        if (isHere || bundles.length > 0) this.#apply(record, { kind: "nodeBack", nodeId, held: bundles });
      }
    }
    for (const [groupId, bundles] of byGroup) {
      // It has only lost its connection, or a group of long ago is meant.
      if (this.#find(groupId) !== undefined) continue;
      this.#options.log(`placement group ${groupId} on node ${nodeId} is not known: it is ended`);
      const attempt = Math.max(...bundles.map((bundle) => bundle.attempt));
      const back = { groupId, attempt, earlier: true, reason: "the head does not know this placement group" };
      this.#outbox.giveBack(nodeId, back, () => {});
    }
    this.#placeAgainSoon(PLACE_AGAIN_MS);
  }

  nodeChanged(): void {
    this.#placeAgainSoon(PLACE_AGAIN_MS);
  }

  nodeDied(nodeId: string): void {
    this.#stale.delete(nodeId);
    this.#seen.delete(nodeId);
    this.#lose(nodeId);
    this.#placeAgainSoon(PLACE_AGAIN_MS);
  }

  jobEnded(jobId: string): void {
    this.#endThose(
      ({ jobId: of, creatorActorId }) => of === jobId && !this.#options.isDetachedActor(creatorActorId),
      `its job ${jobId} ended`,
    );
  }

  actorDied(actorId: string): void {
    const isOver = (spec: PlacementGroupSpec) =>
      spec.creatorActorId === actorId && this.#options.jobs.hasEnded(spec.jobId);
    this.#endThose(isOver, `actor ${actorId}, which made it, is dead`);
  }

  /** Answers all who watch. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#placeTimer);
    this.#outbox.close();
    this.#refusals.close();
    this.#watchers.wakeAll();
    this.#timers.close();
  }

  // ---- feeding the machine and carrying out what it returns

  #apply(record: GroupRecord, event: GroupEvent): void {
    if (this.#isClosed) return;
    const before = record.state;
    const { state, effects } = step(before, event);
    record.state = state;
    if (unplaced(state).length === 0 || state.phase === "REMOVED") this.#waiting.delete(state.groupId);
    for (const effect of effects) this.#carryOut(record, effect);
    if (state.givingBack.length === 0) for (const tell of record.onGivenBack.splice(0)) tell();
    if (state.phase === "CREATED" && before.phase !== "CREATED") this.#options.onCreated();
    if (state.version > before.version) this.#watchers.wake(state.groupId);
  }

  #carryOut(record: GroupRecord, effect: GroupEffect): void {
    const { spec } = record;
    switch (effect.kind) {
      case "save":
        record.kept.changed();
        return;
      case "place":
        this.#waiting.set(spec.groupId, record);
        this.#place(record);
        return;
      case "prepare":
        this.#prepare(record, effect);
        return;
      case "commit":
        // The decision is written down first: a new head must know of it.
        void record.kept.written().then(() => this.#commit(record, effect));
        return;
      case "giveBack": {
        const { nodeId, attempt, earlier, reason } = effect;
        this.#release(record, nodeId);
        const back = { groupId: spec.groupId, attempt, earlier, reason: `${tellGroup(spec)}: ${reason}` };
        this.#outbox.giveBack(nodeId, back, () => this.#apply(record, { kind: "returned", nodeId, attempt }));
        return;
      }
      case "bury":
        this.#bury(record);
    }
  }

  #prepare(record: GroupRecord, effect: GroupEffect & { kind: "prepare" }): void {
    const { nodeId, attempt, indexes } = effect;
    this.#options.rooms.promise(nodeId, promiseKey(record.spec.groupId, nodeId), sumOf(record.spec, indexes));
    this.#outbox.prepare(nodeId, this.#reservations(record, effect), (refusal) => {
      if (refusal === undefined) {
        this.#options.rooms.accept(nodeId, promiseKey(record.spec.groupId, nodeId));
        this.#apply(record, { kind: "prepared", nodeId, attempt });
        return;
      }
      this.#release(record, nodeId);
      this.#refusals.note(record.spec.groupId, nodeId);
      this.#apply(record, { kind: "refused", nodeId, attempt, reason: `node ${nodeId}: ${refusal}` });
    });
  }

  #commit(record: GroupRecord, effect: GroupEffect & { kind: "commit" }): void {
    const { nodeId, attempt } = effect;
    this.#outbox.commit(nodeId, this.#reservations(record, effect), (reason) =>
      this.#apply(
        record,
        reason === undefined
          ? { kind: "committed", nodeId, attempt }
          : { kind: "commitFailed", nodeId, attempt, reason },
      ),
    );
  }

  #reservations(
    { spec }: GroupRecord,
    { attempt, indexes }: { attempt: number; indexes: readonly number[] },
  ) {
    return indexes.map((index) => ({
      groupId: spec.groupId,
      index,
      attempt,
      resources: spec.bundles[index]?.resources,
    }));
  }

  /** What was promised to the group at the node is free again in the head's view. */
  #release({ spec }: GroupRecord, nodeId: string): void {
    this.#options.rooms.withdraw(nodeId, promiseKey(spec.groupId, nodeId));
  }

  async #create(spec: PlacementGroupSpec): Promise<CreatedPlacementGroup> {
    if (spec.groupId === "" || spec.bundles.length === 0)
      throw new InvalidOptionError("a placement group to create needs an id and bundles");
    const known = this.#find(spec.groupId);
    if (known !== undefined) return this.#answerCreated(known);
    const holder = spec.name === "" ? undefined : this.#idsByName.get(nameKey(spec.namespace, spec.name));
    const error =
      holder !== undefined
        ? `placement group name "${spec.name}" is taken in namespace "${spec.namespace}" (by group ${holder})`
        : this.#live.size >= GROUPS_MAX
          ? `${GROUPS_MAX} placement groups stand, which is the most the cluster takes`
          : undefined;
    if (error !== undefined) return { group: undefined, error };
    const record = this.#newRecord(spec, stateOf(spec, this.firstAttempt), false);
    this.#enter(record);
    this.#apply(record, { kind: "created" });
    const gone = this.#whyOwnerIsGone(spec);
    if (gone !== undefined) this.#apply(record, { kind: "removed", reason: gone });
    return this.#answerCreated(record);
  }

  async #answerCreated(record: GroupRecord): Promise<CreatedPlacementGroup> {
    await record.kept.durable();
    return { group: infoOf(record), error: "" };
  }

  #enter(record: GroupRecord): void {
    const { groupId, name, namespace } = record.spec;
    this.#live.set(groupId, record);
    if (name !== "") this.#idsByName.set(nameKey(namespace, name), groupId);
  }

  #bury(record: GroupRecord): void {
    const { groupId, name, namespace } = record.spec;
    this.#live.delete(groupId);
    this.#waiting.delete(groupId);
    if (name !== "") this.#idsByName.delete(nameKey(namespace, name));
    this.#removed.set(groupId, record);
    this.#options.onRemoved(groupId, `${tellGroup(record.spec)} was removed: ${record.state.removedReason}`);
  }

  // ---- placing

  #place(record: GroupRecord): boolean {
    const { rooms } = this.#options;
    const { groupId, strategy, bundles } = record.spec;
    const isAllowed = (nodeId: string) => this.#refusals.allows(groupId, nodeId);
    const wish = {
      strategy,
      bundles: unplaced(record.state).map((index) => ({
        resources: bundles[index]?.resources?.amounts ?? {},
        labels: bundles[index]?.labels ?? [],
      })),
      taken: record.state.bundles.flatMap(({ nodeId }) => nodeId ?? []),
    };
    const answer = placeBundles(wish, rooms.inTurn, isAllowed);
    // Where a raylet has refused it, its word says more than the view does.
    const isRefused = this.#refusals.has(groupId) && record.state.pendingReason !== "";
    if (answer.kind === "placed" || !isRefused) this.#apply(record, answer);
    return answer.kind === "placed";
  }

  #placeAgainSoon(waitMs: number): void {
    if (this.#placeTimer !== undefined || this.#waiting.size === 0 || this.#isClosed) return;
    this.#placeTimer = setTimeout(() => {
      this.#placeTimer = undefined;
      this.#placeWaiting();
    }, waitMs);
  }

  /** One look at all that wait: of each shape only until the first that fits nowhere. */
  #placeWaiting(): void {
    const hopeless = new Set<string>();
    const isLost = ({ state }: GroupRecord) => state.isDecided;
    const waiting = [...this.#waiting.values()];
    for (const record of [...waiting.filter(isLost), ...waiting.filter((each) => !isLost(each))]) {
      const isWhole = !this.#refusals.has(record.spec.groupId) && !isLost(record);
      if (record.state.givingBack.length > 0 || (isWhole && hopeless.has(record.shape))) continue;
      if (!this.#place(record) && isWhole) hopeless.add(record.shape);
    }
  }

  // ---- small parts

  /** Nodes that did not come back in time: by now their raylets have ended what ran there. */
  #giveUpStale(): void {
    // Should such a node register after all, what it still holds is given back first.
    for (const nodeId of this.#stale) this.#lose(nodeId);
  }

  #lose(nodeId: string): void {
    for (const record of [...this.#live.values(), ...this.#removed.values()])
      this.#apply(record, { kind: "nodeDied", nodeId });
  }

  #endThose(isMeant: (spec: PlacementGroupSpec) => boolean, reason: string): void {
    for (const record of [...this.#live.values()]) {
      if (!record.spec.detached && isMeant(record.spec)) this.#apply(record, { kind: "removed", reason });
    }
  }

  #whyOwnerIsGone({ detached, jobId, creatorActorId }: PlacementGroupSpec): string | undefined {
    const { jobs, isDetachedActor } = this.#options;
    if (detached || !jobs.hasEnded(jobId) || isDetachedActor(creatorActorId)) return undefined;
    return `its job ${jobId} had ended`;
  }

  #newsFor({ groups, settled }: WatchPlacementGroupsRequest): PlacementGroupInfo[] {
    return groups.flatMap(({ groupId, knownVersion }) => {
      const record = this.#find(groupId);
      if (record === undefined) return [missing(groupId)];
      const { version, phase } = record.state;
      const isNews = settled ? phase === "CREATED" || phase === "REMOVED" : version > knownVersion;
      return isNews ? [infoOf(record)] : [];
    });
  }

  /** @param onStore its spec is there already */
  #newRecord(spec: PlacementGroupSpec, state: GroupState, onStore: boolean): GroupRecord {
    const group = { spec, state };
    return Object.assign(group, {
      kept: this.#options.keeper.keep(this.#tables.writer(group, onStore)),
      onGivenBack: [],
      shape: JSON.stringify([spec.strategy, spec.bundles]),
    });
  }

  #find(groupId: string): GroupRecord | undefined {
    return this.#live.get(groupId) ?? this.#removed.get(groupId);
  }
}

function infoOf(record: GroupRecord): PlacementGroupInfo {
  const { spec, state } = record;
  return {
    spec,
    version: state.version,
    state: state.phase,
    nodeIds: state.bundles.map(({ nodeId }) => nodeId ?? ""),
    reason: state.removedReason || state.pendingReason,
    found: true,
  };
}

function missing(groupId: string): PlacementGroupInfo {
  const spec = {
    groupId,
    name: "",
    namespace: "",
    strategy: "",
    bundles: [],
    detached: false,
    jobId: "",
    creatorActorId: "",
  };
  return { spec, version: 0, state: "", nodeIds: [], reason: "", found: false };
}

function sumOf({ bundles }: PlacementGroupSpec, indexes: readonly number[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const index of indexes)
    for (const [name, amount] of Object.entries(bundles[index]?.resources?.amounts ?? {}))
      sum[name] = (sum[name] ?? 0) + amount;
  return sum;
}

const reasonOf = ({ state }: GroupRecord): string =>
  state.pendingReason === "" ? "" : `: ${state.pendingReason}`;
const nameKey = (namespace: string, name: string) => `${namespace}\0${name}`;
const promiseKey = (groupId: string, nodeId: string) => `group ${groupId} at ${nodeId}`;
const tellGroup = ({ groupId, name }: PlacementGroupSpec) =>
  name === "" ? `placement group ${groupId}` : `placement group ${groupId} ("${name}")`;
