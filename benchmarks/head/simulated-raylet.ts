/**
 * A raylet without a node: it speaks the real protocol to a real head (registration, beats, reports of what it has,
 * answers to the head's commands) and keeps the real ledger of what actors and bundles take, but runs nothing.
 *
 * Of what the head tells all nodes it reads only what concerns itself, so that 2,000 of them fit one process.
 */
import { BinaryReader } from "@bufbuild/protobuf/wire";
import type { ClientDuplexStream, Server } from "@grpc/grpc-js";
import { offeredBy } from "../../src/core/base/bundles.ts";
import { CallStream, serveCalls, type WithoutCalls } from "../../src/core/rpc/call-stream.ts";
import { bindServer, createClient, createServer, handleUnary } from "../../src/core/rpc/grpc.ts";
import { type HeldBundle, NodeInfo } from "../../src/core/wire/gen/tsray/v1/common.ts";
import {
  ActorReport,
  type ActorSpec,
  HeadServiceClient,
  HeadServiceService,
  NodeReport,
} from "../../src/core/wire/gen/tsray/v1/head.ts";
import { type RayletServiceServer, RayletServiceService } from "../../src/core/wire/gen/tsray/v1/raylet.ts";
import { ActorReports } from "../../src/raylet/actor-reports.ts";

const CALL_MS = 60_000;
const BEAT_MS = 1000;
/** As the real one: changes leave together. */
const REPORT_COALESCE_MS = 20;
/** As the real one. */
const REGISTER_AGAIN_MS = 200;
const CPU = 10_000;

/** What a raylet has to know of an update: the rest is for its tables of other nodes. */
interface News {
  readonly bytes: number;
  readonly registered: boolean;
  readonly heardBeat: number;
}

const FIELD_REGISTERED = 1;
const FIELD_HEARD_BEAT = 30;

function readNews(bytes: Buffer): News {
  const reader = new BinaryReader(bytes);
  let registered = false;
  let heardBeat = 0;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === FIELD_REGISTERED) registered = reader.bool();
    else if (field === FIELD_HEARD_BEAT) heardBeat = Number(reader.int64());
    else reader.skip(wireType);
  }
  return { bytes: bytes.length, registered, heardBeat };
}

export class SimulatedRaylet {
  readonly nodeId: string;
  /** Beats that the head has answered. */
  beatsHeard = 0;
  bytesHeard = 0;
  starts = 0;
  readonly #client: HeadServiceClient;
  readonly #calls: CallStream;
  /** As the real one. */
  readonly #reports: ActorReports;
  readonly #server: Server;
  readonly #total: Record<string, number>;
  readonly #available: Record<string, number>;
  readonly #bundles = new Map<string, { resources: Record<string, number>; held: HeldBundle }>();
  readonly #actors = new Map<string, { amounts: Record<string, number>; incarnation: number }>();
  /** Undefined while it is broken. */
  #stream: ClientDuplexStream<NodeReport, News> | undefined;
  #address = "";
  #beat = 0;
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Timeout | undefined;
  /** Each answered beat is followed by the next at once. */
  #isRacing = false;
  #isClosed = false;

  constructor(nodeId: string, headAddress: string, token: string, cpus: number) {
    this.nodeId = nodeId;
    this.#total = { CPU: cpus * CPU, memory: 64 * 2 ** 30 * CPU, object_store_memory: 16 * 2 ** 30 * CPU };
    this.#available = { ...this.#total };
    this.#client = createClient(HeadServiceClient, headAddress, token);
    this.#calls = new CallStream(this.#client);
    this.#reports = new ActorReports({
      send: (reports) => this.#calls.call(HeadServiceService.reportActors, { reports }, CALL_MS),
      onEmpty: () => {},
      retryMs: BEAT_MS,
      log: () => {},
    });
    this.#server = createServer(token);
    const service = this.#service();
    const calls = serveCalls(RayletServiceService, service);
    this.#server.addService(RayletServiceService, { ...service, calls });
  }

  async listen(directory: string): Promise<void> {
    this.#address = await bindServer(this.#server, `unix:${directory}/${this.nodeId}`);
  }

  /**
   * Resolves when the head has answered. As the real one it comes back when the stream breaks, with all that it has: of a
   * thousand that register at once the head's socket turns some away, and on a machine that is overloaded connections drop.
   */
  register(): Promise<void> {
    return new Promise((resolve) => this.#register(resolve));
  }

  #register(done: () => void): void {
    const { path, requestSerialize } = HeadServiceService.nodeSession;
    const stream = this.#client.makeBidiStreamRequest(path, requestSerialize, readNews);
    this.#stream = stream;
    stream.on("error", () => {
      if (this.#isClosed) return;
      this.#stream = undefined;
      setTimeout(() => this.#isClosed || this.#register(done), REGISTER_AGAIN_MS);
    });
    stream.on("data", ({ bytes, registered, heardBeat }: News) => {
      this.bytesHeard += bytes;
      if (registered) done();
      if (heardBeat === 0) return;
      this.beatsHeard += 1;
      if (this.#isRacing) this.#report(true);
    });
    const register = NodeInfo.fromPartial({
      nodeId: this.nodeId,
      rayletAddress: this.#address,
      endpoint: {
        processId: `raylet-${this.nodeId}`,
        nodeId: this.nodeId,
        unixPath: "/",
        host: "10.0.0.1",
      },
      total: { amounts: this.#total },
      available: { amounts: this.#available },
      labels: { "tsray.io/node-id": this.nodeId, zone: `zone-${Number(this.nodeId.slice(1)) % 3}` },
      hostId: this.nodeId,
      startedAtMs: 1,
    });
    const actors = [...this.#actors].map(([actorId, { incarnation }]) => ({ actorId, incarnation }));
    const bundles = [...this.#bundles.values()].map(({ held }) => held);
    stream.write(NodeReport.fromPartial({ register, actors, bundles }));
  }

  /** One beat a second, from a moment of its own in the second. */
  beat(): void {
    this.#timer = setTimeout(() => {
      this.#report(true);
      this.#timer = setInterval(() => this.#report(true), BEAT_MS);
    }, Math.random() * BEAT_MS);
  }

  race(on: boolean): void {
    this.#isRacing = on;
    if (on) this.#report(true);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#soon);
    this.#stream?.cancel();
    this.#reports.close();
    this.#calls.close();
    this.#client.close();
    this.#server.forceShutdown();
  }

  #changed(): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.#report(false);
    }, REPORT_COALESCE_MS);
  }

  #report(isBeat: boolean): void {
    if (isBeat) this.#beat += 1;
    this.#stream?.write(
      NodeReport.fromPartial({
        beat: isBeat ? this.#beat : 0,
        total: { amounts: this.#total },
        available: { amounts: this.#available },
        store: { kind: "arena", capacityBytes: 16 * 2 ** 30, spillDir: "/tmp" },
        transfers: {},
      }),
    );
  }

  #take(amounts: Record<string, number>, sign: 1 | -1): void {
    for (const [name, amount] of Object.entries(amounts))
      this.#available[name] = (this.#available[name] ?? 0) - sign * amount;
  }

  #fits(amounts: Record<string, number>): boolean {
    return Object.entries(amounts).every(([name, amount]) => (this.#available[name] ?? 0) >= amount);
  }

  #startActor(spec: ActorSpec | undefined, incarnation: number) {
    const actorId = spec?.actorId ?? "";
    const wanted = spec?.resources?.amounts ?? {};
    if (!this.#fits(wanted)) return { accepted: false, reason: "it is full", undecided: false };
    this.starts += 1;
    if (!this.#actors.has(actorId)) {
      this.#actors.set(actorId, { amounts: wanted, incarnation });
      this.#take(wanted, 1);
      this.#changed();
    }
    const endpoint = { processId: `worker-of-${actorId}-${incarnation}`, nodeId: this.nodeId };
    const { nodeId } = this;
    const report = ActorReport.fromPartial({ actorId, incarnation, state: "ALIVE", nodeId, endpoint });
    this.#reports.add(report);
    return { accepted: true, reason: "", undecided: false };
  }

  #service(): WithoutCalls<RayletServiceServer, typeof RayletServiceService> {
    const nothing = handleUnary<unknown, never>(() => {
      throw new Error("not simulated");
    });
    const bundleKey = (groupId: string, index: number) => `${groupId} ${index}`;
    return {
      leaseSession: (call) => call.end(),
      startActors: handleUnary(({ starts }) => ({
        answers: starts.map(({ spec, incarnation }) => this.#startActor(spec, incarnation)),
      })),
      stopActors: handleUnary(({ stops }) => {
        for (const { actorId } of stops) {
          this.#take(this.#actors.get(actorId)?.amounts ?? {}, -1);
          this.#actors.delete(actorId);
        }
        this.#changed();
        return { runningIds: [] };
      }),
      prepareBundles: handleUnary(({ bundles }) => ({
        answers: bundles.map(({ groupId, index, resources, attempt }) => {
          const wanted = resources?.amounts ?? {};
          const known = this.#bundles.get(bundleKey(groupId, index));
          if (known !== undefined) {
            known.held.attempt = attempt;
            return { accepted: true, reason: "" };
          }
          if (!this.#fits(wanted)) return { accepted: false, reason: "it is full" };
          this.#take(wanted, 1);
          const held = { groupId, index, attempt, committed: false };
          this.#bundles.set(bundleKey(groupId, index), { resources: wanted, held });
          this.#changed();
          return { accepted: true, reason: "" };
        }),
      })),
      commitBundles: handleUnary(({ bundles }) => ({
        answers: bundles.map(({ groupId, index }) => {
          const bundle = this.#bundles.get(bundleKey(groupId, index));
          if (bundle === undefined) return { accepted: false, reason: "it is not held" };
          bundle.held.committed = true;
          for (const [name, amount] of Object.entries(offeredBy(bundle.resources, groupId, index))) {
            this.#total[name] = (this.#total[name] ?? 0) + amount;
            this.#available[name] = (this.#available[name] ?? 0) + amount;
          }
          this.#changed();
          return { accepted: true, reason: "" };
        }),
      })),
      returnBundles: handleUnary(({ returns }) => {
        const groups = new Set(returns.map(({ groupId }) => groupId));
        for (const [key, { resources, held }] of this.#bundles) {
          const { groupId, index } = held;
          if (!groups.has(groupId)) continue;
          this.#bundles.delete(key);
          this.#take(resources, -1);
          const names = held.committed ? Object.keys(offeredBy(resources, groupId, index)) : [];
          for (const name of names) {
            delete this.#total[name];
            delete this.#available[name];
          }
        }
        this.#changed();
        return {};
      }),
      listTasks: nothing,
      listObjects: nothing,
      listWorkers: nothing,
      hearsHead: handleUnary(() => ({ nodeId: this.nodeId, hears: true, epoch: 1 })),
      drain: nothing,
      takeObject: nothing,
      ping: handleUnary(() => ({ nodeId: this.nodeId, uptimeMs: 1 })),
      shutdown: handleUnary(() => ({})),
    };
  }
}
