/**
 * The actor directory: where each actor is, by id and by name.
 *
 * The thin shell of actor-machine.ts. It feeds the machine with what clients ask and raylets report, and carries out its
 * effects: writes, placements, calls to raylets, waking of those who watch. Decides itself only about names (unique per
 * namespace among live actors, taken and freed in one turn of the event loop) and about bounds. Never reads `creation`.
 */

import { takenAt } from "../../core/base/bundles.ts";
import { ClusterUnreachableError, InvalidOptionError, TsrayError } from "../../core/base/errors.ts";
import { unary } from "../../core/rpc/grpc.ts";
import type { NodeInfo } from "../../core/wire/gen/tsray/v1/common.ts";
import {
  ActorInfo,
  type ActorList,
  type ActorReport,
  type ActorSpec,
  CreateActorReply,
  type FindActorReply,
  type HostedActor,
  type KillActorRequest,
  type WatchActorRequest,
} from "../../core/wire/gen/tsray/v1/head.ts";
import { BoundedMap } from "../bounded-map.ts";
import type { RayletClients } from "../raylet-clients.ts";
import type { StateStore } from "../state-store/state-store.ts";
import { ActorIndex } from "./actor-index.ts";
import { infoOf, tellActor } from "./actor-info.ts";
import {
  type ActorEffect,
  type ActorEvent,
  type ActorState,
  type ActorWordFromRaylet,
  newActorState,
  step,
} from "./actor-machine.ts";
import { ActorTables } from "./actor-tables.ts";
import type { NodeRooms } from "./node-rooms.ts";
import { type Amounts, choosePlacement, type Placement, type PlacementDemand } from "./placement.ts";

const ACTORS_LIVE_MAX = 200_000;
const ACTORS_DEAD_MAX = 10_000;
/** Ended processes remembered, so that an actor whose creation arrives after its creator's end is not left behind. */
const ENDED_PROCESSES_MAX = 100_000;
const ALIASES_MAX = 100_000;
const WATCHERS_MAX = 200_000;
const WATCH_MS_MAX = 30_000;
/** Rows of ListActors, so that the answer fits one message. */
const ACTORS_LISTED_MAX = 50_000;

const RAYLET_CALL_TIMEOUT_MS = 5000;
const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 2000;
/** Waiting actors are looked at again at most this often, however many views change. */
const PLACE_AGAIN_MS = 20;
/** A node may join after an actor has been pinned to it; the news of it takes less than this. */
const UNHEARD_OF_MS = 2000;
/** A node that refused an actor is asked again after this time, or when it reports other resources. */
const REFUSED_MS = 1000;

/** Versions of actors read back from an earlier head start above any that it can have shown. */
const VERSIONS_PER_EPOCH = 1_000_000_000;

export interface ActorDirectoryOptions {
  readonly store: StateStore;
  readonly clients: RayletClients;
  readonly rooms: NodeRooms;
  readonly nodes: { isAlive(nodeId: string): boolean; isDead(nodeId: string): boolean };
  /** Why an actor cannot run in the group (now): undefined = its bundles are where they should be. */
  readonly whyNotInGroup: (
    groupId: string,
  ) => { readonly kind: "waits" | "unschedulable"; readonly reason: string } | undefined;
  /** The actor is dead: what hung on its life may end. */
  readonly onDied: (actorId: string) => void;
  readonly jobs: {
    hasEnded(jobId: string): boolean;
    isRunningDriver(jobId: string, processId: string): boolean;
  };
  log(line: string): void;
}

interface ActorRecord {
  spec: ActorSpec;
  state: ActorState;
  /** Resolves when all writes so far are done: whether the last of them was. */
  stored: Promise<boolean>;
  /** Whether spec and first state were written: until then the actor is not acknowledged. */
  created: Promise<boolean>;
  /** Raylet calls under way by node: those to one node go one after another, a stop never overtakes a start. */
  readonly calls: Map<string, Promise<void>>;
  readonly watchers: Set<() => void>;
  /** Actors of one shape fit the same nodes. */
  readonly shape: string;
  readonly refusedBy: Map<string, { revision: number; untilMs: number }>;
  readonly enteredAtMs: number;
}

export class ActorDirectory {
  readonly #options: ActorDirectoryOptions;
  readonly #tables: ActorTables;
  readonly #live = new Map<string, ActorRecord>();
  readonly #dead: BoundedMap<string, ActorRecord>;
  readonly #idsByName = new Map<string, string>();
  /** Ids that creators chose for actors which `getIfExists` found: handles with them may be on their way already. */
  readonly #aliases = new BoundedMap<string, string>(ALIASES_MAX);
  /** Actors that wait for a node, first come first. */
  readonly #waiting = new Map<string, ActorRecord>();
  readonly #byNode = new ActorIndex();
  readonly #byJob = new ActorIndex();
  readonly #byOwnerProcess = new ActorIndex();
  readonly #byOwnerNode = new ActorIndex();
  readonly #endedProcesses = new BoundedMap<string, true>(ENDED_PROCESSES_MAX);
  readonly #byGroup = new ActorIndex();
  readonly #rooms: NodeRooms;
  readonly #writes = new Set<Promise<unknown>>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #spreadTurn = 0;
  /** From then on all nodes of an earlier head's time have come back, or are gone. */
  #completeAtMs = 0;
  #watcherCount = 0;
  #placeTimer: NodeJS.Timeout | undefined;
  #unheardTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: ActorDirectoryOptions) {
    this.#options = options;
    this.#tables = new ActorTables(options.store);
    this.#rooms = options.rooms;
    this.#dead = new BoundedMap(ACTORS_DEAD_MAX, (actorId) => this.#track(this.#tables.delete(actorId)));
  }

  /**
   * Reads the directory back: names stand again, and what runs goes on where its node may come back. Nodes must have been
   * read before.
   */
  async load(epoch: number, silenceMsMax: number): Promise<void> {
    if (epoch > 1) this.#completeAtMs = performance.now() + silenceMsMax;
    const { isAlive } = this.#options.nodes;
    for (const { spec, state } of await this.#tables.load()) {
      const loaded = { ...state, version: Math.max(state.version, epoch * VERSIONS_PER_EPOCH) };
      const record = newRecord(spec, loaded);
      if (state.phase === "DEAD") this.#dead.set(spec.actorId, record);
      else this.#enter(record);
    }
    for (const record of [...this.#live.values()]) {
      this.#apply(record, { kind: "headRestarted" });
      for (const nodeId of [record.state.nodeId, record.state.stoppingOn]) {
        if (nodeId === undefined || isAlive(nodeId)) continue;
        this.#apply(record, { kind: "nodeDied", nodeId, reason: `its node ${nodeId} has died` });
      }
      const { owner, detached, jobId } = record.spec;
      const isOrphan = !detached && owner !== undefined && owner.nodeId !== "" && !isAlive(owner.nodeId);
      if (isOrphan && !this.#options.jobs.isRunningDriver(jobId, owner.processId))
        this.#apply(record, { kind: "ownerDied", reason: `its owner's node ${owner.nodeId} has died` });
    }
  }

  /** @throws InvalidOptionError when the spec names no actor; ClusterUnreachableError when it cannot be stored */
  async create(spec: ActorSpec | undefined): Promise<CreateActorReply> {
    if (spec === undefined || spec.actorId === "")
      throw new InvalidOptionError("an actor to create needs an actor id");
    const known = this.#find(spec.actorId);
    if (known !== undefined) return this.#answerCreated(known, known.spec.actorId !== spec.actorId);
    const holder = spec.name === "" ? undefined : this.#named(spec.namespace, spec.name);
    if (holder !== undefined) {
      if (spec.getIfExists) {
        this.#aliases.set(spec.actorId, holder.spec.actorId);
        return this.#answerCreated(holder, true);
      }
      const error = `actor name "${spec.name}" is taken in namespace "${spec.namespace}" (by actor ${holder.spec.actorId})`;
      return CreateActorReply.fromPartial({ error });
    }
    if (this.#live.size >= ACTORS_LIVE_MAX) {
      return CreateActorReply.fromPartial({
        error: `${ACTORS_LIVE_MAX} actors live, which is the most the cluster takes`,
      });
    }
    const record = newRecord(spec, newActorState(spec));
    this.#enter(record);
    const specStored = this.#written(this.#tables.putSpec(spec));
    record.stored = specStored;
    this.#apply(record, { kind: "created" });
    record.created = Promise.all([specStored, record.stored]).then((done) => done.every(Boolean));
    const gone = this.#whyOwnerIsGone(spec);
    if (gone !== undefined) this.#apply(record, { kind: "ownerDied", reason: gone });
    return this.#answerCreated(record, false);
  }

  /** Answers when the version is above the known one, at once for the dead and the unknown, else after `waitMs`. */
  async watch({ actorId, knownVersion, waitMs }: WatchActorRequest): Promise<ActorInfo> {
    const record = this.#find(actorId);
    if (record === undefined) return ActorInfo.fromPartial({ actorId, found: false });
    await this.#changed(record, knownVersion, waitMs);
    return storedInfo(record);
  }

  #changed(record: ActorRecord, knownVersion: number, waitMs: number): Promise<void> | undefined {
    const { state } = record;
    const mustWait = state.version <= knownVersion && state.phase !== "DEAD" && waitMs > 0;
    if (!mustWait || this.#isClosed || this.#watcherCount >= WATCHERS_MAX) return undefined;
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#timers.delete(timer);
        if (record.watchers.delete(wake)) this.#watcherCount -= 1;
        resolve();
      };
      const timer = this.#after(Math.min(waitMs, WATCH_MS_MAX), wake);
      record.watchers.add(wake);
      this.#watcherCount += 1;
    });
  }

  async find(namespace: string, name: string): Promise<FindActorReply> {
    const record = this.#named(namespace, name);
    return { found: record !== undefined, actor: record && (await storedInfo(record)) };
  }

  async kill({ actorId, noRestart, graceful, reason, requestId }: KillActorRequest): Promise<void> {
    const record = this.#find(actorId);
    if (record === undefined) return;
    this.#apply(record, { kind: "killed", noRestart, graceful, reason, requestId });
    await record.stored;
  }

  /** @throws InvalidOptionError when the state is none that a raylet reports */
  async report(report: ActorReport): Promise<void> {
    const word: ActorWordFromRaylet = { ...report, state: wordOf(report.state) };
    const record = this.#find(report.actorId);
    if (record !== undefined) {
      this.#endIfStray(record, word);
      this.#apply(record, { kind: "reported", report: word });
      await record.stored;
    } else if (word.state === "ALIVE" && this.#options.nodes.isAlive(report.nodeId)) {
      void this.#endUnknown(report.nodeId, report.actorId);
    }
  }

  async #endUnknown(nodeId: string, actorId: string): Promise<void> {
    this.#options.log(`actor ${actorId} on node ${nodeId} is not known: it is ended`);
    // Repeated: nobody else would ever end it.
    await this.#untilAnswered(
      nodeId,
      () => true,
      () => this.#callStop(nodeId, actorId, -1, false, "the head does not know this actor"),
    ).catch(() => {});
  }

  /** A start that was taken to be lost was carried out after all, when that life had been given to another node. */
  #endIfStray({ spec, state }: ActorRecord, { state: said, nodeId, incarnation }: ActorWordFromRaylet): void {
    const isElsewhere = state.nodeId !== undefined && state.nodeId !== nodeId && state.stoppingOn !== nodeId;
    if (said !== "ALIVE" || !isElsewhere || !this.#options.nodes.isAlive(nodeId)) return;
    this.#options.log(
      `actor ${tellActor(spec)} runs on node ${nodeId} although it was placed elsewhere: ended`,
    );
    void this.#callStop(nodeId, spec.actorId, incarnation, false, "it was placed elsewhere").catch(() => {});
  }

  list(): ActorList {
    const records = [...this.#live.values(), ...this.#dead.values()].slice(0, ACTORS_LISTED_MAX);
    return { actors: records.map((r) => ({ ...infoOf(r), handleMeta: NO_BYTES, deathError: NO_BYTES })) };
  }

  /** @param hosted what runs there */
  nodeRegistered({ nodeId }: NodeInfo, hosted: readonly HostedActor[]): void {
    const running = new Map(hosted.map(({ actorId, incarnation }) => [actorId, incarnation]));
    for (const actorId of new Set([...this.#byNode.get(nodeId), ...running.keys()])) {
      const record = this.#find(actorId);
      if (record !== undefined)
        this.#apply(record, { kind: "nodeRegistered", nodeId, running: running.get(actorId) });
      else void this.#endUnknown(nodeId, actorId);
    }
    this.#placeAgainSoon(PLACE_AGAIN_MS);
  }

  /** What a node has free, or where a placement group lies, has changed. */
  nodeChanged(): void {
    this.#placeAgainSoon(PLACE_AGAIN_MS);
  }

  /** Actors placed there, or still to be ended there. */
  countOn(nodeId: string): number {
    return this.#byNode.count(nodeId);
  }

  isDetachedAndLive(actorId: string): boolean {
    return this.#live.get(actorId)?.spec.detached === true;
  }

  /** The placement group stands no more: actors that run in it, or were to, are dead. */
  groupRemoved(groupId: string, reason: string): void {
    for (const record of this.#recordsOf(this.#byGroup.get(groupId)))
      this.#apply(record, { kind: "unschedulable", reason });
  }

  nodeDied(nodeId: string, reason: string): void {
    // Those whose owner went with the node first: they need no new place.
    for (const record of this.#recordsOf(this.#byOwnerNode.get(nodeId))) {
      const { jobId, owner } = record.spec;
      const isDriver = this.#options.jobs.isRunningDriver(jobId, owner?.processId ?? "");
      if (!isDriver) this.#apply(record, { kind: "ownerDied", reason: `its owner died: ${reason}` });
    }
    for (const record of this.#recordsOf(this.#byNode.get(nodeId))) {
      this.#apply(record, { kind: "nodeDied", nodeId, reason });
    }
    // Hard affinity to the dead node will never be met.
    this.#placeAgainSoon(PLACE_AGAIN_MS);
  }

  jobEnded(jobId: string): void {
    for (const record of this.#recordsOf(this.#byJob.get(jobId))) {
      this.#apply(record, { kind: "jobEnded", reason: `its job ${jobId} ended` });
    }
  }

  processEnded(processId: string): void {
    if (processId === "") return;
    this.#endedProcesses.set(processId, true);
    for (const record of this.#recordsOf(this.#byOwnerProcess.get(processId))) {
      this.#apply(record, { kind: "ownerDied", reason: `its owner, process ${processId}, ended` });
    }
  }

  /** Answers all who watch, and waits for the writes under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#placeTimer);
    for (const record of this.#live.values()) for (const wake of [...record.watchers]) wake();
    for (const timer of this.#timers) clearTimeout(timer);
    while (this.#writes.size > 0) await Promise.all(this.#writes);
  }

  // ---- feeding the machine and carrying out what it returns

  #apply(record: ActorRecord, event: ActorEvent): void {
    if (this.#isClosed) return;
    const before = record.state;
    const { state, effects } = step(before, event);
    record.state = state;
    this.#moved(record, before, state);
    for (const effect of effects) this.#carryOut(record, effect);
    if (state.version > before.version) for (const wake of [...record.watchers]) wake();
    // The process that hosted it may have owned others.
    if (before.endpoint !== undefined && state.endpoint === undefined)
      this.processEnded(before.endpoint.processId);
  }

  #carryOut(record: ActorRecord, effect: ActorEffect): void {
    switch (effect.kind) {
      case "save":
        record.stored = this.#written(record.stored.then(() => this.#tables.putState(record.state)));
        return;
      case "place":
        this.#waiting.set(record.spec.actorId, record);
        this.#place(record);
        return;
      case "start":
        this.#inOrder(record, effect.nodeId, () => this.#start(record, effect.nodeId, effect.incarnation));
        return;
      case "stop":
        this.#stop(record, effect.nodeId, effect.graceful, effect.reason);
        return;
      case "bury":
        this.#bury(record);
    }
  }

  /** Keeps the index by node and the nodes' rooms in step with where the actor is. */
  #moved(record: ActorRecord, before: ActorState, after: ActorState): void {
    const { actorId } = after;
    if (after.nodeId !== undefined) this.#waiting.delete(actorId);
    if (before.accepted !== after.accepted && after.nodeId !== undefined)
      this.#rooms.accept(after.nodeId, actorId);
    if (before.nodeId === after.nodeId && before.stoppingOn === after.stoppingOn) return;
    for (const nodeId of [before.nodeId, before.stoppingOn]) if (nodeId) this.#byNode.remove(nodeId, actorId);
    for (const nodeId of [after.nodeId, after.stoppingOn]) if (nodeId) this.#byNode.add(nodeId, actorId);
    if (before.nodeId === after.nodeId) return;
    if (before.nodeId !== undefined) this.#rooms.leave(before.nodeId, actorId);
    if (after.nodeId !== undefined) this.#rooms.arrive(after.nodeId, actorId, heldBy(record.spec));
  }

  #enter(record: ActorRecord): void {
    const { actorId, jobId, owner, name, namespace, detached } = record.spec;
    this.#live.set(actorId, record);
    if (name !== "") this.#idsByName.set(nameKey(namespace, name), actorId);
    for (const nodeId of [record.state.nodeId, record.state.stoppingOn])
      if (nodeId) this.#byNode.add(nodeId, actorId);
    const groupId = groupOf(record.spec);
    if (groupId !== "") this.#byGroup.add(groupId, actorId);
    if (detached) return;
    this.#byJob.add(jobId, actorId);
    if (owner?.processId) this.#byOwnerProcess.add(owner.processId, actorId);
    if (owner?.nodeId) this.#byOwnerNode.add(owner.nodeId, actorId);
  }

  #bury(record: ActorRecord): void {
    const { actorId, jobId, owner, name, namespace } = record.spec;
    this.#live.delete(actorId);
    this.#waiting.delete(actorId);
    if (name !== "") this.#idsByName.delete(nameKey(namespace, name));
    this.#byJob.remove(jobId, actorId);
    this.#byGroup.remove(groupOf(record.spec), actorId);
    this.#byOwnerProcess.remove(owner?.processId ?? "", actorId);
    this.#byOwnerNode.remove(owner?.nodeId ?? "", actorId);
    record.refusedBy.clear();
    // The history needs no constructor arguments, nor the 8 KiB of Node's pool that a small buffer keeps.
    const handleMeta = unpooled(record.spec.handleMeta);
    record.spec = { ...record.spec, creation: NO_BYTES, job: undefined, handleMeta };
    record.state = { ...record.state, deathError: unpooled(record.state.deathError) };
    record.stored = this.#written(record.stored.then(() => this.#tables.putSpec(record.spec)));
    this.#dead.set(actorId, record);
    this.#options.log(`actor ${tellActor(record.spec)} is dead: ${record.state.deathReason}`);
    this.#options.onDied(actorId);
  }

  // ---- placing

  #place(record: ActorRecord): Placement["kind"] {
    const nowMs = performance.now();
    const isAllowed = (nodeId: string) => {
      const refused = record.refusedBy.get(nodeId);
      return (
        refused === undefined ||
        refused.revision !== this.#rooms.revisionOf(nodeId) ||
        nowMs >= refused.untilMs
      );
    };
    const { isDead } = this.#options.nodes;
    const isComplete = nowMs >= Math.max(this.#completeAtMs, record.enteredAtMs + UNHEARD_OF_MS);
    const cluster = { rooms: this.#rooms.rooms, isDead, isComplete, spreadTurn: this.#spreadTurn };
    const found = choosePlacement(demandOf(record.spec), cluster, isAllowed);
    const groupId = groupOf(record.spec);
    const inGroup =
      found.kind === "node" || groupId === "" ? undefined : this.#options.whyNotInGroup(groupId);
    const answer = inGroup ?? found;
    // An unknown node may be news to come; if it is not, nothing else may happen that leads here again.
    if (answer.kind === "waits" && !isComplete && record.spec.strategy?.kind === "NODE_AFFINITY")
      this.#unheardTimer ??= this.#after(UNHEARD_OF_MS, () => {
        this.#unheardTimer = undefined;
        this.#placeAgainSoon(0);
      });
    if (answer.kind === "node") {
      this.#spreadTurn += 1;
      this.#apply(record, { kind: "placed", nodeId: answer.nodeId });
      return "node";
    }
    // Where a raylet has refused it, its word says more than the view does.
    const isRefused = record.refusedBy.size > 0 && record.state.pendingReason !== "";
    if (answer.kind === "unschedulable" || !isRefused) this.#apply(record, answer);
    return answer.kind;
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
    for (const record of [...this.#waiting.values()]) {
      if (record.refusedBy.size === 0 && hopeless.has(record.shape)) continue;
      if (this.#place(record) === "waits" && record.refusedBy.size === 0) hopeless.add(record.shape);
    }
  }

  // ---- calls to raylets

  #inOrder(record: ActorRecord, nodeId: string, call: () => Promise<void>): void {
    const done = (record.calls.get(nodeId) ?? Promise.resolve()).then(call).catch((error: unknown) => {
      this.#options.log(
        `actor ${tellActor(record.spec)}: ${error instanceof Error ? error.message : String(error)}`,
      );
    });
    record.calls.set(nodeId, done);
    void done.then(() => {
      if (record.calls.get(nodeId) === done) record.calls.delete(nodeId);
    });
  }

  /** Repeats until the raylet has answered, or the start has become pointless. */
  async #start(record: ActorRecord, nodeId: string, incarnation: number): Promise<void> {
    // A new head must know where an actor may be running.
    await record.stored;
    const isWanted = () => {
      const { state } = record;
      return state.nodeId === nodeId && state.incarnation === incarnation && !state.accepted;
    };
    await this.#untilAnswered(nodeId, isWanted, async () => {
      const { spec } = record;
      const reply = await this.#options.clients.call(nodeId, (client) =>
        unary(client, client.startActor, { spec, incarnation }, RAYLET_CALL_TIMEOUT_MS),
      );
      if (reply.accepted) this.#apply(record, { kind: "accepted", nodeId, incarnation });
      else this.#refused(record, nodeId, incarnation, reply.reason);
    }).catch((error: TsrayError) =>
      this.#refused(record, nodeId, incarnation, error.message.split("\n")[0] ?? ""),
    );
  }

  #refused(record: ActorRecord, nodeId: string, incarnation: number, reason: string): void {
    const revision = this.#rooms.revisionOf(nodeId);
    record.refusedBy.set(nodeId, { revision, untilMs: performance.now() + REFUSED_MS });
    this.#apply(record, {
      kind: "rejected",
      nodeId,
      incarnation,
      reason: `node ${nodeId}: ${reason || "refused"}`,
    });
    this.#after(REFUSED_MS + 1, () => {
      record.refusedBy.delete(nodeId);
      this.#placeAgainSoon(0);
    });
  }

  #stop(record: ActorRecord, nodeId: string, graceful: boolean, reason: string): void {
    const { actorId } = record.spec;
    // What is to be replaced is the life before the one that waits.
    const { stoppingOn, incarnation: last } = record.state;
    const incarnation = stoppingOn === nodeId ? last - 1 : last;
    this.#inOrder(record, nodeId, async () => {
      await record.stored;
      const isWanted = () => !graceful || record.state.nodeId === nodeId;
      await this.#untilAnswered(nodeId, isWanted, () =>
        this.#callStop(nodeId, actorId, incarnation, graceful, reason),
      );
      if (!graceful) this.#apply(record, { kind: "stopped", nodeId });
    });
  }

  async #callStop(
    nodeId: string,
    actorId: string,
    incarnation: number,
    graceful: boolean,
    reason: string,
  ): Promise<void> {
    const request = { actorId, incarnation, graceful, reason };
    await this.#options.clients.call(nodeId, (client) =>
      unary(client, client.stopActor, request, RAYLET_CALL_TIMEOUT_MS),
    );
  }

  /** @throws TsrayError what the raylet threw, when a repeat cannot help */
  async #untilAnswered(nodeId: string, isWanted: () => boolean, call: () => Promise<void>): Promise<void> {
    for (let waitMs = RETRY_MS_MIN; ; waitMs = Math.min(waitMs * 2, RETRY_MS_MAX)) {
      if (this.#isClosed || !isWanted() || !this.#options.nodes.isAlive(nodeId)) return;
      try {
        await call();
        return;
      } catch (error) {
        if (error instanceof TsrayError && !error.retryable) throw error;
      }
      await new Promise<void>((resolve) => this.#after(waitMs, resolve));
    }
  }

  // ---- small parts

  #whyOwnerIsGone(spec: ActorSpec): string | undefined {
    if (spec.detached) return undefined;
    const { processId = "", nodeId = "" } = spec.owner ?? {};
    if (this.#options.jobs.hasEnded(spec.jobId)) return `its job ${spec.jobId} had ended`;
    if (this.#endedProcesses.has(processId)) return `its owner, process ${processId}, had ended`;
    const isDriver = this.#options.jobs.isRunningDriver(spec.jobId, processId);
    return this.#options.nodes.isDead(nodeId) && !isDriver
      ? `its owner's node ${nodeId} had died`
      : undefined;
  }

  async #answerCreated(record: ActorRecord, existed: boolean): Promise<CreateActorReply> {
    if (!(await record.created)) {
      const reason = `the head could not store actor ${tellActor(record.spec)}`;
      this.#apply(record, { kind: "killed", noRestart: true, graceful: false, reason, requestId: "" });
      throw new ClusterUnreachableError(reason);
    }
    return { actor: infoOf(record), existed, error: "" };
  }

  #find(actorId: string): ActorRecord | undefined {
    const id = this.#aliases.get(actorId) ?? actorId;
    return this.#live.get(id) ?? this.#dead.get(id);
  }

  #named(namespace: string, name: string): ActorRecord | undefined {
    return this.#live.get(this.#idsByName.get(nameKey(namespace, name)) ?? "");
  }

  #recordsOf(actorIds: readonly string[]): ActorRecord[] {
    return actorIds.flatMap((actorId) => this.#live.get(actorId) ?? []);
  }

  /** Whether the write was done; a failure is logged. */
  #written(write: Promise<void>): Promise<boolean> {
    return this.#track(
      write.then(
        () => true,
        (error: unknown) => {
          this.#options.log(
            `cannot write the actor table: ${error instanceof Error ? error.message : String(error)}`,
          );
          return false;
        },
      ),
    );
  }

  #track<T>(write: Promise<T>): Promise<T> {
    const settled: Promise<void> = write.then(
      () => void this.#writes.delete(settled),
      () => void this.#writes.delete(settled),
    );
    this.#writes.add(settled);
    return write;
  }

  #after(waitMs: number, run: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, waitMs);
    this.#timers.add(timer);
    return timer;
  }
}

const NO_BYTES = Buffer.alloc(0);

/** A copy in memory of its own. */
function unpooled(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}

function newRecord(spec: ActorSpec, state: ActorState): ActorRecord {
  const shape = JSON.stringify([spec.resources, spec.placement, spec.strategy]);
  const stored = Promise.resolve(true);
  return {
    spec,
    state,
    stored,
    created: stored,
    calls: new Map(),
    watchers: new Set(),
    shape,
    refusedBy: new Map(),
    enteredAtMs: performance.now(),
  };
}

const ANYWHERE = { kind: "DEFAULT", nodeId: "", soft: false, labels: [], groupId: "", bundle: -1 };

const groupOf = (spec: ActorSpec): string => spec.strategy?.groupId ?? "";

/** What it takes at its node: of a placement group, under the group's names. */
const heldBy = (spec: ActorSpec): Amounts =>
  takenAt(spec.resources?.amounts ?? {}, spec.strategy ?? ANYWHERE);

function demandOf(spec: ActorSpec): PlacementDemand {
  const strategy = spec.strategy ?? ANYWHERE;
  return {
    resources: heldBy(spec),
    placement: takenAt(spec.placement?.amounts ?? {}, strategy),
    strategy,
    ownerNodeId: spec.owner?.nodeId ?? "",
  };
}

/** @throws InvalidOptionError */
function wordOf(state: string): ActorWordFromRaylet["state"] {
  const known = (["ALIVE", "INIT_FAILED", "EXITED", "CRASHED", "MOVED"] as const).find(
    (each) => each === state,
  );
  if (known !== undefined) return known;
  throw new InvalidOptionError(`"${state}" is no state that a raylet reports of an actor`);
}

/** What is told of an actor must not be forgotten by the next head. */
async function storedInfo(record: ActorRecord): Promise<ActorInfo> {
  const info = infoOf(record);
  await record.stored;
  return info;
}

const nameKey = (namespace: string, name: string) => `${namespace}\0${name}`;
