/**
 * A space as searchers see it: a flat list of parameters, each a number (a category's is its index), and the way from
 * such numbers to a config and back. `defineSpace` checks what the user wrote and names the parameter that is wrong.
 */
import { inspect } from "node:util";
import { InvalidOptionError } from "../errors.ts";
import { Random } from "../random.ts";
import { CategoryDomain, DerivedDomain, isDomain, type NumericDomain, type RangeDomain } from "./domain.ts";
import { type SpaceFunction, trialSpace } from "./trial-space.ts";
import type { ConfigOf } from "./types.ts";

/** Resolved values, plain data. */
export type Config = Record<string, unknown>;

export interface Parameter {
  /** Its name: keys joined by "/", with the branch's name in between where it lies in a branch ("model/svm/c"). */
  readonly path: string;
  readonly domain: NumericDomain | CategoryDomain<unknown>;
  /** It exists only in configs in which that category has this index. */
  readonly condition?: { readonly path: string; readonly index: number };
}

/** A number per parameter that exists in the config. */
export type Values = ReadonlyMap<string, number>;

export interface Sample {
  readonly values: Values;
  readonly config: Config;
}

/** Picks a parameter's number. It is asked for parents before their children, and never for a branch not taken. */
export type Choose = (parameter: Parameter) => number;

export interface Space<C = Config> {
  /** Parents before children. Of a define-by-run space: those seen so far. */
  readonly parameters: readonly Parameter[];
  /** Defined by running a function. */
  readonly dynamic: boolean;
  /** Configs that a grid search has to visit: 1 without grids. */
  readonly gridSize: number;
  /** A config made of chosen numbers. `random` is for sampleFrom functions. */
  resolve(choose: Choose, random: Random): Sample & { readonly config: C };
  /** A config drawn from the prior. */
  sample(random: Random): C;
  /** The config that these numbers stand for. */
  build(values: Values, random?: Random): C;
  /**
   * Reads numbers from a config, or from a part of one: gives undefined for what it does not state.
   * Of a define-by-run space: an object of names and values.
   * @throws InvalidOptionError for a value outside its domain and, at once, for a key the space does not have
   */
  read(part: Readonly<Record<string, unknown>>): (parameter: Parameter) => number | undefined;
  /** @throws InvalidOptionError when the config lacks a parameter or has one outside its domain */
  validate(config: Readonly<Record<string, unknown>>): void;
}

/** The number drawn from a parameter's prior. */
export function drawPrior({ domain }: Parameter, random: Random): number {
  return domain instanceof CategoryDomain ? random.integer(domain.count) : domain.fromUnit(random.next());
}

/**
 * A space from an object of domains and constants, nested as the config shall be, from one `switchOn`, or from a
 * function that asks a trial for its values.
 * @throws InvalidOptionError naming the parameter that is wrong
 */
export function defineSpace<const S extends object>(space: S): Space<ConfigOf<S>> {
  if (typeof space === "function")
    return new DynamicSpace(space as unknown as SpaceFunction) as unknown as Space<ConfigOf<S>>;
  if (typeof space !== "object" || space === null || Array.isArray(space)) {
    throw new InvalidOptionError(
      `a search space is an object or a function, got ${inspect(space, { depth: 0 })}`,
    );
  }
  return new DeclaredSpace(space) as unknown as Space<ConfigOf<S>>;
}

type Node =
  | { readonly kind: "constant"; readonly value: unknown }
  | { readonly kind: "derived"; readonly domain: DerivedDomain<unknown> }
  | { readonly kind: "number"; readonly parameter: Parameter }
  | {
      readonly kind: "category";
      readonly parameter: Parameter;
      readonly domain: CategoryDomain<unknown>;
      readonly branches: readonly Node[];
    }
  | { readonly kind: "object"; readonly entries: readonly (readonly [string, Node])[] }
  | { readonly kind: "array"; readonly items: readonly Node[] };

class DeclaredSpace implements Space {
  readonly parameters: Parameter[] = [];
  readonly dynamic = false;
  readonly gridSize: number;
  readonly #root: Node;

  constructor(space: object) {
    this.#root = this.#compile(space, [], undefined);
    this.gridSize = gridSizeOf(this.#root);
    if (isDomain(space) && !(space instanceof CategoryDomain && space.key !== undefined)) {
      throw new InvalidOptionError(`a search space is an object of parameters, got ${space.source} alone`);
    }
    const seen = new Set<string>();
    for (const { path } of this.parameters) {
      if (seen.has(path)) throw new InvalidOptionError(`two parameters are called "${path}": rename one`);
      seen.add(path);
    }
  }

  resolve(choose: Choose, random: Random): Sample {
    const values = new Map<string, number>();
    const config = assemble(
      this.#root,
      (parameter) => {
        const value = choose(parameter);
        values.set(parameter.path, value);
        return value;
      },
      random,
    );
    return { values, config };
  }

  sample(random: Random): Config {
    return this.resolve((parameter) => drawPrior(parameter, random), random).config;
  }

  build(values: Values, random = new Random(0)): Config {
    return assemble(
      this.#root,
      ({ path }) => {
        const value = values.get(path);
        if (value === undefined) throw new InvalidOptionError(`parameter "${path}" has no value`);
        return value;
      },
      random,
    );
  }

  read(part: Readonly<Record<string, unknown>>): (parameter: Parameter) => number | undefined {
    const numbers = new Map<string, number>();
    readNode(this.#root, part, [], numbers);
    return ({ path }) => numbers.get(path);
  }

  validate(config: Readonly<Record<string, unknown>>): void {
    const read = this.read(config);
    this.resolve((parameter) => {
      const value = read(parameter);
      if (value === undefined) throw new InvalidOptionError(`the config lacks parameter "${parameter.path}"`);
      return value;
    }, new Random(0));
  }

  #compile(value: unknown, keys: readonly string[], condition: Parameter["condition"]): Node {
    const path = keys.join("/");
    if (isDomain(value)) return this.#compileDomain(value, keys, condition);
    if (typeof value === "function") {
      throw new InvalidOptionError(
        `parameter "${path}" is a function: wrap it in sampleFrom() if it shall calculate the value`,
      );
    }
    if (Array.isArray(value)) {
      return {
        kind: "array",
        items: value.map((item, i) => this.#compile(item, [...keys, String(i)], condition)),
      };
    }
    if (!isPlainObject(value)) return { kind: "constant", value };
    const entries = Object.entries(value).map(
      ([key, item]) => [key, this.#compile(item, [...keys, key], condition)] as const,
    );
    return { kind: "object", entries };
  }

  #compileDomain(domain: unknown, keys: readonly string[], condition: Parameter["condition"]): Node {
    const path = keys.join("/");
    const checked = domain as RangeDomain | CategoryDomain<unknown> | DerivedDomain<unknown>;
    const problem = checked.problem();
    if (problem !== undefined) throw invalid(path, checked.source, problem);
    if (checked instanceof DerivedDomain) return { kind: "derived", domain: checked };
    const own =
      checked instanceof CategoryDomain && checked.key !== undefined ? [...keys, checked.key] : keys;
    const parameter: Parameter = {
      path: own.join("/"),
      domain: checked,
      ...(condition === undefined ? {} : { condition }),
    };
    this.parameters.push(parameter);
    if (!(checked instanceof CategoryDomain)) return { kind: "number", parameter };
    const branches = checked.branches.map((branch, index) => {
      if (checked.key !== undefined && (!isPlainObject(branch) || checked.key in branch)) {
        throw invalid(
          parameter.path,
          checked.source,
          `branch "${checked.labels[index]}" must be an object without the key "${checked.key}"`,
        );
      }
      const name = checked.key === undefined ? String(index) : (checked.labels[index] as string);
      return this.#compile(branch, [...keys, name], { path: parameter.path, index });
    });
    return { kind: "category", parameter, domain: checked, branches };
  }
}

/** Parameters are whatever the function asked for so far. */
class DynamicSpace implements Space {
  readonly dynamic = true;
  readonly gridSize = 1;
  readonly #define: SpaceFunction;
  readonly #seen = new Map<string, Parameter>();

  constructor(define: SpaceFunction) {
    this.#define = define;
  }

  get parameters(): readonly Parameter[] {
    return [...this.#seen.values()];
  }

  resolve(choose: Choose): Sample {
    const values = new Map<string, number>();
    const named: Config = {};
    const domains = new Map<string, Parameter["domain"]>();
    const trial = trialSpace((name, domain) => {
      const problem = domain.problem();
      if (problem !== undefined) throw invalid(name, domain.source, problem);
      const before = domains.get(name);
      if (before !== undefined && !sameDomain(before, domain)) {
        throw invalid(name, domain.source, `this trial has asked for it as ${before.source} before`);
      }
      const known = values.get(name);
      if (known !== undefined) return known;
      const parameter: Parameter = { path: name, domain };
      const last = this.#seen.get(name)?.domain;
      if (domain instanceof CategoryDomain && last !== undefined && !sameDomain(last, domain)) {
        throw invalid(name, domain.source, "a category keeps the same values in every trial");
      }
      domains.set(name, domain);
      this.#seen.set(name, parameter);
      const value = choose(parameter);
      values.set(name, value);
      named[name] = domain instanceof CategoryDomain ? domain.branches[value] : value;
      return value;
    });
    const config: unknown = this.#define(trial);
    if (config !== undefined && !isPlainObject(config)) {
      throw new InvalidOptionError(
        `the space's function must return an object, got ${inspect(config, { depth: 0 })}`,
      );
    }
    return { values, config: config === undefined ? named : (config as Config) };
  }

  sample(random: Random): Config {
    return this.resolve((parameter) => drawPrior(parameter, random)).config;
  }

  build(values: Values): Config {
    return this.resolve(({ path }) => {
      const value = values.get(path);
      if (value === undefined) throw new InvalidOptionError(`parameter "${path}" has no value`);
      return value;
    }).config;
  }

  read(part: Readonly<Record<string, unknown>>): (parameter: Parameter) => number | undefined {
    return ({ path, domain }) => (path in part ? numberOf(path, domain, part[path]) : undefined);
  }

  validate(config: Readonly<Record<string, unknown>>): void {
    if (!isPlainObject(config)) throw new InvalidOptionError(`a config is an object, got ${inspect(config)}`);
  }
}

/** Objects and arrays first, calculated values last, when what they read is there. */
function assemble(root: Node, choose: Choose, random: Random): Config {
  const pending: { holder: object; key: string | number; path: string }[] = [];
  const waiting = new WeakMap<object, Map<string, Pending>>();
  const place = (node: Node, holder: object, key: string | number, path: string): void => {
    if (node.kind === "derived") {
      const entries = waiting.get(holder) ?? new Map<string, Pending>();
      entries.set(String(key), { domain: node.domain, path, running: false });
      waiting.set(holder, entries);
      pending.push({ holder, key, path });
      (holder as Config)[key] = undefined;
    } else {
      (holder as Config)[key] = make(node, path, holder, key);
    }
  };
  const make = (
    node: Exclude<Node, { kind: "derived" }>,
    path: string,
    holder: object,
    at: string | number,
  ): unknown => {
    const below = (key: string | number) => (path === "" ? String(key) : `${path}/${key}`);
    switch (node.kind) {
      case "constant":
        return node.value;
      case "number":
        return choose(node.parameter);
      case "object": {
        const made: Config = {};
        for (const [key, child] of node.entries) place(child, made, key, below(key));
        return made;
      }
      case "array": {
        const made: unknown[] = [];
        for (const [i, child] of node.items.entries()) place(child, made, i, below(i));
        return made;
      }
      case "category": {
        const index = choose(node.parameter);
        const branch = node.branches[index] as Node;
        const { key } = node.domain;
        if (key === undefined) {
          place(branch, holder, at, path);
          return (holder as Config)[at];
        }
        const made: Config = { [key]: node.domain.labels[index] };
        for (const [name, child] of branch.kind === "object" ? branch.entries : [])
          place(child, made, name, below(name));
        return made;
      }
    }
  };
  const holder: { config?: Config } = {};
  place(root, holder, "config", "");
  const config = holder.config as Config;
  const settle = (owner: object, key: string): void => {
    const entry = waiting.get(owner)?.get(key);
    if (entry === undefined) return;
    if (entry.running) {
      throw new InvalidOptionError(`\`${entry.path}\` recursively depends on itself through sampleFrom()`);
    }
    entry.running = true;
    const value = entry.domain.compute(view(config) as never, random);
    waiting.get(owner)?.delete(key);
    (owner as Config)[key] = value;
  };
  /** The config as a sampleFrom function sees it: read-only, and calculating what it reads on the way. */
  const view = (target: object): object =>
    new Proxy(target, {
      get(owner, key) {
        if (typeof key === "string") settle(owner, key);
        const value: unknown = Reflect.get(owner, key);
        return isPlainObject(value) || Array.isArray(value) ? view(value) : value;
      },
      set(_owner, key) {
        throw new InvalidOptionError(
          `sampleFrom() functions read the config; this one sets "${String(key)}"`,
        );
      },
    });
  for (const { holder: owner, key } of pending) settle(owner, String(key));
  return config;
}

interface Pending {
  readonly domain: DerivedDomain<unknown>;
  readonly path: string;
  running: boolean;
}

function readNode(node: Node, value: unknown, keys: readonly string[], numbers: Map<string, number>): void {
  if (value === undefined) return;
  const path = keys.join("/");
  switch (node.kind) {
    case "constant":
    case "derived":
      return;
    case "number":
      numbers.set(node.parameter.path, numberOf(node.parameter.path, node.parameter.domain, value));
      return;
    case "array":
      if (!Array.isArray(value))
        throw new InvalidOptionError(`"${path}" must be an array, got ${inspect(value)}`);
      for (const [i, item] of node.items.entries()) readNode(item, value[i], [...keys, String(i)], numbers);
      return;
    case "object":
      readEntries(node.entries, value, keys, numbers);
      return;
    case "category":
      readCategory(node, value, keys, numbers);
  }
}

function readEntries(
  entries: readonly (readonly [string, Node])[],
  value: unknown,
  keys: readonly string[],
  numbers: Map<string, number>,
  besides?: string,
): void {
  const path = keys.join("/");
  if (!isPlainObject(value))
    throw new InvalidOptionError(`"${path}" must be an object, got ${inspect(value)}`);
  const known = new Map(entries);
  for (const [key, item] of Object.entries(value)) {
    if (key === besides) continue;
    const child = known.get(key);
    if (child === undefined) {
      const all = [...known.keys(), ...(besides === undefined ? [] : [besides])]
        .map((name) => `"${name}"`)
        .join(", ");
      throw new InvalidOptionError(
        `the space has no parameter "${[...keys, key].join("/")}"; here it has ${all}`,
      );
    }
    readNode(child, item, [...keys, key], numbers);
  }
}

function readCategory(
  node: Extract<Node, { kind: "category" }>,
  value: unknown,
  keys: readonly string[],
  numbers: Map<string, number>,
): void {
  const { parameter, domain, branches } = node;
  if (domain.key !== undefined) {
    if (!isPlainObject(value))
      throw new InvalidOptionError(`"${keys.join("/")}" must be an object, got ${inspect(value)}`);
    const index = domain.labels.indexOf(String(value[domain.key]));
    if (index < 0) throw outside(parameter.path, value[domain.key], domain);
    numbers.set(parameter.path, index);
    const branch = branches[index] as Node;
    readEntries(
      branch.kind === "object" ? branch.entries : [],
      value,
      [...keys, domain.labels[index] as string],
      numbers,
      domain.key,
    );
    return;
  }
  for (const [index, branch] of branches.entries()) {
    const below = new Map<string, number>();
    if (!holds(branch, value, below)) continue;
    numbers.set(parameter.path, index);
    for (const [path, x] of below) numbers.set(path, x);
    return;
  }
  throw outside(parameter.path, value, domain);
}

/** Whether a value is one that this branch can give; constants are compared, the rest is read. */
function holds(branch: Node, value: unknown, numbers: Map<string, number>): boolean {
  if (branch.kind === "derived") return true;
  if (branch.kind === "constant") return sameData(branch.value, value);
  try {
    readNode(branch, value, [], numbers);
  } catch {
    return false;
  }
  return sameShape(branch, value);
}

function sameShape(node: Node, value: unknown): boolean {
  if (node.kind === "constant") return sameData(node.value, value);
  if (node.kind === "array") {
    return (
      Array.isArray(value) &&
      value.length === node.items.length &&
      node.items.every((n, i) => sameShape(n, value[i]))
    );
  }
  if (node.kind === "object") {
    return isPlainObject(value) && node.entries.every(([key, child]) => sameShape(child, value[key]));
  }
  return true;
}

function sameData(a: unknown, b: unknown): boolean {
  return Object.is(a, b) || (typeof a === "object" && JSON.stringify(a) === JSON.stringify(b));
}

/** A parameter's number for a value that a user gave. */
function numberOf(path: string, domain: Parameter["domain"], value: unknown): number {
  if (domain instanceof CategoryDomain) {
    const index = domain.branches.findIndex((branch) => sameData(branch, value));
    if (index < 0) throw outside(path, value, domain);
    return index;
  }
  if (typeof value !== "number" || !domain.contains(value)) throw outside(path, value, domain);
  return value;
}

function sameDomain(a: Parameter["domain"], b: Parameter["domain"]): boolean {
  if (a instanceof CategoryDomain && b instanceof CategoryDomain)
    return a.labels.join("\n") === b.labels.join("\n");
  if (a instanceof CategoryDomain || b instanceof CategoryDomain) return false;
  return a.constructor === b.constructor && a.source === b.source && a.step === b.step;
}

/** Configs of the product of all grids; a choice that leads to a grid is part of it. */
function gridSizeOf(node: Node): number {
  switch (node.kind) {
    case "category": {
      const sizes = node.branches.map(gridSizeOf);
      const expanded = node.domain.grid || sizes.some((size) => size > 1);
      return expanded ? sizes.reduce((sum, size) => sum + size, 0) : 1;
    }
    case "object":
      return node.entries.reduce((product, [, child]) => product * gridSizeOf(child), 1);
    case "array":
      return node.items.reduce((product, child) => product * gridSizeOf(child), 1);
    default:
      return 1;
  }
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function invalid(path: string, source: string, problem: string): InvalidOptionError {
  return new InvalidOptionError(`parameter "${path}": ${source} is not valid: ${problem}`);
}

function outside(path: string, value: unknown, domain: Parameter["domain"]): InvalidOptionError {
  const allowed =
    domain instanceof CategoryDomain ? `one of ${domain.labels.join(", ")}` : `within ${domain.source}`;
  return new InvalidOptionError(`parameter "${path}" must be ${allowed}, got ${inspect(value)}`);
}
