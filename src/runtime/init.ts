/** `init` and `shutdown`: this process becomes a driver, of an embedded cluster or of one that runs. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Endpoint } from "../core/base/endpoint.ts";
import { AlreadyInitializedError, ClusterUnreachableError } from "../core/base/errors.ts";
import { captureCallSite, isTransformedByRunner, registry } from "../core/base/function-registry.ts";
import { newJobId, newNodeId, randomId } from "../core/base/ids.ts";
import { type InitOptions, type ResolvedInitOptions, resolveInitOptions } from "../core/base/options.ts";
import { makeToken } from "../core/base/token.ts";
import { plainText } from "../core/environments/prepare.ts";
import { HEALTH_CHECK_DEFAULT } from "../core/launch/daemon-config.ts";
import { createSession, removeSession, sweepDeadSessions } from "../core/launch/session.ts";
import { startDaemon } from "../core/launch/start-daemon.ts";
import type { Message } from "../core/rpc/frames.ts";
import { type JobConfigRecord, type JobNotice, Local } from "../core/rpc/messages.ts";
import { loadNative } from "../core/store/native.ts";
import { DriverOutput, warn } from "./driver-output.ts";
import { findRaylet, givenToken } from "./find-raylet.ts";
import { keepAlive } from "./keep-alive.ts";
import { Runtime } from "./runtime.ts";
import { getState, nobody, setAutoInit, setState } from "./state.ts";

const REGISTER_TIMEOUT_MS = 30_000;
const GOODBYE_MS_MAX = 2000;
const DAEMON_END_MS_MAX = 10_000;

/** A cluster that this process is a driver of. Disposing it is `shutdown()`. */
export interface Cluster extends AsyncDisposable {
  /** Where other drivers and raylets find the head; a Unix socket for an embedded cluster. */
  readonly address: string;
  /** Directory of the session: logs are below it. */
  readonly sessionDir: string;
  readonly jobId: string;
  readonly nodeId: string;
  readonly namespace: string;
}

let cluster: Cluster | undefined;

/**
 * Joins or starts a cluster. With no address, TSRAY_ADDRESS is used if set; else an embedded cluster is started on this
 * machine, which goes with this process.
 *
 * In a worker that evaluates the driver's entry module, the promise never settles: what stands below runs in the driver
 * only.
 *
 * @throws InvalidOptionError, AlreadyInitializedError, ClusterUnreachableError, AuthenticationError (rejections)
 */
export async function init(options?: InitOptions): Promise<Cluster> {
  const state = getState();
  if (state.kind === "loading") {
    state.park();
    return new Promise<never>(() => {});
  }
  if (state.kind === "worker")
    throw new AlreadyInitializedError("init() was called inside a task or actor, which is connected already");
  const resolved = resolveInitOptions(options);
  if (state.kind === "driver") {
    if (!resolved.ignoreReinit) throw new AlreadyInitializedError("init() was called twice");
    await state.ready;
    return cluster as Cluster;
  }
  const { signal } = resolved;
  signal?.throwIfAborted();
  const { caller, position } = captureCallSite(init);
  registry.initCall = caller === "" ? position : undefined;
  start(resolved);
  const started = getState();
  if (started.kind === "driver") await withLimits(started.ready, resolved);
  return cluster as Cluster;
}

/** Leaves the cluster; an embedded one ends. Safe to repeat. */
export async function shutdown(): Promise<void> {
  const state = getState();
  if (state.kind !== "driver") return;
  await state.ready.catch(() => {});
  await state.stop();
}

/** Whether this process is connected to a cluster. */
export function isInitialized(): boolean {
  const state = getState();
  return state.kind === "worker" || (state.kind === "driver" && state.runtime.isConnected);
}

setAutoInit(() => {
  start(resolveInitOptions(undefined));
  const state = getState();
  if (state.kind === "driver") state.ready.catch(() => {});
});

/** A script that has nothing left to do. */
const endWithScript = () => void shutdown();

/** Makes this process a driver at once; it connects in the background. */
function start(options: ResolvedInitOptions): void {
  const runtime = new Runtime(nobody(), keepAlive, warn);
  let stop: (() => Promise<void>) | undefined;
  let stopping: Promise<void> | undefined;
  const stopOnce = (): Promise<void> => {
    stopping ??= (async () => {
      keepAlive(1);
      try {
        await stop?.();
      } finally {
        keepAlive(-1);
      }
      runtime.close();
      process.off("beforeExit", endWithScript);
      setState({ kind: "none" });
      cluster = undefined;
      registry.lateModule = undefined;
    })();
    return stopping;
  };
  keepAlive(1);
  const ready = connect(runtime, options, (closer) => {
    stop = closer;
  })
    .catch(async (error: unknown) => {
      runtime.fail(error instanceof Error ? error : new Error(String(error)));
      await stopOnce();
      throw error;
    })
    .finally(() => keepAlive(-1));
  setState({ kind: "driver", runtime, ready, stop: stopOnce });
}

async function connect(
  runtime: Runtime,
  options: ResolvedInitOptions,
  onStop: (stop: () => Promise<void>) => void,
): Promise<void> {
  const output = new DriverOutput();
  let farewell = () => {};
  const onNotice = (message: Message) => {
    if (message[0] === Local.farewell) farewell();
    else if (message[0] === Local.filesWanted) runtime.offerFiles();
    else output.show(message[1] as JobNotice);
  };
  const sayGoodbye = async () => {
    if (!runtime.isConnected) return;
    const { channel } = runtime.connected.link;
    const late = new Promise((resolve) => setTimeout(resolve, GOODBYE_MS_MAX).unref());
    await Promise.race([runtime.killsDone(), late]);
    await new Promise<void>((resolve) => {
      farewell = resolve;
      channel.onClose(() => resolve());
      channel.send([Local.goodbye]);
      setTimeout(resolve, GOODBYE_MS_MAX).unref();
    });
    output.flush();
  };
  const job = describeJob(runtime.self.processId, options);
  const to =
    options.address === undefined
      ? await startEmbedded(runtime, options, job)
      : await attach(runtime, options);
  onStop(async () => {
    await sayGoodbye();
    runtime.close();
    await to.end();
  });
  const welcome = await runtime.connect(
    {
      self: to.self,
      token: to.token,
      raylet: to.raylet,
      register: [Local.registerDriver, job],
      timeoutMs: REGISTER_TIMEOUT_MS,
      host: to.host,
      environment: options.runtimeEnv ?? "",
    },
    undefined,
    onNotice,
  );
  const { channel } = runtime.connected.link;
  if (welcome.storeKind === "files")
    warnOnce(
      `the native addon is not in use (${loadNative().reason ?? "not on this node"}): objects go through files, which is slower`,
    );
  channel.unref();
  channel.onClose(() => {
    if (getState().kind === "driver" && runtime.isConnected)
      warn("the connection to this node's raylet is gone; its tasks are lost");
    output.flush();
  });
  if (options.address === undefined) void runtime.connected.head.warm();
  registry.lateModule = job.entryUrl === "" ? undefined : job.entryUrl;
  // What is wrong with the job's environment is said here, not at its first call.
  if (options.runtimeEnv !== undefined) await runtime.connected.environments.prepare(undefined);
  process.once("beforeExit", endWithScript);
  cluster = {
    address: welcome.headAddress,
    sessionDir: welcome.sessionDir,
    jobId: job.jobId,
    nodeId: welcome.nodeId,
    namespace: job.namespace,
    [Symbol.asyncDispose]: shutdown,
  };
}

interface Target {
  readonly self: Endpoint;
  readonly token: string;
  readonly raylet: Endpoint;
  readonly host: string | undefined;
  readonly end: () => Promise<void>;
}

async function startEmbedded(
  runtime: Runtime,
  options: ResolvedInitOptions,
  job: JobConfigRecord,
): Promise<Target> {
  const given = givenToken(options.token);
  sweepDeadSessions();
  const sessionDir = createSession();
  const nodeId = newNodeId();
  const token = given ?? makeToken();
  const daemon = startDaemon({
    nodeId,
    sessionDir,
    token,
    tokenGiven: given !== undefined,
    head: { port: undefined, state: "memory", healthCheck: HEALTH_CHECK_DEFAULT },
    headAddress: undefined,
    isHead: true,
    host: undefined,
    numCpus: options.numCpus,
    numGpus: options.numGpus,
    resources: options.resources,
    labels: options.labels,
    objectStoreMemory: options.objectStoreMemory,
    spillDir: options.spillDir,
    embedded: true,
    lifeline: true,
    standing: false,
    embeddedJob: job,
  });
  daemon.unref();
  // Loaded while the daemon starts: the first lease needs it.
  const warm = Promise.all([import("../core/rpc/grpc.ts"), import("../core/wire/gen/tsray/v1/raylet.ts")]);
  warm.catch(() => {});
  try {
    const unixPath = await daemon.listening;
    return {
      self: { ...runtime.self, nodeId, unixPath: join(sessionDir, `d-${runtime.self.processId}.sock`) },
      token,
      raylet: { processId: nodeId, nodeId, unixPath, host: "", port: 0, pid: daemon.pid },
      host: undefined,
      end: async () => {
        daemon.release();
        const timer = setTimeout(() => killQuietly(daemon.pid), DAEMON_END_MS_MAX);
        await daemon.ended;
        clearTimeout(timer);
        removeSession(sessionDir);
      },
    };
  } catch (error) {
    removeSession(sessionDir);
    throw error;
  }
}

async function attach(runtime: Runtime, options: ResolvedInitOptions): Promise<Target> {
  const { raylet, token, host, sessionDir } = await findRaylet(
    options.address as string,
    givenToken(options.token),
    options.timeout,
  );
  return {
    self: {
      ...runtime.self,
      nodeId: raylet.nodeId,
      unixPath: join(sessionDir, `d-${runtime.self.processId}.sock`),
    },
    token,
    raylet,
    host,
    end: async () => {},
  };
}

let warned = false;
function warnOnce(line: string): void {
  if (!warned) warn(line);
  warned = true;
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

/** Flags that must not reach workers: debuggers listen on one port, and eval'd code has no module to import. */
const DROPPED_FLAGS = /^--(inspect|debug|watch|test|eval|print|input-type|cpu-prof|heap-prof)|^-[ep]$/;

function flagsForWorkers(flags: readonly string[]): string[] {
  let isDropped = false;
  return flags.filter((flag, i) => {
    // What is no flag is the value of the one before it, and eval'd code is whatever it looks like.
    const isValue = !flag.startsWith("-") || /^(-[ep]|--eval|--print)$/.test(flags[i - 1] ?? "");
    if (!isValue) isDropped = DROPPED_FLAGS.test(flag);
    return !isDropped;
  });
}

function describeJob(driverProcessId: string, options: ResolvedInitOptions): JobConfigRecord {
  const entry = process.argv[1];
  const environment = options.runtimeEnv === undefined ? "" : plainText(options.runtimeEnv);
  const runner = isTransformedByRunner();
  const execArgv = runner ? [] : flagsForWorkers(process.execArgv);
  return {
    jobId: newJobId(),
    namespace: options.namespace ?? `anonymous-${randomId(8)}`,
    entryUrl: entry === undefined || runner || isInline() ? "" : pathToFileURL(resolveEntry(entry)).href,
    execArgv,
    argv: process.argv,
    cwd: process.cwd(),
    logToDriver: options.logToDriver,
    entryImportable: !runner,
    driverProcessId,
    driverPid: process.pid,
    environment: environment ?? "",
    deferred: environment === undefined,
  };
}

function isInline(): boolean {
  return (
    process.execArgv.some((flag) => /^(-[ep]|--eval|--print|--input-type)/.test(flag)) ||
    process.argv[1] === "-"
  );
}

/** The entry as Node found it: extensions may be left out on the command line. */
function resolveEntry(entry: string): string {
  try {
    return process.getBuiltinModule("node:module").createRequire(`${process.cwd()}/`).resolve(entry);
  } catch {
    return entry;
  }
}

async function withLimits(ready: Promise<void>, { timeout, signal }: ResolvedInitOptions): Promise<void> {
  if (timeout === undefined && signal === undefined) return ready;
  let timer: NodeJS.Timeout | undefined;
  let onAbort: (() => void) | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      ready.then(resolve, reject);
      if (timeout !== undefined) {
        timer = setTimeout(
          () => reject(new ClusterUnreachableError(`init() did not connect within ${timeout} ms`)),
          timeout,
        );
      }
      onAbort = () => reject(signal?.reason);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  } catch (error) {
    void shutdown();
    throw error;
  } finally {
    clearTimeout(timer);
    if (onAbort !== undefined) signal?.removeEventListener("abort", onAbort);
  }
}
