// A model is fitted to a supernova's light curve: a plain grid over its six parameters, and a search of fewer trials.
//
//   npx tsx examples/tune-supernova/main.ts [--quick]

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { init, remote, shutdown } from "tsray";
import {
  CmaEsSearcher,
  gridSearch,
  loguniform,
  type ResultGrid,
  Tuner,
  uniform,
  withParameters,
} from "tsray/tune";
import { type LightCurve, readLightCurve } from "./light-curve.ts";
import { chiSquared, fitBand, type Shape } from "./model.ts";

const fit = remote(function fit(shape: Shape, { curve }: { readonly curve: LightCurve }) {
  return { chi2: chiSquared(shape, curve) };
});

await init(); // workers import this file too, but go no further than here

const quick = process.argv.includes("--quick") || process.env.TSRAY_EXAMPLE_QUICK === "1";
const levels = quick ? 2 : 3;
const numSamples = quick ? 64 : 243;

/** Bounds of each parameter, and whether its scale is logarithmic. */
const BOUNDS = {
  start: [-20, 5],
  delay: [-4, 2],
  rise: [1, 10, "log"],
  fall: [4, 40, "log"],
  tail: [30, 300, "log"],
  colour: [-1, 4],
} as const satisfies Record<keyof Shape, readonly [number, number, "log"?]>;

const domains = (make: (low: number, high: number, isLog: boolean) => unknown) =>
  Object.fromEntries(
    Object.entries(BOUNDS).map(([name, [low, high, scale]]) => [name, make(low, high, scale === "log")]),
  );
/** The middles of equal parts. */
const grid = domains((low, high, isLog) =>
  gridSearch(
    Array.from({ length: levels }, (_, i) => {
      const at = (i + 0.5) / levels;
      return isLog ? low * (high / low) ** at : low + (high - low) * at;
    }),
  ),
);
const space = domains((low, high, isLog) => (isLog ? loguniform(low, high) : uniform(low, high)));

const storagePath = join(import.meta.dirname, ".cache");
rmSync(storagePath, { recursive: true, force: true });
const curve = readLightCurve();
const trainable = withParameters(fit, { curve });
const common = { metric: "chi2", mode: "min", storagePath, progress: false } as const;
const plain = await new Tuner(trainable, { ...common, name: "grid", space: grid as never }).fit();
const searched = await new Tuner(trainable, {
  ...common,
  name: "search",
  space: space as never,
  searcher: new CmaEsSearcher(),
  numSamples,
  seed: 1,
}).fit();

const chi2 = (results: ResultGrid<Shape>) => Number(results.getBestResult().metrics.chi2);
const shape = searched.getBestResult().config;
const passedAfter = [...searched].findIndex(({ metrics }) => Number(metrics.chi2) <= chi2(plain)) + 1;
const brightest = brightestDay(fitBand(shape, "r", curve));
const rounded = Object.fromEntries(
  Object.entries(shape as Shape).map(([name, value]) => [name, Number(value.toPrecision(3))]),
);
console.log(`${curve.name}, redshift ${curve.redshift}, ${Object.values(curve.bands).flat().length} measurements in g, r, i, z
grid     ${plain.length} trials: chi-squared ${chi2(plain).toFixed(2)} per degree of freedom
search   ${searched.length} trials: chi-squared ${chi2(searched).toFixed(2)}; better than the grid after ${passedAfter}
shape    ${JSON.stringify(rounded)}
maximum  day ${brightest.toFixed(1)} in r (the survey's own fit: ${curve.publishedMaximum.toFixed(1)} in blue light at the source)
report   ${join(storagePath, "search", "report.html")}`);

assert.equal(plain.numErrors + searched.numErrors, 0);
assert.equal(plain.length, levels ** 6);
assert.ok(passedAfter > 0, "the search is better than the grid, with no more trials");
assert.ok(Math.abs(brightest - curve.publishedMaximum) < 6, "the maximum is where the survey found it");
if (!quick) assert.ok(chi2(searched) < 0.7 * chi2(plain), "the search is far better than the grid");
await shutdown();

function brightestDay(flux: (day: number) => number): number {
  const days = Array.from({ length: 800 }, (_, i) => curve.publishedMaximum - 40 + i / 10);
  return days.reduce((best, day) => (flux(day) > flux(best) ? day : best));
}
