/**
 * The program behind `tsray microbenchmark`, and ours in benchmarks/: starts an embedded cluster, measures rows, prints
 * one JSON line for each. A driver script of its own, because workers import the driver's entry module.
 */
import { init, shutdown } from "../index.ts";
import { ACTOR_ROWS } from "./actors.ts";
import { FULL, measure, QUICK, type Row } from "./measure.ts";
import { OBJECT_ROWS } from "./objects.ts";
import { TASK_ROWS } from "./tasks.ts";

/** What argv[2] holds, as JSON. */
export interface Plan {
  /** Rows whose name this regular expression finds. Default: all. */
  readonly only?: string | undefined;
  readonly quick?: boolean | undefined;
  readonly heavy?: boolean | undefined;
  readonly rounds?: number | undefined;
  readonly numCpus?: number | undefined;
  readonly objectStoreMemory?: number | undefined;
}

/** One line of output. */
export type Line =
  | {
      readonly name: string;
      readonly unit: string;
      readonly value: number;
      readonly rounds: readonly number[];
    }
  | { readonly name: string; readonly unit: string; readonly error: string };

const plan = JSON.parse(process.argv[2] ?? "{}") as Plan;
const rows: readonly Row[] = [...OBJECT_ROWS, ...TASK_ROWS, ...ACTOR_ROWS];

await init({ address: "local", numCpus: plan.numCpus, objectStoreMemory: plan.objectStoreMemory });
const only = new RegExp(plan.only ?? "", "i");
const effort = {
  ...(plan.quick ? QUICK : FULL),
  ...(plan.rounds === undefined ? {} : { rounds: plan.rounds }),
};
for (const row of rows) {
  if (!only.test(row.name) || (row.heavy && !plan.heavy)) continue;
  print(
    await measure(row, effort).catch((error: unknown) => {
      process.exitCode = 1;
      return {
        name: row.name,
        unit: row.unit,
        error: error instanceof Error ? error.message : String(error),
      };
    }),
  );
}
await shutdown();

function print(line: Line): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
