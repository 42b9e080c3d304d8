// `npm run bench`: every benchmark here, one after the other; start-up as the median of 10 fresh processes.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const run = (name, ...flags) => execFileSync(process.execPath, [...flags, here(name)], { encoding: "utf8" });

const starts = Array.from({ length: 10 }, () => Number(run("startup.mjs"))).sort((a, b) => a - b);
console.log(
  `init() to first result, cold   ${((starts[4] + starts[5]) / 2).toFixed(0)} ms  (${starts[0]} to ${starts[9]})\n`,
);
console.log(run("calls.mjs"));
console.log(run("memory.mjs"));
