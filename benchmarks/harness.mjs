// Runs the sides' programs in turn and gathers their numbers. A side is tsray or a rival that could be installed.
//
// A program takes a plan (src/microbenchmark/measure.ts) and prints one line of JSON per row; a start program is
// described in start.mjs. What does not end is ended, and stands in the report.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { median } from "../dist/measure.js";
import { arithmetic, compileArithmetic, installNode, nodePackages, python } from "./install.mjs";
import { RIVALS } from "./rivals/rivals.mjs";
import { measureStart, START_ROWS } from "./start.mjs";

export const CPUS = 2;
export const STORE_BYTES = 4 * 2 ** 30;
const PROGRAM_MS_MAX = 30 * 60_000;
const QUICK_MS_MAX = 5 * 60_000;

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

/** tsray first. @returns the sides, and who could not be installed with the reason */
export function makeSides(version, rivals, groups) {
  const sides = [
    {
      name: "tsray",
      versions: { tsray: version },
      command: ourCommand,
    },
  ];
  const notRun = [];
  if (groups.includes("jobs")) {
    try {
      compileArithmetic();
      installNode(["koffi@3.3.4"]);
    } catch (error) {
      notRun.push({ name: "the jobs' loops in C", reason: error.message });
    }
  }
  for (const name of rivals) {
    const { install, language, programs } = RIVALS[name];
    const interpreter = language === "python" ? python : process.execPath;
    const command = (group) => programs[group] && [interpreter, here(`rivals/${programs[group]}`)];
    try {
      console.error(`installing ${name}`);
      const versions = install();
      sides.push({ name, versions, command });
    } catch (error) {
      notRun.push({ name, reason: error.message });
    }
  }
  return { sides, notRun };
}

/** Our program for a group. */
function ourCommand(group) {
  const node = process.execPath;
  if (group === "start") return [node, here("tsray_start.mjs")];
  if (group === "head") return [node, "--import", "tsx", here("head/main.ts")];
  if (group === "envelope" || group === "memory") return [node, here("envelope.mjs")];
  if (group === "efficiency" || group === "jobs") return [node, here("work/ours.mjs")];
  return [node, here("../dist/microbenchmark.js")];
}

/** @returns rows with each side's median over the passes, and what broke off */
export async function measureInTurn(sides, asked) {
  const table = new Table();
  const broken = [];
  for (let pass = 1; pass <= asked.passes; pass++) {
    for (const group of asked.groups) {
      for (const side of sides) {
        const command = side.command(group);
        if (command === undefined) continue;
        console.error(`pass ${pass} of ${asked.passes}: ${group}, ${side.name}`);
        const run = group === "start" ? runStart : runProgram;
        const { lines, ended } = await inScratch((env) => run(command, group, asked, env));
        for (const line of lines) {
          const shown = line.error ?? `${line.value.toPrecision(4)} ${line.unit}`;
          console.error(`  ${side.name}: ${line.name}: ${shown}`);
          table.add(group, side.name, line);
        }
        if (ended !== undefined) broken.push({ name: side.name, group, pass, ended });
      }
    }
  }
  return { rows: table.rows(), broken };
}

async function runStart([command, ...args], _group, { only }, env) {
  const wanted = START_ROWS.filter(({ name }) => only.test(name));
  if (wanted.length === 0) return { lines: [] };
  try {
    const lines = await measureStart(command, args, wanted, { env });
    return { lines: lines.filter(({ name }) => only.test(name)) };
  } catch (error) {
    return { lines: wanted.map(({ name, unit }) => ({ name, unit, error: error.message })) };
  }
}

async function runProgram([command, ...args], group, { only, quick, heavy }, env) {
  const plan = { group, only: only.source, quick, heavy, numCpus: CPUS, objectStoreMemory: STORE_BYTES };
  const child = spawn(command, [...args, JSON.stringify(plan)], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const stop = () => void child.kill();
  process.on("SIGTERM", stop);
  const timer = setTimeout(stop, quick ? QUICK_MS_MAX : PROGRAM_MS_MAX);
  const lines = [];
  createInterface({ input: child.stdout }).on("line", (text) => {
    // Others print what they like beside it.
    if (text.startsWith('{"name"')) lines.push(JSON.parse(text));
  });
  let complaint = "";
  child.stderr.on("data", (text) => {
    complaint = `${complaint}${text}`.slice(-2000);
  });
  const code = await new Promise((resolve) =>
    child.on("exit", (status, signal) => resolve(signal ?? status)),
  );
  clearTimeout(timer);
  process.off("SIGTERM", stop);
  // 1 with a row that failed is that row's.
  if (code === 0 || lines.some(({ error }) => error !== undefined)) return { lines };
  console.error(complaint);
  return { lines, ended: code };
}

/** Nobody joins a cluster that runs, or leaves compiled files in the repository or logs in the temporary directory. */
async function inScratch(run) {
  const { TSRAY_ADDRESS: _ours, RAY_ADDRESS: _theirs, ...rest } = process.env;
  const scratch = mkdtempSync(join(tmpdir(), "tsb-"));
  const own = {
    BENCH_PACKAGES: nodePackages,
    BENCH_ARITHMETIC: arithmetic,
    PYTHONDONTWRITEBYTECODE: "1",
    RAY_TMPDIR: scratch,
  };
  try {
    return await run({ ...rest, ...own });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** group -> row -> side -> numbers of all passes */
class Table {
  #cells = new Map();

  add(group, side, { name, unit, value, rounds, error }) {
    const key = `${group}/${name}`;
    const row = this.#cells.get(key) ?? { group, name, unit, bySide: new Map() };
    this.#cells.set(key, row);
    const cell = row.bySide.get(side) ?? { values: [], rounds: [], error: undefined };
    row.bySide.set(side, cell);
    if (error !== undefined) cell.error = error;
    else {
      cell.values.push(value);
      cell.rounds.push(...rounds);
    }
  }

  /** A wrong result in one pass fails the row of that side. */
  rows() {
    return [...this.#cells.values()].map(({ bySide, ...row }) => ({
      ...row,
      sides: Object.fromEntries(
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
      ),
    }));
  }
}
