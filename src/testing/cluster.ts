/**
 * A cluster of several nodes on this machine, each a daemon with workers, store and session of its own, and a head beside
 * the first of them.
 *
 * Decides which daemons there are and what is removed after them. All go with this process, however it ends: each holds
 * the other end of a pipe from it. Nobody finds the cluster without its address, and `tsray stop` leaves it alone.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { ClusterUnreachableError, InvalidOptionError } from "../core/base/errors.ts";
import { newNodeId } from "../core/base/ids.ts";
import type { NodeOptions, ResolvedNodeOptions } from "../core/base/options.ts";
import { makeToken } from "../core/base/token.ts";
import { endDaemon } from "../core/launch/end-daemon.ts";
import {
  createSession,
  type NodeRecord,
  processStart,
  readNodeRecord,
  removeSession,
  sweepDeadSessions,
  tokenPath,
} from "../core/launch/session.ts";
import { type StartedDaemon, startDaemon } from "../core/launch/start-daemon.ts";
import { type StartedHead, startHeadProcess } from "../core/launch/start-head.ts";
import { createClient, unary } from "../core/rpc/grpc.ts";
import { retrying } from "../core/rpc/retry.ts";
import { HeadServiceClient } from "../core/wire/gen/tsray/v1/head.ts";
import { getState } from "../runtime/state.ts";
import {
  type ClusterOptions,
  type ResolvedClusterOptions,
  resolveClusterNode,
  resolveClusterOptions,
  resolveRemoval,
} from "./cluster-options.ts";

const HOST = "127.0.0.1";
const JOIN_MS_MAX = 30_000;
const END_GRACE_MS = 10_000;
const CALL_TIMEOUT_MS = 5000;
const POLL_MS = 10;

/** A node of the cluster. */
export interface ClusterNode {
  readonly nodeId: string;
  /** Of its daemon. */
  readonly pid: number;
  /** host:port of its raylet. */
  readonly address: string;
}

/** Options of `removeNode`. */
export interface RemoveNodeOptions {
  /** true: it is drained, as by `tsray drain`. false, the default: SIGKILL. */
  readonly graceful?: boolean | undefined;
  /** Milliseconds that a drained node gives to what runs there. Default 30,000. */
  readonly gracePeriod?: number | undefined;
}

interface HeadProcess {
  readonly process: StartedHead;
  readonly pidStart: string;
}

interface Daemon {
  readonly node: ClusterNode;
  readonly process: StartedDaemon;
  readonly sessionDir: string;
  readonly pidStart: string;
  readonly storePath: string;
  readonly spillDir: string;
}

export class Cluster implements AsyncDisposable {
  readonly #options: ResolvedClusterOptions;
  readonly #token: string;
  /** The head's, kept over its deaths: its state lies in it. */
  readonly #headSession: string;
  readonly #nodes = new Map<string, Daemon>();
  /** Daemons on their way: `shutdown` waits for what becomes of them. */
  readonly #starting = new Set<Promise<unknown>>();
  #head: HeadProcess | undefined;
  #headNode: Daemon | undefined;
  #address = "";
  #client: HeadServiceClient | undefined;
  #ending: Promise<void> | undefined;

  private constructor(options: ResolvedClusterOptions) {
    this.#options = options;
    this.#token = options.token ?? makeToken();
    this.#headSession = this.#makeSession();
  }

  /**
   * Starts a head and its node. As with `init`, the promise never settles in a worker that evaluates the driver's entry
   * module: each worker would start a cluster of its own.
   *
   * @throws InvalidOptionError, ClusterUnreachableError (rejections)
   */
  static async start(options?: ClusterOptions): Promise<Cluster> {
    const state = getState();
    if (state.kind === "loading") {
      state.park();
      return new Promise<never>(() => {});
    }
    const resolved = resolveClusterOptions(options);
    sweepDeadSessions();
    const cluster = new Cluster(resolved);
    try {
      await cluster.startHead();
      await cluster.#addHeadNode();
    } catch (error) {
      await cluster.shutdown();
      throw error;
    }
    return cluster;
  }

  /** host:port of the head: `init({ address: cluster.address })`. The same after `startHead`. */
  get address(): string {
    return this.#address;
  }

  /** The nodes that run, that of the head first. */
  get nodes(): readonly ClusterNode[] {
    const head = this.#headNode === undefined ? [] : [this.#headNode.node];
    return [...head, ...[...this.#nodes.values()].map(({ node }) => node)];
  }

  /** Adds a node: one CPU and no GPU unless told otherwise. Resolves when it is part of the cluster. */
  async addNode(options?: NodeOptions): Promise<ClusterNode> {
    const resources = resolveClusterNode(options);
    this.#checkRuns();
    const sessionDir = this.#makeSession();
    const daemon = await this.#launch(this.#startDaemon(sessionDir, resources, false));
    this.#nodes.set(daemon.node.nodeId, daemon);
    void daemon.process.ended.then(() => this.#nodes.delete(daemon.node.nodeId));
    return daemon.node;
  }

  /**
   * Ends a node. Resolves when its processes are gone and the head knows that it is dead.
   * @throws InvalidOptionError (rejection) when it is no node of this cluster, or that of the head
   */
  async removeNode(node: ClusterNode, options?: RemoveNodeOptions): Promise<void> {
    const { graceful, graceMs } = resolveRemoval(options);
    const daemon = this.#nodes.get(node.nodeId);
    if (daemon === undefined) {
      const isHead = this.#headNode?.node.nodeId === node.nodeId;
      throw new InvalidOptionError(
        isHead
          ? "removeNode() does not take the first node, which goes with the cluster; killHead() ends the head alone"
          : `node ${node.nodeId} does not run in this cluster`,
      );
    }
    if (graceful && this.#head !== undefined) await this.#drain(node.nodeId, graceMs);
    this.#nodes.delete(node.nodeId);
    await this.#end(daemon, graceful);
    removeSession(daemon.sessionDir);
    if (this.#head !== undefined) await this.#untilDead(node.nodeId);
  }

  /** Kills the head (SIGKILL). The nodes, the one beside it included, run on and look for it at its address. */
  async killHead(): Promise<void> {
    const head = this.#head;
    if (head === undefined) throw new InvalidOptionError("killHead(): the head does not run");
    this.#head = undefined;
    this.#client?.close();
    this.#client = undefined;
    await this.#endHead(head, 0);
  }

  /** Starts the head again after `killHead`: same address, same state. */
  async startHead(): Promise<void> {
    this.#checkRuns();
    if (this.#head !== undefined) throw new InvalidOptionError("startHead(): the head runs");
    await this.#launch(this.#startHead());
  }

  /** Ends every node; nothing is left of them. Safe to repeat. */
  shutdown(): Promise<void> {
    this.#ending ??= this.#shutdown();
    return this.#ending;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  async #shutdown(): Promise<void> {
    await Promise.allSettled(this.#starting);
    this.#client?.close();
    const daemons = [...this.#nodes.values(), ...(this.#headNode === undefined ? [] : [this.#headNode])];
    await Promise.all(
      daemons.map(async (daemon) => {
        await this.#end(daemon, true);
        if (daemon !== this.#headNode) removeSession(daemon.sessionDir);
      }),
    );
    this.#nodes.clear();
    this.#headNode = undefined;
    if (this.#head !== undefined) await this.#endHead(this.#head, END_GRACE_MS);
    this.#head = undefined;
    removeSession(this.#headSession);
  }

  #checkRuns(): void {
    if (this.#ending !== undefined) throw new ClusterUnreachableError("the test cluster has been shut down");
  }

  /** A given token is the test's to bring; another is found by drivers in the session. */
  #makeSession(): string {
    const sessionDir = createSession();
    if (this.#options.token === undefined)
      writeFileSync(tokenPath(sessionDir), `${this.#token}\n`, { mode: 0o600 });
    return sessionDir;
  }

  async #launch<T>(starting: Promise<T>): Promise<T> {
    this.#starting.add(starting);
    try {
      return await starting;
    } finally {
      this.#starting.delete(starting);
    }
  }

  async #startHead(): Promise<void> {
    const { state, healthCheck } = this.#options;
    const sessionDir = this.#headSession;
    const started = startHeadProcess({
      bind: this.#address === "" ? `${HOST}:0` : this.#address,
      token: this.#token,
      sessionDir,
      state: state === "lmdb" ? `lmdb:${join(sessionDir, "state")}` : state,
      healthCheck,
      packagesDir: join(sessionDir, "packages"),
    });
    const head = { process: started, pidStart: processStart(started.pid) };
    try {
      this.#address = await inTime(started.serving, "the head of the test cluster did not start");
    } catch (error) {
      await this.#endHead(head, END_GRACE_MS);
      throw error;
    }
    started.unref();
    this.#head = head;
    void started.ended.then(() => {
      if (this.#head === head) this.#head = undefined;
    });
  }

  async #addHeadNode(): Promise<void> {
    this.#headNode = await this.#launch(this.#startDaemon(this.#headSession, this.#options.head, true));
  }

  async #startDaemon(sessionDir: string, resources: ResolvedNodeOptions, isHead: boolean): Promise<Daemon> {
    const nodeId = newNodeId();
    const daemon = startDaemon({
      ...resources,
      nodeId,
      sessionDir,
      token: this.#token,
      tokenGiven: this.#options.token !== undefined,
      host: HOST,
      head: undefined,
      isHead,
      headAddress: this.#address,
      embedded: false,
      lifeline: true,
      standing: false,
      embeddedJob: undefined,
    });
    const pidStart = processStart(daemon.pid);
    try {
      const joined = await inTime(daemon.joined, `node ${nodeId} did not join the test cluster`);
      const { storePath, spillDir } = readNodeRecord(sessionDir, nodeId) as NodeRecord;
      daemon.unref();
      const node = { nodeId, pid: joined.pid, address: joined.rayletAddress };
      return { node, process: daemon, sessionDir, pidStart, storePath, spillDir };
    } catch (error) {
      const { storePath = "", spillDir = "" } = readNodeRecord(sessionDir, nodeId) ?? {};
      await endDaemon({ pid: daemon.pid, pidStart, storePath, spillDir }, END_GRACE_MS);
      if (!isHead) removeSession(sessionDir);
      throw error;
    }
  }

  async #endHead({ process: { pid }, pidStart }: HeadProcess, graceMs: number): Promise<void> {
    const { gone } = await endDaemon({ pid, pidStart, storePath: "", spillDir: "" }, graceMs, "SIGQUIT");
    if (!gone) throw new ClusterUnreachableError(`the kernel has not let go of the head (pid ${pid})`);
  }

  async #end({ node, pidStart, storePath, spillDir }: Daemon, graceful: boolean): Promise<void> {
    const daemon = { pid: node.pid, pidStart, storePath, spillDir };
    const { gone } = await endDaemon(daemon, graceful ? END_GRACE_MS : 0, "SIGQUIT");
    if (!gone)
      throw new ClusterUnreachableError(`the kernel has not let go of the processes of node ${node.nodeId}`);
  }

  #askHead(): HeadServiceClient {
    this.#client ??= createClient(HeadServiceClient, this.#address, this.#token);
    return this.#client;
  }

  async #drain(nodeId: string, graceMs: number): Promise<void> {
    const head = this.#askHead();
    const request = { nodeId, graceMs, reason: "removeNode()" };
    await unary(head, head.drainNode, request, CALL_TIMEOUT_MS);
    await this.#untilDead(nodeId);
  }

  async #untilDead(nodeId: string): Promise<void> {
    const isAlive = async () => {
      // Not the same client each time: the head may be killed and started meanwhile.
      const { nodes } = await retrying(JOIN_MS_MAX, () => {
        const head = this.#askHead();
        return unary(head, head.listNodes, {}, CALL_TIMEOUT_MS);
      });
      return nodes.some((node) => node.nodeId === nodeId && node.alive);
    };
    while (await isAlive()) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function inTime<T>(promise: Promise<T>, otherwise: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new ClusterUnreachableError(`${otherwise} within ${JOIN_MS_MAX} ms`)),
      JOIN_MS_MAX,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
