// Which hyperparameters read handwritten digits best? A random search, each configuration a task of its own.
//
//   npx tsx examples/tune-digits/main.ts [--quick]

import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { type ActorHandle, get, init, type ObjectRef, put, remote, shutdown, wait } from "tsray";
import { Classifier } from "./classifier.ts";
import { type Digits, loadDigits, type Split, splitDigits } from "./digits.ts";
import { Display } from "./display.ts";
import type { Trial, TrialProgress, TrialResult } from "./trials.ts";
import { byAccuracy, describe, percent, sampleTrials } from "./trials.ts";

/** Collects what the trials report, from whichever worker they run on. */
@remote()
class Board {
  readonly #rows = new Map<number, TrialProgress>();
  readonly #results: TrialResult[] = [];

  progress(trial: Trial, epoch: number, accuracy: number): void {
    if (!this.#rows.get(trial.id)?.done) this.#rows.set(trial.id, { ...trial, epoch, accuracy, done: false });
  }
  report(result: TrialResult): void {
    this.#results.push(result);
    this.#rows.set(result.id, { ...result, epoch: result.epochs, done: true });
  }
  table(): TrialProgress[] {
    return [...this.#rows.values()];
  }
  best(): TrialResult {
    return this.#results.toSorted(byAccuracy)[0]!;
  }
}

/** One trial: trains on the training digits, scores on the validation digits, tells the board after every epoch. */
async function trainTrial(digits: Digits, split: Split, trial: Trial, board: ActorHandle<Board>) {
  const classifier = new Classifier(trial.hyper, trial.id);
  let loss = 0;
  let accuracy = 0;
  for (let epoch = 0; epoch < trial.epochs; epoch++) {
    loss = classifier.trainEpoch(digits, split.train, 1 - epoch / trial.epochs);
    accuracy = classifier.accuracy(digits, split.validation);
    board.progress.remote(trial, epoch + 1, accuracy);
    await setImmediate(); // lets the report leave before the next epoch takes the thread again
  }
  return { ...trial, loss, accuracy } satisfies TrialResult;
}

/** The chosen configuration, trained again on all but the test digits, and scored on those. */
function testTrial(digits: Digits, split: Split, trial: Trial): number {
  const classifier = new Classifier(trial.hyper, trial.id);
  const rows = { from: split.train.from, to: split.validation.to };
  for (let epoch = 0; epoch < trial.epochs; epoch++) {
    classifier.trainEpoch(digits, rows, 1 - epoch / trial.epochs);
  }
  return classifier.accuracy(digits, split.test);
}

const trainOne = remote(trainTrial);
const testOne = remote(testTrial);

/** One process that trains whatever it is asked to, one trial after the other: what the search is compared with. */
const SingleWorker = remote(
  class SingleWorker {
    train(digits: Digits, split: Split, trial: Trial, board: ActorHandle<Board>) {
      return trainTrial(digits, split, trial, board);
    }
  },
);

await init(); // workers import this file too, but go no further than here

const quick = process.argv.includes("--quick") || process.env.TSRAY_EXAMPLE_QUICK === "1";
const trials = quick ? sampleTrials(6, 3) : sampleTrials(20, 6);
const accuracyFloor = quick ? 0.8 : 0.93;

const digits = loadDigits();
const split = splitDigits(digits, quick ? 0.3 : 1);
const digitsRef = put(digits); // 31 MB, written once; each worker reads it in place
console.log(
  `${digits.labels.length} digits, ${trials.length} configurations of ${trials[0]!.epochs} epochs each`,
);

type Submit = (trial: Trial, board: ActorHandle<Board>) => ObjectRef<TrialResult>;

/** Runs every trial the way `submit` says, showing progress until the last one is done. */
async function search(title: string, submit: Submit) {
  const startedAt = performance.now();
  const board = remote(Board).remote();
  const display = new Display(title, trials.length);
  const refs = trials.map((trial) => submit(trial, board));
  let waiting = refs;
  while (waiting.length > 0) {
    const { ready, pending } = await wait(waiting, { numReturns: waiting.length, timeout: 250 });
    for (const result of ready) board.report.remote(result); // the result goes to the board, not through here
    display.show(await board.table.remote());
    waiting = pending;
  }
  const seconds = (performance.now() - startedAt) / 1000;
  return { seconds, results: await get(refs), best: await board.best.remote() };
}

const parallel = await search("all workers", (trial, board) =>
  trainOne.remote(digitsRef, split, trial, board),
);
const worker = SingleWorker.remote();
const serial = await search("one worker", (trial, board) =>
  worker.train.remote(digitsRef, split, trial, board),
);

const { best } = parallel;
const testAccuracy = await testOne.remote(digitsRef, split, best);
console.log(`
best configuration   #${best.id}  ${describe(best.hyper)}
validation accuracy  ${percent(best.accuracy)}
test accuracy        ${percent(testAccuracy)}  (trained again on training and validation digits)
all workers          ${parallel.seconds.toFixed(2)} s
one worker           ${serial.seconds.toFixed(2)} s  (the same ${trials.length} configurations)
speed-up             ${(serial.seconds / parallel.seconds).toFixed(2)}x`);

assert.deepEqual(parallel.results, serial.results, "where a trial runs does not change its result");
assert.deepEqual(best, parallel.results.toSorted(byAccuracy)[0], "the board saw every result");
assert.ok(testAccuracy >= accuracyFloor, `test accuracy ${percent(testAccuracy)} is below ${accuracyFloor}`);
await shutdown();
