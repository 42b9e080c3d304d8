// The group "start": what it costs to have the first result, and what it costs to stay.
//
// The program that is measured says {"firstResultMs"} when it has its first result, makes all of its workers run
// something, and stays idle until its standard input ends; then with "again" among its arguments, it does it all again and says {"againMs"}. Its memory is that
// of its whole process tree while it was idle.
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const SETTLE_MS = 4000;
const END_MS_MAX = 30_000;

const AGAIN = "init to first result, again";

export const START_ROWS = [
  {
    name: "cold start",
    unit: "ms",
    what: "from starting the process (interpreter, imports, cluster) to its first task's result",
  },
  { name: "init to first result", unit: "ms", what: "of which after the imports" },
  {
    name: "idle memory (RSS)",
    unit: "MB",
    what: "resident memory of the process tree, summed, with 2 workers that have run tasks, after 4 s idle",
  },
  { name: "idle memory (PSS)", unit: "MB", what: "the same, with shared pages counted once" },
  {
    name: AGAIN,
    unit: "ms",
    what: "after an orderly end of all that, in the same process: a new cluster, all programs and modules warm",
  },
];

/** In the program that is measured. */
export function ready(firstResultMs) {
  process.stdout.write(`${JSON.stringify({ firstResultMs })}\n`);
}

/** In the program that is measured, after its end: how long a second start took. */
export function again(againMs) {
  process.stdout.write(`${JSON.stringify({ againMs })}\n`);
}

/** In the program that is measured: uses all workers, then idles for as long as it is wanted. */
export async function idle(useWorkers) {
  await useWorkers();
  await new Promise((resolve) => {
    process.stdin.on("end", resolve);
    process.stdin.resume();
  });
}

/** Starts a program and measures it, for the rows that are wanted. */
export async function measureStart(command, args, wanted, options) {
  const startedMs = performance.now();
  const isAgain = wanted.some(({ name }) => name === AGAIN);
  const child = spawn(command, isAgain ? [...args, "again"] : args, {
    ...options,
    stdio: ["pipe", "pipe", "pipe"],
  });
  let complaint = "";
  child.stderr.on("data", (text) => {
    complaint = `${complaint}${text}`.slice(-2000);
  });
  const ended = new Promise((resolve) => child.on("close", resolve));
  let againMs;
  const first = new Promise((resolve) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line.startsWith('{"firstResultMs"'))
        resolve({ coldMs: performance.now() - startedMs, ...JSON.parse(line) });
      if (line.startsWith('{"againMs"')) ({ againMs } = JSON.parse(line));
    });
  });
  const got = await Promise.race([first, ended.then(() => undefined)]);
  if (got === undefined) throw new Error(complaint.trim().split("\n").at(-1) || "it ended without a result");
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const { rssMb, pssMb } = memoryOfTree(child.pid);
  child.stdin.end();
  const timer = setTimeout(() => child.kill("SIGKILL"), END_MS_MAX);
  await ended;
  clearTimeout(timer);
  const values = [got.coldMs, got.firstResultMs, rssMb, pssMb, againMs];
  return START_ROWS.map(({ name, unit }, i) => ({
    name,
    unit,
    value: values[i],
    rounds: [values[i]],
  })).filter(({ value }) => value !== undefined);
}

export function memoryOfTree(root) {
  const parents = new Map();
  for (const name of readdirSync("/proc")) {
    const parent = /^\d+$/.test(name) ? field(`/proc/${name}/status`, "PPid") : undefined;
    if (parent !== undefined) parents.set(Number(name), parent);
  }
  const tree = new Set([root]);
  for (let size = 0; size !== tree.size; ) {
    size = tree.size;
    for (const [pid, parent] of parents) if (tree.has(parent)) tree.add(pid);
  }
  const sum = (name) =>
    [...tree].reduce((kib, pid) => kib + (field(`/proc/${pid}/smaps_rollup`, name) ?? 0), 0) / 1024;
  return { rssMb: sum("Rss"), pssMb: sum("Pss") };
}

function field(file, name) {
  try {
    return Number(new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(readFileSync(file, "utf8"))?.[1]);
  } catch {
    return undefined; // It has ended.
  }
}
