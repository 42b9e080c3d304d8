// Live progress: on a terminal a table redrawn in place, anywhere else one line per finished trial.

import { byAccuracy, describe, percent, type TrialProgress } from "./trials.ts";

const BAR_WIDTH = 12;

export class Display {
  readonly #title: string;
  readonly #total: number;
  readonly #startedAt = performance.now();
  readonly #printed = new Set<number>();
  #linesDrawn = 0;

  constructor(title: string, total: number) {
    this.#title = title;
    this.#total = total;
  }

  show(rows: readonly TrialProgress[]): void {
    if (process.stdout.isTTY) this.#redraw(rows);
    else this.#printFinished(rows);
  }

  #redraw(rows: readonly TrialProgress[]): void {
    const { columns, rows: height } = process.stdout;
    const done = rows.filter((row) => row.done).length;
    const seconds = ((performance.now() - this.#startedAt) / 1000).toFixed(1);
    const lines = [
      `${this.#title}: ${done} of ${this.#total} configurations done, ${seconds} s`,
      ...[...rows].sort(byAccuracy).map((row) => `${bar(row)} ${line(row)}`),
    ];
    const visible = lines.slice(0, height - 1).map((text) => `${text.slice(0, columns - 1)}\x1b[K\n`);
    const back = this.#linesDrawn > 0 ? `\x1b[${this.#linesDrawn}A` : "";
    process.stdout.write(back + visible.join(""));
    this.#linesDrawn = visible.length;
  }

  #printFinished(rows: readonly TrialProgress[]): void {
    for (const row of rows) {
      if (!row.done || this.#printed.has(row.id)) continue;
      this.#printed.add(row.id);
      console.log(`${this.#title}: ${this.#printed.size} of ${this.#total}  ${line(row)}`);
    }
  }
}

function line(row: TrialProgress): string {
  return `#${String(row.id).padEnd(2)} ${percent(row.accuracy).padStart(7)}  ${describe(row.hyper)}`;
}

function bar({ epoch, epochs }: TrialProgress): string {
  const filled = Math.round((BAR_WIDTH * epoch) / epochs);
  return `[${"#".repeat(filled)}${".".repeat(BAR_WIDTH - filled)}]`;
}
