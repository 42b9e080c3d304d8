/** The schedulers' door. */
export { ASHA, type ASHAOptions } from "./asha.ts";
export { HyperBandForBOHB } from "./bohb.ts";
export { type ExploreOptions, explore, type Mutations } from "./explore.ts";
export { FIFO } from "./fifo.ts";
export { HyperBand, type HyperBandOptions } from "./hyperband.ts";
export { MedianStopping, type MedianStoppingOptions } from "./median-stopping.ts";
export { PB2, type PB2Options } from "./pb2.ts";
export { PBT, type PBTBaseOptions, type PBTOptions, PBTReplay, type PolicyStep } from "./pbt.ts";
export { asPruner, type Pruner } from "./pruner.ts";
export {
  type Allocation,
  type AllocationInput,
  distributeEvenly,
  distributeToTop,
  ResourceChanging,
} from "./resource-changing.ts";
export type {
  Candidate,
  Decision,
  Exploit,
  Order,
  Reallocate,
  Scheduler,
  SchedulerSetup,
  TrialReport,
} from "./scheduler.ts";
