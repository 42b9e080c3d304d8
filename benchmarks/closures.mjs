// What functions by value cost on an embedded cluster: capturing a small closure, calls of closures against calls by
// reference, and bytes per call. Prints one line per row.
import { get, init, remote, shutdown } from "tsray";

const ROUNDS = 5;
const CALLS = 2000;
const byReference = remote((x) => x + 1);
await init({ numCpus: 2 });

const factor = 3;
const settings = { rate: 0.5, names: ["a", "b"] };
const helper = (x) => x * factor;
let changing = 0;

/** Median, smallest and largest of the rounds, in microseconds per call. */
function show(name, samples) {
  samples.sort((a, b) => a - b);
  const [low, median, high] = [samples[0], samples[ROUNDS >> 1], samples[ROUNDS - 1]].map((us) =>
    us.toFixed(0),
  );
  console.log(`${name.padEnd(48)} ${median} us  (${low} to ${high})`);
}

async function row(name, submit) {
  await get(Array.from({ length: 200 }, (_, i) => submit(i)));
  const submitted = [];
  const done = [];
  for (let round = 0; round < ROUNDS; round++) {
    const startedMs = performance.now();
    const refs = Array.from({ length: CALLS }, (_, i) => submit(i));
    submitted.push(((performance.now() - startedMs) / CALLS) * 1000);
    await get(refs);
    done.push(((performance.now() - startedMs) / CALLS) * 1000);
  }
  show(`${name}: submit`, submitted);
  show(`${name}: submit and get`, done);
}

await row("by reference", (i) => byReference.remote(i));
const same = remote((x) => helper(x) + settings.rate);
await row("one closure, constant variables", (i) => same.remote(i));
const counting = remote((x) => x + changing);
await row("one closure, a variable that changes", (i) => {
  changing = i;
  return counting.remote(i);
});
await row("a new closure each time", (i) => remote(() => helper(i) + settings.rate).remote());
await row("a callback in arguments", (i) => byReference.remote({ toString: () => String(i) }));
await shutdown();
