/**
 * Which checkpoints of trials stay: deletes what the retention rule gives up, never one that a trial is about to load.
 * That one is given up is in the journal before it is deleted, so that a restore finishes what a killed driver began.
 */
import type { Storage } from "../storage/storage.ts";
import type { Experiment, ExperimentEvent } from "./experiment.ts";
import { type RetentionRule, superfluous } from "./retention.ts";

export interface CheckpointKeeperParts {
  readonly experiment: Experiment;
  readonly storage: Storage;
  readonly rule: RetentionRule;
  /** To the journal, and applied. */
  readonly record: (event: ExperimentEvent) => void;
  readonly onUndeletable: (path: string, error: unknown) => void;
}

export class CheckpointKeeper {
  readonly #parts: CheckpointKeeperParts;
  /** Checkpoints that a trial loads, by path. */
  readonly #pins = new Map<string, number>();
  /** Trials with checkpoints that are kept for others only. */
  readonly #spared = new Set<string>();
  readonly #deletions = new Set<Promise<void>>();

  constructor(parts: CheckpointKeeperParts) {
    this.#parts = parts;
  }

  /** A trial loads it from now on. */
  pin(path: string): void {
    this.#pins.set(path, (this.#pins.get(path) ?? 0) + 1);
  }

  unpin(path: string): void {
    const count = (this.#pins.get(path) ?? 0) - 1;
    if (count > 0) this.#pins.set(path, count);
    else this.#pins.delete(path);
  }

  /** Gives up what the trial need not keep. */
  prune(id: string): void {
    const { experiment, rule, record } = this.#parts;
    const isNeeded = (path: string) => {
      const needed = this.#isNeeded(path);
      if (needed) this.#spared.add(id);
      return needed;
    };
    this.#spared.delete(id);
    for (const { path } of superfluous(experiment.get(id), rule, isNeeded)) {
      record({ kind: "drop", id, path });
      const deletion = this.#delete(path).finally(() => this.#deletions.delete(deletion));
      this.#deletions.add(deletion);
    }
  }

  /** What an earlier driver gave up and may not have deleted. */
  async deleteDoomed(): Promise<void> {
    await Promise.all([...this.#parts.experiment.doomed].map((path) => this.#delete(path)));
  }

  /** The run is over: gives up what no trial loads any more. Resolves when all is deleted. */
  async close(): Promise<void> {
    for (const id of [...this.#spared]) this.prune(id);
    await Promise.all(this.#deletions);
  }

  async #delete(path: string): Promise<void> {
    const { experiment, storage, onUndeletable } = this.#parts;
    try {
      await storage.remove(path);
      experiment.doomed.delete(path);
    } catch (error) {
      onUndeletable(path, error);
    }
  }

  #isNeeded(path: string): boolean {
    if (this.#pins.has(path)) return true;
    const { experiment } = this.#parts;
    // What a waiting trial will load when it starts.
    for (const status of ["PAUSED", "PENDING", "RUNNING"] as const)
      for (const id of experiment.byStatus[status]) if (experiment.get(id).resume?.path === path) return true;
    return false;
  }
}
