// Massless test particles: they feel the Sun and the planets, and nothing feels them, so batches are independent.
// Each step is half a kick by the planets, a Kepler drift around the Sun, and half a kick again.

import { seededRandom } from "../random.ts";
import { keplerDrift, orbitShape, STATE_LENGTH, stateFromElements } from "./kepler.ts";
import { GM_SUN, GM_TOTAL, PATH_STRIDE, PLANET_COUNT, PLANET_GM, type PlanetPath } from "./planets.ts";

/** Per particle in a result: its final state, its closest approach to Neptune in AU, the growth of its twin's distance. */
export const RESULT_LENGTH = STATE_LENGTH + 2;

const NEPTUNE = PLANET_COUNT - 1;
const TWIN_OFFSET_AU = 1e-8;

/**
 * Carries a batch of particles (six numbers each, heliocentric) along with the planets.
 * Each has a twin that starts 1.5 km away: how far they part tells how predictable the orbit is.
 */
export function integrateParticles(planets: PlanetPath, start: Float64Array): Float64Array {
  const { steps, dtDays, path } = planets;
  const count = start.length / STATE_LENGTH;
  const state = new Float64Array(2 * start.length); // the particles, then their twins
  state.set(start);
  state.set(start, start.length);
  for (let twin = start.length; twin < state.length; twin += STATE_LENGTH) state[twin]! += TWIN_OFFSET_AU;
  const closestSquared = new Float64Array(2 * count).fill(Infinity);

  for (let step = 0; step < steps; step++) {
    for (let body = 0; body < 2 * count; body++) {
      const at = body * STATE_LENGTH;
      kick(state, at, path, step * PATH_STRIDE, dtDays / 2);
      keplerDrift(state, at, GM_SUN, dtDays);
      const squared = kick(state, at, path, (step + 1) * PATH_STRIDE, dtDays / 2);
      if (squared < closestSquared[body]!) closestSquared[body] = squared;
    }
  }

  const result = new Float64Array(count * RESULT_LENGTH);
  for (let particle = 0; particle < count; particle++) {
    const at = particle * STATE_LENGTH;
    const twin = start.length + at;
    const row = particle * RESULT_LENGTH;
    result.set(state.subarray(at, at + STATE_LENGTH), row);
    result[row + STATE_LENGTH] = Math.sqrt(closestSquared[particle]!);
    const apart = [0, 1, 2].map((axis) => state[twin + axis]! - state[at + axis]!);
    result[row + STATE_LENGTH + 1] = Math.hypot(...apart) / TWIN_OFFSET_AU;
  }
  return result;
}

/** The planets' pull on one particle, less their pull on the Sun; returns the squared distance to Neptune. */
function kick(state: Float64Array, at: number, path: Float64Array, moment: number, dt: number): number {
  const x = state[at]!;
  const y = state[at + 1]!;
  const z = state[at + 2]!;
  const sun = moment + 3 * PLANET_COUNT;
  let ax = -path[sun]!;
  let ay = -path[sun + 1]!;
  let az = -path[sun + 2]!;
  let squared = 0;
  for (let planet = 0; planet <= NEPTUNE; planet++) {
    const from = moment + 3 * planet;
    const dx = path[from]! - x;
    const dy = path[from + 1]! - y;
    const dz = path[from + 2]! - z;
    squared = dx * dx + dy * dy + dz * dz;
    const pull = PLANET_GM[planet]! / (squared * Math.sqrt(squared));
    ax += pull * dx;
    ay += pull * dy;
    az += pull * dz;
  }
  state[at + 3]! += dt * ax;
  state[at + 4]! += dt * ay;
  state[at + 5]! += dt * az;
  return squared; // Neptune comes last
}

/** Seeded particles between 25 and 50 AU on mild orbits, in batches; `sun` is the Sun's barycentric state. */
export function sampleParticles(
  count: number,
  batchLength: number,
  sun: readonly number[],
  seed = 42,
): Float64Array[] {
  const random = seededRandom(seed);
  const angle = () => 2 * Math.PI * random();
  const states = Array.from({ length: count }, () => {
    const elements = {
      semiMajorAxis: 25 + 25 * random(),
      eccentricity: 0.15 * random(),
      inclination: (10 * Math.PI * random()) / 180,
      nodeLongitude: angle(),
      perihelionArgument: angle(),
      meanAnomaly: angle(),
    };
    return stateFromElements(elements, GM_TOTAL).map((value, axis) => value - sun[axis]!);
  });
  return Array.from({ length: Math.ceil(count / batchLength) }, (_, batch) =>
    Float64Array.from(states.slice(batch * batchLength, (batch + 1) * batchLength).flat()),
  );
}

export interface Orbit {
  readonly a: number; // AU, about the centre of mass; negative when the particle is leaving for good
  readonly e: number;
}

export interface Particle {
  readonly before: Orbit;
  readonly after: Orbit;
  readonly closestToNeptune: number; // AU
  readonly twinGrowth: number; // final over initial distance to the twin
}

/** What became of each particle: `batches` as they started, `results` as they came back. */
export function summarise(
  batches: readonly Float64Array[],
  results: readonly Float64Array[],
  sunAtStart: readonly number[],
  sunAtEnd: readonly number[],
): Particle[] {
  return batches.flatMap((batch, index) => {
    const result = results[index]!;
    return Array.from({ length: batch.length / STATE_LENGTH }, (_, particle) => {
      const row = particle * RESULT_LENGTH;
      return {
        before: orbitAt(batch, particle * STATE_LENGTH, sunAtStart),
        after: orbitAt(result, row, sunAtEnd),
        closestToNeptune: result[row + STATE_LENGTH]!,
        twinGrowth: result[row + STATE_LENGTH + 1]!,
      };
    });
  });
}

/** Does the orbit reach from inside Neptune's to outside of it? */
export function crossesNeptune({ a, e }: Orbit): boolean {
  const outwards = e < 1 ? a * (1 + e) : Infinity;
  return a * (1 - e) < NEPTUNE_SEMI_MAJOR_AXIS && outwards > NEPTUNE_SEMI_MAJOR_AXIS;
}

const NEPTUNE_SEMI_MAJOR_AXIS = 30.07;

/** The orbit about the centre of mass of everything, where the Sun's own wobble does not show. */
function orbitAt(states: Float64Array, at: number, sun: readonly number[]): Orbit {
  return orbitShape(
    sun.map((value, axis) => states[at + axis]! + value),
    GM_TOTAL,
  );
}
