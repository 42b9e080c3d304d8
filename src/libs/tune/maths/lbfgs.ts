/**
 * Minimises a smooth function within a box: limited-memory BFGS (Nocedal and Wright, chapter 7) on the variables that are
 * not at a bound, with steps projected into the box.
 */

/** Writes the gradient into `gradient`, returns the value. */
export type Objective = (x: Float64Array, gradient: Float64Array) => number;

export interface LbfgsOptions {
  readonly low?: ArrayLike<number>;
  readonly high?: ArrayLike<number>;
  readonly iterationsMax: number;
  /** Stop when no component of the projected gradient is larger. */
  readonly gradientTolerance: number;
  /** Stop when two steps in a row improve the value by less than this, relative to its size. */
  readonly valueTolerance?: number;
}

const MEMORY = 8;
const BACKTRACKS_MAX = 20;

export function lbfgs(
  objective: Objective,
  start: Float64Array,
  options: LbfgsOptions,
): { x: Float64Array; value: number } {
  const { low, high, iterationsMax, gradientTolerance, valueTolerance = 1e-9 } = options;
  const n = start.length;
  let x = Float64Array.from(start);
  let gradient = new Float64Array(n);
  let value = objective(x, gradient);
  if (!Number.isFinite(value)) return { x, value };
  const steps: { s: Float64Array; y: Float64Array; rho: number }[] = [];
  const blocked = (i: number, g: number) =>
    (low !== undefined && x[i]! <= low[i]! && g > 0) || (high !== undefined && x[i]! >= high[i]! && g < 0);

  let stalls = 0;
  for (let iteration = 0; iteration < iterationsMax; iteration++) {
    let largest = 0;
    for (let i = 0; i < n; i++)
      if (!blocked(i, gradient[i]!)) largest = Math.max(largest, Math.abs(gradient[i]!));
    if (largest <= gradientTolerance) break;

    const direction = twoLoop(gradient, steps);
    let slope = 0;
    for (let i = 0; i < n; i++) {
      if (blocked(i, gradient[i]!)) direction[i] = 0;
      slope += direction[i]! * gradient[i]!;
    }
    if (!(slope < 0)) {
      steps.length = 0;
      slope = 0;
      for (let i = 0; i < n; i++) {
        direction[i] = blocked(i, gradient[i]!) ? 0 : -gradient[i]!;
        slope += direction[i]! * gradient[i]!;
      }
    }
    let t = steps.length === 0 ? Math.min(1, 1 / Math.sqrt(-slope)) : 1;
    let next: Float64Array<ArrayBuffer> | undefined;
    let nextGradient = new Float64Array(n);
    let nextValue = value;
    for (let k = 0; k < BACKTRACKS_MAX; k++) {
      const trial = new Float64Array(n);
      let along = 0;
      for (let i = 0; i < n; i++) {
        let at = x[i]! + t * direction[i]!;
        if (low !== undefined) at = Math.max(at, low[i]!);
        if (high !== undefined) at = Math.min(at, high[i]!);
        trial[i] = at;
        along += (at - x[i]!) * gradient[i]!;
      }
      const trialGradient = new Float64Array(n);
      const trialValue = objective(trial, trialGradient);
      if (Number.isFinite(trialValue) && trialValue <= value + 1e-4 * along) {
        next = trial;
        nextGradient = trialGradient;
        nextValue = trialValue;
        break;
      }
      // To the bottom of the parabola through both values and the slope, within limits.
      const bottom = -along / (2 * (trialValue - value - along));
      t *= Number.isFinite(bottom) ? Math.min(Math.max(bottom, 0.1), 0.5) : 0.1;
    }
    if (next === undefined) {
      if (steps.length === 0) break;
      steps.length = 0; // stale curvature: once more along the gradient
      continue;
    }
    const s = new Float64Array(n);
    const y = new Float64Array(n);
    let sy = 0;
    let yy = 0;
    for (let i = 0; i < n; i++) {
      s[i] = next[i]! - x[i]!;
      y[i] = nextGradient[i]! - gradient[i]!;
      sy += s[i]! * y[i]!;
      yy += y[i]! * y[i]!;
    }
    if (sy > 1e-10 * yy) {
      steps.push({ s, y, rho: 1 / sy });
      if (steps.length > MEMORY) steps.shift();
    }
    const gain = value - nextValue;
    x = next;
    gradient = nextGradient;
    value = nextValue;
    stalls = gain <= valueTolerance * Math.max(1, Math.abs(value)) ? stalls + 1 : 0;
    if (stalls === 2) break;
  }
  return { x, value };
}

function twoLoop(
  gradient: Float64Array,
  steps: readonly { s: Float64Array; y: Float64Array; rho: number }[],
): Float64Array {
  const n = gradient.length;
  const q = Float64Array.from(gradient);
  const alphas = new Float64Array(steps.length);
  for (let k = steps.length - 1; k >= 0; k--) {
    const { s, y, rho } = steps[k]!;
    let dot = 0;
    for (let i = 0; i < n; i++) dot += s[i]! * q[i]!;
    const alpha = rho * dot;
    alphas[k] = alpha;
    for (let i = 0; i < n; i++) q[i] = q[i]! - alpha * y[i]!;
  }
  const last = steps.at(-1);
  if (last !== undefined) {
    let yy = 0;
    for (const y of last.y) yy += y * y;
    const scale = 1 / (last.rho * yy);
    for (let i = 0; i < n; i++) q[i] = q[i]! * scale;
  }
  for (const [k, { s, y, rho }] of steps.entries()) {
    let dot = 0;
    for (let i = 0; i < n; i++) dot += y[i]! * q[i]!;
    const beta = rho * dot;
    for (let i = 0; i < n; i++) q[i] = q[i]! + (alphas[k]! - beta) * s[i]!;
  }
  for (let i = 0; i < n; i++) q[i] = -q[i]!;
  return q;
}
