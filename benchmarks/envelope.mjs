// Ours in the groups "envelope" (how much of everything one node takes) and "memory" (what things cost while they are held).
// rivals/ray_envelope.py is the same for Ray; counts and sizes are equal.
import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { get, init, kill, put, remote, shutdown } from "tsray";
import { measureRows, readPlan, selectRows } from "../dist/measure.js";
import { memoryOfTree } from "./start.mjs";

const ARGUMENTS = 10_000;
const RETURNS = 3000;
const REFS = 10_000;
const LIST = 100;
const QUEUED = 1_000_000;
const TENTHS = 10;
const GIB = 2 ** 30;
const LARGEST_GIB = [1, 2, 3, 4, 6, 8];
const HELD_TASKS = 100_000;
const HELD_REFS = 50_000;
const HELD_ACTORS = 10;
const SAMPLES = 3;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc");

const ok = remote(() => "ok");
const sumOf = remote((...lists) => lists.reduce((sum, list) => sum + list.length, 0));
const lists = remote((n) => Array.from({ length: n }, () => new Array(LIST).fill(1)));
const endsOf = remote((bytes) => [bytes.length, bytes[0], bytes.at(-1)]);
const waitFor = remote(async (gate) => await gate.opened.remote());
const Gate = remote(
  class Gate {
    open = () => {};
    #opened = new Promise((resolve) => {
      this.open = resolve;
    });
    async opened() {
      await this.#opened;
      return "ok";
    }
    async release() {
      this.open();
    }
  },
  { maxConcurrency: 100 },
);
const Idle = remote(
  class Idle {
    here() {
      return "ok";
    }
  },
);

function expectEqual(actual, expected) {
  if (actual !== expected) throw new Error(`wrong result: ${actual} instead of ${expected}`);
}

/** Seconds that `work` takes; `check` is not timed. */
const timed = (work, check) => () => ({
  samples: SAMPLES,
  sample: async () => {
    const startedMs = performance.now();
    const value = await work();
    const seconds = (performance.now() - startedMs) / 1000;
    check(value);
    return seconds;
  },
});

const once = (sample) => () => ({ samples: 1, sample });

let million;
/** Queues them once, for all rows about it. */
const queueMillion = () => {
  million ??= runMillion();
  return million;
};

async function runMillion() {
  const gate = Gate.remote();
  const blockers = [waitFor.remote(gate), waitFor.remote(gate)];
  const startedMs = performance.now();
  const refs = Array.from({ length: QUEUED }, () => ok.remote());
  await gate.release.remote();
  const tenthsMs = [];
  let before = performance.now();
  for (let tenth = 0; tenth < TENTHS; tenth++) {
    const slice = refs.slice((tenth * QUEUED) / TENTHS, ((tenth + 1) * QUEUED) / TENTHS);
    for (const value of await get(slice)) expectEqual(value, "ok");
    tenthsMs.push(performance.now() - before);
    before = performance.now();
  }
  const seconds = (performance.now() - startedMs) / 1000;
  await get(blockers);
  kill(gate);
  return {
    rate: QUEUED / seconds,
    rssMb: statusKib("VmHWM") / 1024,
    steadiness: tenthsMs[0] / tenthsMs.at(-1),
  };
}

const envelope = [
  {
    name: "10,000 arguments",
    unit: "s",
    what: "one task with 10,000 arguments by value, lists of 100 numbers",
    prepare: () => {
      const args = Array.from({ length: ARGUMENTS }, () => new Array(LIST).fill(1));
      return timed(
        () => sumOf.remote(...args),
        (sum) => expectEqual(sum, ARGUMENTS * LIST),
      )();
    },
  },
  {
    name: "3,000 returns",
    unit: "s",
    what: "one task with 3,000 returns, lists of 100 numbers, which are all got",
    prepare: timed(
      () => get(lists.options({ numReturns: RETURNS }).remote(RETURNS)),
      (values) => expectEqual(values.flat().length, RETURNS * LIST),
    ),
  },
  {
    name: "get of 10,000 refs",
    unit: "s",
    what: "10,000 lists of 100 numbers are put, and got with one get",
    prepare: timed(
      () => get(Array.from({ length: REFS }, () => put(new Array(LIST).fill(1)))),
      (values) => expectEqual(values.flat().length, REFS * LIST),
    ),
  },
  {
    name: "largest object",
    unit: "GiB",
    what: `the largest of ${LARGEST_GIB.join(", ")} GiB of bytes that is put by the driver and read by a task, in a store of 4 GiB`,
    heavy: true,
    prepare: once(async () => {
      let largest = 0;
      for (const gib of LARGEST_GIB) {
        try {
          const bytes = new Uint8Array(gib * GIB);
          bytes[0] = 1;
          bytes[bytes.length - 1] = 2;
          expectEqual((await endsOf.remote(put(bytes))).join(), `${gib * GIB},1,2`);
          largest = gib;
        } catch (error) {
          console.error(`  ${gib} GiB: ${error.message.split("\n")[0]}`);
          break;
        }
        collectGarbage();
      }
      return largest;
    }),
  },
  {
    name: "1,000,000 queued tasks",
    unit: "tasks/s",
    what: "both CPUs are kept busy, 1,000,000 trivial tasks are queued, then the CPUs are let go and all results are got in ten parts",
    heavy: true,
    prepare: once(async () => (await queueMillion()).rate),
  },
  {
    name: "1,000,000 queued tasks: driver at most",
    unit: "MB",
    what: "highest resident memory of the driver up to then",
    heavy: true,
    prepare: once(async () => (await queueMillion()).rssMb),
  },
  {
    name: "1,000,000 queued tasks: last tenth against first",
    unit: "of its rate",
    what: "how long the first 100,000 results took, once the CPUs were let go, divided by how long the last did",
    heavy: true,
    prepare: once(async () => (await queueMillion()).steadiness),
  },
];

const memory = [
  {
    name: "memory per queued task",
    unit: "bytes",
    what: "growth of the driver's heap (Ray: of its resident memory) with 100,000 trivial tasks queued behind two that keep the CPUs, per task",
    prepare: once(async () => {
      const gate = Gate.remote();
      const blockers = [waitFor.remote(gate), waitFor.remote(gate)];
      const before = heapBytes();
      const refs = Array.from({ length: HELD_TASKS }, () => ok.remote());
      await new Promise((resolve) => setTimeout(resolve, 1000));
      const bytes = (heapBytes() - before) / HELD_TASKS;
      await gate.release.remote();
      await get(refs);
      await get(blockers);
      kill(gate);
      return bytes;
    }),
  },
  {
    name: "memory per ref",
    unit: "bytes",
    what: "growth of the driver's heap (Ray: of its resident memory) with 50,000 refs to small values that were put, per ref",
    prepare: once(async () => {
      const before = heapBytes();
      const refs = Array.from({ length: HELD_REFS }, (_, i) => put(i));
      const bytes = (heapBytes() - before) / HELD_REFS;
      expectEqual(await refs.at(-1), HELD_REFS - 1);
      return bytes;
    }),
  },
  {
    name: "memory per actor",
    unit: "MB (PSS)",
    what: "growth of the process tree's memory, shared pages counted once, with 10 idle actors, per actor",
    prepare: once(async () => {
      const before = memoryOfTree(process.pid).pssMb;
      const actors = Array.from({ length: HELD_ACTORS }, () => Idle.remote());
      await get(actors.map((actor) => actor.here.remote()));
      await new Promise((resolve) => setTimeout(resolve, 2000));
      const each = (memoryOfTree(process.pid).pssMb - before) / HELD_ACTORS;
      for (const actor of actors) kill(actor);
      return each;
    }),
  },
];

/** What is alive: resident memory also has pages that V8 has not given back. */
function heapBytes() {
  collectGarbage();
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function statusKib(name) {
  return Number(new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
}

const plan = readPlan();
const rows = selectRows({ envelope, memory }, plan);
// A worker, which has no plan, comes here too: its init() never settles.
if (rows.length > 0) {
  const { numCpus, objectStoreMemory } = plan;
  await init({ address: "local", numCpus, objectStoreMemory });
  await get(Array.from({ length: 1000 }, () => ok.remote()));
  await measureRows(rows, plan);
  await shutdown();
}
