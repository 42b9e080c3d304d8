/** What workers print, on the driver's terminal: with a prefix, and lines that many workers print folded into one. */
import type { JobNotice } from "../core/rpc/messages.ts";

type Line = NonNullable<JobNotice["lines"]>[number];

const FOLD_MS = 5000;
const FOLDED_LINES_MAX = 1000;

interface Folded {
  readonly line: Line;
  readonly sources: Set<string>;
  repeats: number;
  readonly atMs: number;
}

export class DriverOutput {
  readonly #recent = new Map<string, Folded>();
  #timer: NodeJS.Timeout | undefined;

  show(notice: JobNotice): void {
    for (const line of notice.lines ?? []) this.#line(line);
    if (notice.warning !== undefined) warn(notice.warning);
  }

  /** Prints what is held back. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const folded of this.#recent.values()) this.#report(folded);
    this.#recent.clear();
  }

  #line(line: Line): void {
    const [, pid, isStderr, text, nodeId] = line;
    const source = `${nodeId}/${pid}`;
    const key = `${isStderr}|${text}`;
    const seen = this.#recent.get(key);
    // Only what other processes print too is folded: a loop that prints equal lines in one process means it.
    if (seen === undefined) {
      if (this.#recent.size >= FOLDED_LINES_MAX) this.flush();
      this.#recent.set(key, { line, sources: new Set([source]), repeats: 0, atMs: performance.now() });
      print(line, "");
    } else if (seen.sources.size === 1 && seen.sources.has(source)) print(line, "");
    else {
      seen.sources.add(source);
      seen.repeats += 1;
    }
    if (this.#timer === undefined) {
      this.#timer = setTimeout(() => this.#age(), FOLD_MS);
      this.#timer.unref();
    }
  }

  #age(): void {
    this.#timer = undefined;
    const nowMs = performance.now();
    for (const [key, folded] of this.#recent) {
      if (nowMs - folded.atMs < FOLD_MS) continue;
      this.#report(folded);
      this.#recent.delete(key);
    }
    if (this.#recent.size > 0) {
      this.#timer = setTimeout(() => this.#age(), FOLD_MS);
      this.#timer.unref();
    }
  }

  #report({ line, repeats }: Folded): void {
    if (repeats > 0) print(line, ` [repeated ${repeats}x across the cluster]`);
  }
}

function print([name, pid, isStderr, text]: Line, suffix: string): void {
  const stream = isStderr ? process.stderr : process.stdout;
  const prefix = `(${name} pid=${pid})`;
  stream.write(
    `${stream.isTTY && process.env.NO_COLOR === undefined ? `\u001b[36m${prefix}\u001b[0m` : prefix} ${text}${suffix}\n`,
  );
}

export function warn(line: string): void {
  process.stderr.write(`tsray: ${line}\n`);
}
