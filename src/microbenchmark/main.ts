/**
 * The program behind `tsray microbenchmark`, and ours in benchmarks/: starts an embedded cluster, measures rows, prints
 * one JSON line for each. A driver script of its own, because workers import the driver's entry module.
 */
import { init, shutdown } from "../index.ts";
import { ACTOR_ROWS } from "./actors.ts";
import { measureRows, readPlan, selectRows } from "./measure.ts";
import { OBJECT_ROWS } from "./objects.ts";
import { TASK_ROWS } from "./tasks.ts";

const plan = readPlan();
const rows = selectRows({ objects: OBJECT_ROWS, tasks: TASK_ROWS, actors: ACTOR_ROWS }, plan);
// A worker, which has no plan, comes here too: its init() never settles.
if (rows.length > 0) {
  const { numCpus, objectStoreMemory } = plan;
  await init({ address: "local", numCpus, objectStoreMemory, resources: { custom: 100 } });
  await measureRows(rows, plan);
  await shutdown();
}
