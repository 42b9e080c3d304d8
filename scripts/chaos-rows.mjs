// `npm run chaos:rows -- [R1 R3 ...] [--scale 0.1]`: single experiments of the goal table of reliability, with figures
// beside the most they may be; all of them where none is named. `--scale` is the share of the table's counts and times.
// Ends with code 1 when a figure is above its limit, or anything of the clusters is left. R21 and R23 are in
// test/e2e/out-of-memory.test.ts and small-memory.test.ts, R30, R31 and R36 in `npm run chaos`, R33 in `npm run simulate`.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { init, shutdown } from "tsray";
import { Cluster } from "tsray/testing";
import { processesOf, sharedMemory, uncaught } from "./chaos/checks.mjs";
import { rows } from "./chaos/rows.mjs";

const { values, positionals } = parseArgs({
  options: { scale: { type: "string", default: "1" } },
  allowPositionals: true,
});
const scale = Number(values.scale);
const names = positionals.length === 0 ? Object.keys(rows) : positionals;
const unknown = names.filter((name) => rows[name] === undefined);
if (!(scale > 0 && scale <= 1) || unknown.length > 0) {
  console.error(`chaos:rows: --scale is above 0 and at most 1, rows are ${Object.keys(rows).join(", ")}`);
  process.exit(2);
}

// Workers evaluate this module as far as Cluster.start: they find the directory made.
const base = process.env.TSRAY_CHAOS_DIR ?? mkdtempSync("/tmp/tsc-");
process.env.TSRAY_CHAOS_DIR = base;
const runtimeDir = join(base, "r");
process.env.XDG_RUNTIME_DIR = runtimeDir;
mkdirSync(runtimeDir, { recursive: true });

let failures = 0;
let files = 0;
for (const name of names) {
  const { what, run } = /** @type {(typeof rows)[string]} */ (rows[name]);
  console.log(`${name}  ${what}`);
  /** @param {string} figure @param {number} value @param {number} [max] */
  const is = (figure, value, max) => {
    const isOver = max !== undefined && !(value <= max);
    if (isOver) failures += 1;
    const rounded = Number.isInteger(value) ? value : value < 10 ? value.toFixed(2) : Math.round(value);
    console.log(
      `  ${isOver ? "FAILED " : ""}${figure}: ${rounded}${max === undefined ? "" : ` (at most ${max})`}`,
    );
  };
  const shmBefore = new Set(sharedMemory());
  /** @type {Cluster | undefined} */
  let made;
  try {
    await run({
      is,
      runtimeDir,
      scale,
      file: (of = name) => join(base, `${of}-${files++}`),
      cluster: async ({ nodes = [] } = {}) => {
        made = await Cluster.start({ head: { numCpus: 2 } });
        for (const node of nodes) await made.addNode(node);
        await init({ address: made.address, logToDriver: false });
        return made;
      },
    });
  } catch (error) {
    failures += 1;
    console.log(`  FAILED ${/** @type {Error} */ (error).stack}`);
  }
  await shutdown();
  await made?.shutdown();
  // What raylets leave that are killed is swept by whoever comes next.
  await init({ numCpus: 1 });
  await shutdown();
  const untilMs = performance.now() + 10_000;
  while (processesOf(runtimeDir).length > 0 && performance.now() < untilMs)
    await new Promise((resolve) => setTimeout(resolve, 50));
  is("processes left", processesOf(runtimeDir).length, 0);
  is("files in shared memory left", sharedMemory().filter((file) => !shmBefore.has(file)).length, 0);
  is("uncaught errors in logs", uncaught(runtimeDir).length, 0);
}
rmSync(base, { recursive: true, force: true });
console.log(failures === 0 ? "chaos:rows: all held" : `chaos:rows: ${failures} figures FAILED`);
process.exit(failures === 0 ? 0 : 1);
