// What runs during a chaos or soak run, with results that can be checked: tasks, actors, objects, nested tasks,
// generators. Workers import this module too. Every execution leaves a line in a record file, with the clock that all
// processes of the machine share, so that what ran twice or at the same time can be seen afterwards.
import { createHash } from "node:crypto";
import { appendFileSync } from "node:fs";
import { get, getRuntimeContext, put, remote } from "tsray";

const sha = (/** @type {string | Uint8Array} */ data) => createHash("sha256").update(data).digest("hex");
/** Microseconds since boot. */
const now = () => Number(process.hrtime.bigint() / 1000n);

/** A line of a record: short, so that appending it is atomic. */
function record(/** @type {string} */ file, /** @type {(string | number)[]} */ ...fields) {
  appendFileSync(file, `${fields.join(" ")}\n`);
}

export const hashTask = remote(
  async function hashTask(/** @type {string} */ file, /** @type {number} */ i, /** @type {number} */ ms) {
    record(file, i, getRuntimeContext().attempt);
    await new Promise((resolve) => setTimeout(resolve, ms));
    return sha(`task ${i}`);
  },
  { maxRetries: -1, numCpus: 0.5 },
);

export const nest = remote(
  /** @returns {Promise<number>} */
  async function nestSquares(/** @type {number} */ depth, /** @type {number} */ n) {
    if (depth === 0) return n * n;
    const parts = await get([0, 1].map((i) => nest.remote(depth - 1, n + i)));
    return parts.reduce((sum, part) => sum + part, 0);
  },
  { maxRetries: -1, numCpus: 0.5 },
);
export const nestValue = (/** @type {number} */ depth, /** @type {number} */ n) =>
  depth === 0 ? n * n : nestValue(depth - 1, n) + nestValue(depth - 1, n + 1);

export const makeObject = remote(
  function makeObject(/** @type {number} */ bytes, /** @type {number} */ i) {
    return new Uint8Array(bytes).fill(i % 251);
  },
  { maxRetries: -1, numCpus: 0.5 },
);
export const hashObject = remote(
  function hashObject(/** @type {Uint8Array} */ bytes) {
    return sha(bytes);
  },
  { maxRetries: -1, numCpus: 0.5 },
);
export const hashBorrowed = remote(
  async function hashBorrowed(/** @type {{ ref: import("tsray").ObjectRef<Uint8Array> }} */ box) {
    return sha(await get(box.ref));
  },
  { maxRetries: -1, numCpus: 0.5 },
);

export const stream = remote(
  async function* stream(/** @type {number} */ n) {
    for (let i = 0; i < n; i++) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      yield i * 3;
    }
  },
  { maxRetries: -1, numCpus: 0.5 },
);

/** Notes each life and each call with the time. */
export const Recorder = remote(
  class Recorder {
    _file;
    _life;
    constructor(/** @type {string} */ file) {
      this._file = file;
      this._life = getRuntimeContext().restartCount;
      record(file, now(), this._life, process.pid, "life");
    }
    async note(/** @type {number} */ n) {
      record(this._file, now(), this._life, process.pid, "begin", n);
      await new Promise((resolve) => setTimeout(resolve, 2));
      record(this._file, now(), this._life, process.pid, "end", n);
      return [n, this._life];
    }
  },
  { maxRestarts: -1, maxTaskRetries: -1, numCpus: 0.1 },
);

// ------------------------------------------------------------------------------------------------------- the drivers

/**
 * One round of each load: what it gave, compared with what it must give.
 * @typedef {{ dir: string, random: () => number, wrong: (what: string) => void, done: (n: number) => void }} Run
 */

/** @param {Run} run @param {number} round */
export async function tasks({ dir, random, wrong, done }, round) {
  const count = 40;
  const first = round * count;
  const refs = Array.from({ length: count }, (_, i) =>
    hashTask.remote(`${dir}/tasks`, first + i, 5 + Math.floor(random() * 20)),
  );
  const values = await Promise.all(
    refs.map(async (ref) => {
      const value = await ref;
      done(1);
      return value;
    }),
  );
  values.forEach((value, i) => {
    if (value !== sha(`task ${first + i}`)) wrong(`task ${first + i} gave ${value}`);
  });
}

/** @param {Run} run @param {number} round */
export async function nested({ wrong, done }, round) {
  const value = await nest.remote(3, round);
  if (value !== nestValue(3, round)) wrong(`nested ${round} gave ${value}`);
  done(1);
}

/** @param {Run} run @param {number} round */
export async function objects({ wrong, done }, round) {
  const bytes = 2_000_000;
  const made = Array.from({ length: 3 }, (_, i) => makeObject.remote(bytes, round + i));
  const own = put(new Uint8Array(300_000).fill(round % 251));
  const results = await Promise.all(
    made.map(async (ref, i) => {
      const expected = sha(new Uint8Array(bytes).fill((round + i) % 251));
      const seen = await get([hashObject.remote(ref), hashBorrowed.remote({ ref })]);
      done(1);
      return seen.every((hash) => hash === expected);
    }),
  );
  if (!results.every(Boolean)) wrong(`an object of round ${round} had another hash`);
  if ((await hashObject.remote(own)) !== sha(new Uint8Array(300_000).fill(round % 251)))
    wrong(`what was put in round ${round} had another hash`);
}

/** @param {Run} run @param {number} round */
export async function streams({ wrong, done }, round) {
  const n = 30;
  /** @type {number[]} */
  const values = [];
  for await (const ref of stream.remote(n)) values.push(await ref);
  const expected = Array.from({ length: n }, (_, i) => i * 3);
  if (JSON.stringify(values) !== JSON.stringify(expected)) wrong(`stream ${round} gave ${values}`);
  done(1);
}

/** Calls of one actor for the whole run. @param {Run} run @param {string} file */
export function actorLoad({ wrong, done }, file) {
  const actor = Recorder.remote(file);
  let next = 0;
  return async () => {
    const first = next;
    next += 50;
    const refs = Array.from({ length: 50 }, (_, i) => actor.note.remote(first + i));
    const answers = await get(refs);
    let life = -1;
    answers.forEach(([n, inLife], i) => {
      if (n !== first + i) wrong(`call ${first + i} of ${file} gave ${n}`);
      if (inLife < life) wrong(`call ${n} of ${file} ran in life ${inLife} after life ${life}`);
      life = inLife;
    });
    done(50);
    return next;
  };
}
