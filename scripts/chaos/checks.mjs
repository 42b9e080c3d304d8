// What must hold after a chaos run: read from the record files, from /proc and from /dev/shm.
import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const SETTLED = fileURLToPath(new URL("settled-memory.mjs", import.meta.url));

/** Whole lines of a file; none where it is not there. */
export const linesOf = (/** @type {string} */ file) =>
  existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];

/** Runs of tasks: how many ran, and how many runs were too many. @param {string} file @param {number} count */
export function taskRuns(file, count) {
  const runs = new Map();
  for (const line of linesOf(file)) {
    const i = Number(line.split(" ")[0]);
    runs.set(i, (runs.get(i) ?? 0) + 1);
  }
  let duplicates = 0;
  for (const n of runs.values()) duplicates += n - 1;
  const never = Array.from({ length: count }, (_, i) => i).filter((i) => !runs.has(i));
  return { duplicates, never };
}

/**
 * Lives of an actor: each begins after the last sign of the one before; in each life calls run one at a time and in
 * order; every call was seen.
 * @param {string} file @param {number} calls
 */
export function actorLives(file, calls) {
  const rows = linesOf(file)
    .map((line) => {
      const [at, life, pid, what, n] = line.split(" ");
      return { at: Number(at), life: Number(life), pid, what, n: Number(n) };
    })
    .sort((a, b) => a.at - b.at);
  /** @type {string[]} */
  const problems = [];
  let lastLife = -1;
  let lastCall = -1;
  const seen = new Set();
  const executed = new Map();
  for (const { life, what, n, at } of rows) {
    if (life < lastLife)
      problems.push(`life ${life} showed itself at ${at}, after life ${lastLife} had begun`);
    if (life > lastLife) {
      lastLife = life;
      lastCall = -1;
    }
    if (what === "begin") {
      if (n <= lastCall) problems.push(`call ${n} ran after call ${lastCall} in life ${life}`);
      lastCall = n;
      seen.add(n);
      executed.set(n, (executed.get(n) ?? 0) + 1);
    }
  }
  const missing = Array.from({ length: calls }, (_, n) => n).filter((n) => !seen.has(n));
  if (missing.length > 0)
    problems.push(`${missing.length} calls answered and never seen: ${missing.slice(0, 5)}`);
  let duplicates = 0;
  for (const n of executed.values()) duplicates += n - 1;
  return { problems, duplicates, lives: lastLife + 1 };
}

/** Whether a process has ended; a zombie has. @param {number} pid */
export function isGone(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return "ZX".includes(stat.slice(stat.lastIndexOf(")") + 2)[0] ?? "Z");
  } catch {
    return true;
  }
}

/** Live processes started with this runtime directory, which is this process's own if none is named. */
export function processesOf(runtimeDir = process.env.XDG_RUNTIME_DIR) {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      const environment = readFileSync(`/proc/${name}/environ`, "utf8").split("\0");
      if (!environment.includes(`XDG_RUNTIME_DIR=${runtimeDir}`)) return [];
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      const [state, ppid] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (state === "Z") return [];
      const title = readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      return [{ pid: Number(name), ppid: Number(ppid), title }];
    } catch {
      return [];
    }
  });
}

/** Files of stores in shared memory. */
export function sharedMemory() {
  return readdirSync("/dev/shm").filter((name) => name.startsWith("tsray-"));
}

/**
 * Those that came since, and that no live process has mapped: other clusters may begin and end beside this one.
 * @param {ReadonlySet<string>} before @param {number} [withinMs] the time they have to go
 */
export async function orphanedMemory(before, withinMs = 5000) {
  const untilMs = performance.now() + withinMs;
  for (;;) {
    const maps = readdirSync("/proc").map((name) => {
      try {
        return /^\d+$/.test(name) ? readFileSync(`/proc/${name}/maps`, "utf8") : "";
      } catch {
        return "";
      }
    });
    const orphans = sharedMemory().filter(
      (name) => !before.has(name) && !maps.some((map) => map.includes(name)),
    );
    if (orphans.length === 0 || performance.now() > untilMs) return orphans;
    await sleep(100);
  }
}

/** Uncaught exceptions in the logs of daemons. @param {string} runtimeDir */
export function uncaught(runtimeDir) {
  /** @type {string[]} */
  const found = [];
  const visit = (/** @type {string} */ dir) => {
    for (const entry of readdirSync(dir, { withFileTypes: true })) {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) visit(path);
      else if (/daemon-.*\.log$/.test(entry.name))
        found.push(...linesOf(path).filter((line) => line.includes("uncaught:")));
    }
  };
  if (existsSync(runtimeDir)) visit(runtimeDir);
  return found;
}

/** Resident bytes and open descriptors of a process. @param {number} pid */
export function footprint(pid) {
  try {
    const rss =
      Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
    return { rss, fds: readdirSync(`/proc/${pid}/fd`).length };
  } catch {
    return { rss: 0, fds: 0 };
  }
}

/**
 * Resident MiB of a process besides its garbage, which V8 lets grow to tens of MiB before it collects.
 * @param {number} pid
 */
export async function settledMib(pid) {
  const args = ["--experimental-websocket", SETTLED, String(pid)];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return Number(stdout) / 2 ** 20;
}
