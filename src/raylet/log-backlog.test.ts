// Goal: lines reach the head once while it answers, again when its answer was lost, and those given up are counted.
import { expect, test } from "vitest";
import type { LogBatch } from "../core/wire/gen/tsray/v1/head.ts";
import { LogBacklog } from "./log-backlog.ts";

const line = (text: string, jobId = "j"): LogBatch => ({
  jobId,
  nodeId: "n",
  lines: [{ name: "f", pid: 1, isStderr: false, text }],
});
const texts = (batches: readonly LogBatch[]) =>
  batches.flatMap(({ jobId, lines }) => lines.map(({ text }) => `${jobId}: ${text}`));

test("what was answered for is not said again, and the rest is, in order", () => {
  const backlog = new LogBacklog();
  backlog.push(line("a"));
  expect(texts(backlog.take(1))).toEqual(["j: a"]);
  backlog.push(line("b"));
  expect(texts(backlog.take(2))).toEqual(["j: b"]);
  backlog.push(line("c"));
  backlog.answered(1);
  backlog.broken();
  backlog.push(line("d"));
  expect(texts(backlog.take(3))).toEqual(["j: b", "j: c", "j: d"]);
  backlog.answered(3);
  backlog.broken();
  expect(backlog.take(4)).toEqual([]);
});

test("beyond the bound the oldest lines go, and their jobs are told how many", () => {
  const backlog = new LogBacklog(10);
  for (const [text, jobId] of [..."abcdefgh"].map((c, i) => [c, i % 2 === 0 ? "j" : "k"] as const))
    backlog.push(line(text, jobId));
  const [forJ, forK, ...kept] = texts(backlog.take(1));
  expect(forJ).toMatch(/^j: 2 lines of workers of node n were dropped/);
  expect(forK).toMatch(/^k: 1 lines of workers of node n were dropped/);
  expect(kept).toEqual(["k: d", "j: e", "k: f", "j: g", "k: h"]);
  backlog.answered(1);
  backlog.push(line("i"));
  expect(texts(backlog.take(2))).toEqual(["j: i"]);
});

test("what is on its way goes before what was never said, and is not counted as dropped", () => {
  const backlog = new LogBacklog(4);
  backlog.push(line("a"));
  backlog.push(line("b"));
  backlog.take(1);
  backlog.push(line("c"));
  expect(texts(backlog.take(2))).toEqual(["j: c"]);
});
