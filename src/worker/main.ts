/**
 * Program of a worker process. Becomes a worker of one job: evaluates the job's entry module up to `init()`, then serves
 * tasks, or one actor. Imports little: every process of a cluster pays for it.
 */
// The public API as user code will get it: this process's one instance.
import "../index.ts";
import { closeSync, readSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { Endpoint } from "../core/base/endpoint.ts";
import type { FunctionId } from "../core/base/function-registry.ts";
import { registry } from "../core/base/function-registry.ts";
import type { WorkerBoot } from "../core/launch/worker-boot.ts";
import type { Channel } from "../core/rpc/channel.ts";
import type { Message } from "../core/rpc/frames.ts";
import {
  type ActorStart,
  type ArgsPayload,
  type CallExtra,
  Local,
  Peer,
  type RunExtra,
} from "../core/rpc/messages.ts";
import { loadNative } from "../core/store/native.ts";
import { functionCodec, loading } from "../runtime/functions.ts";
import { Runtime } from "../runtime/runtime.ts";
import { becomeWorker } from "../runtime/state.ts";
import { ActorHost } from "./actor-host.ts";
import { localArguments, placeFiles, setUp, setupOf } from "./environment.ts";
import { Functions } from "./functions.ts";
import { Invoker } from "./invoke.ts";
import { markOutput } from "./output-marks.ts";
import { TaskExecutor } from "./task-executor.ts";
import { watchPulse } from "./watch-pulse.ts";

const BOOT_FD = 3;
const SIGKILL = 9;
/** How often a worker without the addon looks for its raylet. */
const WATCH_MS = 250;
const BOOT_BYTES_MAX = 4 * 1024 * 1024;

function readBoot(): WorkerBoot {
  const chunk = Buffer.alloc(64 * 1024);
  let text = "";
  while (!text.includes("\n") && text.length < BOOT_BYTES_MAX) {
    const n = readSync(BOOT_FD, chunk);
    if (n === 0) process.exit(1);
    text += chunk.toString("utf8", 0, n);
  }
  closeSync(BOOT_FD);
  return JSON.parse(text) as WorkerBoot;
}

/** The worker must not outlive its raylet, also while it is stuck in a loop of the user's. */
function dieWithRaylet(rayletPid: number): void {
  const { addon } = loadNative();
  if (addon !== null) {
    if (!addon.setParentDeathSignal(SIGKILL, rayletPid)) process.exit(1);
    return;
  }
  // Without the addon a thread looks for it. It sleeps in Atomics.wait, which the end of this process can interrupt; a
  // blocking read could not be, and would keep a crashing process from ending.
  const watch = `const cell = new Int32Array(new SharedArrayBuffer(4));
    for (;;) {
      if (process.ppid !== ${rayletPid}) process.kill(process.pid, "SIGKILL");
      Atomics.wait(cell, 0, 0, ${WATCH_MS});
    }`;
  new Worker(watch, { eval: true, execArgv: [], stdout: false, stderr: false }).unref();
}

const boot = readBoot();
placeFiles(boot);
dieWithRaylet(boot.rayletPid);
if (boot.pulse !== null) watchPulse(boot.pulse);
process.title = "tsray:worker";
process.umask(0o077);
// The terminal's Ctrl-C is the driver's.
process.on("SIGINT", () => {});
markOutput();

const self: Endpoint = {
  processId: boot.workerId,
  nodeId: boot.nodeId,
  unixPath: join(boot.socketDir, `w-${boot.workerId}.sock`),
  host: boot.host ?? "",
  port: 0,
  pid: process.pid,
};
const runtime = new Runtime(
  self,
  () => {},
  (line) => console.error(line),
);
const functions = new Functions(boot.job);
loading.mapsStacks = true;
loading.prepareImport = (url) => functions.prepareImport(url);
loading.loadFunction = async (id) => functions.find(id);
const invoker = new Invoker(runtime);
const tasks = new TaskExecutor(runtime, functions, invoker);
const actor = new ActorHost(runtime, functions, invoker);
const becomeReady = becomeWorker(runtime, actor);

function onMessage(channel: Channel, message: Message): void {
  const m = message as unknown as [number, number, never, never, never, never, never];
  const hosting = actor.identity !== undefined;
  switch (message[0]) {
    case Peer.run: {
      const [, seq, fnIndex, first, args, returns, extra] = m as unknown as [
        number,
        number,
        number,
        number,
        ArgsPayload,
        number?,
        RunExtra?,
      ];
      tasks.onRun(channel, seq, fnIndex, first, args, returns, extra);
      break;
    }
    case Peer.call: {
      const [, seq, method, first, args, returns, extra] = m as unknown as [
        number,
        number,
        string,
        number,
        ArgsPayload,
        number?,
        CallExtra?,
      ];
      actor.onCall(channel, seq, method, first, args, returns, extra);
      break;
    }
    case Peer.define:
      tasks.onDefine(channel, m[1], message[2] as FunctionId, message[3] as Buffer | undefined);
      break;
    case Peer.code:
      functionCodec().define(message[1]);
      break;
    case Peer.cancel:
      if (hosting) actor.onCancel(channel, m[1], message[2] === true);
      else tasks.onCancel(channel, m[1], message[2] === true);
      break;
    case Peer.steal:
      tasks.onSteal(channel);
      break;
    case Peer.consumed:
      if (hosting) actor.onConsumed(channel, m[1], message[2] as number);
      else tasks.onConsumed(channel, m[1], message[2] as number);
      break;
    case Peer.resultTaken:
      invoker.onResultTaken(channel, m[1]);
      break;
  }
}

function onPeerClosed(channel: Channel): void {
  invoker.onPeerClosed(channel);
  tasks.onPeerClosed(channel);
  actor.onPeerClosed(channel);
}

function onLocal(message: Message): void {
  switch (message[0]) {
    case Local.startActor:
      void actor.start(message[1] as ActorStart);
      break;
    case Local.stopActor:
      void actor.stop(String(message[2]));
      break;
    case Local.moveActor:
      void actor.move();
      break;
    case Local.exit:
      if (message[1] !== true && runtime.isNeeded) runtime.connected.link.channel.send([Local.staying]);
      else process.exit(0);
      break;
  }
}

const raylet: Endpoint = {
  processId: boot.nodeId,
  nodeId: boot.nodeId,
  unixPath: boot.rayletUnixPath,
  host: "",
  port: 0,
  pid: boot.rayletPid,
};
const connecting = runtime.connect(
  {
    ...{ self, token: boot.token, raylet, register: [Local.registerWorker] },
    host: boot.host ?? undefined,
    environment: boot.environment,
    timeoutMs: undefined,
  },
  { onMessage, onPeerClosed, onLocal },
  () => {},
);
// User code sees the driver's command line.
process.argv = [process.argv[0] as string, ...localArguments(boot)];
const setup = setupOf(boot);
if (setup !== undefined) await setUp(setup, connecting, runtime);
const evaluated = functions.evaluateEntry(becomeReady.parked);
await connecting;
// The raylet's end is this process's end.
runtime.connected.link.channel.ref();
runtime.connected.link.channel.onClose(() => process.exit(0));
await evaluated;
becomeReady.done();
registry.lateModule = boot.job.entryUrl;
runtime.connected.link.channel.send([Local.ready]);
