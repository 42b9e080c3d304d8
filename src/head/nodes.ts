/**
 * Which nodes the cluster has, what they have free, and which of them are dead.
 *
 * Decides when a node is dead (nobody listens at its address any more, or it was silent for too long), once and for
 * good: a node that comes back after that is fenced, because its actors have been given away. Nodes outlive the head:
 * the next one expects those of its table to come back, and looks for them. Spreads changes of the view to all other
 * nodes, coalesced; a heartbeat costs the same whatever the number of nodes. That a node was told to leave, or is dead, is
 * on the store before anybody hears of it. Never calls a raylet, and knows nothing of actors and jobs but whom to tell.
 */
import { InvalidOptionError } from "../core/base/errors.ts";
import { type HealthCheck, type HealthTimes, healthTimes } from "../core/launch/health-rules.ts";
import { toServiceError } from "../core/rpc/grpc.ts";
import { probe } from "../core/rpc/probe.ts";
import {
  type HeldBundle,
  type JobConfig,
  NodeInfo,
  type Resources,
} from "../core/wire/gen/tsray/v1/common.ts";
import type {
  ClusterInfoReply,
  ClusterUpdate,
  DrainNodeRequest,
  HostedActor,
  LogBatch,
  NodeList,
  NodeReport,
  NodeRoom,
  PendingDemand,
} from "../core/wire/gen/tsray/v1/head.ts";
import type { Amounts } from "./actors/placement.ts";
import { BoundedMap } from "./bounded-map.ts";
import type { NodeRecords, NodeRow } from "./node-records.ts";
import {
  encodeUpdate,
  encodeUpdateOnce,
  type NodeCall,
  NodeSession,
  preEncoded,
  updateOf,
} from "./node-session.ts";
import { judgeSilence } from "./node-silence.ts";
import type { RayletClients } from "./raylet-clients.ts";
import type { KeptRecord } from "./state-store/record-keeper.ts";

const NODES_ALIVE_MAX = 10_000;
/** Dead nodes that ListNodes still shows and that are fenced when they come back. */
const NODES_DEAD_MAX = 1000;
/** Shapes of waiting demand kept per node. */
const PENDING_SHAPES_PER_NODE_MAX = 100;
/** Changes of the view leave at most this often, and spreading takes at most a fifth of the head's time. */
const SPREAD_INTERVAL_MS = 25;
const SPREAD_REST_FACTOR = 4;
/**
 * What a message to a node costs (measured): most of it is paid after the call that writes it, when its stream comes to
 * it, so that a clock around the calls would not see it.
 */
const SPREAD_MS_PER_NODE = 0.06;
const SPREAD_MS_PER_BYTE = 4e-6;
/**
 * One round takes the head no longer than this, and what it has no room for waits for the next: thousands of bundles, each
 * told to thousands of nodes, are gigabytes that would hold the head for half a minute and fill its memory.
 */
const SPREAD_ROUND_MS_MAX = 250;
const SPREAD_BYTES_MIN = 16 * 1024;
const HEALTH_SCAN_MS_MIN = 10;

/** What a node says of itself when it registers. */
export interface NodeWord {
  readonly node: NodeInfo;
  readonly actors: readonly HostedActor[];
  /** Jobs whose drivers are attached there. */
  readonly jobIds: readonly string[];
  /** What it holds for placement groups. */
  readonly bundles: readonly HeldBundle[];
  /** It was told to leave, and does not say that it does: the order was lost with the head that gave it. */
  readonly drainUnheard: DrainNodeRequest | undefined;
}

/** Whom the table tells. Called one at a time, on the event that caused it. */
export interface NodeEvents {
  registered(word: NodeWord): void;
  /** Total or available resources of the node were reported. */
  viewChanged(node: NodeInfo): void;
  died(node: NodeInfo): void;
  logs(batches: readonly LogBatch[]): void;
  processesEnded(processIds: readonly string[]): void;
}

export interface NodeTableOptions {
  readonly healthCheck: HealthCheck;
  readonly cluster: Pick<ClusterInfoReply, "clusterId" | "epoch">;
  readonly records: NodeRecords;
  readonly clients: RayletClients;
  readonly events: NodeEvents;
  /** Where this head's attempts to place groups begin. */
  firstAttempt(): number;
  /** Jobs that run now: part of what a registering node is told. */
  runningJobs(): JobConfig[];
  log(line: string): void;
}

interface Told {
  readonly available: Amounts;
  readonly total: Amounts;
}

interface Node extends NodeRow {
  readonly kept: KeptRecord;
  /** A later head knows it. Until then nobody is told of it, itself included. */
  isStored: boolean;
  /** What others are told of it, encoded; undefined until it is needed. */
  encoded: Buffer | undefined;
  /** What all others know it to have, if they know all the rest; undefined: they are to be told all of it. */
  told: Told | undefined;
  /** Undefined between a broken stream and the next registration. */
  session: NodeSession | undefined;
  heardAtMs: number;
  pending: PendingDemand[];
  isProbed: boolean;
}

export class NodeTable {
  readonly #options: NodeTableOptions;
  readonly #alive = new Map<string, Node>();
  readonly #dead: BoundedMap<string, Node>;
  readonly #times: HealthTimes;
  readonly #startedAtMs = performance.now();
  /** Node ids whose view changed since it was last spread. */
  readonly #changed = new Set<string>();
  /** Dead nodes that the others have not been told of yet; many that die at once are told of in one message. */
  #diedUntold: NodeInfo[] = [];
  readonly #scan: NodeJS.Timeout;
  readonly #scanEveryMs: number;
  #scannedAtMs = performance.now();
  #spreadTimer: NodeJS.Timeout | undefined;
  #spreadCostMs = 0;
  #isClosed = false;

  constructor(options: NodeTableOptions) {
    this.#options = options;
    this.#dead = new BoundedMap(NODES_DEAD_MAX, (_, node) => options.records.forget(node, node.kept));
    this.#times = healthTimes(options.healthCheck);
    this.#scanEveryMs = Math.max(HEALTH_SCAN_MS_MIN, options.healthCheck.periodMs / 2);
    this.#scan = setInterval(() => this.#lookAfter(), this.#scanEveryMs);
  }

  /** Reads the table back. Nodes that lived are expected to register again; their time begins now. */
  async load(): Promise<void> {
    const rows = await this.#options.records.load();
    for (const row of rows.sort((a, b) => a.view.startedAtMs - b.view.startedAtMs)) {
      const { view } = row;
      // It may have been written that it is to leave, and nothing else.
      if (view.alive && row.drain !== undefined) row.view = { ...view, state: "DRAINING" };
      const node = this.#newNode(row, true);
      if (!view.alive) this.#dead.set(view.nodeId, node);
      else {
        this.#alive.set(view.nodeId, node);
        this.#options.clients.add(view.nodeId, view.rayletAddress);
      }
    }
    for (const node of this.#alive.values()) this.#probe(node);
  }

  alive(): NodeInfo[] {
    return [...this.#alive.values()].filter((node) => node.isStored).map((node) => node.view);
  }

  /** After so long every node of an earlier head's time is back, or counts as dead. */
  get silenceMsMax(): number {
    return this.#times.graceMs + this.#times.declareDeadMs;
  }

  isAlive(nodeId: string): boolean {
    return this.#alive.has(nodeId);
  }

  isDead(nodeId: string): boolean {
    return this.#dead.has(nodeId);
  }

  /**
   * The node is to leave: from now on it is given no new work. To be told to its raylet after that, and by later heads
   * when it comes back to them without having heard of it.
   * @returns false when no live node has that id
   * @throws ClusterUnreachableError when it cannot be stored: then nothing is changed
   */
  async drain(order: DrainNodeRequest): Promise<boolean> {
    const node = this.#alive.get(order.nodeId);
    if (node === undefined) return false;
    const before = node.drain;
    node.drain = order;
    node.kept.changed();
    try {
      await node.kept.durable();
    } catch (error) {
      if (node.drain === order) node.drain = before;
      node.kept.changed();
      throw error;
    }
    this.#drains(node);
    return true;
  }

  list(): NodeList {
    const pending = [...this.#alive.values()]
      .filter((node) => node.pending.length > 0)
      .map((node) => ({ nodeId: node.view.nodeId, demands: node.pending }));
    return { nodes: [...this.alive(), ...[...this.#dead.values()].map((node) => node.view)], pending };
  }

  /** Tells all nodes, now. */
  broadcast(update: Partial<ClusterUpdate>): void {
    const message = updateOf(update);
    for (const node of this.#alive.values()) if (node.isStored) node.session?.send(message);
  }

  /** Serves one NodeSession stream. */
  serve(call: NodeCall): void {
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
      session = new NodeSession(call, {
        snapshot: () => this.#snapshot(report.register?.nodeId ?? ""),
        views: (nodeIds) => this.#viewsOf(nodeIds),
      });
      try {
        node = this.#register(report, session);
      } catch (error) {
        call.emit("error", Object.assign(new Error("registration refused"), toServiceError(error)));
      }
    });
  }

  /** @param over why the cluster ends with this head; undefined: the next head is waited for */
  close(over?: string): void {
    this.#isClosed = true;
    clearInterval(this.#scan);
    clearTimeout(this.#spreadTimer);
    const last = over === undefined ? undefined : updateOf({ over });
    for (const node of this.#alive.values()) node.session?.end(last);
  }

  #newNode({ view, drain }: NodeRow, isStored: boolean): Node {
    const row = { view, drain };
    return Object.assign(row, {
      kept: this.#options.records.keep(row),
      isStored,
      encoded: undefined,
      told: undefined,
      session: undefined,
      heardAtMs: performance.now(),
      pending: [],
      isProbed: false,
    });
  }

  /** It takes no new work: it was told to leave, or says that it does. */
  #drains(node: Node): void {
    const { nodeId, state } = node.view;
    if (state === "DRAINING" || this.#alive.get(nodeId) !== node) return;
    node.view = { ...node.view, state: "DRAINING" };
    changed(node);
    node.kept.changed();
    this.#options.log(`node ${nodeId} takes no new work, and will leave`);
    this.#options.events.viewChanged(node.view);
    this.#spreadSoon(nodeId);
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
    const node = known ?? this.#newNode({ view: info, drain: undefined }, false);
    const before = node.session;
    node.session = session;
    const state = known?.view.state === "DRAINING" || report.draining ? "DRAINING" : "ALIVE";
    node.view = { ...info, alive: true, state, deathReason: "", available: info.available ?? info.total };
    changed(node);
    node.kept.changed();
    this.#alive.set(nodeId, node);
    if (before !== undefined && before !== session) before.end();
    this.#options.clients.add(nodeId, info.rayletAddress);
    this.#options.log(`node ${nodeId} ${known ? "is back" : "registered"} (${info.rayletAddress})`);
    if (node.isStored) this.#admit(node, session, report);
    // The next head may be asked for it by all that hear of it now: a node it does not know is dead to them.
    else
      void node.kept.written().then(() => {
        node.isStored = true;
        if (node.session === session && !this.#isClosed) this.#admit(node, session, report);
      });
    return node;
  }

  /** Tells a node that it is part of the cluster, and the others of it. */
  #admit(node: Node, session: NodeSession, report: NodeReport): void {
    const { nodeId } = node.view;
    session.send(this.#snapshot(nodeId));
    const { actors, jobIds, bundles } = report;
    const drainUnheard = report.draining ? undefined : node.drain;
    this.#options.events.registered({ node: node.view, actors, jobIds, bundles, drainUnheard });
    this.#heard(node, session, report);
    this.#spreadSoon(nodeId);
  }

  #heard(node: Node, session: NodeSession, report: NodeReport): void {
    if (node.session !== session) return;
    node.heardAtMs = performance.now();
    if (report.beat > 0) session.sendNow(updateOf({ heardBeat: report.beat }));
    node.pending = report.pending.slice(0, PENDING_SHAPES_PER_NODE_MAX);
    const { events } = this.#options;
    const { total = node.view.total, available = node.view.available } = report;
    const { store = node.view.store, transfers = node.view.transfers } = report;
    const before = node.view;
    node.view = { ...before, total, available, store, transfers };
    if (report.draining) this.#drains(node);
    if (report.endedProcessIds.length > 0) events.processesEnded(report.endedProcessIds);
    if (report.available !== undefined || report.total !== undefined) {
      events.viewChanged(node.view);
      // Beats that say the same again are no news to the others.
      if (!isSame(before.available, available) || !isSame(before.total, total)) {
        node.encoded = undefined;
        this.#spreadSoon(node.view.nodeId);
      }
    }
    if (report.logs.length > 0) events.logs(report.logs);
    if (report.leaving !== "") this.#left(node, report.leaving);
  }

  /** All that a node has to know, apart from itself: it replaces what the node knew. */
  #snapshot(nodeId: string): ClusterUpdate {
    const { healthCheck, runningJobs, cluster, firstAttempt } = this.#options;
    const first = encodeUpdate({
      registered: true,
      jobs: runningJobs(),
      healthCheck: { ...healthCheck },
      clusterId: cluster.clusterId,
      epoch: cluster.epoch,
      firstAttempt: firstAttempt(),
    });
    const others = [...this.#alive.values()].filter(
      ({ view, isStored }) => isStored && view.nodeId !== nodeId,
    );
    for (const changedId of this.#changed) this.#toldEarly(changedId);
    return preEncoded([first, ...others.map(encodedView)]);
  }

  /** One node knows already what the others are still to be told: from what they knew it cannot be told what changed. */
  #toldEarly(nodeId: string): void {
    const node = this.#changed.has(nodeId) ? this.#alive.get(nodeId) : undefined;
    if (node !== undefined) node.told = undefined;
  }

  /** Of nodes that are gone by now the node learns that they are. */
  #viewsOf(nodeIds: Iterable<string>): ClusterUpdate {
    const parts: Buffer[] = [];
    for (const nodeId of nodeIds) {
      const node = this.#alive.get(nodeId);
      const dead = node === undefined ? this.#dead.get(nodeId) : undefined;
      this.#toldEarly(nodeId);
      if (node !== undefined) parts.push(encodedView(node));
      else if (dead !== undefined) parts.push(encodeUpdate({ nodes: [dead.view] }));
    }
    return preEncoded(parts);
  }

  #streamLost(node: Node, session: NodeSession): void {
    if (node.session !== session || this.#isClosed) return;
    node.session = undefined;
    session.end();
    this.#probe(node);
  }

  /** A raylet listens until its end: where nobody does, it is dead. No answer at all proves nothing; time will tell. */
  #probe(node: Node): void {
    if (node.isProbed) return;
    node.isProbed = true;
    const { nodeId, rayletAddress } = node.view;
    void probe(rayletAddress, this.#options.healthCheck.timeoutMs).then((answer) => {
      node.isProbed = false;
      const isAway = node.session === undefined && this.#alive.get(nodeId) === node;
      if (answer === "refused" && isAway && !this.#isClosed)
        this.#declareDead(node, "its connection broke, and its process does not listen any more");
    });
  }

  #lookAfter(): void {
    const nowMs = performance.now();
    // When this process itself stood still, the nodes are not to blame for it.
    const stalledMs = nowMs - this.#scannedAtMs - this.#scanEveryMs;
    this.#scannedAtMs = nowMs;
    if (stalledMs > this.#scanEveryMs) for (const node of this.#alive.values()) node.heardAtMs += stalledMs;
    for (const node of this.#alive.values()) if (node.session === undefined) this.#probe(node);
    const silences = [...this.#alive].map(([nodeId, { heardAtMs }]) => ({
      nodeId,
      silentMs: nowMs - heardAtMs,
    }));
    for (const nodeId of judgeSilence(silences, nowMs - this.#startedAtMs, this.#times)) {
      const node = this.#alive.get(nodeId);
      if (node !== undefined)
        this.#declareDead(node, `it was silent for ${Math.round(nowMs - node.heardAtMs)} ms`);
    }
  }

  /** The node has gone of its own will. */
  #left(node: Node, why: string): void {
    this.#end(node, "DRAINED", `node ${node.view.nodeId} has left: ${why}`);
  }

  #declareDead(node: Node, why: string): void {
    this.#end(node, "DEAD", `node ${node.view.nodeId} is dead: ${why}`);
  }

  #end(node: Node, state: "DEAD" | "DRAINED", deathReason: string): void {
    const { nodeId } = node.view;
    const view: NodeInfo = { ...node.view, alive: false, state, deathReason, available: undefined };
    node.view = view;
    node.drain = undefined;
    changed(node);
    node.pending = [];
    this.#alive.delete(nodeId);
    this.#changed.delete(nodeId);
    this.#dead.set(nodeId, node);
    this.#options.log(deathReason);
    const { session } = node;
    node.session = undefined;
    const strikeOff = () => session?.end(updateOf({ fenced: true }));
    // One that has left waits for it; one that is dead must end what it runs.
    if (state === "DEAD") strikeOff();
    this.#options.clients.drop(nodeId);
    // A later head must not take it for alive once others have been given what it had.
    node.kept.changed();
    void node.kept.written().then(() => {
      if (this.#isClosed) return;
      if (state === "DRAINED") strikeOff();
      this.#diedUntold.push(view);
      this.#spreadIn(0);
      this.#options.events.died(view);
    });
  }

  #spreadSoon(nodeId: string): void {
    this.#changed.add(nodeId);
    if (this.#spreadTimer === undefined) this.#spreadAfterRest();
  }

  #spreadAfterRest(): void {
    this.#spreadIn(Math.max(SPREAD_INTERVAL_MS, this.#spreadCostMs * SPREAD_REST_FACTOR));
  }

  /** Replaces a later time that was set. */
  #spreadIn(waitMs: number): void {
    clearTimeout(this.#spreadTimer);
    if (this.#isClosed) return;
    this.#spreadTimer = setTimeout(() => {
      this.#spreadTimer = undefined;
      this.#spread();
    }, waitMs);
  }

  /** All is encoded once, and all nodes get the same bytes: what a node reads of itself it knows. */
  #spread(): void {
    const died = this.#diedUntold.map(({ nodeId }) => nodeId);
    const parts = [encodeUpdateOnce(this.#viewsOf(died))];
    const nodeIds = [...died];
    let room = this.#bytesPerRound();
    for (const nodeId of this.#changed) {
      if (room <= 0) break;
      this.#changed.delete(nodeId);
      const node = this.#alive.get(nodeId);
      if (node?.isStored !== true) continue;
      const part = encodedNews(node);
      room -= part.length;
      parts.push(part);
      nodeIds.push(nodeId);
    }
    this.#diedUntold = [];
    if (nodeIds.length === 0) return;
    const update = preEncoded(parts);
    const only = nodeIds.length === 1 ? nodeIds[0] : undefined;
    for (const { view, session, isStored } of this.#alive.values())
      if (isStored && view.nodeId !== only) session?.sendViews(update, nodeIds);
    const bytes = encodeUpdateOnce(update).length;
    this.#spreadCostMs = this.#alive.size * (SPREAD_MS_PER_NODE + SPREAD_MS_PER_BYTE * bytes);
    if (this.#changed.size > 0) this.#spreadAfterRest();
  }

  #bytesPerRound(): number {
    const msPerNode = SPREAD_ROUND_MS_MAX / this.#alive.size - SPREAD_MS_PER_NODE;
    return Math.max(SPREAD_BYTES_MIN, msPerNode / SPREAD_MS_PER_BYTE);
  }
}

/** What the others do not know of it yet: its amounts, or all of it. */
function encodedNews(node: Node): Buffer {
  const room = roomOf(node);
  return room === undefined ? encodedView(node) : encodeUpdate({ rooms: [room] });
}

/** More than its resources is not as the others know it. */
function changed(node: Node): void {
  node.encoded = undefined;
  node.told = undefined;
}

/** What the others need: not what only lists show. */
function encodedView(node: Node): Buffer {
  const { nodeId, rayletAddress, total, available, labels, alive, state, deathReason } = node.view;
  const told = { nodeId, rayletAddress, total, available, labels, alive, state, deathReason };
  node.encoded ??= encodeUpdate({ nodes: [NodeInfo.fromPartial(told)] });
  return node.encoded;
}

/** What of its resources the others do not know yet; undefined where they have to be told all of it. From here on they know. */
function roomOf(node: Node): NodeRoom | undefined {
  const { told } = node;
  const now = { available: node.view.available?.amounts ?? {}, total: node.view.total?.amounts ?? {} };
  node.told = now;
  if (told === undefined) return undefined;
  return {
    nodeId: node.view.nodeId,
    available: differences(told.available, now.available),
    total: differences(told.total, now.total),
    // Last, so that nothing is left of them.
    gone: Object.keys(told.total).filter((name) => now.total[name] === undefined),
  };
}

function differences(before: Amounts, now: Amounts): Record<string, number> {
  const different: Record<string, number> = {};
  for (const name in now) if (now[name] !== before[name]) different[name] = now[name] as number;
  for (const name in before) if (now[name] === undefined) different[name] = 0;
  return different;
}

function isSame(a: Resources | undefined, b: Resources | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  let names = 0;
  for (const name in a.amounts) {
    if (a.amounts[name] !== b.amounts[name]) return false;
    names += 1;
  }
  return names === Object.keys(b.amounts).length;
}
