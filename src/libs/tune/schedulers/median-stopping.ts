/**
 * The median stopping rule (Golovin et al., "Google Vizier", KDD 2017, section 3.2.2): a trial ends when its best value so
 * far is worse than the median of the running means that the other trials had at that time.
 */

import { median } from "./ranking.ts";
import {
  BaseScheduler,
  boolean,
  checkOptions,
  type Decision,
  notNegative,
  type TrialReport,
  text,
  wholeFrom,
} from "./scheduler.ts";

export interface MedianStoppingOptions {
  /** Result key that tells time (default "time_total_s": seconds). */
  readonly timeAttribute?: string;
  /** No trial is judged before this time, and no value before it counts (default 60). */
  readonly gracePeriod?: number;
  /** Judged only against at least as many other trials (default 3). */
  readonly minSamplesRequired?: number;
  /** While there are too few others, a trial gives way to waiting ones after running for as long (default 0). */
  readonly minTimeSlice?: number;
  /** false: a bad trial is paused, and goes on when nothing else is left (default true: it ends). */
  readonly hardStop?: boolean;
}

interface Curve {
  readonly times: number[];
  /** Sums of the values up to each time. */
  readonly sums: number[];
  best: number;
  lastPause: number;
}

/** Stops trials that do worse than the median of the others. */
export class MedianStopping extends BaseScheduler {
  readonly name = "MedianStopping";
  readonly #grace: number;
  readonly #samplesMin: number;
  readonly #slice: number;
  readonly #hard: boolean;
  readonly #curves = new Map<string, Curve>();
  #stopped = 0;

  constructor(options: MedianStoppingOptions = {}) {
    checkOptions<MedianStoppingOptions>("MedianStopping", options, {
      timeAttribute: text,
      gracePeriod: notNegative,
      minSamplesRequired: wholeFrom(1),
      minTimeSlice: notNegative,
      hardStop: boolean,
    });
    super(options.timeAttribute ?? "time_total_s");
    this.#grace = options.gracePeriod ?? 60;
    this.#samplesMin = options.minSamplesRequired ?? 3;
    this.#slice = options.minTimeSlice ?? 0;
    this.#hard = options.hardStop ?? true;
  }

  onReport({ trialId, time, value, othersWait }: TrialReport): Decision {
    const curve = this.#record(trialId, time, this.sign * value);
    if (time < this.#grace) return "continue";
    const means = this.#othersMeans(trialId, time);
    if (means.length < this.#samplesMin) {
      if (!othersWait || time - curve.lastPause <= this.#slice) return "continue";
      curve.lastPause = time;
      return "pause";
    }
    if (!(curve.best < median(means))) return "continue";
    this.#stopped += 1;
    return this.#hard ? "stop" : "pause";
  }

  override onComplete(trialId: string, last?: { readonly time: number; readonly value: number }): void {
    const curve = this.#curves.get(trialId);
    if (last !== undefined && last.time !== curve?.times.at(-1))
      this.#record(trialId, last.time, this.sign * last.value);
  }

  override onRemove(trialId: string): void {
    this.#curves.delete(trialId);
  }

  save(): unknown {
    return { curves: [...this.#curves], stopped: this.#stopped };
  }

  restore(state: unknown): void {
    const saved = state as { curves: [string, Curve][]; stopped: number };
    for (const [id, curve] of saved.curves) {
      this.#curves.set(id, {
        ...curve,
        best: curve.best ?? -Infinity,
        times: [...curve.times],
        sums: [...curve.sums],
      });
    }
    this.#stopped = saved.stopped;
  }

  override describe(): string {
    return `MedianStopping: ${this.#stopped} stopped`;
  }

  #record(trialId: string, time: number, value: number): Curve {
    let curve = this.#curves.get(trialId);
    if (curve === undefined) {
      curve = { times: [], sums: [], best: -Infinity, lastPause: time };
      this.#curves.set(trialId, curve);
    }
    if (Number.isNaN(value)) return curve;
    curve.best = Math.max(curve.best, value);
    if (time >= this.#grace) {
      curve.times.push(time);
      curve.sums.push((curve.sums.at(-1) ?? 0) + value);
    }
    return curve;
  }

  /** Means up to `time` of the trials that got at least as far. */
  #othersMeans(trialId: string, time: number): number[] {
    const means: number[] = [];
    for (const [id, { times, sums }] of this.#curves) {
      if (id === trialId || (times.at(-1) ?? -Infinity) < time) continue;
      let count = upperBound(times, time);
      if (count > 0) means.push((sums[--count] as number) / (count + 1));
    }
    return means;
  }
}

/** How many of the ascending `values` are at most `limit`. */
function upperBound(values: readonly number[], limit: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle] as number) <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
