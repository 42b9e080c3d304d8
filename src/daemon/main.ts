/**
 * Program of a node's daemon: a raylet, and on the head node what keeps the head running.
 *
 * Order matters for start-up: the local socket and the workers come first, gRPC and the head are loaded while the
 * workers start. A node that was fenced is over; this process then begins a new one, with another id, and asks to be
 * let in again.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { newNodeId } from "../core/base/ids.ts";
import { UNITS } from "../core/base/resources.ts";
import type { DaemonConfig } from "../core/launch/daemon-config.ts";
import { environmentsDirOf, removeSession, spillDirOf } from "../core/launch/session.ts";
import { tsrayVersion } from "../core/launch/version.ts";
import { HeadEpoch } from "../raylet/head-epoch.ts";
import { Raylet } from "../raylet/raylet.ts";
import { HeadKeeper } from "./head-keeper.ts";
import { type Program, runProgram, tell } from "./program.ts";
import { gpuIds, nodeLabels, nodeResources, storeBytes, warmBytes } from "./resources.ts";

/** What runs when the node is told to end (SIGTERM) has so long to finish. */
const STOP_GRACE_MS = 5000;
/** A fenced node that has not been let in again for so long ends. */
const RETURN_MS_MAX = 600_000;

let raylet: Raylet | undefined;

runProgram<DaemonConfig>({
  title: "tsray:daemon",
  logFile: ({ nodeId }) => `daemon-${nodeId}.log`,
  sessionDir: ({ sessionDir }) => sessionDir,
  hasLifeline: ({ embedded, lifeline }) => embedded || lifeline,
  start,
  onTerminate: ({ end }) => {
    if (raylet === undefined) void end("SIGTERM");
    else raylet.drain({ graceMs: STOP_GRACE_MS, reason: "it was stopped (SIGTERM)", handsOn: false });
  },
  onEnded: ({ sessionDir }) => removeSession(sessionDir),
});

async function start(config: DaemonConfig, program: Program): Promise<void> {
  const epoch = new HeadEpoch();
  const head = await openHead(config, program);
  await runNode(config, program, epoch, head);
}

/** Where the head is; where it goes with this node, it is started meanwhile. */
interface HeadPlace {
  address(): Promise<string>;
  readonly isWithin: boolean;
}

async function openHead(config: DaemonConfig, { closers, log, end }: Program): Promise<HeadPlace> {
  const { head, headAddress = "", token, sessionDir, host, nodeId } = config;
  const packagesDir = join(environmentsDirOf(spillDirOf(sessionDir, nodeId, config.spillDir)), "packages");
  if (head === undefined) return { address: () => Promise.resolve(headAddress), isWithin: false };
  if (!config.embedded) {
    const keeper = new HeadKeeper(log, (reason) => void end(reason));
    closers.push(() => keeper.close());
    const bind = `${host}:${head.port}`;
    const started = keeper.start({
      bind,
      token,
      sessionDir,
      state: head.state,
      healthCheck: head.healthCheck,
      packagesDir,
    });
    started.catch(() => {});
    return { address: () => started, isWithin: false };
  }
  let started: Promise<string> | undefined;
  const begin = async () => {
    const { openStateStore, startHead } = await import("../head/head.ts");
    const { address, close } = await startHead({
      bind: `unix:${join(sessionDir, "head.sock")}`,
      token,
      store: await openStateStore(head.state),
      healthCheck: head.healthCheck,
      version: tsrayVersion(),
      packagesDir,
      log,
    });
    // Closed last: the raylet reports to it until its end.
    closers.unshift(() => close());
    return address;
  };
  return { address: () => (started ??= begin()), isWithin: true };
}

/** Opens the node, each part with what closes it, and joins the cluster. */
async function runNode(
  config: DaemonConfig,
  program: Program,
  epoch: HeadEpoch,
  head: HeadPlace,
): Promise<void> {
  const { nodeId, sessionDir, token, host } = config;
  const { log, closers, end } = program;
  const gpus = gpuIds(config.numGpus);
  const store = storeBytes(config);
  const spillDir = spillDirOf(sessionDir, nodeId, config.spillDir);
  const storePath = join("/dev/shm", `tsray-${randomBytes(16).toString("hex")}`);
  const own: Program["closers"] = [];
  const open = (close: () => Promise<void> | void) => {
    own.push(close);
    closers.push(close);
  };
  const onOver = async (reason: string, isFenced: boolean) => {
    if (!isFenced || config.embedded) return end(reason);
    log(`node ${nodeId} is over: ${reason}`);
    for (const close of own.reverse()) {
      await close();
      closers.splice(closers.indexOf(close), 1);
    }
    const late = setTimeout(() => void end("the cluster has not let it in again"), RETURN_MS_MAX);
    await runNode({ ...config, nodeId: newNodeId() }, program, epoch, head);
    clearTimeout(late);
  };
  const opened = await Raylet.open({
    nodeId,
    token,
    sessionDir,
    host,
    isHead: config.isHead,
    isHeadWithin: head.isWithin,
    epoch,
    total: nodeResources(config, gpus.length, store),
    gpuIds: gpus,
    labels: nodeLabels(config, gpus.length),
    storePath,
    storeBytes: store,
    spillDir,
    environmentsDir: environmentsDirOf(spillDir),
    warmBytes: warmBytes(store),
    embeddedJob: config.embeddedJob,
    log,
    onOver: (reason, isFenced) =>
      void onOver(reason, isFenced).catch((error: Error) => end(`it could not begin again: ${error.stack}`)),
  });
  raylet = opened;
  open(() => opened.close());
  opened.writeRecord(config.headAddress ?? "", config);
  tell({ kind: "listening", unixPath: join(sessionDir, "raylet.sock") });

  const [{ serveRaylet }, { headLink }, headAddress] = await Promise.all([
    import("../raylet/raylet-service.ts"),
    import("../raylet/head-session.ts"),
    head.address(),
  ]);
  const service = await serveRaylet({
    raylet: opened,
    nodeId,
    token,
    bind: host === undefined ? `unix:${join(sessionDir, "raylet-grpc.sock")}` : `${host}:0`,
    onShutdown: (reason) => void end(reason),
  });
  open(() => service.close());
  await opened.join(headLink({ headAddress, token, epoch, isWithin: head.isWithin, log }), service.address);
  opened.writeRecord(headAddress, config);
  log(`node ${nodeId} joined ${headAddress} with ${(config.numCpus ?? 0) * UNITS} CPU units`);
  tell({ kind: "joined", headAddress, rayletAddress: service.address, pid: process.pid });
}
