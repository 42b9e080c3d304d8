/**
 * Population based training (Jaderberg et al., arXiv 1711.09846): while they train, the worst trials take over the
 * checkpoint and the configuration of one of the best, the configuration changed a little.
 */
import { InvalidOptionError } from "../errors.ts";
import { Random } from "../random.ts";
import type { Config } from "../search/searcher.ts";
import { checkMutations, explore, fillMissing, type Mutations } from "./explore.ts";
import { ascending } from "./ranking.ts";
import {
  aFunction,
  BaseScheduler,
  boolean,
  type Candidate,
  checkOptions,
  type Decision,
  notNegative,
  type Order,
  positive,
  type SchedulerSetup,
  type TrialReport,
  text,
} from "./scheduler.ts";

export interface PBTBaseOptions {
  /** Result key that tells time (default "training_iteration"). */
  readonly timeAttribute?: string;
  /** How much time lies between two looks at a trial (default 5). */
  readonly perturbationInterval?: number;
  /** Nothing happens before this time (default 0). */
  readonly burnInPeriod?: number;
  /** Share of trials that are copied from, and that copy (default 0.25, at most 0.5). */
  readonly quantileFraction?: number;
  /** Changes a configuration after the rest was done; returns it. */
  readonly customExplore?: (config: Config) => Config;
  /** Whether a report without metric or time is an error (default true), or passed over. */
  readonly requireAttributes?: boolean;
  /** Whether all trials wait for one another at each interval, so that the run repeats exactly (default false). */
  readonly synchronous?: boolean;
}

export interface PBTOptions extends PBTBaseOptions {
  /** What may change, and how. */
  readonly mutations?: Mutations;
  /** Chance that a value is drawn anew instead of perturbed (default 0.25). */
  readonly resampleProbability?: number;
  /** A number is multiplied by one of these (default [1.2, 0.8]). */
  readonly perturbationFactors?: readonly [number, number];
}

interface Member {
  /** Sign-adjusted; undefined before the first look at it. */
  score: number | undefined;
  perturbedAt: number;
  trainedTo: number;
  config: Config;
  /** Whether it was told to save a checkpoint. */
  saved: boolean;
  /** It is over: nobody copies it any more. */
  done: boolean;
  /** Configurations it trained with, and from which time on. */
  policy: PolicyStep[];
}

/** From `time` on the trial trained with `config`. */
export interface PolicyStep {
  readonly time: number;
  readonly config: Config;
}

const BASE_CHECKS = {
  timeAttribute: text,
  perturbationInterval: positive,
  burnInPeriod: notNegative,
  quantileFraction: [(v: unknown) => typeof v === "number" && v >= 0 && v <= 0.5, "a number from 0 to 0.5"],
  customExplore: aFunction,
  requireAttributes: boolean,
  synchronous: boolean,
} as const;

/** What PBT and PB2 share: who copies whom, and when. Only how a configuration is explored differs. */
export abstract class PopulationScheduler extends BaseScheduler {
  override readonly requiresMetric: boolean;
  override readonly needsCheckpoints = true;
  override readonly changesConfig = true;
  protected readonly members = new Map<string, Member>();
  protected random = new Random(0);
  readonly #interval: number;
  readonly #burnIn: number;
  readonly #quantile: number;
  readonly #custom: ((config: Config) => Config) | undefined;
  readonly #synchronous: boolean;
  #nextSync: number;
  readonly #orders: Order[] = [];
  #perturbations = 0;
  #saves = 0;

  constructor(options: PBTBaseOptions) {
    super(options.timeAttribute ?? "training_iteration");
    this.#interval = options.perturbationInterval ?? 5;
    this.#burnIn = options.burnInPeriod ?? 0;
    this.#quantile = options.quantileFraction ?? 0.25;
    this.#custom = options.customExplore;
    this.#synchronous = options.synchronous ?? false;
    this.requiresMetric = options.requireAttributes ?? true;
    this.#nextSync = this.#interval;
  }

  protected static readonly checks = BASE_CHECKS;

  /** A new configuration to go on with, from that of a better trial. */
  protected abstract exploreFrom(config: Config, trialId: string): Config;
  protected abstract fill(config: Config): Config;

  override setup(setup: SchedulerSetup): void {
    super.setup(setup);
    this.random = new Random(setup.seed);
  }

  override onTrialAdd(trialId: string, config: Config): Config {
    const filled = this.fill(config);
    this.members.set(trialId, {
      score: undefined,
      perturbedAt: 0,
      trainedTo: 0,
      config: filled,
      saved: false,
      done: false,
      policy: [{ time: 0, config: filled }],
    });
    return filled;
  }

  onReport(report: TrialReport): Decision {
    const { trialId, time, value, othersWait } = report;
    const member = this.members.get(trialId);
    if (member === undefined || report.isComplete === false || Number.isNaN(time)) return "continue";
    this.observe(report, member);
    if (time < this.#burnIn || (!this.#synchronous && time - member.perturbedAt < this.#interval))
      return "continue";
    if (this.#synchronous) return this.#synchronise(member, time, value);
    this.#score(member, time, value);
    const decision = this.#perturb(trialId, member);
    if (typeof decision === "object" && decision.kind === "exploit")
      return { ...decision, pause: othersWait };
    return othersWait ? "pause" : decision;
  }

  override onComplete(trialId: string): void {
    this.#finish(trialId);
  }

  override onRemove(trialId: string): void {
    this.#finish(trialId);
  }

  override takeOrders(): readonly Order[] {
    return this.#orders.splice(0);
  }

  /** The trial that has trained least. */
  override chooseToRun(candidates: readonly Candidate[]): string | undefined {
    const trained = (id: string) => this.members.get(id)?.trainedTo ?? 0;
    const ready = this.#synchronous
      ? candidates.filter(({ trialId, state }) => state === "pending" || trained(trialId) < this.#nextSync)
      : candidates;
    let best: Candidate | undefined;
    for (const each of ready)
      if (best === undefined || trained(each.trialId) < trained(best.trialId)) best = each;
    return best?.trialId;
  }

  /** Trials that wait for ones that will never come (they failed before the interval's end) go on. */
  override onStarved(): void {
    if (this.#synchronous) this.#advance();
  }

  /** How often a trial was told to copy another, and to save. */
  get counts(): { readonly perturbations: number; readonly saves: number } {
    return { perturbations: this.#perturbations, saves: this.#saves };
  }

  /** The configurations behind what a trial is now, along the line of those it copied: for {@link PBTReplay}. */
  policyOf(trialId: string): readonly PolicyStep[] {
    return this.members.get(trialId)?.policy ?? [];
  }

  /** Files for the experiment's directory: each trial's policy. */
  files(): ReadonlyMap<string, string> {
    const changed = [...this.members].filter(([, { policy }]) => policy.length > 1);
    return new Map(
      changed.map(([id, { policy }]) => [
        `pbt_policy_${id}.json`,
        `${JSON.stringify(policy, undefined, 2)}\n`,
      ]),
    );
  }

  save(): unknown {
    return {
      members: [...this.members],
      nextSync: this.#nextSync,
      perturbations: this.#perturbations,
      saves: this.#saves,
      random: this.random.save(),
    };
  }

  restore(state: unknown): void {
    const saved = state as {
      members: [string, Member][];
      nextSync: number;
      perturbations: number;
      saves: number;
      random: ReturnType<Random["save"]>;
    };
    for (const [id, member] of saved.members) {
      this.members.set(id, { ...member, score: member.score ?? undefined, policy: [...member.policy] });
    }
    this.#nextSync = saved.nextSync;
    this.#perturbations = saved.perturbations;
    this.#saves = saved.saves;
    this.random.restore(saved.random);
  }

  override describe(): string {
    return `${this.name}: ${this.#saves} checkpoints of the best, ${this.#perturbations} perturbs`;
  }

  /** Sees every report before anything is decided. */
  protected observe(_report: TrialReport, _member: Member): void {}

  #score(member: Member, time: number, value: number): void {
    member.score = this.sign * value;
    member.perturbedAt = time;
    member.trainedTo = time;
  }

  #perturb(trialId: string, member: Member): Decision {
    const { lower, upper } = this.#quantiles();
    if (upper.includes(trialId)) {
      member.saved = true;
      this.#saves += 1;
      return "save";
    }
    if (!lower.includes(trialId)) return "continue";
    const sources = upper.filter((id) => this.members.get(id)?.saved === true);
    if (sources.length === 0) return "continue";
    const source = this.random.choice(sources);
    const better = this.members.get(source) as Member;
    const explored = this.exploreFrom(better.config, trialId);
    const config = this.#custom?.(explored) ?? explored;
    this.#perturbations += 1;
    Object.assign(member, {
      config,
      score: better.score,
      perturbedAt: better.perturbedAt,
      trainedTo: better.trainedTo,
      policy: [...better.policy, { time: better.trainedTo, config }],
    });
    return { kind: "exploit", source, config, pause: false };
  }

  /** The worst and the best share of those that have a score and are not over. */
  #quantiles(): { readonly lower: readonly string[]; readonly upper: readonly string[] } {
    const scored = [...this.members].filter(([, { score, done }]) => score !== undefined && !done);
    if (scored.length <= 1) return { lower: [], upper: [] };
    const ids = scored
      .sort(([, a], [, b]) => ascending(a.score as number, b.score as number))
      .map(([id]) => id);
    let count = Math.ceil(ids.length * this.#quantile);
    if (count > ids.length / 2) count = Math.floor(ids.length / 2);
    return { lower: ids.slice(0, count), upper: count === 0 ? [] : ids.slice(-count) };
  }

  #synchronise(member: Member, time: number, value: number): Decision {
    member.trainedTo = time;
    if (time < this.#nextSync) return "continue";
    this.#score(member, time, value);
    // Everyone pauses, which makes a checkpoint; the last one sets all in motion again.
    member.saved = true;
    const isLast = [...this.members.values()].every(
      ({ done, trainedTo }) => done || trainedTo >= this.#nextSync,
    );
    if (isLast) this.#advance();
    return "pause";
  }

  #advance(): void {
    const { lower } = this.#quantiles();
    const furthest = Math.max(
      ...[...this.members.values()].filter(({ done }) => !done).map(({ trainedTo }) => trainedTo),
    );
    for (const trialId of lower) {
      const decision = this.#perturb(trialId, this.members.get(trialId) as Member);
      if (typeof decision === "object" && decision.kind === "exploit")
        this.#orders.push({ trialId, kind: "exploit", source: decision.source, config: decision.config });
    }
    this.#nextSync = Math.max(this.#nextSync + this.#interval, furthest + 1e-9);
  }

  #finish(trialId: string): void {
    const member = this.members.get(trialId);
    if (member !== undefined) member.done = true;
    const live = [...this.members.values()].filter(({ done }) => !done);
    if (this.#synchronous && live.length > 0 && live.every(({ trainedTo }) => trainedTo >= this.#nextSync))
      this.#advance();
  }
}

/** Population based training; trainables must write checkpoints. Does not go with a searcher that models results. */
export class PBT extends PopulationScheduler {
  readonly name = "PBT";
  readonly #mutations: Mutations;
  readonly #resampleProbability: number;
  readonly #factors: readonly [number, number];

  constructor(options: PBTOptions) {
    checkOptions<PBTOptions>("PBT", options, {
      ...PopulationScheduler.checks,
      mutations: [
        (v) => typeof v === "object" && v !== null && !Array.isArray(v),
        "an object of arrays, domains or functions by key",
      ],
      resampleProbability: [(v) => typeof v === "number" && v >= 0 && v <= 1, "a number from 0 to 1"],
      perturbationFactors: [
        (v) => Array.isArray(v) && v.length === 2 && v.every((each) => typeof each === "number" && each > 0),
        "two numbers > 0",
      ],
    });
    super(options);
    this.#mutations = options.mutations ?? {};
    checkMutations("PBT", this.#mutations);
    if (Object.keys(this.#mutations).length === 0 && options.customExplore === undefined)
      throw new InvalidOptionError(
        "PBT needs mutations or customExplore: without them no configuration ever changes",
      );
    this.#resampleProbability = options.resampleProbability ?? 0.25;
    this.#factors = options.perturbationFactors ?? [1.2, 0.8];
  }

  protected exploreFrom(config: Config): Config {
    const options = { resampleProbability: this.#resampleProbability, factors: this.#factors };
    return explore(config, this.#mutations, options, this.random);
  }

  protected fill(config: Config): Config {
    return fillMissing(config, this.#mutations, this.random);
  }
}

/** Trains one trial through the configurations that PBT found: `policy` is what `policyOf` of the winner gave. */
export class PBTReplay extends BaseScheduler {
  readonly name = "PBTReplay";
  override readonly requiresMetric = false;
  override readonly needsCheckpoints = true;
  override readonly changesConfig = true;
  readonly #policy: readonly PolicyStep[];
  #next = 1;
  #trialId: string | undefined;

  constructor(policy: readonly PolicyStep[], options: { readonly timeAttribute?: string } = {}) {
    super(options.timeAttribute ?? "training_iteration");
    const isStep = (step: PolicyStep) => typeof step?.time === "number" && typeof step?.config === "object";
    if (!Array.isArray(policy) || policy.length === 0 || !policy.every(isStep))
      throw new InvalidOptionError("PBTReplay takes a policy: a non-empty array of { time, config }");
    this.#policy = [...policy].sort((a, b) => a.time - b.time);
  }

  override onTrialAdd(trialId: string, config: Config): Config {
    if (this.#trialId !== undefined && this.#trialId !== trialId)
      throw new InvalidOptionError(
        "PBTReplay trains exactly one trial: set numSamples to 1, and use no grid",
      );
    this.#trialId = trialId;
    return { ...config, ...(this.#policy[0] as PolicyStep).config };
  }

  onReport({ trialId, time, config }: TrialReport): Decision {
    let step: PolicyStep | undefined;
    while (this.#next < this.#policy.length && time >= (this.#policy[this.#next] as PolicyStep).time)
      step = this.#policy[this.#next++];
    return step === undefined
      ? "continue"
      : { kind: "exploit", source: trialId, config: { ...config, ...step.config }, pause: false };
  }

  save(): unknown {
    return { next: this.#next, trialId: this.#trialId };
  }

  restore(state: unknown): void {
    const saved = state as { next: number; trialId?: string };
    this.#next = saved.next;
    this.#trialId = saved.trialId;
  }
}
