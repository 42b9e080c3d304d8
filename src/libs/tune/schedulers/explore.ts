/**
 * How population based training changes a configuration: by what was declared for each key, a list (go to a neighbour), a
 * domain or a function (multiply, or draw anew), or an object of these.
 */
import { InvalidOptionError } from "../errors.ts";
import type { Random } from "../random.ts";
import type { Config } from "../search/searcher.ts";
import { CategoryDomain, DerivedDomain, isDomain, type NumericDomain } from "../space/domain.ts";
import type { Domain } from "../space/types.ts";
import { show } from "./scheduler.ts";

/**
 * What may change, by key of the configuration: an array of values in order, a domain of the search space, a function
 * that draws a value, or an object of the same for a nested part.
 */
export interface Mutations {
  readonly [key: string]: readonly unknown[] | Domain<unknown> | (() => unknown) | Mutations;
}

export interface ExploreOptions {
  /** Chance that a value is drawn anew instead of perturbed. */
  readonly resampleProbability: number;
  /** A number is multiplied by one of these. */
  readonly factors: readonly [number, number];
}

/** @throws InvalidOptionError naming the key that cannot be mutated so */
export function checkMutations(owner: string, mutations: Mutations, path = ""): void {
  for (const [key, mutation] of Object.entries(mutations as Record<string, unknown>)) {
    const at = path === "" ? key : `${path}.${key}`;
    if (mutation instanceof DerivedDomain)
      throw new InvalidOptionError(
        `${owner}: mutations.${at} cannot be sampleFrom(): give a function that draws a value`,
      );
    if (Array.isArray(mutation) ? mutation.length > 0 : typeof mutation === "function" || isDomain(mutation))
      continue;
    if (isPlain(mutation)) {
      checkMutations(owner, mutation as Mutations, at);
      continue;
    }
    throw new InvalidOptionError(
      `${owner}: mutations.${at} must be a non-empty array, a domain, a function or an object of these, got ${show(mutation)}`,
    );
  }
}

/** The configuration with values of mutated keys that it lacks drawn at random. */
export function fillMissing(config: Config, mutations: Mutations, random: Random): Config {
  const filled: Config = { ...config };
  for (const [key, mutation] of Object.entries(mutations)) {
    if (isNested(mutation)) filled[key] = fillMissing((filled[key] ?? {}) as Config, mutation, random);
    else if (filled[key] === undefined) filled[key] = draw(mutation, random);
  }
  return filled;
}

/** A changed copy of the configuration. */
export function explore(
  config: Config,
  mutations: Mutations,
  options: ExploreOptions,
  random: Random,
): Config {
  const changed: Config = { ...config };
  for (const [key, mutation] of Object.entries(mutations)) {
    changed[key] = isNested(mutation)
      ? explore((config[key] ?? {}) as Config, mutation, options, random)
      : mutate(config[key], mutation, options, random);
  }
  return changed;
}

function mutate(
  value: unknown,
  mutation: Exclude<Mutations[string], Mutations> | readonly unknown[],
  { resampleProbability, factors }: ExploreOptions,
  random: Random,
): unknown {
  const resamples = random.next() < resampleProbability;
  const values = valuesOf(mutation);
  if (values !== undefined) {
    const at = values.findIndex((each) => Object.is(each, value));
    if (resamples || at < 0) return random.choice(values);
    const next = random.next() < 0.5 ? at - 1 : at + 1;
    return values[Math.min(Math.max(next, 0), values.length - 1)];
  }
  if (resamples || typeof value !== "number") return draw(mutation, random);
  const product = value * (random.next() < 0.5 ? factors[0] : factors[1]);
  return isDomain(mutation) ? within(mutation as unknown as NumericDomain, product) : product;
}

/** The nearest value that the domain has. */
function within(domain: NumericDomain, value: number): number {
  if (domain.contains(value)) return value;
  return domain.fromUnit(Math.min(Math.max(domain.toUnit(value), 0), 1 - Number.EPSILON));
}

function draw(mutation: unknown, random: Random): unknown {
  const values = valuesOf(mutation);
  if (values !== undefined) return random.choice(values);
  if (typeof mutation === "function") return (mutation as () => unknown)();
  return (mutation as NumericDomain).fromUnit(random.next());
}

function valuesOf(mutation: unknown): readonly unknown[] | undefined {
  if (Array.isArray(mutation)) return mutation;
  return mutation instanceof CategoryDomain ? mutation.branches : undefined;
}

function isNested(mutation: unknown): mutation is Mutations {
  return isPlain(mutation) && !isDomain(mutation);
}

function isPlain(value: unknown): value is object {
  if (typeof value !== "object" || value === null) return false;
  const proto = Object.getPrototypeOf(value) as object | null;
  return proto === Object.prototype || proto === null;
}
