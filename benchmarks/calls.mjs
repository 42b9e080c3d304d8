// Rates of no-op calls on an embedded cluster with 2 CPUs: tasks and actor calls, one at a time and 10,000 in flight.
// Prints one line per row: name, median of 5 rounds, smallest, largest.
import { get, init, remote, shutdown } from "tsray";

const ROUNDS = 5;
const noop = remote(() => 0);
const Actor = remote(
  class Noop {
    call() {
      return 0;
    }
  },
);
await init({ numCpus: 2 });
const actor = Actor.remote();

async function row(name, calls, run) {
  await run(Math.min(calls, 2000));
  const rates = [];
  for (let round = 0; round < ROUNDS; round++) {
    const startedMs = performance.now();
    await run(calls);
    rates.push((calls / (performance.now() - startedMs)) * 1000);
  }
  rates.sort((a, b) => a - b);
  const [low, median, high] = [rates[0], rates[ROUNDS >> 1], rates[ROUNDS - 1]].map((n) => Math.round(n));
  console.log(`${name.padEnd(28)} ${median}/s  (${low} to ${high})`);
}
const oneByOne = (call) => async (n) => {
  for (let i = 0; i < n; i++) await call();
};
const atOnce = (call) => async (n) => {
  await get(Array.from({ length: n }, call));
};
await row(
  "tasks, one at a time",
  5000,
  oneByOne(() => noop.remote()),
);
await row(
  "tasks, 10,000 in flight",
  10_000,
  atOnce(() => noop.remote()),
);
await row(
  "tasks, 100,000 in one go",
  100_000,
  atOnce(() => noop.remote()),
);
await row(
  "actor calls, one at a time",
  5000,
  oneByOne(() => actor.call.remote()),
);
await row(
  "actor calls, 10,000 in flight",
  10_000,
  atOnce(() => actor.call.remote()),
);
await shutdown();
