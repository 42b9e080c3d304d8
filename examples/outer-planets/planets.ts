// The Sun and the four giant planets: where they start, and the path that every test particle feels.
// Lengths in AU, times in days, masses in Suns; the ecliptic frame of J2000.
//
// Integrator: Wisdom-Holman in democratic heliocentric coordinates (Duncan, Levison & Lee 1998, AJ 116, 2067), that is
// heliocentric positions with barycentric velocities. Second order and symplectic: the energy error stays bounded.

import { keplerDrift, STATE_LENGTH, stateFromElements } from "./kepler.ts";

/** Gauss's constant squared: G times the mass of the Sun, in AU^3 / day^2. */
export const GM_SUN = 0.01720209895 ** 2;
export const DAYS_PER_YEAR = 365.25;

/**
 * Elements at J2000: E. M. Standish (JPL), "Keplerian Elements for Approximate Positions of the Major Planets", table 1,
 * https://ssd.jpl.nasa.gov/planets/approx_pos.html: a (AU), e, then in degrees inclination, mean longitude, longitude of
 * the perihelion, longitude of the node. Masses (planet and moons): IAU 1976-2009 system, as Sun-to-planet ratios.
 */
const PLANETS = [
  {
    name: "Jupiter",
    sunToPlanet: 1047.3486,
    j2000: [5.202887, 0.04838624, 1.30439695, 34.39644051, 14.72847983, 100.47390909],
  },
  {
    name: "Saturn",
    sunToPlanet: 3497.898,
    j2000: [9.53667594, 0.05386179, 2.48599187, 49.95424423, 92.59887831, 113.66242448],
  },
  {
    name: "Uranus",
    sunToPlanet: 22902.98,
    j2000: [19.18916464, 0.04725744, 0.77263783, 313.23810451, 170.9542763, 74.01692503],
  },
  {
    name: "Neptune",
    sunToPlanet: 19412.24,
    j2000: [30.06992276, 0.00859048, 1.77004347, -55.12002969, 44.96476227, 131.78422574],
  },
] as const;

export const PLANET_COUNT = PLANETS.length;
export const PLANET_GM = PLANETS.map(({ sunToPlanet }) => GM_SUN / sunToPlanet);
export const GM_TOTAL = PLANET_GM.reduce((sum, gm) => sum + gm, GM_SUN);

/** Per moment: the heliocentric position of each planet, then the acceleration of the Sun itself. */
export const PATH_STRIDE = 3 * PLANET_COUNT + 3;

/** What the particles need to know of the planets at each of `steps` + 1 moments, `dtDays` apart. */
export interface PlanetPath {
  readonly steps: number;
  readonly dtDays: number;
  readonly path: Float64Array;
}

export interface PlanetRun {
  readonly planets: PlanetPath;
  readonly energyErrorMax: number; // relative
  readonly sunAtStart: number[]; // the Sun's position and velocity relative to the centre of mass
  readonly sunAtEnd: number[];
}

/** Integrates the planets from J2000 and keeps their path. */
export function integratePlanets(years: number, dtDays: number): PlanetRun {
  const steps = Math.round((years * DAYS_PER_YEAR) / dtDays);
  const path = new Float64Array((steps + 1) * PATH_STRIDE);
  const state = startingState();
  const sunAtStart = sunState(state);
  const energyAtStart = energy(state);
  let energyErrorMax = 0;
  record(state, path, 0);
  for (let step = 1; step <= steps; step++) {
    kick(state, dtDays / 2);
    sunDrift(state, dtDays / 2);
    for (let at = 0; at < state.length; at += STATE_LENGTH) keplerDrift(state, at, GM_SUN, dtDays);
    sunDrift(state, dtDays / 2);
    kick(state, dtDays / 2);
    record(state, path, step * PATH_STRIDE);
    if (step % ENERGY_EVERY === 0 || step === steps) {
      energyErrorMax = Math.max(energyErrorMax, Math.abs(energy(state) / energyAtStart - 1));
    }
  }
  return { planets: { steps, dtDays, path }, energyErrorMax, sunAtStart, sunAtEnd: sunState(state) };
}

const ENERGY_EVERY = 10;

/** Heliocentric positions and barycentric velocities at J2000. */
function startingState(): Float64Array {
  const state = new Float64Array(PLANET_COUNT * STATE_LENGTH);
  const radians = Math.PI / 180;
  PLANETS.forEach(({ j2000: [a, e, inclination, longitude, perihelion, node] }, planet) => {
    const elements = {
      semiMajorAxis: a,
      eccentricity: e,
      inclination: inclination * radians,
      nodeLongitude: node * radians,
      perihelionArgument: (perihelion - node) * radians,
      meanAnomaly: (longitude - perihelion) * radians,
    };
    state.set(stateFromElements(elements, GM_SUN + PLANET_GM[planet]!), planet * STATE_LENGTH);
  });
  for (let axis = 3; axis < 6; axis++) {
    const centre = weightedSum(state, axis) / GM_TOTAL;
    for (let at = axis; at < state.length; at += STATE_LENGTH) state[at]! -= centre;
  }
  return state;
}

/** The planets' pull on each other. */
function kick(state: Float64Array, dt: number): void {
  for (let i = 0; i < PLANET_COUNT; i++) {
    const a = i * STATE_LENGTH;
    for (let j = i + 1; j < PLANET_COUNT; j++) {
      const b = j * STATE_LENGTH;
      const dx = state[b]! - state[a]!;
      const dy = state[b + 1]! - state[a + 1]!;
      const dz = state[b + 2]! - state[a + 2]!;
      const squared = dx * dx + dy * dy + dz * dz;
      const pull = dt / (squared * Math.sqrt(squared));
      const onA = pull * PLANET_GM[j]!;
      const onB = pull * PLANET_GM[i]!;
      state[a + 3]! += onA * dx;
      state[a + 4]! += onA * dy;
      state[a + 5]! += onA * dz;
      state[b + 3]! -= onB * dx;
      state[b + 4]! -= onB * dy;
      state[b + 5]! -= onB * dz;
    }
  }
}

/** The Sun's own motion about the centre of mass, which shifts all heliocentric positions alike. */
function sunDrift(state: Float64Array, dt: number): void {
  for (let axis = 0; axis < 3; axis++) {
    const shift = (dt * weightedSum(state, axis + 3)) / GM_SUN;
    for (let at = axis; at < state.length; at += STATE_LENGTH) state[at]! += shift;
  }
}

function record(state: Float64Array, path: Float64Array, at: number): void {
  const sunAcceleration = at + 3 * PLANET_COUNT;
  for (let planet = 0; planet < PLANET_COUNT; planet++) {
    const from = planet * STATE_LENGTH;
    const distance = Math.hypot(state[from]!, state[from + 1]!, state[from + 2]!);
    for (let axis = 0; axis < 3; axis++) {
      path[at + 3 * planet + axis] = state[from + axis]!;
      path[sunAcceleration + axis]! += (PLANET_GM[planet]! * state[from + axis]!) / distance ** 3;
    }
  }
}

/** The Sun's barycentric position and velocity: it balances the planets. */
function sunState(state: Float64Array): number[] {
  return [0, 1, 2, 3, 4, 5].map((axis) => -weightedSum(state, axis) / (axis < 3 ? GM_TOTAL : GM_SUN));
}

/** Kinetic plus potential energy in the barycentric frame (times G). */
function energy(state: Float64Array): number {
  const [, , , sunVx, sunVy, sunVz] = sunState(state) as [number, number, number, number, number, number];
  let sum = (GM_SUN * (sunVx ** 2 + sunVy ** 2 + sunVz ** 2)) / 2;
  for (let i = 0; i < PLANET_COUNT; i++) {
    const [x, y, z, vx, vy, vz] = planetState(state, i);
    const gm = PLANET_GM[i]!;
    sum += (gm * (vx ** 2 + vy ** 2 + vz ** 2)) / 2 - (GM_SUN * gm) / Math.hypot(x, y, z);
    for (let j = i + 1; j < PLANET_COUNT; j++) {
      const [x2, y2, z2] = planetState(state, j);
      sum -= (gm * PLANET_GM[j]!) / Math.hypot(x2 - x, y2 - y, z2 - z);
    }
  }
  return sum;
}

function planetState(state: Float64Array, planet: number) {
  const at = planet * STATE_LENGTH;
  return Array.from(state.subarray(at, at + STATE_LENGTH)) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
}

function weightedSum(state: Float64Array, axis: number): number {
  let sum = 0;
  for (let planet = 0; planet < PLANET_COUNT; planet++) {
    sum += PLANET_GM[planet]! * state[planet * STATE_LENGTH + axis]!;
  }
  return sum;
}
