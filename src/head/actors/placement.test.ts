// Goal: actors go where the strategy says, and the reason for waiting names what is missing.
// Method: views of nodes in, the chosen node out.
import { expect, test } from "vitest";
import {
  type ClusterRoom,
  choosePlacement,
  compareUse,
  criticalUse,
  type NodeRoom,
  type PlacementDemand,
} from "./placement.ts";

const amounts = (whole: Record<string, number>) =>
  Object.fromEntries(Object.entries(whole).map(([name, amount]) => [name, amount * 10_000]));

function room(nodeId: string, total: Record<string, number>, free = total, actorCount = 0): NodeRoom {
  return {
    nodeId,
    labels: {},
    total: amounts(total),
    free: amounts(free),
    use: criticalUse(total, free),
    actorCount,
  };
}

function cluster(rooms: NodeRoom[], dead: string[] = [], spreadTurn = 0): ClusterRoom {
  return {
    rooms: {
      get: (nodeId) => rooms.find((r) => r.nodeId === nodeId),
      inTurn: rooms,
      byUse: [...rooms].sort(compareUse),
    },
    isDead: (id) => dead.includes(id),
    isComplete: true,
    spreadTurn,
  };
}

interface Wish {
  resources?: Record<string, number>;
  placement?: Record<string, number>;
  kind?: string;
  nodeId?: string;
  soft?: boolean;
  owner?: string;
}

function demand({
  resources = {},
  placement = { CPU: 1 },
  kind = "DEFAULT",
  nodeId = "",
  soft = false,
  owner = "n1",
}: Wish): PlacementDemand {
  const strategy = { kind, nodeId, soft, labels: [] };
  return { resources: amounts(resources), placement: amounts(placement), strategy, ownerNodeId: owner };
}

const at = (wish: Wish, view: ClusterRoom) => {
  const answer = choosePlacement(demand(wish), view);
  return answer.kind === "node" ? answer.nodeId : `${answer.kind}: ${answer.reason}`;
};

test("packs on the owner's node while it is less than half used, then takes the least used", () => {
  expect(
    at({ resources: { CPU: 1 } }, cluster([room("n2", { CPU: 4 }), room("n1", { CPU: 4 }, { CPU: 3 })])),
  ).toBe("n1");
  expect(
    at({ resources: { CPU: 1 } }, cluster([room("n2", { CPU: 4 }), room("n1", { CPU: 4 }, { CPU: 2 })])),
  ).toBe("n2");
  expect(at({}, cluster([room("n2", { CPU: 4 }, { CPU: 1 }), room("n1", { CPU: 4 }, { CPU: 2 })]))).toBe(
    "n1",
  );
  expect(at({ owner: "x" }, cluster([room("n1", { CPU: 4 }, { CPU: 4 }, 3), room("n2", { CPU: 4 })]))).toBe(
    "n2",
  );
  expect(at({}, cluster([room("n1", { CPU: 4, GPU: 2 }, { CPU: 4, GPU: 1 }), room("n2", { CPU: 4 })]))).toBe(
    "n2",
  );
});

test("a default actor needs a CPU in total and none free", () => {
  expect(at({}, cluster([room("n1", { CPU: 1 }, { CPU: 0 })]))).toBe("n1");
  expect(at({}, cluster([room("n1", { CPU: 0 }), room("n2", { CPU: 1 }, { CPU: 0 })]))).toBe("n2");
});

test("SPREAD takes feasible nodes in turn", () => {
  const rooms = [room("n1", { CPU: 1 }), room("n2", {}), room("n3", { CPU: 1 })];
  const turns = [0, 1, 2, 3].map((turn) => at({ kind: "SPREAD" }, cluster(rooms, [], turn)));
  expect(turns).toEqual(["n1", "n3", "n3", "n1"]);
});

test("affinity: hard waits or fails, soft goes elsewhere", () => {
  const rooms = [room("n1", { CPU: 4 }), room("n2", { CPU: 1 }, { CPU: 0 })];
  const named = (wish: Wish, dead: string[] = []) =>
    at({ kind: "NODE_AFFINITY", ...wish }, cluster(rooms, dead));
  expect(named({ nodeId: "n2" })).toBe("n2");
  expect(named({ nodeId: "n2", resources: { CPU: 1 } })).toBe("waits: it waits for 1 CPU to be free");
  expect(named({ nodeId: "n2", resources: { CPU: 1 }, soft: true })).toContain("waits");
  expect(named({ nodeId: "n2", resources: { CPU: 2 }, soft: true })).toBe("n1");
  expect(named({ nodeId: "n2", resources: { CPU: 2 } })).toContain(
    "unschedulable: it needs 2 CPU, and node n2",
  );
  expect(named({ nodeId: "n9" })).toContain("unschedulable: the node n9 that it must run on is not part");
  const young = { ...cluster(rooms), isComplete: false };
  expect(at({ kind: "NODE_AFFINITY", nodeId: "n9" }, young)).toContain("waits: the node n9 that it must");
  expect(named({ nodeId: "n9" }, ["n9"])).toContain("unschedulable: the node n9");
  expect(named({ nodeId: "n9", soft: true }, ["n9"])).toBe("n1");
});

test("labels: only nodes that have them count", () => {
  const a = { ...room("n1", { CPU: 4 }), labels: { zone: "a" } };
  const b = { ...room("n2", { CPU: 1 }), labels: { zone: "b", disk: "ssd" } };
  const view = cluster([a, b, room("n3", { CPU: 4 })]);
  const selected = (key: string, negated: boolean, ...values: string[]) => {
    const wish = demand({});
    const labels = [{ key, negated, values }];
    const answer = choosePlacement({ ...wish, strategy: { ...wish.strategy, labels } }, view);
    return answer.kind === "node" ? answer.nodeId : answer.reason;
  };
  expect(selected("zone", false, "a")).toBe("n1");
  expect(selected("zone", false, "b", "c")).toBe("n2");
  expect(selected("zone", true, "a", "b")).toBe("n3");
  expect(selected("disk", false, "ssd")).toBe("n2");
  expect(selected("zone", false, "c")).toBe("no node of 3 has the labels zone=c");
});

test("the reason for waiting names the missing resource", () => {
  const rooms = [room("n1", { CPU: 4 }), room("n2", { GPU: 2 })];
  expect(at({}, cluster([]))).toBe("waits: the cluster has no node yet");
  expect(at({ resources: { GPU: 3 } }, cluster(rooms))).toContain(
    "needs 3 GPU, and any of the 2 nodes has at most 2",
  );
  expect(at({ resources: { GPU: 1 } }, cluster(rooms))).toContain("no single node has all of 1 CPU, 1 GPU");
  expect(at({ resources: { tpu: 1 } }, cluster([room("n1", { CPU: 1 })]))).toContain("node n1 has at most 0");
  expect(at({ resources: { CPU: 3 } }, cluster([room("n1", { CPU: 4 }, { CPU: 1 })]))).toBe(
    "waits: it waits for 3 CPU to be free",
  );
});
