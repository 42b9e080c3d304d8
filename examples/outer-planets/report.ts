// What the integration says about the outer solar system, as a few lines of text.

import { crossesNeptune, type Particle } from "./particles.ts";

const ZONES_AU = [
  [25, 30],
  [30, 35],
  [35, 40],
  [40, 50],
] as const;

export function printOrbits(particles: readonly Particle[], years: number): void {
  const closest = Math.min(...particles.map((particle) => particle.closestToNeptune));
  console.log(`
After ${years} years:
  semi-major axes spread   ${spread(particles, "before")} AU before, ${spread(particles, "after")} AU after
  crossing Neptune's orbit ${count(particles, "before")} before, ${count(particles, "after")} after
  closest to Neptune       ${closest.toFixed(2)} AU
  unbound                  ${particles.filter(({ after }) => after.e >= 1).length}

  zone (AU)   particles   mean |da| (AU)   max |da| (AU)   median growth of the distance to the twin`);
  for (const [from, to] of ZONES_AU) {
    const zone = particles.filter(({ before }) => before.a >= from && before.a < to);
    const changes = zone.map(({ before, after }) => Math.abs(after.a - before.a));
    const mean = changes.reduce((sum, change) => sum + change, 0) / changes.length;
    const cells = [
      String(zone.length).padStart(9),
      mean.toFixed(4).padStart(14),
      Math.max(...changes)
        .toFixed(4)
        .padStart(13),
      `${median(zone.map(({ twinGrowth }) => twinGrowth)).toFixed(0)}x`.padStart(12),
    ];
    console.log(`  ${from} to ${to}    ${cells.join("   ")}`);
  }
}

function count(particles: readonly Particle[], when: "before" | "after"): number {
  return particles.filter((particle) => crossesNeptune(particle[when])).length;
}

/** The standard deviation of the semi-major axes of what is still bound. */
function spread(particles: readonly Particle[], when: "before" | "after"): string {
  const axes = particles.map((particle) => particle[when].a).filter((a) => a > 0);
  const mean = axes.reduce((sum, a) => sum + a, 0) / axes.length;
  return Math.sqrt(axes.reduce((sum, a) => sum + (a - mean) ** 2, 0) / axes.length).toFixed(4);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
