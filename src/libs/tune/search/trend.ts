/**
 * How an objective goes at large: in each number a straight line and a parabola, of which a Gaussian process learns the
 * coefficients along with all that departs from them.
 *
 * Most objectives rise on all sides of a good region. A stationary kernel has to learn that point by point, and learns
 * nothing of it at a length scale that follows the details; here it takes two coefficients per number, each with a normal
 * prior (Rasmussen and Williams, section 2.7, "explicit basis functions"). Legendre polynomials, so that line and parabola
 * do not stand in for each other; categories have neither.
 */

/** Terms per parameter. */
export const TERMS = 2;

/** Writes the terms at the point that begins at `from` in `points` to `terms`, from `to` on. */
export function writeTerms(
  points: Float64Array,
  from: number,
  categorical: readonly boolean[],
  terms: Float64Array,
  to: number,
): void {
  for (let i = 0; i < categorical.length; i++) {
    const z = 2 * points[from + i]! - 1;
    terms[to + TERMS * i] = categorical[i] ? 0 : z;
    terms[to + TERMS * i + 1] = categorical[i] ? 0 : 1.5 * z * z - 0.5;
  }
}

/** The terms at each of n points, one row per point. */
export function termsOf(points: Float64Array, n: number, categorical: readonly boolean[]): Float64Array {
  const d = categorical.length;
  const terms = new Float64Array(n * TERMS * d);
  for (let a = 0; a < n; a++) writeTerms(points, a * d, categorical, terms, a * TERMS * d);
  return terms;
}

/** Slope along parameter i, a number that is `u` in the unit interval, of a sum of the terms with these coefficients. */
export function slopeAlong(i: number, u: number, coefficients: Float64Array): number {
  return 2 * coefficients[TERMS * i]! + 6 * (2 * u - 1) * coefficients[TERMS * i + 1]!;
}
