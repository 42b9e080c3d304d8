// The model: one hidden ReLU layer and a softmax, trained by mini-batch gradient descent with momentum.
// Knows nothing of tsray. Same seed, same data, same hyperparameters: the same weights to the last bit.

import { normal, type SeededRandom, seededRandom, shuffle } from "../random.ts";
import { CLASSES, type Digits, PIXELS_PER_DIGIT, type Rows } from "./digits.ts";

export interface Hyperparameters {
  readonly learningRate: number;
  readonly hiddenUnits: number;
  readonly l2: number;
  readonly momentum: number;
  readonly batchSize: number;
}

/** All that training changes: a checkpoint holds it. */
export interface State {
  readonly weights: readonly Float64Array[];
  readonly velocity: readonly Float64Array[];
  readonly random: number;
}

/** Weights with the gradient of the current batch and the momentum of all batches before it. */
interface Parameters {
  readonly weights: Float64Array;
  readonly gradient: Float64Array;
  readonly velocity: Float64Array;
}

export class Classifier {
  readonly #hyper: Hyperparameters;
  readonly #random: SeededRandom;
  readonly #inputWeights: Parameters; // row per pixel, column per hidden unit
  readonly #hiddenBias: Parameters;
  readonly #outputWeights: Parameters; // row per class, column per hidden unit
  readonly #outputBias: Parameters;
  // One digit's values on the way through the network.
  readonly #hidden: Float64Array;
  readonly #hiddenDelta: Float64Array;
  readonly #probabilities = new Float64Array(CLASSES);

  constructor(hyper: Hyperparameters, seed: number) {
    const { hiddenUnits } = hyper;
    this.#hyper = hyper;
    this.#random = seededRandom(seed);
    this.#inputWeights = this.#parameters(PIXELS_PER_DIGIT * hiddenUnits, Math.sqrt(2 / PIXELS_PER_DIGIT));
    this.#hiddenBias = this.#parameters(hiddenUnits, 0);
    this.#outputWeights = this.#parameters(CLASSES * hiddenUnits, Math.sqrt(2 / hiddenUnits));
    this.#outputBias = this.#parameters(CLASSES, 0);
    this.#hidden = new Float64Array(hiddenUnits);
    this.#hiddenDelta = new Float64Array(hiddenUnits);
  }

  save(): State {
    const all = this.#all();
    return {
      weights: all.map(({ weights }) => weights.slice()),
      velocity: all.map(({ velocity }) => velocity.slice()),
      random: this.#random.state,
    };
  }

  /** Goes on as the classifier that was saved. */
  load({ weights, velocity, random }: State): void {
    this.#all().forEach((parameters, i) => {
      parameters.weights.set(weights[i]!);
      parameters.velocity.set(velocity[i]!);
    });
    this.#random.state = random;
  }

  /** Goes once through `rows` in a random order, at `pace` times the learning rate; returns the mean cross-entropy on the way. */
  trainEpoch(digits: Digits, rows: Rows, pace = 1): number {
    const { batchSize } = this.#hyper;
    const order = shuffle(
      Uint32Array.from({ length: rows.to - rows.from }, (_, i) => rows.from + i),
      this.#random,
    );
    let loss = 0;
    for (let start = 0; start < order.length; start += batchSize) {
      const batch = order.subarray(start, start + batchSize);
      for (const row of batch) loss += this.#accumulateGradient(digits, row);
      this.#step(batch.length, pace);
    }
    return loss / order.length;
  }

  /** The share of `rows` whose most probable class is the true one. */
  accuracy(digits: Digits, rows: Rows): number {
    let correct = 0;
    for (let row = rows.from; row < rows.to; row++) {
      this.#forward(digits, row);
      const guess = this.#probabilities.indexOf(Math.max(...this.#probabilities));
      if (guess === digits.labels[row]) correct++;
    }
    return correct / (rows.to - rows.from);
  }

  #all(): Parameters[] {
    return [this.#inputWeights, this.#hiddenBias, this.#outputWeights, this.#outputBias];
  }

  #parameters(length: number, deviation: number): Parameters {
    const weights = new Float64Array(length);
    if (deviation > 0) for (let i = 0; i < length; i++) weights[i] = deviation * normal(this.#random);
    return { weights, gradient: new Float64Array(length), velocity: new Float64Array(length) };
  }

  #forward(digits: Digits, row: number): void {
    const { hiddenUnits } = this.#hyper;
    const { weights: inputWeights } = this.#inputWeights;
    const { weights: outputWeights } = this.#outputWeights;
    const { weights: outputBias } = this.#outputBias;
    const { pixels } = digits;
    const hidden = this.#hidden;
    const probabilities = this.#probabilities;
    const firstPixel = row * PIXELS_PER_DIGIT;

    hidden.set(this.#hiddenBias.weights);
    for (let pixel = 0; pixel < PIXELS_PER_DIGIT; pixel++) {
      const value = pixels[firstPixel + pixel]!;
      if (value === 0) continue; // four pixels of five are blank paper
      const at = pixel * hiddenUnits;
      for (let unit = 0; unit < hiddenUnits; unit++) hidden[unit]! += value * inputWeights[at + unit]!;
    }
    for (let unit = 0; unit < hiddenUnits; unit++) if (hidden[unit]! < 0) hidden[unit] = 0;

    let largest = -Infinity;
    for (let label = 0; label < CLASSES; label++) {
      const at = label * hiddenUnits;
      let score = outputBias[label]!;
      for (let unit = 0; unit < hiddenUnits; unit++) score += outputWeights[at + unit]! * hidden[unit]!;
      probabilities[label] = score;
      if (score > largest) largest = score;
    }
    let sum = 0;
    for (let label = 0; label < CLASSES; label++) {
      const power = Math.exp(probabilities[label]! - largest);
      probabilities[label] = power;
      sum += power;
    }
    for (let label = 0; label < CLASSES; label++) probabilities[label]! /= sum;
  }

  /** Adds one digit's gradient to that of its batch; returns the digit's cross-entropy. */
  #accumulateGradient(digits: Digits, row: number): number {
    this.#forward(digits, row);
    const { hiddenUnits } = this.#hyper;
    const { weights: outputWeights, gradient: outputGradient } = this.#outputWeights;
    const { gradient: inputGradient } = this.#inputWeights;
    const { gradient: outputBiasGradient } = this.#outputBias;
    const { gradient: hiddenBiasGradient } = this.#hiddenBias;
    const { pixels } = digits;
    const hidden = this.#hidden;
    const hiddenDelta = this.#hiddenDelta;
    const probabilities = this.#probabilities;
    const truth = digits.labels[row]!;
    const firstPixel = row * PIXELS_PER_DIGIT;

    hiddenDelta.fill(0);
    for (let label = 0; label < CLASSES; label++) {
      const delta = probabilities[label]! - (label === truth ? 1 : 0);
      const at = label * hiddenUnits;
      outputBiasGradient[label]! += delta;
      for (let unit = 0; unit < hiddenUnits; unit++) {
        outputGradient[at + unit]! += delta * hidden[unit]!;
        hiddenDelta[unit]! += delta * outputWeights[at + unit]!;
      }
    }
    for (let unit = 0; unit < hiddenUnits; unit++) {
      if (hidden[unit] === 0) hiddenDelta[unit] = 0; // ReLU passes nothing back where it was off
      hiddenBiasGradient[unit]! += hiddenDelta[unit]!;
    }
    for (let pixel = 0; pixel < PIXELS_PER_DIGIT; pixel++) {
      const value = pixels[firstPixel + pixel]!;
      if (value === 0) continue;
      const at = pixel * hiddenUnits;
      for (let unit = 0; unit < hiddenUnits; unit++) inputGradient[at + unit]! += value * hiddenDelta[unit]!;
    }
    return -Math.log(Math.max(probabilities[truth]!, 1e-12));
  }

  #step(batchLength: number, pace: number): void {
    const { momentum, l2 } = this.#hyper;
    const learningRate = pace * this.#hyper.learningRate;
    const rate = learningRate / batchLength;
    descend(this.#inputWeights, rate, momentum, learningRate * l2);
    descend(this.#outputWeights, rate, momentum, learningRate * l2);
    descend(this.#hiddenBias, rate, momentum, 0);
    descend(this.#outputBias, rate, momentum, 0);
  }
}

function descend(parameters: Parameters, rate: number, momentum: number, decay: number): void {
  const { weights, gradient, velocity } = parameters;
  for (let i = 0; i < weights.length; i++) {
    const move = momentum * velocity[i]! - rate * gradient[i]! - decay * weights[i]!;
    velocity[i] = move;
    weights[i]! += move;
    gradient[i] = 0;
  }
}
