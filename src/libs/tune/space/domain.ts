/**
 * Domains: the sets a parameter's value is drawn from, and how each maps to the unit interval, where searchers work.
 * Making one checks nothing, because a domain does not know its parameter's name; `defineSpace` asks `problem`.
 */
import { normalCdf, normalQuantile } from "../maths/normal.ts";
import type { Random } from "../random.ts";
import type { ConfigOf, Domain } from "./types.ts";

/** A domain of numbers. The unit interval holds it with its prior made uniform: a uniform draw of u is a draw of it. */
export interface NumericDomain extends Domain<number> {
  /** How many values it has; Infinity when it is not a finite lattice. */
  readonly count: number;
  /** Distance between values; undefined when continuous. */
  readonly step: number | undefined;
  /** All values of a finite lattice, in order. */
  values(): number[];
  contains(x: number): boolean;
  toUnit(x: number): number;
  /** The value at u, on the lattice if there is one. */
  fromUnit(u: number): number;
  /** The interval of u that gives x; both ends are the same point when continuous. */
  cell(x: number): readonly [number, number];
}

export interface RangeSpec {
  readonly low: number;
  /** Belongs to a lattice; a continuous range ends just before it. */
  readonly high: number;
  readonly log?: boolean;
  readonly step?: number;
  readonly source: string;
}

/** Numbers between two bounds, evenly spread or evenly in their logarithm; all, or every `step`th from `low` on. */
export class RangeDomain implements NumericDomain {
  readonly low: number;
  readonly high: number;
  readonly log: boolean;
  readonly step: number | undefined;
  readonly source: string;
  readonly count: number;
  readonly #from: number;
  readonly #width: number;

  constructor({ low, high, log = false, step, source }: RangeSpec) {
    this.low = low;
    this.high = high;
    this.log = log;
    this.step = step;
    this.source = source;
    this.count = step === undefined ? Number.POSITIVE_INFINITY : Math.round((high - low) / step) + 1;
    // Half a step more at both ends gives the first and last value of a lattice as much room as the others.
    const margin = (step ?? 0) / 2;
    this.#from = this.#warp(low - margin);
    this.#width = this.#warp(high + margin) - this.#from;
  }

  problem(): string | undefined {
    const { low, high, step, log } = this;
    if (!Number.isFinite(low) || !Number.isFinite(high)) return "its bounds must be finite numbers";
    if (step !== undefined && !(step > 0 && Number.isFinite(step)))
      return `its step must be above 0, got ${step}`;
    if (step === undefined ? low >= high : low > high) return "its lower bound must be below its upper bound";
    if (log && low <= 0) {
      return `a logarithmic range needs bounds above 0, got ${low} (bounds are the values, not their logarithms)`;
    }
    if (step !== undefined && !onLattice((high - low) / step))
      return `its bounds must be multiples of ${step} apart`;
    return undefined;
  }

  values(): number[] {
    const { low, step = 0 } = this;
    return Array.from({ length: this.count }, (_, i) => tidy(low + i * step));
  }

  contains(x: number): boolean {
    if (!(x >= this.low && x <= this.high)) return false;
    return this.step === undefined || onLattice((x - this.low) / this.step);
  }

  toUnit(x: number): number {
    return this.#width === 0 ? 0.5 : (this.#warp(x) - this.#from) / this.#width;
  }

  fromUnit(u: number): number {
    const warped = this.#from + u * this.#width;
    const x = this.log ? Math.exp(warped) : warped;
    if (this.step === undefined) return Math.min(Math.max(x, this.low), this.high);
    const index = Math.min(Math.max(Math.round((x - this.low) / this.step), 0), this.count - 1);
    return tidy(this.low + index * this.step);
  }

  cell(x: number): readonly [number, number] {
    const margin = (this.step ?? 0) / 2;
    return [this.toUnit(x - margin), this.toUnit(x + margin)];
  }

  #warp(x: number): number {
    return this.log ? Math.log(x) : x;
  }
}

/** Normally distributed numbers, without bounds; multiples of `step` if one is given. */
export class NormalDomain implements NumericDomain {
  readonly count = Number.POSITIVE_INFINITY;
  readonly mean: number;
  readonly sd: number;
  readonly step: number | undefined;
  readonly source: string;

  constructor(mean: number, sd: number, step: number | undefined, source: string) {
    this.mean = mean;
    this.sd = sd;
    this.step = step;
    this.source = source;
  }

  problem(): string | undefined {
    if (!Number.isFinite(this.mean)) return "its mean must be a finite number";
    if (!(this.sd > 0 && Number.isFinite(this.sd)))
      return `its standard deviation must be above 0, got ${this.sd}`;
    if (this.step !== undefined && !(this.step > 0 && Number.isFinite(this.step))) {
      return `its step must be above 0, got ${this.step}`;
    }
    return undefined;
  }

  values(): number[] {
    return [];
  }

  contains(x: number): boolean {
    return Number.isFinite(x) && (this.step === undefined || onLattice(x / this.step));
  }

  toUnit(x: number): number {
    return normalCdf((x - this.mean) / this.sd);
  }

  fromUnit(u: number): number {
    const x = this.mean + this.sd * normalQuantile(Math.min(Math.max(u, 1e-12), 1 - 1e-12));
    return this.step === undefined ? x : tidy(Math.round(x / this.step) * this.step);
  }

  cell(x: number): readonly [number, number] {
    const margin = (this.step ?? 0) / 2;
    return [this.toUnit(x - margin), this.toUnit(x + margin)];
  }
}

/** One of several values or sub-spaces. Its number, for a searcher, is the index. */
export class CategoryDomain<T> implements Domain<T> {
  /** What each index stands for: a constant, or a space of its own that is only searched under that index. */
  readonly branches: readonly unknown[];
  readonly labels: readonly string[];
  /** Every value is to be tried, rather than one drawn. */
  readonly grid: boolean;
  /** `switchOn`: the key that says in the config which branch it is. */
  readonly key: string | undefined;
  readonly source: string;

  constructor(spec: {
    branches: readonly unknown[];
    labels: readonly string[];
    grid?: boolean;
    key?: string;
    source: string;
  }) {
    this.branches = spec.branches;
    this.labels = spec.labels;
    this.grid = spec.grid ?? false;
    this.key = spec.key;
    this.source = spec.source;
  }

  get count(): number {
    return this.branches.length;
  }

  problem(): string | undefined {
    return this.branches.length === 0 ? "it needs at least one value" : undefined;
  }
}

/** Calculated from the rest of the config. Searchers do not see it. */
export class DerivedDomain<T> implements Domain<T> {
  readonly source = "sampleFrom(...)";
  readonly compute: (config: never, random: Random) => T;

  constructor(compute: (config: never, random: Random) => T) {
    this.compute = compute;
  }

  problem(): string | undefined {
    return typeof this.compute === "function" ? undefined : "it takes a function of the config";
  }
}

export function isDomain(value: unknown): value is Domain<unknown> {
  return (
    value instanceof RangeDomain ||
    value instanceof NormalDomain ||
    value instanceof CategoryDomain ||
    value instanceof DerivedDomain
  );
}

/** A number in [low, high). */
export function uniform(low: number, high: number): Domain<number> {
  return new RangeDomain({ low, high, source: `uniform(${low}, ${high})` });
}

/** A multiple of `q` in [low, high], all equally likely. The bounds must be multiples of `q`. */
export function quniform(low: number, high: number, q: number): Domain<number> {
  return quantised({ low, high, step: q, source: `quniform(${low}, ${high}, ${q})` });
}

/** A number in [low, high), evenly spread in its logarithm. `low` must be above 0. */
export function loguniform(low: number, high: number): Domain<number> {
  return new RangeDomain({ low, high, log: true, source: `loguniform(${low}, ${high})` });
}

/** A multiple of `q` in [low, high], small ones as likely as under `loguniform`. The bounds must be multiples of `q`. */
export function qloguniform(low: number, high: number, q: number): Domain<number> {
  return quantised({ low, high, step: q, log: true, source: `qloguniform(${low}, ${high}, ${q})` });
}

/** A normally distributed number. */
export function randn(mean = 0, sd = 1): Domain<number> {
  return new NormalDomain(mean, sd, undefined, `randn(${mean}, ${sd})`);
}

/** A normally distributed number, rounded to a multiple of `q`. */
export function qrandn(mean: number, sd: number, q: number): Domain<number> {
  return new NormalDomain(mean, sd, q, `qrandn(${mean}, ${sd}, ${q})`);
}

/** A whole number in [low, high): `high` is not among them. */
export function randint(low: number, high: number): Domain<number> {
  return whole({ low, high: high - 1, step: 1, source: `randint(${low}, ${high})` });
}

/** A multiple of `q` in [low, high]: `high` is among them, for every `q`. The bounds must be multiples of `q`. */
export function qrandint(low: number, high: number, q = 1): Domain<number> {
  return whole({ low, high, step: q, source: `qrandint(${low}, ${high}, ${q})` });
}

/** A whole number in [low, high), evenly spread in its logarithm: `high` is not among them. `low` must be above 0. */
export function lograndint(low: number, high: number): Domain<number> {
  return whole({ low, high: high - 1, step: 1, log: true, source: `lograndint(${low}, ${high})` });
}

/** A multiple of `q` in [low, high], evenly spread in its logarithm; `high` is among them. */
export function qlograndint(low: number, high: number, q = 1): Domain<number> {
  return whole({ low, high, step: q, log: true, source: `qlograndint(${low}, ${high}, ${q})` });
}

/**
 * One of these values. A value may itself be a domain or hold some: they are searched only in configs that take that
 * value, as with `switchOn`.
 */
export function choice<const T extends readonly unknown[]>(values: T): Domain<ConfigOf<T[number]>> {
  return new CategoryDomain({ branches: values, labels: values.map(label), source: "choice(...)" });
}

/** Each of these values in turn, in all combinations with the space's other grids. Other searchers take it as a choice. */
export function gridSearch<const T extends readonly unknown[]>(values: T): Domain<ConfigOf<T[number]>> {
  return new CategoryDomain({
    branches: values,
    labels: values.map(label),
    grid: true,
    source: "gridSearch(...)",
  });
}

/** The config of a `switchOn`: a union told apart by its key. */
export type SwitchConfig<K extends string, B extends Readonly<Record<string, object>>> = {
  [Name in keyof B & string]: Flat<{ [P in K]: Name } & ConfigOf<B[Name]>>;
}[keyof B & string];

type Flat<T> = { [P in keyof T]: T[P] };

/**
 * A conditional space: `key` takes the name of one branch, and only that branch's parameters are there beside it.
 * `switchOn("algo", { svm: { c: loguniform(0.1, 10) }, forest: { depth: randint(1, 9) } })` gives
 * `{ algo: "svm", c: 0.7 }` or `{ algo: "forest", depth: 4 }`.
 */
export function switchOn<const K extends string, B extends Readonly<Record<string, object>>>(
  key: K,
  branches: B,
): Domain<SwitchConfig<K, B>> {
  const labels = Object.keys(branches);
  return new CategoryDomain({
    branches: labels.map((name) => branches[name]),
    labels,
    key,
    source: `switchOn("${key}", ...)`,
  });
}

/**
 * A value calculated from the rest of the config, in whatever order they depend on each other. `random` is the run's own
 * generator: with it the value is random and yet the same for the same seed.
 * State the part of the config that is read as the parameter's type: `sampleFrom((config: { x: number }) => config.x * 2)`.
 */
export function sampleFrom<T, C = Readonly<Record<string, unknown>>>(
  compute: (config: C, random: Random) => T,
): Domain<T> {
  return new DerivedDomain<T>(compute as (config: never, random: Random) => T);
}

class WholeDomain extends RangeDomain {
  override problem(): string | undefined {
    const { low, step } = this;
    if (!Number.isInteger(step ?? 1) || !Number.isInteger(low) || !Number.isInteger(this.high)) {
      return "its bounds and step must be whole numbers";
    }
    if (this.high < low) return "no whole number lies within its bounds";
    return (
      super.problem() ??
      (onLattice(low / (step ?? 1)) ? undefined : `its bounds must be multiples of ${step}`)
    );
  }
}

class QuantisedDomain extends RangeDomain {
  override problem(): string | undefined {
    return (
      super.problem() ??
      (onLattice(this.low / this.step!) ? undefined : `its bounds must be multiples of ${this.step}`)
    );
  }
}

function whole(spec: RangeSpec): Domain<number> {
  return new WholeDomain(spec);
}

function quantised(spec: RangeSpec): Domain<number> {
  return new QuantisedDomain(spec);
}

function onLattice(steps: number): boolean {
  return Math.abs(steps - Math.round(steps)) < 1e-8 * Math.max(1, Math.abs(steps));
}

/** 0.1 + 0.2 as 0.3: lattice values without the dust of binary fractions. */
function tidy(x: number): number {
  return Number(x.toPrecision(15));
}

function label(value: unknown): string {
  if (isDomain(value)) return value.source;
  return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
}
