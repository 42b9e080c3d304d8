// `npm run chaos -- [--minutes 3] [--seed N] [--smoke] [--head] [--no-faults]` and `npm run soak -- --minutes N`: tasks,
// actors, objects, nested tasks and generators on three nodes, while workers and raylets are killed at random and calls
// between processes are lost, doubled and delayed, and their connections cut. Prints what was lost, wrong, run twice, left
// over, and how long recoveries took; ends with code 1 when anything must not be. The same seed gives the same faults in the same order.
// `--head` also kills the head now and then (for clusters whose jobs survive that); `--smoke` is CI's 40 seconds.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { availableResources, clusterResources, init, nodes, shutdown } from "tsray";
import { Cluster } from "tsray/testing";
import {
  actorLives,
  footprint,
  orphanedMemory,
  processesOf,
  settledMib,
  sharedMemory,
  taskRuns,
  uncaught,
} from "./chaos/checks.mjs";
import { actorLoad, nested, objects, streams, tasks } from "./chaos/loads.mjs";

const { values: flags } = parseArgs({
  options: {
    minutes: { type: "string", default: "3" },
    seed: { type: "string", default: String(Date.now() % 1e6) },
    smoke: { type: "boolean", default: false },
    soak: { type: "boolean", default: false },
    head: { type: "boolean", default: false },
    "no-faults": { type: "boolean", default: false },
  },
});
const seed = Number(flags.seed);
const minutes = flags.smoke ? 0.4 : Number(flags.minutes);
if (!(minutes > 0) || !Number.isSafeInteger(seed)) {
  console.error("chaos: --minutes takes a number above 0, --seed a whole number");
  process.exit(2);
}
const ACTORS = 3;
const WORKER_KILL_MS = flags.soak ? 5000 : 700;
const RAYLET_KILL_MS = flags.soak ? 60_000 : 8000;
const HEAD_KILL_MS = flags.soak ? 120_000 : 20_000;
const DRAIN_MS = 120_000;
const FAULTS = `seed=${seed},loseRequest=0.1,loseReply=0.1,inFlight=0.05,duplicate=0.1,delay=0.2,delayMs=50,breakStream=0.0005,cut=0.002,replay=0.3,hold=0.002`;

/** @type {string[]} */
const violations = [];
const violated = (/** @type {string} */ what) => {
  if (violations.length < 50) violations.push(what);
};
/** mulberry32 */
function randomFrom(/** @type {number} */ from) {
  let state = from | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Workers evaluate this module as far as Cluster.start: they find the directories made.
const base = process.env.TSRAY_CHAOS_DIR ?? mkdtempSync("/tmp/tsc-");
process.env.TSRAY_CHAOS_DIR = base;
const runtimeDir = join(base, "r");
const dir = join(base, "records");
mkdirSync(runtimeDir, { recursive: true });
mkdirSync(join(dir, "actors"), { recursive: true });
const shmBefore = new Set(sharedMemory());
process.env.XDG_RUNTIME_DIR = runtimeDir;
if (!flags["no-faults"]) process.env.TSRAY_TEST_FAULTS = FAULTS;
console.log(`chaos: seed ${seed}, ${minutes} minutes, faults ${flags["no-faults"] ? "off" : FAULTS}`);

const cluster = await Cluster.start({ head: { numCpus: 2 } });
await Promise.all([cluster.addNode({ numCpus: 2 }), cluster.addNode({ numCpus: 2 })]);
await init({ address: cluster.address, logToDriver: false });
const startedMs = performance.now();
const endMs = startedMs + minutes * 60_000;
const isOver = () => performance.now() > endMs || violations.length > 0;

// ---------------------------------------------------------------------------------------------------------- the loads
let lastDoneMs = performance.now();
let longestPauseMs = 0;
let finished = 0;
let wrong = 0;
let lost = 0;
/** Kills that nothing has been finished after yet. @type {number[]} */
let recovering = [];
/** @type {number[]} */
const recoveries = [];
const run = {
  dir,
  random: randomFrom(seed ^ 0x5eed),
  wrong: (/** @type {string} */ what) => {
    wrong += 1;
    violated(`wrong: ${what}`);
  },
  done: (/** @type {number} */ n) => {
    finished += n;
    const doneMs = performance.now();
    longestPauseMs = Math.max(longestPauseMs, doneMs - lastDoneMs);
    lastDoneMs = doneMs;
    for (const killedMs of recovering) recoveries.push(lastDoneMs - killedMs);
    recovering = [];
  },
};
const loads = { tasks, nested, objects, streams };
const rounds = { tasks: 0, nested: 0, objects: 0, streams: 0 };
/** @param {keyof typeof rounds} name */
async function repeat(name) {
  while (!isOver()) {
    try {
      await loads[name](run, rounds[name]);
      rounds[name] += 1;
    } catch (error) {
      lost += 1;
      violated(`lost: ${name} round ${rounds[name]}: ${/** @type {Error} */ (error).stack}`);
    }
  }
}
const calls = Array.from({ length: ACTORS }, () => 0);
async function callActor(/** @type {number} */ index) {
  const next = actorLoad(run, join(dir, "actors", String(index)));
  while (!isOver()) {
    try {
      calls[index] = await next();
    } catch (error) {
      lost += 1;
      violated(`lost: a call of actor ${index}: ${/** @type {Error} */ (error).stack}`);
    }
  }
}

// -------------------------------------------------------------------------------------------------------- the killers
const kills = { workers: 0, raylets: 0, heads: 0 };
const choose = randomFrom(seed);
const pause = async (/** @type {number} */ meanMs) => {
  const untilMs = performance.now() + meanMs * (0.5 + choose());
  while (performance.now() < untilMs && !isOver()) await sleep(50);
};
async function killWorkers() {
  for (;;) {
    await pause(WORKER_KILL_MS);
    if (isOver()) return;
    const workers = processesOf(runtimeDir).filter(({ title }) => /^tsray:(worker|actor)/.test(title));
    const victim = workers[Math.floor(choose() * workers.length)];
    if (victim === undefined) continue;
    try {
      process.kill(victim.pid, "SIGKILL");
      kills.workers += 1;
      recovering.push(performance.now());
    } catch {
      // It has ended by itself.
    }
  }
}
async function killRaylets() {
  for (;;) {
    await pause(RAYLET_KILL_MS);
    if (isOver()) return;
    // The first is the head's, and the driver's.
    const others = cluster.nodes.slice(1);
    const victim = others[Math.floor(choose() * others.length)];
    if (victim === undefined) continue;
    recovering.push(performance.now());
    await cluster.removeNode(victim);
    kills.raylets += 1;
    await sleep(500 + choose() * 1500);
    await cluster.addNode({ numCpus: 2 });
  }
}
async function killHead() {
  while (flags.head) {
    await pause(HEAD_KILL_MS);
    if (isOver()) return;
    recovering.push(performance.now());
    await cluster.killHead();
    kills.heads += 1;
    await sleep(200 + choose() * 800);
    await cluster.startHead();
  }
}

// --------------------------------------------------------------------------------------------------- figures over time
/** @type {{ atMs: number, rss: number, fds: number }[]} */
const footprints = [];
async function sample() {
  while (!isOver()) {
    const { rss, fds } = footprint(process.pid);
    const raylet = footprint(cluster.nodes[0]?.pid ?? 0);
    footprints.push({ atMs: performance.now() - startedMs, rss: rss + raylet.rss, fds: fds + raylet.fds });
    if (flags.soak) {
      const minute = ((performance.now() - startedMs) / 60_000).toFixed(1);
      const figures = `${finished} results, ${kills.workers} workers and ${kills.raylets} raylets killed`;
      console.log(
        `${minute} min: ${figures}, driver and its raylet ${(rss + raylet.rss) >> 20} MiB, ${fds + raylet.fds} fds`,
      );
    }
    await sleep(flags.soak ? 30_000 : 2000);
  }
}

/** What driver, raylet and head hold, at half time and shortly before the end of a soak. @type {Map<string, number>[]} */
const weights = [];
async function weigh() {
  for (const part of flags.soak ? [0.5, 0.95] : []) {
    const atMs = startedMs + part * minutes * 60_000;
    while (performance.now() < atMs && !isOver()) await sleep(100);
    const head = processesOf(runtimeDir).find(({ title }) => title.startsWith("tsray:head"));
    const weight = new Map();
    // A head may be killed meanwhile.
    for (const [what, pid] of [
      ["driver", process.pid],
      ["its raylet", cluster.nodes[0]?.pid],
      [`head ${head?.pid}`, head?.pid],
    ])
      await settledMib(Number(pid)).then(
        (mib) => weight.set(what, mib),
        () => {},
      );
    weights.push(weight);
  }
}
/** Of those that live at both times. */
function risen() {
  const [half, end] = weights;
  const rows = [...(end ?? [])].filter(([what]) => half?.has(what));
  return rows.map(([what, mib]) => `${what} ${(mib - (half?.get(what) ?? 0)).toFixed(1)} MiB`).join(", ");
}

const hanging = new Set(["tasks", "nested", "objects", "streams", "actors", "killers"]);
const over = (/** @type {string} */ what) => () => hanging.delete(what);
const all = Promise.all([
  .../** @type {(keyof typeof rounds)[]} */ (Object.keys(rounds)).map((name) =>
    repeat(name).then(over(name)),
  ),
  Promise.all(calls.map((_, i) => callActor(i))).then(over("actors")),
  Promise.all([killWorkers(), killRaylets(), killHead()]).then(over("killers")),
  sample(),
  weigh(),
]);
const limit = new AbortController();
const tooLate = sleep(minutes * 60_000 + DRAIN_MS, undefined, { signal: limit.signal }).then(
  () => violated(`hang: ${[...hanging].join(", ")} did not end within ${DRAIN_MS / 1000} s after the faults`),
  () => {},
);
await Promise.race([
  all.catch((error) => violated(`the run itself failed: ${/** @type {Error} */ (error).stack}`)),
  tooLate,
]);
limit.abort();

// ----------------------------------------------------------------------------------------------------------- and then
/** Waits until it holds. @param {() => Promise<boolean> | boolean} holds @param {number} ms */
async function within(ms, holds) {
  const untilMs = performance.now() + ms;
  while (performance.now() < untilMs) {
    if (await Promise.resolve(holds()).catch(() => false)) return true;
    await sleep(100);
  }
  return false;
}
const isIdle = await within(30_000, async () => {
  const [free, total] = await Promise.all([availableResources(), clusterResources()]);
  return Math.abs((free.CPU ?? 0) + 0.1 * ACTORS - (total.CPU ?? 0)) < 1e-6 || free.CPU === total.CPU;
});
if (!isIdle && hanging.size === 0)
  violated(
    `leak: ${JSON.stringify(await availableResources())} of ${JSON.stringify(await clusterResources())} free`,
  );
const nodesSeen = (await nodes().catch(() => [])).length;
const uncaughtErrors = uncaught(runtimeDir);
for (const line of uncaughtErrors) violated(`uncaught: ${line}`);
await Promise.race([shutdown().then(() => cluster.shutdown()), sleep(30_000)]);

const runs = taskRuns(join(dir, "tasks"), rounds.tasks * 40);
if (runs.never.length > 0) violated(`wrong: ${runs.never.length} tasks were answered and never ran`);
let duplicates = runs.duplicates;
let lives = 0;
calls.forEach((count, i) => {
  const seen = actorLives(join(dir, "actors", String(i)), count);
  duplicates += seen.duplicates;
  lives += seen.lives;
  for (const problem of seen.problems.slice(0, 5)) violated(`actor ${i}: ${problem}`);
});
await within(10_000, () => processesOf(runtimeDir).length === 0);
const left = {
  processes: processesOf(runtimeDir).map(({ title }) => title),
  sharedMemory: await orphanedMemory(shmBefore),
};
for (const [what, which] of Object.entries(left))
  if (which.length > 0) violated(`left over: ${what}: ${which.join(", ")}`);
for (const { pid } of processesOf(runtimeDir)) process.kill(pid, "SIGKILL");
const sorted = recoveries.toSorted((a, b) => a - b);
const at = (/** @type {number} */ q) =>
  Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0);
/** Growth over the second half, when caches are warm. */
const half = footprints.slice(footprints.length >> 1);
const growth = (/** @type {"rss" | "fds"} */ what) => (half.at(-1)?.[what] ?? 0) - (half[0]?.[what] ?? 0);
console.log(
  [
    `results ${finished}: tasks ${rounds.tasks * 40}, nested ${rounds.nested}, object rounds ${rounds.objects}, streams ${rounds.streams}, actor calls ${calls.reduce((a, b) => a + b, 0)} in ${lives} lives; nodes seen ${nodesSeen}`,
    `kills: workers ${kills.workers}, raylets ${kills.raylets}, heads ${kills.heads}`,
    `lost ${lost}, wrong ${wrong}, hangs ${hanging.size}, run more than once ${duplicates}`,
    `recovery (kill to next result): median ${at(0.5)} ms, p99 ${at(0.99)} ms, worst ${at(1)} ms; longest time without any result ${Math.round(longestPauseMs)} ms`,
    `left over: processes ${left.processes.length}, shared memory ${left.sharedMemory.length}, uncaught ${uncaughtErrors.length}`,
    `driver and its raylet, second half: memory ${growth("rss") >> 20} MiB, descriptors ${growth("fds")}`,
    ...(flags.soak ? [`rise over the second half, garbage collected: ${risen()}`] : []),
  ].join("\n"),
);
rmSync(base, { recursive: true, force: true });
if (violations.length > 0) {
  console.error(`chaos: FAILED, seed ${seed}\n${violations.join("\n")}`);
  process.exit(1);
}
console.log(`chaos: all held, seed ${seed}`);
process.exit(0);
