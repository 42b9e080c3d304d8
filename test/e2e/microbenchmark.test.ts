// Goal: `tsray microbenchmark` measures rows that it is asked for, says wrong use plainly, and leaves nothing behind.
// Method: the command as users run it; one row of each group, quick.
import { readFileSync, rmSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  CLI,
  makeRuntimeDir,
  type Program,
  processesOf,
  sessionsIn,
  startProgram,
  until,
} from "./processes.ts";

const SMALL = ["--num-cpus", "2", "--object-store-memory", "64MiB", "--quick"];
let runtimeDir = "";

beforeEach(() => {
  runtimeDir = makeRuntimeDir();
});

afterEach(() => {
  const left = { processes: processesOf(runtimeDir), sessions: sessionsIn(runtimeDir) };
  rmSync(runtimeDir, { recursive: true, force: true });
  expect(left).toEqual({ processes: [], sessions: [] });
});

function begin(...args: string[]): Program {
  return startProgram([CLI, "microbenchmark", ...args], { XDG_RUNTIME_DIR: runtimeDir });
}

async function microbenchmark(...args: string[]) {
  const { code, stdout, stderr } = await begin(...args).ended;
  return { code, stdout, stderr };
}

test("rows by name, as JSON", async () => {
  const filter = "^(single client put calls|single client tasks sync|1:1 actor calls sync)";
  const { code, stdout, stderr } = await microbenchmark(...SMALL, "--json", "--filter", filter);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const rows = JSON.parse(stdout) as { name: string; unit: string; value: number; rounds: number[] }[];
  expect(rows.map(({ name, unit }) => [name, unit])).toEqual([
    ["single client put calls (Plasma Store)", "puts/s"],
    ["single client tasks sync", "tasks/s"],
    ["1:1 actor calls sync", "calls/s"],
  ]);
  for (const { value, rounds } of rows) {
    expect(rounds).toHaveLength(3);
    expect(rounds).toContain(value);
    expect(value).toBeGreaterThan(0);
  }
});

test("rows as text: name, rate, unit, and the rounds' range", async () => {
  const { code, stdout, stderr } = await microbenchmark(...SMALL, "--filter", "1:1 ASYNC-actor calls sync");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/^1:1 async-actor calls sync +[\d,.]+ calls\/s {2}\([\d,.]+ to [\d,.]+\)\n$/);
});

test("a row that gives a wrong result has no number, the next is measured, and the exit code is 1", async () => {
  const script = `
    import { measureRows } from ${JSON.stringify(new URL("../../dist/measure.js", import.meta.url).href)};
    const row = (name, sample) => ({ name, unit: "ms", what: "", prepare: () => ({ samples: 1, sample }) });
    const wrong = async () => { throw new Error("wrong result: 1 instead of 2"); };
    await measureRows([row("bad", wrong), row("good", async () => 7)], { quick: true });`;
  const { code, stdout } = await startProgram(["--input-type=module", "--eval", script], {}).ended;
  expect(code).toBe(1);
  const lines = stdout.trim().split("\n");
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    { name: "bad", unit: "ms", error: "wrong result: 1 instead of 2" },
    { name: "good", unit: "ms", value: 7, rounds: [7] },
  ]);
});

test("a measurement that is killed is said, the exit code is 1, and its cluster goes with it", async () => {
  const program = begin(...SMALL, "--filter", "tasks sync|calls async");
  await program.line((line) => line.startsWith("single client tasks sync"));
  const driver = processesOf(runtimeDir).find((pid) => parentOf(pid) === program.child.pid);
  process.kill(driver as number, "SIGKILL");
  const { code, stderr } = await program.ended;
  expect(code).toBe(1);
  expect(stderr).toMatch(/^tsray: it broke off \(SIGKILL\) after \d+ rows\n$/);
  await until(() => processesOf(runtimeDir).length === 0);
});

test("a bad filter, one that finds nothing and a bad number are wrong use", async () => {
  const bad = await microbenchmark("--filter", "(");
  expect(bad).toMatchObject({ code: 2, stdout: "" });
  expect(bad.stderr).toContain("--filter must be a regular expression");
  const none = await microbenchmark(...SMALL, "--filter", "no such row");
  expect(none).toMatchObject({ code: 2, stdout: "" });
  expect(none.stderr).toContain('--filter "no such row" finds no row');
  const number = await microbenchmark("--num-cpus", "two");
  expect(number).toMatchObject({ code: 2, stdout: "" });
  expect(number.stderr).toContain("--num-cpus");
});

function parentOf(pid: number): number {
  return Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}
