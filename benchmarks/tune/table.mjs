// Reads JSON lines of runs (ours and the rival's) and prints medians of regret side by side.
// node benchmarks/tune/table.mjs ours.jsonl optuna.jsonl ...
import { readFileSync } from "node:fs";
import { CHECKPOINTS } from "./functions.mjs";

const FLOOR = 1e-6; // below this, both have found the optimum
const groups = new Map();
for (const file of process.argv.slice(2)) {
  for (const line of readFileSync(file, "utf8").split("\n")) {
    if (!line.startsWith("{")) continue;
    const run = JSON.parse(line);
    const key = `${run.sampler} ${run.function} parallel=${run.parallel}`;
    const group = groups.get(key) ?? { tsray: [], optuna: [] };
    group[run.by].push(run);
    groups.set(key, group);
  }
}
const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
};
const show = (x) => (x === undefined ? "-" : x < FLOOR ? "<1e-6" : x.toPrecision(3));
const totals = new Map();
for (const [key, { tsray, optuna }] of [...groups].sort(([a], [b]) => a.localeCompare(b))) {
  const [sampler, , parallel] = key.split(" ");
  const total = totals.get(`${sampler} ${parallel}`) ?? {
    cells: 0,
    within: 0,
    better: 0,
    cost: [],
    cost2: [],
  };
  totals.set(`${sampler} ${parallel}`, total);
  const cells = CHECKPOINTS.map((_, i) => {
    const at = (runs) => runs.map(({ regrets }) => regrets[i]).filter((x) => x !== undefined);
    if (at(tsray).length === 0) return "";
    const ours = Math.max(median(at(tsray)), FLOOR);
    if (at(optuna).length === 0) return `${show(ours)}`.padEnd(26);
    const theirs = Math.max(median(at(optuna)), FLOOR);
    total.cells += 1;
    if (ours <= 1.1 * theirs) total.within += 1;
    if (ours < theirs || (ours === FLOOR && theirs === FLOOR)) total.better += 1;
    const mark = ours <= theirs ? " " : ours <= 1.1 * theirs ? "~" : "!";
    return `${show(ours)} / ${show(theirs)} = ${(ours / theirs).toFixed(2)}${mark}`.padEnd(26);
  });
  if (tsray.length > 0) total.cost.push(median(tsray.map((run) => run.lastSuggestMs)));
  if (optuna.length > 0) total.cost2.push(median(optuna.map((run) => run.lastSuggestMs)));
  console.log(`${key.padEnd(30)} n=${tsray.length},${optuna.length}`.padEnd(42), cells.join(" "));
}
for (const [key, { cells, within, better, cost, cost2 }] of totals) {
  console.log(
    `${key}: ${cells} cells, within 1.1x ${within}, better ${better}; last suggestions ${median(cost)?.toFixed(2)} ms, rival ${median(cost2)?.toFixed(2)} ms`,
  );
}
