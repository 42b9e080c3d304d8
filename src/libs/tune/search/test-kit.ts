/** For tests of searchers: drives one through ask and tell. */
import { defineSpace, type Space } from "../space/index.ts";
import type { Config, Direction, Searcher } from "./searcher.ts";

export interface Driven {
  readonly configs: Config[];
  readonly values: (readonly number[])[];
}

export const minimise = [{ metric: "loss", direction: "min" as Direction }];

export function start<S extends Searcher>(
  searcher: S,
  space: object | Space,
  seed = 1,
  objectives = minimise,
): S {
  searcher.setup("parameters" in space ? (space as Space) : (defineSpace(space) as Space), objectives, seed);
  return searcher;
}

/** One trial after the other, until there are no more. */
export function drive(
  searcher: Searcher,
  trials: number,
  objective: (config: never) => number | readonly number[],
  from = 0,
): Driven {
  const driven: Driven = { configs: [], values: [] };
  for (let i = from; i < from + trials; i++) {
    const suggestion = searcher.suggest(`t${i}`);
    if (suggestion.kind !== "config") break;
    const value = objective(suggestion.config as never);
    const values = typeof value === "number" ? [value] : value;
    driven.configs.push(suggestion.config);
    driven.values.push(values);
    searcher.onComplete(`t${i}`, values);
  }
  return driven;
}

export function best({ values }: Driven): number {
  return Math.min(...values.map(([value]) => value as number));
}
