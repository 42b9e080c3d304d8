// The rows that make sense for a pool of workers: calls of a trivial function, one at a time and many in flight, and those of
// the groups "efficiency" and "jobs".
import { measureRows, readPlan, selectRows } from "../../dist/measure.js";
import { workRows } from "../work/rows.mjs";

const OK = "ok";

/**
 * call: submits one trivial task; many: submits n of them and gives their results; map: a function of
 * work/functions.mjs, by name, for each list of arguments
 */
export async function measurePool({ call, many = (n) => Promise.all(Array.from({ length: n }, call)), map }) {
  const sync = () => {
    let value;
    return {
      amount: 1,
      run: async () => {
        value = await call();
      },
      check: () => expectOk([value], 1),
    };
  };
  const atOnce = (n, amount) => () => {
    let values = [];
    return {
      amount,
      run: async () => {
        values = await many(n);
      },
      check: () => expectOk(values, n),
    };
  };
  const tasks = [
    { name: "single client tasks sync", unit: "tasks/s", prepare: sync },
    { name: "single client tasks async", unit: "tasks/s", prepare: atOnce(1000, 1000) },
    { name: "single client tasks async, 10k in flight", unit: "tasks/s", prepare: atOnce(10_000, 10_000) },
    { name: "single client tasks and get batch", unit: "batches/s", prepare: atOnce(1000, 1) },
  ];
  const plan = readPlan();
  await measureRows(selectRows({ tasks, ...workRows(map) }, plan), plan);
}

function expectOk(values, n) {
  const ok = values.filter((value) => value === OK).length;
  if (ok !== n) throw new Error(`wrong result: ${ok} of ${n} tasks gave ${OK}`);
}
