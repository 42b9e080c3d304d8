// Which hyperparameters read handwritten digits best? TPE chooses configurations, ASHA stops the bad ones early.
// Ctrl-C ends the search; the same command goes on with it.
//
//   npx tsx examples/tune-digits/main.ts [--quick]

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { init, put, shutdown } from "tsray";
import { ASHA, TPESearcher, Tuner, withParameters } from "tsray/tune";
import { loadDigits, splitDigits } from "./digits.ts";
import { space, test, train } from "./train.ts";

await init(); // workers import this file too, but go no further than here

const quick = process.argv.includes("--quick") || process.env.TSRAY_EXAMPLE_QUICK === "1";
const epochs = quick ? 4 : 6;
const numSamples = quick ? 8 : 24;
const accuracyFloor = quick ? 0.8 : 0.93;
const name = quick ? "tune-digits-quick" : "tune-digits";
const storagePath = join(import.meta.dirname, ".cache");

const digits = loadDigits();
const material = { digits, split: splitDigits(digits, quick ? 0.3 : 1), epochs };
console.log(`${digits.labels.length} digits, ${numSamples} configurations of at most ${epochs} epochs each`);

const options = {
  space,
  metric: "accuracy",
  mode: "max",
  numSamples,
  searcher: new TPESearcher(),
  scheduler: new ASHA({ maxT: epochs, reductionFactor: 3 }),
} as const;
const trainable = withParameters(train, material);
const path = join(storagePath, name);
const goesOn = Tuner.canRestore(path);
if (!goesOn) rmSync(path, { recursive: true, force: true });
const tuner = goesOn
  ? Tuner.restore(path, trainable, options)
  : new Tuner(trainable, { ...options, seed: 2, name, storagePath });

const startedAt = performance.now();
const results = await tuner.fit();
const seconds = (performance.now() - startedAt) / 1000;

if (results.interrupted) {
  console.log(`\nInterrupted: the same command goes on with what is in ${path}`);
} else {
  const best = results.getBestResult();
  const shared = put(material);
  const testAccuracy = await test.remote(best.config, shared);
  // The same work by one worker, then by all: four trainings of the best configuration.
  const timed = async (work: () => Promise<unknown>) => {
    const startedAt = performance.now();
    await work();
    return (performance.now() - startedAt) / 1000;
  };
  const four = [1, 2, 3, 4];
  const aloneSeconds = await timed(async () => {
    for (const _ of four) await test.remote(best.config, shared);
  });
  const togetherSeconds = await timed(() => Promise.all(four.map(() => test.remote(best.config, shared))));
  const trained = [...results].reduce((sum, { iterations }) => sum + iterations, 0);
  const percent = (share: unknown) => `${(100 * Number(share)).toFixed(2)}%`;
  console.log(`
best configuration   ${JSON.stringify(best.config)}
validation accuracy  ${percent(best.metrics.accuracy)}
test accuracy        ${percent(testAccuracy)}  (trained again on training and validation digits)
epochs trained       ${trained} of ${numSamples * epochs}: ASHA stopped the rest
search               ${seconds.toFixed(1)} s
four trainings       ${aloneSeconds.toFixed(1)} s with one worker, ${togetherSeconds.toFixed(1)} s with all: ${(aloneSeconds / togetherSeconds).toFixed(2)}x
report               ${join(path, "report.html")}`);

  assert.equal(results.length, numSamples);
  assert.equal(results.numErrors, 0);
  assert.ok(trained < numSamples * epochs, "some trials were stopped early");
  assert.ok(
    testAccuracy >= accuracyFloor,
    `test accuracy ${percent(testAccuracy)} is below ${accuracyFloor}`,
  );
  // The report stays to be looked at; the next run begins a new search.
  rmSync(join(path, "journal"), { recursive: true });
}
await shutdown();
