// The rows of scripts/chaos-rows.mjs: experiments of the goal table of reliability (R1, R2, ...), each with what it may
// lose, repeat and take. A row starts its own cluster, does its harm, and reports figures beside their limits.
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { cancel, get, nodeAffinity, wait } from "tsray";
import { isGone, linesOf, orphanedMemory, processesOf, sharedMemory } from "./checks.mjs";
import { headRows } from "./head-rows.mjs";
import { nest, nestValue } from "./loads.mjs";
import {
  any,
  CLI,
  kill,
  killRaylet,
  nameOf,
  quantile,
  range,
  runsOf,
  startNode,
  two,
  until,
  w1,
} from "./row-kit.mjs";
import { aborts, bytesOf, dies, Notes, now, Owner, readAll, spins } from "./row-work.mjs";

/** @type {Record<string, { what: string, run: (row: import("./row-kit.mjs").Row) => Promise<void> }>} */
export const rows = {
  ...headRows,

  R1: {
    what: "a random busy worker is killed each 500 ms under 5,000 tasks",
    run: async ({ file, is, cluster, scale }) => {
      await cluster({ nodes: [two, two] });
      const count = Math.round(5000 * scale);
      const calm = await w1(file(), count);
      const record = file();
      /** @type {{ pid: number, atMs: number }[]} */
      const kills = [];
      let over = false;
      const killer = (async () => {
        while (!over) {
          await sleep(500);
          const victim = over
            ? undefined
            : any(processesOf().filter(({ title }) => /^tsray:worker \S/.test(title)));
          if (victim === undefined) continue;
          kills.push({ pid: victim.pid, atMs: now() });
          kill(victim.pid);
        }
      })();
      const { lost, wrong, ms } = await w1(record, count);
      over = true;
      await killer;
      const runs = runsOf(record);
      const again = kills.flatMap(({ pid, atMs }) => {
        const last = runs.findLast((run) => run.pid === pid);
        const next = last && runs.find((run) => run.i === last.i && run.attempt > last.attempt);
        return next === undefined ? [] : [next.atMs - atMs];
      });
      is("kills", kills.length);
      is("lost", lost, 0);
      is("wrong", wrong, 0);
      is("run more than once", runs.length - count, kills.length);
      is("retry starts after the kill, p99, ms", quantile(again, 0.99), 1000);
      is("time, as a multiple of a run without kills", ms / calm.ms, 2);
    },
  },

  R2: {
    what: "the same task's worker dies three times",
    run: async ({ file, is, cluster }) => {
      await cluster();
      const record = file();
      const attempt = await dies.options({ maxRetries: 3 }).remote(record, 3);
      is("runs with maxRetries 3", linesOf(record).length, 4);
      is("attempt that got through, less 3", Math.abs(attempt - 3), 0);
      const other = file();
      const fromMs = now();
      const name = await nameOf(dies.options({ maxRetries: 2 }).remote(other, 3));
      is("runs with maxRetries 2", linesOf(other).length, 3);
      is(`other ends than WorkerCrashedError (${name})`, name === "WorkerCrashedError" ? 0 : 1, 0);
      is("until it failed, ms", now() - fromMs, 5000);
    },
  },

  R3: {
    what: "a random raylet is killed each 10 s, another starts 2 s later, for 3 minutes, under tasks and nested tasks",
    run: async ({ file, is, cluster, scale }) => {
      const made = await cluster({ nodes: [two, two] });
      const record = file();
      const untilMs = now() + 180_000 * scale;
      const totals = { lost: 0, wrong: 0, done: 0, nested: 0 };
      const load = async () => {
        while (now() < untilMs) {
          const { lost, wrong } = await w1(record, 100, totals.done);
          totals.lost += lost;
          totals.wrong += wrong;
          totals.done += 100;
        }
      };
      const nesting = async () => {
        for (; now() < untilMs; totals.nested += 1) {
          const value = await nest.remote(3, totals.nested).then(null, () => Number.NaN);
          if (Number.isNaN(value)) totals.lost += 1;
          else if (value !== nestValue(3, totals.nested)) totals.wrong += 1;
        }
      };
      /** @type {{ atMs: number, workersMs: number, knownMs: number }[]} */
      const kills = [];
      const killing = async () => {
        while (now() + 10_000 < untilMs) {
          await sleep(8000);
          const victim = any(made.nodes.slice(1));
          if (victim === undefined) continue;
          const atMs = now();
          kills.push({ atMs, ...(await killRaylet(victim)) });
          await sleep(2000);
          await made.addNode(two);
        }
      };
      await Promise.all([load(), nesting(), killing()]);
      const runs = runsOf(record);
      /** By the kill that ended a task: how long it took until the first of them ran again. A raylet may have had none. */
      const again = new Map();
      for (const { i, attempt, atMs } of runs) {
        const before = runs.find((run) => run.i === i && run.attempt === attempt - 1);
        const by = before && kills.find((each) => each.atMs >= before.atMs);
        if (by !== undefined)
          again.set(by, Math.min(again.get(by) ?? Number.POSITIVE_INFINITY, atMs - by.atMs));
      }
      is("raylets killed", kills.length);
      is("of them with a task of the load", again.size);
      is("tasks", totals.done);
      is("nested", totals.nested);
      is("lost", totals.lost, 0);
      is("wrong", totals.wrong, 0);
      is("its workers gone, worst, ms", Math.max(0, ...kills.map(({ workersMs }) => workersMs)), 2000);
      is("death known, worst, ms", Math.max(0, ...kills.map(({ knownMs }) => knownMs)), 2000);
      is("first task run again, worst, ms", Math.max(0, ...again.values()), 3000);
    },
  },

  R4: {
    what: "6 actors with 600 numbered calls each; a raylet is killed each 10 s",
    run: async ({ file, is, cluster, scale }) => {
      const made = await cluster({ nodes: [two, two] });
      const count = Math.round(600 * scale);
      const records = range(6).map(() => file());
      let done = 0;
      /** The longest time between two answers of an actor. */
      let longestMs = 0;
      let lost = 0;
      const calling = records.map(async (record, a) => {
        const actor = Notes.options({
          maxRestarts: -1,
          maxTaskRetries: -1,
          ...(a % 2 === 0 ? {} : { schedulingStrategy: "SPREAD" }),
        }).remote();
        let lastMs = now();
        for (let n = 0; n < count; n++) {
          await sleep(100);
          await actor.note.remote(record, n).then(null, () => (lost += 1));
          longestMs = Math.max(longestMs, now() - lastMs - 100);
          lastMs = now();
        }
        done += 1;
      });
      let kills = 0;
      const killing = async () => {
        while (done < 6) {
          await sleep(8000);
          const victim = done < 6 ? any(made.nodes.slice(1)) : undefined;
          if (victim === undefined) continue;
          await killRaylet(victim);
          kills += 1;
          await sleep(2000);
          await made.addNode(two);
        }
      };
      await Promise.all([...calling, killing()]);
      const missing = records.map(
        (record) => count - new Set(linesOf(record).map((line) => line.split(" ")[0])).size,
      );
      is("raylets killed", kills);
      is("calls", 6 * count);
      is("lost", lost, 0);
      is(
        "numbers that were never recorded",
        missing.reduce((a, b) => a + b, 0),
        0,
      );
      is("longest time without an answer of one actor, ms", longestMs, 5000);
    },
  },

  R5: {
    what: "an actor's worker is killed in mid-call; no retries",
    run: async ({ file, is, cluster, scale }) => {
      await cluster();
      const figures = { twice: 0, unsaid: 0, denied: 0, vanished: 0, maybe: 0, calls: 0 };
      const rounds = Math.max(1, Math.round(50 * scale));
      for (let round = 0; round < rounds; round++) {
        const record = file();
        const actor = Notes.remote();
        const pid = await actor.pid.remote();
        const calls = range(40).map((n) => actor.note.remote(record, n));
        await sleep(Math.random() * 60);
        kill(pid);
        const ends = await Promise.allSettled(calls);
        const runs = range(40).map((n) => linesOf(record).filter((line) => line.startsWith(`${n} `)).length);
        ends.forEach((end, n) => {
          figures.calls += 1;
          if ((runs[n] ?? 0) > 1) figures.twice += 1;
          if (end.status === "fulfilled") {
            if (runs[n] === 0) figures.vanished += 1;
            return;
          }
          const { maybeExecuted } = /** @type {import("tsray").ActorDiedError} */ (end.reason);
          if (maybeExecuted === undefined) figures.unsaid += 1;
          if (maybeExecuted === true) figures.maybe += 1;
          if (maybeExecuted === false && runs[n] !== 0) figures.denied += 1;
        });
      }
      is("calls", figures.calls);
      is("executed more than once", figures.twice, 0);
      is("answered and not executed", figures.vanished, 0);
      is("errors without maybeExecuted", figures.unsaid, 0);
      is("executed, though reported as not sent", figures.denied, 0);
      is("reported as maybe executed", figures.maybe);
    },
  },

  R6: {
    what: "the raylet with the only copies is killed",
    run: async ({ is, cluster, scale }) => {
      const made = await cluster({
        nodes: [
          { numCpus: 2, resources: { b: 2 } },
          { numCpus: 2, resources: { b: 2 } },
        ],
      });
      const count = Math.max(4, Math.round(20 * scale));
      const doomed = made.nodes[1];
      if (doomed === undefined) throw new Error("no node");
      const there = {
        schedulingStrategy: nodeAffinity(doomed.nodeId, { soft: true }),
        resources: { b: 0.1 },
      };
      const refs = range(count).map((i) =>
        bytesOf.options({ ...there, maxRetries: -1 }).remote(5_000_000, i),
      );
      const owner = Owner.options({ schedulingStrategy: nodeAffinity(doomed.nodeId) }).remote();
      const boxes = await owner.make.remote(10, 1_000_000);
      await wait(refs, { numReturns: count });
      await killRaylet(doomed);
      const fromMs = now();
      let worstMs = 0;
      let wrong = 0;
      for (const [i, ref] of refs.entries()) {
        const startMs = now();
        const bytes = await get(ref).then(null, (/** @type {Error} */ error) =>
          console.log(`  ${error.message}`),
        );
        if (bytes?.length !== 5_000_000 || bytes.some((byte) => byte !== i)) wrong += 1;
        worstMs = Math.max(worstMs, now() - startMs);
      }
      is("outputs", count);
      is("lost or wrong", wrong, 0);
      is("slowest to be had again, ms", worstMs, 5000);
      is("all of them, ms", now() - fromMs);
      const putFromMs = now();
      const ends = await Promise.all(boxes.map(({ ref }) => nameOf(get(ref))));
      is(
        "put objects that did not end in a typed error",
        ends.filter((name) => !/^(OwnerDied|ObjectLost)Error$/.test(name)).length,
        0,
      );
      is("until those errors, ms", now() - putFromMs, 5000);
    },
  },

  R7: {
    what: "the owner of 1,000 borrowed refs is killed",
    run: async ({ is, cluster }) => {
      await cluster({ nodes: [two] });
      const owner = Owner.remote();
      const pid = await owner.pid.remote();
      const boxes = [...(await owner.make.remote(200, 200_000)), ...(await owner.make.remote(800, 100))];
      await get(boxes.map(({ ref }) => ref));
      kill(pid);
      const fromMs = now();
      const names = await Promise.all([
        // The driver has read them; a task has not.
        readAll.options({ schedulingStrategy: "SPREAD" }).remote(boxes),
        readAll.remote(boxes),
      ]);
      is("borrowed refs", boxes.length);
      is(
        "reads that ended otherwise than OwnerDiedError",
        names.flat().filter((name) => name !== "OwnerDiedError").length,
        0,
      );
      is("until every borrower knew, ms", now() - fromMs, 5000);
    },
  },

  R25: {
    what: "a task that aborts its process",
    run: async ({ file, is, cluster }) => {
      await cluster({ nodes: [two] });
      const record = file();
      const fromMs = now();
      const name = await nameOf(aborts.remote(record));
      is(
        `other ends than PoisonTaskError or WorkerCrashedError (${name})`,
        /^(PoisonTask|WorkerCrashed)Error$/.test(name) ? 0 : 1,
        0,
      );
      is("attempts", linesOf(record).length, 4);
      is("workers lost", new Set(linesOf(record)).size, 4);
      is("until it failed, ms", now() - fromMs, 15_000);
      // Retried for ever, it must not slow others down.
      await w1(file(), 300);
      const calm = await w1(file(), 600);
      const poison = file();
      const controller = new AbortController();
      const endless = nameOf(aborts.options({ maxRetries: -1, signal: controller.signal }).remote(poison));
      await until(() => linesOf(poison).length >= 4);
      const beside = await w1(file(), 600);
      is("throughput beside it, lost, %", Math.max(0, 100 * (1 - calm.ms / beside.ms)), 10);
      controller.abort();
      await endless;
      is("runs of it meanwhile", linesOf(poison).length);
    },
  },

  R26: {
    what: "a worker in an endless synchronous loop: cancelled by force; its raylet killed; the head gone",
    run: async ({ file, is, cluster }) => {
      const made = await cluster({ nodes: [{ numCpus: 1, resources: { b: 1 } }] });
      const begun = async (/** @type {string} */ record) => {
        await until(() => linesOf(record).length > 0);
        return Number(linesOf(record)[0]);
      };
      const a = file();
      const cancelled = spins.options({ maxRetries: 0 }).remote(a);
      const ended = nameOf(cancelled);
      const pidA = await begun(a);
      const fromMs = now();
      cancel(cancelled, { force: true });
      is("(a) other ends than TaskCancelledError", (await ended) === "TaskCancelledError" ? 0 : 1, 0);
      await until(() => isGone(pidA));
      is("(a) until the process is gone, ms", now() - fromMs, 6000);

      const c = file();
      const goesOn = spins.options({ maxRetries: 0 }).remote(c);
      const endC = nameOf(goesOn);
      const pidC = await begun(c);
      await made.killHead();
      await sleep(5000);
      is("(c) ended within 5 s without a head", isGone(pidC) ? 1 : 0, 0);
      await made.startHead();
      await sleep(2000);
      is("(c) ended when the head was back", isGone(pidC) ? 1 : 0, 0);
      cancel(goesOn, { force: true });
      await endC;

      const b = file();
      const doomed = nameOf(spins.options({ maxRetries: 0, resources: { b: 1 } }).remote(b));
      const pidB = await begun(b);
      const node = made.nodes[1];
      if (node !== undefined) kill(node.pid);
      is("(b) until it is gone after its raylet, ms", await until(() => isGone(pidB)), 1000);
      is("(b) other ends than NodeDiedError", (await doomed) === "NodeDiedError" ? 0 : 1, 0);
    },
  },

  R28: {
    what: "a driver is killed: 500 tasks, 20 actors, processes that tasks started, one detached actor",
    run: async ({ file, is, cluster }) => {
      const made = await cluster({ nodes: [two] });
      const record = file();
      const driver = startNode([DRIVER, "R28", made.address, record]);
      const [kept = 0, ...actors] = /** @type {number[]} */ (await driver.fact());
      await until(() => linesOf(record).length >= 12);
      driver.child.kill("SIGKILL");
      const fromMs = now();
      const pids = () => [...actors, ...linesOf(record).flatMap((line) => line.split(" ").map(Number))];
      await until(() => pids().every(isGone));
      is("actors, tasks and their children", pids().length);
      is("until all are gone, ms", now() - fromMs, 5000);
      is("detached actors that are gone", isGone(kept) ? 1 : 0, 0);
    },
  },

  R29: {
    what: "a standing cluster is stopped by SIGTERM or Ctrl-C while tasks run, 50 times",
    run: async ({ file, is, runtimeDir, scale }) => {
      const rounds = Math.max(2, Math.round(50 * scale));
      const worst = { firstMs: 0, secondMs: 0 };
      const bad = { codes: 0, results: 0, processes: 0, memory: 0 };
      for (let round = 0; round < rounds; round++) {
        const before = new Set(sharedMemory());
        const isTwice = round % 5 === 4;
        const record = file();
        const start = startNode([CLI, "start", "--head", "--block", "--port", "0", "--num-cpus", "2"]);
        const address = /at (\S+)/.exec(String(await start.line()))?.[1] ?? "";
        const driver = startNode([DRIVER, isTwice ? "endless" : "R29", address, record]);
        await driver.fact();
        await until(() => linesOf(record).length === 6);
        const signal = round % 2 === 0 ? "SIGTERM" : "SIGINT";
        const fromMs = now();
        start.child.kill(signal);
        if (isTwice) {
          await sleep(300);
          start.child.kill(signal);
        }
        const code = await start.ended;
        const ms = now() - fromMs - (isTwice ? 300 : 0);
        if (isTwice) worst.secondMs = Math.max(worst.secondMs, ms);
        else worst.firstMs = Math.max(worst.firstMs, ms);
        if (code !== 0) bad.codes += 1;
        // Done, or a typed error: never for ever. What had time to finish must not be lost.
        const ends = /** @type {string[]} */ (await driver.fact());
        if (isTwice ? ends.some((end) => !end.endsWith("Error")) : ends.some((end) => end !== "value"))
          bad.results += 1;
        await driver.ended;
        await until(() => processesOf(runtimeDir).length === 0, 2000);
        bad.processes += processesOf(runtimeDir).length;
        bad.memory += (await orphanedMemory(before)).length;
      }
      is("stops", rounds);
      is("exit codes other than 0", bad.codes, 0);
      is("running tasks whose results were lost, or that did not end in an error", bad.results, 0);
      is("slowest end, ms", worst.firstMs, 8000);
      is("slowest end after a second signal, ms", worst.secondMs, 1000);
      is("processes left", bad.processes, 0);
      is("files in shared memory left", bad.memory, 0);
    },
  },
};

const DRIVER = fileURLToPath(new URL("row-driver.mjs", import.meta.url));
