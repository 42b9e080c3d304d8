// Goal: the benchmark room works: a table of ours, the same numbers as JSON, and plain words for wrong use.
// Method: `npm run bench`'s program, quick, one row of each kind of program. What others measure needs their packages and is not tested.
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeRuntimeDir, processesOf, sessionsIn, startProgram } from "./processes.ts";

const PROGRAM = fileURLToPath(new URL("../../benchmarks/run.mjs", import.meta.url));
/** Four programs, each with a cluster of its own, rest included. */
const TABLE_MS_MAX = 180_000;
let runtimeDir = "";

beforeEach(() => {
  runtimeDir = makeRuntimeDir();
});

afterEach(() => {
  const left = { processes: processesOf(runtimeDir), sessions: sessionsIn(runtimeDir) };
  rmSync(runtimeDir, { recursive: true, force: true });
  expect(left).toEqual({ processes: [], sessions: [] });
});

async function bench(...args: string[]) {
  const { code, stdout, stderr } = await startProgram([PROGRAM, ...args], { XDG_RUNTIME_DIR: runtimeDir })
    .ended;
  return { code, stdout, stderr };
}

test(
  "ours alone: one table, and every number as JSON",
  async () => {
    const file = join(runtimeDir, "numbers.json");
    const { code, stdout } = await bench(
      "--quick",
      "--group",
      "start,tasks",
      "--only",
      "^cold|tasks sync",
      "--passes",
      "2",
      "--json",
      file,
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/\n\| row \| unit \| tsray \|\n/);
    expect(stdout).toMatch(/\n\| cold start \| ms \| [\d,.]+ \|\n/);
    expect(stdout).toMatch(/\n\| single client tasks sync \| tasks\/s \| [\d,.]+ \|\n/);
    const report = JSON.parse(readFileSync(file, "utf8")) as {
      rows: { group: string; name: string; sides: { tsray: { passes: number[]; median: number } } }[];
    };
    expect(report.rows.map(({ group, name }) => [group, name])).toEqual([
      ["start", "cold start"],
      ["tasks", "single client tasks sync"],
    ]);
    for (const { sides } of report.rows) {
      expect(sides.tsray.passes).toHaveLength(2);
      expect(sides.tsray.median).toBeGreaterThan(0);
    }
  },
  TABLE_MS_MAX,
);

test.each([
  [
    ["--vs", "rya"],
    '--vs takes ray, piscina, workerpool, multiprocessing, joblib, dask, distributed, bullmq, got "rya"',
  ],
  [
    ["--group", "object"],
    '--group takes start, objects, tasks, actors, efficiency, jobs, envelope, memory, head, got "object"',
  ],
  [["--passes", "0"], '--passes must be a whole number from 1, got "0"'],
  [["--only", "("], "--only must be a regular expression"],
  [["--fast"], "Unknown option '--fast'"],
])("%j is wrong use", async (args, message) => {
  const { code, stdout, stderr } = await bench(...args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toContain(message);
});
