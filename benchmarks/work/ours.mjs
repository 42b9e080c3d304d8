// Ours in the groups "efficiency" and "jobs": one task per call.
import { get, init, remote, shutdown } from "tsray";
import { measureRows, readPlan, selectRows } from "../../dist/measure.js";
import * as functions from "./functions.mjs";
import { workRows } from "./rows.mjs";

const tasks = Object.fromEntries(Object.entries(functions).map(([name, fn]) => [name, remote(fn)]));
const plan = readPlan();
const rows = selectRows(
  workRows((name, argsOf) => get(argsOf.map((args) => tasks[name].remote(...args)))),
  plan,
);
// A worker, which has no plan, comes here too: its init() never settles.
if (rows.length > 0) {
  const { numCpus, objectStoreMemory } = plan;
  await init({ address: "local", numCpus, objectStoreMemory });
  await get(Array.from({ length: 50 }, () => tasks.ok.remote()));
  await measureRows(rows, plan);
  await shutdown();
}
