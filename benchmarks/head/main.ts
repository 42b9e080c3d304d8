/**
 * The group "head": what one head bears. Simulated raylets (simulated-raylet.ts) register with a real head process, beat once a
 * second, and answer its commands; then actors and placement groups are created, as fast as the head takes them. The other
 * side of the load runs in this process, on a core of its own where there are two. Ours only.
 */
import {
  measureRows,
  type Row,
  readPlan,
  type SampleWork,
  selectRows,
} from "../../src/microbenchmark/measure.ts";
import { HeadUnderLoad } from "./cluster.ts";

const NODES = [100, 500, 2000];
const REST_MS = 5000;
const RACE_MS = 3000;
const ACTORS = 10_000;
const GROUPS = 1000;
const BUNDLES = 10;
const SAMPLES = 3;
const PERCENT = 100;

let cluster: HeadUnderLoad | undefined;

/** The cluster of the rows before, where it has as many nodes: they run in turn. */
async function clusterOf(nodes: number): Promise<HeadUnderLoad> {
  if (cluster?.nodes === nodes) return cluster;
  await cluster?.close();
  cluster = new HeadUnderLoad(nodes);
  await cluster.start();
  await cluster.register();
  return cluster;
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

const rows = NODES.flatMap((nodes): Row[] => {
  const sampled =
    (samples: number, sample: (head: HeadUnderLoad) => Promise<number>) => async (): Promise<SampleWork> => {
      const head = await clusterOf(nodes);
      return { samples, sample: () => sample(head) };
    };
  const actors = (strategy: string) =>
    sampled(SAMPLES, async (head) => {
      let ids: string[] = [];
      const { cpuSeconds } = await head.cost(async () => {
        ids = await head.createActors(Math.min(ACTORS, nodes * 10), strategy);
      });
      await head.killActors(ids);
      return ids.length / cpuSeconds;
    });
  const bundles = (strategy: string) =>
    sampled(SAMPLES, async (head) => {
      let ids: string[] = [];
      const count = Math.min(GROUPS, nodes);
      const { cpuSeconds } = await head.cost(async () => {
        ids = await head.createGroups(count, BUNDLES, strategy);
      });
      await head.removeGroups(ids);
      return (count * BUNDLES) / cpuSeconds;
    });
  const name = (what: string) => `head, ${nodes} nodes: ${what}`;
  return [
    {
      name: name("registration"),
      unit: "nodes/s",
      what: "all nodes register at once, until each has its answer: all other nodes",
      prepare: () => ({
        samples: SAMPLES,
        sample: async () => {
          await cluster?.close();
          cluster = undefined;
          const fresh = new HeadUnderLoad(nodes);
          await fresh.start();
          const { seconds } = await fresh.cost(() => fresh.register());
          cluster = fresh;
          return nodes / seconds;
        },
      }),
    },
    {
      name: name("CPU at rest"),
      unit: "% of a core",
      what: "processor time of the head while each node beats once a second and nothing else happens",
      prepare: sampled(SAMPLES, async (head) => {
        const { cpuSeconds, seconds } = await head.cost(() => pause(REST_MS));
        return (PERCENT * cpuSeconds) / seconds;
      }),
    },
    {
      name: name("heartbeats"),
      unit: "beats per second of the head's CPU",
      what: "each node beats again as soon as its last beat is answered",
      prepare: sampled(SAMPLES, async (head) => {
        const before = sum(head.raylets.map(({ beatsHeard }) => beatsHeard));
        const { cpuSeconds } = await head.cost(async () => {
          for (const raylet of head.raylets) raylet.race(true);
          await pause(RACE_MS);
          for (const raylet of head.raylets) raylet.race(false);
        });
        return (sum(head.raylets.map(({ beatsHeard }) => beatsHeard)) - before) / cpuSeconds;
      }),
    },
    {
      name: name("actors placed"),
      unit: "actors per second of the head's CPU",
      what: `${ACTORS} actors (10 per node at most) of 1 CPU are created by one client in one turn, as a driver's loop creates them, until it is told that all are alive`,
      prepare: actors("DEFAULT"),
    },
    {
      name: name("actors placed, SPREAD"),
      unit: "actors per second of the head's CPU",
      what: "the same with strategy SPREAD",
      prepare: actors("SPREAD"),
    },
    {
      name: name("actors by the clock"),
      unit: "actors/s",
      what: "the same with strategy DEFAULT, by the clock: head and simulation share the machine",
      prepare: sampled(SAMPLES, async (head) => {
        let ids: string[] = [];
        const { seconds } = await head.cost(async () => {
          ids = await head.createActors(Math.min(ACTORS, nodes * 10), "DEFAULT");
        });
        await head.killActors(ids);
        return ids.length / seconds;
      }),
    },
    {
      name: name("bundles placed, PACK"),
      unit: "bundles per second of the head's CPU",
      what: `${GROUPS} placement groups (one per node at most) of ${BUNDLES} bundles of 1 CPU are created in one call, until all stand`,
      prepare: bundles("PACK"),
    },
    {
      name: name("bundles placed, SPREAD"),
      unit: "bundles per second of the head's CPU",
      what: "the same with strategy SPREAD",
      prepare: bundles("SPREAD"),
    },
    {
      name: name("groups by the clock"),
      unit: "groups/s",
      what: `${GROUPS} placement groups (one per node at most) of one bundle are created in one call, all stand, all are removed`,
      prepare: sampled(SAMPLES, async (head) => {
        const count = Math.min(GROUPS, nodes);
        const { seconds } = await head.cost(async () => {
          await head.removeGroups(await head.createGroups(count, 1, "PACK"));
        });
        return count / seconds;
      }),
    },
  ];
});

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, each) => all + each, 0);
}

const plan = readPlan();
await measureRows(selectRows({ head: rows }, plan), plan);
await cluster?.close();
