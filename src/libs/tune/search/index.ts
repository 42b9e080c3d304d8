/** The searchers' door. */
export { type BOHBOptions, BOHBSearcher } from "./bohb.ts";
export { type CmaEsOptions, CmaEsSearcher } from "./cma-es.ts";
export { type GPOptions, GPSearcher } from "./gp.ts";
export type { PointOptions } from "./history.ts";
export { ConcurrencyLimiter, type ConcurrencyLimiterOptions } from "./limiter.ts";
export { type NSGA2Options, NSGA2Searcher } from "./nsga2.ts";
export { paretoFront } from "./pareto.ts";
export {
  type GridOptions,
  GridSearcher,
  type RandomOptions,
  RandomSearcher,
  SobolSearcher,
} from "./random.ts";
export { Repeater, type RepeaterOptions, TRIAL_INDEX } from "./repeater.ts";
export type { Config, Direction, Objective, Searcher, Suggestion } from "./searcher.ts";
export { type TPEOptions, TPESearcher } from "./tpe.ts";
