/**
 * Asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv 1810.05934).
 *
 * Rungs lie at grace, grace * eta, grace * eta^2, ...; only the best 1/eta of what reached a rung goes on. The stopping
 * form decides at once and frees the worker; the promotion form pauses at each rung and goes on with the best paused
 * trial whenever a worker is free, so that it never continues a trial on little evidence, at the price of checkpoints.
 */
import { Random } from "../random.ts";
import { Ranking } from "./ranking.ts";
import {
  BaseScheduler,
  boolean,
  type Candidate,
  checkOptions,
  type Decision,
  type Order,
  positive,
  type SchedulerSetup,
  type TrialReport,
  text,
  wholeFrom,
} from "./scheduler.ts";

export interface ASHAOptions {
  /** Result key that tells time (default "training_iteration"). */
  readonly timeAttribute?: string;
  /** Trials end at this time (default 100). */
  readonly maxT?: number;
  /** No trial is stopped before this time (default 1). */
  readonly gracePeriod?: number;
  /** Share that goes on at each rung is 1 / this (default 4). */
  readonly reductionFactor?: number;
  /** Brackets, each with a later first rung than the one before (default 1); stopping form only. */
  readonly brackets?: number;
  /** Whether trials end at `maxT` (default true); stopping form only. */
  readonly stopLastTrials?: boolean;
  /** "stopping" (default) or "promotion", see the class. */
  readonly form?: "stopping" | "promotion";
}

interface Rung {
  readonly milestone: number;
  /** Sign-adjusted values of those that reached it. */
  readonly recorded: Ranking;
  /** Trials that went on from here (promotion form). */
  readonly promoted: Set<string>;
}

/**
 * ASHA: stops what is not among the best `1 / reductionFactor` at each rung. With `form: "promotion"` trials pause at
 * rungs instead, and the best go on when a worker is free; their trainables must write checkpoints.
 */
export class ASHA extends BaseScheduler {
  readonly name = "ASHA";
  override readonly needsCheckpoints: boolean;
  readonly #maxT: number;
  readonly #reduction: number;
  readonly #stopLast: boolean;
  readonly #promotes: boolean;
  /** Rungs of each bracket, highest first. */
  readonly #brackets: Rung[][] = [];
  readonly #bracketOf = new Map<string, number>();
  readonly #paused = new Set<string>();
  #random = new Random(0);
  #stopped = 0;
  readonly #orders: Order[] = [];

  constructor(options: ASHAOptions = {}) {
    checkOptions<ASHAOptions>("ASHA", options, {
      timeAttribute: text,
      maxT: positive,
      gracePeriod: positive,
      reductionFactor: [(v) => typeof v === "number" && v > 1 && Number.isFinite(v), "a number > 1"],
      brackets: wholeFrom(1),
      stopLastTrials: boolean,
      form: [(v) => v === "stopping" || v === "promotion", '"stopping" or "promotion"'],
    });
    super(options.timeAttribute ?? "training_iteration");
    const { maxT = 100, gracePeriod = 1, reductionFactor = 4, brackets = 1, form = "stopping" } = options;
    if (maxT < gracePeriod)
      checkOptions("ASHA", { gracePeriod }, { gracePeriod: [() => false, `at most maxT = ${maxT}`] });
    this.#maxT = maxT;
    this.#reduction = reductionFactor;
    this.#stopLast = options.stopLastTrials ?? true;
    this.#promotes = form === "promotion";
    this.needsCheckpoints = this.#promotes;
    for (let bracket = 0; bracket < brackets; bracket++) {
      const count = Math.floor(Math.log(maxT / gracePeriod) / Math.log(reductionFactor) - bracket + 1 + 1e-9);
      const rungs = Array.from({ length: Math.max(0, count) }, (_, k) => ({
        milestone: gracePeriod * reductionFactor ** (k + bracket),
        recorded: new Ranking(),
        promoted: new Set<string>(),
      }));
      this.#brackets.push(rungs.reverse());
    }
  }

  override setup(setup: SchedulerSetup): void {
    super.setup(setup);
    this.#random = new Random(setup.seed);
  }

  override onTrialAdd(trialId: string): undefined {
    // Brackets with more rungs stop more, so they get more trials: softmax over the number of rungs.
    const weights = this.#brackets.map((rungs) => Math.exp(rungs.length - (this.#brackets[0]?.length ?? 0)));
    let draw = this.#brackets.length === 1 ? 0 : this.#random.next() * weights.reduce((a, b) => a + b, 0);
    let bracket = 0;
    while (bracket < weights.length - 1 && draw >= (weights[bracket] as number))
      draw -= weights[bracket++] as number;
    this.#bracketOf.set(trialId, bracket);
  }

  onReport({ trialId, time, value }: TrialReport): Decision {
    if (time >= this.#maxT && (this.#stopLast || this.#promotes)) {
      if (this.#promotes) this.#record(trialId, time, this.sign * value);
      return "stop";
    }
    const decision = this.#atRungs(trialId, time, this.sign * value);
    if (decision === "stop") this.#stopped += 1;
    return decision;
  }

  override onComplete(trialId: string, last?: { readonly time: number; readonly value: number }): void {
    if (last !== undefined) this.#record(trialId, last.time, this.sign * last.value);
    this.#forget(trialId);
  }

  override onRemove(trialId: string): void {
    this.#forget(trialId);
  }

  /** Promotion form: the best paused trial of the highest rung where it is among the best 1/eta; else a new trial. */
  override chooseToRun(candidates: readonly Candidate[]): string | undefined {
    if (!this.#promotes) return super.chooseToRun(candidates);
    const paused = new Set(
      candidates.filter(({ state }) => state === "paused").map(({ trialId }) => trialId),
    );
    for (const rungs of this.#brackets) {
      for (const rung of rungs) {
        const places = Math.floor(rung.recorded.size / this.#reduction);
        const next = rung.recorded.best(places).find((id) => paused.has(id) && !rung.promoted.has(id));
        if (next === undefined) continue;
        rung.promoted.add(next);
        this.#paused.delete(next);
        return next;
      }
    }
    // Paused trials that the runner resumes for another reason (a restart) have been promoted already.
    const pending = candidates.find(({ state }) => state === "pending");
    return (
      pending ?? candidates.find(({ trialId, state }) => state === "paused" && !this.#paused.has(trialId))
    )?.trialId;
  }

  /** Promotion form: when nothing is left to start, those that were not promoted are over. */
  override onStarved(): void {
    for (const trialId of this.#paused) this.#orders.push({ trialId, kind: "stop" });
    this.#paused.clear();
  }

  override takeOrders(): readonly Order[] {
    return this.#orders.splice(0);
  }

  save(): unknown {
    return {
      brackets: this.#brackets.map((rungs) =>
        rungs.map(({ milestone, recorded, promoted }) => ({
          milestone,
          recorded: recorded.entries(),
          promoted: [...promoted],
        })),
      ),
      bracketOf: [...this.#bracketOf],
      paused: [...this.#paused],
      random: this.#random.save(),
      stopped: this.#stopped,
    };
  }

  restore(state: unknown): void {
    const saved = state as {
      brackets: { recorded: [string, number | null][]; promoted: string[] }[][];
      bracketOf: [string, number][];
      paused: string[];
      random: ReturnType<Random["save"]>;
      stopped: number;
    };
    saved.brackets.forEach((rungs, b) => {
      rungs.forEach(({ recorded, promoted }, r) => {
        const rung = this.#brackets[b]?.[r];
        for (const [id, value] of recorded) rung?.recorded.add(id, value ?? Number.NaN);
        for (const id of promoted) rung?.promoted.add(id);
      });
    });
    for (const [id, bracket] of saved.bracketOf) this.#bracketOf.set(id, bracket);
    for (const id of saved.paused) this.#paused.add(id);
    this.#random.restore(saved.random);
    this.#stopped = saved.stopped;
  }

  /** How many values each rung has, lowest first, by bracket. */
  rungSizes(): readonly (readonly { readonly milestone: number; readonly recorded: number }[])[] {
    return this.#brackets.map((rungs) =>
      [...rungs].reverse().map(({ milestone, recorded }) => ({ milestone, recorded: recorded.size })),
    );
  }

  override describe(): string {
    const rungs = (this.#brackets[0] ?? [])
      .map((rung) => `${rung.milestone}: ${this.#cutoffText(rung)}`)
      .join(" | ");
    return `ASHA: ${this.#stopped} stopped, cutoffs ${rungs}`;
  }

  #cutoffText(rung: Rung): string {
    const cutoff = rung.recorded.percentile(1 - 1 / this.#reduction);
    return cutoff === undefined ? "none yet" : (this.sign * cutoff).toPrecision(4);
  }

  #atRungs(trialId: string, time: number, value: number): Decision {
    const rung = this.#nextRung(trialId, time);
    if (rung === undefined) return "continue";
    if (this.#promotes) {
      rung.recorded.add(trialId, value);
      this.#paused.add(trialId);
      return "pause";
    }
    const cutoff = rung.recorded.percentile(1 - 1 / this.#reduction);
    rung.recorded.add(trialId, value);
    return cutoff !== undefined && value < cutoff ? "stop" : "continue";
  }

  #record(trialId: string, time: number, value: number): void {
    this.#nextRung(trialId, time)?.recorded.add(trialId, value);
  }

  /** The highest rung that the trial has reached, unless its value is there already. */
  #nextRung(trialId: string, time: number): Rung | undefined {
    const rungs = this.#brackets[this.#bracketOf.get(trialId) ?? 0] ?? [];
    const rung = rungs.find(({ milestone }) => time >= milestone);
    return rung?.recorded.has(trialId) ? undefined : rung;
  }

  #forget(trialId: string): void {
    this.#bracketOf.delete(trialId);
    this.#paused.delete(trialId);
  }
}
