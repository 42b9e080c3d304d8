// What is tuned: one configuration's training, with a report and a checkpoint after every epoch.

import { remote } from "tsray";
import { Checkpoint, type ConfigOf, choice, getCheckpoint, loguniform, report } from "tsray/tune";
import { Classifier, type State } from "./classifier.ts";
import type { Digits, Rows, Split } from "./digits.ts";

/** What is searched. */
export const space = {
  learningRate: loguniform(0.01, 0.4),
  hiddenUnits: choice([16, 32, 48, 64]),
  l2: loguniform(1e-6, 1e-3),
  momentum: choice([0, 0.5, 0.9]),
  batchSize: choice([16, 32, 64, 128]),
};

export type Config = ConfigOf<typeof space>;

/** What all trials share. The digits lie in shared memory once, and every worker reads them in place. */
export interface Material {
  readonly digits: Digits;
  readonly split: Split;
  readonly epochs: number;
}

const SEED = 7;

/** Goes on from the trial's checkpoint, if it has one. */
export const train = remote(async function train(config: Config, { digits, split, epochs }: Material) {
  const classifier = new Classifier(config, SEED);
  const before = getCheckpoint()?.value<{ readonly epoch: number; readonly state: State }>();
  if (before !== undefined) classifier.load(before.state);
  for (let epoch = before?.epoch ?? 0; epoch < epochs; epoch++) {
    const loss = classifier.trainEpoch(digits, split.train, pace(epoch, epochs));
    const accuracy = classifier.accuracy(digits, split.validation);
    const checkpoint = Checkpoint.fromValue({ epoch: epoch + 1, state: classifier.save() });
    await report({ accuracy, loss }, { checkpoint });
  }
});

/** The chosen configuration, trained again on all but the test digits, and scored on those. */
export const test = remote(function test(config: Config, { digits, split, epochs }: Material): number {
  const classifier = new Classifier(config, SEED);
  const rows: Rows = { from: split.train.from, to: split.validation.to };
  for (let epoch = 0; epoch < epochs; epoch++) classifier.trainEpoch(digits, rows, pace(epoch, epochs));
  return classifier.accuracy(digits, split.test);
});

/** The learning rate falls to the end. */
function pace(epoch: number, epochs: number): number {
  return 1 - epoch / epochs;
}
