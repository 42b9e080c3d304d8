// What Tune itself costs: trials that do nothing, reports that say nothing, restoring what is done. One JSON line per row.
// node benchmarks/tune/overhead.mjs [--trials 10000] [--reports 10000] [--only trials|reports|restore]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { init, remote, shutdown } from "tsray";
import { report, Tuner, uniform } from "tsray/tune";

const { values: args } = parseArgs({
  options: {
    trials: { type: "string", default: "10000" },
    reports: { type: "string", default: "10000" },
    only: { type: "string" },
  },
});
const LOGGERS = ["json", "csv", "tensorboard", "mlflow"];
const nothing = remote(function nothing({ x }) {
  return { x };
});
const reporting = remote(async function reporting({ count }) {
  for (let i = 0; i < count; i++) await report({ i, loss: 1 / (i + 1) });
});

await init({ numCpus: 2 });
const storagePath = mkdtempSync(join(tmpdir(), "tsray-overhead-"));
const quiet = { storagePath, progress: false, htmlReport: false, metric: "x", mode: "max" };
const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};
const seconds = (sinceMs) => (performance.now() - sinceMs) / 1000;
const rssMb = () => {
  globalThis.gc?.(); // with --expose-gc the figure has no garbage in it
  return Math.round(process.memoryUsage().rss / 2 ** 20);
};
const show = (row) => console.log(JSON.stringify(row));
const wanted = (name) => args.only === undefined || args.only === name;

/** Time of both halves, and resident memory of the driver on the way. */
async function trials(name, loggers) {
  const count = Number(args.trials);
  const marks = [];
  let ended = 0;
  const cpuBefore = cpuSeconds();
  const startedMs = performance.now();
  const note = () => marks.push({ trials: ended, seconds: seconds(startedMs), rssMb: rssMb() });
  await new Tuner(nothing, {
    ...quiet,
    name: `trials, ${name}`,
    loggers,
    space: { x: uniform(0, 1) },
    numSamples: count,
    callbacks: [{ onTrialComplete: () => ++ended % Math.ceil(count / 10) === 0 && note() }],
  }).fit();
  const total = seconds(startedMs);
  const half = marks.find((mark) => mark.trials >= count / 2).seconds;
  show({
    row: `${count} no-op trials, ${name}`,
    seconds: Number(total.toFixed(2)),
    driverCpuSeconds: Number((cpuSeconds() - cpuBefore).toFixed(2)),
    trialsPerSecond: Math.round(count / total),
    secondHalfToFirst: Number(((marks.at(-1).seconds - half) / half).toFixed(2)),
    rssMb: marks.map((mark) => mark.rssMb),
  });
}

async function reports(name, loggers) {
  const count = Number(args.reports);
  const cpuBefore = cpuSeconds();
  const startedMs = performance.now();
  await new Tuner(reporting, {
    ...quiet,
    metric: "loss",
    name: `reports, ${name}`,
    loggers,
    space: { count },
    stop: { training_iteration: count },
  }).fit();
  show({
    row: `${count} reports of one trial, ${name}`,
    driverCpuSeconds: Number((cpuSeconds() - cpuBefore).toFixed(2)),
    reportsPerSecond: Math.round(count / seconds(startedMs)),
  });
}

try {
  if (wanted("reports")) {
    await reports("no loggers", []);
    await reports("all loggers", LOGGERS);
  }
  if (wanted("trials") || wanted("restore")) {
    await trials("no loggers", []);
    const cpuBefore = cpuSeconds();
    const startedMs = performance.now();
    const restored = await Tuner.restore(join(storagePath, "trials, no loggers"), nothing, {
      space: { x: uniform(0, 1) },
      progress: false,
      htmlReport: false,
      loggers: [],
    }).fit();
    show({
      row: `restore of ${restored.length} trials`,
      driverCpuSeconds: Number((cpuSeconds() - cpuBefore).toFixed(2)),
      seconds: Number(seconds(startedMs).toFixed(2)),
    });
  }
  if (wanted("trials")) await trials("all loggers", LOGGERS);
} finally {
  rmSync(storagePath, { recursive: true, force: true });
  await shutdown();
}
