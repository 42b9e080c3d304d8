/** Spaces defined by running them: a function asks for its values one by one, and may let one decide what it asks next. */
import { InvalidOptionError } from "../errors.ts";
import { CategoryDomain, RangeDomain } from "./domain.ts";

export interface FloatOptions {
  /** Only `low`, `low + step`, ...: the bounds must be a multiple of it apart. */
  readonly step?: number;
  /** Evenly spread in the logarithm; not together with `step`. */
  readonly log?: boolean;
}

/** What a define-by-run space asks for its values. Both bounds are included. The same name gives the same value. */
export interface TrialSpace {
  suggestFloat(name: string, low: number, high: number, options?: FloatOptions): number;
  suggestInt(name: string, low: number, high: number, options?: FloatOptions): number;
  suggestCategorical<const T extends readonly unknown[]>(name: string, values: T): T[number];
}

/** A space as a function. What it returns is the config. */
export type SpaceFunction<C extends object = object> = (trial: TrialSpace) => C;

/** The trial object: turns each call into a domain and leaves the choice of a number in it to `ask`. */
export function trialSpace(
  ask: (name: string, domain: RangeDomain | CategoryDomain<unknown>) => number,
): TrialSpace {
  const range = (
    kind: string,
    name: string,
    low: number,
    high: number,
    options: FloatOptions,
    step?: number,
  ) => {
    const { log = false } = options;
    if (log && options.step !== undefined && options.step !== 1) {
      throw new InvalidOptionError(`${kind}("${name}"): log and step exclude each other`);
    }
    return ask(
      name,
      new RangeDomain({
        low,
        high,
        log,
        source: `${kind}("${name}", ${low}, ${high})`,
        ...(step === undefined ? {} : { step }),
      }),
    );
  };
  return {
    suggestFloat: (name, low, high, options = {}) =>
      range("suggestFloat", name, low, high, options, options.step),
    suggestInt(name, low, high, options = {}) {
      const step = options.step ?? 1;
      if (![low, high, step].every(Number.isInteger)) {
        throw new InvalidOptionError(
          `suggestInt("${name}", ${low}, ${high}): bounds and step must be whole numbers`,
        );
      }
      return range("suggestInt", name, low, high, options, step);
    },
    suggestCategorical(name, values) {
      const labels = values.map((value) => JSON.stringify(value) ?? String(value));
      const domain = new CategoryDomain<unknown>({
        branches: values,
        labels,
        source: `suggestCategorical("${name}", ...)`,
      });
      return values[ask(name, domain)];
    },
  };
}
