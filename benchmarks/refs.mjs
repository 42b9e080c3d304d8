// What refs cost: getting an object that holds 10,000 of them, making and dropping 100,000, memory per ref.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { get, init, put, remote, shutdown } from "tsray";

const INSIDE = 10_000;
const DROPPED = 100_000;
const ROUNDS = 10;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc");

const Holder = remote(
  class Holder {
    refs = Array.from({ length: INSIDE }, (_, i) => put(i));
    box() {
      return { box: put({ refs: this.refs }) };
    }
  },
);

/** @param {number[]} times */
function median(times) {
  return times.sort((a, b) => a - b)[times.length >> 1];
}

/** @param {string} name @param {() => Promise<{ box: import("tsray").ObjectRef<{ refs: unknown[] }> }>} makeBox */
async function timeGets(name, makeBox) {
  const times = [];
  for (let i = 0; i < ROUNDS; i++) {
    // A ref would be awaited by itself.
    const { box } = await makeBox();
    const begunMs = performance.now();
    const { refs } = await get(box);
    times.push(performance.now() - begunMs);
    if (refs.length !== INSIDE) throw new Error(`${refs.length} refs came`);
    // The next round starts from nothing.
    refs.length = 0;
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  console.log(`get of an object with ${INSIDE} ${name} refs: ${median(times)?.toFixed(2)} ms`);
}

await init({ numCpus: 1 });
const own = Array.from({ length: INSIDE }, (_, i) => put(i));
await timeGets("own", async () => ({ box: put({ refs: own }) }));
const holder = Holder.remote();
await timeGets("foreign", async () => holder.box.remote());

collectGarbage();
const heapBefore = process.memoryUsage().heapUsed;
const begunMs = performance.now();
/** @type {unknown[]} */
const many = Array.from({ length: DROPPED }, (_, i) => put(i));
const madeMs = performance.now();
collectGarbage();
const perRef = (process.memoryUsage().heapUsed - heapBefore) / DROPPED;
const droppedMs = performance.now();
many.length = 0;
collectGarbage();
const doneMs = performance.now();
console.log(
  `${DROPPED} refs: ${(madeMs - begunMs).toFixed(0)} ms to put, ${(doneMs - droppedMs).toFixed(0)} ms to drop, ${perRef.toFixed(0)} bytes each`,
);
await shutdown();
