// `npm run bench`: measures tsray, and on request others beside it, in turn, and prints one table. See README.md.
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { median } from "../dist/measure.js";
import { nodePackages, python } from "./install.mjs";
import { RIVALS } from "./rivals/rivals.mjs";
import { measureStart, START_ROWS } from "./start.mjs";
import { markdown } from "./table.mjs";

const CPUS = 2;
const STORE_BYTES = 4 * 2 ** 30;
/** What does not end by itself is ended. */
const PROGRAM_MS_MAX = 30 * 60_000;
const QUICK_MS_MAX = 5 * 60_000;
const GROUPS = ["start", "objects", "tasks", "actors"];

const { values: flags } = parseArgs({
  options: {
    vs: { type: "string", default: "" },
    only: { type: "string", default: "" },
    group: { type: "string", default: GROUPS.join() },
    passes: { type: "string" },
    quick: { type: "boolean", default: false },
    heavy: { type: "boolean", default: false },
    json: { type: "string" },
  },
});
const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const { version } = JSON.parse(readFileSync(here("../package.json"), "utf8"));
const only = new RegExp(flags.only, "i");
const rivals = flags.vs.split(",").filter((name) => name !== "");
for (const name of rivals) {
  if (!Object.hasOwn(RIVALS, name))
    throw new Error(`--vs takes ${Object.keys(RIVALS).join(", ")}, got ${JSON.stringify(name)}`);
}
const passes = Number(flags.passes ?? (rivals.length > 0 ? 3 : 1));
const groups = flags.group.split(",");

const sides = [
  {
    name: "tsray",
    versions: { tsray: version },
    start: [process.execPath, [here("rows/tsray_start.mjs")]],
    program: [process.execPath, [here("../dist/microbenchmark.js")]],
  },
];
const notRun = [];
const broken = [];
for (const name of rivals) {
  const { install, language, program, start } = RIVALS[name];
  try {
    console.error(`installing ${name}`);
    const versions = install();
    const command = (script) =>
      script && [language === "python" ? python : process.execPath, [here(`rivals/${script}`)]];
    sides.push({ name, versions, start: command(start), program: command(program) });
  } catch (error) {
    notRun.push({ name, reason: error.message });
  }
}

/** group -> row -> side -> { unit, values, rounds, error } */
const results = new Map();
for (let pass = 1; pass <= passes; pass++) {
  for (const group of groups) {
    for (const side of sides) {
      console.error(`pass ${pass} of ${passes}: ${group}, ${side.name}`);
      for (const line of await lines(side, group, pass)) keep(group, side.name, line);
    }
  }
}
const report = {
  when: new Date().toISOString(),
  machine: { cores: availableParallelism(), cpu: cpus()[0]?.model, memoryGb: Math.round(totalmem() / 1e9) },
  node: process.version,
  setup: { cpus: CPUS, objectStoreBytes: STORE_BYTES, passes, quick: flags.quick },
  sides: sides.map(({ name, versions }) => ({ name, versions })),
  notRun,
  broken,
  rows: [...results].flatMap(([group, rows]) =>
    [...rows].map(([name, bySide]) => ({ group, name, ...summary(bySide) })),
  ),
};
console.log(markdown(report));
if (flags.json !== undefined) writeFileSync(flags.json, `${JSON.stringify(report, undefined, 2)}\n`);
if (
  report.rows.some(({ sides: of }) => of.tsray?.error !== undefined) ||
  broken.some(({ name }) => name === "tsray")
)
  process.exitCode = 1;

function keep(group, side, { name, unit, value, rounds, error }) {
  const rows = results.get(group) ?? new Map();
  results.set(group, rows);
  const bySide = rows.get(name) ?? new Map();
  rows.set(name, bySide);
  const had = bySide.get(side) ?? { unit, values: [], rounds: [] };
  bySide.set(side, had);
  if (error !== undefined) had.error = error;
  else {
    had.values.push(value);
    had.rounds.push(...rounds);
  }
}

/** A wrong result in one pass fails the row of that side. */
function summary(bySide) {
  const [{ unit }] = bySide.values();
  const of = Object.fromEntries(
    [...bySide].map(([side, { values, rounds, error }]) => [
      side,
      error === undefined
        ? {
            median: median(values),
            passes: values,
            lowest: Math.min(...rounds),
            highest: Math.max(...rounds),
          }
        : { error },
    ]),
  );
  return { unit, sides: of };
}

async function lines(side, group, pass) {
  if (group !== "start") return side.program === undefined ? [] : await runProgram(side, group, pass);
  if (side.start === undefined || !START_ROWS.some(({ name }) => only.test(name))) return [];
  const [command, args] = side.start;
  const measured = await measureStart(command, args, { env: environment() }).catch((error) =>
    START_ROWS.map(({ name, unit }) => ({ name, unit, error: error.message })),
  );
  return measured.filter(({ name }) => only.test(name));
}

/** The lines that a program prints, one per row. */
async function runProgram({ name, program: [command, args] }, group, pass) {
  const plan = {
    group,
    only: flags.only,
    quick: flags.quick,
    heavy: flags.heavy,
    numCpus: CPUS,
    objectStoreMemory: STORE_BYTES,
  };
  const child = spawn(command, [...args, JSON.stringify(plan)], {
    env: environment(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const found = [];
  createInterface({ input: child.stdout }).on("line", (text) => {
    if (!text.startsWith("{")) return;
    const line = JSON.parse(text);
    found.push(line);
    const shown = line.error ?? `${line.value.toPrecision(4)} ${line.unit}`;
    console.error(`  ${name}: ${line.name}: ${shown}`);
  });
  let complaint = "";
  child.stderr.on("data", (text) => {
    complaint = `${complaint}${text}`.slice(-2000);
  });
  const timer = setTimeout(() => child.kill(), flags.quick ? QUICK_MS_MAX : PROGRAM_MS_MAX);
  const code = await new Promise((resolve) =>
    child.on("exit", (status, signal) => resolve(signal ?? status)),
  );
  clearTimeout(timer);
  if (code !== 0 && !found.some(({ error }) => error !== undefined)) {
    console.error(`  ${name} ended with ${code}: ${complaint}`);
    broken.push({ name, reason: `group ${group} ended with ${code} in pass ${pass}` });
  }
  return found;
}

function environment() {
  const { TSRAY_ADDRESS: _joinsNothing, RAY_ADDRESS: _neither, ...rest } = process.env;
  return { ...rest, BENCH_PACKAGES: nodePackages };
}
