/**
 * NSGA-II: several objectives at once, by a population that keeps its non-dominated and least crowded members.
 *
 * Source: K. Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (2002). Operators and sizes are
 * those of Optuna's NSGAIISampler: uniform crossover, and a mutated parameter is drawn anew.
 */
import { InvalidOptionError } from "../errors.ts";
import { HistorySearcher, type PointOptions, type Proposal, type TrialRecord } from "./history.ts";
import { crowding, dominates, paretoFronts } from "./pareto.ts";

export interface NSGA2Options extends PointOptions {
  /** Members of a generation. Default 50. */
  readonly population?: number;
  /** Chance that a child takes after two parents rather than one. Default 0.9. */
  readonly crossoverProbability?: number;
  /** Chance, per parameter, that such a child takes it from the second parent. Default 0.5. */
  readonly swapProbability?: number;
  /** Chance, per parameter, that it is drawn anew. Default 1 / number of parameters. */
  readonly mutationProbability?: number;
}

export class NSGA2Searcher extends HistorySearcher {
  readonly #options: NSGA2Options;
  #parents: readonly TrialRecord[] = [];
  /** Trials that ended since the parents were chosen. */
  #children: TrialRecord[] = [];

  constructor(options: NSGA2Options = {}) {
    super(options);
    this.#options = options;
    const { population = 50 } = options;
    if (!(Number.isInteger(population) && population >= 2)) {
      throw new InvalidOptionError(`population must be a whole number from 2 on, got ${population}`);
    }
    for (const name of ["crossoverProbability", "swapProbability", "mutationProbability"] as const) {
      const chance = options[name];
      if (chance !== undefined && !(chance >= 0 && chance <= 1)) {
        throw new InvalidOptionError(`${name} must be from 0 to 1, got ${chance}`);
      }
    }
  }

  protected propose(_trialId: string): Proposal {
    if (this.#parents.length === 0) return () => undefined;
    const { crossoverProbability = 0.9, swapProbability = 0.5 } = this.#options;
    const first = this.#tournament();
    const second = this.random.next() < crossoverProbability ? this.#tournament(first) : first;
    const mutation = this.#options.mutationProbability ?? 1 / Math.max(1, first.values.size);
    return ({ path }) => {
      const swap = this.random.next() < swapProbability;
      const mutate = this.random.next() < mutation;
      if (mutate) return undefined;
      const [from, other] = swap ? [second, first] : [first, second];
      return from.values.get(path) ?? other.values.get(path);
    };
  }

  protected override learn(trial: TrialRecord): void {
    if (trial.state !== "done") return;
    this.#children.push(trial);
    const { population = 50 } = this.#options;
    if (this.#children.length < population) return;
    const all = [...this.#parents, ...this.#children];
    const points = all.map(({ results }) => results!);
    const kept: TrialRecord[] = [];
    for (const front of paretoFronts(points)) {
      const spread = crowding(points, front);
      const order = front.sort((a, b) => spread.get(b)! - spread.get(a)! || a - b);
      for (const i of order) if (kept.length < population) kept.push(all[i]!);
    }
    this.#parents = kept;
    this.#children = [];
  }

  protected override saveOwn(): unknown {
    const ids = (trials: readonly TrialRecord[]) => trials.map(({ id }) => id);
    return { parents: ids(this.#parents), children: ids(this.#children) };
  }

  protected override restoreOwn(state: unknown): void {
    const saved = state as { parents: readonly string[]; children: readonly string[] };
    const byId = new Map(this.trials.map((trial) => [trial.id, trial]));
    this.#parents = saved.parents.map((id) => byId.get(id)!);
    this.#children = saved.children.map((id) => byId.get(id)!);
  }

  /** The better of two parents, neither being `other`. */
  #tournament(other?: TrialRecord): TrialRecord {
    const rivals = this.#parents.filter((parent) => parent !== other);
    const a = this.random.choice(rivals);
    const b = this.random.choice(rivals);
    return dominates(b.results!, a.results!) ? b : a;
  }
}
