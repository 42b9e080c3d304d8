/** What a handle must know of its actor's class, in a form that travels with it. */
import { labelOf, methodsOf, type RegisteredClass } from "../core/base/function-registry.ts";
import type { ResolvedActorOptions } from "../core/base/options.ts";

export interface MethodMeta {
  readonly streams: boolean;
  readonly numReturns: number;
  /** null = as the actor says. */
  readonly maxTaskRetries: number | null;
  /** Whether what the method throws is retried: no, all, or errors of the classes named. */
  readonly retryExceptions: boolean | readonly string[];
  readonly generatorBackpressure: number | null;
}

export interface ActorMeta {
  readonly className: string;
  readonly methods: Readonly<Record<string, MethodMeta>>;
  readonly maxTaskRetries: number;
  readonly maxPendingCalls: number;
  /** One call at a time: calls of one caller run in the order they were made. */
  readonly ordered: boolean;
}

/** Of an actor that is yet to be found: its methods are taken as plain ones. */
export function metaUnknown(name: string): ActorMeta {
  return { className: `named ${name}`, methods: {}, maxTaskRetries: 0, maxPendingCalls: -1, ordered: true };
}

export const METHOD_UNKNOWN: MethodMeta = {
  streams: false,
  numReturns: 1,
  maxTaskRetries: null,
  retryExceptions: false,
  generatorBackpressure: null,
};

export function metaOf(record: RegisteredClass, options: ResolvedActorOptions): ActorMeta {
  const methods: Record<string, MethodMeta> = {};
  for (const [name, { options: method }] of methodsOf(record.fn)) {
    methods[name] = {
      streams: method.numReturns === "streaming",
      numReturns: method.numReturns === "streaming" ? 0 : method.numReturns,
      maxTaskRetries: method.maxTaskRetries ?? null,
      retryExceptions: namesOf(method.retryExceptions),
      generatorBackpressure: method.generatorBackpressure ?? null,
    };
  }
  return {
    className: labelOf(record),
    methods,
    maxTaskRetries: options.maxTaskRetries,
    maxPendingCalls: options.maxPendingCalls,
    ordered: options.maxConcurrency === 1 && Object.keys(options.concurrencyGroups).length === 0,
  };
}

export function namesOf(classes: boolean | readonly { readonly name: string }[]): boolean | string[] {
  return typeof classes === "boolean" ? classes : classes.map((Class) => Class.name);
}
