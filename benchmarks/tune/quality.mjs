// The whole table of search quality beside Optuna: runs what is missing, prints Markdown.
// node --import tsx benchmarks/tune/quality.mjs [--samplers tpe,cma,gp] [--parallel 1,8] [--seeds 20] [--trials 200]
//   [--functions branin,levy5] [--cache DIR] [--python PATH] [--no-optuna]
// Every run is kept in the cache as soon as it is over, so a command that was cut off goes on where it was. Ours are kept
// by a digest of the sources: a change of them measures anew.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { python as installed, installPython } from "../install.mjs";
import { CHECKPOINTS, FUNCTIONS } from "./functions.mjs";
import { readRuns, report } from "./table.mjs";

const { values: args } = parseArgs({
  options: {
    samplers: { type: "string", default: "tpe,cma,gp" },
    parallel: { type: "string", default: "1,8" },
    seeds: { type: "string", default: "20" },
    trials: { type: "string", default: "200" },
    functions: { type: "string", default: Object.keys(FUNCTIONS).join(",") },
    cache: { type: "string" },
    python: { type: "string" },
    "no-optuna": { type: "boolean", default: false },
  },
});
const caches = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
const cache = args.cache ?? join(caches, "tsray-benchmarks", "tune");
const here = fileURLToPath(new URL(".", import.meta.url));
const sources = fileURLToPath(new URL("../../src/libs/tune/", import.meta.url));
const trials = Number(args.trials);
const wanted = CHECKPOINTS.filter((checkpoint) => checkpoint <= trials).length;
mkdirSync(cache, { recursive: true });

/** What decides what our searchers suggest. */
function digest() {
  const hash = createHash("sha256");
  for (const folder of ["search", "maths", "space"])
    for (const file of readdirSync(join(sources, folder)).sort())
      if (!file.endsWith(".test.ts")) hash.update(readFileSync(join(sources, folder, file)));
  return hash.digest("hex").slice(0, 12);
}

/** Runs what `file` lacks, seed by seed, so that a part of it is a table with fewer seeds. */
async function complete(file, command, sampler, parallel) {
  const had = existsSync(file) ? readRuns([file]) : [];
  const isThere = (name, seed) =>
    had.some((run) => run.function === name && run.seed === seed && run.regrets.length >= wanted);
  const missing = Array.from({ length: Number(args.seeds) }, (_, seed) =>
    args.functions
      .split(",")
      .filter((name) => !isThere(name, seed))
      .map((name) => `${name}:${seed}`),
  ).flat();
  if (missing.length === 0) return;
  console.error(`${sampler}, ${parallel} at a time: ${missing.length} runs of ${command.at(-1)}`);
  const rest = ["--sampler", sampler, "--runs", missing.join(), "--parallel", parallel, "--trials", trials];
  const child = spawn(command[0], [...command.slice(1), ...rest.map(String)], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, OMP_NUM_THREADS: "1", OPENBLAS_NUM_THREADS: "1" },
  });
  const over = new Promise((resolve) => child.once("close", resolve));
  for await (const line of createInterface({ input: child.stdout })) appendFileSync(file, `${line}\n`);
  const code = await over;
  if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}`);
}

const version = digest();
const files = [];
let python = args.python;
if (!args["no-optuna"] && python === undefined) {
  const cma = args.samplers.split(",").includes("cma") ? ["cmaes==0.13.1"] : [];
  installPython(["optuna==5.0.0", ...cma, "scipy", "torch", "greenlet"]);
  python = installed;
}
for (const sampler of args.samplers.split(",")) {
  for (const parallel of args.parallel.split(",").map(Number)) {
    const ours = join(cache, `ours-${version}-${sampler}-${parallel}.jsonl`);
    await complete(ours, [process.execPath, "--import", "tsx", join(here, "ours.mjs")], sampler, parallel);
    const theirs = join(cache, `optuna-${sampler}-${parallel}.jsonl`);
    if (!args["no-optuna"])
      await complete(theirs, [python, join(here, "rivals/optuna_quality.py")], sampler, parallel);
    files.push(...[ours, theirs].filter((file) => existsSync(file)));
  }
}
const chosen = args.functions.split(",");
console.log(
  report(readRuns(files).filter((run) => run.seed < Number(args.seeds) && chosen.includes(run.function))),
);
