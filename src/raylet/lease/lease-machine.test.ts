// Goal: the lease machine's three invariants hold after every event, and its decisions are those of its comment.
// Method: transcripts (events in, effects as short lines out), and random histories of 2,000 events from 50 seeds.
import { describe, expect, test } from "vitest";
import type { Resources } from "../../core/base/resources.ts";
import { type DemandStatement, type LeaseEffect, type LeaseEvent, LeaseMachine } from "./lease-machine.ts";

const CPU = 10_000;
const ANYWHERE = { kind: "DEFAULT", nodeId: "", soft: false };

function tell(effect: LeaseEffect): string {
  switch (effect.kind) {
    case "grant": {
      const gpus = effect.gpuIds.length > 0 ? ` gpu ${effect.gpuIds.join(",")}` : "";
      return `grant ${effect.owner}/${effect.classId} ${effect.leaseId} on ${effect.workerId}${gpus}`;
    }
    case "redirect":
      return `${effect.patient ? "wait too" : "redirect"} ${effect.owner}/${effect.classId} x${effect.count} to ${effect.node.nodeId}`;
    case "reject":
      return `reject ${effect.owner}/${effect.classId} x${effect.count}`;
    case "pending":
      return `pending ${effect.owner}/${effect.classId}: ${effect.reason}`;
    case "unschedulable":
      return `unschedulable ${effect.owner}/${effect.classId}: ${effect.reason}`;
    case "startWorkers":
      return `start ${effect.count} for ${effect.pool}`;
    case "reclaim":
      return `reclaim ${effect.leaseId} from ${effect.owner}`;
  }
}

class Story {
  readonly machine: LeaseMachine;
  constructor(total: Resources = { CPU: 2 * CPU }, gpuIds: string[] = [], workersPerJobMax = 4) {
    this.machine = new LeaseMachine({
      nodeId: "n1",
      total,
      gpuIds,
      workersPerJobMax,
      lendBlockedFrom: workersPerJobMax,
      startingMax: 64,
    });
  }
  step(event: LeaseEvent): string[] {
    const effects = this.machine.step(event);
    this.machine.checkInvariants();
    for (const effect of effects) {
      if (effect.kind === "startWorkers") this.machine.noteStarting(effect.pool, effect.count);
    }
    return effects.map(tell);
  }
  demand(owner: string, count: number, more: Partial<DemandStatement> = {}): string[] {
    const demand = {
      owner,
      jobId: "j",
      pool: "j",
      classId: 1,
      resources: { CPU },
      strategy: ANYWHERE,
      count,
      redirected: false,
      patient: false,
      localityNodeId: "",
      ...more,
    };
    return this.step({ kind: "demand", demand });
  }
  worker(workerId: string, pool = "j"): string[] {
    const jobId = pool.replace(/\/.*/, "");
    return this.step({ kind: "workerIdle", workerId, jobId, pool, wasReady: false });
  }
  node(nodeId: string, free: number, total = free): string[] {
    const node = { nodeId, address: nodeId, total: { CPU: total * CPU }, available: { CPU: free * CPU } };
    return this.step({ kind: "nodeView", node });
  }
}

describe("transcripts", () => {
  test("demand starts workers, and is granted as they come, no further than the CPUs", () => {
    const story = new Story();
    expect(story.demand("o", 5)).toEqual(["pending o/1: waiting for a worker to start", "start 2 for j"]);
    expect(story.worker("w1")).toEqual([
      "grant o/1 n1-1 on w1",
      "pending o/1: waiting for a worker to start",
    ]);
    expect(story.worker("w2")).toEqual([
      "grant o/1 n1-2 on w2",
      expect.stringContaining("pending o/1: waiting for"),
    ]);
    expect(story.machine.available).toEqual({ CPU: 0 });
    expect(story.step({ kind: "leaseReturned", leaseId: "n1-1" })).toEqual([
      "grant o/1 n1-3 on w1",
      expect.stringContaining("pending o/1: waiting for CPU"),
    ]);
    expect(story.step({ kind: "leaseReturned", leaseId: "n1-1" })).toEqual([]);
  });

  test("repeated demand changes nothing, and demand of 0 withdraws", () => {
    const story = new Story({ CPU });
    story.demand("o", 2);
    story.worker("w1");
    expect(story.demand("o", 1)).toEqual([]);
    expect(story.demand("o", 0)).toEqual([]);
    expect(story.step({ kind: "leaseReturned", leaseId: "n1-1" })).toEqual([]);
    expect(story.machine.pending()).toEqual([]);
  });

  test("a worker that waits in get gives its CPU back, and takes it again", () => {
    const story = new Story({ CPU });
    story.demand("o", 1);
    story.worker("w1");
    expect(story.demand("child", 1)).toEqual([
      expect.stringContaining("pending child/1"),
      "reclaim n1-1 from o",
    ]);
    expect(story.step({ kind: "workerBlocked", workerId: "w1", blocked: true, runningFor: "" })).toEqual([
      expect.stringContaining("pending child/1"),
      "start 1 for j",
    ]);
    expect(story.worker("w2")).toEqual(["grant child/1 n1-2 on w2"]);
    expect(story.step({ kind: "workerBlocked", workerId: "w1", blocked: false, runningFor: "" })).toEqual([]);
    expect(story.machine.available).toEqual({ CPU: -CPU });
    story.step({ kind: "leaseReturned", leaseId: "n1-2" });
    story.step({ kind: "leaseReturned", leaseId: "n1-1" });
    expect(story.machine.available).toEqual({ CPU });
  });

  // A worker that waits in get was lent again to a task of its own that needs no CPU: that one runs, not the first.
  test("what a lent worker runs is charged, not what waits beside it", () => {
    const story = new Story({ CPU }, [], 1);
    story.demand("driver#1", 1);
    story.worker("w1");
    story.step({ kind: "workerBlocked", workerId: "w1", blocked: true, runningFor: "" });
    expect(story.demand("w1#2", 1, { resources: {} })).toEqual(["grant w1#2/1 n1-2 on w1"]);
    story.step({ kind: "workerBlocked", workerId: "w1", blocked: true, runningFor: "" });
    story.step({ kind: "workerBlocked", workerId: "w1", blocked: false, runningFor: "w1" });
    expect(story.machine.available).toEqual({ CPU });
    story.step({ kind: "workerBlocked", workerId: "w1", blocked: true, runningFor: "" });
    story.step({ kind: "workerBlocked", workerId: "w1", blocked: false, runningFor: "driver" });
    expect(story.machine.available).toEqual({ CPU: 0 });
  });

  test("hard affinity waits a little for a node nobody has heard of, and not for a dead one", () => {
    const story = new Story();
    const strategy = { kind: "NODE_AFFINITY", nodeId: "n9", soft: false };
    expect(story.demand("o", 1, { strategy })).toEqual([expect.stringContaining("pending o/1")]);
    expect(story.step({ kind: "tick" })).toEqual([]);
    expect(story.step({ kind: "tick" })).toEqual([expect.stringContaining("unschedulable o/1")]);
    story.node("n9", 1);
    story.step({ kind: "nodeGone", nodeId: "n9" });
    expect(story.demand("o", 1, { strategy })).toEqual([expect.stringContaining("unschedulable o/1")]);
  });

  test("a worker that is asked to leave is not lent until it says that it stays", () => {
    const story = new Story();
    story.worker("w1");
    story.machine.withdraw("w1");
    expect(story.demand("o", 1)).toEqual([expect.stringContaining("pending o/1"), "start 1 for j"]);
    story.machine.noteStarting("j", 1);
    expect(story.step({ kind: "workerIdle", workerId: "w1", jobId: "j", pool: "j", wasReady: true })).toEqual(
      ["grant o/1 n1-1 on w1"],
    );
  });

  test("an owner's end returns its leases; a worker's end gives its resources back", () => {
    const story = new Story();
    story.demand("o", 2);
    story.worker("w1");
    story.worker("w2");
    story.step({ kind: "workerGone", workerId: "w1", pool: "j", wasReady: true });
    expect(story.machine.available).toEqual({ CPU });
    story.step({ kind: "ownerGone", owner: "o" });
    expect(story.machine.available).toEqual({ CPU: 2 * CPU });
  });

  test("the owner with fewest leases is served first, and others are asked to give back", () => {
    const story = new Story();
    story.demand("greedy", 10);
    story.worker("w1");
    story.worker("w2");
    const effects = story.demand("late", 1);
    expect(effects).toContainEqual(expect.stringMatching(/^reclaim n1-[12] from greedy$/));
    expect(story.step({ kind: "leaseReturned", leaseId: "n1-1" })).toContain("grant late/1 n1-3 on w1");
  });

  test("a full node redirects to one with room, and a redirected demand that does not fit is rejected", () => {
    const story = new Story({ CPU: 0 });
    story.node("n2", 2);
    expect(story.demand("o", 3)).toEqual([
      "redirect o/1 x2 to n2",
      "wait too o/1 x1 to n2",
      expect.stringContaining("pending o/1: waiting for"),
    ]);
    expect(story.node("n2", 1, 2)).toEqual(["redirect o/1 x1 to n2"]);
    expect(story.demand("p", 4, { redirected: true })).toEqual(["reject p/1 x4"]);
  });

  // Leases are asked back only where they are held: a demand of another node must be able to wait there.
  test("a patient demand is not rejected, and has better served owners give back", () => {
    const story = new Story({ CPU });
    story.demand("greedy", 5);
    story.worker("w1");
    expect(story.demand("far", 1, { redirected: true, patient: true })).toEqual([
      expect.stringContaining("pending far/1"),
      "reclaim n1-1 from greedy",
    ]);
    expect(story.step({ kind: "leaseReturned", leaseId: "n1-1" })).toContain("grant far/1 n1-2 on w1");
  });

  test("SPREAD redirects round the nodes, with one answer per node", () => {
    const story = new Story({ CPU: 0 });
    story.node("n2", 4);
    story.node("n3", 4);
    const spread = { strategy: { kind: "SPREAD", nodeId: "", soft: false } };
    expect(story.demand("o", 4, spread)).toEqual(["redirect o/1 x2 to n2", "redirect o/1 x2 to n3"]);
  });

  test("hard affinity: redirected whole, unschedulable without its node; soft goes elsewhere", () => {
    const story = new Story();
    story.node("n2", 2);
    const to = (nodeId: string, soft = false) => ({ strategy: { kind: "NODE_AFFINITY", nodeId, soft } });
    expect(story.demand("o", 3, to("n2"))).toEqual(["redirect o/1 x3 to n2"]);
    story.step({ kind: "nodeGone", nodeId: "n2" });
    expect(story.demand("o", 3, to("n2"))).toEqual(["unschedulable o/1: node n2 is not in the cluster"]);
    expect(story.demand("o", 1, to("n2", true))).toContain("start 1 for j");
    const big = { ...to("n1"), resources: { CPU: 9 * CPU } };
    expect(story.demand("p", 1, big)).toEqual([
      expect.stringMatching(/^unschedulable p\/1: node n1 can never hold it/),
    ]);
  });

  test("what no node can hold is infeasible, and placed when a node comes that can", () => {
    const story = new Story();
    expect(story.demand("o", 1, { resources: { CPU, gold: CPU } })).toEqual([
      expect.stringMatching(/^pending o\/1: infeasible: no node of 1 has .*gold/),
    ]);
    const view = { CPU, gold: CPU };
    expect(
      story.step({ kind: "nodeView", node: { nodeId: "n2", address: "n2", total: view, available: view } }),
    ).toEqual(["redirect o/1 x1 to n2"]);
  });

  test("GPUs are never given beyond one device, and fractions share one", () => {
    const story = new Story({ CPU: 8 * CPU, GPU: 2 * CPU }, ["0", "1"], 8);
    for (let i = 1; i <= 4; i++) story.worker(`w${i}`);
    const gpus = (units: number) => ({ resources: { CPU, GPU: units } });
    expect(story.demand("a", 1, gpus(CPU / 2))).toEqual(["grant a/1 n1-1 on w1 gpu 0"]);
    expect(story.demand("b", 1, gpus(CPU / 2))).toEqual(["grant b/1 n1-2 on w2 gpu 0"]);
    expect(story.demand("c", 1, gpus(CPU))).toEqual(["grant c/1 n1-3 on w3 gpu 1"]);
    story.step({ kind: "leaseReturned", leaseId: "n1-1" });
    expect(story.demand("d", 1, gpus(CPU))).toEqual([
      expect.stringContaining("pending d/1"),
      "reclaim n1-2 from b",
    ]);
    expect(story.step({ kind: "leaseReturned", leaseId: "n1-2" })).toEqual([
      expect.stringMatching(/^grant d\/1 .* gpu 0$/),
    ]);
  });

  test("a worker is lent only within its job", () => {
    const story = new Story();
    story.worker("w1", "other");
    expect(story.demand("o", 1)).toEqual(["pending o/1: waiting for a worker to start", "start 1 for j"]);
  });
});

/** Uniform numbers in [0, 1), the same for the same seed. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One random history. @throws Error with its last steps when an invariant breaks */
function live(seed: number, steps: number): void {
  const random = seeded(seed);
  const int = (n: number) => Math.floor(random() * n);
  const machine = new LeaseMachine({
    nodeId: "n1",
    total: { CPU: 4 * CPU, GPU: 2 * CPU, gold: 2 * CPU },
    gpuIds: ["0", "1"],
    workersPerJobMax: 6,
    lendBlockedFrom: 6,
    startingMax: 6,
  });
  const story: string[] = [];
  const granted: { leaseId: string; workerId: string }[] = [];
  const workers: { id: string; pool: string }[] = [];
  const taken: { resources: Resources; gpuIds: readonly string[] }[] = [];
  let nextWorker = 1;
  const shapes: Resources[] = [
    { CPU },
    { CPU: CPU / 2 },
    {},
    { CPU: 2 * CPU },
    { GPU: CPU / 2, CPU },
    { gold: CPU },
  ];
  const take = (effects: readonly LeaseEffect[]) => {
    for (const effect of effects) {
      story.push(`  ${tell(effect)}`);
      if (effect.kind === "grant") {
        const worker = workers.find(({ id }) => id === effect.workerId);
        if (worker === undefined) throw new Error(`grant of worker ${effect.workerId}, which has ended`);
        granted.push(effect);
      } else if (effect.kind === "startWorkers") machine.noteStarting(effect.pool, effect.count);
    }
  };
  const randomEvent = (): LeaseEvent => {
    const jobId = `j${int(2)}`;
    const pool = int(3) === 0 ? `${jobId}/env` : jobId;
    const owner = `${jobId}-o${int(4)}`;
    const worker = workers[int(workers.length)];
    switch (int(9)) {
      case 0:
      case 1:
        return {
          kind: "demand",
          demand: {
            owner,
            jobId,
            pool,
            classId: int(3),
            resources: shapes[int(shapes.length)] as Resources,
            strategy: {
              kind: ["DEFAULT", "SPREAD", "NODE_AFFINITY"][int(3)] as string,
              nodeId: `n${1 + int(4)}`,
              soft: random() < 0.5,
            },
            count: int(6),
            redirected: random() < 0.2,
            patient: random() < 0.1,
            localityNodeId: random() < 0.2 ? `n${1 + int(3)}` : "",
          },
        };
      case 2:
      case 3: {
        const id = `w${nextWorker++}`;
        workers.push({ id, pool });
        return { kind: "workerIdle", workerId: id, jobId, pool, wasReady: false };
      }
      case 4:
        if (worker !== undefined && random() < 0.7)
          return { kind: "workerBlocked", workerId: worker.id, blocked: random() < 0.5, runningFor: "" };
        return { kind: "ownerGone", owner };
      case 5: {
        if (worker === undefined) return { kind: "workerGone", workerId: "unknown", pool, wasReady: false };
        workers.splice(workers.indexOf(worker), 1);
        return { kind: "workerGone", workerId: worker.id, pool: worker.pool, wasReady: true };
      }
      case 6: {
        const at = int(granted.length);
        const [lease] = granted.splice(at, 1);
        return { kind: "leaseReturned", leaseId: lease?.leaseId ?? "unknown" };
      }
      case 7: {
        if (random() < 0.3) return { kind: "nodeGone", nodeId: `n${2 + int(3)}` };
        const total = { CPU: 4 * CPU, gold: CPU };
        const node = {
          nodeId: `n${2 + int(3)}`,
          address: "x",
          total,
          available: { CPU: int(5) * CPU, gold: CPU },
        };
        return { kind: "nodeView", node };
      }
      default:
        return random() < 0.1 ? { kind: "jobEnded", jobId } : { kind: "leaseReturned", leaseId: "unknown" };
    }
  };
  for (let i = 0; i < steps; i++) {
    const outside = random();
    if (outside < 0.05) {
      const resources = shapes[int(shapes.length)] as Resources;
      const gpuIds = machine.acquire(resources);
      if (gpuIds !== undefined) taken.push({ resources, gpuIds });
    } else if (outside < 0.1 && taken.length > 0) {
      const [back] = taken.splice(int(taken.length), 1);
      if (back !== undefined) machine.giveBack(back.resources, back.gpuIds);
      take(machine.reschedule());
    } else {
      const event = randomEvent();
      story.push(JSON.stringify(event));
      take(machine.step(event));
    }
    const held: Record<string, number> = {};
    for (const { resources } of taken) {
      for (const [name, units] of Object.entries(resources)) held[name] = (held[name] ?? 0) + units;
    }
    try {
      machine.checkInvariants(held);
      for (const name of ["GPU", "gold"]) expect(machine.available[name]).toBeGreaterThanOrEqual(0);
    } catch (error) {
      throw new Error(`seed ${seed}, step ${i}: ${(error as Error).message}\n${story.slice(-20).join("\n")}`);
    }
  }
  // Everything goes, everything comes back.
  for (let o = 0; o < 4; o++)
    for (const jobId of ["j0", "j1"]) machine.step({ kind: "ownerGone", owner: `${jobId}-o${o}` });
  for (const { resources, gpuIds } of taken) machine.giveBack(resources, gpuIds);
  expect(machine.available).toEqual(machine.total);
}

describe("random histories", () => {
  test.each(Array.from({ length: 50 }, (_, i) => i + 1))("2,000 events of seed %i", (seed) =>
    live(seed, 2000),
  );
});
