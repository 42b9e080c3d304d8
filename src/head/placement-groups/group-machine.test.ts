// Goal: whatever happens to messages, nodes and the head, no resource is given twice, no group is half there, the strict
// strategies hold, and all comes back. Method: transcripts of the machine, and random histories of a cluster in miniature
// with the raylets' real ledgers, invariants checked after every event.
import { describe, expect, test } from "vitest";
import type { NodeRoom } from "../actors/placement.ts";
import { placeBundles } from "./bundle-placement.ts";
import { checkInvariants, type GroupEvent, type GroupState, newGroupState, step } from "./group-machine.ts";
import { GroupSimulator } from "./group-simulator.fixture.ts";

const SEEDS = 2000;
const EVENTS = 120;
const SEEDS_PER_TEST = 250;

function seeded(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

class Story {
  state: GroupState;
  constructor(bundleCount: number, strategy = "PACK") {
    this.state = newGroupState({ groupId: "g", strategy, detached: false, bundleCount });
  }
  step(event: GroupEvent): string[] {
    const { state, effects } = step(this.state, event);
    this.state = state;
    checkInvariants(state);
    return effects.map((effect) => {
      if (effect.kind === "giveBack")
        return `give back ${effect.attempt}${effect.earlier ? " and earlier" : ""} at ${effect.nodeId}`;
      return "indexes" in effect
        ? `${effect.kind} ${effect.indexes.join()} a${effect.attempt} at ${effect.nodeId}`
        : effect.kind;
    });
  }
}

describe("transcripts", () => {
  test("two phases: all are set aside, then all are opened", () => {
    const story = new Story(3);
    expect(story.step({ kind: "created" })).toEqual(["save", "place"]);
    expect(story.step({ kind: "placed", nodeIds: ["a", "b", "a"] })).toEqual([
      "prepare 0,2 a1 at a",
      "prepare 1 a1 at b",
    ]);
    expect(story.step({ kind: "prepared", nodeId: "a", attempt: 1 })).toEqual([]);
    expect(story.state.phase).toBe("PENDING");
    expect(story.step({ kind: "prepared", nodeId: "b", attempt: 1 })).toEqual([
      "save",
      "commit 0,2 a1 at a",
      "commit 1 a1 at b",
    ]);
    expect(story.state.phase).toBe("PREPARED");
    story.step({ kind: "committed", nodeId: "a", attempt: 1 });
    expect(story.step({ kind: "committed", nodeId: "b", attempt: 1 })).toEqual([]);
    expect(story.state.phase).toBe("CREATED");
    expect(story.step({ kind: "removed", reason: "r" })).toEqual([
      "save",
      "bury",
      "give back 1 and earlier at a",
      "give back 1 and earlier at b",
    ]);
  });

  test("one refusal gives everything back, and only then nodes are looked for again", () => {
    const story = new Story(2);
    story.step({ kind: "created" });
    story.step({ kind: "placed", nodeIds: ["a", "b"] });
    story.step({ kind: "prepared", nodeId: "a", attempt: 1 });
    expect(story.step({ kind: "refused", nodeId: "b", attempt: 1, reason: "full" })).toEqual([
      "give back 1 at a",
      "give back 1 at b",
    ]);
    expect(story.step({ kind: "prepared", nodeId: "a", attempt: 1 })).toEqual([]);
    expect(story.step({ kind: "returned", nodeId: "a", attempt: 1 })).toEqual([]);
    expect(story.step({ kind: "returned", nodeId: "b", attempt: 1 })).toEqual(["place"]);
    expect(story.state.phase).toBe("PENDING");
  });

  test("a raylet that dies between prepare and commit loses its bundles only: they are placed again", () => {
    const story = new Story(2);
    story.step({ kind: "created" });
    story.step({ kind: "placed", nodeIds: ["a", "b"] });
    story.step({ kind: "prepared", nodeId: "a", attempt: 1 });
    story.step({ kind: "prepared", nodeId: "b", attempt: 1 });
    expect(story.step({ kind: "nodeDied", nodeId: "b" })).toEqual(["save", "place"]);
    expect(story.state.phase).toBe("RESCHEDULING");
    story.step({ kind: "committed", nodeId: "a", attempt: 1 });
    expect(story.step({ kind: "placed", nodeIds: ["c"] })).toEqual(["prepare 1 a2 at c"]);
    story.step({ kind: "prepared", nodeId: "c", attempt: 2 });
    story.step({ kind: "committed", nodeId: "c", attempt: 2 });
    expect(story.state.phase).toBe("CREATED");
  });

  test("a node that dies while bundles are being set aside takes the whole attempt with it", () => {
    const story = new Story(2);
    story.step({ kind: "created" });
    story.step({ kind: "placed", nodeIds: ["a", "b"] });
    story.step({ kind: "prepared", nodeId: "a", attempt: 1 });
    expect(story.step({ kind: "nodeDied", nodeId: "b" })).toEqual(["give back 1 at a"]);
    expect(story.step({ kind: "returned", nodeId: "a", attempt: 1 })).toEqual(["place"]);
  });

  test("after a restart of the head what was decided stands, once its nodes say so", () => {
    const story = new Story(2);
    story.step({ kind: "created" });
    story.step({ kind: "placed", nodeIds: ["a", "b"] });
    story.step({ kind: "prepared", nodeId: "a", attempt: 1 });
    story.step({ kind: "prepared", nodeId: "b", attempt: 1 });
    expect(story.step({ kind: "headRestarted", attempt: 1000 })).toEqual([]);
    expect(story.state.phase).toBe("CREATED");
    const held = [{ index: 0, attempt: 1, committed: false }];
    expect(story.step({ kind: "nodeBack", nodeId: "a", held })).toEqual(["commit 0 a1 at a"]);
    const stray = [{ index: 1, attempt: 7, committed: false }];
    expect(story.step({ kind: "nodeBack", nodeId: "b", held: stray })).toEqual([
      "save",
      "give back 7 at b",
      "place",
    ]);
    expect(story.step({ kind: "placed", nodeIds: ["c"] })).toEqual(["prepare 1 a1001 at c"]);
  });
});

describe("where bundles go", () => {
  const room = (nodeId: string, CPU: number, free = CPU, labels = {}): NodeRoom => ({
    nodeId,
    labels,
    total: { CPU },
    free: { CPU: free },
    use: 1 - free / CPU,
    actorCount: 0,
  });
  const place = (
    strategy: string,
    sizes: readonly number[],
    rooms: readonly NodeRoom[],
    taken: string[] = [],
  ) => {
    const bundles = sizes.map((CPU) => ({ resources: { CPU }, labels: [] }));
    const answer = placeBundles({ strategy, bundles, taken }, rooms);
    return answer.kind === "placed" ? answer.nodeIds.join(" ") : answer.reason;
  };

  test("the four strategies", () => {
    const four = [room("a", 4), room("b", 4)];
    for (const strategy of ["PACK", "STRICT_PACK"])
      expect(new Set(place(strategy, [2, 2], four).split(" ")).size).toBe(1);
    for (const strategy of ["SPREAD", "STRICT_SPREAD"])
      expect(new Set(place(strategy, [2, 2], four).split(" ")).size).toBe(2);
    expect(place("PACK", [3, 3], four)).toBe("a b");
    expect(place("SPREAD", [2, 2, 2], four).split(" ").sort().join("")).toMatch(/aab|abb/);
    expect(place("STRICT_PACK", [3, 3], four)).toContain("infeasible: STRICT_PACK needs one node with");
    expect(place("STRICT_SPREAD", [1, 1, 1], four)).toBe(
      "infeasible: STRICT_SPREAD needs 3 nodes, and there are 2",
    );
    expect(place("STRICT_SPREAD", [1], four, ["a"])).toBe("b");
    expect(place("PACK", [1], [room("a", 4), room("b", 4)], ["b"])).toBe("b");
  });

  test("a first choice that leads nowhere is taken back", () => {
    expect(place("PACK", [2, 3, 2], [room("a", 4), room("b", 3)])).toBe("a b a");
    expect(place("STRICT_SPREAD", [2, 4], [room("a", 4), room("b", 3)])).toBe("b a");
  });

  test("full nodes are waited for, missing resources and labels are named", () => {
    expect(place("PACK", [2], [room("a", 4, 1)])).toContain("it waits for {0.0002 CPU} to be free");
    expect(place("PACK", [5], [room("a", 4)])).toContain(
      "infeasible: a bundle needs 0.0005 CPU, and no node of 1",
    );
    expect(place("PACK", [5], [])).toBe("the cluster has no node yet");
    const wish = {
      strategy: "PACK",
      taken: [],
      bundles: [{ resources: { CPU: 1 }, labels: [{ key: "zone", negated: false, values: ["a"] }] }],
    };
    const rooms = (labels: Record<string, string>) => [room("n", 4, 4, labels)];
    expect(placeBundles(wish, rooms({ zone: "a" }))).toEqual({ kind: "placed", nodeIds: ["n"] });
    expect(placeBundles(wish, rooms({ zone: "b" }))).toEqual({
      kind: "waits",
      reason: "infeasible: no node of 1 has the labels zone=a",
    });
  });
});

describe("random histories", () => {
  const seen = { created: 0, rescheduled: 0, removed: 0, refused: 0, headRestarts: 0, nodesDied: 0 };
  const from = Array.from({ length: SEEDS / SEEDS_PER_TEST }, (_, i) => 1 + i * SEEDS_PER_TEST);
  test.each(from)(`${EVENTS} events each of the ${SEEDS_PER_TEST} seeds from %i`, (first) => {
    for (let seed = first; seed < first + SEEDS_PER_TEST; seed++) {
      const cluster = new GroupSimulator(seeded(seed));
      try {
        for (let i = 0; i < EVENTS; i++) cluster.tick();
        cluster.settle();
        cluster.removeAll();
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}\n${cluster.story.join("\n")}`);
      }
      for (const key of Object.keys(seen) as (keyof typeof seen)[]) seen[key] += cluster.seen[key];
    }
  });

  test("they reach what they are to try", () => {
    for (const [what, count] of Object.entries(seen))
      expect({ what, isEnough: count > SEEDS / 20 }).toEqual({ what, isEnough: true });
  });
});
