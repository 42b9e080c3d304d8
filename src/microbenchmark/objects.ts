/** Rows about objects: put and get, small and large. Names are those that `ray microbenchmark` prints, where it has the row. */
import { readFileSync } from "node:fs";
import { free, get, type ObjectRef, put, wait } from "../index.ts";
import { expectEqual } from "./expect.ts";
import type { Row } from "./measure.ts";
import { ARRAY_LENGTH, bigArray, manyRefs, Putter, putSmall, TEN_MEGABYTES } from "./workload.ts";

const ARRAY_BYTES = ARRAY_LENGTH * 8;
const GIGABYTE = 1e9;
const PUTTERS = 2;
const PUTS_EACH = 20;
const REFS = 10_000;

export const OBJECT_ROWS: readonly Row[] = [
  {
    name: "single client get calls (Plasma Store)",
    unit: "gets/s",
    what: "get of one small value that was put before, from the driver",
    prepare: () => {
      const ref = put(0);
      let value: number | undefined;
      return {
        amount: 1,
        run: async () => {
          value = await get(ref);
        },
        check: () => expectEqual(value, 0),
      };
    },
  },
  {
    name: "single client put calls (Plasma Store)",
    unit: "puts/s",
    what: "put of 0 from the driver; refs are dropped",
    prepare: () => {
      let last: ObjectRef<number> | undefined;
      return {
        amount: 1,
        run: () => {
          last = put(0);
        },
        check: async () => expectEqual(await last, 0),
      };
    },
  },
  {
    name: "multi client put calls (Plasma Store)",
    unit: "puts/s",
    what: "10 tasks, each with 100 puts of 0",
    prepare: () => {
      let done: number[] = [];
      return {
        amount: 1000,
        run: async () => {
          done = await get(Array.from({ length: 10 }, () => putSmall.remote(100)));
        },
        check: () => expectEqual(done.join(), new Array(10).fill(100).join()),
      };
    },
  },
  {
    name: "memcpy 400 MB",
    unit: "GB/s",
    what: "no cluster: a copy of 400 MB between two buffers that have been touched, one thread",
    prepare: () => {
      const from = Buffer.alloc(ARRAY_BYTES, 1);
      const to = Buffer.alloc(ARRAY_BYTES, 2);
      return {
        amount: ARRAY_BYTES / GIGABYTE,
        run: () => from.copy(to),
        check: () => expectEqual(to[ARRAY_BYTES - 1], 1),
      };
    },
  },
  {
    name: "single client put gigabytes",
    unit: "GB/s",
    what: "put of one array of 50 million float64 (400 MB) from the driver; refs are dropped, their memory is used again",
    prepare: () => {
      const array = new Float64Array(ARRAY_LENGTH).fill(1);
      array[ARRAY_LENGTH - 1] = 7;
      let last: ObjectRef<Float64Array> | undefined;
      return {
        amount: ARRAY_BYTES / GIGABYTE,
        run: () => {
          last = put(array);
        },
        check: async () => expectEqual((await last)?.[ARRAY_LENGTH - 1], 7),
      };
    },
  },
  {
    name: "put 400 MB against memcpy",
    unit: "of memcpy's rate",
    what: "a memcpy of 400 MB, then a put of as much, 15 times in turn; the put's ref is dropped; rates divided",
    prepare: () => {
      const array = new Float64Array(ARRAY_LENGTH).fill(1);
      const from = Buffer.from(array.buffer);
      const to = Buffer.alloc(ARRAY_BYTES, 2);
      let last: ObjectRef<Float64Array> | undefined;
      return {
        samples: 15,
        sample: async () => {
          const startedMs = performance.now();
          from.copy(to);
          const copiedMs = performance.now();
          last = put(array);
          return (copiedMs - startedMs) / (performance.now() - copiedMs);
        },
        close: async () => expectEqual((await last)?.[ARRAY_LENGTH - 1], 1),
      };
    },
  },
  {
    name: "single client get 400 MB",
    unit: "ms",
    what: "first get, in the driver, of a 400 MB array that a worker made; fails if it is copied (private memory grows)",
    prepare: () => {
      let made = 0;
      return {
        samples: 5,
        sample: async () => {
          made += 1;
          const ref = bigArray.remote(made);
          await wait([ref]);
          const before = privateBytes();
          const startedMs = performance.now();
          const array = await get(ref);
          const tookMs = performance.now() - startedMs;
          expectEqual(array.length, ARRAY_LENGTH);
          if (privateBytes() - before > ARRAY_BYTES / 10) throw new Error("get copied the array");
          expectEqual(array[ARRAY_LENGTH - 1], made);
          free(ref);
          return tookMs;
        },
      };
    },
  },
  {
    name: "multi client put gigabytes",
    unit: "GB/s",
    what: "2 actors at once, each with 20 puts of the same 10 MB array of float64",
    prepare: async () => {
      const putters = Array.from({ length: PUTTERS }, () => Putter.remote());
      let done: number[] = [];
      return {
        amount: (PUTTERS * PUTS_EACH * TEN_MEGABYTES * 8) / GIGABYTE,
        run: async () => {
          done = await get(putters.map((p) => p.put.remote(PUTS_EACH)));
        },
        check: () => expectEqual(done.join(), [PUTS_EACH, PUTS_EACH].join()),
      };
    },
  },
  {
    name: "single client get object containing 10k refs",
    unit: "gets/s",
    what: "get, from the driver, of one object that is a list of 10,000 refs which a task put",
    prepare: () => {
      const ref = manyRefs.remote(REFS);
      let refs: readonly ObjectRef<number>[] = [];
      return {
        amount: 1,
        run: async () => {
          refs = await get(ref);
        },
        check: async () => {
          expectEqual(refs.length, REFS);
          expectEqual(await refs[REFS - 1], 1);
        },
      };
    },
  },
];

/** Memory of this process that it shares with nobody. */
function privateBytes(): number {
  const kib = /^RssAnon:\s*(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return Number(kib ?? 0) * 1024;
}
