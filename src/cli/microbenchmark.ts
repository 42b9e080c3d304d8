/**
 * `tsray microbenchmark`: rates of calls and objects on this machine, under the names that `ray microbenchmark` prints.
 * The measuring is a driver script of its own (src/microbenchmark/main.ts); here its lines become text.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { MICROBENCHMARK_ENTRY } from "../core/launch/entries.ts";
import type { Line, Plan } from "../microbenchmark/measure.ts";
import { type NodeFlags, readNodeFlags } from "./flags.ts";
import { printJson } from "./output.ts";
import { UsageError } from "./usage-error.ts";

export interface MicrobenchmarkFlags extends Pick<NodeFlags, "numCpus" | "objectStoreMemory"> {
  readonly filter?: string;
  readonly json?: boolean;
  readonly quick?: boolean;
  readonly heavy?: boolean;
}

const NAME_WIDTH = 46;
const FORWARDED: readonly NodeJS.Signals[] = ["SIGTERM", "SIGHUP"];

export async function microbenchmark(flags: MicrobenchmarkFlags): Promise<void> {
  const { numCpus, objectStoreMemory } = readNodeFlags(flags);
  const plan: Plan = {
    only: readFilter(flags.filter),
    quick: flags.quick,
    heavy: flags.heavy,
    numCpus,
    objectStoreMemory,
  };
  const lines: Line[] = [];
  const code = await measure(plan, (line) => {
    lines.push(line);
    if (!flags.json) console.log(describe(line));
  });
  if (code === 0 && lines.length === 0)
    throw new UsageError(
      `--filter ${JSON.stringify(flags.filter)} finds no row: without it, all are measured`,
    );
  if (flags.json) printJson(lines);
  const failed = lines.filter((line) => "error" in line).length;
  if (code === 0 && failed === 0) return;
  console.error(
    failed > 0
      ? `tsray: ${failed} of ${lines.length} rows failed`
      : `tsray: it broke off (${code}) after ${lines.length} rows`,
  );
  process.exitCode = 1;
}

function readFilter(text: string | undefined): string | undefined {
  try {
    new RegExp(text ?? "");
    return text;
  } catch (error) {
    throw new UsageError(`--filter must be a regular expression: ${(error as Error).message}`);
  }
}

/** @returns the exit code, or the signal that ended it */
async function measure(plan: Plan, onLine: (line: Line) => void): Promise<number | string> {
  const program = [fileURLToPath(MICROBENCHMARK_ENTRY), JSON.stringify(plan)];
  const child = spawn(process.execPath, program, { stdio: ["ignore", "pipe", "inherit"] });
  const forward = (signal: NodeJS.Signals) => void child.kill(signal);
  for (const signal of FORWARDED) process.on(signal, forward);
  createInterface({ input: child.stdout }).on("line", (text) => onLine(JSON.parse(text) as Line));
  try {
    return await new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code, signal) => resolve(signal ?? code ?? 1));
    });
  } finally {
    for (const signal of FORWARDED) process.off(signal, forward);
  }
}

function describe(line: Line): string {
  const name = line.name.padEnd(NAME_WIDTH);
  if ("error" in line) return `${name}failed: ${line.error}`;
  const [value, low, high] = [line.value, Math.min(...line.rounds), Math.max(...line.rounds)].map(show);
  return `${name}${value} ${line.unit}  (${low} to ${high})`;
}

/** Three digits that count. */
function show(value: number): string {
  const rounded = Number(value.toPrecision(3));
  return rounded >= 1000 ? rounded.toLocaleString("en-GB") : String(rounded);
}
