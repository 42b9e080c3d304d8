/** A virtual clock and a network over it, from one seed: what is sent arrives later, in order where a stream is meant. */
import { createHash, type Hash } from "node:crypto";

/** mulberry32: from 0 to below 1. */
export function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

interface Due {
  readonly atMs: number;
  readonly order: number;
  readonly act: () => void;
}

export class Clock {
  readonly random: () => number;
  readonly #trace: Hash = createHash("sha256");
  /** A binary heap, the earliest first. */
  readonly #due: Due[] = [];
  readonly #streams = new Map<string, number>();
  #order = 0;
  nowMs = 0;
  events = 0;
  /** The last things that happened, for the story of a failure. */
  readonly story: string[] = [];

  constructor(seed: number) {
    this.random = randomFrom(seed);
  }

  /** From `min` to below `max`. */
  between(min: number, max: number): number {
    return min + this.random() * (max - min);
  }

  chance(p: number): boolean {
    return this.random() < p;
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[Math.floor(this.random() * from.length)];
  }

  after(ms: number, act: () => void): void {
    this.#push({ atMs: this.nowMs + ms, order: this.#order++, act });
  }

  /** A message on a stream: later than the ones before it. */
  send(stream: string, act: () => void): void {
    const atMs = Math.max(this.nowMs + this.between(0.1, 20), (this.#streams.get(stream) ?? 0) + 0.001);
    this.#streams.set(stream, atMs);
    this.#push({ atMs, order: this.#order++, act });
  }

  note(what: string): void {
    const line = `${this.nowMs.toFixed(3)} ${what}`;
    this.#trace.update(line);
    this.story.push(line);
    if (this.story.length > 60) this.story.shift();
  }

  /** Runs what is due next. @returns false when nothing is, or the next is after `untilMs` */
  step(untilMs: number): boolean {
    const next = this.#due[0];
    if (next === undefined || next.atMs > untilMs) return false;
    this.#pop();
    this.nowMs = next.atMs;
    this.events += 1;
    next.act();
    return true;
  }

  /** Of everything that was noted. */
  hash(): string {
    return this.#trace.copy().digest("hex");
  }

  #push(due: Due): void {
    const heap = this.#due;
    let at = heap.push(due) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(heap[at] as Due, heap[parent] as Due)) break;
      [heap[at], heap[parent]] = [heap[parent] as Due, heap[at] as Due];
      at = parent;
    }
  }

  #pop(): void {
    const heap = this.#due;
    const last = heap.pop() as Due;
    if (heap.length === 0) return;
    heap[0] = last;
    for (let at = 0; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2])
        if (child < heap.length && isBefore(heap[child] as Due, heap[least] as Due)) least = child;
      if (least === at) return;
      [heap[at], heap[least]] = [heap[least] as Due, heap[at] as Due];
      at = least;
    }
  }
}

function isBefore(a: Due, b: Due): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
