// A hundred trials that return at once, from starting the program to its end: tsray, and Ray Tune where it can be had.
// node benchmarks/tune/hundred.mjs [--passes 3] [--trials 100] [--alone]
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { median } from "../../dist/measure.js";
import { installPython, python } from "../install.mjs";

const { values: args } = parseArgs({
  options: {
    passes: { type: "string", default: "3" },
    trials: { type: "string", default: "100" },
    alone: { type: "boolean", default: false },
  },
});
const RAY = ["ray==2.58.0", "pandas", "pyarrow", "tensorboardX", "requests", "fsspec", "pydantic"];
const here = (name) => join(import.meta.dirname, name);
const sides = [{ name: "tsray", command: [process.execPath, here("hundred_tsray.mjs")] }];
if (!args.alone) {
  try {
    console.error("installing ray");
    installPython(RAY);
    sides.push({ name: "ray", command: [python, here("rivals/ray_tune.py")] });
  } catch (error) {
    console.error(`ray is not run: ${error.message}`);
  }
}

/** Both end with one line of JSON: {"trials", "best", "fitSeconds"}. */
async function once({ command: [program, ...rest] }) {
  const directory = mkdtempSync(join(tmpdir(), "tsray-hundred-"));
  try {
    const startedMs = performance.now();
    const child = spawn(program, [...rest, directory, args.trials], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, RAY_USAGE_STATS_ENABLED: "0" },
    });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (text) => (stdout += text));
    child.stderr.on("data", (text) => (stderr = `${stderr}${text}`.slice(-2000)));
    const code = await new Promise((resolve) => child.on("close", resolve));
    const seconds = (performance.now() - startedMs) / 1000;
    if (code !== 0) throw new Error(`${program} ended with ${code}: ${stderr}`);
    const { trials, best, fitSeconds } = JSON.parse(stdout.trim().split("\n").at(-1));
    if (trials !== Number(args.trials) || !(best >= 0 && best < 0.1))
      throw new Error(`${program} gave ${trials} trials with best ${best}`);
    return { seconds, fitSeconds };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const runs = new Map(sides.map(({ name }) => [name, []]));
for (let pass = 1; pass <= Number(args.passes); pass++) {
  for (const side of sides) {
    console.error(`pass ${pass} of ${args.passes}: ${side.name}`);
    runs.get(side.name).push(await once(side));
  }
}
const medians = new Map(
  [...runs].map(([name, each]) => [
    name,
    { whole: median(each.map((run) => run.seconds)), fit: median(each.map((run) => run.fitSeconds)) },
  ]),
);
const ours = medians.get("tsray");
for (const [name, { whole, fit }] of medians) {
  const ratio =
    name === "tsray" ? "" : `  ${(whole / ours.whole).toFixed(1)}x, ${(fit / ours.fit).toFixed(1)}x`;
  console.log(
    `${name.padEnd(6)} ${args.trials} trials: program ${whole.toFixed(2)} s, fit() ${fit.toFixed(2)} s${ratio}`,
  );
}
