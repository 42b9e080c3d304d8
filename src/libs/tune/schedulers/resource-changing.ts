/**
 * Changes the resources of running trials: another scheduler decides who goes on, and an allocation function what each
 * that does gets. A trial whose resources change writes a checkpoint and goes on from it elsewhere.
 */
import { InvalidOptionError } from "../errors.ts";
import type { Config } from "../search/searcher.ts";
import { FIFO } from "./fifo.ts";
import type { Candidate, Decision, Order, Scheduler, SchedulerSetup, TrialReport } from "./scheduler.ts";

type Amounts = Readonly<Record<string, number>>;

export interface AllocationInput {
  readonly report: TrialReport;
  /** What the trial has now. */
  readonly current: Amounts;
  /** What every trial begins with. */
  readonly base: Amounts;
  /** What the whole cluster has. */
  readonly cluster: Amounts;
  /** Trials that run now, this one included. */
  readonly running: readonly string[];
}

/** @returns what the trial shall have from now on; undefined: what it has */
export type Allocation = (input: AllocationInput) => Amounts | undefined;

/** Shares the cluster's CPUs and GPUs evenly among the trials that run, never below what they began with. */
export function distributeEvenly(): Allocation {
  return ({ base, cluster, running }) => {
    const share: Record<string, number> = { ...base };
    for (const name of ["CPU", "GPU"]) {
      const own = base[name] ?? 0;
      if (own > 0) share[name] = Math.max(own, Math.floor((cluster[name] ?? 0) / running.length / own) * own);
    }
    return share;
  };
}

/** Gives what is free to the trial that has the best value so far; the others keep what they began with. */
export function distributeToTop(mode: "min" | "max"): Allocation {
  const best = new Map<string, number>();
  const sign = mode === "max" ? 1 : -1;
  return ({ report, base, cluster, running }) => {
    best.set(report.trialId, Math.max(best.get(report.trialId) ?? -Infinity, sign * report.value));
    const isTop = running.every((id) => (best.get(id) ?? -Infinity) <= (best.get(report.trialId) as number));
    if (!isTop) return base;
    const share: Record<string, number> = { ...base };
    for (const name of ["CPU", "GPU"]) {
      const own = base[name] ?? 0;
      if (own > 0) share[name] = Math.max(own, (cluster[name] ?? 0) - own * (running.length - 1));
    }
    return share;
  };
}

/** Wraps another scheduler (default FIFO); trainables must write checkpoints. */
export class ResourceChanging implements Scheduler {
  readonly needsCheckpoints = true;
  readonly #base: Scheduler;
  readonly #allocate: Allocation;
  /** Set by the runner, which alone knows the cluster. */
  #facts: (trialId: string) => Omit<AllocationInput, "report"> | undefined = () => undefined;

  constructor(options: { readonly base?: Scheduler; readonly allocate?: Allocation } = {}) {
    for (const name of Object.keys(options)) {
      if (name !== "base" && name !== "allocate")
        throw new InvalidOptionError(
          `ResourceChanging has no option ${JSON.stringify(name)}; it has base, allocate`,
        );
    }
    this.#base = options.base ?? new FIFO();
    this.#allocate = options.allocate ?? distributeEvenly();
    if (typeof this.#allocate !== "function")
      throw new InvalidOptionError("ResourceChanging: allocate must be a function");
  }

  get name(): string {
    return `ResourceChanging(${this.#base.name})`;
  }
  get timeAttribute(): string {
    return this.#base.timeAttribute;
  }
  get requiresMetric(): boolean {
    return this.#base.requiresMetric;
  }
  get changesConfig(): boolean {
    return this.#base.changesConfig;
  }

  /** Tells where to learn what trials and cluster have. */
  bindResources(facts: (trialId: string) => Omit<AllocationInput, "report"> | undefined): void {
    this.#facts = facts;
  }

  setup(setup: SchedulerSetup): void {
    this.#base.setup(setup);
  }
  onTrialAdd(trialId: string, config: Config): Config | undefined {
    return this.#base.onTrialAdd(trialId, config);
  }

  onReport(report: TrialReport): Decision {
    const decision = this.#base.onReport(report);
    if (decision !== "continue" && decision !== "save") return decision;
    const facts = this.#facts(report.trialId);
    if (facts === undefined) return decision;
    const wanted = this.#allocate({ report, ...facts });
    return wanted === undefined || sameAmounts(wanted, facts.current)
      ? decision
      : { kind: "reallocate", resources: wanted };
  }

  onComplete(trialId: string, last?: { readonly time: number; readonly value: number }): void {
    this.#base.onComplete(trialId, last);
  }
  onRemove(trialId: string): void {
    this.#base.onRemove(trialId);
  }
  takeOrders(): readonly Order[] {
    return this.#base.takeOrders();
  }
  chooseToRun(candidates: readonly Candidate[]): string | undefined {
    return this.#base.chooseToRun(candidates);
  }
  onStarved(): void {
    this.#base.onStarved();
  }
  save(): unknown {
    return this.#base.save();
  }
  restore(state: unknown): void {
    this.#base.restore(state);
  }
  describe(): string {
    return this.#base.describe();
  }
}

export function sameAmounts(a: Amounts, b: Amounts): boolean {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].every((name) => (a[name] ?? 0) === (b[name] ?? 0));
}
