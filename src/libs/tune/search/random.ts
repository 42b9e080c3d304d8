/**
 * Random search, and with it every grid of the space: the searcher when none is chosen. Also Sobol points and the
 * exhaustive grid, which draw as blindly.
 */
import { InvalidOptionError } from "../errors.ts";
import { CategoryDomain } from "../space/domain.ts";
import { drawPrior, type Parameter, type Space } from "../space/space.ts";
import { HistorySearcher, type PointOptions, type Proposal } from "./history.ts";

export interface RandomOptions extends PointOptions {
  /** How often the space is sampled: with grids, how often the whole grid is gone through. Default: without end. */
  readonly numSamples?: number;
  /** Keep what is drawn at random the same over one pass of the grid. Default false. */
  readonly constantGridSearch?: boolean;
}

/**
 * Each config is drawn afresh; values under gridSearch() come in all combinations instead, the first parameter in the order
 * of names varying fastest. A point of `pointsToEvaluate` takes the place of one pass: it runs the part of the grid that
 * agrees with it.
 */
export class RandomSearcher extends HistorySearcher {
  readonly #options: RandomOptions;
  #axes: readonly Axis[] = [];
  #pass = 0;
  #cell = 0;
  /** Draws of this pass, when they are kept. */
  #kept = new Map<string, number>();

  constructor(options: RandomOptions = {}) {
    // Points are merged into passes here, not run one by one.
    super({});
    this.#options = options;
    const { numSamples } = options;
    if (numSamples !== undefined && numSamples !== -1 && !(Number.isInteger(numSamples) && numSamples > 0)) {
      throw new InvalidOptionError(
        `numSamples must be a whole number above 0, or -1 for no end, got ${numSamples}`,
      );
    }
  }

  protected override check(space: Space): void {
    this.#axes = gridAxes(space.parameters);
    for (const point of this.#options.pointsToEvaluate ?? []) space.read(point);
    if (this.#options.evaluatedRewards !== undefined) {
      throw new InvalidOptionError(
        "RandomSearcher learns nothing from results: evaluatedRewards has no use here",
      );
    }
  }

  protected propose(_trialId: string): Proposal | "exhausted" {
    const { numSamples = -1, constantGridSearch = false, pointsToEvaluate = [] } = this.#options;
    for (;;) {
      if (numSamples !== -1 && this.#pass >= numSamples) return "exhausted";
      const point = pointsToEvaluate[this.#pass];
      const preset = point === undefined ? () => undefined : this.space.read(point);
      const digits = nextCell(this.#axes, this.#cell, preset);
      if (digits === undefined) {
        this.#pass += 1;
        this.#cell = 0;
        this.#kept.clear();
        continue;
      }
      this.#cell = digits.next;
      return (parameter) => {
        const fixed = preset(parameter) ?? digits.at.get(parameter.path);
        if (fixed !== undefined || !constantGridSearch) return fixed;
        const { path } = parameter;
        if (!this.#kept.has(path)) this.#kept.set(path, drawPrior(parameter, this.random));
        return this.#kept.get(path);
      };
    }
  }

  protected override saveOwn(): unknown {
    return { pass: this.#pass, cell: this.#cell, kept: [...this.#kept] };
  }

  protected override restoreOwn(state: unknown): void {
    const saved = state as { pass: number; cell: number; kept: [string, number][] };
    this.#pass = saved.pass;
    this.#cell = saved.cell;
    this.#kept = new Map(saved.kept);
  }
}

export interface GridOptions {
  /** Visit the grid in random order. Default false. */
  readonly shuffle?: boolean;
}

/** Every config of the space once: grids, choices, switches and whole-number or quantised ranges in all combinations. */
export class GridSearcher extends HistorySearcher {
  readonly #options: GridOptions;
  #axes: readonly Axis[] = [];
  #cells: readonly number[] | undefined;
  #cell = 0;

  constructor(options: GridOptions = {}) {
    super();
    this.#options = options;
  }

  protected override check(space: Space): void {
    if (space.dynamic) throw new InvalidOptionError("a grid needs a declared space, got a function");
    for (const { path, domain } of space.parameters) {
      if (!Number.isFinite(domain.count)) {
        throw new InvalidOptionError(
          `a grid needs finitely many values, but parameter "${path}" is ${domain.source}; quantise it or use gridSearch()`,
        );
      }
    }
    this.#axes = sortAxes(space.parameters);
    if (this.#options.shuffle !== true) return;
    const total = cellCount(this.#axes);
    if (total > 1e6) {
      throw new InvalidOptionError(
        `shuffle lists the grid first, and ${total} configs are more than the 1000000 it takes`,
      );
    }
    this.#cells = this.random.shuffle([...new Array(total).keys()]);
  }

  protected propose(_trialId: string): Proposal | "exhausted" {
    for (;;) {
      if (this.#cell >= cellCount(this.#axes)) return "exhausted";
      const cell = this.#cells?.[this.#cell] ?? this.#cell;
      const digits = nextCell(this.#axes, cell, () => undefined);
      const skips = digits === undefined || digits.next !== cell + 1;
      if (this.#cells === undefined && digits === undefined) return "exhausted";
      this.#cell = this.#cells === undefined ? digits!.next : this.#cell + 1;
      // In shuffled order a cell that does not exist is passed over, not moved on from.
      if (this.#cells !== undefined && skips) continue;
      return ({ path }) => digits!.at.get(path);
    }
  }

  protected override saveOwn(): unknown {
    return { cell: this.#cell };
  }

  protected override restoreOwn(state: unknown): void {
    this.#cell = (state as { cell: number }).cell;
  }
}

/** Scrambled Sobol points: evenly spread, without the clumps and holes of random ones. */
export class SobolSearcher extends HistorySearcher {
  protected override check({ dynamic }: Space): void {
    if (dynamic) {
      throw new InvalidOptionError("Sobol points need a declared space, got a function; use RandomSearcher");
    }
  }

  protected propose(_trialId: string): Proposal {
    return this.spread();
  }
}

interface Axis {
  readonly parameter: Parameter;
  readonly values: readonly number[];
}

/** The parameters that a grid goes through: grids, and the switches and choices that lead to one. */
function gridAxes(parameters: readonly Parameter[]): readonly Axis[] {
  const wanted = new Set<string>();
  for (let i = parameters.length - 1; i >= 0; i--) {
    const { path, domain, condition } = parameters[i]!;
    if (domain instanceof CategoryDomain && (domain.grid || wanted.has(path))) {
      wanted.add(path);
      if (condition !== undefined) wanted.add(condition.path);
    }
  }
  return sortAxes(parameters.filter(({ path }) => wanted.has(path)));
}

function sortAxes(parameters: readonly Parameter[]): readonly Axis[] {
  return [...parameters]
    .sort((a, b) => (a.path < b.path ? -1 : 1))
    .map((parameter) => ({
      parameter,
      values:
        parameter.domain instanceof CategoryDomain
          ? [...parameter.domain.branches.keys()]
          : parameter.domain.values(),
    }));
}

function cellCount(axes: readonly Axis[]): number {
  return axes.reduce((product, { values }) => product * values.length, 1);
}

/**
 * The first cell from `from` on that exists and agrees with the preset, and where to go on. A cell in which a branch is not
 * taken exists once: where all parameters of that branch have their first value.
 */
function nextCell(
  axes: readonly Axis[],
  from: number,
  preset: Proposal,
): { at: Map<string, number>; next: number } | undefined {
  const total = cellCount(axes);
  for (let cell = from; cell < total; cell++) {
    const at = new Map<string, number>();
    const index = new Map<string, number>();
    let left = cell;
    for (const { parameter, values } of axes) {
      index.set(parameter.path, left % values.length);
      at.set(parameter.path, values[left % values.length]!);
      left = Math.floor(left / values.length);
    }
    const exists = axes.every(({ parameter }) => {
      const { path, condition } = parameter;
      const wanted = preset(parameter);
      if (wanted !== undefined && wanted !== at.get(path)) return false;
      return index.get(path) === 0 || isTaken(condition, at, axes);
    });
    if (exists) return { at, next: cell + 1 };
  }
  return undefined;
}

function isTaken(
  condition: Parameter["condition"],
  at: ReadonlyMap<string, number>,
  axes: readonly Axis[],
): boolean {
  if (condition === undefined) return true;
  if (at.get(condition.path) !== condition.index) return false;
  const parent = axes.find(({ parameter }) => parameter.path === condition.path);
  return isTaken(parent?.parameter.condition, at, axes);
}
