// Goal: what the head acknowledges is on its disk (issue 5: synced before acknowledged), also when that is full.
// Method: the head's process may write no file beyond 8 KiB (prlimit, as from outside), so every commit of LMDB fails;
// then it may again, and then it is killed, and the next one tells what was on disk.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { get, getActor, init, kill, ready, shutdown } from "tsray";
import { Cluster } from "tsray/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Counter } from "../fixtures/actors.mjs";
import { isRunning, until } from "../fixtures/processes.ts";
import { makeRuntimeDir, processesOf, sessionsIn } from "./processes.ts";
import { rejection } from "./support.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const LIMIT_BYTES = 8192;

const limitFiles = (pid: number, bytes: number | "unlimited") =>
  execFileSync("prlimit", ["--pid", String(pid), `--fsize=${bytes}:`], { stdio: "ignore" });

/** The limit of one's own processes can be lowered and raised again where util-linux is there. */
function canLimit(): boolean {
  try {
    limitFiles(process.pid, "unlimited");
    return true;
  } catch {
    return false;
  }
}

const before = process.env.XDG_RUNTIME_DIR;
let runtimeDir: string;
let cluster: Cluster;
beforeEach(async () => {
  runtimeDir = makeRuntimeDir();
  process.env.XDG_RUNTIME_DIR = runtimeDir;
  cluster = await Cluster.start({ token: TOKEN });
  await init({ address: cluster.address, token: TOKEN, namespace: "test", logToDriver: false });
});
afterEach(async () => {
  await shutdown();
  await cluster.shutdown();
  if (before === undefined) delete process.env.XDG_RUNTIME_DIR;
  else process.env.XDG_RUNTIME_DIR = before;
  rmSync(runtimeDir, { recursive: true, force: true });
});

const headPid = () =>
  processesOf(runtimeDir).find((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("tsray:head"),
  ) ?? 0;
const headLog = () =>
  sessionsIn(runtimeDir)
    .map((session) => join(session, "logs"))
    .flatMap((logs) =>
      readdirSync(logs)
        .filter((name) => name === "head.log")
        .map((name) => join(logs, name)),
    )
    .map((file) => readFileSync(file, "utf8"))
    .join("");

test.skipIf(!canLimit())(
  "a full disk of the head: nothing is acknowledged that it would forget, and all is done later",
  async () => {
    const options = { lifetime: "detached", numCpus: 0 } as const;
    const doomed = Counter.options({ ...options, name: "doomed" }).remote();
    const pid = await doomed.pid.remote();
    limitFiles(headPid(), LIMIT_BYTES);
    kill(doomed);
    const late = Counter.options({ ...options, name: "late" }).remote(5);
    const value = late.increment.remote();
    const again = Counter.options({ ...options, name: "late", getIfExists: true }).remote(50);
    await until(() => headLog().includes("cannot write to the state store"), "a failed write");
    // Neither is carried out before it is written.
    expect(isRunning(pid)).toBe(true);
    limitFiles(headPid(), "unlimited");
    expect(await value).toBe(6);
    expect(await again.value.remote()).toBe(6);
    await until(() => !isRunning(pid));
    expect((await rejection(get(doomed.value.remote()))).message).toContain("it was killed by kill()");
    await cluster.killHead();
    await cluster.startHead();
    expect(await ((await getActor("late")) as typeof late).increment.remote()).toBe(7);
    expect(await again.increment.remote()).toBe(8);
    await expect(getActor("doomed")).rejects.toThrow("doomed");
    await ready(Counter.options({ ...options, name: "doomed" }).remote());
  },
);
