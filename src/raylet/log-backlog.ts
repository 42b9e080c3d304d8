/**
 * Lines of workers on their way to the head, which passes them on to drivers of other nodes. Pure: no clock, no stream.
 *
 * What the head has not answered for is kept, and said again when it is back; so a line may come twice where the head died
 * between passing it on and answering. Beyond a bound the oldest lines go, and how many is told in their stead.
 */
import type { LogBatch } from "../core/wire/gen/tsray/v1/head.ts";

/** Characters of lines that are kept. */
const CHARS_MAX = 4 * 1024 * 1024;

export class LogBacklog {
  readonly #charsMax: number;
  #waiting: LogBatch[] = [];
  /** Said, and not answered for, by the number of the report. */
  #said: { readonly beat: number; readonly batches: readonly LogBatch[] }[] = [];
  #chars = 0;
  /** Lines that were given up, by job. */
  readonly #dropped = new Map<string, { nodeId: string; lines: number }>();

  constructor(charsMax = CHARS_MAX) {
    this.#charsMax = charsMax;
  }

  push(batch: LogBatch): void {
    this.#waiting.push(batch);
    this.#chars += charsOf(batch);
    while (this.#chars > this.#charsMax) this.#giveUpOldest();
  }

  /** What goes with the report of that number. */
  take(beat: number): LogBatch[] {
    const notices = [...this.#dropped].map(noticeOf);
    for (const notice of notices) this.#chars += charsOf(notice);
    const batches = [...notices, ...this.#waiting];
    this.#dropped.clear();
    this.#waiting = [];
    if (batches.length > 0) this.#said.push({ beat, batches });
    return batches;
  }

  /** The head has answered the report of that number. */
  answered(beat: number): void {
    while ((this.#said[0]?.beat ?? Number.POSITIVE_INFINITY) <= beat) this.#forgetOldest();
  }

  /** The connection is gone: what was not answered for is said again. */
  broken(): void {
    this.#waiting = [...this.#said.flatMap(({ batches }) => batches), ...this.#waiting];
    this.#said = [];
  }

  /** What has been said has most likely arrived. */
  #giveUpOldest(): void {
    if (this.#said.length > 0) {
      this.#forgetOldest();
      return;
    }
    const batch = this.#waiting.shift() as LogBatch;
    this.#chars -= charsOf(batch);
    const { jobId, nodeId } = batch;
    const before = this.#dropped.get(jobId)?.lines ?? 0;
    this.#dropped.set(jobId, { nodeId, lines: before + batch.lines.length });
  }

  #forgetOldest(): void {
    for (const batch of this.#said.shift()?.batches ?? []) this.#chars -= charsOf(batch);
  }
}

function noticeOf([jobId, { nodeId, lines }]: [string, { nodeId: string; lines: number }]): LogBatch {
  const text = `${lines} lines of workers of node ${nodeId} were dropped: the head was away for too long`;
  return { jobId, nodeId, lines: [{ name: "tsray", pid: process.pid, isStderr: true, text }] };
}

function charsOf({ lines }: LogBatch): number {
  return lines.reduce((sum, { name, text }) => sum + name.length + text.length, 0);
}
