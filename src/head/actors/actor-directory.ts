/**
 * The actor directory: where each actor is, by id and by name.
 *
 * The thin shell of actor-machine.ts. It feeds the machine with what clients ask and raylets report, and carries out its
 * effects: writes, placements (waiting-actors.ts), calls to raylets (actor-commands.ts), waking of those who watch. What
 * it tells or acknowledges is on the store, or the call fails and may be repeated. Decides itself only about bounds.
 * Never reads `creation`.
 */

import { InvalidOptionError } from "../../core/base/errors.ts";
import type { NodeInfo } from "../../core/wire/gen/tsray/v1/common.ts";
import {
  ActorInfo,
  type ActorKill,
  type ActorList,
  type ActorReport,
  type ActorSpec,
  CreatedActor,
  type FindActorReply,
  type HostedActor,
} from "../../core/wire/gen/tsray/v1/head.ts";
import { BoundedMap } from "../bounded-map.ts";
import type { RecordKeeper } from "../state-store/record-keeper.ts";
import type { StateStore } from "../state-store/state-store.ts";
import { Watchers } from "../watchers.ts";
import { ActorCommands } from "./actor-commands.ts";
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
import { ActorNames } from "./actor-names.ts";
import type { ActorOutbox } from "./actor-outbox.ts";
import {
  type ActorRecord,
  groupOf,
  heldBy,
  NO_BYTES,
  newRecord,
  specOfDead,
  unpooled,
} from "./actor-record.ts";
import { ActorTables } from "./actor-tables.ts";
import type { NodeRooms } from "./node-rooms.ts";
import { WaitingActors, type WaitingActorsOptions } from "./waiting-actors.ts";

const ACTORS_LIVE_MAX = 200_000;
/** The history: 6 MiB. */
const ACTORS_DEAD_MAX = 5000;
/** Ended processes remembered, so that an actor whose creation arrives after its creator's end is not left behind. */
const ENDED_PROCESSES_MAX = 100_000;
/** Rows of ListActors, so that the answer fits one message. */
const ACTORS_LISTED_MAX = 50_000;

/** Versions of actors read back from an earlier head start above any that it can have shown. */
const VERSIONS_PER_EPOCH = 1_000_000_000;

export interface ActorDirectoryOptions {
  readonly store: StateStore;
  readonly keeper: RecordKeeper;
  readonly outbox: ActorOutbox;
  readonly rooms: NodeRooms;
  readonly nodes: { isAlive(nodeId: string): boolean; isDead(nodeId: string): boolean };
  readonly whyNotInGroup: WaitingActorsOptions["whyNotInGroup"];
  /** The actor is dead: what hung on its life may end. */
  readonly onDied: (actorId: string) => void;
  readonly jobs: {
    hasEnded(jobId: string): boolean;
    isRunningDriver(jobId: string, processId: string): boolean;
  };
  log(line: string): void;
}

export class ActorDirectory {
  readonly #options: ActorDirectoryOptions;
  readonly #tables: ActorTables;
  readonly #live = new Map<string, ActorRecord>();
  readonly #watchers = new Watchers();
  readonly #dead: BoundedMap<string, ActorRecord>;
  readonly #names: ActorNames;
  readonly #byNode = new ActorIndex();
  readonly #byJob = new ActorIndex();
  readonly #byOwnerProcess = new ActorIndex();
  readonly #byOwnerNode = new ActorIndex();
  readonly #endedProcesses = new BoundedMap<string, true>(ENDED_PROCESSES_MAX);
  readonly #byGroup = new ActorIndex();
  readonly #rooms: NodeRooms;
  readonly #waiting: WaitingActors;
  readonly #commands: ActorCommands;
  #isClosed = false;

  constructor(options: ActorDirectoryOptions) {
    this.#options = options;
    this.#tables = new ActorTables(options.store);
    this.#names = new ActorNames(options.store, options.keeper);
    this.#rooms = options.rooms;
    const { rooms, whyNotInGroup, outbox, nodes, log } = options;
    const apply = (record: ActorRecord, event: ActorEvent) => this.#apply(record, event);
    const isDead = (nodeId: string) => nodes.isDead(nodeId);
    this.#waiting = new WaitingActors({ rooms, isDead, whyNotInGroup, apply });
    const isAlive = (nodeId: string) => nodes.isAlive(nodeId);
    const onRefused = (record: ActorRecord, nodeId: string) => this.#waiting.refused(record, nodeId);
    this.#commands = new ActorCommands({ outbox, isAlive, apply, onRefused, log });
    this.#dead = new BoundedMap(ACTORS_DEAD_MAX, (actorId, { kept }) => {
      kept.replaced(() => this.#tables.delete(actorId));
      this.#names.forget(actorId);
    });
  }

  /**
   * Reads the directory back: names stand again, and what runs goes on where its node may come back. Nodes must have been
   * read before.
   */
  async load(epoch: number, silenceMsMax: number): Promise<void> {
    if (epoch > 1) this.#waiting.nodesMayComeFor(silenceMsMax);
    const { isAlive } = this.#options.nodes;
    for (const { spec, state } of await this.#tables.load()) {
      const loaded = { ...state, version: Math.max(state.version, epoch * VERSIONS_PER_EPOCH) };
      const isDead = state.phase === "DEAD";
      const record = this.#newRecord(isDead ? specOfDead(spec) : spec, loaded, true);
      if (isDead) this.#dead.set(spec.actorId, record);
      else this.#enter(record);
    }
    await this.#names.load((actorId) => this.#live.has(actorId) || this.#dead.has(actorId));
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

  /** @throws InvalidOptionError when the spec names no actor; ClusterUnreachableError when it, or its alias, cannot be stored */
  async create(spec: ActorSpec): Promise<CreatedActor> {
    if (spec.actorId === "") throw new InvalidOptionError("an actor to create needs an actor id");
    const known = this.#find(spec.actorId);
    if (known !== undefined) return this.#answerCreated(known, spec.actorId);
    const holder = this.#named(spec.namespace, spec.name);
    if (holder !== undefined) {
      if (spec.getIfExists) {
        this.#names.addAlias(spec.actorId, holder.spec.actorId);
        return this.#answerCreated(holder, spec.actorId);
      }
      const error = `actor name "${spec.name}" is taken in namespace "${spec.namespace}" (by actor ${holder.spec.actorId})`;
      return CreatedActor.fromPartial({ error });
    }
    if (this.#live.size >= ACTORS_LIVE_MAX) {
      return CreatedActor.fromPartial({
        error: `${ACTORS_LIVE_MAX} actors live, which is the most the cluster takes`,
      });
    }
    const record = this.#newRecord(spec, newActorState(spec), false);
    this.#enter(record);
    this.#apply(record, { kind: "created" });
    const gone = this.#whyOwnerIsGone(spec);
    if (gone !== undefined) this.#apply(record, { kind: "ownerDied", reason: gone });
    return this.#answerCreated(record, spec.actorId);
  }

  /** How it stands now; undefined = not known. */
  stateOf(actorId: string): ActorState | undefined {
    return this.#find(actorId)?.state;
  }

  /** As clients are told of it, once that is written. */
  async info(actorId: string): Promise<ActorInfo> {
    const record = this.#find(actorId);
    return record === undefined ? ActorInfo.fromPartial({ actorId, found: false }) : storedInfo(record);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Calls `wake` at each change of the actor, and when the directory closes. @returns what ends that */
  onChange(actorId: string, wake: () => void): () => void {
    return this.#watchers.add(this.#names.idOf(actorId), wake);
  }

  async find(namespace: string, name: string): Promise<FindActorReply> {
    const record = this.#named(namespace, name);
    return { found: record !== undefined, actor: record && (await storedInfo(record)) };
  }

  /** @throws ClusterUnreachableError when it cannot be stored now: a repeat with its `requestId` writes it again */
  async kill({ actorId, noRestart, graceful, reason, requestId }: ActorKill): Promise<void> {
    const record = this.#find(actorId);
    if (record === undefined) return;
    this.#apply(record, { kind: "killed", noRestart, graceful, reason, requestId });
    await record.kept.durable();
  }

  /** @throws InvalidOptionError when the state is none that a raylet reports; ClusterUnreachableError as {@link kill} */
  async report(report: ActorReport): Promise<void> {
    const word: ActorWordFromRaylet = { ...report, state: wordOf(report.state) };
    const record = this.#find(report.actorId);
    if (record !== undefined) {
      this.#commands.endIfStray(record, word);
      this.#apply(record, { kind: "reported", report: word });
      await record.kept.durable();
    } else if (word.state === "ALIVE" && this.#options.nodes.isAlive(report.nodeId)) {
      void this.#commands.endUnknown(report.nodeId, report.actorId);
    }
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
      else void this.#commands.endUnknown(nodeId, actorId);
    }
    this.#waiting.lookSoon();
  }

  /** What a node has free, or where a placement group lies, has changed. */
  nodeChanged(): void {
    this.#waiting.lookSoon();
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
    this.#waiting.lookSoon();
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

  /** Answers all who watch. */
  close(): void {
    this.#isClosed = true;
    this.#waiting.close();
    this.#commands.close();
    this.#watchers.wakeAll();
  }

  // ---- feeding the machine and carrying out what it returns

  #apply(record: ActorRecord, event: ActorEvent): void {
    if (this.#isClosed) return;
    const before = record.state;
    const { state, effects } = step(before, event);
    record.state = state;
    this.#moved(record, before, state);
    for (const effect of effects) this.#carryOut(record, effect);
    if (state.version > before.version) this.#watchers.wake(state.actorId);
    // The process that hosted it may have owned others.
    if (before.endpoint !== undefined && state.endpoint === undefined)
      this.processEnded(before.endpoint.processId);
  }

  #carryOut(record: ActorRecord, effect: ActorEffect): void {
    switch (effect.kind) {
      case "save":
        record.kept.changed();
        return;
      case "place":
        this.#waiting.add(record);
        return;
      case "start":
        this.#commands.start(record, effect.nodeId, effect.incarnation);
        return;
      case "stop":
        this.#commands.stop(record, effect.nodeId, effect.graceful, effect.reason);
        return;
      case "bury":
        this.#bury(record);
    }
  }

  /** Keeps the index by node and the nodes' rooms in step with where the actor is. */
  #moved(record: ActorRecord, before: ActorState, after: ActorState): void {
    const { actorId } = after;
    if (after.nodeId !== undefined) this.#waiting.remove(actorId);
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
    this.#names.take(namespace, name, actorId);
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
    this.#waiting.remove(actorId);
    this.#names.free(namespace, name);
    this.#byJob.remove(jobId, actorId);
    this.#byGroup.remove(groupOf(record.spec), actorId);
    this.#byOwnerProcess.remove(owner?.processId ?? "", actorId);
    this.#byOwnerNode.remove(owner?.nodeId ?? "", actorId);
    record.spec = specOfDead(record.spec);
    record.shape = "";
    record.state = { ...record.state, deathError: unpooled(record.state.deathError) };
    this.#dead.set(actorId, record);
    this.#options.log(`actor ${tellActor(record.spec)} is dead: ${record.state.deathReason}`);
    this.#options.onDied(actorId);
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

  async #answerCreated(record: ActorRecord, askedId: string): Promise<CreatedActor> {
    await Promise.all([record.kept.durable(), this.#names.aliasDurable(askedId)]);
    return { actor: infoOf(record), existed: record.spec.actorId !== askedId, error: "", failure: "" };
  }

  /** @param onStore its spec is there already */
  #newRecord(spec: ActorSpec, state: ActorState, onStore: boolean): ActorRecord {
    const { keeper } = this.#options;
    return newRecord(spec, state, (actor) => keeper.keep(this.#tables.writer(actor, onStore)));
  }

  #find(actorId: string): ActorRecord | undefined {
    const id = this.#names.idOf(actorId);
    return this.#live.get(id) ?? this.#dead.get(id);
  }

  #named(namespace: string, name: string): ActorRecord | undefined {
    return this.#live.get(this.#names.holder(namespace, name) ?? "");
  }

  #recordsOf(actorIds: readonly string[]): ActorRecord[] {
    return actorIds.flatMap((actorId) => this.#live.get(actorId) ?? []);
  }
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
  await record.kept.durable();
  return info;
}
