// Goal: the numbers under the searchers are right. Method: known values, identities, and gradients against differences.
import { describe, expect, test } from "vitest";
import { Random } from "../random.ts";
import { lbfgs } from "./lbfgs.ts";
import {
  addScaled,
  cholesky,
  dot,
  gramLower,
  invertLower,
  multiplyLower,
  multiplyTransposed,
  solveLower,
  solveUpper,
  squaredNorms,
  symmetricEigen,
} from "./linear.ts";
import { erf, logNormalCdf, normalCdf, normalQuantile } from "./normal.ts";
import { Sobol } from "./sobol.ts";

test("the normal distribution, into its tails", () => {
  expect(erf(0.3)).toBeCloseTo(0.3286267594591274, 14);
  expect(erf(-1)).toBeCloseTo(-0.8427007929497149, 14);
  expect(normalCdf(5)).toBeCloseTo(0.9999997133484281, 14);
  expect(normalCdf(-8) / 6.220960574271785e-16).toBeCloseTo(1, 10);
  expect(logNormalCdf(-40)).toBeCloseTo(-804.6084420137538, 9);
  for (const p of [1e-12, 1e-4, 0.02, 0.3, 0.5, 0.9, 0.9999])
    expect(normalCdf(normalQuantile(p)) / p).toBeCloseTo(1, 10);
});

test.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 23])(
  "Cholesky, solves, inverses and products agree at size %i",
  (n) => {
    const random = new Random(n);
    const b = Float64Array.from({ length: n * n }, () => random.normal());
    const a = new Float64Array(n * n);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++)
        for (let k = 0; k < n; k++) a[i * n + j]! += b[i * n + k]! * b[j * n + k]! + (i === j ? 0.1 : 0);
    const l = Float64Array.from(a);
    expect(cholesky(l, n)).toBe(true);
    const x = Float64Array.from({ length: n }, () => random.normal());
    const y = Float64Array.from({ length: n }, (_, i) =>
      x.reduce((sum, xj, j) => sum + a[i * n + j]! * xj, 0),
    );
    const inverse = invertLower(l, n);
    const half = new Float64Array(n);
    multiplyLower(inverse, n, y, half);
    const norms = new Float64Array(4);
    squaredNorms(
      inverse,
      n,
      Float64Array.from({ length: 4 * n }, (_, i) => (1 + (i % 4)) * y[i >> 2]!),
      norms,
    );
    for (let lane = 0; lane < 4; lane++)
      expect(norms[lane]! / ((1 + lane) ** 2 * dot(half, half))).toBeCloseTo(1, 10);
    const byInverse = new Float64Array(n);
    multiplyTransposed(inverse, n, half, byInverse);
    const precision = gramLower(inverse, n);
    for (let i = 0; i < n; i++) {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += precision[i >= j ? i * n + j : j * n + i]! * y[j]!;
      expect(sum).toBeCloseTo(x[i]!, 7);
    }
    solveLower(l, n, y);
    for (let i = 0; i < n; i++) expect(half[i]).toBeCloseTo(y[i]!, 8);
    solveUpper(l, n, y);
    for (let i = 0; i < n; i++) {
      expect(y[i]).toBeCloseTo(x[i]!, 7);
      expect(byInverse[i]).toBeCloseTo(x[i]!, 7);
    }
    addScaled(y, -1, x);
    expect(dot(y, y)).toBeLessThan(1e-12);
  },
);

test("what is not positive definite is told", () => {
  expect(cholesky(Float64Array.of(1, 2, 2, 1), 2)).toBe(false);
  expect(cholesky(Float64Array.of(1, 0, 0, 0, 1, 0, 0, 0, -1), 3)).toBe(false);
  expect(cholesky(Float64Array.of(-1), 1)).toBe(false);
});

test("eigenvectors rebuild the matrix", () => {
  const a = Float64Array.of(4, 1, 0.5, 1, 3, -0.2, 0.5, -0.2, 1);
  const { values, vectors } = symmetricEigen(a, 3);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) {
      let sum = 0;
      for (let k = 0; k < 3; k++) sum += vectors[i * 3 + k]! * values[k]! * vectors[j * 3 + k]!;
      expect(sum).toBeCloseTo(a[i * 3 + j]!, 10);
    }
  }
});

describe("lbfgs", () => {
  const rosenbrock = (x: Float64Array, gradient: Float64Array) => {
    const [a, b] = [x[0]!, x[1]!];
    gradient[0] = -400 * a * (b - a * a) - 2 * (1 - a);
    gradient[1] = 200 * (b - a * a);
    return 100 * (b - a * a) ** 2 + (1 - a) ** 2;
  };

  test("finds the bottom of a curved valley", () => {
    const { x } = lbfgs(rosenbrock, Float64Array.of(-1.2, 1), {
      iterationsMax: 200,
      gradientTolerance: 1e-8,
      valueTolerance: 0,
    });
    expect(x[0]).toBeCloseTo(1, 5);
    expect(x[1]).toBeCloseTo(1, 5);
  });

  test("stays in its box", () => {
    const { x } = lbfgs(rosenbrock, Float64Array.of(-1.2, 1), {
      low: [-2, -2],
      high: [0.5, 2],
      iterationsMax: 200,
      gradientTolerance: 1e-8,
    });
    expect(x[0]).toBe(0.5);
    expect(x[1]).toBeCloseTo(0.25, 4);
  });
});

describe("Sobol points", () => {
  test("each power of two of them stands once in each equal interval, in every dimension", () => {
    for (const dimensions of [1, 5, 40]) {
      const sobol = new Sobol(dimensions, 9);
      const points = Array.from({ length: 64 }, (_, i) => sobol.point(i));
      for (let d = 0; d < dimensions; d++) {
        expect(new Set(points.map((point) => Math.floor(point[d]! * 64))).size).toBe(64);
      }
    }
  });

  test("pairs of dimensions are even too, seeds differ, an index can be had at any time", () => {
    const sobol = new Sobol(2, 3);
    const cells = Array.from({ length: 16 }, (_, i) => sobol.point(i)).map(
      ([x, y]) => `${Math.floor(x! * 4)},${Math.floor(y! * 4)}`,
    );
    expect(new Set(cells).size).toBe(16);
    expect(new Sobol(2, 4).point(5)).not.toEqual(sobol.point(5));
    expect(new Sobol(2, 3).point(5)).toEqual(sobol.point(5));
    expect(new Sobol(200, 3).point(7).every((u) => u >= 0 && u < 1)).toBe(true);
  });
});

test("the generator goes on from a saved state and spreads evenly", () => {
  const random = new Random(42);
  random.next();
  const state = random.save();
  const ahead = [random.next(), random.normal(), random.integer(10)];
  const again = new Random(0);
  again.restore(JSON.parse(JSON.stringify(state)));
  expect([again.next(), again.normal(), again.integer(10)]).toEqual(ahead);
  const counts = new Array(10).fill(0);
  for (let i = 0; i < 10_000; i++) counts[random.integer(10)]++;
  for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(200);
  expect(new Random(1).next()).not.toBe(new Random(1.5).next());
});
