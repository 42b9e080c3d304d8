/**
 * The logarithm of expected improvement, which stays informative where the improvement itself underflows.
 * Source: Ament et al., "Unexpected Improvements to Expected Improvement for Bayesian Optimization" (arXiv 2310.20708).
 */
import { LOG_SQRT_2PI, logNormalCdf, normalCdf } from "../maths/normal.ts";
import type { GaussianProcess } from "./gp-model.ts";

/** log(phi(z) + z Phi(z)). */
export function logImprovement(z: number): number {
  if (z > -1) return Math.log(Math.exp(-0.5 * z * z - LOG_SQRT_2PI) + z * normalCdf(z));
  const logDensity = -0.5 * z * z - LOG_SQRT_2PI;
  if (z < -1e3) return logDensity - 2 * Math.log(-z);
  const mills = Math.exp(logNormalCdf(z) - logDensity);
  const rest = 1 + z * mills;
  // Past -25 the difference loses its digits: 1/z^2 - 3/z^4 + 15/z^6, the expansion of Mills' ratio.
  const q = 1 / (z * z);
  return logDensity + Math.log(z > -25 ? rest : q * (1 - 3 * q + 15 * q * q));
}

/** log EI of a value below `best` at x. */
export function logEi(model: GaussianProcess, best: number, x: Float64Array): number {
  const { mean, variance } = model.predict(x);
  const sd = Math.sqrt(variance);
  return logImprovement((best - mean) / sd) + Math.log(sd);
}

/** log EI at each of many points. */
export function logEis(model: GaussianProcess, best: number, points: readonly Float64Array[]): Float64Array {
  const means = new Float64Array(points.length);
  const variances = new Float64Array(points.length);
  model.predictAll(points, means, variances);
  return means.map((mean, i) => {
    const sd = Math.sqrt(variances[i]!);
    return logImprovement((best - mean) / sd) + Math.log(sd);
  });
}

/** As `logEi`, and writes its gradient. */
export function logEiSlope(
  model: GaussianProcess,
  best: number,
  x: Float64Array,
  gradient: Float64Array,
): number {
  const ofVariance = new Float64Array(gradient.length);
  const { mean, variance } = model.slopes(x, gradient, ofVariance);
  const sd = Math.sqrt(variance);
  const z = (best - mean) / sd;
  const log = logImprovement(z);
  // d log h / dz = Phi / h; dz = -(dmean + z dsd) / sd.
  const rate = Math.exp(logNormalCdf(z) - log);
  for (let i = 0; i < gradient.length; i++) {
    const ofSd = ofVariance[i]! / (2 * sd);
    gradient[i] = (-rate * (gradient[i]! + z * ofSd) + ofSd) / sd;
  }
  return log + Math.log(sd);
}
