// What a raylet knows of the other nodes, from what the head tells of them one after the other.
import { expect, test } from "vitest";
import { NodeInfo } from "../core/wire/gen/tsray/v1/common.ts";
import type { ClusterUpdate } from "../core/wire/gen/tsray/v1/head.ts";
import type { LeaseEvent } from "./lease/lease-machine.ts";
import { OtherNodes } from "./other-nodes.ts";

function start() {
  const events: LeaseEvent[] = [];
  const others = new OtherNodes({
    nodeId: "self",
    feedLeases: (event) => events.push(event),
    onGone: () => {},
    onOwnerEnded: () => {},
  });
  const tell = (update: Partial<ClusterUpdate>) => {
    events.length = 0;
    others.update({ nodes: [], rooms: [], registered: false, ...update });
    return events;
  };
  return { tell };
}

const info = (nodeId: string, total: Record<string, number>, more: Partial<NodeInfo> = {}) =>
  NodeInfo.fromPartial({
    nodeId,
    rayletAddress: `at-${nodeId}`,
    alive: true,
    state: "ALIVE",
    total: { amounts: total },
    available: { amounts: total },
    labels: { zone: "a" },
    ...more,
  });

test("changed amounts are put over what was told before, and what is gone is taken out", () => {
  const { tell } = start();
  tell({ registered: true, nodes: [info("n1", { CPU: 4, gold: 2 })] });
  const rooms = [{ nodeId: "n1", available: { CPU: 1, b: 3 }, total: { b: 3, gold: 0 }, gone: ["gold"] }];
  expect(tell({ rooms })).toEqual([
    {
      kind: "nodeView",
      node: {
        nodeId: "n1",
        address: "at-n1",
        available: { CPU: 1, b: 3 },
        total: { CPU: 4, b: 3 },
        labels: { zone: "a" },
      },
    },
  ]);
});

test("of this node, of one that is drained, dead or not known, changed amounts are nothing", () => {
  const { tell } = start();
  const rooms = ["self", "n1", "n2", "n3"].map((nodeId) => ({
    nodeId,
    available: { CPU: 1 },
    total: {},
    gone: [],
  }));
  tell({
    registered: true,
    nodes: [info("n1", { CPU: 4 }), info("n2", { CPU: 4 }), info("self", { CPU: 4 })],
  });
  tell({ nodes: [info("n1", { CPU: 4 }, { state: "DRAINING" })] });
  tell({ nodes: [info("n2", {}, { alive: false, state: "DEAD" })] });
  expect(tell({ rooms })).toEqual([]);
});

test("one that a registration does not name any more is forgotten with its amounts", () => {
  const { tell } = start();
  tell({ registered: true, nodes: [info("n1", { CPU: 4 })] });
  expect(tell({ registered: true, nodes: [] })).toEqual([{ kind: "nodeGone", nodeId: "n1" }]);
  expect(tell({ rooms: [{ nodeId: "n1", available: { CPU: 1 }, total: {}, gone: [] }] })).toEqual([]);
});
