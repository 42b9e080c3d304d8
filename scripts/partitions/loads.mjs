// What runs while networks are cut: an actor that writes all the while that it runs, and tasks. Workers import this
// module too. Lines carry the clock that all processes of the machine share.
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { get, getRuntimeContext, remote } from "tsray";

const WRITE_MS = 20;
/** Milliseconds since boot. */
export const now = () => Number(process.hrtime.bigint() / 1000n) / 1000;

export const Recorded = remote(
  class Recorded {
    _file;
    _life = getRuntimeContext().restartCount;
    constructor(/** @type {string} */ file) {
      this._file = file;
      this._write("alive");
      setInterval(() => this._write("alive"), WRITE_MS);
    }
    _write(/** @type {string} */ what) {
      appendFileSync(this._file, `${now()} ${this._life} ${process.pid} ${what}\n`);
    }
    /** Answers after so long. @returns which call it was, and which life has answered */
    async call(/** @type {number} */ n, /** @type {number} */ ms) {
      this._write(`call ${n}`);
      if (ms > 0) await sleep(ms);
      return [n, this._life];
    }
    async where() {
      return getRuntimeContext().nodeId;
    }
    /** Has a task run elsewhere, for as long as it is not let go. */
    async hold(/** @type {Record<string, number>} */ resources, /** @type {string} */ file) {
      return get(held.options({ resources }).remote(file));
    }
  },
  { maxRestarts: -1, maxTaskRetries: -1, numCpus: 0, maxConcurrency: 1000 },
);

export const wait = remote(
  async function wait(/** @type {number} */ ms) {
    await sleep(ms);
    return getRuntimeContext().nodeId;
  },
  { maxRetries: -1, numCpus: 0 },
);

/** Notes that it runs, and runs until there is a file `<file>.go`. */
export const held = remote(
  async function held(/** @type {string} */ file) {
    appendFileSync(file, `${now()} ${process.pid}\n`);
    while (!existsSync(`${file}.go`)) await sleep(WRITE_MS);
  },
  { maxRetries: -1, numCpus: 0 },
);

/** The lives of an actor, by what it wrote. @param {string} file */
export function livesOf(file) {
  /** @type {Map<number, { life: number, pid: number, firstMs: number, lastMs: number, calls: Set<number> }>} */
  const lives = new Map();
  for (const line of readFileSync(file, "utf8").split("\n").slice(0, -1)) {
    const [at, life, pid, what, n] = line.split(" ");
    const atMs = Number(at);
    const known = lives.get(Number(life));
    const seen = known ?? {
      ...{ life: Number(life), pid: Number(pid), firstMs: atMs, lastMs: atMs, calls: new Set() },
    };
    if (known === undefined) lives.set(seen.life, seen);
    seen.firstMs = Math.min(seen.firstMs, atMs);
    seen.lastMs = Math.max(seen.lastMs, atMs);
    if (what === "call") seen.calls.add(Number(n));
  }
  return [...lives.values()].sort((a, b) => a.life - b.life);
}

/** Calls of an actor and tasks, one after the other and all the time, until it is ended; none may fail or hang. */
export class Load {
  sent = 0;
  answered = 0;
  /** @type {string[]} */
  problems = [];
  #isOver = false;
  /** @type {Promise<unknown>} */
  #done;

  /** @param {any} actor @param {Record<string, number>} taskResources */
  constructor(actor, taskResources) {
    const task = wait.options({ resources: taskResources });
    this.#done = Promise.all([
      this.#repeat(async (n) => {
        const [answer] = await actor.call.remote(n, 0);
        if (answer !== n) this.problems.push(`call ${n} was answered with ${answer}`);
      }),
      this.#repeat(() => task.remote(1)),
    ]);
  }

  /** @param {(n: number) => PromiseLike<unknown>} one */
  async #repeat(one) {
    for (let n = 0; !this.#isOver; n++) {
      this.sent += 1;
      try {
        await one(n);
        this.answered += 1;
      } catch (error) {
        this.problems.push(`lost: ${/** @type {Error} */ (error).message}`);
      }
      await sleep(WRITE_MS);
    }
  }

  async end() {
    this.#isOver = true;
    await this.#done;
  }
}
