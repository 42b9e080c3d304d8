// Two-body motion: orbital elements to and from vectors, and the exact drift along a Kepler orbit.
// A state is six numbers, x y z vx vy vz, somewhere in a Float64Array; mu is G times the attracting mass.

export const STATE_LENGTH = 6;

export interface Elements {
  readonly semiMajorAxis: number;
  readonly eccentricity: number;
  readonly inclination: number; // all angles in radians
  readonly nodeLongitude: number;
  readonly perihelionArgument: number;
  readonly meanAnomaly: number;
}

export function stateFromElements(elements: Elements, mu: number): number[] {
  const { semiMajorAxis: a, eccentricity: e, inclination, nodeLongitude, perihelionArgument } = elements;
  const anomaly = eccentricAnomaly(elements.meanAnomaly, e);
  const flattening = Math.sqrt(1 - e * e);
  const speed = Math.sqrt(mu / a) / (1 - e * Math.cos(anomaly));
  // In the orbit's own plane, towards the perihelion and 90 degrees ahead of it; then turned into space.
  const along = [a * (Math.cos(anomaly) - e), -speed * Math.sin(anomaly)];
  const ahead = [a * flattening * Math.sin(anomaly), speed * flattening * Math.cos(anomaly)];
  const [cosW, sinW] = [Math.cos(perihelionArgument), Math.sin(perihelionArgument)];
  const [cosN, sinN] = [Math.cos(nodeLongitude), Math.sin(nodeLongitude)];
  const [cosI, sinI] = [Math.cos(inclination), Math.sin(inclination)];
  return [0, 1].flatMap((k) => {
    const p = along[k]!;
    const q = ahead[k]!;
    return [
      p * (cosW * cosN - sinW * sinN * cosI) - q * (sinW * cosN + cosW * sinN * cosI),
      p * (cosW * sinN + sinW * cosN * cosI) - q * (sinW * sinN - cosW * cosN * cosI),
      p * sinW * sinI + q * cosW * sinI,
    ];
  });
}

/** Semi-major axis (negative when unbound) and eccentricity of the orbit through a state. */
export function orbitShape(state: ArrayLike<number>, mu: number): { a: number; e: number } {
  const [x, y, z, vx, vy, vz] = Array.from(state) as [number, number, number, number, number, number];
  const r = Math.hypot(x, y, z);
  const vSquared = vx * vx + vy * vy + vz * vz;
  const rv = x * vx + y * vy + z * vz;
  const radial = vSquared / mu - 1 / r;
  const swing = rv / mu;
  const e = Math.hypot(radial * x - swing * vx, radial * y - swing * vy, radial * z - swing * vz);
  return { a: 1 / (2 / r - vSquared / mu), e };
}

/** Moves the state at `at` along its Kepler orbit by `dt`, for any kind of orbit (universal variable `s`). */
export function keplerDrift(state: Float64Array, at: number, mu: number, dt: number): void {
  const x = state[at]!;
  const y = state[at + 1]!;
  const z = state[at + 2]!;
  const vx = state[at + 3]!;
  const vy = state[at + 4]!;
  const vz = state[at + 5]!;
  const r0 = Math.sqrt(x * x + y * y + z * z);
  const rv = x * vx + y * vy + z * vz;
  const beta = (2 * mu) / r0 - (vx * vx + vy * vy + vz * vz);

  // Kepler's equation r0 G1 + rv G2 + mu G3 = dt, by Newton's method from a second-order first guess.
  let s = dt / r0 - (rv * dt * dt) / (2 * r0 * r0 * r0);
  for (let round = 0; ; round++) {
    if (round === ROUNDS_MAX) throw new Error(`Kepler's equation did not converge (r = ${r0}, dt = ${dt})`);
    stumpff(beta * s * s);
    const g2 = s * s * stumpffC[0]!;
    const g3 = s * s * s * stumpffC[1]!;
    const g1 = s - beta * g3;
    const rate = r0 * (1 - beta * g2) + rv * g1 + mu * g2;
    const correction = (dt - r0 * g1 - rv * g2 - mu * g3) / rate;
    s += correction;
    // Each round squares the relative error, so the step after one of this size would be below rounding.
    if (Math.abs(correction) <= 1e-9 * Math.abs(s)) break;
  }
  stumpff(beta * s * s);
  const g2 = s * s * stumpffC[0]!;
  const g3 = s * s * s * stumpffC[1]!;
  const g1 = s - beta * g3;
  const r = r0 * (1 - beta * g2) + rv * g1 + mu * g2;
  const fMinus1 = (-mu * g2) / r0;
  const g = dt - mu * g3;
  const fDot = (-mu * g1) / (r0 * r);
  const gDotMinus1 = (-mu * g2) / r;
  // Written as increments: adding a small change loses fewer digits than multiplying by nearly one.
  state[at] = x + (fMinus1 * x + g * vx);
  state[at + 1] = y + (fMinus1 * y + g * vy);
  state[at + 2] = z + (fMinus1 * z + g * vz);
  state[at + 3] = vx + (fDot * x + gDotMinus1 * vx);
  state[at + 4] = vy + (fDot * y + gDotMinus1 * vy);
  state[at + 5] = vz + (fDot * z + gDotMinus1 * vz);
}

const ROUNDS_MAX = 50;
const stumpffC = new Float64Array(2);

/** Leaves Stumpff's c2(x) and c3(x) in `stumpffC`: a series for small x, the quarter-argument rule for the rest. */
function stumpff(x: number): void {
  let quarters = 0;
  let small = x;
  while (Math.abs(small) > 0.1) {
    small /= 4;
    quarters++;
  }
  let c2 =
    (1 - (small / 12) * (1 - (small / 30) * (1 - (small / 56) * (1 - (small / 90) * (1 - small / 132))))) / 2;
  let c3 =
    (1 - (small / 20) * (1 - (small / 42) * (1 - (small / 72) * (1 - (small / 110) * (1 - small / 156))))) /
    6;
  for (; quarters > 0; quarters--) {
    const c0 = 1 - small * c2;
    const c1 = 1 - small * c3;
    c3 = (c2 + c0 * c3) / 4;
    c2 = (c1 * c1) / 2;
    small *= 4;
  }
  stumpffC[0] = c2;
  stumpffC[1] = c3;
}

function eccentricAnomaly(meanAnomaly: number, e: number): number {
  let anomaly = meanAnomaly + e * Math.sin(meanAnomaly);
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const miss = anomaly - e * Math.sin(anomaly) - meanAnomaly;
    anomaly -= miss / (1 - e * Math.cos(anomaly));
    if (Math.abs(miss) < 1e-15) break;
  }
  return anomaly;
}
