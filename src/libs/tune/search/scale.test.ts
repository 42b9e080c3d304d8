// Goal: results choose the scale on which they are likeliest. Method: known slopes, and a model fitted to both kinds.
import { expect, test } from "vitest";
import { Random } from "../random.ts";
import { fitKernel } from "./gp-model.ts";
import { EVIDENCE_MIN, scaleResults, TURNS } from "./scale.ts";

test("each scale keeps the order, has mean 0 and deviation 1, and knows its slope", () => {
  const results = Float64Array.of(3, -1, 10, 4, 250, 0);
  for (const turn of TURNS) {
    const { y, logSlope } = scaleResults(results, turn);
    const order = [...results.keys()].sort((a, b) => results[a]! - results[b]!);
    for (const [rank, i] of order.entries())
      if (rank > 0) expect(y[i]!).toBeGreaterThan(y[order[rank - 1]!]!);
    expect(y.reduce((sum, value) => sum + value, 0)).toBeCloseTo(0, 10);
    expect(y.reduce((sum, value) => sum + value * value, 0)).toBeCloseTo(results.length, 10);
    // A tenth of every result is the same problem: only the slope changes, by log 10 for each.
    const smaller = scaleResults(
      results.map((value) => value / 10),
      turn,
    );
    for (const [i, value] of smaller.y.entries()) expect(value).toBeCloseTo(y[i]!, 10);
    expect(smaller.logSlope - logSlope).toBeCloseTo(results.length * Math.log(10), 10);
  }
});

test("equal results stay finite", () => {
  for (const turn of TURNS) {
    const { y, logSlope } = scaleResults(Float64Array.of(2, 2, 2), turn);
    expect([...y, logSlope]).toEqual([0, 0, 0, 0]);
  }
});

test("what rises by orders of magnitude is likelier on a logarithmic scale, what is bounded as it is", () => {
  const random = new Random(3);
  const n = 25;
  const points = Float64Array.from({ length: 2 * n }, () => random.next());
  const likeliest = (f: (x: number, y: number) => number) => {
    const results = Float64Array.from({ length: n }, (_, i) => f(points[2 * i]!, points[2 * i + 1]!));
    const evidence = TURNS.map((turn) => {
      const { y, logSlope } = scaleResults(results, turn);
      const start = { weights: Float64Array.of(1, 1), scale: 1, noise: 1, trend: 0.1 };
      return logSlope - fitKernel(points, y, [false, false], start, 100).loss;
    });
    return Math.max(...evidence.slice(1)) - evidence[0]!;
  };
  expect(likeliest((x, y) => Math.exp(8 * x + 3 * y))).toBeGreaterThan(EVIDENCE_MIN);
  expect(likeliest((x, y) => Math.sin(6 * x) + Math.cos(4 * y))).toBeLessThan(EVIDENCE_MIN);
});
