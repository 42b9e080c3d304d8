// Goal: the policy packs up to half a node, then spreads; round robin passes full nodes over. Method: nodes as data.
import { describe, expect, test } from "vitest";
import { type NodeView, pickHybrid, pickSpread } from "./policy.ts";

const CPU = 10_000;
const node = (nodeId: string, free: number, total = 4, more: Partial<NodeView["total"]> = {}): NodeView => ({
  nodeId,
  address: nodeId,
  labels: {},
  total: { CPU: total * CPU, ...(more as Record<string, number>) },
  available: { CPU: free * CPU, ...(more as Record<string, number>) },
});
const one = { CPU };

describe("hybrid", () => {
  const pick = (self: NodeView, ...others: NodeView[]) => pickHybrid(one, self, others)?.nodeId;

  test("stays here while this node is at most half full with the task", () => {
    expect(pick(node("self", 4), node("a", 4))).toBe("self");
    expect(pick(node("self", 3), node("a", 4))).toBe("self");
  });

  test("goes to the first node that stays at most half full, when this one would not", () => {
    expect(pick(node("self", 2), node("a", 4), node("b", 4))).toBe("a");
    expect(pick(node("self", 2), node("a", 2), node("b", 3))).toBe("b");
  });

  test("takes the least used node when all are over half", () => {
    expect(pick(node("self", 1), node("a", 2), node("b", 1))).toBe("a");
    expect(pick(node("self", 2), node("a", 1))).toBe("self");
  });

  test("passes over nodes without room, and gives none when none has any", () => {
    expect(pick(node("self", 0), node("a", 1))).toBe("a");
    expect(pick(node("self", 0), node("a", 0))).toBeUndefined();
    expect(pickHybrid({ GPU: CPU }, node("self", 4), [node("a", 4)])).toBeUndefined();
  });

  test("leaves nodes with GPUs to those who need them", () => {
    expect(pick(node("self", 0), node("gpu", 4, 4, { GPU: CPU }), node("plain", 4))).toBe("plain");
    expect(pick(node("self", 0), node("gpu", 4, 4, { GPU: CPU }), node("full", 0))).toBe("gpu");
    expect(pickHybrid({ GPU: CPU }, node("self", 4), [node("gpu", 4, 4, { GPU: CPU })])?.nodeId).toBe("gpu");
  });
});

describe("spread", () => {
  test("goes round", () => {
    const nodes = [node("a", 4), node("b", 4), node("c", 4)];
    const seen: string[] = [];
    for (let cursor = 0, i = 0; i < 6; i++) {
      const picked = pickSpread(one, nodes, cursor);
      seen.push(picked?.node.nodeId ?? "none");
      cursor = picked?.cursor ?? 0;
    }
    expect(seen).toEqual(["a", "b", "c", "a", "b", "c"]);
  });

  test("passes over full nodes", () => {
    expect(pickSpread(one, [node("a", 0), node("b", 1)], 0)?.node.nodeId).toBe("b");
    expect(pickSpread(one, [node("a", 0)], 0)).toBeUndefined();
    expect(pickSpread(one, [], 3)).toBeUndefined();
  });
});
