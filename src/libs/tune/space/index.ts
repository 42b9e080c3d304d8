/** The search space's door. */
export {
  choice,
  gridSearch,
  lograndint,
  loguniform,
  qlograndint,
  qloguniform,
  qrandint,
  qrandn,
  quniform,
  randint,
  randn,
  sampleFrom,
  switchOn,
  uniform,
} from "./domain.ts";
export { type Config, defineSpace, type Parameter, type Space } from "./space.ts";
export type { FloatOptions, SpaceFunction, TrialSpace } from "./trial-space.ts";
export type { ConfigOf, Domain } from "./types.ts";
