/**
 * The head: the cluster's tables behind one gRPC service.
 *
 * Composes nodes, jobs, actors, placement groups and key-value, tells each what the others have to know, and answers the calls that
 * belong to none of them. Decides nothing about any of them itself.
 */
import { randomUUID } from "node:crypto";
import type { HealthCheck } from "../core/launch/health-rules.ts";
import { serveCalls, type WithoutCalls } from "../core/rpc/call-stream.ts";
import { exitPoint } from "../core/rpc/exit-points.ts";
import { bindServer, createServer, handleUnary, unary } from "../core/rpc/grpc.ts";
import type { NodeInfo } from "../core/wire/gen/tsray/v1/common.ts";
import {
  type ClusterInfoReply,
  type HeadServiceServer,
  HeadServiceService,
  type ListObjectsRequest,
  type ObjectList,
  type TaskList,
  type WorkerList,
} from "../core/wire/gen/tsray/v1/head.ts";
import type { RayletServiceClient } from "../core/wire/gen/tsray/v1/raylet.ts";
import { ActorCalls } from "./actors/actor-calls.ts";
import { ActorDirectory } from "./actors/actor-directory.ts";
import { ActorOutbox } from "./actors/actor-outbox.ts";
import { NodeRooms } from "./actors/node-rooms.ts";
import { DrainOrders } from "./drain-orders.ts";
import { handlersWithExits, storeWithExits } from "./exit-points.ts";
import { JobFilesTable } from "./job-files.ts";
import { JobTable } from "./jobs.ts";
import { KeyValue } from "./key-value.ts";
import { NodeRecords } from "./node-records.ts";
import { encodeUpdateOnce } from "./node-session.ts";
import { NodeTable } from "./nodes.ts";
import { Packages } from "./packages.ts";
import { PlacementGroups } from "./placement-groups/placement-groups.ts";
import { RayletClients } from "./raylet-clients.ts";
import { RecordKeeper } from "./state-store/record-keeper.ts";
import type { StateStore } from "./state-store/state-store.ts";

export { openStateStore } from "./state-store/open-state-store.ts";
export type { StateStore } from "./state-store/state-store.ts";

/** How long one raylet may take to list its tasks or workers. */
const LIST_TIMEOUT_MS = 1000;
/** Rows of one list, so that it fits one message. */
const ROWS_LISTED_MAX = 50_000;
const OBJECT_ROWS_PER_PROCESS_MAX = 10_000;
const CLUSTER_TABLE = "cluster";
const CLUSTER_KEY = "identity";

export interface HeadOptions {
  /** "host:port" (port 0 = any) or "unix:/path". */
  readonly bind: string;
  readonly token: string;
  /** The head closes it when it closes. */
  readonly store: StateStore;
  readonly healthCheck: HealthCheck;
  readonly version: string;
  /** Directory for packages of users' files, the head's own. */
  readonly packagesDir: string;
  log(line: string): void;
}

export interface Head {
  /** gRPC target that clients use. */
  readonly address: string;
  /**
   * Ends all sessions, waits for writes under way and closes the store. Safe to repeat.
   * @param over why no other head will follow: the nodes end. undefined: they wait for the next
   */
  close(over?: string): Promise<void>;
}

/** @throws ClusterUnreachableError when the address cannot be bound */
export async function startHead(options: HeadOptions): Promise<Head> {
  const { log } = options;
  const store = exitPoint === undefined ? options.store : storeWithExits(options.store, exitPoint);
  const info = await enterCluster(store, options.version);
  const keeper = new RecordKeeper(log);
  const clients = new RayletClients(options.token, info.epoch);
  const rooms = new NodeRooms();
  /** A node that is being drained has no room. */
  const reportRoom = (node: NodeInfo) => {
    if (node.state === "DRAINING") rooms.remove(node.nodeId);
    else rooms.report(node, actors.countOn(node.nodeId));
  };
  const jobs: JobTable = new JobTable({
    store,
    keeper,
    log,
    isNodeAlive: (nodeId) => nodes.isAlive(nodeId),
    events: {
      started: (job) => nodes.broadcast({ jobs: [job] }),
      ended: ({ jobId, driverProcessId }) => {
        nodes.broadcast({ endedJobIds: [jobId], endedProcessIds: [driverProcessId] });
        actors.jobEnded(jobId);
        packages.jobEnded(jobId);
        groups.jobEnded(jobId);
      },
    },
  });
  const packages = new Packages({
    directory: options.packagesDir,
    isRunning: (jobId) => jobs.isRunning(jobId),
    log,
  });
  const jobFiles = new JobFilesTable((jobId) => jobs.askForFiles(jobId));
  const nodes: NodeTable = new NodeTable({
    healthCheck: options.healthCheck,
    cluster: info,
    records: new NodeRecords(store, keeper),
    clients,
    log,
    runningJobs: () => jobs.running(),
    firstAttempt: () => groups.firstAttempt,
    events: {
      registered: ({ node, actors: hosted, jobIds, bundles, drainUnheard }) => {
        if (drainUnheard !== undefined) void drains.tell(drainUnheard);
        jobs.nodeRegistered(node.nodeId, jobIds);
        reportRoom(node);
        actors.nodeRegistered(node, hosted);
        groups.nodeRegistered(node.nodeId, bundles);
      },
      viewChanged: (node) => {
        reportRoom(node);
        groups.nodeChanged();
        actors.nodeChanged();
      },
      logs: (batches) => jobs.routeLogs(batches),
      processesEnded: (processIds) => {
        for (const processId of processIds) actors.processEnded(processId);
        nodes.broadcast({ endedProcessIds: [...processIds] });
      },
      died: (node) => {
        jobs.announceDead(node);
        rooms.remove(node.nodeId);
        groups.nodeDied(node.nodeId);
        actors.nodeDied(node.nodeId, node.deathReason);
      },
    },
  });
  const drains = new DrainOrders({ nodes, clients, log });
  const life = {
    isAlive: (nodeId: string) => nodes.isAlive(nodeId),
    isDead: (nodeId: string) => nodes.isDead(nodeId),
  };
  const actors: ActorDirectory = new ActorDirectory({
    store,
    keeper,
    outbox: new ActorOutbox(clients),
    log,
    jobs,
    rooms,
    nodes: life,
    whyNotInGroup: (groupId) => groups.whyNotIn(groupId),
    onDied: (actorId) => groups.actorDied(actorId),
  });
  const groups: PlacementGroups = new PlacementGroups({
    store,
    keeper,
    clients,
    log,
    jobs,
    rooms,
    nodes: life,
    isDetachedActor: (actorId) => actors.isDetachedAndLive(actorId),
    onRemoved: (groupId, reason) => actors.groupRemoved(groupId, reason),
    onCreated: () => actors.nodeChanged(),
  });

  const server = createServer(options.token);
  let closing: Promise<void> | undefined;
  const close = async (over: string | undefined) => {
    actors.close();
    groups.close();
    drains.close();
    nodes.close(over);
    jobs.close();
    await keeper.close();
    server.forceShutdown();
    clients.close();
    await store.close();
  };
  const stop = (over?: string) => {
    closing ??= close(over);
    return closing;
  };

  try {
    await nodes.load();
    await jobs.load();
    await groups.load(info.epoch, nodes.silenceMsMax);
    await actors.load(info.epoch, nodes.silenceMsMax);
    groups.endOrphans();
    jobs.endOrphans();
    const service = { ...HeadServiceService };
    service.nodeSession = { ...service.nodeSession, responseSerialize: encodeUpdateOnce };
    const parts = { nodes, jobs, actors, groups, clients, packages, jobFiles, drains, info };
    const methods = handlers({ ...parts, keyValue: new KeyValue(store) });
    const served = exitPoint === undefined ? methods : handlersWithExits(methods, exitPoint);
    server.addService(service, { ...served, calls: serveCalls(HeadServiceService, served) });
    const address = await bindServer(server, options.bind);
    log(`head of cluster ${info.clusterId} listens on ${address} (epoch ${info.epoch})`);
    return { address, close: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Parts {
  readonly nodes: NodeTable;
  readonly jobs: JobTable;
  readonly actors: ActorDirectory;
  readonly groups: PlacementGroups;
  readonly clients: RayletClients;
  readonly keyValue: KeyValue;
  readonly packages: Packages;
  readonly jobFiles: JobFilesTable;
  readonly drains: DrainOrders;
  readonly info: ClusterInfoReply;
}

function handlers(parts: Parts): WithoutCalls<HeadServiceServer, typeof HeadServiceService> {
  const { nodes, jobs, actors, groups, clients, keyValue, packages, jobFiles, drains, info } = parts;
  const actorCalls = new ActorCalls(actors);
  return {
    nodeSession: (call) => nodes.serve(call),
    jobSession: (call) => jobs.serve(call),
    createActors: handleUnary(({ specs }) => actorCalls.create(specs)),
    watchActors: handleUnary((request) => actorCalls.watch(request)),
    findActor: handleUnary(({ namespace, name }) => actors.find(namespace, name)),
    killActors: handleUnary(({ kills }) => actorCalls.kill(kills).then(() => ({}))),
    reportActors: handleUnary(({ reports }) => actorCalls.report(reports).then(() => ({}))),
    createPlacementGroups: handleUnary(({ specs }) => groups.create(specs)),
    watchPlacementGroups: handleUnary((request) => groups.watch(request)),
    findPlacementGroup: handleUnary(({ namespace, name }) => groups.find(namespace, name)),
    removePlacementGroups: handleUnary((request) => groups.remove(request).then(() => ({}))),
    listPlacementGroups: handleUnary(() => groups.list()),
    listNodes: handleUnary(() => nodes.list()),
    drainNode: handleUnary((request) => drains.drain(request)),
    listActors: handleUnary(() => actors.list()),
    listJobs: handleUnary(() => jobs.list()),
    listTasks: handleUnary(() => listTasks(nodes, clients)),
    listObjects: handleUnary((request) => listObjects(nodes, clients, request)),
    listWorkers: handleUnary(() => listWorkers(nodes, clients)),
    kvGet: handleUnary((request) => keyValue.get(request)),
    kvPut: handleUnary((request) => keyValue.put(request)),
    kvDelete: handleUnary((request) => keyValue.delete(request).then(() => ({}))),
    kvKeys: handleUnary((request) => keyValue.keys(request)),
    findPackage: handleUnary((request) => packages.find(request)),
    putPackage: handleUnary((piece) => packages.put(piece)),
    getPackage: handleUnary((request) => packages.get(request)),
    watchJobFiles: handleUnary((request) => jobFiles.watch(request)),
    offerJobFiles: handleUnary((files) => {
      jobFiles.offer(files);
      return {};
    }),
    clusterInfo: handleUnary(() => info),
  };
}

/** The cluster's id, made at its first start, and the count of its starts. */
async function enterCluster(store: StateStore, version: string): Promise<ClusterInfoReply> {
  for (;;) {
    const entry = await store.get(CLUSTER_TABLE, CLUSTER_KEY);
    const before =
      entry && (JSON.parse(Buffer.from(entry.value).toString("utf8")) as { id: string; epoch: number });
    const identity = { id: before?.id ?? randomUUID(), epoch: (before?.epoch ?? 0) + 1 };
    const value = Buffer.from(JSON.stringify(identity), "utf8");
    const { stored } = await store.put(CLUSTER_TABLE, CLUSTER_KEY, value, entry?.revision ?? 0);
    if (stored) return { clusterId: identity.id, epoch: identity.epoch, version, startedAtMs: Date.now() };
  }
}

async function listTasks(nodes: NodeTable, clients: RayletClients): Promise<TaskList> {
  const ask = (client: RayletServiceClient) => unary(client, client.listTasks, {}, LIST_TIMEOUT_MS);
  const { answers, unreachable } = await askAll(nodes, clients, ask);
  return { tasks: answers.flatMap((answer) => answer.tasks).slice(0, ROWS_LISTED_MAX), unreachable };
}

async function listObjects(
  nodes: NodeTable,
  clients: RayletClients,
  request: ListObjectsRequest,
): Promise<ObjectList> {
  const rowsMax = Math.min(Math.max(1, request.rowsMax), OBJECT_ROWS_PER_PROCESS_MAX);
  const ask = (client: RayletServiceClient) =>
    unary(client, client.listObjects, { rowsMax }, LIST_TIMEOUT_MS);
  const { answers, unreachable } = await askAll(nodes, clients, ask);
  const processes = answers.flatMap((answer) => answer.processes);
  let left = ROWS_LISTED_MAX;
  for (const process of processes) {
    process.rows = process.rows.slice(0, left);
    left -= process.rows.length;
  }
  return { processes, stores: answers.flatMap((answer) => answer.stores), unreachable };
}

async function listWorkers(nodes: NodeTable, clients: RayletClients): Promise<WorkerList> {
  const ask = (client: RayletServiceClient) => unary(client, client.listWorkers, {}, LIST_TIMEOUT_MS);
  const { answers, unreachable } = await askAll(nodes, clients, ask);
  return { workers: answers.flatMap((answer) => answer.workers).slice(0, ROWS_LISTED_MAX), unreachable };
}

/** Asks every live raylet at once; those that do not answer are named. */
async function askAll<R>(
  nodes: NodeTable,
  clients: RayletClients,
  ask: (client: RayletServiceClient) => Promise<R>,
) {
  const unreachable: string[] = [];
  const answers = await Promise.all(
    nodes.alive().map(async ({ nodeId }) => {
      try {
        return [await clients.callNow(nodeId, ask)];
      } catch {
        unreachable.push(nodeId);
        return [];
      }
    }),
  );
  return { answers: answers.flat(), unreachable: unreachable.sort() };
}
