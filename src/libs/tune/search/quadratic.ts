/**
 * A quadratic model of the objective near the search distribution, fitted to the trials so far by weighted least squares.
 *
 * Source: N. Hansen, "A Global Surrogate Assisted CMA-ES" (GECCO 2019): linear, diagonal or full quadratic by the number of
 * points, better points weighing more.
 */

import { cholesky, solveLower, solveUpper } from "../maths/linear.ts";
import type { Solution } from "./cma.ts";

const FULL_DIMENSION_MAX = 12;
const RIDGE = 1e-8;

export class QuadraticModel {
  readonly #dimension: number;
  readonly #kind: "linear" | "diagonal" | "full";
  readonly #coefficients: Float64Array;
  readonly #centre: Float64Array;
  readonly #scale: number;
  readonly #row: Float64Array;

  private constructor(
    dimension: number,
    kind: "linear" | "diagonal" | "full",
    coefficients: Float64Array,
    centre: Float64Array,
    scale: number,
  ) {
    this.#dimension = dimension;
    this.#kind = kind;
    this.#coefficients = coefficients;
    this.#centre = centre;
    this.#scale = scale;
    this.#row = new Float64Array(coefficients.length);
  }

  /** The model of these points around `centre`, distances in units of `scale`; undefined when they are too few. */
  static fit(samples: readonly Solution[], centre: Float64Array, scale: number): QuadraticModel | undefined {
    const d = centre.length;
    const full = ((d + 1) * (d + 2)) / 2;
    const n = samples.length;
    const kind =
      n >= 1.1 * full && d <= FULL_DIMENSION_MAX ? "full" : n >= 1.1 * (2 * d + 1) ? "diagonal" : "linear";
    const p = kind === "full" ? full : kind === "diagonal" ? 2 * d + 1 : d + 1;
    if (n < p + 1) return undefined;
    const order = [...samples].sort((a, b) => a.value - b.value);
    const normal = new Float64Array(p * p);
    const right = new Float64Array(p);
    const row = new Float64Array(p);
    for (const [rank, { x, value }] of order.entries()) {
      fill(row, x, centre, scale, kind);
      const weight = 20 - (19 * rank) / (n - 1);
      for (let i = 0; i < p; i++) {
        const wi = weight * row[i]!;
        right[i] = right[i]! + wi * value;
        for (let j = 0; j <= i; j++) normal[i * p + j] = normal[i * p + j]! + wi * row[j]!;
      }
    }
    for (let i = 0; i < p; i++) normal[i * p + i] = normal[i * p + i]! * (1 + RIDGE) + 1e-10;
    if (!cholesky(normal, p)) return undefined;
    solveLower(normal, p, right);
    solveUpper(normal, p, right);
    return new QuadraticModel(d, kind, right, centre, scale);
  }

  predict(x: Float64Array): number {
    fill(this.#row, x, this.#centre, this.#scale, this.#kind);
    let sum = 0;
    for (let i = 0; i < this.#row.length; i++) sum += this.#row[i]! * this.#coefficients[i]!;
    return sum;
  }

  /** Where the model is lowest, if it has a bottom. */
  optimum(): Float64Array | undefined {
    if (this.#kind === "linear") return undefined;
    const d = this.#dimension;
    const c = this.#coefficients;
    const hessian = new Float64Array(d * d);
    const x = new Float64Array(d);
    for (let i = 0; i < d; i++) {
      x[i] = -c[1 + i]!;
      hessian[i * d + i] = 2 * c[1 + d + i]!;
    }
    if (this.#kind === "full") {
      for (let i = 1, at = 1 + 2 * d; i < d; i++)
        for (let j = 0; j < i; j++, at++) hessian[i * d + j] = c[at]!;
    }
    if (!cholesky(hessian, d)) return undefined;
    solveLower(hessian, d, x);
    solveUpper(hessian, d, x);
    return x.map((u, i) => this.#centre[i]! + this.#scale * u);
  }
}

function fill(row: Float64Array, x: Float64Array, centre: Float64Array, scale: number, kind: string): void {
  const d = centre.length;
  row[0] = 1;
  for (let i = 0; i < d; i++) {
    const u = (x[i]! - centre[i]!) / scale;
    row[1 + i] = u;
    if (kind !== "linear") row[1 + d + i] = u * u;
  }
  if (kind !== "full") return;
  for (let i = 1, at = 1 + 2 * d; i < d; i++)
    for (let j = 0; j < i; j++, at++) row[at] = row[1 + i]! * row[1 + j]!;
}
