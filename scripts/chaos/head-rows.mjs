// The rows of scripts/chaos-rows.mjs that are about the head: killed again and again (R8), killed while what it knows of dies
// too (R10), and not growing with what came and went (R35).
import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { get, getActor, kill as killActor, nodeAffinity } from "tsray";
import { footprint, isGone, linesOf, processesOf, settledMib } from "./checks.mjs";
import { CLI, kill, nameOf, quantile, range, startNode, two, until, w1 } from "./row-kit.mjs";
import { Notes, now } from "./row-work.mjs";

const DRIVER = fileURLToPath(new URL("row-driver.mjs", import.meta.url));
const MIB = 2 ** 20;

/** The head's own account, as `tsray list` gives it. @returns {Promise<Record<string, any>[]>} */
async function listed(
  /** @type {"actors" | "jobs" | "nodes"} */ kind,
  /** @type {import("tsray/testing").Cluster} */ { address },
) {
  const args = [CLI, "list", kind, "--json", "--address", address];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 2 ** 28 });
  return JSON.parse(stdout);
}

/** What must be the same after the head was away: who is there, where, and in which life. */
async function standing(/** @type {import("tsray/testing").Cluster} */ made) {
  const [actors, jobs, nodes] = await Promise.all([
    listed("actors", made),
    listed("jobs", made),
    listed("nodes", made),
  ]);
  return new Set([
    ...actors
      .filter(({ name }) => name !== "")
      .map(({ actorId, name, state, nodeId, pid, restarts }) =>
        ["actor", actorId, name, state, nodeId, pid, restarts].join(" "),
      ),
    ...jobs.map(({ jobId, state, driverPid }) => `job ${jobId} ${state} ${driverPid}`),
    ...nodes.map(({ nodeId, state }) => `node ${nodeId} ${state}`),
  ]);
}

const headPid = () => processesOf().find(({ title }) => title.startsWith("tsray:head"))?.pid ?? 0;

/** @type {Record<string, { what: string, run: (row: import("./row-kit.mjs").Row) => Promise<void> }>} */
export const headRows = {
  R8: {
    what: "the head is killed each 15 s, 20 times, under tasks and numbered calls of 6 actors without retries",
    run: async ({ file, is, cluster, scale }) => {
      const made = await cluster({ nodes: [two, two] });
      const kills = Math.max(2, Math.round(20 * scale));
      const records = range(6).map(() => file());
      const actors = records.map((_, a) =>
        Notes.options({ name: `r8-${a}`, schedulingStrategy: a % 2 === 0 ? "DEFAULT" : "SPREAD" }).remote(),
      );
      await get(actors.map((actor) => actor.pid.remote()));
      const before = await standing(made);

      let isOver = false;
      const tasks = { lost: 0, wrong: 0, done: 0 };
      const load = async () => {
        const record = file();
        while (!isOver) {
          const { lost, wrong } = await w1(record, 50, tasks.done);
          tasks.lost += lost;
          tasks.wrong += wrong;
          tasks.done += 50;
        }
      };
      /** Seconds since the kill count for the head's absence; the rest of the time is calm. @type {{ ms: number, isCalm: boolean }[]} */
      const calls = [];
      let failed = 0;
      let isAway = false;
      const sent = records.map(() => 0);
      const calling = actors.map(async (actor, a) => {
        for (let n = 0; !isOver; n++) {
          const fromMs = now();
          const wasAway = isAway;
          sent[a] = n + 1;
          await actor.note.remote(/** @type {string} */ (records[a]), n).then(null, () => (failed += 1));
          calls.push({ ms: now() - fromMs, isCalm: !wasAway && !isAway });
          await sleep(25);
        }
      });
      const worst = { servingMs: 0, createdMs: 0 };
      const killing = async () => {
        for (let i = 0; i < kills; i++) {
          await sleep(12_000);
          isAway = true;
          const fromMs = now();
          await made.killHead();
          const fresh = Notes.options({ numCpus: 0 }).remote();
          const created = fresh.pid.remote().then(() => now() - fromMs);
          const startMs = now();
          await made.startHead();
          worst.servingMs = Math.max(worst.servingMs, now() - startMs);
          worst.createdMs = Math.max(worst.createdMs, await created);
          isAway = false;
          killActor(fresh);
          await sleep(Math.max(0, 3000 - (now() - fromMs)));
        }
        isOver = true;
      };
      await Promise.all([load(), ...calling, killing()]);
      const after = await standing(made);
      const differences =
        [...before].filter((row) => !after.has(row)).length +
        [...after].filter((row) => !before.has(row)).length;
      const p99 = (/** @type {boolean} */ calm) =>
        quantile(
          calls.filter(({ isCalm }) => isCalm === calm).map(({ ms }) => ms),
          0.99,
        );
      const unrecorded = records.map(
        (record, a) =>
          Math.abs((sent[a] ?? 0) - linesOf(record).length) +
          linesOf(record).filter((line, n) => Number(line.split(" ")[0]) !== n).length,
      );
      is("times the head was killed", kills);
      is("tasks", tasks.done);
      is("tasks lost", tasks.lost, 0);
      is("tasks wrong", tasks.wrong, 0);
      is("actor calls", calls.length);
      is("actor calls failed", failed, 0);
      is(
        "numbers missing, doubled or out of order",
        unrecorded.reduce((a, b) => a + b, 0),
        0,
      );
      is("p99 of a call with the head, ms", p99(true));
      is("p99 of a call without the head, ms", p99(false));
      is("head serves after its start, worst, ms", worst.servingMs, 3000);
      is("new actor answers after the kill, worst, ms", worst.createdMs, 6000);
      is("named actors, jobs and nodes", before.size);
      is("of them not the same afterwards", differences, 0);
    },
  },

  R10: {
    what: "while the head is dead 2 actors and a raylet are killed; the head starts again",
    run: async ({ is, cluster }) => {
      const made = await cluster({ nodes: [two] });
      const doomed = made.nodes[1];
      if (doomed === undefined) throw new Error("no node");
      const here = nodeAffinity(/** @type {string} */ (made.nodes[0]?.nodeId));
      const there = nodeAffinity(doomed.nodeId);
      const named = (/** @type {string} */ name, /** @type {typeof here} */ schedulingStrategy) =>
        Notes.options({ name, schedulingStrategy, numCpus: 0 }).remote();
      const kept = named("kept", here);
      const dying = [named("one", here), named("two", here), named("with-node", there)];
      const keptPid = await kept.pid.remote();
      const pids = await get(dying.map((actor) => actor.pid.remote()));
      const children = processesOf().filter(({ ppid }) => ppid === doomed.pid);
      await made.killHead();
      for (const pid of pids.slice(0, 2)) kill(pid);
      kill(doomed.pid);
      await sleep(1000);
      await made.startHead();
      const fromMs = now();
      const ghosts = async () => {
        const [actors, nodes] = await Promise.all([listed("actors", made), listed("nodes", made)]);
        return (
          actors.filter(({ state, pid }) => state !== "DEAD" && isGone(pid)).length +
          nodes.filter(({ nodeId, state }) => nodeId === doomed.nodeId && state !== "DEAD").length
        );
      };
      await until(async () => (await ghosts()) === 0, 30_000);
      is("until the head's account is true, ms", now() - fromMs, 10_000);
      is("ghosts in it", await ghosts(), 0);
      is(
        "callers told nothing",
        (await Promise.all(dying.map((actor) => nameOf(actor.pid.remote())))).filter(
          (name) => name === "value",
        ).length,
        0,
      );
      is("live actors that are not what they were", (await kept.pid.remote()) === keptPid ? 0 : 1, 0);
      is(
        "processes of the dead raylet and actors left",
        [...pids, ...children.map(({ pid }) => pid)].filter((pid) => !isGone(pid)).length,
        0,
      );
      const again = await Promise.all(
        ["one", "two", "with-node"].map((name) => nameOf(named(name, here).pid.remote())),
      );
      is("names not free again", again.filter((end) => end !== "value").length, 0);
    },
  },

  R35: {
    what: "10,000 actors come and go in waves of 50, 1,640 drivers connect and leave",
    run: async ({ is, cluster, scale }) => {
      const made = await cluster();
      // A process that joins and leaves ten times is ten drivers to the head; each fifth wave one that does so once.
      const waves = Math.max(4, Math.round(200 * scale));
      const perWave = 50;
      const driversPerWave = 10;
      const head = headPid();
      const wave = async (/** @type {number} */ i) => {
        const names = range(perWave).map((n) => `wave-${n}`);
        const actors = names.map((name) => Notes.options({ name, numCpus: 0 }).remote());
        const pids = await get(actors.map((actor) => actor.pid.remote()));
        for (const actor of actors) killActor(actor);
        const joining = [i % 5 === 0 ? 1 : driversPerWave].map(async (times) => {
          const driver = startNode([DRIVER, "R35", made.address, String(times)]);
          const code = await driver.ended;
          if (code !== 0) throw new Error(`a driver ended with code ${code}`);
          return times;
        });
        const [joined = 0] = await Promise.all(joining);
        await until(() => pids.every(isGone));
        return joined;
      };
      // Code is loaded, pools are filled.
      await wave(1);
      await sleep(1000);
      const first = await settledMib(head);
      const fdsBefore = footprint(head).fds;
      const startMs = now();
      let drivers = 0;
      let half = first;
      let most = 0;
      for (let i = 0; i < waves; i++) {
        drivers += await wave(i);
        most = Math.max(most, footprint(head).rss / MIB);
        if (i + 1 === waves >> 1) half = await settledMib(head);
      }
      const last = await settledMib(head);
      const names = await Promise.all(range(perWave).map((n) => nameOf(getActor(`wave-${n}`))));
      await until(() => footprint(head).fds <= fdsBefore, 10_000);
      const jobs = await listed("jobs", made);
      is("actors", waves * perWave);
      is("drivers", drivers);
      is("time, s", (now() - startMs) / 1000);
      is("head's memory after the first wave, garbage collected, MiB", first);
      is("half way, MiB", half);
      is("at the end, MiB", last);
      is("with garbage, at its most, MiB", most);
      // The histories of dead actors and ended jobs are full half way only where the row runs at its full count.
      is("rise over the second half, MiB", Math.max(0, last - half), scale === 1 ? 5 : undefined);
      is("head's descriptors more than before", Math.max(0, footprint(head).fds - fdsBefore), 0);
      is("names still taken", names.filter((end) => end === "value").length, 0);
      is(
        "jobs that still run, besides this one",
        jobs.filter(({ state }) => state === "RUNNING").length - 1,
        0,
      );
    },
  },
};
