// What runs in the rows of scripts/chaos-rows.mjs: tasks and actors that note when, where and how often they ran. Workers
// import this module.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFileSync } from "node:fs";
import { get, getRuntimeContext, put, remote } from "tsray";

/** Milliseconds of the clock that all processes of the machine share. */
export const now = () => Number(process.hrtime.bigint() / 1000n) / 1000;
export const sha = (/** @type {string | Uint8Array} */ data) =>
  createHash("sha256").update(data).digest("hex");
const note = (/** @type {string} */ file, /** @type {(string | number)[]} */ ...fields) =>
  appendFileSync(file, `${fields.join(" ")}\n`);
const sleep = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** W1. A line per run: number, attempt, when it began, pid. */
export const hashed = remote(
  async function hashed(/** @type {string} */ file, /** @type {number} */ i, /** @type {number} */ ms) {
    note(file, i, getRuntimeContext().attempt, now(), process.pid);
    await sleep(ms);
    return sha(`w1 ${i}`) + "x".repeat(10_000);
  },
  { maxRetries: -1 },
);

/** Kills its own worker in its first runs. @returns the attempt that got through */
export const dies = remote(function dies(/** @type {string} */ file, /** @type {number} */ times) {
  const { attempt } = getRuntimeContext();
  note(file, attempt);
  if (attempt < times) process.kill(process.pid, "SIGKILL");
  return attempt;
});

export const aborts = remote(function aborts(/** @type {string} */ file) {
  note(file, process.pid);
  process.abort();
});

export const spins = remote(function spins(/** @type {string} */ file) {
  note(file, process.pid);
  for (;;);
});

export const bytesOf = remote(function bytesOf(/** @type {number} */ length, /** @type {number} */ fill) {
  return new Uint8Array(length).fill(fill);
});

/** Notes each call: number, incarnation, when. */
export const Notes = remote(
  class Notes {
    pid() {
      return process.pid;
    }
    async note(/** @type {string} */ file, /** @type {number} */ n) {
      note(file, n, getRuntimeContext().restartCount, now());
      await sleep(2);
      return n;
    }
  },
  { numCpus: 0.1 },
);

/** Owns objects that others borrow. */
export const Owner = remote(
  class Owner {
    make(/** @type {number} */ count, /** @type {number} */ bytes) {
      return Array.from({ length: count }, (_, i) => ({ ref: put(new Uint8Array(bytes).fill(i)) }));
    }
    pid() {
      return process.pid;
    }
  },
  { numCpus: 0 },
);

/** How reading each borrowed ref ends: the names of the errors. */
export const readAll = remote(
  async function readAll(/** @type {{ ref: import("tsray").ObjectRef<unknown> }[]} */ boxes) {
    return Promise.all(
      boxes.map(({ ref }) =>
        get(ref).then(
          () => "value",
          (/** @type {Error} */ error) => error.name,
        ),
      ),
    );
  },
  { maxRetries: 0, numCpus: 0 },
);

/** Starts two processes, one in a session of its own, and stays. */
export const parent = remote(
  async function parent(/** @type {string} */ file) {
    const pids = [false, true].map(
      (detached) => spawn("sleep", ["1000"], { detached, stdio: "ignore" }).pid ?? 0,
    );
    note(file, process.pid, ...pids);
    await new Promise(() => {});
  },
  { numCpus: 0.25 },
);

/** Done when it says so: a line for its beginning, its result for its end. */
export const naps = remote(async function naps(/** @type {string} */ file, /** @type {number} */ ms) {
  note(file, ms);
  await sleep(ms);
  return ms;
});
