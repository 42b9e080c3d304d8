// Goal: the lease machine's three invariants hold after every event, and its decisions are those of its comment.
// Method: transcripts (events in, effects as short lines out), and random histories of 2,000 events from 50 seeds.
import { describe, expect, test } from "vitest";
import type { Resources } from "../../core/base/resources.ts";
import type { Reservation, Share } from "./bundles.ts";
import { type DemandStatement, type LeaseEffect, type LeaseEvent, LeaseMachine } from "./lease-machine.ts";

const CPU = 10_000;
const ANYWHERE = { kind: "DEFAULT", nodeId: "", soft: false, labels: [], groupId: "", bundle: -1 };
const NOWHERE = { groupId: "", bundle: -1 };

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
      labels: {},
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
    const node = {
      nodeId,
      address: nodeId,
      labels: {},
      total: { CPU: total * CPU },
      available: { CPU: free * CPU },
    };
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
    const strategy = { ...ANYWHERE, kind: "NODE_AFFINITY", nodeId: "n9", soft: false };
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

  test("a worker that is being ended is lent to nobody, and becomes no actor's, once its lease is given back", () => {
    const story = new Story();
    story.demand("o", 1);
    story.worker("w1");
    story.machine.condemn("w1");
    story.step({ kind: "leaseReturned", leaseId: "n1-1" });
    expect(story.machine.available).toEqual(story.machine.total);
    expect(story.machine.takeIdleWorker("j")).toBeUndefined();
    expect(story.machine.idleWorkers()).toEqual([]);
    expect(story.demand("o", 1)).toEqual([expect.stringContaining("pending o/1"), "start 1 for j"]);
    story.machine.noteStarting("j", 1);
    expect(story.step({ kind: "workerGone", workerId: "w1", pool: "j", wasReady: true })).toEqual([]);
    story.step({ kind: "workerIdle", workerId: "w2", jobId: "j", pool: "j", wasReady: false });
    expect(story.machine.leasesOf("w2")).toHaveLength(1);
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
  test("what was sent to another node is counted off it until it reports, or for two ticks", () => {
    const story = new Story({ CPU: 0 });
    story.node("n2", 2);
    expect(story.machine.wantsTicks).toBe(false);
    expect(story.demand("o", 1)).toEqual(["redirect o/1 x1 to n2"]);
    expect(story.step({ kind: "tick" })).toEqual([]);
    expect(story.demand("o", 1)).toEqual(["redirect o/1 x1 to n2"]);
    expect(story.demand("o", 1)).toEqual(["wait too o/1 x1 to n2", expect.stringContaining("pending o/1")]);
    // The first of the two has been counted off for two ticks, then the second.
    expect(story.step({ kind: "tick" })).toEqual(["redirect o/1 x1 to n2"]);
    expect(story.demand("o", 2)).toContain("wait too o/1 x1 to n2");
    expect(story.step({ kind: "tick" })).toContain("redirect o/1 x1 to n2");
    expect(story.node("n2", 2)).toEqual(["redirect o/1 x1 to n2"]);
    expect(story.machine.wantsTicks).toBe(true);
    for (const _ of [1, 2]) story.step({ kind: "tick" });
    expect(story.machine.wantsTicks).toBe(false);
    expect(story.demand("p", 3)).toContain("redirect p/1 x2 to n2");
  });

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
    const spread = { strategy: { ...ANYWHERE, kind: "SPREAD", nodeId: "", soft: false } };
    expect(story.demand("o", 4, spread)).toEqual(["redirect o/1 x2 to n2", "redirect o/1 x2 to n3"]);
  });

  test("hard affinity: redirected whole, unschedulable without its node; soft goes elsewhere", () => {
    const story = new Story();
    story.node("n2", 2);
    const to = (nodeId: string, soft = false) => ({
      strategy: { ...ANYWHERE, kind: "NODE_AFFINITY", nodeId, soft },
    });
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
      story.step({
        kind: "nodeView",
        node: { nodeId: "n2", address: "n2", labels: {}, total: view, available: view },
      }),
    ).toEqual(["redirect o/1 x1 to n2"]);
  });

  test("labels: only nodes that have them count, this one too; demand that none fits says so", () => {
    const story = new Story();
    const labels = [{ key: "zone", negated: false, values: ["a"] }];
    story.worker("w1");
    expect(story.demand("o", 1, { strategy: { ...ANYWHERE, labels } })).toEqual([
      "pending o/1: infeasible: no node of 1 has the labels zone=a",
    ]);
    expect(story.node("n2", 4)).toEqual(["pending o/1: infeasible: no node of 2 has the labels zone=a"]);
    const total = { CPU };
    const node = { nodeId: "n3", address: "n3", labels: { zone: "a" }, total, available: total };
    expect(story.step({ kind: "nodeView", node })).toEqual(["redirect o/1 x1 to n3"]);
    const others = [{ key: "zone", negated: true, values: ["a"] }];
    expect(story.demand("p", 1, { strategy: { ...ANYWHERE, labels: others } })).toEqual([
      "grant p/1 n1-1 on w1",
    ]);
    const pinned = { ...ANYWHERE, kind: "NODE_AFFINITY", nodeId: "n1", labels };
    expect(story.demand("q", 1, { strategy: pinned })).toEqual([
      "unschedulable q/1: node n1 does not have the labels zone=a",
    ]);
  });

  test("a bundle is set aside, opened, lent, and given back when its last user is gone", () => {
    const story = new Story({ CPU: 2 * CPU, GPU: CPU }, ["7"]);
    const { bundles } = story.machine;
    const group = "0123456789abcdef";
    const inGroup = { ...ANYWHERE, kind: "PLACEMENT_GROUP", groupId: group };
    const bundle = { groupId: group, index: 1, attempt: 3, resources: { CPU, GPU: CPU / 2 } };
    story.worker("w1");
    expect(story.demand("o", 1, { strategy: inGroup })).toEqual([
      `pending o/1: waiting for placement group ${group} to be placed`,
    ]);
    expect(bundles.prepare(bundle)).toBeUndefined();
    expect(bundles.prepare(bundle)).toBeUndefined();
    expect(story.machine.available).toEqual({ CPU, GPU: CPU / 2 });
    expect(bundles.prepare({ ...bundle, index: 2, resources: { CPU: 2 * CPU } })).toContain("missing CPU");
    expect(bundles.commit({ ...bundle, attempt: 2 })).toContain("not reserved");
    expect(bundles.commit(bundle)).toBeUndefined();
    expect(bundles.held()).toEqual([{ groupId: group, index: 1, attempt: 3, committed: true }]);
    expect(story.machine.total).toMatchObject({
      [`CPU_group_${group}`]: CPU,
      [`CPU_group_1_${group}`]: CPU,
      [`GPU_group_1_${group}`]: CPU / 2,
    });
    expect(story.machine.reschedule().map(tell)).toEqual(["grant o/1 n1-1 on w1"]);
    story.worker("w2");
    const wants = { resources: { GPU: CPU / 2 }, strategy: { ...inGroup, bundle: 1 } };
    expect(story.demand("p", 1, wants)).toEqual(["grant p/1 n1-2 on w2 gpu 7"]);
    expect(story.demand("q", 1, { strategy: { ...inGroup, bundle: 0 } })).toEqual([
      `pending q/1: waiting for placement group ${group} to be placed`,
    ]);
    expect(story.machine.workersIn(group)).toEqual(["w1", "w2"]);
    bundles.close(group, 3, true);
    story.machine.checkInvariants();
    expect(story.machine.available).toMatchObject({ CPU, GPU: CPU / 2 });
    expect(bundles.prepare({ ...bundle, attempt: 3 })).toContain("has not been given back yet");
    story.step({ kind: "leaseReturned", leaseId: "n1-1" });
    expect(story.machine.available).toMatchObject({ CPU });
    story.step({ kind: "leaseReturned", leaseId: "n1-2" });
    expect(story.machine.available).toEqual({ CPU: 2 * CPU, GPU: CPU });
    expect(story.machine.total).toEqual({ CPU: 2 * CPU, GPU: CPU });
    // A late message of what was returned is refused.
    expect(bundles.prepare(bundle)).toBe("it was returned before it came");
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

const TOTAL = { CPU: 4 * CPU, GPU: 2 * CPU, gold: 2 * CPU };

/** One random history. @throws Error with its last steps when an invariant breaks */
function live(seed: number, steps: number): void {
  const random = seeded(seed);
  const int = (n: number) => Math.floor(random() * n);
  const machine = new LeaseMachine({
    nodeId: "n1",
    labels: {},
    total: TOTAL,
    gpuIds: ["0", "1"],
    workersPerJobMax: 6,
    lendBlockedFrom: 6,
    startingMax: 6,
  });
  const story: string[] = [];
  const granted: { leaseId: string; workerId: string }[] = [];
  const workers: { id: string; pool: string }[] = [];
  const taken: Share[] = [];
  const groups = ["00000000000000aa", "00000000000000bb"];
  const reserved: Reservation[] = [];
  let attempt = 0;
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
  const place = () => (random() < 0.5 ? NOWHERE : { groupId: groups[int(2)] as string, bundle: int(3) - 1 });
  /** Bundles are set aside, opened or taken away, by messages that may be late or come twice. */
  const moveBundles = () => {
    const known = reserved[int(reserved.length)];
    switch (int(4)) {
      case 0: {
        const resources = shapes[int(shapes.length)] as Resources;
        if (Object.keys(resources).length === 0) break;
        const groupId = groups[int(2)] as string;
        reserved.push({ groupId, index: int(2), attempt: ++attempt, resources });
        machine.bundles.prepare(reserved.at(-1) as Reservation);
        break;
      }
      case 1:
        if (known !== undefined) machine.bundles.prepare(known);
        break;
      case 2:
        if (known !== undefined) machine.bundles.commit(known);
        break;
      default:
        if (known !== undefined && random() < 0.5) {
          machine.bundles.close(known.groupId, known.attempt, random() < 0.5);
          // Whoever runs in the group is ended by the shell, one after the other.
        }
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
              labels: [],
              ...place(),
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
          labels: {},
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
      const share = machine.acquire(resources, place());
      if (share !== undefined) taken.push(share);
    } else if (outside < 0.1 && taken.length > 0) {
      const [back] = taken.splice(int(taken.length), 1);
      if (back !== undefined) machine.giveBack(back);
      take(machine.reschedule());
    } else if (outside < 0.16) {
      moveBundles();
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
  for (const groupId of groups) machine.bundles.close(groupId, attempt, true);
  for (const share of taken) machine.giveBack(share);
  expect(machine.available).toEqual(machine.total);
  expect(machine.total).toEqual(TOTAL);
}

describe("random histories", () => {
  test.each(Array.from({ length: 50 }, (_, i) => i + 1))("2,000 events of seed %i", (seed) =>
    live(seed, 2000),
  );
});
