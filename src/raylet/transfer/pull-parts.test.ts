// Goal: what a pull decides by itself: which source next, which chunk next, when to begin. Method: the pure parts alone.
import { describe, expect, test } from "vitest";
import type { Endpoint } from "../../core/base/endpoint.ts";
import { PullAdmission } from "./admission.ts";
import { ChunkPlan } from "./chunk-plan.ts";
import { Sources } from "./sources.ts";

const node = (nodeId: string): Endpoint => ({
  processId: nodeId,
  nodeId,
  unixPath: `/${nodeId}`,
  host: nodeId,
  port: 1,
  pid: 1,
});

describe("sources", () => {
  const make = (near = "", random = () => 0) =>
    new Sources({ selfNodeId: "self", isNear: ({ nodeId }) => near.includes(nodeId), random });
  const rest = (sources: Sources) => {
    const names: string[] = [];
    for (let next = sources.next(); next !== undefined; next = sources.next())
      names.push(`${next.node.nodeId}${next.insists ? "!" : ""}`);
    return names;
  };

  test("each is asked once, this machine's first, this node never", () => {
    const sources = make("b");
    sources.add(["a", "b", "self", "c", "a"].map(node));
    expect(rest(sources)).toEqual(["b", "c", "a"]);
    sources.add(["a", "d"].map(node));
    expect(rest(sources)).toEqual(["d"]);
  });

  test("the order of the others is random", () => {
    const firsts = new Set<string | undefined>();
    for (let i = 0; i < 200; i++) {
      const sources = make("", Math.random);
      sources.add(["a", "b", "c"].map(node));
      firsts.add(sources.next()?.node.nodeId);
    }
    expect([...firsts].sort()).toEqual(["a", "b", "c"]);
  });

  test("where we are sent comes next, then back to who sent us, once", () => {
    const sources = make();
    sources.add(["a", "b"].map(node));
    const [first] = [sources.next()];
    expect(first?.node.nodeId).toBe("b");
    sources.moved(node("b"), node("x"));
    expect(sources.next()?.node.nodeId).toBe("x");
    expect(rest(sources)).toEqual(["b!", "a"]);
    sources.moved(node("b"), node("x"));
    expect(rest(sources)).toEqual([]);
  });
});

describe("chunks", () => {
  test("cover the object, each asked for once, and only what was asked for is expected", () => {
    const plan = new ChunkPlan(25, 10);
    expect(plan.expects(0, 10)).toBe(false);
    expect([plan.next(), plan.next(), plan.next(), plan.next()]).toEqual([
      { offset: 0, length: 10 },
      { offset: 10, length: 10 },
      { offset: 20, length: 5 },
      undefined,
    ]);
    expect([plan.expects(20, 5), plan.expects(20, 10), plan.expects(5, 10), plan.expects(30, 0)]).toEqual([
      true,
      false,
      false,
      false,
    ]);
    for (const offset of [20, 0, 10]) plan.arrived(offset);
    expect([plan.isComplete, plan.expects(0, 10)]).toEqual([true, false]);
  });

  test("an empty object is complete", () => {
    expect([new ChunkPlan(0, 10).isComplete, new ChunkPlan(0, 10).next()]).toEqual([true, undefined]);
  });

  test("another source is asked for what has not come", () => {
    const plan = new ChunkPlan(30, 10);
    for (let i = 0; i < 3; i++) plan.next();
    plan.arrived(10);
    plan.restart();
    expect([plan.next()?.offset, plan.next()?.offset, plan.next()]).toEqual([0, 20, undefined]);
  });

  test("a damaged chunk comes again once per source", () => {
    const plan = new ChunkPlan(30, 10);
    for (let i = 0; i < 3; i++) plan.next();
    expect([plan.damaged(10), plan.next()?.offset, plan.damaged(10)]).toEqual([true, 10, false]);
    plan.restart();
    plan.next();
    plan.next();
    expect(plan.damaged(10)).toBe(true);
  });
});

describe("admission", () => {
  const make = (limitBytes: number) => {
    const admission = new PullAdmission(() => limitBytes);
    const begun: string[] = [];
    const ask = (name: string, bytes: number) => admission.ask(bytes, () => begun.push(name));
    return { admission, begun, ask };
  };

  test("pulls begin in order while they fit, and a large one is not overtaken", () => {
    const { admission, begun, ask } = make(100);
    ask("a", 60);
    ask("b", 40);
    ask("large", 90);
    ask("small", 1);
    expect(begun).toEqual(["a", "b"]);
    admission.end(60);
    expect(begun).toEqual(["a", "b"]);
    admission.end(40);
    expect(begun).toEqual(["a", "b", "large", "small"]);
  });

  test("one may run alone, whatever its size", () => {
    const { admission, begun, ask } = make(100);
    ask("huge", 1000);
    ask("a", 1);
    expect(begun).toEqual(["huge"]);
    admission.end(1000);
    expect(begun).toEqual(["huge", "a"]);
  });

  test("what found no room begins again when nothing else runs, before those that wait", () => {
    const { admission, begun, ask } = make(100);
    ask("a", 50);
    ask("b", 50);
    ask("c", 50);
    admission.askAlone(50, () => begun.push("b alone"));
    expect(begun).toEqual(["a", "b"]);
    admission.end(50);
    expect(begun).toEqual(["a", "b", "b alone", "c"]);
  });
});
