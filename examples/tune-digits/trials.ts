// What is searched: which configurations are tried, what a trial tells about itself, and which result is the best.

import { seededRandom } from "../random.ts";
import type { Hyperparameters } from "./classifier.ts";

export interface Trial {
  readonly id: number;
  readonly epochs: number;
  readonly hyper: Hyperparameters;
}

export interface TrialResult extends Trial {
  readonly loss: number;
  readonly accuracy: number; // on the validation digits
}

/** A line of the results table: a trial, how far it is, and its latest validation accuracy. */
export interface TrialProgress extends Trial {
  readonly epoch: number;
  readonly accuracy: number;
  readonly done: boolean;
}

/** `count` configurations by random search, the same ones for the same seed. */
export function sampleTrials(count: number, epochs: number, seed = 7): Trial[] {
  const random = seededRandom(seed);
  const logUniform = (low: number, high: number) => low * (high / low) ** random();
  const choice = (...values: number[]) => values[Math.floor(random() * values.length)]!;
  return Array.from({ length: count }, (_, id) => ({
    id,
    epochs,
    hyper: {
      learningRate: logUniform(0.01, 0.4),
      hiddenUnits: choice(16, 32, 48, 64),
      l2: logUniform(1e-6, 1e-3),
      momentum: choice(0, 0.5, 0.9),
      batchSize: choice(16, 32, 64, 128),
    },
  }));
}

/** Highest validation accuracy first; ties go to the lower id, so the order does not depend on who finished first. */
export function byAccuracy(a: TrialProgress | TrialResult, b: TrialProgress | TrialResult): number {
  return b.accuracy - a.accuracy || a.id - b.id;
}

export function describe(hyper: Hyperparameters): string {
  const { learningRate, hiddenUnits, l2, momentum, batchSize } = hyper;
  return [
    `learningRate ${learningRate.toFixed(4)}`,
    `hidden ${String(hiddenUnits).padStart(2)}`,
    `l2 ${l2.toExponential(1)}`,
    `momentum ${momentum.toFixed(1)}`,
    `batch ${String(batchSize).padStart(3)}`,
  ].join("  ");
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(2)}%`;
}
