/**
 * For tests of the head only: a head in a directory of its own, drivers and simulated raylets that speak the real
 * protocol to it over Unix sockets. Every wait is for an event.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Server } from "@grpc/grpc-js";
import { type ErrorRecord, fromErrorRecord } from "../core/base/errors.ts";
import { serveCalls, type WithoutCalls } from "../core/rpc/call-stream.ts";
import {
  bindServer,
  type ClientDuplexStream,
  createClient,
  createServer,
  handleUnary,
  unary,
} from "../core/rpc/grpc.ts";
import { type JobConfig, NodeInfo } from "../core/wire/gen/tsray/v1/common.ts";
import {
  type ActorInfo,
  ActorReport,
  ActorSpec,
  type ClusterUpdate,
  type CreatedActor,
  HeadServiceClient,
  type HostedActor,
  type JobEvent,
  JobMessage,
  NodeReport,
  TaskInfo,
} from "../core/wire/gen/tsray/v1/head.ts";
import {
  type ActorStartAnswer,
  type ActorToStart,
  type ActorToStop,
  type DrainRequest,
  type RayletServiceServer,
  RayletServiceService,
} from "../core/wire/gen/tsray/v1/raylet.ts";
import { type Head, type HeadOptions, startHead } from "./head.ts";
import { MemoryStateStore } from "./state-store/memory-state-store.ts";

export const TOKEN = "a-token-for-tests-only";
const CALL_MS = 10_000;

/** Keeps what arrives, and lets a test wait for the first that fits. */
export class Inbox<T> {
  readonly all: T[] = [];
  readonly #waiters = new Set<(item: T) => void>();

  push(item: T): void {
    this.all.push(item);
    for (const waiter of [...this.#waiters]) waiter(item);
  }

  until(fits: (item: T) => boolean): Promise<T> {
    const found = this.all.find(fits);
    if (found !== undefined) return Promise.resolve(found);
    return new Promise((resolve) => {
      const waiter = (item: T) => {
        if (!fits(item)) return;
        this.#waiters.delete(waiter);
        resolve(item);
      };
      this.#waiters.add(waiter);
    });
  }
}

export class TestCluster {
  readonly directory: string;
  head!: Head;
  client!: HeadServiceClient;
  readonly lines = new Inbox<string>();
  readonly raylets: FakeRaylet[] = [];
  #heads = 0;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async start(options: Partial<HeadOptions> = {}): Promise<TestCluster> {
    const cluster = new TestCluster(await mkdtemp(join(tmpdir(), "tsray-head-")));
    await cluster.startHead(options);
    return cluster;
  }

  async startHead(options: Partial<HeadOptions> = {}): Promise<void> {
    this.#heads += 1;
    this.head = await startHead({
      bind: `unix:${this.directory}/head-${this.#heads}`,
      token: TOKEN,
      store: new MemoryStateStore(),
      healthCheck: { periodMs: 10_000, timeoutMs: 2000, failureThreshold: 3, outageGraceMs: 0 },
      version: "0.0.0-test",
      packagesDir: join(this.directory, "packages"),
      log: (line) => this.lines.push(line),
      ...options,
    });
    this.client = createClient(HeadServiceClient, this.head.address, TOKEN);
  }

  async stopHead(): Promise<void> {
    this.client.close();
    await this.head.close();
  }

  async raylet(nodeId: string, cpus = 4, behave?: StartBehaviour): Promise<FakeRaylet> {
    const raylet = new FakeRaylet(this, nodeId, cpus, behave);
    this.raylets.push(raylet);
    await raylet.listen();
    await raylet.register();
    return raylet;
  }

  driver(job: Partial<JobConfig> & { jobId: string }, nodeId = ""): Driver {
    return new Driver(this, job, nodeId);
  }

  async create(spec: Partial<ActorSpec> & { actorId: string }): Promise<CreatedActor> {
    const cpu = { amounts: { CPU: 10_000 } };
    const full = ActorSpec.fromPartial({
      jobId: "job",
      className: "Counter",
      namespace: "ns",
      placement: cpu,
      ...spec,
    });
    const { actors } = await unary(this.client, this.client.createActors, { specs: [full] }, CALL_MS);
    const [answer] = actors as [CreatedActor];
    if (answer.failure !== "") throw fromErrorRecord(JSON.parse(answer.failure) as ErrorRecord);
    return answer;
  }

  kill(
    actorId: string,
    how: { noRestart?: boolean; graceful?: boolean; requestId?: string } = { noRestart: true },
  ) {
    const kill = {
      actorId,
      noRestart: false,
      graceful: false,
      reason: "test kill",
      requestId: "",
      ...how,
    };
    return unary(this.client, this.client.killActors, { kills: [kill] }, CALL_MS);
  }

  drain(nodeId: string) {
    const request = { nodeId, graceMs: 1234, reason: "test drain" };
    return unary(this.client, this.client.drainNode, request, CALL_MS);
  }

  async stateOf(nodeId: string): Promise<string | undefined> {
    const { nodes } = await unary(this.client, this.client.listNodes, {}, CALL_MS);
    return nodes.find((node) => node.nodeId === nodeId)?.state;
  }

  info(actorId: string): Promise<ActorInfo> {
    return this.watch(actorId, 0, 0);
  }

  async watch(actorId: string, knownVersion: number, waitMs: number): Promise<ActorInfo> {
    const request = { actors: [{ actorId, knownVersion }], waitMs };
    const { news } = await unary(this.client, this.client.watchActors, request, CALL_MS);
    return news[0]?.actor as ActorInfo;
  }

  /** Watches the actor until it fits. */
  async actor(actorId: string, fits: (info: ActorInfo) => boolean): Promise<ActorInfo> {
    for (let knownVersion = 0; ; ) {
      const info = await this.watch(actorId, knownVersion, 8000);
      if (fits(info)) return info;
      knownVersion = info.version;
    }
  }

  async stop(): Promise<void> {
    for (const raylet of this.raylets) raylet.close();
    await this.stopHead();
    await rm(this.directory, { recursive: true, force: true });
  }
}

export type StartBehaviour = (request: ActorToStart) => Partial<ActorStartAnswer>;

export class FakeRaylet {
  readonly nodeId: string;
  readonly updates = new Inbox<ClusterUpdate>();
  readonly starts = new Inbox<ActorToStart>();
  startCalls = 0;
  readonly stops = new Inbox<ActorToStop>();
  readonly drains = new Inbox<DrainRequest>();
  readonly ends = new Inbox<"end">();
  readonly cpus: number;
  stream!: ClientDuplexStream<NodeReport, ClusterUpdate>;
  behave: StartBehaviour;
  takesBundles = false;
  /** Orders to leave do not arrive. */
  isDeafToDrains = false;
  /** Does not answer to lists. */
  isStuck = false;
  readonly #cluster: TestCluster;
  #client: HeadServiceClient;
  #server: Server;
  #address = "";

  constructor(
    cluster: TestCluster,
    nodeId: string,
    cpus: number,
    behave: StartBehaviour = () => ({ accepted: true }),
  ) {
    this.#cluster = cluster;
    this.nodeId = nodeId;
    this.cpus = cpus;
    this.behave = behave;
    this.#client = createClient(HeadServiceClient, cluster.head.address, TOKEN);
    this.#server = createServer(TOKEN);
    const seen = new Map<string, ActorStartAnswer>();
    const service: WithoutCalls<RayletServiceServer, typeof RayletServiceService> = {
      leaseSession: (call) => call.end(),
      startActors: handleUnary(({ starts }) => {
        this.startCalls += 1;
        const answers = starts.map((start) => {
          const key = `${start.spec?.actorId} ${start.incarnation}`;
          const refused = { accepted: false, reason: "", undecided: false };
          const answer = seen.get(key) ?? { ...refused, ...this.behave(start) };
          if (answer.accepted) seen.set(key, answer);
          this.starts.push(start);
          return answer;
        });
        return { answers };
      }),
      stopActors: handleUnary(({ stops }) => {
        for (const stop of stops) this.stops.push(stop);
        return { runningIds: [] };
      }),
      prepareBundles: handleUnary(({ bundles }) => ({
        answers: bundles.map(() => ({ accepted: this.takesBundles, reason: "not in this test" })),
      })),
      commitBundles: handleUnary(({ bundles }) => ({
        answers: bundles.map(() => ({ accepted: this.takesBundles, reason: "not in this test" })),
      })),
      returnBundles: handleUnary(() => ({})),
      listTasks: handleUnary(() => ({
        tasks: [TaskInfo.fromPartial({ taskId: `t-${nodeId}`, nodeId })],
        unreachable: [],
      })),
      listObjects: handleUnary(() => ({ processes: [], stores: [], unreachable: [] })),
      listWorkers: handleUnary(() =>
        this.isStuck ? new Promise<never>(() => {}) : { workers: [], unreachable: [] },
      ),
      hearsHead: handleUnary(() => ({ nodeId, hears: true, epoch: 1 })),
      drain: handleUnary((request) => {
        if (this.isDeafToDrains) return new Promise<never>(() => {});
        this.drains.push(request);
        return {};
      }),
      takeObject: handleUnary(() => ({ error: "", endpoint: undefined })),
      ping: handleUnary(() => ({ nodeId, uptimeMs: 1 })),
      shutdown: handleUnary(() => ({})),
    };
    const calls = serveCalls(RayletServiceService, service);
    this.#server.addService(RayletServiceService, { ...service, calls });
  }

  async listen(): Promise<void> {
    this.#address = await bindServer(this.#server, `unix:${this.#cluster.directory}/raylet-${this.nodeId}`);
  }

  /** Opens a session and waits for the head's answer. */
  register(
    word: { actors?: HostedActor[]; jobIds?: string[]; draining?: boolean } = {},
  ): Promise<ClusterUpdate> {
    this.#client.close();
    this.#client = createClient(HeadServiceClient, this.#cluster.head.address, TOKEN);
    this.stream = this.#client.nodeSession();
    this.stream.on("data", (update: ClusterUpdate) => this.updates.push(update));
    this.stream.on("error", () => {});
    this.stream.on("end", () => this.ends.push("end"));
    const room = { amounts: { CPU: this.cpus * 10_000 } };
    const info = {
      nodeId: this.nodeId,
      rayletAddress: this.#address,
      total: room,
      available: room,
      startedAtMs: 1,
    };
    const seenBefore = this.updates.all.length;
    this.stream.write(NodeReport.fromPartial({ register: NodeInfo.fromPartial(info), ...word }));
    return this.updates.until((u) => this.updates.all.indexOf(u) >= seenBefore && (u.registered || u.fenced));
  }

  report(report: Partial<NodeReport>): void {
    this.stream.write(NodeReport.fromPartial(report));
  }

  free(cpus: number): void {
    this.report({ available: { amounts: { CPU: cpus * 10_000 } } });
  }

  /** Waits for the start of that life, and says ALIVE. */
  async bringUp(actorId: string, incarnation = 0): Promise<void> {
    await this.starts.until((s) => s.spec?.actorId === actorId && s.incarnation === incarnation);
    await this.say(actorId, incarnation, "ALIVE");
  }

  say(actorId: string, incarnation: number, state: string, more: Partial<ActorReport> = {}) {
    const { nodeId } = this;
    const endpoint =
      state === "ALIVE" ? { processId: `worker-of-${actorId}-${incarnation}`, nodeId } : undefined;
    const report = ActorReport.fromPartial({ actorId, incarnation, state, nodeId, endpoint, ...more });
    return unary(this.#client, this.#client.reportActors, { reports: [report] }, CALL_MS);
  }

  /** Breaks the stream; the raylet's own server goes on. */
  breakStream(): void {
    this.stream.cancel();
  }

  /** As when the process is killed. */
  close(): void {
    this.#server.forceShutdown();
    this.#client.close();
    this.stream?.cancel();
  }
}

export class Driver {
  readonly events = new Inbox<JobEvent>();
  readonly ended: Promise<string>;
  readonly stream: ClientDuplexStream<JobMessage, JobEvent>;
  readonly #client: HeadServiceClient;

  constructor(cluster: TestCluster, job: Partial<JobConfig> & { jobId: string }, nodeId: string) {
    this.#client = createClient(HeadServiceClient, cluster.head.address, TOKEN);
    this.stream = this.#client.jobSession();
    this.stream.on("data", (event: JobEvent) => this.events.push(event));
    this.ended = new Promise((resolve) => {
      this.stream.on("error", (error) => resolve(error.message));
      this.stream.on("end", () => resolve("ended"));
    });
    this.stream.write(JobMessage.fromPartial({ start: job, nodeId }));
  }

  accepted(): Promise<JobEvent> {
    return this.events.until((event) => event.accepted);
  }

  /** As its raylet tells that it has left. */
  sayEnded(): void {
    this.stream.write(JobMessage.fromPartial({ ended: true }));
    this.stream.end();
  }

  leave(): void {
    this.stream.cancel();
    this.#client.close();
  }
}
