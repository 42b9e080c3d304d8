/** What can listen to an experiment: loggers, the terminal, and callbacks of users. */
import type { Header, Result, StoredCheckpoint, TrialState } from "./experiment.ts";

/** A trial as listeners see it. */
export interface TrialInfo extends TrialState {
  /** Its directory. */
  readonly path: string;
}

export interface ExperimentInfo {
  readonly header: Header;
  /** Its directory. */
  readonly path: string;
  /** Whether it goes on from an earlier run. */
  readonly restored: boolean;
}

/**
 * Hooks into an experiment: for W&B and the like, or notes of your own. They are called in order and should return soon;
 * what they throw is said once and does not end the experiment. `onExperimentEnd` is awaited.
 */
export interface Callback {
  onExperimentStart?(experiment: ExperimentInfo): void;
  onTrialStart?(trial: TrialInfo): void;
  onTrialResult?(trial: TrialInfo, result: Result): void;
  onCheckpoint?(trial: TrialInfo, checkpoint: StoredCheckpoint): void;
  /** The trial is paused, or goes on as another (see `trial.status`, `trial.config`). */
  onTrialChange?(trial: TrialInfo): void;
  onTrialComplete?(trial: TrialInfo): void;
  /** It failed, and will not be tried again. */
  onTrialError?(trial: TrialInfo, error: Error): void;
  onExperimentEnd?(trials: readonly TrialInfo[]): void | Promise<void>;
}
