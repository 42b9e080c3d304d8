/** Rows about tasks. Names are those that `ray microbenchmark` prints, where it has the row. */
import { get, kill, type ObjectRef, placementGroup, placementGroups, wait } from "../index.ts";
import { expectEqual } from "./expect.ts";
import type { RateWork, Row } from "./measure.ts";
import { Gate, OK, Server, smallValue, waitFor } from "./workload.ts";

const BATCH = 1000;
const CLIENTS = 4;
const TASKS_EACH = 2500;
const QUEUED = 1_000_000;
const CPUS_BLOCKED = 2;
const GROUPS = 100;

export const TASK_ROWS: readonly Row[] = [
  {
    name: "single client tasks sync",
    unit: "tasks/s",
    what: "submit one trivial task, get it, repeat",
    prepare: () => {
      let value: string | undefined;
      return {
        amount: 1,
        run: async () => {
          value = await smallValue.remote();
        },
        check: () => expectEqual(value, OK),
      };
    },
  },
  {
    name: "single client tasks async",
    unit: "tasks/s",
    what: "submit 1,000 trivial tasks, then get them all",
    prepare: () => atOnce(BATCH, BATCH),
  },
  {
    name: "single client tasks async, 10k in flight",
    unit: "tasks/s",
    what: "submit 10,000 trivial tasks, then get them all",
    prepare: () => atOnce(10_000, 10_000),
  },
  {
    name: "single client tasks and get batch",
    unit: "batches/s",
    what: "as tasks async; 1,000 tasks count as one",
    prepare: () => atOnce(BATCH, 1),
  },
  {
    name: "single client wait 1k refs",
    unit: "batches/s",
    what: "submit 1,000 trivial tasks, then 1,000 waits, each for one of those that are left",
    prepare: () => {
      let ready = 0;
      return {
        amount: 1,
        run: async () => {
          ready = 0;
          let left: readonly ObjectRef<string>[] = Array.from({ length: BATCH }, () => smallValue.remote());
          while (left.length > 0) {
            const waited = await wait(left);
            ready += waited.ready.length;
            left = waited.pending;
          }
        },
        check: () => expectEqual(ready, BATCH),
      };
    },
  },
  {
    name: "multi client tasks async",
    unit: "tasks/s",
    what: "4 actors, each submits 2,500 trivial tasks and gets them all",
    prepare: () => {
      const clients = Array.from({ length: CLIENTS }, () => Server.remote());
      let done: number[] = [];
      return {
        amount: CLIENTS * TASKS_EACH,
        run: async () => {
          done = await get(clients.map((client) => client.taskBatch.remote(TASKS_EACH)));
        },
        check: () => expectEqual(done.join(), new Array(CLIENTS).fill(TASKS_EACH).join()),
        close: () => clients.forEach((client) => void kill(client)),
      };
    },
  },
  {
    name: "placement group create/removal",
    unit: "groups/s",
    what: "100 groups of one bundle of 0.001 of a custom resource are created, all are waited for, all are removed",
    prepare: () => {
      let ids: ReadonlySet<string> = new Set();
      return {
        amount: GROUPS,
        run: async () => {
          const groups = await Promise.all(
            Array.from({ length: GROUPS }, () => placementGroup([{ custom: 0.001 }])),
          );
          await Promise.all(groups.map((group) => group.ready()));
          await Promise.all(groups.map((group) => group.remove()));
          ids = new Set(groups.map(({ id }) => id));
        },
        check: async () => {
          const made = (await placementGroups()).filter(({ id }) => ids.has(id));
          expectEqual(made.filter(({ state }) => state === "REMOVED").length, GROUPS);
        },
      };
    },
  },
  {
    name: "1M queued tasks",
    unit: "tasks/s",
    what: "both CPUs are kept busy, 1,000,000 trivial tasks are queued, then the CPUs are let go and all results are got, 10,000 at a time; all of it is timed",
    heavy: true,
    prepare: () => ({
      samples: 1,
      sample: async () => {
        const gate = Gate.remote();
        const blockers = Array.from({ length: CPUS_BLOCKED }, () => waitFor.remote(gate));
        const startedMs = performance.now();
        const refs = Array.from({ length: QUEUED }, () => smallValue.remote());
        gate.open.remote();
        let ok = 0;
        for (let from = 0; from < QUEUED; from += 10_000) {
          for (const value of await get(refs.slice(from, from + 10_000))) if (value === OK) ok += 1;
        }
        const seconds = (performance.now() - startedMs) / 1000;
        expectEqual(ok, QUEUED);
        await get(blockers);
        return QUEUED / seconds;
      },
    }),
  },
];

/** n tasks in flight, counted as `amount`. */
function atOnce(n: number, amount: number): RateWork {
  let values: readonly string[] = [];
  return {
    amount,
    run: async () => {
      values = await get(Array.from({ length: n }, () => smallValue.remote()));
    },
    check: () => expectEqual(values.filter((value) => value === OK).length, n),
  };
}
