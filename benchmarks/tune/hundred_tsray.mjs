// Our side of hundred.mjs: node hundred_tsray.mjs DIRECTORY TRIALS. Defaults, and 2 CPUs.
import { init, remote, shutdown } from "tsray";
import { Tuner, uniform } from "tsray/tune";

const quadratic = remote(function quadratic({ x }) {
  return { loss: (x - 0.3) ** 2 };
});
await init({ numCpus: 2 });
const startedMs = performance.now();
const results = await new Tuner(quadratic, {
  space: { x: uniform(0, 1) },
  metric: "loss",
  mode: "min",
  numSamples: Number(process.argv[3]),
  storagePath: process.argv[2],
  progress: false,
}).fit();
const fitSeconds = (performance.now() - startedMs) / 1000;
await shutdown();
console.log(
  JSON.stringify({ trials: results.length, best: results.getBestResult().metrics.loss, fitSeconds }),
);
