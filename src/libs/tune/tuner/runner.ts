/**
 * Runs the trials of one experiment: which, where and when; carries out what the study decides; writes everything to the
 * journal before it acts on it.
 *
 * Holds: a trial runs in at most one slot; the resources of all slots are within the cluster's; a checkpoint is deleted
 * only when no trial is about to load it.
 */
import { kill, type ObjectRef } from "../../../index.ts";
import { InvalidOptionError, TuneError } from "../errors.ts";
import { encode } from "../journal/encoding.ts";
import type { Journal } from "../journal/journal.ts";
import { ResourceChanging } from "../schedulers/resource-changing.ts";
import type { Decision, Order } from "../schedulers/scheduler.ts";
import type { Config } from "../search/searcher.ts";
import type { Storage } from "../storage/storage.ts";
import type { Callback, TrialInfo } from "./callback.ts";
import { CheckpointKeeper } from "./checkpoint-keeper.ts";
import {
  afterReport,
  type Experiment,
  type ExperimentEvent,
  resumePointOf,
  trialPath,
  type Verdict,
} from "./experiment.ts";
import { errorOf, fatalCauseOf, toError } from "./failures.ts";
import type {
  Answer,
  Command,
  HostError,
  HostEvent,
  HostPlace,
  HostReport,
  SavedCheckpoint,
} from "./protocol.ts";
import { snapshotOf } from "./replay.ts";
import type { Demand, Resources } from "./resources.ts";
import type { RetentionRule } from "./retention.ts";
import { type Next, type Slot, Slots } from "./slots.ts";
import type { Study } from "./study.ts";

export interface RunnerSettings {
  readonly trainable: unknown;
  readonly parameters: Readonly<Record<string, ObjectRef<unknown>>>;
  readonly resourcesOf: (config: Config) => Demand;
  /** Trials that this run may add; Infinity: as long as the searcher has some. */
  readonly trialsMax: number;
  readonly concurrentMax: number;
  readonly reuseActors: boolean;
  readonly maxFailures: number;
  readonly failFast: boolean;
  readonly timeBudgetMs: number;
  readonly checkpointFrequency: number;
  readonly checkpointAtEnd: boolean;
  readonly retention: RetentionRule;
}

export interface RunnerParts {
  readonly experiment: Experiment;
  readonly study: Study;
  readonly journal: Journal<ExperimentEvent>;
  readonly storage: Storage;
  readonly settings: RunnerSettings;
  readonly callbacks: readonly Callback[];
  /** Trials to start first, in this order: those that were interrupted. */
  readonly requeued: readonly string[];
  readonly orders: ReadonlyMap<string, Order>;
  readonly warn: (text: string) => void;
}

export type StopReason = "budget" | "stopper" | "interrupt" | "fail-fast";

/** Trials that do not end by then, asked to, lose their process. */
const STOP_GRACE_MS = 5000;
/** A time budget is a promise: less patience there. */
const BUDGET_GRACE_MS = 1000;
const CLUSTER_REFRESH_MS = 2000;
export class Runner {
  readonly #experiment: Experiment;
  readonly #study: Study;
  readonly #journal: Journal<ExperimentEvent>;
  readonly #storage: Storage;
  readonly #settings: RunnerSettings;
  readonly #callbacks: readonly Callback[];
  readonly #warn: (text: string) => void;
  readonly #warned = new Set<string>();
  readonly #slots: Slots;
  readonly #requeued: string[];
  readonly #orders: Map<string, Order>;
  readonly #checkpoints: CheckpointKeeper;
  readonly #checkpointWaiters = new Map<string, Set<() => void>>();
  #picked: string | undefined;
  #startedAt = 0;
  readonly #elapsedBefore: number;
  #stopping: StopReason | undefined;
  #failure: unknown;
  #graceTimer: NodeJS.Timeout | undefined;
  #finish: () => void = () => {};
  #scheduling = false;

  constructor(parts: RunnerParts) {
    this.#experiment = parts.experiment;
    this.#study = parts.study;
    this.#journal = parts.journal;
    this.#storage = parts.storage;
    this.#settings = parts.settings;
    this.#callbacks = parts.callbacks;
    this.#warn = parts.warn;
    this.#requeued = [...parts.requeued];
    this.#orders = new Map(parts.orders);
    this.#elapsedBefore = parts.experiment.elapsed;
    this.#slots = new Slots(parts.settings.trainable, parts.settings.parameters);
    this.#checkpoints = new CheckpointKeeper({
      experiment: parts.experiment,
      storage: parts.storage,
      rule: parts.settings.retention,
      record: (event) => this.#record(event),
      onUndeletable: (path, error) =>
        this.#warnOnce("delete", `checkpoint ${path} could not be deleted: ${String(error)}`),
    });
  }

  /** Why it ended before its end, if it did. */
  get stopReason(): StopReason | undefined {
    return this.#stopping;
  }

  /** ms that the experiment has run, all runs together. */
  get elapsedMs(): number {
    return this.#elapsedBefore + (performance.now() - this.#startedAt);
  }

  get usedResources(): Resources {
    return this.#slots.used;
  }
  get clusterResources(): Resources {
    return this.#slots.cluster;
  }

  /** Settles when no trial runs and none is left to run; rejects when the experiment cannot go on. */
  async run(): Promise<void> {
    this.#startedAt = performance.now();
    await this.#slots.refresh();
    await this.#checkpoints.deleteDoomed();
    this.#bindResources();
    const refresh = setInterval(() => void this.#refresh(), CLUSTER_REFRESH_MS);
    const budgetMs = this.#settings.timeBudgetMs - this.#elapsedBefore;
    const budget =
      budgetMs === Infinity
        ? undefined
        : setTimeout(() => this.stop("budget"), Math.min(Math.max(budgetMs, 0), 2 ** 31 - 1));
    try {
      await new Promise<void>((resolve) => {
        this.#finish = resolve;
        this.#applyOrders();
        this.#schedule();
      });
    } finally {
      clearInterval(refresh);
      clearTimeout(budget);
      clearTimeout(this.#graceTimer);
      await this.#slots.close();
      await this.#checkpoints.close();
      this.#experiment.elapsed = this.elapsedMs;
      if (this.#journal.hasNews) this.#journal.snapshot(this.#snapshot());
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Ends the run: trials stop at their next report, and lose their process if they take too long. */
  stop(reason: StopReason): void {
    if (this.#stopping !== undefined) return;
    this.#stopping = reason;
    const next: Next = { kind: "interrupt", ends: reason === "budget" || reason === "stopper" };
    for (const slot of this.#slots) {
      if (slot.trial === undefined) continue;
      slot.next ??= next;
      slot.actor?.interrupt.remote();
    }
    const graceMs = reason === "budget" ? BUDGET_GRACE_MS : STOP_GRACE_MS;
    this.#graceTimer = setTimeout(() => {
      for (const { trial, actor } of this.#slots) if (trial !== undefined && actor !== undefined) kill(actor);
    }, graceMs);
    this.#schedule();
  }

  // ------------------------------------------------------------------------------------------------ what runs next

  #schedule(): void {
    if (this.#scheduling) return;
    this.#scheduling = true;
    try {
      while (this.#startOne());
      if (this.#slots.running === 0 && this.#isOver()) this.#finish();
    } catch (error) {
      this.#abort(error);
    } finally {
      this.#scheduling = false;
    }
  }

  #startOne(): boolean {
    if (this.#stopping !== undefined || this.#failure !== undefined) return false;
    if (this.#slots.running >= this.#settings.concurrentMax) return false;
    this.#picked ??= this.#pick();
    if (this.#picked === undefined) return false;
    const trial = this.#experiment.get(this.#picked);
    const slot = this.#slots.find(trial);
    if (slot === undefined) return false;
    this.#picked = undefined;
    slot.trial = trial.id;
    void this.#runTrial(slot, trial.id);
    return true;
  }

  /** Nothing runs: either all is done, or what waits has to be set free. */
  #isOver(): boolean {
    if (this.#stopping !== undefined || this.#failure !== undefined) {
      if (this.#stopping === "budget" || this.#stopping === "stopper") this.#endAllWaiting();
      return true;
    }
    if (this.#picked !== undefined) return false;
    const { PENDING, PAUSED } = this.#experiment.byStatus;
    this.#study.scheduler.onStarved();
    this.#applyOrders();
    if (this.#startOne()) return false;
    const [first] = PAUSED;
    if (first !== undefined && PENDING.size === 0) {
      // The scheduler has no use for it, yet it has not ended it either.
      this.#requeued.push(first);
      return !this.#startOne();
    }
    if (PENDING.size > 0)
      throw new TuneError(`the scheduler chooses none of ${PENDING.size} trials, and nothing runs`);
    if (!this.#experiment.exhausted && this.#mayAdd())
      throw new TuneError(
        "the searcher waits for results, but no trial runs: its limit on trials may be too low",
      );
    return true;
  }

  #endAllWaiting(): void {
    const { PENDING, PAUSED } = this.#experiment.byStatus;
    for (const id of [...PENDING, ...PAUSED]) this.#end(id, undefined);
  }

  #pick(): string | undefined {
    const again = this.#requeued.shift();
    if (again !== undefined) return again;
    const { PENDING, PAUSED } = this.#experiment.byStatus;
    if (PENDING.size === 0) this.#add();
    const waiting = [
      ...[...PENDING].map((trialId) => ({ trialId, state: "pending" as const })),
      ...[...PAUSED].map((trialId) => ({ trialId, state: "paused" as const })),
    ].filter(({ trialId }) => !this.#orders.has(trialId));
    return waiting.length === 0 ? undefined : this.#study.chooseToRun(waiting);
  }

  #mayAdd(): boolean {
    return this.#experiment.trials.size < this.#settings.trialsMax;
  }

  #add(): void {
    if (this.#experiment.exhausted || !this.#mayAdd()) return;
    const id = String(this.#experiment.trials.size).padStart(5, "0");
    const suggestion = this.#study.suggest(id);
    if (suggestion.kind === "wait") return;
    if (suggestion.kind === "exhausted") {
      this.#record({ kind: "exhausted" });
      return;
    }
    const demand = this.#settings.resourcesOf(suggestion.config);
    this.#slots.checkFeasible(id, demand);
    if (demand.group !== undefined && this.#study.scheduler instanceof ResourceChanging)
      throw new InvalidOptionError("ResourceChanging shares out amounts; it does not go with bundles");
    this.#record({ kind: "add", id, config: suggestion.config, ...demand });
  }

  #othersWait(): boolean {
    const { PENDING, PAUSED } = this.#experiment.byStatus;
    return PENDING.size > 0 || PAUSED.size > 0 || (!this.#experiment.exhausted && this.#mayAdd());
  }

  // ---------------------------------------------------------------------------------------------------- where it runs

  async #refresh(): Promise<void> {
    try {
      await this.#slots.refresh();
    } catch {
      return; // trials meet a lost cluster by themselves
    }
    if (this.#study.shouldStopAll(this.elapsedMs / 1000)) this.stop("stopper");
    this.#schedule();
  }

  #bindResources(): void {
    const { scheduler } = this.#study;
    if (!(scheduler instanceof ResourceChanging)) return;
    scheduler.bindResources((trialId) => ({
      current: this.#experiment.get(trialId).resources,
      base: this.#settings.resourcesOf(this.#experiment.get(trialId).config).resources,
      cluster: this.#slots.cluster,
      running: [...this.#experiment.byStatus.RUNNING],
    }));
  }

  // ------------------------------------------------------------------------------------------------------- one trial

  /** From the start of the trial to its end, pause or failure; then the slot is free. */
  async #runTrial(slot: Slot, id: string): Promise<void> {
    slot.next = undefined;
    const resume = resumePointOf(this.#experiment.get(id));
    if (resume !== undefined) this.#checkpoints.pin(resume.path);
    let isSound = false;
    try {
      this.#record({ kind: "start", id });
      this.#tell((callback, trial) => callback.onTrialStart?.(trial), id);
      const command: Command = { kind: "start", start: this.#startOf(id, resume?.path) };
      isSound = await this.#converse(slot, id, command);
    } catch (error) {
      const cause = fatalCauseOf(error);
      if (cause !== undefined) this.#abort(cause);
      else this.#failed(slot, id, errorOf(error));
    } finally {
      if (resume !== undefined) this.#checkpoints.unpin(resume.path);
    }
    slot.trial = undefined;
    if (!isSound || !this.#settings.reuseActors) this.#slots.discard(slot);
    this.#wakeCheckpointWaiters(id);
    this.#snapshotIfDue();
    this.#schedule();
  }

  /** @returns whether the process may serve another trial */
  async #converse(slot: Slot, id: string, start: Command): Promise<boolean> {
    let command = start;
    const actor = await slot.opened;
    if (slot.next !== undefined) {
      // The run ended while the placement group was made: the trial has not begun.
      const place = { pid: process.pid, hostname: "" };
      await this.#ended(slot, id, {
        kind: "ended",
        reports: [],
        place,
        checkpoint: undefined,
        error: undefined,
        byItself: false,
      });
      return false;
    }
    for (;;) {
      const event: HostEvent = await actor.exchange.remote(command);
      if (this.#failure !== undefined) return false;
      switch (event.kind) {
        case "cannot-reuse": {
          // A fresh process instead; the trial has not begun.
          this.#record({ kind: "pause", id });
          this.#requeued.unshift(id);
          return false;
        }
        case "saved":
          if (event.checkpoint !== undefined) this.#saved(id, event.checkpoint);
          command = { kind: "answer", answer: "continue" };
          break;
        case "reports": {
          const answer = this.#reports(slot, id, event.reports, event.place);
          command = { kind: "answer", answer };
          break;
        }
        case "ended":
          await this.#ended(slot, id, event);
          return true;
      }
    }
  }

  #startOf(id: string, checkpoint: string | undefined) {
    const trial = this.#experiment.get(id);
    const { checkpointFrequency, checkpointAtEnd, reuseActors } = this.#settings;
    return {
      trialId: id,
      experiment: this.#experiment.header.name,
      location: this.#storage.location,
      trialPath: trialPath(id),
      config: trial.config,
      iteration: trial.iteration,
      nextCheckpoint: trial.nextCheckpoint,
      checkpoint,
      checkpointFrequency,
      checkpointAtEnd,
      reuse: reuseActors,
    };
  }

  #reports(slot: Slot, id: string, reports: readonly HostReport[], place: HostPlace): Answer {
    for (const report of reports) {
      const decision = this.#report(id, report, place);
      this.#applyOrders();
      const answer = this.#carryOut(slot, decision);
      if (answer === "stop" || answer === "pause") return answer;
      if (answer === "save") return answer;
    }
    this.#snapshotIfDue();
    return slot.next === undefined ? "continue" : answerOf(slot.next);
  }

  #report(id: string, { metrics, seconds, checkpoint }: HostReport, { pid, hostname }: HostPlace): Decision {
    const event = {
      kind: "report",
      id,
      metrics,
      seconds,
      pid,
      hostname,
      ...(checkpoint === undefined ? {} : { checkpoint }),
      at: Date.now(),
      othersWait: this.#othersWait(),
      elapsed: Math.round(this.elapsedMs),
    } as const;
    const preview = afterReport(this.#experiment.get(id), { ...event, verdict: "continue" });
    const { decision, byStopper, lacks } = this.#study.judge(preview, event.othersWait, event.elapsed / 1000);
    if (lacks !== undefined) {
      const { name } = this.#study.scheduler;
      this.#warnOnce(
        `lacks ${lacks}`,
        `trial ${id} did not report ${JSON.stringify(lacks)}: ${name} passes over such reports`,
      );
    }
    this.#record({ ...event, verdict: verdictOf(decision), ...(byStopper ? { byStopper } : {}) });
    const trial = this.#experiment.get(id);
    this.#tell((callback, info) => callback.onTrialResult?.(info, trial.lastResult ?? {}), id);
    if (checkpoint !== undefined) this.#noteCheckpoint(id);
    if (this.#study.shouldStopAll(event.elapsed / 1000)) this.stop("stopper");
    return decision;
  }

  #carryOut(slot: Slot, decision: Decision): Answer {
    if (typeof decision === "string") {
      if (decision === "stop") slot.next = { kind: "end" };
      if (decision === "pause") slot.next ??= { kind: "pause" };
      return decision;
    }
    if (slot.next !== undefined) return answerOf(slot.next);
    slot.next =
      decision.kind === "exploit"
        ? { kind: "exploit", source: decision.source, config: decision.config, pause: decision.pause }
        : { kind: "reallocate", resources: decision.resources };
    // A trial that goes on from its own state saves it first.
    return decision.kind === "exploit" && decision.source !== slot.trial ? "stop" : "pause";
  }

  async #ended(slot: Slot, id: string, event: Extract<HostEvent, { kind: "ended" }>): Promise<void> {
    // It was done before it could hear that the run ends.
    if (event.byItself && slot.next?.kind === "interrupt") slot.next = undefined;
    for (const report of event.reports) {
      if (slot.next !== undefined) break;
      const decision = this.#report(id, report, event.place);
      this.#applyOrders();
      // The trainable has ended by itself: nothing is left to pause or to go on with.
      if (decision === "stop") slot.next = { kind: "end" };
    }
    if (event.checkpoint !== undefined) this.#saved(id, event.checkpoint);
    if (event.error !== undefined) {
      this.#failed(slot, id, event.error);
      return;
    }
    const next: Next = slot.next ?? { kind: "end" };
    switch (next.kind) {
      case "end":
        this.#end(id, undefined);
        break;
      case "interrupt":
        if (next.ends) this.#end(id, undefined);
        else this.#pause(id);
        break;
      case "pause":
        this.#pause(id);
        break;
      case "exploit":
        await this.#exploit(id, next);
        break;
      case "reallocate":
        this.#record({ kind: "reallocate", id, resources: next.resources });
        this.#record({ kind: "pause", id });
        this.#requeued.push(id);
    }
  }

  #pause(id: string): void {
    if (resumePointOf(this.#experiment.get(id)) === undefined && this.#stopping === undefined) {
      this.#warnOnce(
        "no-checkpoint",
        `trial ${id} was paused by ${this.#study.scheduler.name} and has no checkpoint, so it will begin anew: ` +
          "report(metrics, { checkpoint }), or saveCheckpoint() in a class",
      );
    }
    this.#record({ kind: "pause", id });
    this.#tell((callback, trial) => callback.onTrialChange?.(trial), id);
    this.#applyOrders();
  }

  #end(id: string, error: HostError | undefined): void {
    this.#record(
      error === undefined
        ? { kind: "end", id, status: "TERMINATED" }
        : { kind: "end", id, status: "ERROR", error },
    );
    this.#study.ended(this.#experiment.get(id), error !== undefined);
    this.#checkpoints.prune(id);
    if (error === undefined) this.#tell((callback, trial) => callback.onTrialComplete?.(trial), id);
    else this.#tell((callback, trial) => callback.onTrialError?.(trial, toError(error)), id);
    this.#applyOrders();
  }

  #failed(slot: Slot, id: string, error: HostError): void {
    if (this.#failure !== undefined) return;
    // Killed because it was told to end and did not: that is no failure.
    if (this.#stopping !== undefined && slot.next !== undefined) {
      this.#cutShort(id, slot.next);
      return;
    }
    const { failures } = this.#experiment.get(id);
    const { maxFailures, failFast } = this.#settings;
    this.#storage.appendText(
      `${trialPath(id)}/error.txt`,
      `failure ${failures + 1} at ${new Date().toISOString()}\n${error.stack}\n\n`,
    );
    if (!failFast && (maxFailures < 0 || failures < maxFailures)) {
      this.#record({ kind: "retry", id, error });
      this.#requeued.push(id);
      return;
    }
    this.#end(id, error);
    if (failFast) this.stop("fail-fast");
  }

  /** Its process was killed before it had done what was decided: a restore does that. */
  #cutShort(id: string, next: Next): void {
    if (next.kind === "end" || (next.kind === "interrupt" && next.ends)) {
      this.#end(id, undefined);
      return;
    }
    if (next.kind === "reallocate") this.#record({ kind: "reallocate", id, resources: next.resources });
    this.#record({ kind: "pause", id });
    if (next.kind !== "exploit" || resumePointOf(this.#experiment.get(next.source)) === undefined) return;
    const { source, config } = next;
    this.#orders.set(id, { trialId: id, kind: "exploit", source, config });
  }

  // ----------------------------------------------------------------------------------------------- orders, exploits

  /** What the scheduler decided about trials that wait. Those that still run get it when they have paused. */
  #applyOrders(): void {
    for (const order of this.#study.takeOrders()) this.#orders.set(order.trialId, order);
    for (const [id, order] of this.#orders) {
      const { status } = this.#experiment.get(id);
      if (status === "RUNNING") continue;
      // Its checkpoint is still being written.
      if (order.kind === "exploit" && this.#experiment.get(order.source).status === "RUNNING") continue;
      this.#orders.delete(id);
      if (status !== "PAUSED" && status !== "PENDING") continue;
      if (order.kind === "stop") {
        this.#forgetQueued(id);
        this.#end(id, undefined);
      } else this.#takeOver(id, order.source, order.config);
    }
  }

  async #exploit(id: string, next: Extract<Next, { kind: "exploit" }>): Promise<void> {
    if (next.source !== id) await this.#checkpointOf(next.source);
    this.#takeOver(id, next.source, next.config);
    this.#record({ kind: "pause", id });
    if (!next.pause) this.#requeued.push(id);
    this.#tell((callback, trial) => callback.onTrialChange?.(trial), id);
  }

  #takeOver(id: string, source: string, config: Config): void {
    const resume = resumePointOf(this.#experiment.get(source));
    if (resume === undefined) {
      throw new TuneError(
        `${this.#study.scheduler.name} wants trial ${id} to go on from trial ${source}, which has no checkpoint: ` +
          "report(metrics, { checkpoint }) at least once per interval, or saveCheckpoint() in a class",
      );
    }
    this.#record({ kind: "exploit", id, source, config, resume });
  }

  /** Waits while the trial runs and has none: it may be writing its first one. */
  async #checkpointOf(id: string): Promise<void> {
    while (
      resumePointOf(this.#experiment.get(id)) === undefined &&
      this.#experiment.get(id).status === "RUNNING"
    ) {
      await new Promise<void>((resolve) => {
        const waiters = this.#checkpointWaiters.get(id) ?? new Set();
        this.#checkpointWaiters.set(id, waiters.add(resolve));
      });
    }
  }

  #wakeCheckpointWaiters(id: string): void {
    for (const wake of this.#checkpointWaiters.get(id) ?? []) wake();
    this.#checkpointWaiters.delete(id);
  }

  #forgetQueued(id: string): void {
    const at = this.#requeued.indexOf(id);
    if (at >= 0) this.#requeued.splice(at, 1);
    if (this.#picked === id) this.#picked = undefined;
  }

  // --------------------------------------------------------------------------------------------------- checkpoints

  #saved(id: string, checkpoint: SavedCheckpoint): void {
    this.#record({ kind: "saved", id, checkpoint });
    this.#noteCheckpoint(id);
  }

  #noteCheckpoint(id: string): void {
    const latest = this.#experiment.get(id).checkpoints.at(-1);
    if (latest !== undefined) this.#tell((callback, trial) => callback.onCheckpoint?.(trial, latest), id);
    this.#checkpoints.prune(id);
    this.#wakeCheckpointWaiters(id);
  }

  // ---------------------------------------------------------------------------------------------- journal, listeners

  #record(event: ExperimentEvent): void {
    this.#journal.append(encode(event) as ExperimentEvent);
    this.#experiment.apply(event);
  }

  #snapshotIfDue(): void {
    if (this.#journal.isDue) this.#journal.snapshot(this.#snapshot());
  }

  #snapshot(): unknown {
    const orders = new Map(this.#orders);
    for (const { trial, next } of this.#slots) {
      if (trial !== undefined && next?.kind === "exploit")
        orders.set(trial, { trialId: trial, kind: "exploit", source: next.source, config: next.config });
    }
    return snapshotOf(this.#experiment, this.#study, [...orders.values()]);
  }

  #tell(call: (callback: Callback, trial: TrialInfo) => void, id: string): void {
    const info: TrialInfo = {
      ...this.#experiment.get(id),
      path: `${this.#storage.location}/${trialPath(id)}`,
    };
    for (const callback of this.#callbacks) {
      try {
        call(callback, info);
      } catch (error) {
        this.#warnOnce(
          callback.constructor.name,
          `${callback.constructor.name || "a callback"} threw: ${String(error)}`,
        );
      }
    }
  }

  #warnOnce(key: string, text: string): void {
    if (this.#warned.has(key)) return;
    this.#warned.add(key);
    this.#warn(text);
  }

  /** The experiment cannot go on: what runs is interrupted and can be restored. */
  #abort(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    for (const slot of this.#slots) {
      if (slot.trial !== undefined && this.#experiment.get(slot.trial).status === "RUNNING") {
        slot.next = { kind: "interrupt", ends: false };
        this.#record({ kind: "pause", id: slot.trial });
      }
      this.#slots.discard(slot);
    }
    this.#finish();
  }
}

function verdictOf(decision: Decision): Verdict {
  return typeof decision === "string" ? decision : decision.kind;
}

/** Of a trial that reports once more: where it goes on later, it saves what it has. */
function answerOf(next: Next): Answer {
  return next.kind === "interrupt" && !next.ends ? "pause" : "stop";
}
