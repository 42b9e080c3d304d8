// `npm run failpoints -- [--repeats N] [--seed N] [--only TEXT] [--smoke]`: the head dies at each of its points
// (src/core/rpc/exit-points.ts): around every write of its tables, every call that it serves and every call that it
// makes. Meanwhile actors, placement groups, drivers and nodes are made and ended. Prints what was broken; ends with
// code 1 when anything was. `--smoke` takes one of each kind, as in CI; `--repeats 100` is R9 at its full count.
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { getActor, init, kill, placement, placementGroup, placementGroups, ready, shutdown } from "tsray";
import { Cluster } from "tsray/testing";
import { orphanedMemory, processesOf, sharedMemory } from "./chaos/checks.mjs";
import { isRunning, Life, livesIn } from "./chaos/lives.mjs";

const { values: flags } = parseArgs({
  options: {
    repeats: { type: "string", default: "1" },
    seed: { type: "string", default: "1" },
    only: { type: "string", default: "" },
    smoke: { type: "boolean", default: false },
    /** Records and logs stay. */
    keep: { type: "boolean", default: false },
    verbose: { type: "boolean", default: false },
  },
});
const seed = Number(flags.seed);
const repeats = Number(flags.repeats);

const TABLES = [
  "actor-specs",
  "actor-states",
  "actor-aliases",
  "placement-group-specs",
  "placement-group-states",
  "jobs",
  "nodes",
];
const SERVED = ["CreateActors", "KillActors", "ReportActors", "FindActor", "WatchActors", "DrainNode"].concat(
  "CreatePlacementGroups",
  "RemovePlacementGroups",
  "WatchPlacementGroups",
);
const MADE = ["StartActors", "StopActors", "PrepareBundles", "CommitBundles", "ReturnBundles", "Drain"];
const ALL = [
  ...TABLES.flatMap((table) => [`committing ${table}`, `committed ${table}`]),
  ...SERVED.flatMap((method) => [`asked ${method}`, `served ${method}`, `replied ${method}`]),
  ...MADE.flatMap((method) => [`asking ${method}`, `answered ${method}`]),
  ...["committing cluster", "committed cluster", "asked NodeSession", "asked JobSession"],
];
const SMOKE = [
  "committed actor-states",
  "served CreateActors",
  "answered StartActors",
  "asked ReportActors",
  "served KillActors",
  "committing placement-group-states",
  "answered PrepareBundles",
  "asking ReturnBundles",
  "committed jobs",
];
/** Points that only a driver, or a node, that comes and goes leads to. */
const NEEDS_DRIVER = /jobs|JobSession/;
const NEEDS_NODE = /nodes|Drain/;

/** mulberry32 */
let state = seed | 0;
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

/** @type {string[]} */
const violations = [];
const violated = (/** @type {string} */ what) => {
  console.error(what);
  violations.push(what);
};
const figures = {
  deaths: 0,
  missed: 0,
  double: 0,
  orphans: 0,
  forgotten: 0,
  names: 0,
  calls: 0,
  failedCalls: 0,
};

// Workers evaluate this module as far as Cluster.start: they find the directories made.
const base = process.env.TSRAY_CHAOS_DIR ?? mkdtempSync("/tmp/tsc-");
process.env.TSRAY_CHAOS_DIR = base;
const runtimeDir = join(base, "r");
const file = join(base, "lives");
mkdirSync(runtimeDir, { recursive: true });
const shmBefore = new Set(sharedMemory());
process.env.XDG_RUNTIME_DIR = runtimeDir;
const TOKEN = "0123456789abcdef0123456789abcdef";

const cluster = await Cluster.start({ token: TOKEN });
await Promise.all([cluster.addNode({ numCpus: 2 }), cluster.addNode({ numCpus: 2 })]);
await init({ address: cluster.address, token: TOKEN, namespace: "points", logToDriver: false });

// ------------------------------------------------------------------------------------------------------------ the head
const headPid = () => processesOf(runtimeDir).find(({ title }) => title.startsWith("tsray:head"))?.pid ?? 0;
/** Starts the head, to die at that point. @param {string} spec "" = nowhere */
async function startHead(spec) {
  if (spec !== "") process.env.TSRAY_TEST_EXIT_AT = `head: ${spec}`;
  try {
    for (;;) {
      try {
        await cluster.startHead();
        return;
      } catch (error) {
        // It died while it started, as it was told to; or its end is not known yet.
        delete process.env.TSRAY_TEST_EXIT_AT;
        if (!/the head runs/.test(String(error))) figures.deaths += 1;
        await sleep(20);
      }
    }
  } finally {
    delete process.env.TSRAY_TEST_EXIT_AT;
  }
}
/** Starts the head again when it dies, until `isOver`. @returns whether it died @param {() => boolean} isOver */
async function keepHead(isOver) {
  const pid = headPid();
  while (isRunning(pid)) {
    if (isOver()) return false;
    await sleep(10);
  }
  figures.deaths += 1;
  await startHead("");
  return true;
}

// ------------------------------------------------------------------------------------------------------------ the work
const steady = Life.remote(file);
await ready(steady);
const steadyPid = await steady.pid.remote();
let isDone = false;
/** Needs no head: it must never be noticed that there is none. */
async function callSteady() {
  while (!isDone) {
    figures.calls += 1;
    try {
      if ((await steady.ping.remote(figures.calls)) !== figures.calls) throw new Error("a wrong answer");
    } catch (error) {
      figures.failedCalls += 1;
      violated(`a call of a live actor failed: ${error}`);
    }
    await sleep(5);
  }
}

/** Detached actors that must live, by name: their processes. @type {Map<string, number>} */
const kept = new Map();
/** Names that must be free. @type {string[]} */
const freed = [];
/** Processes of actors that were ended: when. @type {Map<number, number>} */
const ended = new Map();
const goneNow = (/** @type {number} */ pid) => ended.set(pid, performance.now());

/** The error of what must fail. @param {PromiseLike<unknown>} promise @param {string} what */
async function failed(promise, what) {
  const answer = await Promise.resolve(promise).then(
    () => undefined,
    (error) => error,
  );
  if (answer === undefined) {
    figures.forgotten += 1;
    violated(`it was acknowledged that ${what}, and it is not so`);
  }
}

let stepAtMs = 0;
const step = (/** @type {string} */ what) => {
  const nowMs = performance.now();
  if (flags.verbose) console.log(`  ${what}: ${Math.round(nowMs - stepAtMs)} ms`);
  stepAtMs = nowMs;
};

/** @param {number} i @param {string} point */
async function work(i, point) {
  stepAtMs = performance.now();
  const named = Life.options({ name: `named-${i}` }).remote(file);
  const detached = Life.options({
    name: `detached-${i}`,
    lifetime: "detached",
    maxRestarts: -1,
    maxTaskRetries: -1,
  }).remote(file);
  const group = await placementGroup([{ CPU: 0.2 }, { CPU: 0.2 }], {
    strategy: "SPREAD",
    name: `group-${i}`,
  });
  step("group asked for");
  const [pid] = await Promise.all([named.pid.remote(), ready(detached), group.ready()]);
  step("actors and group ready");
  const inside = Life.options({ schedulingStrategy: placement(group, { bundle: 1 }) }).remote(file);
  const insidePid = await inside.pid.remote();
  step("actor in the group");
  const again = Life.options({ name: `detached-${i}`, getIfExists: true }).remote(file);
  const first = await detached.pid.remote();
  if ((await again.pid.remote()) !== first) violated(`name detached-${i} stands for two actors`);

  step("found by name");
  // A crash, and a kill that restarts: lives follow one another.
  process.kill(first, "SIGKILL");
  while (isRunning(first)) await sleep(5);
  const second = await detached.pid.remote();
  step("crashed and back");
  kill(detached, { noRestart: false });
  goneNow(second);
  while (isRunning(second)) await sleep(5);
  kept.set(`detached-${i}`, await detached.pid.remote());

  step("killed and back");
  kill(named);
  await failed(named.ping.remote(0), `actor named-${i} was killed`);
  goneNow(pid);
  const heir = Life.options({ name: `named-${i}` }).remote(file);
  const heirPid = await heir.pid.remote();
  kill(heir);
  await failed(heir.ping.remote(0), `the second actor named-${i} was killed`);
  goneNow(heirPid);
  freed.push(`named-${i}`);
  step("killed, replaced, killed");

  await group.remove();
  await failed(inside.ping.remote(0), `group-${i} was removed`);
  goneNow(insidePid);
  step("group removed");
  const last = [...kept.keys()][0];
  if (last !== undefined && last !== `detached-${i}`) {
    const old = await getActor(last);
    kill(old);
    await failed(
      /** @type {typeof heir} */ (/** @type {unknown} */ (old)).ping.remote(0),
      `${last} was killed`,
    );
    goneNow(/** @type {number} */ (kept.get(last)));
    kept.delete(last);
    freed.push(last);
  }
  step("old one killed");
  if (NEEDS_DRIVER.test(point)) await driver();
  if (NEEDS_NODE.test(point)) {
    const node = await cluster.addNode({ numCpus: 1 });
    await removeInOrder(node);
  }
}

/** @param {import("tsray/testing").ClusterNode} node */
async function removeInOrder(node) {
  for (;;) {
    try {
      return await cluster.removeNode(node, { graceful: true, gracePeriod: 1000 });
    } catch (error) {
      if (!isRunning(node.pid)) return;
      if (!/ClusterUnreachable/.test(/** @type {Error} */ (error).name)) throw error;
      await sleep(100);
    }
  }
}

/** A driver that joins, makes an actor and leaves. */
async function driver() {
  const script = fileURLToPath(new URL("./chaos/driver.mjs", import.meta.url));
  const child = spawn(process.execPath, [script, cluster.address, TOKEN, file], {
    stdio: ["ignore", "pipe", 2],
  });
  let text = "";
  child.stdout.on("data", (chunk) => {
    text += chunk;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0) violated(`a driver ended with code ${code}`);
  for (const pid of text.split(/\s+/).filter(Boolean)) goneNow(Number(pid));
}

/** What was acknowledged is still so. */
async function look() {
  for (const [name, pid] of kept) {
    const found = /** @type {typeof steady | undefined} */ (
      /** @type {unknown} */ (await Promise.resolve(getActor(name)).catch(() => undefined))
    );
    const now = await found?.pid.remote();
    if (now === pid) continue;
    figures.names += 1;
    violated(`${name} ran as ${pid}, and ${found === undefined ? "is gone" : `is ${now} now`}`);
  }
  for (const name of freed.splice(0)) await failed(getActor(name), `the actor named ${name} was ended`);
  const standing = (await placementGroups()).filter(({ state }) => state !== "REMOVED");
  if (standing.length > 0) {
    figures.forgotten += 1;
    violated(`${standing.length} placement groups stand that were removed: ${standing[0]?.state}`);
  }
  if (!isRunning(steadyPid)) violated("the actor that nobody touched is gone");
  lookForOrphans();
}

function lookForOrphans() {
  for (const [pid, atMs] of ended) {
    if (!isRunning(pid)) ended.delete(pid);
    else if (performance.now() - atMs > 10_000) {
      figures.orphans += 1;
      violated(`process ${pid} of an actor that was ended still runs after 10 s`);
      ended.delete(pid);
    }
  }
}

/** What the daemons wrote: it goes with the cluster. */
function keepLogs() {
  for (const user of readdirSync(runtimeDir))
    for (const session of readdirSync(join(runtimeDir, user)))
      cpSync(join(runtimeDir, user, session, "logs"), join(base, "logs", session), { recursive: true });
}

// --------------------------------------------------------------------------------------------------------- and the run
const points = (flags.smoke ? SMOKE : ALL).filter((point) => point.includes(flags.only));
console.log(`failpoints: ${points.length} points, ${repeats} times each, seed ${seed}`);
const steadyCalls = callSteady();
let round = 0;
for (let repeat = 0; repeat < repeats && violations.length === 0; repeat++) {
  for (const point of points) {
    if (violations.length > 0) break;
    const spec = `${point}#${flags.smoke ? 1 : 1 + Math.floor(random() * 4)}`;
    const startedMs = performance.now();
    await cluster.killHead();
    await startHead(spec);
    let isOver = false;
    const keeping = keepHead(() => isOver);
    const late = new AbortController();
    const hang = sleep(120_000, undefined, { signal: late.signal }).then(
      () => violated(`hang: the work at ${spec} did not end in 120 s`),
      () => {},
    );
    const works = work(round, point).then(look);
    await Promise.race([works.catch((error) => violated(`at ${spec}: ${error?.stack ?? error}`)), hang]);
    late.abort();
    isOver = true;
    const died = await keeping;
    if (!died) figures.missed += 1;
    if (flags.verbose)
      console.log(
        `${spec}: ${died ? "died" : "not reached"}, ${Math.round(performance.now() - startedMs)} ms`,
      );
    round += 1;
  }
}
isDone = true;
await steadyCalls;
const untilMs = performance.now() + 10_500;
while (ended.size > 0 && performance.now() < untilMs) {
  await sleep(100);
  lookForOrphans();
}
for (const line of readFileSync(file, "utf8").split("\n")) {
  if (!line.endsWith("double")) continue;
  figures.double += 1;
  violated(`an actor lived twice: ${line}`);
}
const lives = livesIn(file).length;
for (const name of kept.keys()) kill(await getActor(name));
if (flags.keep) keepLogs();
await shutdown();
await cluster.shutdown();
const left = [...processesOf(runtimeDir).map(({ title }) => title), ...(await orphanedMemory(shmBefore))];
if (left.length > 0) violated(`left over: ${left.join(", ")}`);
for (const { pid } of processesOf(runtimeDir)) process.kill(pid, "SIGKILL");
const { deaths, missed, double, orphans, forgotten, names, calls, failedCalls } = figures;
console.log(
  [
    `deaths of the head ${deaths} in ${round} rounds (${missed} points not come to), lives of actors ${lives}`,
    `double actors ${double}, orphans after 10 s ${orphans}, acknowledged and forgotten ${forgotten}, names changed ${names}`,
    `calls of a live actor ${calls}, failed ${failedCalls}; left over ${left.length}`,
  ].join("\n"),
);
if (!flags.keep) rmSync(base, { recursive: true, force: true });
if (violations.length > 0) {
  console.error(`failpoints: FAILED, seed ${seed}\n${violations.join("\n")}`);
  process.exit(1);
}
console.log(`failpoints: all held, seed ${seed}`);
process.exit(0);
