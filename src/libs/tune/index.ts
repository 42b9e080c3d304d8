/** The door of `tsray/tune`: hyperparameter search. */
export { InvalidOptionError, TuneError } from "./errors.ts";
export type { LoggerName } from "./results/loggers.ts";
export type { ProgressOption, ProgressSettings } from "./results/progress.ts";
export {
  type BestOptions,
  ResultGrid,
  type Row,
  type Scope,
  type TableOptions,
  TrialResult,
} from "./results/result-grid.ts";
export * from "./schedulers/index.ts";
export * from "./search/index.ts";
export {
  type ConfigOf,
  choice,
  type Domain,
  defineSpace,
  type FloatOptions,
  gridSearch,
  lograndint,
  loguniform,
  type Parameter,
  qlograndint,
  qloguniform,
  qrandint,
  qrandn,
  quniform,
  randint,
  randn,
  type Space,
  type SpaceFunction,
  sampleFrom,
  switchOn,
  type TrialSpace,
  uniform,
} from "./space/index.ts";
export {
  CombinedStopper,
  type ExperimentPlateauOptions,
  ExperimentPlateauStopper,
  FunctionStopper,
  MaximumIterationStopper,
  type StopOption,
  type Stopper,
  TimeoutStopper,
  type TrialPlateauOptions,
  TrialPlateauStopper,
} from "./stoppers/stoppers.ts";
export type { Callback, ExperimentInfo, TrialInfo } from "./tuner/callback.ts";
export { Checkpoint } from "./tuner/checkpoint.ts";
export type { Header, Result, StoredCheckpoint, TrialStatus } from "./tuner/experiment.ts";
export type { CheckpointOptions, FailureOptions, TunerOptions } from "./tuner/options.ts";
export type { Metrics } from "./tuner/protocol.ts";
export type { AmountsOption, BundlesOption, ResourcesOption } from "./tuner/resources.ts";
export {
  getCheckpoint,
  getTrialContext,
  type ReportOptions,
  report,
  type TrialContext,
  TrialStopped,
} from "./tuner/session.ts";
export {
  type ClassTrainable,
  Prepared,
  type Trainable,
  type TrainableClass,
  type TrainableFunction,
  withParameters,
  withResources,
} from "./tuner/trainable.ts";
export { type RestoreOptions, run, Tuner } from "./tuner/tuner.ts";
