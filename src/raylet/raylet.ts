/**
 * A node's daemon, put together: store, leases, workers, actors, transfers, and the sockets over which they are
 * reached. Decides nothing itself.
 */
import { rmSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { type Endpoint, endpointToTuple } from "../core/base/endpoint.ts";
import { ClusterUnreachableError, toErrorRecord } from "../core/base/errors.ts";
import { UNITS } from "../core/base/resources.ts";
import { hostId, type NodeRecord, removeNodeRecord } from "../core/launch/session.ts";
import type { Channel } from "../core/rpc/channel.ts";
import { type ChannelServer, listenForChannels } from "../core/rpc/channel-server.ts";
import type { Identity } from "../core/rpc/connection.ts";
import type { Message } from "../core/rpc/frames.ts";
import { type JobConfigRecord, Local, type Welcome } from "../core/rpc/messages.ts";
import { Peers } from "../core/rpc/peers.ts";
import { createStore, type OwnedObjectStore } from "../core/store/open-store.ts";
import type {
  JobConfig,
  NodeInfo,
  StoreStats,
  Endpoint as WireEndpoint,
} from "../core/wire/gen/tsray/v1/common.ts";
import type { ClusterUpdate } from "../core/wire/gen/tsray/v1/head.ts";
import type { TakeObjectReply } from "../core/wire/gen/tsray/v1/raylet.ts";
import { Actors } from "./actors.ts";
import { BundleService } from "./bundle-service.ts";
import { Clients } from "./clients.ts";
import { Drain, type DrainOrder } from "./drain.ts";
import { Environments } from "./environments/environments.ts";
import { jobFilesOf } from "./environments/job-files.ts";
import type { RayletHeadLink, StartedHeadLink } from "./head-link.ts";
import { JobsHere } from "./jobs-here.ts";
import { LeaseMachine } from "./lease/lease-machine.ts";
import { LeaseService } from "./lease/lease-service.ts";
import type { MemoryMonitor } from "./memory/monitor.ts";
import { watchMemory } from "./memory/watch-workers.ts";
import { writeRecordOf } from "./node-record.ts";
import { OtherNodes } from "./other-nodes.ts";
import type { RayletOptions } from "./raylet-options.ts";
import { Standing } from "./standing.ts";
import { StoreKeeper } from "./store-keeper.ts";
import { Transfers } from "./transfer/transfers.ts";
import { jobFromWire } from "./wire.ts";
import { Escapees } from "./workers/escapees.ts";
import type { OutputLine } from "./workers/output.ts";
import { passOn } from "./workers/pass-on.ts";
import { type PooledWorker, WorkerPool } from "./workers/worker-pool.ts";
import type { WorkerEnd } from "./workers/worker-process.ts";
import { WorkerStarts } from "./workers/worker-starts.ts";

const IDLE_CHECK_MS = 1000;
/** Task workers of one job, where tasks ask for little or no CPU. */
const WORKERS_PER_JOB_MAX = 64;

export class Raylet {
  readonly #options: RayletOptions;
  readonly #machine: LeaseMachine;
  readonly #pool: WorkerPool;
  readonly #leases: LeaseService;
  readonly #actors: Actors;
  readonly bundles: BundleService;
  readonly #clients = new Clients();
  readonly #store: OwnedObjectStore;
  readonly #keeper: StoreKeeper;
  readonly #memory: MemoryMonitor;
  readonly #standing: Standing;
  readonly #drain: Drain;
  /** Why the node leaves of its own will. */
  #leaving: string | undefined;
  readonly #transfers: Transfers;
  readonly #peers: Peers;
  readonly #environments: Environments;
  readonly #jobs = new JobsHere();
  readonly #starts: WorkerStarts;
  readonly #escapees = new Escapees();
  readonly #others: OtherNodes;
  readonly #startedAtMs = Date.now();
  #server: ChannelServer | undefined;
  #head: RayletHeadLink | undefined;
  #address = "";
  #idleTimer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  /** Local clients that registered before the head was known: they are welcomed when it is. */
  #waiting: (() => void)[] = [];

  private constructor(options: RayletOptions) {
    this.#options = options;
    const { nodeId, token, sessionDir, total, labels } = options;
    const cpuCount = Math.ceil((total.CPU ?? 0) / UNITS);
    this.#machine = new LeaseMachine({
      nodeId,
      labels,
      total,
      gpuIds: options.gpuIds,
      workersPerJobMax: Math.max(WORKERS_PER_JOB_MAX, 2 * cpuCount),
      lendBlockedFrom: Math.max(4, 2 * cpuCount),
      startingMax: Math.max(2, cpuCount),
    });
    this.#store = createStore({
      path: options.storePath,
      capacityBytes: options.storeBytes,
      spillDir: options.spillDir,
    });
    this.#keeper = new StoreKeeper({
      store: this.#store,
      warmBytes: options.warmBytes,
      askForRoom: () => this.#clients.broadcast([Local.collectGarbage]),
      log: options.log,
    });
    this.#environments = new Environments({
      directory: options.environmentsDir,
      getPiece: async (hash, offset) => (await this.#joined()).getPackage(hash, offset),
      jobFiles: async (jobId) =>
        jobFilesOf(
          jobId,
          nodeId,
          await this.#joined(),
          () => this.#jobs.isOver(jobId) && this.#leases.jobOf(jobId) === undefined,
        ),
      log: options.log,
    });
    this.#others = new OtherNodes({
      nodeId,
      feedLeases: (event) => this.#leases.feed(event),
      onGone: (gone, reason) => {
        this.#transfers.onNodeGone(gone, reason);
        this.#clients.broadcast([Local.nodeDied, gone, reason]);
        this.#leases.ownersGone(gone);
      },
      onOwnerEnded: (processId) => this.#keeper.ownerEnded(processId),
    });
    this.#standing = new Standing({
      epoch: options.epoch,
      pulsePath: join(sessionDir, `pulse-${nodeId}`),
      isHeadWithin: options.isHeadWithin,
      onFenced: (reason) => {
        this.#pool.close();
        // A node that was to leave does not come back.
        options.onOver(reason, !this.#drain.hasBegun);
      },
    });
    this.#drain = new Drain({
      store: this.#store,
      token,
      log: options.log,
      refuseWork: (reason) => {
        this.#actors.drain(`its node ${nodeId} is drained: ${reason}`);
        this.#leases.feed({ kind: "drain" });
        this.#head?.changed();
      },
      busy: () => ({
        leases: this.#machine.leaseCount,
        actors: this.#actors.count,
        drivers: this.#clients.drivenJobs().length,
      }),
      endActors: (reason) => this.#actors.endAll(`its node ${nodeId} was drained: ${reason}`),
      others: () => this.#others.targets(),
      ownerOf: (processId) => this.#others.ownerOf(processId),
      channelTo: (process) => this.#peers.to(process),
      self: () => (this.#server as ChannelServer).endpoint,
      headKnows: async () => this.#head?.caughtUp(),
      onDone: (reason) => {
        this.#leaving = reason;
        options.onOver(`it was drained: ${reason}`, false);
      },
    });
    const unixPath = join(sessionDir, "raylet.sock");
    this.#pool = new WorkerPool({
      nodeId,
      token,
      rayletUnixPath: unixPath,
      socketDir: sessionDir,
      logDir: join(sessionDir, "logs"),
      host: options.host,
      pulse: () => this.#standing.pulse,
      onReady: (worker) => this.#onWorkerReady(worker),
      onEnd: (worker, end) => this.#onWorkerEnd(worker, end),
      onLine: (worker, line) => this.#onLine(worker, line),
      onKill: ({ workerId }) => this.#machine.condemn(workerId),
      onKilled: (pid) => this.#memory.kernelKill(pid),
    });
    const host = options.host ?? "";
    const self: Endpoint = { processId: nodeId, nodeId, unixPath, host, port: 0, pid: process.pid };
    const endpoint = () => this.#server?.endpoint ?? self;
    const identity: Identity = {
      token,
      get self() {
        return endpoint();
      },
    };
    this.#peers = new Peers(
      identity,
      (channel, message) => this.#transfers.onMessage(channel, message),
      () => {},
    );
    this.#transfers = new Transfers({
      store: this.#store,
      identity,
      channelTo: (node) => this.#peers.to(node),
      log: options.log,
    });
    const knowJob = (job: JobConfigRecord) => this.#knowJob(job);
    this.#actors = new Actors({
      machine: this.#machine,
      pool: this.#pool,
      knowJob,
      prepare: (job, environment) => this.#environments.prepare(job, environment),
      report: (news) => this.#head?.reportActor(news),
      onResources: () => this.#leases.carryOut(this.#machine.reschedule()),
    });
    this.#memory = watchMemory({
      nodeId,
      machine: this.#machine,
      pool: this.#pool,
      actors: this.#actors,
      store: this.#store,
      log: options.log,
    });
    this.#leases = new LeaseService({
      nodeId,
      machine: this.#machine,
      pool: this.#pool,
      knowJob,
      isJobOver: (jobId) => this.#jobs.isOver(jobId),
      startWorkers: (pool, count) => this.#starts.start(pool, count),
      knowPool: (pool, job, environment) => this.#starts.knowPool(pool, job, environment),
      onChange: () => this.#head?.changed(),
    });
    this.#starts = new WorkerStarts({
      machine: this.#machine,
      pool: this.#pool,
      environments: this.#environments,
      cpuCount,
      feed: (event) => this.#leases.feed(event),
      jobOf: (jobId) => this.#jobs.get(jobId) ?? this.#leases.jobOf(jobId),
      isJobOver: (jobId) => this.#jobs.isOver(jobId),
      log: options.log,
    });
    this.bundles = new BundleService({
      machine: this.#machine,
      leases: this.#leases,
      pool: this.#pool,
      actors: this.#actors,
    });
  }

  /** Opens the local socket and, for an embedded cluster, starts its workers. Fast: gRPC is not loaded yet. */
  static async open(options: RayletOptions): Promise<Raylet> {
    const raylet = new Raylet(options);
    const { nodeId, token, sessionDir, host } = options;
    raylet.#server = await listenForChannels({
      processId: nodeId,
      nodeId,
      unixPath: join(sessionDir, "raylet.sock"),
      host,
      token,
      onPeer: (channel) => raylet.#onPeer(channel),
      log: options.log,
    });
    if (options.embeddedJob !== undefined) raylet.#knowJob(options.embeddedJob);
    raylet.#idleTimer = setInterval(() => raylet.#tick(), IDLE_CHECK_MS);
    return raylet;
  }

  get store(): OwnedObjectStore {
    return this.#store;
  }

  get leases(): LeaseService {
    return this.#leases;
  }

  get actors(): Actors {
    return this.#actors;
  }

  get clients(): Clients {
    return this.#clients;
  }

  get pool(): WorkerPool {
    return this.#pool;
  }

  isLeased(workerId: string): boolean {
    return this.#machine.leasesOf(workerId).length > 0;
  }

  get hearsHead(): { hears: boolean; epoch: number } {
    return { hears: this.#head?.hears() ?? false, epoch: this.#options.epoch.latest };
  }

  /** Why a call that has arrived over gRPC is refused. */
  refusal(epoch: number | undefined): string | undefined {
    return this.#standing.refusal(epoch);
  }

  /** Leaves the cluster in order; then the node is over. */
  drain(order: DrainOrder): void {
    this.#drain.begin(order);
  }

  /** Keeps an object that a node which leaves had the primary copy of. */
  async takeObject(key: Buffer, from: WireEndpoint | undefined): Promise<TakeObjectReply> {
    const error = from === undefined ? "no source" : await this.#transfers.keep(key, [endpointToTuple(from)]);
    return { error: error ?? "", endpoint: { ...(this.#server as ChannelServer).endpoint } };
  }

  get uptimeMs(): number {
    return Date.now() - this.#startedAtMs;
  }

  /** Joins the cluster: registers with the head and lets drivers in. @returns when the head has answered */
  async join(start: StartedHeadLink, address: string): Promise<void> {
    this.#address = address;
    this.#head = start({
      describe: () => this.#describe(),
      bundles: () => this.#machine.bundles.held(),
      pending: () =>
        this.#machine.pending().map(({ resources, count, reason }) => ({
          resources: { amounts: { ...resources } },
          count,
          reason,
        })),
      onUpdate: (update) => this.#onClusterUpdate(update),
      hosted: () => ({ actors: this.#actors.list(), jobIds: this.#clients.drivenJobs() }),
      isDraining: () => this.#drain.hasBegun,
      others: () => this.#others.targets(),
      mayAct: () => this.#standing.mayAct(),
      onTimes: (times) => this.#standing.begin(times, this.#head?.headAddress ?? ""),
      onHeadLost: (reason) => this.#standing.fence(reason),
      onJobLines: (jobId, lines) => {
        for (const line of lines) this.#clients.tell(jobId, line);
      },
      onJobFilesWanted: (jobId) => this.#clients.driverOf(jobId)?.link.send([Local.filesWanted]),
      onJobWarning: (jobId, warning) => this.#clients.driverOf(jobId)?.link.send([Local.notice, { warning }]),
    });
    for (const welcome of this.#waiting) welcome();
    this.#waiting = [];
    await this.#head.registered;
    this.#keeper.start();
  }

  writeRecord(headAddress: string, kind: Pick<NodeRecord, "embedded" | "standing" | "tokenGiven">): void {
    writeRecordOf(this.#options, headAddress, kind);
  }

  /** Ends the workers, frees the store and the sockets. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    clearInterval(this.#idleTimer);
    this.#standing.close();
    this.#keeper.close();
    this.#memory.close();
    this.#leases.close();
    const ends = [...this.#pool.all()].map((worker) => worker.process.over);
    this.#pool.close();
    await Promise.all(ends);
    this.#escapees.kill();
    await this.#head?.close(this.#leaving);
    this.#transfers.close();
    this.#peers.closeAll();
    this.#server?.close();
    await this.#environments.close();
    this.#store.destroy();
    removeNodeRecord(this.#options.sessionDir, this.#options.nodeId);
    rmSync(join(this.#options.sessionDir, "raylet.sock"), { force: true });
  }

  // --- peers: drivers and workers of this node, raylets of others ---

  #onPeer(channel: Channel): void {
    channel.onMessage = (message) => {
      if (!this.#standing.mayAct()) return;
      switch (message[0]) {
        case Local.registerWorker:
          this.#registerWorker(channel);
          break;
        case Local.registerDriver:
          this.#registerDriver(channel, message[1] as JobConfigRecord);
          break;
        default:
          this.#transfers.onMessage(channel, message);
      }
    };
  }

  #registerWorker(channel: Channel): void {
    const worker = this.#pool.register(channel.peer.processId, channel);
    if (worker === undefined) {
      this.#refuse(channel, "this raylet did not start that worker");
      return;
    }
    this.#admit(channel, worker.job, false);
    channel.onMessage = (message) => this.#onWorkerMessage(worker, channel, message);
    this.#whenJoined(() => channel.send([Local.welcome, this.#welcome(worker.job)]));
  }

  #registerDriver(channel: Channel, job: JobConfigRecord): void {
    const { embeddedJob } = this.#options;
    if (embeddedJob !== undefined && embeddedJob.jobId !== job.jobId) {
      this.#refuse(
        channel,
        "this cluster is embedded in another driver; start one with `tsray start --head`",
      );
      return;
    }
    this.#admit(channel, job, true);
    channel.onMessage = (message) => this.#onDriverMessage(channel, job, message);
    channel.onClose(() => {
      this.#keeper.ownerEnded(channel.peer.processId);
      this.#endJob(job.jobId);
      this.#head?.endJob(job.jobId);
      if (embeddedJob !== undefined) this.#options.onOver("its driver is gone", false);
    });
    this.#whenJoined(() => {
      // A job whose driver has gone meanwhile would never end.
      if (channel.closed) return;
      this.#head?.startJob(job);
      this.#knowJob(job);
      channel.send([Local.welcome, this.#welcome(job)]);
    });
  }

  #admit(channel: Channel, job: JobConfigRecord, isDriver: boolean): void {
    this.#clients.add({ link: channel, job, isDriver });
    channel.onClose(() => {
      this.#clients.remove(channel);
      this.#keeper.reclaim(channel.peer.pid);
    });
  }

  #whenJoined(then: () => void): void {
    if (this.#head !== undefined) then();
    else this.#waiting.push(then);
  }

  #refuse(channel: Channel, why: string): void {
    channel.send([Local.refused, toErrorRecord(new ClusterUnreachableError(why))]);
    channel.close();
  }

  #welcome(job: JobConfigRecord): Welcome {
    const { nodeId, host, storePath, sessionDir } = this.#options;
    return {
      nodeId,
      headAddress: this.#head?.headAddress ?? "",
      rayletAddress: this.#address,
      rayletEndpoint: endpointToTuple((this.#server as ChannelServer).endpoint),
      storePath,
      storeKind: this.#store.kind,
      tcpHost: host ?? null,
      job,
      sessionDir,
    };
  }

  #onClientMessage(channel: Channel, message: Message): void {
    switch (message[0]) {
      case Local.pull: {
        const [, requestId, key, sources] = message as unknown as [number, number, Buffer, unknown[]];
        void this.#transfers
          .pull(key, sources)
          .then((error) => channel.send([Local.pulled, requestId, error]));
        break;
      }
      case Local.knowsProcess:
        this.#others.note(message[1]);
        break;
      case Local.keepCopy: {
        const [, key, nodes] = message as unknown as [number, Buffer, unknown[]];
        this.#transfers.keepAt(key, nodes);
        break;
      }
      case Local.dropCopies: {
        const [, key, nodes] = message as unknown as [number, Buffer, unknown[]];
        this.#transfers.free(key, nodes);
        break;
      }
      default:
        this.#clients.onAnswer(channel, message);
    }
  }

  #onDriverMessage(channel: Channel, job: JobConfigRecord, message: Message): void {
    if (!this.#standing.mayAct()) return;
    if (message[0] !== Local.goodbye) {
      this.#onClientMessage(channel, message);
      return;
    }
    // What workers wrote is in their pipes, and is read to the end when they end.
    const ends = [...this.#pool.all()]
      .filter((worker) => worker.job.jobId === job.jobId && worker.actorId === undefined)
      .map((worker) => worker.process.over);
    this.#endJob(job.jobId);
    void Promise.all(ends).then(() =>
      // Actors live on: two turns of the loop read what they wrote before their last result.
      setImmediate(() =>
        setImmediate(() => {
          this.#clients.flush(job.jobId);
          channel.send([Local.farewell]);
        }),
      ),
    );
  }

  #onWorkerMessage(worker: PooledWorker, channel: Channel, message: Message): void {
    if (!this.#standing.mayAct()) return;
    switch (message[0]) {
      case Local.ready:
        this.#pool.markReady(worker);
        break;
      case Local.blocked:
        if (worker.actorId !== undefined) {
          this.#actors.onBlocked(worker, message[1] === true);
          break;
        }
        this.#leases.feed({
          kind: "workerBlocked",
          workerId: worker.workerId,
          blocked: message[1] === true,
          runningFor: String(message[2]),
        });
        break;
      case Local.running:
        worker.running = String(message[1]);
        break;
      case Local.staying:
        worker.stays = true;
        worker.idleSinceMs = performance.now();
        this.#leases.feed({
          kind: "workerIdle",
          workerId: worker.workerId,
          jobId: worker.job.jobId,
          pool: worker.pool,
          wasReady: true,
        });
        break;
      case Local.setupFailed:
        this.#onSetupFailed(worker, String(message[1]));
        break;
      case Local.actorState: {
        const [, actorId, , state, reason, error] = message as unknown as [
          number,
          string,
          number,
          string,
          string,
          Buffer | null,
        ];
        this.#actors.onState(worker, actorId, state, reason, error);
        break;
      }
      default:
        this.#onClientMessage(channel, message);
    }
  }

  // --- workers and jobs ---

  #knowJob(job: JobConfigRecord): void {
    if (!this.#jobs.begin(job)) return;
    this.#starts.startAhead(job, Math.min(this.#cpuCount, cpus().length));
  }

  get #cpuCount(): number {
    return Math.ceil((this.#options.total.CPU ?? 0) / UNITS);
  }

  #joined(): Promise<RayletHeadLink> {
    return new Promise((resolve) => this.#whenJoined(() => resolve(this.#head as RayletHeadLink)));
  }

  /** What a worker was to do before anything else threw: no other of its environment would fare better. */
  #onSetupFailed(worker: PooledWorker, text: string): void {
    if (worker.actorId !== undefined) this.#actors.onSetupFailed(worker, text);
    else this.#starts.onSetupFailed(worker, text);
    worker.process.kill();
  }

  #onWorkerReady(worker: PooledWorker): void {
    if (worker.actorId !== undefined) this.#actors.onWorkerReady(worker);
    else
      this.#leases.feed({
        kind: "workerIdle",
        workerId: worker.workerId,
        jobId: worker.job.jobId,
        pool: worker.pool,
        wasReady: false,
      });
    // It may start others, which takes a moment for each.
    this.#starts.onReady(worker);
  }

  #onWorkerEnd(worker: PooledWorker, end: WorkerEnd): void {
    const { jobId } = worker.job;
    this.#escapees.workerEnded(worker.workerId, jobId, this.#jobs.get(jobId) === undefined);
    this.#keeper.reclaim(worker.process.pid);
    this.#keeper.ownerEnded(worker.workerId);
    this.#head?.processEnded(worker.workerId);
    if (worker.actorId !== undefined) this.#actors.onWorkerEnd(worker, end);
    else this.#leases.onWorkerEnd(worker, end);
    if (!worker.ready && this.#closing === undefined && this.#jobs.get(worker.job.jobId) !== undefined)
      this.#starts.onFailedStart(worker, end);
  }

  #onLine(worker: PooledWorker, line: OutputLine): void {
    const { nodeId } = this.#options;
    passOn(worker, line, nodeId, this.#clients, (batch) => this.#head?.sendLogs(batch));
  }

  #endJob(jobId: string): void {
    if (this.#jobs.end(jobId)) this.#stopJob(jobId);
  }

  #stopJob(jobId: string): void {
    this.#starts.endJob(jobId);
    for (const worker of this.#pool.all()) {
      // Workers of detached actors outlive their job; the head ends the others' actors.
      if (worker.job.jobId === jobId && worker.actorId === undefined) worker.process.kill();
    }
    this.#escapees.jobEnded(jobId);
    this.#leases.feed({ kind: "jobEnded", jobId });
  }

  #tick(): void {
    this.#starts.reapIdle();
    if (this.#machine.wantsTicks) this.#leases.feed({ kind: "tick" });
  }

  #onClusterUpdate(update: ClusterUpdate): void {
    if (update.over !== "") {
      this.#options.onOver(`the cluster is over: ${update.over}`, false);
      return;
    }
    if (update.fenced) {
      this.#standing.fence("the head has declared this node dead");
      return;
    }
    // The answer to a registration is all there is: what happened meanwhile was not told.
    if (update.registered) {
      this.#stopMissingJobs(update.jobs);
      this.#machine.bundles.fence(update.firstAttempt);
    }
    this.#others.update(update);
    for (const job of update.jobs) this.#knowJob(jobFromWire(job));
    for (const jobId of update.endedJobIds) this.#endJob(jobId);
    for (const processId of update.endedProcessIds) this.#others.ownerEnded(processId);
  }

  #stopMissingJobs(listed: readonly JobConfig[]): void {
    // The job of an embedded cluster is known before its driver connects, and ends with the cluster.
    const isServed = (jobId: string) =>
      jobId === this.#options.embeddedJob?.jobId ||
      this.#clients.driverOf(jobId) !== undefined ||
      this.#leases.hasOwnerElsewhere(jobId);
    const ids = listed.map(({ jobId }) => jobId);
    for (const jobId of this.#jobs.stopMissing(ids, isServed)) this.#stopJob(jobId);
  }

  describeStore(): StoreStats {
    return { ...this.#store.stats(), kind: this.#store.kind, spillDir: this.#options.spillDir };
  }

  #describe(): NodeInfo {
    const { nodeId, labels, isHead, sessionDir, storePath } = this.#options;
    const { total, available } = this.#machine;
    return {
      nodeId,
      rayletAddress: this.#address,
      endpoint: { ...(this.#server as ChannelServer).endpoint },
      total: { amounts: { ...total } },
      available: { amounts: { ...available } },
      labels: { ...labels },
      hostId: hostId(),
      sessionDir,
      isHead,
      alive: true,
      state: "ALIVE",
      deathReason: "",
      pid: process.pid,
      storePath,
      store: this.describeStore(),
      startedAtMs: this.#startedAtMs,
      transfers: this.#transfers.counts,
    };
  }
}
