/** `tsray start`: a daemon that runs on after this command, or for as long as it with --block. */
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { ClusterUnreachableError } from "../core/base/errors.ts";
import { newNodeId } from "../core/base/ids.ts";
import { makeToken } from "../core/base/token.ts";
import { type DaemonConfig, HEALTH_CHECK_DEFAULT } from "../core/launch/daemon-config.ts";
import { endDaemon } from "../core/launch/end-daemon.ts";
import {
  createSession,
  processStart,
  removeSession,
  sweepDeadSessions,
  tokenPath,
} from "../core/launch/session.ts";
import { type StartedDaemon, startDaemon } from "../core/launch/start-daemon.ts";
import { findHead } from "../runtime/find-raylet.ts";
import {
  isLoopback,
  type NodeFlags,
  readAddress,
  readGivenToken,
  readHost,
  readNodeFlags,
  readPort,
} from "./flags.ts";
import { askHead } from "./head.ts";
import { bold } from "./output.ts";
import { UsageError } from "./usage-error.ts";

export interface StartFlags extends NodeFlags {
  readonly head?: boolean;
  readonly address?: string;
  readonly port?: string;
  readonly host?: string;
  readonly state?: string;
  readonly tokenFile?: string;
  readonly block?: boolean;
}

const PORT_DEFAULT = "6380";
const HOST_DEFAULT = "127.0.0.1";
const CONNECT_TIMEOUT_MS = 5000;
const JOIN_TIMEOUT_MS = 30_000;
const END_GRACE_MS = 10_000;

/** What differs between a head and a node that joins one. */
type Membership = Pick<DaemonConfig, "token" | "tokenGiven" | "host" | "head" | "headAddress">;

export async function start(flags: StartFlags): Promise<void> {
  if ((flags.head === true) === (flags.address !== undefined)) {
    throw new UsageError(
      "start takes either --head (a new cluster) or --address HOST:PORT (a node for one that runs)",
    );
  }
  const node = readNodeFlags(flags);
  const membership =
    flags.address === undefined ? newCluster(flags) : await joinCluster(flags, flags.address);
  const block = flags.block === true;
  sweepDeadSessions();
  const sessionDir = createSession();
  // So that others of this user find it. One that was given is for its giver to hand on.
  if (!membership.tokenGiven) writeFileSync(tokenPath(sessionDir), `${membership.token}\n`, { mode: 0o600 });
  const daemon = startDaemon({
    ...membership,
    ...node,
    nodeId: newNodeId(),
    sessionDir,
    isHead: flags.head === true,
    embedded: false,
    lifeline: block,
    standing: true,
    embeddedJob: undefined,
  });
  const interrupted = endOnSignal(daemon);
  try {
    const { headAddress, pid } = await untilJoined(daemon, interrupted);
    sayStarted(headAddress, pid, flags.head === true, block);
  } catch (error) {
    await end(daemon, END_GRACE_MS);
    sweepDeadSessions();
    removeSession(sessionDir);
    throw explain(error, membership);
  }
  if (block) {
    await Promise.race([daemon.ended, interrupted.promise.catch(() => {})]);
    if (interrupted.signal === undefined)
      throw new ClusterUnreachableError("the node has ended; its reason is above, if it gave one");
    await end(daemon, END_GRACE_MS);
    removeSession(sessionDir);
  } else daemon.unref();
  interrupted.dispose();
}

function newCluster({ host, port, state, tokenFile }: StartFlags): Membership {
  const on = readHost(host ?? HOST_DEFAULT);
  const at = readPort(port ?? PORT_DEFAULT);
  const given = readGivenToken(tokenFile);
  if (given === undefined && !isLoopback(on)) throw needsToken(on, "--head");
  const token = given ?? makeToken();
  const head = { port: at, state: readState(state ?? "memory", at), healthCheck: HEALTH_CHECK_DEFAULT };
  return { token, tokenGiven: given !== undefined, host: on, head, headAddress: undefined };
}

async function joinCluster(flags: StartFlags, address: string): Promise<Membership> {
  for (const name of ["port", "state"] as const) {
    if (flags[name] !== undefined)
      throw new UsageError(`--${name} is for --head: the head at ${address} has its own`);
  }
  const { host, port } = readAddress("--address", address);
  const given = readGivenToken(flags.tokenFile);
  // Whether it is there, and takes the token, is said here and now: the daemon would try again and again.
  const own = flags.host === undefined ? await hostTowards(host, port) : readHost(flags.host);
  await askHead(flags, (head, ask) => ask(head.clusterInfo, {}));
  if (given === undefined && !isLoopback(own)) throw needsToken(own, `--address ${address}`);
  const { token } = findHead(address, given);
  return { token, tokenGiven: given !== undefined, host: own, head: undefined, headAddress: address };
}

function needsToken(host: string, how: string): UsageError {
  return new UsageError(
    `other machines reach ${host}, so the cluster needs a token of your own:\n` +
      `  tsray token > cluster.token && tsray start ${how} --host ${host} --token-file cluster.token`,
  );
}

/** Where the head keeps its tables. */
function readState(text: string, port: number): string {
  if (text === "memory") return text;
  if (text === "lmdb") {
    const base = process.env.XDG_STATE_HOME || join(homedir(), ".local", "state");
    return `lmdb:${join(base, "tsray", `head-${port}`)}`;
  }
  if (text.startsWith("lmdb:") && text.length > "lmdb:".length)
    return `lmdb:${resolve(text.slice("lmdb:".length))}`;
  if (text.startsWith("nats:")) throw new UsageError("--state nats://... is not supported in this version");
  throw new UsageError(`--state must be memory, lmdb or lmdb:DIR, got ${JSON.stringify(text)}`);
}

/** This machine's address on the way to the head: the one under which the head's machine reaches it. */
function hostTowards(host: string, port: number): Promise<string> {
  return new Promise((settle, reject) => {
    const socket = connect({ host, port, timeout: CONNECT_TIMEOUT_MS });
    const fail = (why: string) => {
      socket.destroy();
      reject(new ClusterUnreachableError(`no answer from ${host}:${port}: ${why}`));
    };
    socket.on("timeout", () => fail("did not answer in time"));
    socket.on("error", (error) => fail(error.message));
    socket.on("connect", () => {
      const { localAddress = "" } = socket;
      socket.destroy();
      settle(readHost(localAddress.replace(/^::ffff:/, "")));
    });
  });
}

interface Interruption {
  /** Rejects at the first signal. */
  readonly promise: Promise<never>;
  signal: NodeJS.Signals | undefined;
  dispose(): void;
}

/** The node goes with this command while it is starting, and with --block for good. */
function endOnSignal(daemon: StartedDaemon): Interruption {
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<never>((_, r) => {
    reject = r;
  });
  promise.catch(() => {});
  const onSignal = (signal: NodeJS.Signals) => {
    if (interruption.signal !== undefined) return endAtOnce(daemon);
    interruption.signal = signal;
    reject(
      new ClusterUnreachableError(`the start of the node with pid ${daemon.pid} was ended by ${signal}`),
    );
  };
  const signals: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];
  for (const signal of signals) process.on(signal, onSignal);
  const interruption: Interruption = {
    promise,
    signal: undefined,
    dispose: () => {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
  return interruption;
}

/** After a second signal: whoever sends it does not want to wait for what still runs. */
function endAtOnce(daemon: StartedDaemon): void {
  try {
    process.kill(daemon.pid, "SIGQUIT");
  } catch {
    // It has ended.
  }
}

async function untilJoined(
  daemon: StartedDaemon,
  interrupted: Interruption,
): Promise<Awaited<StartedDaemon["joined"]>> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () =>
        reject(new ClusterUnreachableError(`the node did not join its cluster within ${JOIN_TIMEOUT_MS} ms`)),
      JOIN_TIMEOUT_MS,
    );
  });
  try {
    return await Promise.race([daemon.joined, late, interrupted.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** The pid is that of our child until it is waited for, so it is the right one. */
async function end(daemon: StartedDaemon, graceMs: number): Promise<void> {
  await endDaemon(
    { pid: daemon.pid, pidStart: processStart(daemon.pid), storePath: "", spillDir: "" },
    graceMs,
  );
}

function explain(error: unknown, { host, head }: Membership): unknown {
  if (
    !(error instanceof ClusterUnreachableError) ||
    head === undefined ||
    !error.message.includes("EADDRINUSE")
  )
    return error;
  return new Error(
    `port ${head.port} of ${host} is in use: end what runs there (tsray stop), or choose another with --port`,
  );
}

function sayStarted(address: string, pid: number, isHead: boolean, block: boolean): void {
  console.log(
    bold(
      isHead
        ? `tsray cluster at ${address} (pid ${pid})`
        : `node of the tsray cluster at ${address} (pid ${pid})`,
    ),
  );
  console.log(`  connect     await init({ address: "${address}" }), or tsray run SCRIPT`);
  console.log(`  add a node  tsray start --address ${address}`);
  console.log("  look        tsray status");
  console.log(`  end         ${block ? "Ctrl-C" : "tsray stop"}`);
}
