/**
 * Which nodes the cluster has, what they have free, and which of them are dead.
 *
 * Decides when a node is dead (its connection broke and a probe fails, or it was silent for too long), once and for
 * good: a node that comes back after that is fenced, because its actors have been given away. Spreads changes of the
 * view to all other nodes, coalesced; a heartbeat costs the same whatever the number of nodes. Never calls a raylet but
 * to probe it, and knows nothing of actors and jobs but whom to tell.
 */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { InvalidOptionError } from "../core/base/errors.ts";
import { toServiceError } from "../core/rpc/grpc.ts";
import type { JobConfig, NodeInfo } from "../core/wire/gen/tsray/v1/common.ts";
import {
  ClusterUpdate,
  type LogBatch,
  type NodeList,
  type NodeReport,
  type PendingDemand,
} from "../core/wire/gen/tsray/v1/head.ts";
import { BoundedMap } from "./bounded-map.ts";
import type { RayletClients } from "./raylet-clients.ts";

const NODES_ALIVE_MAX = 10_000;
/** Dead nodes that ListNodes still shows and that are fenced when they come back. */
const NODES_DEAD_MAX = 1000;
/** Shapes of waiting demand kept per node. */
const PENDING_SHAPES_PER_NODE_MAX = 100;
/** Changes of the view leave at most this often, and spreading takes at most a fifth of the head's time. */
const SPREAD_INTERVAL_MS = 25;
const SPREAD_REST_FACTOR = 4;
const HEALTH_SCAN_MS_MIN = 10;

export interface HealthCheckOptions {
  readonly periodMs: number;
  readonly timeoutMs: number;
  readonly failureThreshold: number;
}

/** Whom the table tells. Called one at a time, on the event that caused it. */
export interface NodeEvents {
  registered(node: NodeInfo): void;
  /** Total or available resources of the node were reported. */
  viewChanged(node: NodeInfo): void;
  died(node: NodeInfo): void;
  logs(batches: readonly LogBatch[]): void;
  processesEnded(processIds: readonly string[]): void;
}

export interface NodeTableOptions {
  readonly healthCheck: HealthCheckOptions;
  readonly clients: RayletClients;
  readonly events: NodeEvents;
  /** Jobs that run now: part of what a registering node is told. */
  runningJobs(): JobConfig[];
  log(line: string): void;
}

type Call = ServerDuplexStream<NodeReport, ClusterUpdate>;

interface Node {
  view: NodeInfo;
  /** Undefined between a broken stream and the next registration. */
  session: NodeSession | undefined;
  heardAtMs: number;
  pending: PendingDemand[];
}

/** The stream of one node. When it cannot keep up it gets nothing until it has, and then everything at once. */
class NodeSession {
  readonly call: Call;
  #isCongested = false;
  #hasMissed = false;

  constructor(call: Call, snapshot: () => ClusterUpdate) {
    this.call = call;
    call.on("drain", () => {
      this.#isCongested = false;
      if (!this.#hasMissed) return;
      this.#hasMissed = false;
      this.send(snapshot());
    });
  }

  send(update: ClusterUpdate): void {
    if (!this.call.writable) return;
    if (this.#isCongested) this.#hasMissed = true;
    else this.#isCongested = !this.call.write(update);
  }

  end(last?: ClusterUpdate): void {
    if (!this.call.writable) return;
    if (last) this.call.write(last);
    this.call.end();
  }
}

export class NodeTable {
  readonly #options: NodeTableOptions;
  readonly #alive = new Map<string, Node>();
  readonly #dead = new BoundedMap<string, NodeInfo>(NODES_DEAD_MAX);
  /** Node ids whose view changed since it was last spread. */
  readonly #changed = new Set<string>();
  /** Dead nodes that the others have not been told of yet; many that die at once are told of in one message. */
  #diedUntold: NodeInfo[] = [];
  readonly #scan: NodeJS.Timeout;
  readonly #scanEveryMs: number;
  #scannedAtMs = performance.now();
  #spreadTimer: NodeJS.Timeout | undefined;
  #spreadTookMs = 0;
  #isClosed = false;

  constructor(options: NodeTableOptions) {
    this.#options = options;
    this.#scanEveryMs = Math.max(HEALTH_SCAN_MS_MIN, options.healthCheck.periodMs / 2);
    this.#scan = setInterval(() => this.#findSilent(), this.#scanEveryMs);
  }

  /** How long a node may say nothing before it is dead. */
  get silenceMsMax(): number {
    const { periodMs, timeoutMs, failureThreshold } = this.#options.healthCheck;
    return periodMs * failureThreshold + timeoutMs;
  }

  alive(): NodeInfo[] {
    return [...this.#alive.values()].map((node) => node.view);
  }

  isAlive(nodeId: string): boolean {
    return this.#alive.has(nodeId);
  }

  isDead(nodeId: string): boolean {
    return this.#dead.has(nodeId);
  }

  list(): NodeList {
    const pending = [...this.#alive.values()]
      .filter((node) => node.pending.length > 0)
      .map((node) => ({ nodeId: node.view.nodeId, demands: node.pending }));
    return { nodes: [...this.alive(), ...this.#dead.values()], pending };
  }

  /** Tells all nodes, now. */
  broadcast(update: Partial<ClusterUpdate>): void {
    const message = updateOf(update);
    for (const node of this.#alive.values()) node.session?.send(message);
  }

  /** Serves one NodeSession stream. */
  serve(call: Call): void {
    let node: Node | undefined;
    let session: NodeSession | undefined;
    const lost = () => {
      if (node !== undefined && session !== undefined) this.#streamLost(node, session);
      node = undefined;
    };
    for (const event of ["end", "close", "cancelled", "error"]) call.on(event, lost);
    call.on("data", (report: NodeReport) => {
      if (session !== undefined) {
        if (node !== undefined) this.#heard(node, session, report);
        return;
      }
      session = new NodeSession(call, () => this.#snapshot(report.register?.nodeId ?? ""));
      try {
        node = this.#register(report, session);
      } catch (error) {
        call.emit("error", Object.assign(new Error("registration refused"), toServiceError(error)));
      }
    });
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#scan);
    clearTimeout(this.#spreadTimer);
    for (const node of this.#alive.values()) node.session?.end();
  }

  /** Undefined when the node is fenced. @throws InvalidOptionError when the first message does not register */
  #register(report: NodeReport, session: NodeSession): Node | undefined {
    const info = report.register;
    if (info === undefined || info.nodeId === "" || info.rayletAddress === "") {
      throw new InvalidOptionError(
        "the first message of a node's session must register it, with node id and address",
      );
    }
    const { nodeId } = info;
    const known = this.#alive.get(nodeId);
    if (known !== undefined && known.view.startedAtMs !== info.startedAtMs) {
      this.#declareDead(known, "another process has taken its node id");
    }
    if (this.#dead.has(nodeId)) {
      this.#options.log(`node ${nodeId} came back after it was declared dead: fenced`);
      session.end(updateOf({ fenced: true }));
      return undefined;
    }
    if (known === undefined && this.#alive.size >= NODES_ALIVE_MAX) {
      throw new InvalidOptionError(`the cluster has ${NODES_ALIVE_MAX} nodes, which is the most it takes`);
    }
    const node = known ?? { view: info, session, heardAtMs: 0, pending: [] };
    const before = node.session;
    node.session = session;
    node.view = { ...info, alive: true, deathReason: "", available: info.available ?? info.total };
    this.#alive.set(nodeId, node);
    if (before !== undefined && before !== session) before.end();
    this.#options.clients.add(nodeId, info.rayletAddress);
    this.#options.log(`node ${nodeId} ${known ? "is back" : "registered"} (${info.rayletAddress})`);
    session.send(this.#snapshot(nodeId));
    this.#options.events.registered(node.view);
    this.#heard(node, session, report);
    this.#spreadSoon(nodeId);
    return node;
  }

  #heard(node: Node, session: NodeSession, report: NodeReport): void {
    if (node.session !== session) return;
    node.heardAtMs = performance.now();
    node.pending = report.pending.slice(0, PENDING_SHAPES_PER_NODE_MAX);
    const { events } = this.#options;
    const { total = node.view.total, available = node.view.available } = report;
    const { store = node.view.store, transfers = node.view.transfers } = report;
    node.view = { ...node.view, total, available, store, transfers };
    if (report.endedProcessIds.length > 0) events.processesEnded(report.endedProcessIds);
    if (report.available !== undefined || report.total !== undefined) {
      events.viewChanged(node.view);
      this.#spreadSoon(node.view.nodeId);
    }
    if (report.logs.length > 0) events.logs(report.logs);
  }

  /** All that a node has to know, apart from itself: it replaces what the node knew. */
  #snapshot(nodeId: string): ClusterUpdate {
    const { healthCheck, runningJobs } = this.#options;
    return updateOf({
      registered: true,
      nodes: this.alive().filter((view) => view.nodeId !== nodeId),
      jobs: runningJobs(),
      healthCheck: { ...healthCheck },
    });
  }

  #streamLost(node: Node, session: NodeSession): void {
    if (node.session !== session || this.#isClosed) return;
    node.session = undefined;
    session.end();
    const { nodeId } = node.view;
    void this.#options.clients.ping(nodeId, this.#options.healthCheck.timeoutMs).then((answers) => {
      const isGone = !answers && node.session === undefined && this.#alive.get(nodeId) === node;
      if (isGone && !this.#isClosed)
        this.#declareDead(node, "its connection broke, and it did not answer a probe");
    });
  }

  #findSilent(): void {
    const nowMs = performance.now();
    // When this process itself stood still, the nodes are not to blame for it.
    const stalledMs = nowMs - this.#scannedAtMs - this.#scanEveryMs;
    this.#scannedAtMs = nowMs;
    const isStalled = stalledMs > this.#scanEveryMs;
    for (const node of [...this.#alive.values()]) {
      if (isStalled) node.heardAtMs += stalledMs;
      const silentMs = nowMs - node.heardAtMs;
      if (silentMs > this.silenceMsMax)
        this.#declareDead(node, `it was silent for ${Math.round(silentMs)} ms`);
    }
  }

  #declareDead(node: Node, why: string): void {
    const { nodeId } = node.view;
    const deathReason = `node ${nodeId} is dead: ${why}`;
    const view: NodeInfo = { ...node.view, alive: false, deathReason, available: undefined };
    this.#alive.delete(nodeId);
    this.#changed.delete(nodeId);
    this.#dead.set(nodeId, view);
    this.#options.log(deathReason);
    node.session?.end(updateOf({ fenced: true }));
    node.session = undefined;
    this.#options.clients.drop(nodeId);
    this.#diedUntold.push(view);
    this.#spreadIn(0);
    this.#options.events.died(view);
  }

  #spreadSoon(nodeId: string): void {
    this.#changed.add(nodeId);
    if (this.#spreadTimer !== undefined) return;
    this.#spreadIn(Math.max(SPREAD_INTERVAL_MS, this.#spreadTookMs * SPREAD_REST_FACTOR));
  }

  /** Replaces a later time that was set. */
  #spreadIn(waitMs: number): void {
    clearTimeout(this.#spreadTimer);
    if (this.#isClosed) return;
    this.#spreadTimer = setTimeout(() => {
      this.#spreadTimer = undefined;
      const startMs = performance.now();
      this.#spread();
      this.#spreadTookMs = performance.now() - startMs;
    }, waitMs);
  }

  /** Each view is encoded once: a node that changed itself gets the same bytes with its own part cut out. */
  #spread(): void {
    const changed = [...this.#changed].flatMap((nodeId) => this.#alive.get(nodeId)?.view ?? []);
    const views = [...this.#diedUntold, ...changed];
    this.#changed.clear();
    this.#diedUntold = [];
    if (views.length === 0) return;
    // Encoded messages may be joined: repeated fields of the parts follow one another.
    const parts = views.map((view) =>
      Buffer.from(ClusterUpdate.encode(updateOf({ nodes: [view] })).finish()),
    );
    const indexes = new Map(views.map((view, index) => [view.nodeId, index]));
    const forAll = preEncoded(parts);
    for (const { view, session } of this.#alive.values()) {
      const own = indexes.get(view.nodeId);
      if (own === undefined) session?.send(forAll);
      else if (views.length > 1) session?.send(preEncoded(parts.filter((_, index) => index !== own)));
    }
  }
}

const NOTHING = ClusterUpdate.fromPartial({});

/** Unlike fromPartial, copies no view. */
const updateOf = (update: Partial<ClusterUpdate>): ClusterUpdate => ({ ...NOTHING, ...update });

const encoded = new WeakMap<ClusterUpdate, Buffer>();

/** A message that stands for bytes which are there already. */
function preEncoded(parts: readonly Buffer[]): ClusterUpdate {
  const update = updateOf({});
  encoded.set(update, Buffer.concat(parts));
  return update;
}

/** Serialises an update once, however many streams it goes to. */
export function encodeUpdateOnce(update: ClusterUpdate): Buffer {
  let bytes = encoded.get(update);
  if (bytes === undefined) {
    bytes = Buffer.from(ClusterUpdate.encode(update).finish());
    encoded.set(update, bytes);
  }
  return bytes;
}
