// The seed chapter's jobs as scalar loops, and a task that spins: what every side's workers run. arithmetic.c is the same,
// operation by operation, so results agree to the last digits. No job has input but numbers: its data is made from them.

const G = 2.959122082855911e-4; // AU^3 / (solar mass * day^2)

// Sun, Jupiter, Saturn, Uranus, Neptune: mass, position (AU), velocity (AU/day). Hairer, Lubich, Wanner, "outer solar system".
const BODIES = [
  [1.00000597682, 0, 0, 0, 0, 0, 0],
  [9.54786104043e-4, -3.5023653, -3.8169847, -1.5507963, 0.00565429, -0.0041249, -0.00190589],
  [2.85583733151e-4, 9.0755314, -3.0458353, -1.6483708, 0.00168318, 0.00483525, 0.00192462],
  [4.37273164546e-5, 8.310142, -16.2901086, -7.2521278, 0.00354178, 0.00137102, 0.00055029],
  [5.17759138449e-5, 11.4707666, -25.7294829, -10.8169456, 0.0028893, 0.00114527, 0.00039677],
];

/** Leapfrog of Sun and outer planets, Jupiter set off by `seed` * 1e-6 AU. @returns Jupiter's x at the end */
export function orbit(seed, steps) {
  const n = BODIES.length;
  const m = new Float64Array(n);
  const x = new Float64Array(3 * n);
  const v = new Float64Array(3 * n);
  const a = new Float64Array(3 * n);
  for (let i = 0; i < n; i++) {
    m[i] = BODIES[i][0];
    for (let k = 0; k < 3; k++) {
      x[3 * i + k] = BODIES[i][1 + k];
      v[3 * i + k] = BODIES[i][4 + k];
    }
  }
  x[3] += seed * 1e-6;
  const dt = 10;
  accelerate(n, m, x, a);
  for (let step = 0; step < steps; step++) {
    for (let i = 0; i < 3 * n; i++) {
      v[i] += 0.5 * dt * a[i];
      x[i] += dt * v[i];
    }
    accelerate(n, m, x, a);
    for (let i = 0; i < 3 * n; i++) v[i] += 0.5 * dt * a[i];
  }
  return x[3];
}

function accelerate(n, m, x, a) {
  for (let i = 0; i < 3 * n; i++) a[i] = 0;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      const dx = x[3 * j] - x[3 * i];
      const dy = x[3 * j + 1] - x[3 * i + 1];
      const dz = x[3 * j + 2] - x[3 * i + 2];
      const r2 = dx * dx + dy * dy + dz * dz;
      const f = G / (r2 * Math.sqrt(r2));
      const fi = f * m[j];
      const fj = f * m[i];
      a[3 * i] += fi * dx;
      a[3 * i + 1] += fi * dy;
      a[3 * i + 2] += fi * dz;
      a[3 * j] -= fj * dx;
      a[3 * j + 1] -= fj * dy;
      a[3 * j + 2] -= fj * dz;
    }
  }
}

/**
 * Lomb-Scargle power of a made-up light curve of `points` at `frequencies`, with trigonometric recurrences (Numerical
 * Recipes, `period`). @returns the highest power
 */
export function periodogram(seed, points, frequencies) {
  const t = new Float64Array(points);
  const y = new Float64Array(points);
  let state = seed * 2654435761 + 1;
  let mean = 0;
  for (let i = 0; i < points; i++) {
    state = (state * 1103515245 + 12345) % 2147483648;
    t[i] = i + state / 2147483648;
    state = (state * 1103515245 + 12345) % 2147483648;
    const phase = (t[i] * 0.05) % 1;
    y[i] = 4 * phase * (1 - phase) + state / 2147483648;
    mean += y[i];
  }
  mean /= points;
  let variance = 0;
  for (let i = 0; i < points; i++) {
    y[i] -= mean;
    variance += y[i] * y[i];
  }
  variance /= points - 1;
  const c = new Float64Array(points);
  const s = new Float64Array(points);
  const dc = new Float64Array(points);
  const ds = new Float64Array(points);
  const step = (2 * Math.PI * 0.5) / frequencies;
  for (let i = 0; i < points; i++) {
    const angle = step * t[i];
    c[i] = Math.cos(angle);
    s[i] = Math.sin(angle);
    dc[i] = c[i];
    ds[i] = s[i];
  }
  let best = 0;
  for (let k = 0; k < frequencies; k++) {
    let sumC = 0;
    let sumS = 0;
    let sumCS = 0;
    let sumYC = 0;
    let sumYS = 0;
    for (let i = 0; i < points; i++) {
      const ci = c[i];
      const si = s[i];
      sumC += ci * ci;
      sumS += si * si;
      sumCS += ci * si;
      sumYC += y[i] * ci;
      sumYS += y[i] * si;
      c[i] = ci * dc[i] - si * ds[i];
      s[i] = si * dc[i] + ci * ds[i];
    }
    const det = sumC * sumS - sumCS * sumCS;
    if (det > 1e-9) {
      const power = (sumYC * sumYC * sumS - 2 * sumYC * sumYS * sumCS + sumYS * sumYS * sumC) / det;
      if (power > best) best = power;
    }
  }
  return best / (2 * variance);
}

/** Chi-squared of a Lorentzian line with centre and width number `index` of a 50 x 50 grid, over `points` made-up points. */
export function chiSquared(index, points) {
  const centre = 0.4 + 0.004 * (index % 50);
  const width = 0.02 + 0.002 * Math.floor(index / 50);
  let state = 7;
  let sum = 0;
  for (let i = 0; i < points; i++) {
    state = (state * 1103515245 + 12345) % 2147483648;
    const x = i / points;
    const u = (x - 0.5) / 0.06;
    const data = 1 / (1 + u * u) + 0.1 * (state / 2147483648 - 0.5);
    const w = (x - centre) / width;
    const d = data - 1 / (1 + w * w);
    sum += (d * d) / 0.0008333;
  }
  return sum;
}

/** Keeps a processor busy for so long by the clock. */
export function spin(ms) {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
  return ms;
}

export const ok = () => "ok";
