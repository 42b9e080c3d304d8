/**
 * How a row is measured, as Ray's `timeit` does it: warm up, then rounds of at least so many seconds, in steps of a tenth
 * of what the warm-up did. Knows nothing of clusters: other programs measure
 * with it too.
 */

/** Work whose rate is asked for. */
export interface RateWork {
  /** One operation. A promise is awaited; anything else is taken as done. */
  run(): unknown;
  /** What one operation counts for, in the row's unit: 1000 calls, 0.4 GB. */
  readonly amount: number;
  /** Throws when what `run` has done is wrong. Not timed; called after the warm-up and after each round. */
  check?(): unknown;
  /** Not timed. */
  close?(): unknown;
}

/** Work that times itself, because what it needs before each time must not count. */
export interface SampleWork {
  /** One number in the row's unit. Throws when the result is wrong. */
  sample(): Promise<number>;
  readonly samples: number;
  close?(): unknown;
}

export interface Row {
  readonly name: string;
  readonly unit: string;
  /** What exactly is timed. */
  readonly what: string;
  /** Takes minutes or gigabytes: left out unless asked for. */
  readonly heavy?: true;
  prepare(): Promise<RateWork | SampleWork> | RateWork | SampleWork;
}

export interface Effort {
  /** Pause before a row, in which what the row before has left behind comes to rest. */
  readonly settleSeconds: number;
  readonly warmUpSeconds: number;
  readonly rounds: number;
  readonly roundSeconds: number;
}

/** Ray's own, but for its pause of 10 s. */
const FULL: Effort = { settleSeconds: 2, warmUpSeconds: 1, rounds: 4, roundSeconds: 2 };
const QUICK: Effort = { settleSeconds: 0.5, warmUpSeconds: 0.3, rounds: 3, roundSeconds: 0.4 };

/** What a program that measures takes as argv[2], in JSON. */
export interface Plan {
  /** Default: all groups. */
  readonly group?: string | undefined;
  /** Rows whose name this regular expression finds, in whatever case. Default: all. */
  readonly only?: string | undefined;
  readonly quick?: boolean | undefined;
  readonly heavy?: boolean | undefined;
  readonly numCpus?: number | undefined;
  readonly objectStoreMemory?: number | undefined;
}

/** What it prints for each row, as JSON on a line. */
export type Line = Measured | { readonly name: string; readonly unit: string; readonly error: string };

export interface Measured {
  readonly name: string;
  readonly unit: string;
  /** Median of the rounds. */
  readonly value: number;
  readonly rounds: readonly number[];
}

export function readPlan(): Plan {
  return JSON.parse(process.argv[2] ?? "{}") as Plan;
}

/** The rows that a plan asks for. */
export function selectRows(groups: Readonly<Record<string, readonly Row[]>>, plan: Plan): readonly Row[] {
  const only = new RegExp(plan.only ?? "", "i");
  const rows = plan.group === undefined ? Object.values(groups).flat() : (groups[plan.group] ?? []);
  return rows.filter(({ name, heavy }) => only.test(name) && (heavy !== true || plan.heavy === true));
}

/** Measures rows and prints a line for each. A row that fails makes the exit code 1. */
export async function measureRows(rows: readonly Row[], { quick }: Plan): Promise<void> {
  for (const row of rows) {
    const line: Line = await measure(row, quick ? QUICK : FULL).catch((error: unknown) => {
      process.exitCode = 1;
      return {
        name: row.name,
        unit: row.unit,
        error: error instanceof Error ? error.message : String(error),
      };
    });
    process.stdout.write(`${JSON.stringify(line)}\n`);
  }
}

/** Runs one row. @throws what the row throws, a wrong result among it */
export async function measure(row: Row, effort: Effort): Promise<Measured> {
  const work = await row.prepare();
  await new Promise((resolve) => setTimeout(resolve, effort.settleSeconds * 1000));
  try {
    const rounds = await ("sample" in work ? takeSamples(work) : takeRounds(work, effort));
    return { name: row.name, unit: row.unit, value: median(rounds), rounds };
  } finally {
    await work.close?.();
  }
}

/** Once more than asked for, to warm up; work that is done only once is not. */
async function takeSamples(work: SampleWork): Promise<number[]> {
  const samples: number[] = [];
  if (work.samples > 1) await work.sample();
  while (samples.length < work.samples) samples.push(await work.sample());
  return samples;
}

async function takeRounds(work: RateWork, effort: Effort): Promise<number[]> {
  const warmUp = await repeat(work, 1, effort.warmUpSeconds);
  await work.check?.();
  const step = Math.floor(warmUp.count / 10) + 1;
  const rates: number[] = [];
  while (rates.length < effort.rounds) {
    const { count, seconds } = await repeat(work, step, effort.roundSeconds);
    rates.push((work.amount * count) / seconds);
    await work.check?.();
  }
  return rates;
}

async function repeat(
  work: RateWork,
  step: number,
  secondsMin: number,
): Promise<{ count: number; seconds: number }> {
  const startedMs = performance.now();
  let count = 0;
  let seconds = 0;
  while (seconds < secondsMin) {
    for (let i = 0; i < step; i++) {
      const doing = work.run();
      if (doing instanceof Promise) await doing;
    }
    count += step;
    // Synchronous work keeps the event loop from what it has put off, such as freeing: a turn of it belongs to the time.
    await new Promise((resolve) => setImmediate(resolve));
    seconds = (performance.now() - startedMs) / 1000;
  }
  return { count, seconds };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : (high + (sorted[middle - 1] ?? high)) / 2;
}
