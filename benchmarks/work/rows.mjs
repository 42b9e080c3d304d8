// The rows of the groups "efficiency" and "jobs", for every side in JavaScript: what differs is how a side maps a function
// over arguments. rivals/work_rows.py is the same for Python; sizes and results stand in sizes.json, for both.
import { readFileSync } from "node:fs";

const { efficiency, jobs } = JSON.parse(readFileSync(new URL("sizes.json", import.meta.url), "utf8"));
const WORKERS = 2;
const PERCENT = 100;
const SAMPLES = 5;

/** @param map (name of a function in functions.mjs, list of its arguments) => its results */
export function workRows(map) {
  return {
    efficiency: efficiency.map((each) => efficiencyRow(each, map)),
    jobs: jobs.flatMap((each) => [
      jobRow(each, map),
      jobRow({ ...each, name: `${each.name}, in JavaScript`, call: `${each.call}InJavaScript` }, map),
    ]),
  };
}

function efficiencyRow({ ms, tasks }, map) {
  const argsOf = Array.from({ length: tasks }, () => [ms]);
  return {
    name: `parallel efficiency, ${ms} ms tasks`,
    unit: "%",
    what: `${tasks} tasks that each keep a processor busy for ${ms} ms, on 2 workers: their time divided by 2 and by what it took`,
    prepare: () => ({
      samples: SAMPLES,
      sample: async () => {
        const startedMs = performance.now();
        const done = await map("spin", argsOf);
        const tookMs = performance.now() - startedMs;
        expectSum(done, tasks * ms);
        return (PERCENT * tasks * ms) / (WORKERS * tookMs);
      },
    }),
  };
}

function jobRow({ name, call, count, args, sum }, map) {
  const argsOf = Array.from({ length: count }, (_, i) => [i, ...args]);
  return {
    name,
    unit: "s",
    what: `${count} tasks ${call}(i, ${args.join(", ")}) of benchmarks/work/functions, on 2 workers`,
    prepare: () => ({
      samples: SAMPLES,
      sample: async () => {
        const startedMs = performance.now();
        const values = await map(call, argsOf);
        const seconds = (performance.now() - startedMs) / 1000;
        expectSum(values, sum);
        return seconds;
      },
    }),
  };
}

/** Sums may differ in the last digits between mathematical libraries. */
function expectSum(values, expected) {
  let sum = 0;
  for (const value of values) sum += value;
  if (!(Math.abs(sum - expected) <= 1e-9 * Math.abs(expected)))
    throw new Error(`wrong result: ${sum} instead of ${expected}`);
}
