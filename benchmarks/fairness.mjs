// Whether a driver with 1,000,000 queued tasks starves another: latency of the other's single tasks before and meanwhile,
// memory of the first, and whether its rate falls towards the end. `node benchmarks/fairness.mjs [--tasks 1000000]`.
// Both share one node with 2 CPUs, which are held until everything is queued.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { get, init, remote, shutdown } from "tsray";
import { Cluster } from "tsray/testing";

const { values } = parseArgs({
  options: { tasks: { type: "string", default: "1000000" }, flood: { type: "string" } },
  strict: false,
});
const count = Number(values.tasks);
const SINGLE = 200;

export const noop = remote(function noop(i) {
  return i;
});
export const holds = remote(async function holds(file) {
  while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 5));
});

const rssMib = () =>
  Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) / 1024;
const at = (sorted, q) => (sorted[Math.floor((sorted.length - 1) * q)] ?? 0).toFixed(1);

/** The driver that queues them all: tells when it has, and how it went. */
async function flood(address) {
  await init({ address, logToDriver: false });
  const startedMs = performance.now();
  const refs = new Array(count);
  for (let i = 0; i < count; i++) refs[i] = noop.remote(i);
  const submitMs = performance.now() - startedMs;
  console.log(JSON.stringify({ submitted: count, perSecond: Math.round(count / (submitMs / 1000)) }));
  const tenth = count / 10;
  const tenthsMs = [];
  let wrong = 0;
  for (let part = 0; part < 10; part++) {
    const fromMs = performance.now();
    for (let from = part * tenth; from < (part + 1) * tenth; from += 10_000) {
      const chunk = refs.slice(from, Math.min(from + 10_000, (part + 1) * tenth));
      refs.fill(undefined, from, from + chunk.length);
      for (const [i, value] of (await get(chunk)).entries()) if (value !== from + i) wrong += 1;
    }
    tenthsMs.push(performance.now() - fromMs);
  }
  const rates = tenthsMs.map((ms) => Math.round(tenth / (ms / 1000)));
  console.log(JSON.stringify({ wrong, rates, rssMib: Math.round(rssMib()) }));
  await shutdown();
}

/** Single tasks, one after the other, while it holds. @returns milliseconds each, ascending */
async function singles(holdsOn) {
  const times = [];
  while (holdsOn(times.length)) {
    const fromMs = performance.now();
    if ((await noop.remote(times.length)) !== times.length) throw new Error("wrong value");
    times.push(performance.now() - fromMs);
  }
  return times.sort((a, b) => a - b);
}

if (values.flood !== undefined) await flood(values.flood);
else {
  const dir = mkdtempSync("/tmp/tsf-");
  const cluster = await Cluster.start({ head: { numCpus: 2 } });
  await init({ address: cluster.address, logToDriver: false });
  await singles((n) => n < SINGLE);
  const before = await singles((n) => n < SINGLE);
  const go = join(dir, "go");
  const holding = [holds.remote(go), holds.remote(go)];
  const args = [fileURLToPath(import.meta.url), "--flood", cluster.address, "--tasks", String(count)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const fact = async () => JSON.parse((await lines.next()).value ?? "{}");
  const { submitted, perSecond } = await fact();
  writeFileSync(go, "");
  let isOver = false;
  const ended = fact().finally(() => {
    isOver = true;
  });
  const during = await singles(() => !isOver);
  const { wrong, rates, rssMib: floodMib } = await ended;
  await get(holding);
  const row = (name, times) =>
    `${name}: ${times.length} tasks, median ${at(times, 0.5)} ms, p99 ${at(times, 0.99)} ms, worst ${at(times, 1)} ms`;
  console.log(
    `queued ${submitted} at ${perSecond}/s; wrong ${wrong}; peak memory of that driver ${floodMib} MiB`,
  );
  console.log(
    `its rate by tenths: ${rates.join(", ")}/s; last over first ${(rates[9] / rates[0]).toFixed(2)}`,
  );
  console.log(row("the other driver, before", before));
  console.log(row("the other driver, meanwhile", during));
  await shutdown();
  await cluster.shutdown();
  rmSync(dir, { recursive: true });
}
