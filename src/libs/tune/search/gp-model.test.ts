// Goal: the Gaussian process and its acquisition are right. Method: gradients against differences, limits, a known function.
import { expect, test } from "vitest";
import { Random } from "../random.ts";
import { logEi, logEiSlope, logImprovement } from "./acquisition.ts";
import { fitKernel, GaussianProcess } from "./gp-model.ts";

const random = new Random(5);
const n = 20;
const points = Float64Array.from({ length: n * 3 }, (_, i) => (i % 3 === 2 ? i % 2 : random.next()));
const y = Float64Array.from(
  { length: n },
  (_, i) => Math.sin(4 * points[3 * i]!) + points[3 * i + 1]! ** 2 + 0.5 * points[3 * i + 2]!,
);
const categorical = [false, false, true];
const start = { weights: Float64Array.of(1, 1, 1), scale: 1, noise: 1, trend: 0.1 };

test("log EI has the gradient it says it has", () => {
  const { kernel } = fitKernel(points, y, categorical, start, 100);
  const model = new GaussianProcess(points, y, categorical, kernel);
  const gradient = new Float64Array(3);
  const best = Math.min(...y);
  for (let k = 0; k < 10; k++) {
    const x = Float64Array.of(random.next(), random.next(), k % 2);
    const value = logEiSlope(model, best, x, gradient);
    expect(value).toBeCloseTo(logEi(model, best, x), 10);
    for (const i of [0, 1]) {
      const up = Float64Array.from(x);
      const down = Float64Array.from(x);
      up[i]! += 1e-5;
      down[i]! -= 1e-5;
      const slope = (logEi(model, best, up) - logEi(model, best, down)) / 2e-5;
      expect(Math.abs(gradient[i]! - slope)).toBeLessThan(1e-3 * Math.max(1, Math.abs(slope)));
    }
  }
});

test("log EI is smooth from improvements to hopeless points", () => {
  expect(logImprovement(0)).toBeCloseTo(Math.log(1 / Math.sqrt(2 * Math.PI)), 12);
  expect(logImprovement(-5)).toBeCloseTo(-16.7441, 3);
  for (const z of [-1, -25, -1e3])
    expect(logImprovement(z - 1e-9) / logImprovement(z + 1e-9)).toBeCloseTo(1, 6);
});

test("the fitted kernel is a better one, at a point where the slope is gone", () => {
  const once = fitKernel(points, y, categorical, start, 1);
  const fitted = fitKernel(points, y, categorical, start, 200);
  expect(fitted.loss).toBeLessThan(once.loss);
  for (const factor of [0.9, 1.1]) {
    for (let i = 0; i < 3; i++) {
      const weights = Float64Array.from(fitted.kernel.weights);
      weights[i]! *= factor;
      expect(fitKernel(points, y, categorical, { ...fitted.kernel, weights }, 0).loss).toBeGreaterThan(
        fitted.loss - 1e-3,
      );
    }
    for (const part of ["scale", "trend"] as const) {
      const other = { ...fitted.kernel, [part]: fitted.kernel[part] * factor };
      expect(fitKernel(points, y, categorical, other, 0).loss).toBeGreaterThan(fitted.loss - 1e-3);
    }
  }
});

test("the model passes through its points and is unsure away from them", () => {
  const { kernel } = fitKernel(points, y, categorical, start, 200);
  const model = new GaussianProcess(points, y, categorical, kernel);
  for (let i = 0; i < n; i++) {
    const { mean, variance } = model.predict(points.subarray(3 * i, 3 * i + 3));
    expect(Math.abs(mean - y[i]!)).toBeLessThan(0.02);
    expect(variance).toBeLessThan(0.05 * kernel.scale);
  }
  const many = Array.from({ length: 7 }, (_, i) => Float64Array.of(random.next(), random.next(), i % 2));
  const means = new Float64Array(7);
  const variances = new Float64Array(7);
  model.predictAll(many, means, variances);
  for (const [i, x] of many.entries()) {
    const { mean, variance } = model.predict(x);
    expect(means[i]).toBeCloseTo(mean, 10);
    expect(variances[i]).toBeCloseTo(variance, 10);
  }
  for (let i = 0; i < n; i++)
    expect(model.fitted[i]).toBeCloseTo(model.mean(points.subarray(3 * i, 3 * i + 3)), 5);
  expect(model.predict(Float64Array.of(9, 9, 0)).variance).toBeGreaterThan(0.5 * kernel.scale);
  expect(model.holds(points.slice(0, 3))).toBe(true);
  expect(model.holds(Float64Array.of(0.123, 0.456, 0))).toBe(false);
});

test("a bowl is known far from its points: the trend is learned, and rugged details are left to the kernel", () => {
  const d = 5;
  const bowl = (x: Float64Array) => x.reduce((sum, u) => sum + 8 * (u - 0.3) ** 2, 0);
  const rugged = (x: Float64Array) => x.reduce((sum, u) => sum + 0.1 * Math.cos(40 * u), bowl(x));
  const at = Array.from({ length: 25 }, () => Float64Array.from({ length: d }, () => random.next()));
  const far = Array.from({ length: 200 }, () => Float64Array.from({ length: d }, () => random.next()));
  for (const [f, limit] of [
    [bowl, 0.01],
    [rugged, 0.2],
  ] as const) {
    const results = Float64Array.from(at, f);
    const mean = results.reduce((sum, value) => sum + value, 0) / results.length;
    const sd = Math.sqrt(results.reduce((sum, value) => sum + (value - mean) ** 2, 0) / results.length);
    const standard = results.map((value) => (value - mean) / sd);
    const flat = Float64Array.from(at.flatMap((x) => [...x]));
    const unknown = { weights: new Float64Array(d).fill(1), scale: 1, noise: 1, trend: 0.1 };
    const { kernel } = fitKernel(flat, standard, new Array(d).fill(false), unknown, 100);
    const model = new GaussianProcess(flat, standard, new Array(d).fill(false), kernel);
    const squares = far.map((x) => (model.mean(x) - (bowl(x) - mean) / sd) ** 2);
    const error = Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / far.length);
    expect(error).toBeLessThan(limit);
  }
});

test("a place is crowded once three points lie within a thousandth of a length scale", () => {
  const kernel = { weights: Float64Array.of(4, 100), scale: 1, noise: 1e-4, trend: 0.1 };
  const near = [0.5, 0.5, 0.5 + 2e-4, 0.5, 0.5, 0.5 + 4e-5];
  const two = new GaussianProcess(
    Float64Array.from([...near.slice(0, 4), 0.1, 0.9]),
    Float64Array.of(0, 0, 1),
    [false, false],
    kernel,
  );
  const three = new GaussianProcess(
    Float64Array.from([...near, 0.1, 0.9]),
    Float64Array.of(0, 0, 0, 1),
    [false, false],
    kernel,
  );
  expect(two.isCrowded(Float64Array.of(0.5, 0.5))).toBe(false);
  expect(three.isCrowded(Float64Array.of(0.5, 0.5))).toBe(true);
  // Two thousandths of the length scale away, which is 1/2 in one number and 1/10 in the other.
  expect(three.isCrowded(Float64Array.of(0.5, 0.5 + 2e-4))).toBe(false);
  expect(three.isCrowded(Float64Array.of(0.5 + 2e-4, 0.5))).toBe(true);
});
