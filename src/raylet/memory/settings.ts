/**
 * What the memory monitor goes by, from the environment of the daemon:
 *
 *   TSRAY_MEMORY_THRESHOLD    share of the memory above which workers are ended (0.95)
 *   TSRAY_MEMORY_MONITOR_MS   how often it looks (250); 0 switches it off
 *   TSRAY_MEMORY_LIMIT_BYTES  memory that this node's workers and its store may use together; default: no limit of their
 *                             own, the machine's memory or the control group's counts
 */
import { InvalidOptionError } from "../../core/base/errors.ts";

const THRESHOLD = 0.95;
const PERIOD_MS = 250;

export interface MemorySettings {
  readonly threshold: number;
  readonly periodMs: number;
  readonly limitBytes: number | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** @throws InvalidOptionError naming the variable and what it takes */
export function memorySettings(environment: Environment = process.env): MemorySettings {
  const read = (name: string, takes: string, ok: (n: number) => boolean): number | undefined => {
    const given = environment[name];
    if (given === undefined || given === "") return undefined;
    const number = Number(given);
    if (!ok(number)) throw new InvalidOptionError(`${name} must be ${takes}, got "${given}"`);
    return number;
  };
  const isWhole = (min: number) => (n: number) => Number.isSafeInteger(n) && n >= min;
  return {
    threshold:
      read("TSRAY_MEMORY_THRESHOLD", "a number above 0 and at most 1", (n) => n > 0 && n <= 1) ?? THRESHOLD,
    periodMs:
      read("TSRAY_MEMORY_MONITOR_MS", "a whole number of milliseconds, or 0", isWhole(0)) ?? PERIOD_MS,
    limitBytes: read("TSRAY_MEMORY_LIMIT_BYTES", "a whole number of bytes, 1 or more", isWhole(1)),
  };
}
