/** The searchers' door. */
export { TPESearcher, type TPEOptions } from "./tpe.ts";
export type { Direction, Objective, Searcher, Suggestion } from "./searcher.ts";
