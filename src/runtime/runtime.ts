/**
 * A driver's or worker's side of the cluster, put together: references, objects, tasks, actors, and the channels over
 * which they talk. It can be called before it is connected; such calls give refs at once and are made when it is.
 */

import { type ActorCall, type ActorCallOptions, ActorClient } from "../actors/actor-client.ts";
import { makeHandle, makePendingHandle, resultOf } from "../actors/handle.ts";
import { KnownActors } from "../actors/known-actors.ts";
import { type ActorMeta, metaOf, metaUnknown } from "../actors/meta.ts";
import type { RuntimePort } from "../core/api/runtime-port.ts";
import { currentCall } from "../core/base/call-context.ts";
import { type Endpoint, endpointToTuple } from "../core/base/endpoint.ts";
import { ObjectLostError, TsrayError } from "../core/base/errors.ts";
import {
  describeFunction,
  isByValue,
  labelOf,
  methodsOf,
  type RegisteredClass,
  type RegisteredTask,
} from "../core/base/function-registry.ts";
import { captureActor, captureTask } from "../core/base/group-capture.ts";
import { newActorId, newRequestId, objectIdOf } from "../core/base/ids.ts";
import { Numbered } from "../core/base/numbered.ts";
import type { ResolvedActorOptions, ResolvedTaskOptions } from "../core/base/options.ts";
import type { OwnerEnvironments } from "../core/environments/prepare.ts";
import type { ObjectEntry } from "../core/ownership/entries.ts";
import { ObjectAccess } from "../core/ownership/object-access.ts";
import { listObjects } from "../core/ownership/object-listing.ts";
import { ObjectRef } from "../core/ownership/object-ref.ts";
import { RayletLink } from "../core/ownership/raylet-link.ts";
import { ReferenceTable } from "../core/ownership/reference-table.ts";
import type { Channel } from "../core/rpc/channel.ts";
import { type ChannelServer, listenForChannels } from "../core/rpc/channel-server.ts";
import { type Message, packPlain } from "../core/rpc/frames.ts";
import {
  type ActorCreation,
  Local,
  type ObjectListing,
  type Payload,
  Peer,
  type Welcome,
} from "../core/rpc/messages.ts";
import { Peers } from "../core/rpc/peers.ts";
import type { ObjectStore } from "../core/store/object-store.ts";
import { attachStore } from "../core/store/open-store.ts";
import { ActorRegistry } from "../core/submit/actor-registry.ts";
import { packArguments } from "../core/submit/arguments.ts";
import { Calls, failPromised, promise, type Submitted, submittedOf } from "../core/submit/calls.ts";
import { GroupClient } from "../core/submit/group-client.ts";
import { HeadClient } from "../core/submit/head-client.ts";
import { strategyToWire } from "../core/submit/leases.ts";
import { CHILD_OF_CANCELLED, TaskSubmitter } from "../core/submit/task-submitter.ts";
import type { ActorInfo } from "../core/wire/gen/tsray/v1/head.ts";
import { bareError, createCodec, type HandleBinding } from "./codec.ts";
import type { Connection, ExecutorHooks } from "./connection.ts";
import { DETACHED_ARGUMENTS_BYTES_MAX, Outliving, valuesOf } from "./detached.ts";
import { offerFiles, ownerEnvironments } from "./environments.ts";
import { RuntimeGroups } from "./groups.ts";

const LISTED_ROWS_MAX = 1000;

interface Connected {
  readonly link: RayletLink;
  readonly welcome: Welcome;
  readonly objects: ObjectAccess;
  readonly calls: Calls;
  readonly tasks: TaskSubmitter;
  readonly head: HeadClient;
  readonly actors: ActorRegistry;
  readonly environments: OwnerEnvironments;
  readonly groups: GroupClient;
  readonly store: ObjectStore;
  readonly server: ChannelServer;
}

export class Runtime implements RuntimePort {
  readonly self: Endpoint;
  readonly references: ReferenceTable;
  readonly #onBusy: (delta: 1 | -1) => void;
  readonly #warn: (line: string) => void;
  #connected: Connected | undefined;
  /** What it was connected to before it was closed: actors that are waited for still learn of the end. */
  #left: Connected | undefined;
  #failed: Error | undefined;
  /** Calls made before it was connected. */
  #deferred: ((error: Error | undefined) => void)[] = [];
  #peers: Peers | undefined;
  readonly #actors = new KnownActors();
  readonly #outstanding = new Numbered<ActorCall>();
  readonly #killing = new Set<Promise<void>>();
  #offering: Promise<void> | undefined;
  readonly #outliving = new Outliving();
  /** In an actor: itself. */
  #self: ActorClient | undefined;
  readonly #handleBinding: HandleBinding;
  readonly groups: RuntimeGroups;

  /** @param self this process; sockets and node may be filled in at connection */
  constructor(self: Endpoint, onBusy: (delta: 1 | -1) => void, warn: (line: string) => void) {
    this.self = self;
    this.#onBusy = onBusy;
    this.#warn = warn;
    this.references = new ReferenceTable(self, {
      channelTo: (owner) => this.channelTo(owner),
      freeCopies: (key, copies) => this.#connected?.objects.freeCopies(key, copies),
      keepCopy: (key, copies) => this.#connected?.objects.keepCopy(key, copies),
      markLost: (entry) => this.#markLost(entry),
    });
    this.#handleBinding = {
      exportHandle: (client) => this.#exportHandle(client),
      importHandle: (data) => this.#importHandle(data),
    };
    this.groups = new RuntimeGroups({
      connected: () =>
        new Promise((resolve, reject) => {
          this.#whenConnected((error) => (error === undefined ? resolve(this.connected) : reject(error)));
        }),
      actorId: () => this.#self?.actorId,
      onBusy,
      warn,
    });
  }

  get connected(): Connected {
    if (this.#connected === undefined)
      throw this.#failed ?? new TsrayError("NotInitializedError", "tsray is not connected yet");
    return this.#connected;
  }

  get isConnected(): boolean {
    return this.#connected !== undefined;
  }

  get objects(): ObjectAccess {
    return this.connected.objects;
  }

  channelTo(endpoint: Endpoint): Channel {
    const channel = (this.#peers as Peers).to(endpoint);
    this.#outliving.tell(channel, this.self.processId);
    return channel;
  }

  /** This process has become a detached actor. */
  outliveDriver(): void {
    this.#outliving.add(this.self.processId);
  }

  /** Listens, registers with the raylet of this node, attaches its store; then makes the calls that waited. */
  async connect(
    connection: Connection,
    hooks: ExecutorHooks | undefined,
    onNotice: (message: Message) => void,
  ): Promise<Welcome> {
    const { token, raylet, register, host, timeoutMs } = connection;
    Object.assign(this.self, connection.self);
    const { self } = this;
    const identity = { self, token };
    const peers = new Peers(
      identity,
      (channel, message) => this.#onMessage(channel, message, hooks),
      (channel, error) => {
        this.references.onPeerClosed(channel);
        this.#connected?.objects.onPeerClosed(channel, error?.message.split("\n")[0]);
        hooks?.onPeerClosed(channel);
      },
      (peer) => this.#onPeer(peer),
    );
    this.#peers = peers;
    const server = await listenForChannels({
      processId: self.processId,
      nodeId: self.nodeId,
      unixPath: self.unixPath,
      host,
      token,
      onPeer: (channel) => peers.accept(channel),
    });
    Object.assign(self, server.endpoint);
    let opened: { link: RayletLink; welcome: Welcome };
    try {
      opened = await RayletLink.open(raylet, identity, register, timeoutMs);
    } catch (error) {
      server.close();
      throw error;
    }
    const { link, welcome } = opened;
    link.onMessage = (message) => this.#onLocal(message, hooks, onNotice);
    const store = attachStore({ path: welcome.storePath, kind: welcome.storeKind });
    const head = new HeadClient(welcome.headAddress, token);
    const objects: ObjectAccess = new ObjectAccess({
      references: this.references,
      codec: createCodec(this.references, this.#handleBinding),
      store,
      raylet: link,
      driverId: welcome.job.driverProcessId,
      outlivesDriver: (processId) => this.#outliving.has(processId),
      rayletTuple: welcome.rayletEndpoint,
      channelTo: (owner) => this.channelTo(owner),
      reconstruct: (entry) => tasks.reconstruct(entry),
    });
    const actors = new ActorRegistry(head);
    const groups = new GroupClient(head);
    const calls = new Calls({
      objects,
      references: this.references,
      currentCall: () => currentCall()?.localId,
    });
    const environments = ownerEnvironments(head, welcome.job, connection.environment, objects);
    const tasks: TaskSubmitter = new TaskSubmitter({
      calls,
      environments,
      self,
      token,
      job: welcome.job,
      raylet: { address: welcome.rayletAddress, nodeId: welcome.nodeId },
      isRayletAlive: () => !link.channel.closed,
      groups,
      channelTo: (worker) => this.channelTo(worker),
      onBusy: this.#onBusy,
      warn: this.#warn,
    });
    const parts = { link, welcome, objects, calls, tasks, store, server };
    this.#connected = { ...parts, head, actors, groups, environments };
    this.#runDeferred(undefined);
    return welcome;
  }

  /** It will not be connected: every call that waited fails with `error`. */
  fail(error: Error): void {
    this.#failed = error;
    this.#runDeferred(error);
  }

  close(): void {
    const connected = this.#connected;
    this.#failed ??= new TsrayError("NotInitializedError", "tsray was shut down");
    if (connected === undefined) return;
    this.#left = connected;
    const over = connected.objects.errorPayload(this.#failed);
    connected.tasks.close(over);
    for (const call of this.#outstanding.values()) call.client.shutDown(this.#failed);
    this.#connected = undefined;
    connected.head.close();
    this.#peers?.closeAll();
    connected.server.close();
    connected.link.channel.close();
    connected.store.close();
  }

  /** A node cannot see the files of this driver's job: it is told where they can be had. */
  offerFiles(): void {
    const { head, environments, welcome } = this.connected;
    this.#offering ??= offerFiles(head, environments, welcome.job)
      .catch((error: Error) => this.#warn(`the job's files could not be sent to a node: ${error.message}`))
      .finally(() => {
        this.#offering = undefined;
      });
  }

  /** Calls `then` when connected, or at once. */
  #whenConnected(then: (error: Error | undefined) => void): void {
    if (this.#connected !== undefined || this.#failed !== undefined) then(this.#failed);
    else this.#deferred.push(then);
  }

  #runDeferred(error: Error | undefined): void {
    const deferred = this.#deferred;
    this.#deferred = [];
    for (const each of deferred) each(error);
  }

  // --- tasks and actors ---

  submitTask(record: RegisteredTask, args: readonly unknown[], given: ResolvedTaskOptions): unknown {
    const options = captureTask(given);
    if (this.#connected !== undefined) return resultOf(this.#connected.tasks.submit(record, args, options));
    const promised = promise(this.references, options.numReturns);
    this.#defer(promised, () => this.connected.tasks.submit(record, args, options, promised));
    return resultOf(submittedOf(promised));
  }

  createActor(record: RegisteredClass, args: readonly unknown[], given: ResolvedActorOptions): unknown {
    const options = captureActor(given);
    const actorId = newActorId();
    const client = this.#newClient(actorId, metaOf(record, options), "creating");
    if (!options.detached) {
      const entry = this.references.newOwned();
      client.handleEntry = entry;
      this.references.onLastDrop(entry, this.#letGoLater(actorId));
    }
    this.#whenConnected((error) => {
      if (error !== undefined) client.refused(error);
      else void this.#create(client, record, args, options);
    });
    return makeHandle(client, (...call) => this.#callActor(...call));
  }

  /** A handle on an actor that exists; it does not keep the actor alive. */
  handleOf(info: ActorInfo, meta: ActorMeta): object {
    const client = this.#actors.get(info.actorId) ?? this.#newClient(info.actorId, meta, "unknown");
    client.apply(info);
    return makeHandle(client, (...call) => this.#callActor(...call));
  }

  /** A handle for an actor that is being looked for. Calls made on it meanwhile are sent when it is found. */
  pendingHandle(name: string, search: Promise<{ info: ActorInfo; meta: ActorMeta }>): object {
    const client = this.#newClient(newActorId(), metaUnknown(name), "creating");
    client.isSought = true;
    const found = search.then(
      ({ info, meta }) => {
        client.meta = meta;
        client.created(info);
        return this.handleOf(info, meta);
      },
      (error: Error) => {
        client.refused(error);
        throw error;
      },
    );
    // Nobody may be waiting for it: the calls made on the handle fail with the same error.
    found.catch(() => {});
    return makePendingHandle(client, (...call) => this.#callActor(...call), found);
  }

  /** In an actor: a handle on itself, as far as this process knows its class. */
  ownHandle(actorId: string): object | undefined {
    const client = this.#self?.actorId === actorId ? this.#self : undefined;
    return client === undefined ? undefined : makeHandle(client, (...call) => this.#callActor(...call));
  }

  /** An actor hosts itself: calls that it makes of itself go through a client like any other. */
  adoptSelf(actorId: string, meta: ActorMeta): void {
    this.#self = this.#newClient(actorId, meta, "unknown");
  }

  /** Resolves when the head has heard of every `kill()` so far. */
  async killsDone(): Promise<void> {
    await Promise.all(this.#killing);
  }

  killActor(client: ActorClient, noRestart: boolean): void {
    this.#whenConnected((error) => {
      if (error !== undefined) return;
      this.#onBusy(1);
      if (noRestart) client.ending();
      const requestId = newRequestId();
      const killing = client
        .known()
        .then(() => {
          const request = {
            actorId: client.actorId,
            noRestart,
            graceful: false,
            reason: "it was killed by kill()",
            requestId,
          };
          return this.connected.actors.kill(request);
        })
        .then(
          () => {
            if (noRestart) client.killed(undefined);
          },
          (failure: Error) => {
            if (noRestart) client.killed(failure);
            this.#warn(`kill() of actor ${client.meta.className} failed: ${failure.message}`);
          },
        )
        .finally(() => {
          this.#killing.delete(killing);
          this.#onBusy(-1);
        });
      this.#killing.add(killing);
    });
  }

  #callActor(
    client: ActorClient,
    method: string,
    args: readonly unknown[],
    options: ActorCallOptions,
  ): Submitted {
    if (this.#connected !== undefined) return client.call(method, args, options);
    const promised = promise(this.references, options.numReturns);
    this.#defer(promised, () => client.call(method, args, options, promised));
    return submittedOf(promised);
  }

  #defer(promised: ReturnType<typeof promise>, submit: () => void): void {
    this.#whenConnected((error) => {
      try {
        if (error !== undefined) throw error;
        submit();
      } catch (thrown) {
        // Nobody is there to catch what the call would have thrown: the refs carry it.
        const payload: Payload =
          this.#connected?.objects.errorPayload(thrown) ??
          bareError(thrown, this.references, this.#handleBinding);
        failPromised(promised, payload, this.references);
      }
    });
  }

  async #create(
    client: ActorClient,
    record: RegisteredClass,
    args: readonly unknown[],
    options: ResolvedActorOptions,
  ): Promise<void> {
    const { objects, welcome, actors, environments } = this.connected;
    const { runtimeEnv } = options;
    this.#onBusy(1);
    try {
      const environment = environments.ready(runtimeEnv) ?? (await environments.prepare(runtimeEnv));
      const label = labelOf(record);
      // A detached actor may begin again when this process is gone: its arguments are kept with it, as they are now.
      const given = options.detached ? await valuesOf(args, objects) : args;
      const kept = options.detached ? { inlineBytesMax: DETACHED_ARGUMENTS_BYTES_MAX } : {};
      const packed = isByValue(record)
        ? packArguments([record.fn, ...given], `new ${label}`, objects, this.references, {
            subject: label,
            ...kept,
          })
        : packArguments(given, `new ${label}`, objects, this.references, kept);
      client.creationHeld = packed.held;
      const creation: ActorCreation = {
        descriptor: describeFunction(record),
        owner: endpointToTuple(this.self),
        args: packed.args,
        meta: client.meta,
        methodGroups: isByValue(record) ? groupsOf(record) : {},
        maxConcurrency: options.maxConcurrency,
        concurrencyGroups: options.concurrencyGroups,
        group: options.group ?? null,
      };
      const spec = {
        actorId: client.actorId,
        jobId: welcome.job.jobId,
        className: labelOf(record),
        name: options.name,
        namespace: options.namespace ?? welcome.job.namespace,
        detached: options.detached,
        getIfExists: options.getIfExists,
        maxRestarts: options.maxRestarts,
        resources: { amounts: { ...options.resources } },
        placement: { amounts: { ...options.placement } },
        strategy: strategyToWire(options.strategy),
        owner: { ...this.self },
        creation: packPlain(creation),
        job: { ...welcome.job, execArgv: [...welcome.job.execArgv], argv: [...welcome.job.argv] },
        handleMeta: packPlain(client.meta),
        environment,
      };
      const reply = await actors.create(spec);
      if (reply.error !== "") throw new TsrayError("InvalidOptionError", reply.error);
      if (reply.existed) this.#isAnother(client);
      if (reply.actor !== undefined) client.created({ ...reply.actor, found: true });
    } catch (error) {
      client.refused(error as Error);
    } finally {
      this.#onBusy(-1);
    }
  }

  /** `getIfExists` found an actor that someone else made: this process does not own it. */
  #isAnother(client: ActorClient): void {
    if (client.handleEntry !== undefined) this.references.onLastDrop(client.handleEntry, () => {});
    client.handleEntry = undefined;
    client.creationHeld = undefined;
  }

  #newClient(actorId: string, meta: ActorMeta, state: "creating" | "unknown"): ActorClient {
    const parts = {
      outstanding: this.#outstanding,
      onBusy: this.#onBusy,
      warn: this.#warn,
      channelTo: (endpoint: Endpoint) => this.channelTo(endpoint),
      actors: () => this.connected.actors,
    };
    const client = new ActorClient(
      actorId,
      meta,
      Object.defineProperty(parts, "calls", {
        get: () => (this.#left ?? this.connected).calls,
      }) as typeof parts & {
        calls: Calls;
      },
      state,
    );
    this.#actors.set(actorId, client);
    return client;
  }

  /** A function of its own, so that what is called at the end does not keep the client from being collected. */
  #letGoLater(actorId: string): () => void {
    return () => this.#letGo(actorId);
  }

  /** The last handle to an actor of this process is gone everywhere. */
  #letGo(actorId: string): void {
    this.#actors.delete(actorId);
    const actors = this.#connected?.actors;
    if (actors === undefined) return;
    const request = {
      actorId,
      noRestart: true,
      graceful: true,
      reason: "the last handle to it is gone",
      requestId: "",
    };
    actors.kill(request, { isAwaited: false }).catch(() => {
      // The head ends it with the job at the latest.
    });
  }

  #exportHandle(client: ActorClient): unknown {
    if (client.isSought) {
      throw new TsrayError(
        "SerializationError",
        `the handle of actor ${client.meta.className} was passed on before it was found: await getActor() first`,
      );
    }
    const entry = client.handleEntry;
    return [client.actorId, client.meta, entry === undefined ? null : this.references.encode(entry)];
  }

  #importHandle(data: unknown): object {
    const [actorId, meta, ref] = data as [string, ActorMeta, unknown];
    const client = this.#actors.get(actorId) ?? this.#newClient(actorId, meta, "unknown");
    // One found by name before does not count yet.
    if (ref !== null) client.handleEntry ??= this.references.decode(ref);
    return makeHandle(client, (...call) => this.#callActor(...call));
  }

  #markLost(entry: ObjectEntry): void {
    const objectId = objectIdOf(entry.owner.processId, entry.seq);
    const error = new ObjectLostError(`object ${objectId} was freed before its ref came back to its owner`, {
      objectId,
    });
    entry.settle(this.connected.objects.errorPayload(error));
  }

  // --- messages ---

  #onMessage(channel: Channel, message: Message, hooks: ExecutorHooks | undefined): void {
    const connected = this.#connected;
    if (connected === undefined) return;
    const m = message as unknown as [number, number, ...unknown[]];
    switch (message[0]) {
      case Peer.done: {
        const call = this.#outstanding.get(m[1]);
        if (call !== undefined) call.client.onDone(channel, call, m[3], m[4] as number);
        else connected.tasks.onDone(channel, m[1], m[2] as number, m[3], m[4] as number);
        break;
      }
      case Peer.item: {
        const call = this.#outstanding.get(m[1]);
        if (call !== undefined) call.client.onItem(channel, call, m[2] as number, m[3] as Payload);
        else connected.tasks.onItem(channel, m[1], m[2] as number, m[3] as Payload);
        break;
      }
      case Peer.giveBack:
        connected.tasks.onGiveBack(channel, message[1] as number[]);
        break;
      case Peer.getValue:
        void connected.objects.onGetValue(channel, m[1], m[2] as number, m[3] === true);
        break;
      case Peer.value:
        connected.objects.onValue(m[1], m[2] as Payload);
        break;
      case Peer.borrow:
        this.references.onBorrow(channel, m[1], m[2] as number[]);
        break;
      case Peer.borrowed:
        this.references.onBorrowed(m[1]);
        break;
      case Peer.unborrow:
        this.references.onUnborrow(channel, message[1] as number[]);
        break;
      case Peer.copyAt:
        this.references.onCopyAt(m[1], m[2] as unknown[], m[3] === true);
        break;
      case Peer.outlivesDriver:
        this.#outliving.add(channel.peer.processId);
        break;
      case Peer.cancelObject: {
        const entry = this.references.lookup(m[1]);
        if (entry !== undefined) this.cancelEntry(entry, m[2] === true, m[3] === true);
        break;
      }
      default:
        hooks?.onMessage(channel, message);
    }
  }

  #onLocal(message: Message, hooks: ExecutorHooks | undefined, onNotice: (message: Message) => void): void {
    const connected = this.#connected;
    switch (message[0]) {
      case Local.listTasks:
        connected?.link.channel.send([Local.tasks, message[1], connected.tasks.list(LISTED_ROWS_MAX)]);
        break;
      case Local.collectGarbage:
        connected?.objects.collectGarbage();
        break;
      case Local.listObjects:
        connected?.link.channel.send([Local.objects, message[1], this.listObjects(message[2] as number)]);
        break;
      case Local.nodeDied: {
        const [, nodeId, reason] = message as unknown as [number, string, string];
        this.references.onNodeDied(nodeId);
        connected?.tasks.onNodeDied(nodeId);
        this.#peers?.nodeDied(nodeId, reason);
        break;
      }
      case Local.notice:
      case Local.farewell:
      case Local.filesWanted:
        onNotice(message);
        break;
      default:
        hooks?.onLocal(message);
    }
  }

  /** Objects of a process of another node may come to lie here: the raylet has to know whose they are. */
  #onPeer(peer: Endpoint): void {
    const { nodeId } = this.self;
    if (peer.nodeId === "" || peer.nodeId === nodeId || peer.processId === peer.nodeId) return;
    this.#connected?.link.channel.send([Local.knowsProcess, endpointToTuple(peer)]);
  }

  put(value: unknown): ObjectRef<unknown> {
    if (this.#connected !== undefined) return new ObjectRef(this.#connected.objects.put(value));
    const promised = promise(this.references, 1);
    const [entry] = promised.returns as [ObjectEntry];
    this.#defer(promised, () => {
      const { payload, held } = this.connected.objects.pack(
        value,
        this.self.processId,
        entry.seq,
        "the value given to put()",
      );
      this.connected.objects.settlePut(entry, { payload, held });
    });
    return new ObjectRef(entry);
  }

  /** What objects this process holds, and why; at most `rowsMax` rows, the largest first. */
  listObjects(rowsMax: number): ObjectListing {
    const { calls, tasks } = this.connected;
    const pinned = [...tasks.pinnedEntries()];
    for (const { held } of this.#outstanding.values()) if (held !== undefined) pinned.push(...held);
    for (const { creationHeld } of this.#actors.values()) pinned.push(...(creationHeld ?? []));
    return listObjects(this.references, { pinned, lineage: [...calls.lineage.pinnedEntries()] }, rowsMax);
  }

  cancelEntry(entry: ObjectEntry, force: boolean, recursive: boolean): void {
    if (this.#connected === undefined) {
      // The call behind it is made first.
      this.#whenConnected((error) => {
        if (error === undefined) this.cancelEntry(entry, force, recursive);
      });
      return;
    }
    if (!entry.owned) {
      this.channelTo(entry.owner).send([Peer.cancelObject, entry.seq, force, recursive]);
      return;
    }
    const call = entry.task as { client?: ActorClient } | undefined;
    if (call?.client !== undefined) call.client.cancel(call as ActorCall, recursive, "it was cancelled");
    else this.connected.tasks.cancel(entry, force, recursive);
  }

  /** Whether others would lose something with this process: objects that they use, or calls that it has made. */
  get isNeeded(): boolean {
    return this.references.lentCount > 0 || this.#outstanding.size > 0 || this.connected.tasks.count > 0;
  }

  /** Cancels what the given call of this process has submitted: tasks and calls of actors. */
  cancelChildren(parentSeq: number): void {
    this.connected.tasks.cancelChildren(parentSeq);
    for (const call of this.#outstanding.values())
      if (call.parentSeq === parentSeq) call.client.cancel(call, true, CHILD_OF_CANCELLED);
  }

  /** Keeps the process alive while something is awaited. */
  busy(delta: 1 | -1): void {
    this.#onBusy(delta);
  }
}

/** Concurrency groups of methods that name one. */
function groupsOf(record: RegisteredClass): Record<string, string> {
  const groups: Record<string, string> = {};
  for (const [name, { options }] of methodsOf(record.fn))
    if (options.concurrencyGroup !== "") groups[name] = options.concurrencyGroup;
  return groups;
}
