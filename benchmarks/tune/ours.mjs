// Search quality: our searchers on the standard functions, one JSON line per run. Times are CPU time.
// node --import tsx benchmarks/tune/ours.mjs --sampler tpe --runs branin:0,levy5:3 [--parallel 8] [--trials 200]
import { parseArgs } from "node:util";
import * as search from "../../src/libs/tune/search/index.ts";
import { defineSpace, uniform } from "../../src/libs/tune/space/index.ts";
import { CHECKPOINTS, FUNCTIONS } from "./functions.mjs";

const { values: args } = parseArgs({
  options: {
    sampler: { type: "string" },
    runs: { type: "string" },
    trials: { type: "string", default: "200" },
    parallel: { type: "string", default: "1" },
    options: { type: "string", default: "{}" },
  },
});
const SEARCHERS = {
  random: search.RandomSearcher,
  sobol: search.SobolSearcher,
  tpe: search.TPESearcher,
  cma: search.CmaEsSearcher,
  gp: search.GPSearcher,
};

function run(name, functionName, seed, trials, parallel) {
  const [f, box, optimum] = FUNCTIONS[functionName];
  const searcher = new SEARCHERS[name](JSON.parse(args.options));
  const space = defineSpace(Object.fromEntries(box.map(([low, high], i) => [`x${i}`, uniform(low, high)])));
  searcher.setup(space, [{ metric: "value", direction: "min" }], seed);
  const regrets = [];
  const costs = [];
  const running = [];
  let best = Number.POSITIVE_INFINITY;
  let done = 0;
  const finish = () => {
    const [id, value] = running.shift();
    searcher.onComplete(id, [value]);
    best = Math.min(best, value);
    done += 1;
    if (CHECKPOINTS.includes(done)) regrets.push(best - optimum);
  };
  for (let i = 0; i < trials; i++) {
    const start = process.cpuUsage();
    const suggestion = searcher.suggest(`t${i}`);
    const { user, system } = process.cpuUsage(start);
    costs.push((user + system) / 1000);
    running.push([`t${i}`, f(box.map((_, j) => suggestion.config[`x${j}`]))]);
    if (running.length === parallel) finish();
  }
  while (running.length > 0) finish();
  const last = costs.slice(-10).sort((a, b) => a - b);
  return {
    by: "tsray",
    sampler: name,
    function: functionName,
    seed,
    parallel,
    regrets,
    suggestMs: costs.reduce((a, b) => a + b, 0) / costs.length,
    lastSuggestMs: (last[4] + last[5]) / 2,
  };
}

for (const [name, seed] of args.runs.split(",").map((each) => each.split(":"))) {
  const result = run(args.sampler, name, Number(seed), Number(args.trials), Number(args.parallel));
  console.log(JSON.stringify(result));
}
