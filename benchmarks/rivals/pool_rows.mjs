// The rows that make sense for a pool of workers: calls of a trivial function, one at a time and many in flight.
import { measureRows, readPlan, selectRows } from "../../dist/measure.js";

const OK = "ok";

/** @param call submits one trivial task; @param many submits n and gives their results */
export async function measurePool(call, many = (n) => Promise.all(Array.from({ length: n }, call))) {
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
  await measureRows(selectRows({ tasks }, plan), plan);
}

function expectOk(values, n) {
  const ok = values.filter((value) => value === OK).length;
  if (ok !== n) throw new Error(`wrong result: ${ok} of ${n} tasks gave ${OK}`);
}
