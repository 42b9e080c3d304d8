/** What can be tuned: functions, generators and classes, alone or wrapped with resources or parameters. */
import { InvalidOptionError } from "../errors.ts";
import type { Config } from "../search/searcher.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { Metrics } from "./protocol.ts";
import { type Demand, type ResourcesOption, resolveResources } from "./resources.ts";

// biome-ignore lint/suspicious/noConfusingVoidType: what a function without result gives
type Nothing = void;
type Awaitable<T> = T | Promise<T>;

/** What a trainable function may give: its only result (metrics, or a number called `_metric`), nothing, or a stream of metrics. */
export type TrainableResult =
  | Awaitable<Metrics | number | undefined>
  | Awaitable<Nothing>
  | AsyncIterable<Metrics>
  | Iterable<Metrics>;

/**
 * A function of a configuration. It calls `report` any number of times, or returns its one result, or yields metrics (as
 * a generator, sync or async). `parameters` are those of `withParameters`.
 */
export type TrainableFunction<C = Config, P = unknown> = (config: C, parameters: P) => TrainableResult;

/** A class with steps: `remote(class ... implements ClassTrainable)`, or any class with `step`. */
export interface ClassTrainable<C = Config, P = unknown> {
  /** Once, before the first step. */
  setup?(config: C, parameters: P): Awaitable<unknown>;
  /** One iteration; what it returns is reported. `{ done: true }` ends the trial. */
  step(): Awaitable<Metrics>;
  /** Writes files to the directory, or returns a value (or a Checkpoint) to be kept. */
  saveCheckpoint?(directory: string): Awaitable<unknown>;
  /** Gets the value that was returned, or the directory that was written to. */
  loadCheckpoint?(checkpoint: unknown): Awaitable<unknown>;
  /** Takes on another configuration, as if new. @returns whether it could */
  resetConfig?(config: C): Awaitable<boolean>;
  /** At the end, always. */
  cleanup?(): Awaitable<unknown>;
}

export type TrainableClass<C = Config, P = unknown> = new () => ClassTrainable<C, P>;

export type Trainable<C = Config, P = unknown> = TrainableFunction<C, P> | TrainableClass<C, P> | Prepared<C>;

/** A trainable with resources or parameters. Made by `withResources` and `withParameters`. */
export class Prepared<C = Config> {
  readonly subject: TrainableFunction<C, never> | TrainableClass<C, never>;
  readonly resources: ((config: C) => Demand) | undefined;
  readonly parameters: Readonly<Record<string, unknown>> | undefined;

  constructor(fields: Pick<Prepared<C>, "subject" | "resources" | "parameters">) {
    this.subject = fields.subject;
    this.resources = fields.resources;
    this.parameters = fields.parameters;
  }
}

/**
 * Says what each trial takes: `{ numCpus: 0.5, numGpus: 1 }`, a placement group `{ bundles: [{ CPU: 1 }, { CPU: 1 }] }` for
 * the trial and what it starts, or a function of the configuration that gives one of these.
 * @throws InvalidOptionError for something that is no amount of resources
 */
export function withResources<C = Config, P = unknown>(
  trainable: Trainable<C, P>,
  resources: ResourcesOption | ((config: C) => ResourcesOption),
): Prepared<C> {
  const before = prepare(trainable);
  const amounts =
    typeof resources === "function"
      ? (config: C) => resolveResources(resources(config))
      : always(resolveResources(resources));
  return new Prepared({ ...before, resources: amounts });
}

/**
 * Gives every trial large values without a copy each: they are put in the object store once, and are the trainable's
 * second argument. `withParameters(train, { digits })` with `train(config, { digits })`.
 */
export function withParameters<C, P extends Readonly<Record<string, unknown>>>(
  trainable: TrainableFunction<C, P> | TrainableClass<C, P> | Prepared<C>,
  parameters: P,
): Prepared<C> {
  if (typeof parameters !== "object" || parameters === null || Array.isArray(parameters))
    throw new InvalidOptionError("withParameters takes an object of values by name");
  const before = prepare(trainable as Trainable<C>);
  return new Prepared({ ...before, parameters: { ...before.parameters, ...parameters } });
}

/** @throws InvalidOptionError for what cannot be tuned */
export function prepare<C, P>(trainable: Trainable<C, P>): Prepared<C> {
  if (trainable instanceof Prepared) return trainable;
  if (typeof trainable !== "function")
    throw new InvalidOptionError(`a trainable is a function or a class with step(), got ${typeof trainable}`);
  if (isClassTrainable(trainable) && typeof trainable.prototype.step !== "function")
    throw new InvalidOptionError(
      `the class ${trainable.name} has no step() method, so there is nothing to run`,
    );
  return new Prepared<C>({ subject: trainable as never, resources: undefined, parameters: undefined });
}

/** Told by the prototype, which cannot be replaced on classes. */
export function isClassTrainable(trainable: unknown): trainable is TrainableClass {
  return (
    typeof trainable === "function" &&
    Object.getOwnPropertyDescriptor(trainable, "prototype")?.writable === false
  );
}

/** What `loadCheckpoint` gets. */
export function contentOf(checkpoint: Checkpoint): unknown {
  return checkpoint.holdsValue ? checkpoint.value() : checkpoint.path;
}

function always<T>(value: T): () => T {
  return () => value;
}
