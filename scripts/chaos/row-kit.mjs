// What the rows of the goal table share: what a row is given, waiting, killing, the load of tasks, processes of their own.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { nodes } from "tsray";
import { isGone, linesOf, processesOf } from "./checks.mjs";
import { hashed, now, sha } from "./row-work.mjs";

/**
 * What a row works with.
 * @typedef {object} Row
 * @property {(name?: string) => string} file of a record of its own
 * @property {(what: string, value: number, max?: number) => void} is a figure, and the most it may be
 * @property {(options?: { nodes?: import("tsray/testing").NodeOptions[] }) => Promise<import("tsray/testing").Cluster>} cluster
 *   one node with 2 CPUs, the driver's, and others; shut down after the row
 * @property {string} runtimeDir
 * @property {number} scale share of the counts of the table
 */

export const range = (/** @type {number} */ n) => Array.from({ length: n }, (_, i) => i);
export const two = { numCpus: 2 };
/** @template T @param {readonly T[]} values @returns {T | undefined} */
export const any = (values) => values[Math.floor(Math.random() * values.length)];
export const quantile = (/** @type {number[]} */ values, /** @type {number} */ q) =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))] ?? 0;
export const nameOf = (/** @type {PromiseLike<unknown>} */ call) =>
  Promise.resolve(call).then(
    () => "value",
    (/** @type {Error} */ error) => error.name,
  );

/** Asks until it holds. @param {() => boolean | Promise<boolean>} holds @returns {Promise<number>} the milliseconds */
export async function until(holds, maxMs = 60_000) {
  const fromMs = now();
  while (!(await holds()) && now() - fromMs < maxMs) await sleep(5);
  return now() - fromMs;
}

export const kill = (/** @type {number} */ pid) => {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
};

/** Kills a raylet by itself: its workers must follow. @returns milliseconds until they are gone, until its death is known */
export async function killRaylet(/** @type {import("tsray/testing").ClusterNode} */ node) {
  const workers = processesOf().filter(({ ppid }) => ppid === node.pid);
  kill(node.pid);
  const state = async () => (await nodes()).find(({ nodeId }) => nodeId === node.nodeId)?.state;
  const [workersMs, knownMs] = await Promise.all([
    until(() => workers.every(({ pid }) => isGone(pid))),
    until(async () => (await state()) === "DEAD"),
  ]);
  return { workersMs, knownMs };
}

/** W1, all at once. @returns how many values were wrong, how many calls failed, how long it took */
export async function w1(/** @type {string} */ file, /** @type {number} */ count, first = 0) {
  const fromMs = now();
  const values = await Promise.allSettled(
    range(count).map((i) => hashed.remote(file, first + i, 10 + ((i * 7) % 40))),
  );
  const lost = values.filter(({ status }) => status === "rejected").length;
  const wrong = values.filter(
    (each, i) => each.status === "fulfilled" && each.value !== sha(`w1 ${first + i}`) + "x".repeat(10_000),
  ).length;
  return { lost, wrong, ms: now() - fromMs };
}

/** Runs of W1 in the order of their beginning. */
export const runsOf = (/** @type {string} */ file) =>
  linesOf(file)
    .map((line) => line.split(" ").map(Number))
    .map(([i = 0, attempt = 0, atMs = 0, pid = 0]) => ({ i, attempt, atMs, pid }))
    .sort((a, b) => a.atMs - b.atMs);

export const CLI = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));

/** A Node process of its own, whose standard output is read line by line. */
export function startNode(/** @type {string[]} */ args) {
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  /** @type {Promise<number | null>} */
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const line = async () => (await lines.next()).value;
  return { child, ended, line, fact: async () => JSON.parse(String(await line())) };
}
