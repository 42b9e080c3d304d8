// Runs of ours and of the rival side by side: medians of regret, what each cell says, what eight parallel trials lose, and
// what a suggestion costs. `report` gives Markdown. By itself: node benchmarks/tune/table.mjs runs.jsonl ...
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { CHECKPOINTS, FUNCTIONS } from "./functions.mjs";

/** Below this, both have found the optimum. */
const FLOOR = 1e-6;
const WITHIN = 1.1;
const RESAMPLES = 400;
/** What a suggestion may cost after 200 trials, in parts of Optuna's. */
const COST_LIMITS = { tpe: 0.2, cma: 0.3, gp: 1 };
const NAMES = { tpe: "TPE", cma: "CMA-ES", gp: "GP", sobol: "Sobol", random: "random" };

/** @param runs objects as ours.mjs and rivals/optuna_quality.py print them; of one seed's runs the longest counts */
export function report(runs) {
  const longest = new Map();
  for (const run of runs) {
    const key = [run.by, run.sampler, run.function, run.seed, run.parallel].join();
    if (!(longest.get(key)?.regrets.length > run.regrets.length)) longest.set(key, run);
  }
  const all = [...longest.values()];
  const lines = [];
  for (const sampler of Object.keys(NAMES)) {
    const own = all.filter((run) => run.sampler === sampler);
    const parallels = [...new Set(own.map((run) => run.parallel))].sort((a, b) => a - b);
    const tables = new Map(parallels.map((n) => [n, cellsOf(own.filter((run) => run.parallel === n))]));
    for (const [parallel, cells] of tables) lines.push(...qualityLines(sampler, parallel, cells));
    const [sequential, eight] = [tables.get(1), tables.get(8)];
    if (sequential !== undefined && eight !== undefined) lines.push(...lossLines(sampler, sequential, eight));
    const cost = costLine(sampler, own);
    if (cost !== undefined) lines.push(cost, "");
  }
  return lines.join("\n");
}

/** One per function and checkpoint that both sides have, in order. */
function cellsOf(runs) {
  return Object.keys(FUNCTIONS).flatMap((name) =>
    CHECKPOINTS.flatMap((trials, i) => {
      const at = (by) =>
        runs
          .filter((run) => run.by === by && run.function === name && run.regrets[i] !== undefined)
          .map((run) => Math.max(run.regrets[i], FLOOR));
      const [ours, theirs] = [at("tsray"), at("optuna")];
      if (ours.length === 0 || theirs.length === 0) return [];
      return [{ name, trials, ours, theirs, ratio: median(ours) / median(theirs) }];
    }),
  );
}

function qualityLines(sampler, parallel, cells) {
  if (cells.length === 0) return [];
  const within = cells.filter(({ ratio }) => ratio <= WITHIN).length;
  const better = cells.filter(isBetter).length;
  const sure = cells.filter((cell) => interval(cell)[0] > WITHIN).length;
  const verdict = within >= 0.9 * cells.length && better >= 0.5 * cells.length ? "holds" : "does not hold";
  const seeds = (side) => range(cells.map((cell) => cell[side].length));
  return [
    `### ${NAMES[sampler]}, ${parallel === 1 ? "one trial at a time" : `${parallel} in parallel`}`,
    "",
    `${within} of ${cells.length} cells at most ${WITHIN}x Optuna's regret, ${better} better, ${sure} worse beyond doubt` +
      ` (whole interval above ${WITHIN}): ${verdict}. Geometric mean of the ratios ${geometric(cells.map(({ ratio }) => ratio)).toFixed(2)}.` +
      ` Seeds: ours ${seeds("ours")}, Optuna's ${seeds("theirs")}.`,
    "",
    "| function | trials | ours | Optuna | ratio | 90 % | |",
    "| --- | --- | --- | --- | --- | --- | --- |",
    ...cells.map((cell) => {
      const [low, high] = interval(cell);
      const word = isBetter(cell) ? "better" : cell.ratio <= WITHIN ? "" : "**worse**";
      return `| ${cell.name} | ${cell.trials} | ${show(median(cell.ours))} | ${show(median(cell.theirs))} | ${cell.ratio.toFixed(2)} | ${low.toFixed(2)} to ${high.toFixed(2)} | ${word} |`;
    }),
    "",
  ];
}

/** Both at the optimum is as good as better. */
function isBetter({ ours, theirs, ratio }) {
  return ratio < 1 || (median(ours) === FLOOR && median(theirs) === FLOOR);
}

function lossLines(sampler, sequential, eight) {
  const pairs = eight.flatMap((cell) => {
    const one = sequential.find(({ name, trials }) => name === cell.name && trials === cell.trials);
    return one === undefined ? [] : [[cell, one]];
  });
  if (pairs.length === 0) return [];
  const loss = (side) =>
    geometric(pairs.map(([cell, one]) => median(cell[side]) / median(one[side]))).toFixed(2);
  const fewer = pairs.filter(([cell, one]) => cell.ratio <= one.ratio).length;
  return [
    `${NAMES[sampler]} with 8 in parallel against one at a time: regret grows ${loss("ours")}x, Optuna's ${loss("theirs")}x` +
      ` (geometric means); by less than Optuna's in ${fewer} of ${pairs.length} cells.`,
    "",
  ];
}

function costLine(sampler, runs) {
  const full = runs.filter((run) => run.parallel === 1 && run.regrets.length === CHECKPOINTS.length);
  const both = Object.keys(FUNCTIONS).filter((name) =>
    ["tsray", "optuna"].every((by) => full.some((run) => run.by === by && run.function === name)),
  );
  if (both.length === 0) return undefined;
  const of = (by) =>
    median(
      full.filter((run) => run.by === by && both.includes(run.function)).map((run) => run.lastSuggestMs),
    );
  const [ours, theirs] = [of("tsray"), of("optuna")];
  const limit = COST_LIMITS[sampler];
  const verdict = limit === undefined ? "" : ours <= limit * theirs ? ": holds" : ": does not hold";
  return `${NAMES[sampler]}, processor time of a suggestion after 200 trials: ${ours.toFixed(2)} ms, Optuna's ${theirs.toFixed(2)} ms, ratio ${(ours / theirs).toFixed(2)}${limit === undefined ? "" : ` (limit ${limit})`}${verdict}.`;
}

/** Where 90 % of the ratios of medians lie when both sides' seeds are drawn again and again (bootstrap). */
function interval({ ours, theirs }) {
  let word = 1;
  const draw = (values) =>
    values.map(() => {
      word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
      return values[Math.floor((word / 2 ** 32) * values.length)];
    });
  const ratios = Array.from({ length: RESAMPLES }, () => median(draw(ours)) / median(draw(theirs)));
  ratios.sort((a, b) => a - b);
  return [ratios[Math.floor(0.05 * RESAMPLES)], ratios[Math.floor(0.95 * RESAMPLES)]];
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

function geometric(values) {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

function range(counts) {
  const [low, high] = [Math.min(...counts), Math.max(...counts)];
  return low === high ? `${low}` : `${low} to ${high}`;
}

function show(x) {
  return x <= FLOOR ? "<1e-6" : Number(x.toPrecision(3)).toString();
}

/** The runs in these files. */
export function readRuns(files) {
  return files.flatMap((file) =>
    readFileSync(file, "utf8")
      .split("\n")
      .filter((line) => line.startsWith("{") && line.endsWith("}"))
      .map((line) => JSON.parse(line)),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(report(readRuns(process.argv.slice(2))));
