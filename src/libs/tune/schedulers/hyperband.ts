/**
 * HyperBand (Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", JMLR 18-185), by the
 * paper's table.
 *
 * Bracket s begins with ceil((sMax + 1) / (s + 1) * eta^s) trials at time maxT * eta^-s; at each milestone the trials wait
 * for one another, the best 1/eta go on to eta times the time, the others end. Trials fill one bracket after the other,
 * and after the last one a new band begins.
 */

import { ascending } from "./ranking.ts";
import {
  BaseScheduler,
  type Candidate,
  checkOptions,
  type Decision,
  type Order,
  type TrialReport,
  text,
} from "./scheduler.ts";

export interface HyperBandOptions {
  /** Result key that tells time (default "training_iteration"). */
  readonly timeAttribute?: string;
  /** Trials end at this time (default 81). */
  readonly maxT?: number;
  /** 1 / share that goes on at each milestone (default 3). */
  readonly reductionFactor?: number;
}

interface Bracket {
  /** How many trials it takes. */
  readonly size: number;
  milestone: number;
  filled: number;
  /** Value at the current milestone, or null while the trial is on its way there. */
  readonly live: Map<string, number | null>;
}

/** Successive halving with several trade-offs between many short and few long trials. Trainables must write checkpoints. */
export class HyperBand extends BaseScheduler {
  readonly name: string = "HyperBand";
  override readonly needsCheckpoints = true;
  readonly #maxT: number;
  readonly #eta: number;
  readonly #brackets: Bracket[] = [];
  readonly #bracketOf = new Map<string, Bracket>();
  #orders: Order[] = [];
  #halvings = 0;

  constructor(options: HyperBandOptions = {}) {
    checkOptions<HyperBandOptions>("HyperBand", options, {
      timeAttribute: text,
      maxT: [(v) => typeof v === "number" && v >= 1 && Number.isFinite(v), "a number >= 1"],
      reductionFactor: [(v) => typeof v === "number" && v > 1 && Number.isFinite(v), "a number > 1"],
    });
    super(options.timeAttribute ?? "training_iteration");
    this.#maxT = options.maxT ?? 81;
    this.#eta = options.reductionFactor ?? 3;
  }

  /** Trials and first milestone of each bracket of a band, in the order they are filled. */
  table(): readonly { readonly size: number; readonly milestone: number }[] {
    const sMax = Math.floor(Math.log(this.#maxT) / Math.log(this.#eta) + 1e-9);
    return Array.from({ length: sMax + 1 }, (_, s) => ({
      size: Math.ceil(((sMax + 1) / (s + 1)) * this.#eta ** s - 1e-9),
      milestone: Math.max(1, Math.floor(this.#maxT * this.#eta ** -s + 1e-9)),
    }));
  }

  override onTrialAdd(trialId: string): undefined {
    let bracket = this.#brackets.at(-1);
    if (bracket === undefined || bracket.filled === bracket.size) {
      const table = this.table();
      const { size, milestone } = table[this.#brackets.length % table.length] as (typeof table)[number];
      bracket = { size, milestone, filled: 0, live: new Map() };
      this.#brackets.push(bracket);
    }
    bracket.filled += 1;
    bracket.live.set(trialId, null);
    this.#bracketOf.set(trialId, bracket);
  }

  onReport({ trialId, time, value }: TrialReport): Decision {
    const bracket = this.#bracketOf.get(trialId);
    if (time >= this.#maxT) return "stop";
    if (bracket === undefined || time < bracket.milestone) return "continue";
    bracket.live.set(trialId, this.sign * value);
    if (bracket.filled < bracket.size || !isComplete(bracket)) return "pause";
    this.#halve(bracket);
    if (!bracket.live.has(trialId)) {
      this.#orders = this.#orders.filter((order) => order.trialId !== trialId);
      return "stop";
    }
    return "continue";
  }

  override onComplete(trialId: string): void {
    this.#leave(trialId);
  }

  override onRemove(trialId: string): void {
    this.#leave(trialId);
  }

  override takeOrders(): readonly Order[] {
    return this.#orders.splice(0);
  }

  override chooseToRun(candidates: readonly Candidate[]): string | undefined {
    const ready = candidates.find(({ trialId, state }) => state === "paused" && this.#isReady(trialId));
    return (ready ?? candidates.find(({ state }) => state === "pending"))?.trialId;
  }

  /** Brackets that wait for trials that will not come go on with what they have. */
  override onStarved(): void {
    for (const bracket of this.#brackets) {
      if (bracket.live.size > 0 && isComplete(bracket)) {
        bracket.filled = bracket.size;
        this.#halve(bracket);
      }
    }
  }

  /** How many trials each bracket still has. */
  liveCounts(): readonly number[] {
    return this.#brackets.map(({ live }) => live.size);
  }

  save(): unknown {
    return {
      brackets: this.#brackets.map(({ size, milestone, filled, live }) => ({
        size,
        milestone,
        filled,
        live: [...live],
      })),
      halvings: this.#halvings,
    };
  }

  restore(state: unknown): void {
    const saved = state as {
      brackets: { size: number; milestone: number; filled: number; live: [string, number | null][] }[];
      halvings: number;
    };
    for (const { size, milestone, filled, live } of saved.brackets) {
      const bracket = { size, milestone, filled, live: new Map(live) };
      this.#brackets.push(bracket);
      for (const [id] of live) this.#bracketOf.set(id, bracket);
    }
    this.#halvings = saved.halvings;
  }

  override describe(): string {
    const brackets = this.#brackets.filter(({ live }) => live.size > 0);
    const text = brackets.map(({ live, milestone }) => `${live.size} to ${milestone}`).join(", ");
    return `${this.name}: ${this.#halvings} halvings; brackets: ${text === "" ? "none" : text}`;
  }

  /** Whether a paused trial may go on: it survived, or (after a restart) has not reached its milestone yet. */
  #isReady(trialId: string): boolean {
    return this.#bracketOf.get(trialId)?.live.get(trialId) === null;
  }

  #halve(bracket: Bracket): void {
    this.#halvings += 1;
    const ranked = [...bracket.live].sort(([, a], [, b]) => ascending(b ?? Number.NaN, a ?? Number.NaN));
    const kept = Math.max(1, Math.floor(ranked.length / this.#eta));
    bracket.milestone = Math.min(this.#maxT, bracket.milestone * this.#eta);
    ranked.forEach(([trialId], rank) => {
      if (rank < kept) {
        bracket.live.set(trialId, null);
      } else {
        this.#drop(trialId, bracket);
        this.#orders.push({ trialId, kind: "stop" });
      }
    });
  }

  #leave(trialId: string): void {
    const bracket = this.#bracketOf.get(trialId);
    if (bracket === undefined) return;
    this.#drop(trialId, bracket);
    if (bracket.filled === bracket.size && bracket.live.size > 0 && isComplete(bracket)) this.#halve(bracket);
  }

  #drop(trialId: string, bracket: Bracket): void {
    bracket.live.delete(trialId);
    this.#bracketOf.delete(trialId);
  }
}

/** Whether every live trial is at the milestone. */
function isComplete({ live }: Bracket): boolean {
  for (const value of live.values()) if (value === null) return false;
  return true;
}
