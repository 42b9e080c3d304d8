/** A head as a process of its own with so many simulated raylets in this one, and what the head's process has cost. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HEALTH_CHECK_DEFAULT } from "../../src/core/launch/daemon-config.ts";
import type { StartedHead } from "../../src/core/launch/start-head.ts";
import { startHeadProcess } from "../../src/core/launch/start-head.ts";
import { createClient, unary } from "../../src/core/rpc/grpc.ts";
import { ActorRegistry } from "../../src/core/submit/actor-registry.ts";
import { HeadClient } from "../../src/core/submit/head-client.ts";
import { ActorSpec, HeadServiceClient, PlacementGroupSpec } from "../../src/core/wire/gen/tsray/v1/head.ts";
import { SimulatedRaylet } from "./simulated-raylet.ts";

const TOKEN = "a-token-for-benchmarks-only";
const CALL_MS = 120_000;
const WATCH_MS = 30_000;
const CPUS_PER_NODE = 16;
const CPU = 10_000;

export interface Cost {
  readonly seconds: number;
  /** Of the head's process, all its threads. */
  readonly cpuSeconds: number;
}

export class HeadUnderLoad {
  readonly raylets: SimulatedRaylet[] = [];
  readonly #directory = mkdtempSync(join(tmpdir(), "tsh-"));
  readonly #head: StartedHead;
  #client!: HeadServiceClient;
  #calls!: HeadClient;
  /** What a driver creates its actors with. */
  #actors!: ActorRegistry;
  #address = "";
  #made = 0;

  readonly nodes: number;

  constructor(nodes: number) {
    this.nodes = nodes;
    mkdirSync(join(this.#directory, "logs"));
    this.#head = startHeadProcess({
      bind: `unix:${this.#directory}/head`,
      token: TOKEN,
      sessionDir: this.#directory,
      state: "memory",
      // What is overloaded here must not be taken for dead.
      healthCheck: { ...HEALTH_CHECK_DEFAULT, failureThreshold: 60 },
      packagesDir: join(this.#directory, "packages"),
    });
  }

  /** The head serves, and the raylets listen: none has registered yet. */
  async start(): Promise<void> {
    this.#address = await this.#head.serving;
    this.#client = createClient(HeadServiceClient, this.#address, TOKEN);
    this.#calls = new HeadClient(this.#address, TOKEN);
    this.#actors = new ActorRegistry(this.#calls);
    for (let i = 0; i < this.nodes; i++) {
      const raylet = new SimulatedRaylet(`n${i}`, this.#address, TOKEN, CPUS_PER_NODE);
      this.raylets.push(raylet);
      await raylet.listen(this.#directory);
    }
  }

  async register(): Promise<void> {
    await Promise.all(this.raylets.map((raylet) => raylet.register()));
    for (const raylet of this.raylets) raylet.beat();
  }

  /** What it takes to do something. */
  async cost(work: () => Promise<void>): Promise<Cost> {
    const cpuBefore = this.#cpuSeconds();
    const startedMs = performance.now();
    await work();
    const seconds = (performance.now() - startedMs) / 1000;
    return { seconds, cpuSeconds: this.#cpuSeconds() - cpuBefore };
  }

  /** Resolves when all of them are alive. @returns their ids */
  async createActors(count: number, strategy: string): Promise<string[]> {
    const ids = Array.from({ length: count }, () => `actor-${++this.#made}`);
    const cpu = { amounts: { CPU } };
    const create = async (actorId: string) => {
      const spec = ActorSpec.fromPartial({
        actorId,
        jobId: "job",
        className: "Counter",
        namespace: "ns",
        detached: true,
        resources: cpu,
        placement: cpu,
        strategy: { kind: strategy, bundle: -1 },
        creation: Buffer.alloc(300),
      });
      const { error } = await this.#actors.create(spec);
      if (error !== "") throw new Error(error);
      for (let knownVersion = 0; ; ) {
        const info = await this.#actors.watch(actorId, knownVersion, WATCH_MS);
        if (info.state === "ALIVE") return;
        if (info.state === "DEAD") throw new Error(`actor ${actorId} died: ${info.deathReason}`);
        knownVersion = info.version;
      }
    };
    await Promise.all(ids.map(create));
    return ids;
  }

  async killActors(ids: readonly string[]): Promise<void> {
    const kill = { noRestart: true, graceful: false, reason: "done", requestId: "" };
    await Promise.all(ids.map((actorId) => this.#actors.kill({ ...kill, actorId })));
  }

  /** Resolves when all of them stand. @returns their ids */
  async createGroups(count: number, bundles: number, strategy: string): Promise<string[]> {
    const specs = Array.from({ length: count }, () =>
      PlacementGroupSpec.fromPartial({
        groupId: (++this.#made).toString(16).padStart(16, "0"),
        namespace: "ns",
        strategy,
        bundles: Array.from({ length: bundles }, () => ({ resources: { amounts: { CPU } } })),
        detached: true,
        jobId: "job",
      }),
    );
    const { groups } = await unary(this.#client, this.#client.createPlacementGroups, { specs }, CALL_MS);
    const wrong = groups.find(({ error }) => error !== "");
    if (wrong !== undefined) throw new Error(wrong.error);
    const left = new Map(groups.map(({ group }) => [group?.spec?.groupId ?? "", 0]));
    while (left.size > 0) {
      const watched = [...left].map(([groupId, knownVersion]) => ({ groupId, knownVersion }));
      const { groups: news } = await unary(
        this.#client,
        this.#client.watchPlacementGroups,
        { groups: watched, waitMs: WATCH_MS, settled: true },
        CALL_MS,
      );
      for (const { spec, state, reason } of news) {
        if (state !== "CREATED") throw new Error(`placement group ${spec?.groupId} is ${state}: ${reason}`);
        left.delete(spec?.groupId ?? "");
      }
    }
    return specs.map(({ groupId }) => groupId);
  }

  async removeGroups(groupIds: string[]): Promise<void> {
    const { removePlacementGroups } = this.#client;
    await unary(this.#client, removePlacementGroups, { groupIds, reason: "done" }, CALL_MS);
  }

  async close(): Promise<void> {
    for (const raylet of this.raylets) raylet.close();
    this.#client?.close();
    this.#calls?.close();
    this.#head.release();
    await this.#head.ended;
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #cpuSeconds(): number {
    const fields = readFileSync(`/proc/${this.#head.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }
}

const TICKS_PER_SECOND = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
