/**
 * Program of a node's daemon: a raylet, and on the head node the head beside it.
 *
 * Order matters for start-up: the local socket and the workers come first, gRPC and the head are loaded while the
 * workers start.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { TsrayError, toErrorRecord } from "../core/base/errors.ts";
import { UNITS } from "../core/base/resources.ts";
import type { DaemonConfig, DaemonNews } from "../core/launch/daemon-config.ts";
import { environmentsDirOf, removeSession, spillDirOf } from "../core/launch/session.ts";
import { tsrayVersion } from "../core/launch/version.ts";
import { Raylet } from "../raylet/raylet.ts";
import { LogFile } from "../raylet/workers/log-file.ts";
import { gpuIds, nodeResources, storeBytes, warmBytes } from "./resources.ts";

const CONFIG_CHARS_MAX = 4 * 1024 * 1024;

process.title = "tsray:daemon";
process.umask(0o077);
// The user's terminal is not ours: Ctrl-C ends the driver, and its end ends an embedded daemon.
process.on("SIGINT", () => {});
process.on("SIGHUP", () => {});

function tell(news: DaemonNews): void {
  process.stdout.write(`${JSON.stringify(news)}\n`);
}
process.stdout.on("error", () => {});

readConfig((config, onInputEnd) => {
  void run(config, onInputEnd);
});

function readConfig(start: (config: DaemonConfig, onInputEnd: (then: () => void) => void) => void): void {
  let text = "";
  let ended = false;
  let onEnd: (() => void) | undefined;
  process.stdin.setEncoding("utf8");
  const onData = (chunk: string) => {
    text += chunk;
    const at = text.indexOf("\n");
    if (at < 0 && text.length < CONFIG_CHARS_MAX) return;
    process.stdin.off("data", onData);
    // Kept flowing, so that its end is seen.
    process.stdin.resume();
    start(JSON.parse(text.slice(0, at)) as DaemonConfig, (then) => {
      onEnd = then;
      if (ended) then();
    });
  };
  process.stdin.on("data", onData);
  const end = () => {
    ended = true;
    onEnd?.();
  };
  process.stdin.on("end", end);
  process.stdin.on("error", end);
}

async function run(config: DaemonConfig, onInputEnd: (then: () => void) => void): Promise<void> {
  const { nodeId, sessionDir } = config;
  const file = new LogFile(join(sessionDir, "logs", `daemon-${nodeId}.log`));
  const log = (text: string) => file.write({ text: `${new Date().toISOString()} ${text}` });
  process.on("uncaughtException", (error) => {
    log(`uncaught: ${error.stack ?? error.message}`);
    void end("an internal error; see the daemon's log", 1);
  });

  let ending = false;
  const closers: (() => Promise<void> | void)[] = [];
  const end = async (reason: string, exitCode = 0) => {
    if (ending) return;
    ending = true;
    log(`ends: ${reason}`);
    for (const close of closers.reverse()) {
      try {
        await close();
      } catch (error) {
        log(`while ending: ${(error as Error).stack}`);
      }
    }
    file.close();
    removeSession(sessionDir);
    process.exit(exitCode);
  };
  process.on("SIGTERM", () => void end("SIGTERM"));
  if (config.embedded || config.lifeline) onInputEnd(() => void end("the process it belongs to is gone"));
  try {
    await start(config, closers, log, end);
  } catch (error) {
    if (ending) return;
    const ours =
      error instanceof TsrayError
        ? error
        : new TsrayError("ClusterUnreachableError", String((error as Error).stack));
    tell({ kind: "failed", error: toErrorRecord(ours) });
    // The line must be out before the process ends.
    process.stdout.write("", () => void end(`it could not start: ${ours.message}`, 1));
  }
}

/** Opens the parts of the node, each with what closes it, and joins the cluster. */
async function start(
  config: DaemonConfig,
  closers: (() => Promise<void> | void)[],
  log: (text: string) => void,
  end: (reason: string) => Promise<void>,
): Promise<void> {
  const { nodeId, sessionDir, token, host, head } = config;
  const gpus = gpuIds(config.numGpus);
  const store = storeBytes(config);
  const spillDir = spillDirOf(sessionDir, nodeId, config.spillDir);
  const storePath = join("/dev/shm", `tsray-${randomBytes(16).toString("hex")}`);
  const raylet = await Raylet.open({
    nodeId,
    token,
    sessionDir,
    host,
    isHead: head !== undefined,
    total: nodeResources(config, gpus.length, store),
    gpuIds: gpus,
    labels: config.labels,
    storePath,
    storeBytes: store,
    spillDir,
    environmentsDir: environmentsDirOf(spillDir),
    warmBytes: warmBytes(store),
    embeddedJob: config.embeddedJob,
    log,
    onOver: (reason) => void end(reason),
  });
  closers.push(() => raylet.close());
  raylet.writeRecord(head === undefined ? (config.headAddress ?? "") : "", config);
  tell({ kind: "listening", unixPath: join(sessionDir, "raylet.sock") });

  const [{ serveRaylet }, { headLink }, headModule] = await Promise.all([
    import("../raylet/raylet-service.ts"),
    import("../raylet/head-session.ts"),
    head === undefined ? undefined : import("../head/head.ts"),
  ]);
  let headAddress = config.headAddress ?? "";
  if (head !== undefined && headModule !== undefined) {
    const state = await headModule.openStateStore(head.state);
    const started = await headModule.startHead({
      bind:
        head.port === undefined || host === undefined
          ? `unix:${join(sessionDir, "head.sock")}`
          : `${host}:${head.port}`,
      token,
      store: state,
      healthCheck: head.healthCheck,
      version: tsrayVersion(),
      packagesDir: join(environmentsDirOf(spillDir), "packages"),
      log,
    });
    headAddress = started.address;
    // Closed last: the raylet reports to it until its end.
    closers.unshift(() => started.close());
  }
  const service = await serveRaylet({
    raylet,
    nodeId,
    token,
    bind: host === undefined ? `unix:${join(sessionDir, "raylet-grpc.sock")}` : `${host}:0`,
    onShutdown: (reason) => void end(reason),
  });
  closers.push(() => service.close());
  await raylet.join(headLink(headAddress, token, log), service.address);
  raylet.writeRecord(headAddress, config);
  log(`node ${nodeId} joined ${headAddress} with ${(config.numCpus ?? 0) * UNITS} CPU units`);
  tell({ kind: "joined", headAddress, rayletAddress: service.address, pid: process.pid });
}
