// `npm run partitions -- [--quick] [--only short,long,deaf,mute,pair] [--count 20] [--scale 1] [--logs DIR] [--json]`: a
// cluster on machines with networks of their own (network namespaces, nothing of which outlives this program), cut in two
// in several ways. Prints how long the cut off ran on, when others took over, and whether two lives of an actor overlapped;
// ends with code 1 when anything must not be. With the real time rules (9 minutes), or with --quick in their proportion
// (test/e2e/partitions.test.ts). Where namespaces are not permitted it says so and ends with code 0 (`--probe`: only that).
import { execFileSync, spawn } from "node:child_process";
import { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { init, shutdown } from "tsray";
import { long, makeActor, nodeOf, pair, short } from "./partitions/cases.mjs";
import { Load, now } from "./partitions/loads.mjs";
import { Network, namespaceFlags, pathWithSbin } from "./partitions/networks.mjs";
import { Nodes, TOKEN } from "./partitions/nodes.mjs";

const { values: flags } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string", default: "short,long,pair,deaf,mute" },
    count: { type: "string" },
    scale: { type: "string" },
    probe: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    logs: { type: "string" },
    inside: { type: "boolean", default: false },
  },
});

/** A program that does nothing starts in a third of this on a machine that has time for it. */
const START_MS = 150;
const SCALE_MAX = 4;
/** Ends with whoever holds descriptor 3 of the namespaces' first process. */
const LIFELINE_FD = 3;
const ROOT = "/dev/shm/tsray-partitions";

// Workers evaluate this module as far as init.
if (process.env.TSRAY_PARTITIONS_WORKER === "1") await init();
else if (flags.inside) await runInside();
else await runOutside();

/** Process, mount and network namespaces of its own: what runs in them ends with their first process. */
async function runOutside() {
  const { flags: namespaces, why } = namespaceFlags();
  if (namespaces === undefined) {
    const skipped = `this machine lets nobody make network namespaces: ${why}`;
    console.log(flags.json ? JSON.stringify({ skipped }) : `partitions: skipped: ${skipped}`);
    return;
  }
  if (flags.probe) return;
  const self = [process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2), "--inside"];
  const prepare = `mount -t tmpfs -o size=2g tmpfs /dev/shm && mkdir -p ${ROOT}/r ${ROOT}/t && "$@"; exit $?`;
  const child = spawn(
    "unshare",
    [...namespaces, "--mount-proc", "--kill-child", "sh", "-c", prepare, "sh", ...self],
    {
      env: { ...pathWithSbin(), XDG_RUNTIME_DIR: `${ROOT}/r`, TMPDIR: `${ROOT}/t` },
      stdio: ["ignore", "inherit", "inherit", "pipe"],
    },
  );
  process.exitCode = await new Promise((resolve) => child.on("exit", (code) => resolve(code ?? 1)));
}

async function runInside() {
  new Socket({ fd: LIFELINE_FD })
    .on("end", () => process.exit(1))
    .resume()
    .unref();
  process.env.TSRAY_PARTITIONS_WORKER = "1";
  // What the processes wrote is gone with the namespaces, unless it is asked for.
  process.on("exit", () => {
    if (flags.logs === undefined) return;
    execFileSync("sh", ["-c", 'mkdir -p "$1" && cp -r "$0"/*/*/logs/* "$1"', `${ROOT}/r`, flags.logs]);
  });
  const report = await runCases(
    (flags.only ?? "").split(","),
    flags.quick,
    Number(flags.count ?? (flags.quick ? 2 : 20)),
  );
  console.log(flags.json ? JSON.stringify(report) : textOf(report));
  // The end of the namespaces' first process takes the rest along; in order all the same.
  process.exit(report.problems.length > 0 ? 1 : 0);
}

/**
 * What the quick times are multiplied by: on a machine that lets a process wait for seconds, a node that is not cut off
 * would be taken for dead as well.
 */
function scaleOf() {
  if (flags.scale !== undefined) return Number(flags.scale);
  const startMs = () => {
    const fromMs = now();
    execFileSync(process.execPath, ["-e", "0"]);
    return now() - fromMs;
  };
  const slowestMs = Math.max(...Array.from({ length: 5 }, startMs));
  return Math.min(SCALE_MAX, Math.max(1, Math.ceil(slowestMs / START_MS)));
}

/** @param {string[]} only @param {boolean} quick @param {number} count */
async function runCases(only, quick, count) {
  const scale = quick ? scaleOf() : 1;
  const check = quick
    ? { periodMs: 200 * scale, timeoutMs: 1000 * scale, failureThreshold: 10, outageGraceMs: 5000 * scale }
    : { periodMs: 1000, timeoutMs: 3000, failureThreshold: 5, outageGraceMs: 60_000 };
  // As core/launch/health-rules.ts has them.
  const selfFenceMs = check.periodMs * check.failureThreshold + check.timeoutMs;
  const times = {
    selfFenceMs,
    declareDeadMs: Math.ceil(1.5 * (selfFenceMs + 2000)),
    graceMs: check.outageGraceMs,
    pauseMsMax: selfFenceMs + 2000,
  };
  const hold = { alone: quick ? 0 : 60_000, pair: quick ? 0 : 120_000 };
  const startedMs = now();
  const { network, own } = await Network.make();
  const cluster = new Nodes(`${ROOT}/r`, check);
  await cluster.startHead(own);
  const place = async (
    /** @type {any} */ machine,
    /** @type {Record<string, number>} */ resources,
    isHead = false,
  ) => ({
    machine,
    ...(await cluster.add(machine, resources, isHead)),
  });
  const head = await place(own, {}, true);
  const b = await place(await network.add(), { a: 1, b: 2 });
  await init({ address: cluster.address, token: TOKEN, logToDriver: false });
  const world = { head, b, c: b, dir: ROOT, times };
  const recorded = makeActor(world, "first");
  await recorded.actor.call.remote(0, 0);
  world.c = await place(await network.add(), { a: 1, c: 2 });
  if (flags.json) console.log(JSON.stringify({ up: true }));
  const load = new Load(recorded.actor, { b: 0.001 });
  /** @type {Record<string, any>} */
  const cases = {};
  const has = (/** @type {string} */ name) => only.includes(name);
  // A head that has just begun waits longer for silent nodes.
  const settle = async () => {
    const leftMs = startedMs + times.graceMs + 2000 - now();
    if (leftMs > 0) await new Promise((resolve) => setTimeout(resolve, leftMs));
  };
  if (has("short")) cases.short = await short(world, recorded, quick ? 1000 * scale : 5000, count);
  /**
   * Cuts off the machine on which the actor runs.
   * @param {string} name @param {(machine: any) => void} cut @param {(machine: any) => void} heal
   */
  const runLong = async (name, cut, heal) => {
    if (!has(name)) return;
    await settle();
    const isOnB = (await recorded.actor.where.remote()) === (await nodeOf(world.b.pid))?.nodeId;
    const from = isOnB ? world.b : world.c;
    const cutting = { from, cut: () => cut(from.machine), heal: () => heal(from.machine) };
    cases[name] = await long(world, recorded, { ...cutting, holdMs: hold.alone, other: isOnB ? "c" : "b" });
  };
  await runLong(
    "long",
    (machine) => machine.cut(),
    (machine) => machine.heal(),
  );
  await runLong(
    "deaf",
    (machine) => own.mute(machine),
    (machine) => own.unmute(machine),
  );
  await runLong(
    "mute",
    (machine) => machine.mute(own),
    (machine) => machine.unmute(own),
  );
  await load.end();
  if (has("pair")) {
    const second = makeActor(world, "second");
    await second.actor.call.remote(0, 0);
    await place(own, { a: 2 });
    await settle();
    for (const placed of [world.b, world.c]) placed.nodeId = (await nodeOf(placed.pid))?.nodeId ?? "";
    [cases.pair1, cases.pair2] = await pair(world, [recorded, second], hold.pair);
  }
  const problems = [...load.problems, ...judge(cases, times)];
  const { sent, answered } = load;
  await shutdown();
  await cluster.end();
  return { times, cases, load: { sent, answered }, problems };
}

/** What must not be. Bounds from below only: how long things take is the reader's to judge. */
function judge(
  /** @type {Record<string, any>} */ cases,
  /** @type {{ selfFenceMs: number, declareDeadMs: number, graceMs: number, pauseMsMax: number }} */ times,
) {
  const problems = [];
  for (const [name, seen] of Object.entries(cases)) {
    const must = (/** @type {boolean} */ holds, /** @type {string} */ what) => {
      if (!holds) problems.push(`${name}: ${what}`);
    };
    if (name === "short") {
      must(seen.sameNodes, "a node was declared dead");
      must(seen.lives === 1, `the actor had ${seen.lives} lives`);
      continue;
    }
    const isPair = name.startsWith("pair");
    must(seen.overlapMs === 0, `two lives overlapped by ${seen.overlapMs} ms`);
    must(seen.endedMs < seen.restartedMs, "the next life began before the old one had ended");
    must(
      seen.restartedMs >= times.declareDeadMs + (isPair ? times.graceMs : 0) - 1000,
      `restarted after ${seen.restartedMs} ms`,
    );
    // A machine without time does not get its answers from the other one in time, and ends early: not wrong, but not seen here.
    if (isPair && !flags.quick)
      must(seen.endedMs >= times.graceMs - 1000, `ended in its grace, after ${seen.endedMs} ms`);
    if (!isPair) must(!seen.isStale, `an answer of the old life was taken after ${seen.answeredMs} ms`);
  }
  return problems;
}

/** @param {{ times: object, cases: Record<string, object>, load: object, problems: string[] }} report */
function textOf({ times, cases, load, problems }) {
  const line = (/** @type {[string, object]} */ [name, seen]) =>
    `${name}: ${Object.entries(seen)
      .map(([key, value]) => `${key} ${value}`)
      .join(", ")}`;
  return [
    line(["time rules", times]),
    ...Object.entries(cases).map(line),
    line(["load", load]),
    ...(problems.length > 0 ? problems.map((problem) => `FAILED: ${problem}`) : ["all held"]),
  ].join("\n");
}
