/**
 * A cluster of several nodes on this machine, each a daemon with workers, store and session of its own.
 *
 * Decides which daemons there are and what is removed after them. All go with this process, however it ends: each holds
 * the other end of a pipe from it. Nobody finds the cluster without its address, and `tsray stop` leaves it alone.
 */
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ClusterUnreachableError, InvalidOptionError } from "../core/base/errors.ts";
import { newNodeId } from "../core/base/ids.ts";
import type { NodeOptions, ResolvedNodeOptions } from "../core/base/options.ts";
import { makeToken } from "../core/base/token.ts";
import type { DaemonConfig } from "../core/launch/daemon-config.ts";
import { endDaemon } from "../core/launch/end-daemon.ts";
import {
  createSession,
  type NodeRecord,
  processStart,
  readNodeRecord,
  removeNodeRecord,
  removeSession,
  sweepDeadSessions,
  tokenPath,
} from "../core/launch/session.ts";
import { type StartedDaemon, startDaemon } from "../core/launch/start-daemon.ts";
import { createClient, unary } from "../core/rpc/grpc.ts";
import { retrying } from "../core/rpc/retry.ts";
import { HeadServiceClient } from "../core/wire/gen/tsray/v1/head.ts";
import { getState } from "../runtime/state.ts";
import {
  type ClusterOptions,
  type ResolvedClusterOptions,
  resolveClusterNode,
  resolveClusterOptions,
  resolveGraceful,
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
  /** true: it is asked to end (SIGTERM). false, the default: SIGKILL. */
  readonly graceful?: boolean | undefined;
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
  readonly #starting = new Set<Promise<Daemon>>();
  #head: Daemon | undefined;
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
    const head = this.#head === undefined ? [] : [this.#head.node];
    return [...head, ...[...this.#nodes.values()].map(({ node }) => node)];
  }

  /** Adds a node: one CPU and no GPU unless told otherwise. Resolves when it is part of the cluster. */
  async addNode(options?: NodeOptions): Promise<ClusterNode> {
    const resources = resolveClusterNode(options);
    this.#checkRuns();
    const sessionDir = this.#makeSession();
    const daemon = await this.#launch({ sessionDir, resources, head: undefined, headAddress: this.#address });
    this.#nodes.set(daemon.node.nodeId, daemon);
    void daemon.process.ended.then(() => this.#nodes.delete(daemon.node.nodeId));
    return daemon.node;
  }

  /**
   * Ends a node. Resolves when its processes are gone and the head knows that it is dead.
   * @throws InvalidOptionError (rejection) when it is no node of this cluster, or that of the head
   */
  async removeNode(node: ClusterNode, options?: RemoveNodeOptions): Promise<void> {
    const graceful = resolveGraceful(options);
    const daemon = this.#nodes.get(node.nodeId);
    if (daemon === undefined) {
      const isHead = this.#head?.node.nodeId === node.nodeId;
      throw new InvalidOptionError(
        isHead
          ? "removeNode() does not take the head's node: killHead() does"
          : `node ${node.nodeId} does not run in this cluster`,
      );
    }
    this.#nodes.delete(node.nodeId);
    await this.#end(daemon, graceful);
    removeSession(daemon.sessionDir);
    if (this.#head !== undefined) await this.#untilDead(node.nodeId);
  }

  /** Kills the head, and its node with it (SIGKILL). The other nodes run on and look for it at its address. */
  async killHead(): Promise<void> {
    const head = this.#head;
    if (head === undefined) throw new InvalidOptionError("killHead(): the head does not run");
    this.#head = undefined;
    this.#client?.close();
    this.#client = undefined;
    await this.#end(head, false);
    // The next one starts in the same session.
    removeNodeRecord(head.sessionDir, head.node.nodeId);
    for (const file of readdirSync(head.sessionDir)) {
      if (file.endsWith(".sock")) rmSync(join(head.sessionDir, file), { force: true });
    }
  }

  /** Starts the head again after `killHead`: same address, same state, and a new node beside it. */
  async startHead(): Promise<void> {
    this.#checkRuns();
    if (this.#head !== undefined) throw new InvalidOptionError("startHead(): the head runs");
    const { state, healthCheck, head: resources } = this.#options;
    const sessionDir = this.#headSession;
    const daemon = await this.#launch({
      sessionDir,
      resources,
      head: {
        port: this.#address === "" ? 0 : Number(this.#address.split(":")[1]),
        state: state === "lmdb" ? `lmdb:${join(sessionDir, "state")}` : state,
        healthCheck,
      },
      headAddress: undefined,
    });
    this.#head = daemon;
    void daemon.process.ended.then(() => {
      if (this.#head === daemon) this.#head = undefined;
    });
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
    const daemons = [...this.#nodes.values(), ...(this.#head === undefined ? [] : [this.#head])];
    await Promise.all(
      daemons.map(async (daemon) => {
        await this.#end(daemon, true);
        removeSession(daemon.sessionDir);
      }),
    );
    this.#nodes.clear();
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

  #launch(spec: LaunchSpec): Promise<Daemon> {
    const starting = this.#startDaemon(spec);
    this.#starting.add(starting);
    const settled = () => this.#starting.delete(starting);
    starting.then(settled, settled);
    return starting;
  }

  async #startDaemon({ sessionDir, resources, head, headAddress }: LaunchSpec): Promise<Daemon> {
    const nodeId = newNodeId();
    const daemon = startDaemon({
      ...resources,
      nodeId,
      sessionDir,
      token: this.#token,
      tokenGiven: this.#options.token !== undefined,
      host: HOST,
      head,
      headAddress,
      embedded: false,
      lifeline: true,
      standing: false,
      embeddedJob: undefined,
    });
    const pidStart = processStart(daemon.pid);
    try {
      const joined = await inTime(daemon.joined, `node ${nodeId} did not join the test cluster`);
      this.#address = joined.headAddress;
      const { storePath, spillDir } = readNodeRecord(sessionDir, nodeId) as NodeRecord;
      daemon.unref();
      const node = { nodeId, pid: joined.pid, address: joined.rayletAddress };
      return { node, process: daemon, sessionDir, pidStart, storePath, spillDir };
    } catch (error) {
      const { storePath = "", spillDir = "" } = readNodeRecord(sessionDir, nodeId) ?? {};
      await endDaemon({ pid: daemon.pid, pidStart, storePath, spillDir }, END_GRACE_MS);
      if (head === undefined) removeSession(sessionDir);
      throw error;
    }
  }

  async #end({ node, pidStart, storePath, spillDir }: Daemon, graceful: boolean): Promise<void> {
    const daemon = { pid: node.pid, pidStart, storePath, spillDir };
    const { gone } = await endDaemon(daemon, graceful ? END_GRACE_MS : 0);
    if (!gone)
      throw new ClusterUnreachableError(`the kernel has not let go of the processes of node ${node.nodeId}`);
  }

  async #untilDead(nodeId: string): Promise<void> {
    this.#client ??= createClient(HeadServiceClient, this.#address, this.#token);
    const client = this.#client;
    const isAlive = async () => {
      const { nodes } = await retrying(JOIN_MS_MAX, () =>
        unary(client, client.listNodes, {}, CALL_TIMEOUT_MS),
      );
      return nodes.some((node) => node.nodeId === nodeId && node.alive);
    };
    while (await isAlive()) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

interface LaunchSpec extends Pick<DaemonConfig, "sessionDir" | "head" | "headAddress"> {
  readonly resources: ResolvedNodeOptions;
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
