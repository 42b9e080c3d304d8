// A hundred test particles among the giant planets for a thousand years: first in this process, then through tsray.
//
//   npx tsx examples/outer-planets/main.ts [--quick]

import assert from "node:assert/strict";
import { clusterResources, get, init, put, remote, shutdown } from "tsray";
import { integrateParticles, sampleParticles, summarise } from "./particles.ts";
import { integratePlanets } from "./planets.ts";
import { printOrbits } from "./report.ts";

// The remote form of an ordinary function. Workers import this file too, but go no further than init().
const integrate = remote(integrateParticles);

await init();

const quick = process.argv.includes("--quick") || process.env.TSRAY_EXAMPLE_QUICK === "1";
const years = quick ? 50 : 1000;
const stepDays = 1;
const particlesPerTask = 5;

console.log(
  `Sun, Jupiter, Saturn, Uranus, Neptune: ${years} years from J2000 in steps of ${stepDays} day ...`,
);
const { planets, energyErrorMax, sunAtStart, sunAtEnd } = integratePlanets(years, stepDays);
console.log(`  largest relative energy error ${energyErrorMax.toExponential(2)}`);

const batches = sampleParticles(100, particlesPerTask, sunAtStart);
const { CPU: cpus = 0 } = await clusterResources();
console.log(`100 particles, each with a twin, in ${batches.length} batches ...`);

const serialStart = performance.now();
const serial = batches.map((batch) => integrate(planets, batch)); // a plain call stays a plain call
const serialSeconds = (performance.now() - serialStart) / 1000;
console.log(`  serial    ${serialSeconds.toFixed(2)} s in this process`);

const parallelStart = performance.now();
const planetsRef = put(planets); // 44 MB, written once; each worker reads it in place
const parallel = await get(batches.map((batch) => integrate.remote(planetsRef, batch)));
const parallelSeconds = (performance.now() - parallelStart) / 1000;
console.log(`  parallel  ${parallelSeconds.toFixed(2)} s on ${cpus} CPUs`);
console.log(`  speed-up  ${(serialSeconds / parallelSeconds).toFixed(2)}x`);

printOrbits(summarise(batches, parallel, sunAtStart, sunAtEnd), years);

assert.ok(energyErrorMax < 1e-8, "the integrator keeps the energy");
assert.deepEqual(parallel, serial, "parallel and serial agree to the last bit");
console.log("\nParallel and serial results are the same to the last bit.");
await shutdown();
