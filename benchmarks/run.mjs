// `npm run bench`: measures tsray, and on request others beside it, in turn, and prints one table. See README.md.
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { readFlags, UsageError } from "./flags.mjs";
import { CPUS, makeSides, measureInTurn, STORE_BYTES } from "./harness.mjs";
import { markdown } from "./table.mjs";

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

try {
  const asked = readFlags(process.argv.slice(2));
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  const { sides, notRun } = makeSides(version, asked.rivals, asked.groups);
  const { rows, broken } = await measureInTurn(sides, asked);
  const report = {
    when: new Date().toISOString(),
    machine: {
      cores: availableParallelism(),
      cpu: cpus()[0]?.model ?? "unknown",
      memoryGb: Math.round(totalmem() / 1e9),
    },
    node: process.version,
    setup: { cpus: CPUS, objectStoreBytes: STORE_BYTES, passes: asked.passes, quick: asked.quick },
    sides: sides.map(({ name, versions }) => ({ name, versions })),
    notRun,
    broken,
    rows,
  };
  console.log(markdown(report));
  if (asked.json !== undefined) writeFileSync(asked.json, `${JSON.stringify(report, undefined, 2)}\n`);
  if (
    rows.some(({ sides: of }) => of.tsray?.error !== undefined) ||
    broken.some(({ name }) => name === "tsray")
  )
    process.exitCode = EXIT_FAILED;
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(error.message);
  process.exitCode = EXIT_USAGE;
}
