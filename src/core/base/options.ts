/**
 * Every option that tsray takes: what it means, what it may be, and the form the runtime works with.
 *
 * One table per kind of option object, one row per option. `resolve...Options` checks what a user gave against its
 * table, at the call that gave it, fills in the defaults and converts amounts to units; nothing below this file sees an
 * unchecked option. An option that a later version owns has a row that refuses it, so none is accepted and ignored.
 * Step 1 of the main path. Knows nothing of functions, actors or processes.
 */
import { isAbsolute } from "node:path";
import { inspect } from "node:util";
import { isGroupResource } from "./bundles.ts";
import { InvalidOptionError } from "./errors.ts";
import {
  ACCELERATOR_LABEL,
  isLabelKey,
  isLabelValue,
  LABEL_KEY_TAKES,
  LABEL_VALUE_TAKES,
  type LabelTerm,
  OWN_LABELS,
  parseTerm,
} from "./labels.ts";
import { fits, fromUnits, type Resources, toUnits, UNITS } from "./resources.ts";
import { type RuntimeEnv, runtimeEnvKey, runtimeEnvProblem } from "./runtime-env.ts";

// ---------------------------------------------------------------------------------------------- what users write

/** A class of errors, as `retryExceptions` lists them. Matched with `instanceof` against what the function threw. */
export type ErrorClass = abstract new (...args: never[]) => Error;

/** What `numReturns` takes: how many refs a call gives, or "streaming" for one ref after the other. */
export type NumReturns = number | "streaming";

/** Where a task or an actor must, or should, run: made by `nodeAffinity()`. */
export interface NodeAffinityStrategy {
  readonly kind: "NODE_AFFINITY";
  /** Id of the node, as `nodes()` and `getRuntimeContext().nodeId` give it. */
  readonly nodeId: string;
  /** true: another node will do when that one is dead or can never fit the demand. false: fail then. */
  readonly soft: boolean;
}

/** How the bundles of a placement group lie: as few nodes as can be, as many, exactly one, each on another. */
export type GroupStrategy = "PACK" | "SPREAD" | "STRICT_PACK" | "STRICT_SPREAD";

/** What is fixed about a placement group: plain data, as it travels. */
export interface PlacementGroupFacts {
  readonly id: string;
  /** "" = none was given. */
  readonly name: string;
  readonly strategy: GroupStrategy;
  /** Resources of each bundle, by name. */
  readonly bundles: readonly Readonly<Record<string, number>>[];
}

/** A place in a placement group: made by `placement()`. */
export interface PlacementGroupStrategy {
  readonly kind: "PLACEMENT_GROUP";
  readonly group: PlacementGroupFacts;
  /** Which bundle, from 0; -1 = any with room. */
  readonly bundle: number;
  /** Whether tasks and actors that it starts, and that name no strategy, go into the group too. */
  readonly captureChildren: boolean;
}

/** What the labels of a node must be, by name: "a", "!a", "in(a,b)" or "!in(a,b)". All must hold. */
export type LabelSelector = Readonly<Record<string, string>>;

/**
 * How a node is chosen. "DEFAULT": near the data, packed until a node is half full, then the least loaded one.
 * "SPREAD": round the nodes. `nodeAffinity(id, { soft })`: that node. `placement(group, { bundle })`: in that group.
 */
export type SchedulingStrategy = "DEFAULT" | "SPREAD" | NodeAffinityStrategy | PlacementGroupStrategy;

/** What tasks and actors have in common: the resources they take and where they go. */
export interface PlacementOptions {
  /** CPUs held while it runs: a number >= 0 with at most 4 decimals. Default: 1 for a task, 0 for an actor. */
  readonly numCpus?: number | undefined;
  /** GPUs held: a fraction below 1 (shares a device) or a whole number. Default 0. */
  readonly numGpus?: number | undefined;
  /** Memory held, in bytes; counted, not enforced. Default 0. */
  readonly memory?: number | undefined;
  /** Amounts of custom resources, by name; at most 4 decimals. CPU, GPU and memory have options of their own. */
  readonly resources?: Readonly<Record<string, number>> | undefined;
  /** How a node is chosen. Default "DEFAULT". */
  readonly schedulingStrategy?: SchedulingStrategy | undefined;
  /** Task: shown in listings, logs and errors (default: the function's name). Actor: what `getActor` finds it by. */
  readonly name?: string | undefined;
  /** Kind of GPU that the node must have, as its label "tsray.io/accelerator-type" says it: "T4", "A100". Default: any. */
  readonly acceleratorType?: string | undefined;
  /** What the labels of the node must be, as in `{ zone: "in(a,b)", disk: "!hdd" }`. Default: anything. */
  readonly labelSelector?: LabelSelector | undefined;
  /**
   * What its workers find around them. Joined with that of the job, or of the task or actor that makes the call: variables
   * are added, other fields replaced. Default: that one.
   */
  readonly runtimeEnv?: RuntimeEnv | undefined;
}

/** Options of a remote function: at `remote(fn, {...})`, `@remote({...})` and `.options({...})`, which adds to the former. */
export interface TaskOptions<N extends NumReturns | undefined = NumReturns | undefined>
  extends PlacementOptions {
  /**
   * How many refs a call gives: 1 (default) one ref to the result, n a tuple of refs to the n elements of the array
   * returned, 0 nothing, "streaming" an ObjectRefGenerator. Generator functions are always "streaming".
   */
  readonly numReturns?: N | undefined;
  /** How often the task is run again after a system failure (worker or node died); -1 = without end. Default 3. */
  readonly maxRetries?: number | undefined;
  /** Whether errors thrown by the function are retried too (within `maxRetries`): all, or those of the classes listed. Default false. */
  readonly retryExceptions?: boolean | readonly ErrorClass[] | undefined;
  /** A worker process is replaced after it ran the function this often; 0 (default) = never. At the definition only, not in `.options()`. */
  readonly maxCalls?: number | undefined;
  /** Aborting it cancels the task, as `cancel(ref)` does. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds after which the task is cancelled, counted from the call. Default: no limit. */
  readonly timeout?: number | undefined;
  /** Streaming only: how many items the function may be ahead of the consumer. Default: no limit. */
  readonly generatorBackpressure?: number | undefined;
}

/** Options of a remote class: at `remote(Class, {...})`, `@remote({...})` and `.options({...})`, which adds to the former. */
export interface ActorOptions extends PlacementOptions {
  /** Where the name counts. Default: the namespace of the job. */
  readonly namespace?: string | undefined;
  /** "detached": lives until `kill`, beyond its creator and its handles. Default: until its last handle is gone. */
  readonly lifetime?: "detached" | undefined;
  /** With `name`: gives the live actor of that name if there is one, instead of an error. Default false. */
  readonly getIfExists?: boolean | undefined;
  /** How often it is started again after its process died; -1 = without end. Default 0. */
  readonly maxRestarts?: number | undefined;
  /**
   * How often a call is made again after the actor died under it, or a result of it was lost with its node; -1 = without
   * end. Default 0.
   */
  readonly maxTaskRetries?: number | undefined;
  /** How many calls run at a time (of the default group). Default 1, for async methods too. */
  readonly maxConcurrency?: number | undefined;
  /** Groups of methods with a limit of their own, by name; `method({ concurrencyGroup })` puts a method into one. */
  readonly concurrencyGroups?: Readonly<Record<string, number>> | undefined;
  /** How many calls of one handle may be outstanding before the next throws PendingCallsLimitError; -1 (default) = no limit. */
  readonly maxPendingCalls?: number | undefined;
}

/** Options of a method, where the class is written: `@method({...})`. */
export interface MethodOptions<N extends NumReturns | undefined = NumReturns | undefined> {
  /** Which of the actor's `concurrencyGroups` its calls count in. Default: the group of `maxConcurrency`. */
  readonly concurrencyGroup?: string | undefined;
  /** As for tasks. The type of a handle cannot see what a decorator says: `handle.m.options({ numReturns })` is typed. */
  readonly numReturns?: N | undefined;
  /** Instead of the actor's `maxTaskRetries`. */
  readonly maxTaskRetries?: number | undefined;
  /** Whether errors thrown by the method are retried too (within `maxTaskRetries`): all, or those of the classes listed. Default false. */
  readonly retryExceptions?: boolean | readonly ErrorClass[] | undefined;
  /** Streaming only: how many items the method may be ahead of the consumer. Default: no limit. */
  readonly generatorBackpressure?: number | undefined;
}

/** Options of calls of a method: `handle.method.options({...})`. */
export interface MethodCallOptions<N extends NumReturns | undefined = NumReturns | undefined>
  extends MethodOptions<N> {
  /** Shown in listings and errors. Default: Class.method. */
  readonly name?: string | undefined;
  /** Aborting it cancels the call, as `cancel(ref)` does. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds after which the call is cancelled, counted from the call. Default: no limit. */
  readonly timeout?: number | undefined;
}

/** What a node offers: `tsray start`, `tsray/testing`, and `init` where it starts a cluster. */
export interface NodeOptions {
  /** CPUs offered, whole. Default: those of the machine. */
  readonly numCpus?: number | undefined;
  /** GPUs offered, whole. Default: those of the machine. */
  readonly numGpus?: number | undefined;
  /** Custom resources offered, by name; at most 4 decimals. */
  readonly resources?: Readonly<Record<string, number>> | undefined;
  /** Facts about the node: shown by `nodes()`, asked for with `labelSelector`. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Size of the node's shared-memory store in bytes, at least 1 MiB. Default: a share of the machine's memory. */
  readonly objectStoreMemory?: number | undefined;
  /**
   * Directory for objects that the store's memory has no room for; a directory of the node's own is made in it, and
   * removed with the node. Default: the session's directory, or the temporary directory where that one is in memory.
   */
  readonly spillDir?: string | undefined;
}

/** Limits of a wait. */
export interface WaitLimits {
  /** Milliseconds to wait at most; 0 = only what is there now. Default: no limit. */
  readonly timeout?: number | undefined;
  /** Aborting it ends the wait: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `init`. Those of {@link NodeOptions} are for the embedded cluster and refused together with an address. */
export interface InitOptions extends NodeOptions, WaitLimits {
  /**
   * "host:port" of a cluster to join; "auto" = the one running on this machine; "local" = an embedded one whatever
   * TSRAY_ADDRESS says. Default: TSRAY_ADDRESS, else an embedded cluster.
   */
  readonly address?: string | undefined;
  /** Where names of actors count. Default: one of the job's own. */
  readonly namespace?: string | undefined;
  /** Whether what workers print appears on the driver's terminal. Default true. */
  readonly logToDriver?: boolean | undefined;
  /** Only false in this version: there is no dashboard. */
  readonly dashboard?: false | undefined;
  /** The cluster's token. Default: that of a cluster of the same user on this machine. */
  readonly token?: string | undefined;
  /** true: a second `init` gives the running cluster instead of AlreadyInitializedError. Default false. */
  readonly ignoreReinit?: boolean | undefined;
  /** What all workers of the job find around them; tasks and actors may add to it. Default: what the driver has. */
  readonly runtimeEnv?: RuntimeEnv | undefined;
}

/** Options of `get`. */
export interface GetOptions extends WaitLimits {}

/** Options of `wait`. */
export interface WaitOptions extends WaitLimits {
  /** How many refs must be ready, from 1 to the number given. Default 1. */
  readonly numReturns?: number | undefined;
}

/** Options of `cancel`. */
export interface CancelOptions {
  /** Ends the worker process instead of asking the task to stop. Default false. */
  readonly force?: boolean | undefined;
  /** Cancels the tasks that the task started too. Default true. */
  readonly recursive?: boolean | undefined;
}

/** Options of `kill`. */
export interface KillOptions {
  /** Whether the actor stays dead although it has restarts left. Default true. */
  readonly noRestart?: boolean | undefined;
}

/** Options of `getActor`. */
export interface GetActorOptions extends WaitLimits {
  /** Where the name counts. Default: the namespace of the job. */
  readonly namespace?: string | undefined;
}

/** Options of `nodeAffinity`. */
export interface NodeAffinityOptions {
  /** true: another node will do when that one is dead or can never fit the demand. Default false. */
  readonly soft?: boolean | undefined;
}

// ------------------------------------------------------------------------------------- what the runtime works with

/** A scheduling strategy in its full form. `nodeId` is "" and `soft` false where they have no meaning. */
export interface ResolvedStrategy {
  readonly kind: "DEFAULT" | "SPREAD" | "NODE_AFFINITY" | "PLACEMENT_GROUP";
  readonly nodeId: string;
  readonly soft: boolean;
  /** What the labels of the node must be. */
  readonly labels: readonly LabelTerm[];
  /** "" = in no group. */
  readonly groupId: string;
  /** -1 = any of the group's. */
  readonly bundle: number;
}

/** The placement group that something runs in. */
export interface CallGroup {
  readonly facts: PlacementGroupFacts;
  readonly captureChildren: boolean;
}

/** {@link TaskOptions}, checked and complete. Frozen. */
export interface ResolvedTaskOptions {
  /** What the user gave, definition and `.options()` together. */
  readonly given: TaskOptions;
  /** In units of 1/10000; CPU 1 unless given. */
  readonly resources: Resources;
  readonly strategy: ResolvedStrategy;
  /** undefined = in none. */
  readonly group: CallGroup | undefined;
  /** One CPU, one ref, no name: as most tasks are. Their calls need not say so. */
  readonly isPlain: boolean;
  /** undefined = that of the caller. */
  readonly runtimeEnv: RuntimeEnv | undefined;
  /** Equal for options that the same lease can serve: resources, strategy, environment, whether a task may run again at all. */
  readonly schedulingKey: string;
  readonly numReturns: NumReturns;
  /** -1 = without end. */
  readonly maxRetries: number;
  readonly retryExceptions: boolean | readonly ErrorClass[];
  /** 0 = no limit. */
  readonly maxCalls: number;
  /** "" = none given. */
  readonly name: string;
  /** Milliseconds. */
  readonly timeout: number | undefined;
  readonly signal: AbortSignal | undefined;
  /** undefined = no limit. */
  readonly generatorBackpressure: number | undefined;
}

/** {@link ActorOptions}, checked and complete. Frozen. */
export interface ResolvedActorOptions {
  /** What the user gave, definition and `.options()` together. */
  readonly given: ActorOptions;
  /** Held while it lives, in units of 1/10000; empty unless given. */
  readonly resources: Resources;
  /** Needed to place it, in units: `resources`, or one CPU where no resource was given. */
  readonly placement: Resources;
  readonly strategy: ResolvedStrategy;
  /** undefined = in none. */
  readonly group: CallGroup | undefined;
  /** undefined = that of the creator. */
  readonly runtimeEnv: RuntimeEnv | undefined;
  /** Equal for options with the same placement, strategy and environment. */
  readonly schedulingKey: string;
  /** "" = anonymous. */
  readonly name: string;
  /** undefined = that of the job. */
  readonly namespace: string | undefined;
  readonly detached: boolean;
  readonly getIfExists: boolean;
  /** -1 = without end. */
  readonly maxRestarts: number;
  /** -1 = without end. */
  readonly maxTaskRetries: number;
  readonly maxConcurrency: number;
  readonly concurrencyGroups: Readonly<Record<string, number>>;
  /** -1 = no limit. */
  readonly maxPendingCalls: number;
}

/** {@link MethodOptions} and {@link MethodCallOptions}, checked and complete. Frozen. */
export interface ResolvedMethodOptions {
  /** What the user gave, `@method()` and `.options()` together. */
  readonly given: MethodCallOptions;
  /** "" = the default group. */
  readonly concurrencyGroup: string;
  readonly numReturns: NumReturns;
  /** undefined = as the actor says. */
  readonly maxTaskRetries: number | undefined;
  readonly retryExceptions: boolean | readonly ErrorClass[];
  /** undefined = no limit. */
  readonly generatorBackpressure: number | undefined;
  /** "" = none given. */
  readonly name: string;
  readonly signal: AbortSignal | undefined;
  /** Milliseconds. */
  readonly timeout: number | undefined;
}

/** {@link NodeOptions}, checked. undefined = as the machine has it. */
export interface ResolvedNodeOptions {
  readonly numCpus: number | undefined;
  readonly numGpus: number | undefined;
  /** As given: whole amounts and fractions, not units. */
  readonly resources: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Bytes. */
  readonly objectStoreMemory: number | undefined;
  readonly spillDir: string | undefined;
}

/** {@link InitOptions}, checked and complete. */
export interface ResolvedInitOptions extends ResolvedNodeOptions, ResolvedWaitLimits {
  /** "host:port" or "auto"; undefined = start an embedded cluster. */
  readonly address: string | undefined;
  readonly namespace: string | undefined;
  readonly logToDriver: boolean;
  readonly dashboard: false;
  readonly token: string | undefined;
  readonly ignoreReinit: boolean;
  readonly runtimeEnv: RuntimeEnv | undefined;
}

/** {@link WaitLimits}, checked. undefined = no limit. */
export interface ResolvedWaitLimits {
  readonly timeout: number | undefined;
  readonly signal: AbortSignal | undefined;
}

// ------------------------------------------------------------------------------------------------------ the tables

/** One option: what it takes and whether a value is that, or why there is no such option yet. */
export type OptionRule =
  | {
      readonly takes: string;
      readonly ok: (value: unknown) => boolean;
      /** A message for values that deserve more than `takes`. */
      readonly problem?: (value: unknown) => string | undefined;
    }
  | { readonly refused: string };

/** One row for every option of `O`. */
export type OptionTable<O> = { readonly [K in keyof Required<O>]: OptionRule };

/** Largest amount of a resource: what is exact in units. In bytes about 838 GiB. */
const AMOUNT_MAX = Math.floor(Number.MAX_SAFE_INTEGER / UNITS);
/** Longest delay that timers take, in milliseconds: 24.8 days. */
const TIMEOUT_MAX_MS = 2 ** 31 - 1;
const COUNT_MAX = 2 ** 31 - 1;
const OBJECT_STORE_MIN_BYTES = 2 ** 20;
/** Refs that one call may give. */
const NUM_RETURNS_MAX = 100_000;

/** A label of a node or in a selector. `__proto__` is no name for a property. */
const isKey = (key: string): boolean => isLabelKey(key) && key !== "__proto__";
const isNumber = (v: unknown): v is number => typeof v === "number";
const isWhole = (v: unknown, min: number, max: number): boolean =>
  isNumber(v) && Number.isInteger(v) && v >= min && v <= max;

/** Whether it is an amount of a resource: 0 or more, exact to 4 decimals. */
export function isAmount(v: unknown): v is number {
  if (!isNumber(v) || !(v >= 0 && v <= AMOUNT_MAX)) return false;
  const units = v * UNITS;
  return Math.abs(units - Math.round(units)) <= 1e-6 + units * Number.EPSILON;
}

export function isPlainObject(v: unknown): v is Record<string, unknown> {
  return typeof v === "object" && v !== null && !Array.isArray(v) && !(v instanceof Map);
}

const isErrorClass = (v: unknown): boolean =>
  typeof v === "function" && (v === Error || v.prototype instanceof Error);

/** AbortSignals of other realms (jsdom) count too. */
function isAbortSignal(v: unknown): v is AbortSignal {
  if (v instanceof AbortSignal) return true;
  if (typeof v !== "object" || v === null) return false;
  const { aborted, addEventListener } = v as Partial<AbortSignal>;
  return typeof aborted === "boolean" && typeof addEventListener === "function";
}

const boolean: OptionRule = { takes: "true or false", ok: (v) => typeof v === "boolean" };
const amount: OptionRule = { takes: "a number >= 0 with at most 4 decimals", ok: isAmount };
export const text: OptionRule = { takes: "a non-empty string", ok: (v) => typeof v === "string" && v !== "" };
const whole = (min: number, max = COUNT_MAX): OptionRule => ({
  takes: `a whole number >= ${min}`,
  ok: (v) => isWhole(v, min, max),
});
const wholeOrEndless = (meaning: string): OptionRule => ({
  takes: `a whole number >= 0, or -1 (${meaning})`,
  ok: (v) => isWhole(v, -1, COUNT_MAX),
});
const bytes = (min: number): OptionRule => ({
  takes: `a whole number of bytes from ${min} to ${AMOUNT_MAX}`,
  ok: (v) => isWhole(v, min, AMOUNT_MAX),
});
const signal: OptionRule = { takes: "an AbortSignal", ok: isAbortSignal };

const runTimeout: OptionRule = {
  takes: `a number of milliseconds > 0 and <= ${TIMEOUT_MAX_MS}`,
  ok: (v) => isNumber(v) && v > 0 && (v <= TIMEOUT_MAX_MS || v === Infinity),
};
const waitTimeout: OptionRule = {
  takes: `a number of milliseconds from 0 to ${TIMEOUT_MAX_MS}`,
  ok: (v) => isNumber(v) && v >= 0 && (v <= TIMEOUT_MAX_MS || v === Infinity),
};

const numGpus: OptionRule = {
  takes: "a number from 0 to 1 with at most 4 decimals, or a whole number",
  ok: (v) => isAmount(v) && (v < 1 || Number.isInteger(v)),
};

/** Resources that have an option of their own. */
const OWN_OPTION: Readonly<Record<string, string>> = {
  CPU: "numCpus",
  GPU: "numGpus",
  memory: "memory",
  object_store_memory: "objectStoreMemory",
};

const resourcesRule = (of: "demand" | "node"): OptionRule => ({
  takes: "an object of resource names and numbers >= 0 with at most 4 decimals",
  ok: isPlainObject,
  problem(value) {
    for (const [name, given] of Object.entries(value as Record<string, unknown>)) {
      if (Object.hasOwn(OWN_OPTION, name)) {
        if (of === "demand" && name === "object_store_memory")
          return "resources must not name object_store_memory";
        if (of === "node" && name === "memory")
          return "resources must not name memory: a node offers that of its machine";
        return `resources must not name ${name}: use the option ${OWN_OPTION[name]} instead`;
      }
      if (name === "" || name === "__proto__") return `resources must not have the name ${show(name)}`;
      if (isGroupResource(name))
        return `resources must not name ${name}: what a placement group has is asked for with placement(group)`;
      if (of === "node" && name.startsWith("node:"))
        return `resources must not name ${name}: every node has its own`;
      if (!isAmount(given))
        return `resources.${name} must be a number >= 0 with at most 4 decimals, got ${show(given)}`;
    }
    return undefined;
  },
});

const concurrencyGroups: OptionRule = {
  takes: "an object of group names and whole numbers >= 1",
  ok: isPlainObject,
  problem(value) {
    for (const [name, limit] of Object.entries(value as Record<string, unknown>)) {
      if (name === "" || name === "__proto__")
        return `concurrencyGroups must not have the name ${show(name)}`;
      if (!isWhole(limit, 1, COUNT_MAX)) {
        return `concurrencyGroups.${name} must be a whole number >= 1, got ${show(limit)}`;
      }
    }
    return undefined;
  },
};

const labels: OptionRule = {
  takes: "an object of non-empty names and strings",
  ok: (v) => isPlainObject(v) && Object.entries(v).every(([k, s]) => k !== "" && typeof s === "string"),
  problem(value) {
    for (const [key, label] of Object.entries(value as Record<string, string>)) {
      if (!isKey(key)) return `labels must have names of ${LABEL_KEY_TAKES}, got ${show(key)}`;
      if (key.startsWith(OWN_LABELS) && key !== ACCELERATOR_LABEL)
        return `labels must not name ${key}: names with ${OWN_LABELS} are tsray's own`;
      if (!isLabelValue(label)) return `labels.${key} must be ${LABEL_VALUE_TAKES}, got ${show(label)}`;
    }
    return undefined;
  },
};

const SELECTOR_TAKES = '"a", "!a", "in(a,b)" or "!in(a,b)"';

export const labelSelector: OptionRule = {
  takes: `an object of label names and ${SELECTOR_TAKES}`,
  ok: isPlainObject,
  problem(value) {
    for (const [key, asked] of Object.entries(value as Record<string, unknown>)) {
      if (!isKey(key)) return `labelSelector must have names of ${LABEL_KEY_TAKES}, got ${show(key)}`;
      if (typeof asked !== "string" || parseTerm(key, asked) === undefined)
        return `labelSelector.${key} must be ${SELECTOR_TAKES}, with values of ${LABEL_VALUE_TAKES}, got ${show(asked)}`;
    }
    return undefined;
  },
};

const acceleratorType: OptionRule = {
  takes: `the kind of a GPU: ${LABEL_VALUE_TAKES}`,
  ok: (v) => isLabelValue(v) && v !== "",
};

const schedulingStrategy: OptionRule = {
  takes: '"DEFAULT", "SPREAD", nodeAffinity(nodeId, { soft }) or placement(group, { bundle })',
  ok: (v) => v === "DEFAULT" || v === "SPREAD" || isNodeAffinity(v) || isInGroup(v),
  problem: (v) =>
    isNodeAffinity(v) && v.nodeId === ""
      ? "schedulingStrategy: nodeAffinity needs the id of a node"
      : undefined,
};

function isNodeAffinity(v: unknown): v is NodeAffinityStrategy {
  if (!isPlainObject(v)) return false;
  return v.kind === "NODE_AFFINITY" && typeof v.nodeId === "string" && typeof v.soft === "boolean";
}

const runtimeEnv: OptionRule = {
  takes: "an object of envVars, workingDir, excludes, bundle, npm, execArgv and workerSetup",
  ok: isPlainObject,
  problem: (value) => runtimeEnvProblem(value as object, show),
};
function isInGroup(v: unknown): v is PlacementGroupStrategy {
  if (!isPlainObject(v) || v.kind !== "PLACEMENT_GROUP" || !isPlainObject(v.group)) return false;
  return typeof v.group.id === "string" && Array.isArray(v.group.bundles) && isWhole(v.bundle, -1, COUNT_MAX);
}

const PLACEMENT: OptionTable<PlacementOptions> = {
  numCpus: amount,
  numGpus,
  memory: bytes(0),
  resources: resourcesRule("demand"),
  schedulingStrategy,
  name: text,
  acceleratorType,
  labelSelector,
  runtimeEnv,
};

const numReturns: OptionRule = {
  takes: `a whole number from 0 to ${NUM_RETURNS_MAX}, or "streaming"`,
  ok: (v) => v === "streaming" || isWhole(v, 0, NUM_RETURNS_MAX),
};
const retryExceptions: OptionRule = {
  takes: "true, false or an array of error classes",
  ok: (v) => typeof v === "boolean" || (Array.isArray(v) && v.every(isErrorClass)),
};

const TASK: OptionTable<TaskOptions> = {
  ...PLACEMENT,
  numReturns,
  maxRetries: wholeOrEndless("retry without end"),
  retryExceptions,
  maxCalls: whole(0),
  signal,
  timeout: runTimeout,
  generatorBackpressure: whole(1),
};

const ACTOR: OptionTable<ActorOptions> = {
  ...PLACEMENT,
  namespace: text,
  lifetime: { takes: '"detached"', ok: (v) => v === "detached" },
  getIfExists: boolean,
  maxRestarts: wholeOrEndless("restart without end"),
  maxTaskRetries: wholeOrEndless("retry without end"),
  maxConcurrency: whole(1),
  concurrencyGroups,
  maxPendingCalls: {
    takes: "a whole number >= 1, or -1 (no limit)",
    ok: (v) => v === -1 || isWhole(v, 1, COUNT_MAX),
  },
};

const METHOD: OptionTable<MethodOptions> = {
  concurrencyGroup: text,
  numReturns,
  maxTaskRetries: wholeOrEndless("retry without end"),
  retryExceptions,
  generatorBackpressure: whole(1),
};

const METHOD_CALL: OptionTable<MethodCallOptions> = { ...METHOD, name: text, signal, timeout: runTimeout };

const NODE: OptionTable<NodeOptions> = {
  numCpus: whole(0),
  numGpus: whole(0),
  resources: resourcesRule("node"),
  labels,
  objectStoreMemory: bytes(OBJECT_STORE_MIN_BYTES),
  spillDir: {
    takes: "an absolute path",
    ok: (value) => typeof value === "string" && isAbsolute(value) && !value.includes("\0"),
  },
};

const WAIT_LIMITS: OptionTable<WaitLimits> = { timeout: waitTimeout, signal };

const INIT: OptionTable<InitOptions> = {
  ...NODE,
  ...WAIT_LIMITS,
  address: { takes: '"host:port", "auto" or "local"', ok: isAddress },
  namespace: text,
  logToDriver: boolean,
  dashboard: {
    takes: "false",
    ok: (v) => typeof v === "boolean",
    problem: (v) => (v === true ? "dashboard: true is not supported in this version" : undefined),
  },
  token: text,
  ignoreReinit: boolean,
  runtimeEnv,
};

const WAIT: OptionTable<WaitOptions> = { ...WAIT_LIMITS, numReturns: whole(1) };
const CANCEL: OptionTable<CancelOptions> = { force: boolean, recursive: boolean };
const KILL: OptionTable<KillOptions> = { noRestart: boolean };
const GET_ACTOR: OptionTable<GetActorOptions> = { ...WAIT_LIMITS, namespace: text };
const NODE_AFFINITY: OptionTable<NodeAffinityOptions> = { soft: boolean };

/** Tables in which an option may have been meant that another kind does not know. */
const NEIGHBOURS: readonly (readonly [what: string, table: Readonly<Record<string, OptionRule>>])[] = [
  ["task", TASK],
  ["actor", ACTOR],
  ["method", METHOD_CALL],
  ["init", INIT],
];

function isAddress(v: unknown): boolean {
  if (typeof v !== "string") return false;
  if (v === "auto" || v === "local") return true;
  const match = /^(?:\[[0-9a-fA-F:.]+\]|[^\s:/[\]]+):(\d{1,5})$/.exec(v);
  return match !== null && isWhole(Number(match[1]), 1, 65535);
}

// ------------------------------------------------------------------------------------------------------- checking

/** How a value looks in a message. */
export function show(value: unknown): string {
  const shown = inspect(value, {
    depth: 1,
    breakLength: Number.POSITIVE_INFINITY,
    maxStringLength: 60,
    maxArrayLength: 5,
  });
  return shown.length > 100 ? `${shown.slice(0, 97)}...` : shown;
}

/**
 * Checks `given` against `table`. An option whose value is undefined counts as not given.
 * @returns a frozen copy with the options that were given
 * @throws InvalidOptionError naming the option, what it takes and what it got, or the nearest option where there is none of that name
 */
export function checkOptions<O extends object>(what: string, table: OptionTable<O>, given: O | undefined): O {
  const checked: Record<string, unknown> = {};
  if (given === undefined) return Object.freeze(checked) as O;
  if (!isPlainObject(given)) {
    throw new InvalidOptionError(`${what} options must be an object, got ${show(given)}`);
  }
  const rules: Readonly<Record<string, OptionRule>> = table;
  for (const [name, value] of Object.entries(given)) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (rule === undefined) throw new InvalidOptionError(sayUnknown(what, rules, name));
    if (value === undefined) continue;
    if ("refused" in rule) throw new InvalidOptionError(rule.refused);
    if (!rule.ok(value)) throw new InvalidOptionError(`${name} must be ${rule.takes}, got ${show(value)}`);
    const problem = rule.problem?.(value);
    if (problem !== undefined) throw new InvalidOptionError(problem);
    checked[name] = value;
  }
  return Object.freeze(checked) as O;
}

function sayUnknown(what: string, rules: Readonly<Record<string, OptionRule>>, name: string): string {
  const names = Object.keys(rules).filter((known) => !("refused" in (rules[known] as OptionRule)));
  const nearest = nearestName(name, names);
  const elsewhere = NEIGHBOURS.filter(([, table]) => Object.hasOwn(table, name)).map(([kind]) => kind);
  const home = elsewhere.length > 0 ? ` (that is an option of: ${elsewhere.join(", ")})` : "";
  const hint = nearest === undefined ? "." : `; did you mean ${nearest}?`;
  return `there is no ${what} option ${show(name)}${home}${hint} It takes ${names.join(", ")}`;
}

/** The name that was probably meant: equal but for case and underscores, part of it, or a few letters away. */
function nearestName(name: string, names: readonly string[]): string | undefined {
  const plain = (s: string) => s.toLowerCase().replace(/[^a-z0-9]/g, "");
  const wanted = plain(name);
  if (wanted.length < 2) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of names) {
    const known = plain(candidate);
    const isPart = wanted.length >= 3 && (known.includes(wanted) || wanted.includes(known));
    const distance = Math.min(editDistance(wanted, known), isPart ? 1.5 : Number.POSITIVE_INFINITY);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replaced, (previous[j] as number) + 1, (row[j - 1] as number) + 1));
    }
    previous = row;
  }
  return previous[b.length] as number;
}

// ------------------------------------------------------------------------------------------------------- resolving

/** What the options of a task or method depend on beside what was given. */
export interface CallableTraits {
  /** Whether the function is a generator function: its calls stream. */
  readonly streams?: boolean;
}

/**
 * Options of a task, from a definition (`base` left out) or from `.options()` on top of `base`; each option given
 * replaces the one before as a whole.
 * @throws InvalidOptionError for what the table does not allow; for `maxCalls` on top of a base; for `numReturns` other
 *   than "streaming" on a generator function; for `generatorBackpressure` on what does not stream
 */
export function resolveTaskOptions(
  given: TaskOptions | undefined,
  base?: ResolvedTaskOptions,
  traits: CallableTraits = {},
): ResolvedTaskOptions {
  const checked = checkOptions<TaskOptions>("task", TASK, given);
  if (base !== undefined && checked.maxCalls !== undefined) {
    throw new InvalidOptionError(
      "maxCalls can only be given where the function is defined: remote(fn, { maxCalls })",
    );
  }
  const all: TaskOptions = base === undefined ? checked : Object.freeze({ ...base.given, ...checked });
  const resources = demand(all, all.numCpus ?? 1);
  const strategy = resolveStrategy(all);
  const group = groupOf(all, resources);
  const numReturns = resolveReturns(all, traits);
  return Object.freeze({
    given: all,
    resources,
    strategy,
    runtimeEnv: all.runtimeEnv,
    group,
    isPlain:
      resources.CPU === UNITS &&
      Object.keys(resources).length === 1 &&
      group === undefined &&
      numReturns === 1 &&
      (all.maxCalls ?? 0) === 0 &&
      all.name === undefined,
    // Where memory is short, workers of tasks that may run again are ended first: those share no lease with others.
    schedulingKey: keyOf(resources, strategy, all.runtimeEnv) + (all.maxRetries === 0 ? " once" : ""),
    numReturns,
    maxRetries: all.maxRetries ?? 3,
    retryExceptions: all.retryExceptions ?? false,
    maxCalls: all.maxCalls ?? 0,
    name: all.name ?? "",
    timeout: limit(all.timeout),
    signal: all.signal,
    generatorBackpressure: all.generatorBackpressure,
  });
}

/**
 * Options of an actor, from a definition (`base` left out) or from `.options()` on top of `base`.
 * @throws InvalidOptionError for what the table does not allow
 */
export function resolveActorOptions(
  given: ActorOptions | undefined,
  base?: ResolvedActorOptions,
): ResolvedActorOptions {
  const checked = checkOptions<ActorOptions>("actor", ACTOR, given);
  const all: ActorOptions = base === undefined ? checked : Object.freeze({ ...base.given, ...checked });
  const asksNothing =
    all.numCpus === undefined &&
    all.numGpus === undefined &&
    all.memory === undefined &&
    all.resources === undefined;
  const resources = demand(all, all.numCpus ?? 0);
  const placement = asksNothing ? Object.freeze({ CPU: UNITS }) : resources;
  const strategy = resolveStrategy(all);
  return Object.freeze({
    given: all,
    resources,
    placement,
    strategy,
    runtimeEnv: all.runtimeEnv,
    group: groupOf(all, placement),
    schedulingKey: keyOf(placement, strategy, all.runtimeEnv),
    name: all.name ?? "",
    namespace: all.namespace,
    detached: all.lifetime === "detached",
    getIfExists: all.getIfExists ?? false,
    maxRestarts: all.maxRestarts ?? 0,
    maxTaskRetries: all.maxTaskRetries ?? 0,
    maxConcurrency: all.maxConcurrency ?? 1,
    concurrencyGroups: Object.freeze({ ...all.concurrencyGroups }),
    maxPendingCalls: all.maxPendingCalls ?? -1,
  });
}

/**
 * Options of a method, from `@method()` (`base` left out) or from `handle.method.options()` on top of `base`.
 * @throws InvalidOptionError as {@link resolveTaskOptions}
 */
export function resolveMethodOptions(
  given: MethodCallOptions | undefined,
  base?: ResolvedMethodOptions,
  traits: CallableTraits = {},
): ResolvedMethodOptions {
  const checked =
    base === undefined
      ? checkOptions<MethodCallOptions>("method", { ...METHOD_CALL, ...DEFINITION_ONLY }, given)
      : checkOptions<MethodCallOptions>("method", METHOD_CALL, given);
  const all: MethodCallOptions = base === undefined ? checked : Object.freeze({ ...base.given, ...checked });
  return Object.freeze({
    given: all,
    concurrencyGroup: all.concurrencyGroup ?? "",
    numReturns: resolveReturns(all, traits),
    maxTaskRetries: all.maxTaskRetries,
    retryExceptions: all.retryExceptions ?? false,
    generatorBackpressure: all.generatorBackpressure,
    name: all.name ?? "",
    signal: all.signal,
    timeout: limit(all.timeout),
  });
}

/** What only single calls take, so that `@method()` refuses it. */
const DEFINITION_ONLY = Object.fromEntries(
  ["name", "signal", "timeout"].map((name) => [
    name,
    { refused: `${name} belongs to a call: handle.method.options({ ${name} }), not to @method()` },
  ]),
) as { readonly [K in "name" | "signal" | "timeout"]: OptionRule };

/**
 * What a node offers.
 * @throws InvalidOptionError for what the table does not allow
 */
export function resolveNodeOptions(given: NodeOptions | undefined): ResolvedNodeOptions {
  return Object.freeze(nodePart(checkOptions<NodeOptions>("node", NODE, given)));
}

/**
 * Options of `init`. The address comes from TSRAY_ADDRESS where none is given.
 * @throws InvalidOptionError for what the table does not allow, a TSRAY_ADDRESS that is no address, and for options of
 *   the embedded cluster together with an address
 */
export function resolveInitOptions(
  given: InitOptions | undefined,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): ResolvedInitOptions {
  const all = checkOptions<InitOptions>("init", INIT, given);
  const fromEnvironment = environment.TSRAY_ADDRESS || undefined;
  if (all.address === undefined && fromEnvironment !== undefined && !isAddress(fromEnvironment)) {
    throw new InvalidOptionError(
      `TSRAY_ADDRESS must be "host:port", "auto" or "local", got ${show(fromEnvironment)}`,
    );
  }
  const named = all.address ?? fromEnvironment;
  const address = named === "local" ? undefined : named;
  if (address !== undefined) {
    const own = Object.keys(NODE).find((name) => all[name as keyof NodeOptions] !== undefined);
    const source = all.address === undefined ? `TSRAY_ADDRESS=${address}` : `address: ${show(address)}`;
    if (own !== undefined) {
      throw new InvalidOptionError(
        `${own} is for the cluster that init starts, and ${source} joins one that runs: give it to \`tsray start\` there` +
          (all.address === undefined ? ', or start a cluster of your own with address: "local"' : ""),
      );
    }
  }
  return Object.freeze({
    ...nodePart(all),
    address,
    namespace: all.namespace,
    logToDriver: all.logToDriver ?? true,
    dashboard: false,
    token: all.token,
    ignoreReinit: all.ignoreReinit ?? false,
    runtimeEnv: all.runtimeEnv,
    timeout: limit(all.timeout),
    signal: all.signal,
  });
}

/** Options of `get`, and of waits like it. @throws InvalidOptionError */
export function resolveGetOptions(given: GetOptions | undefined, what = "get"): ResolvedWaitLimits {
  if (given === undefined) return NO_LIMITS;
  const all = checkOptions<WaitLimits>(what, WAIT_LIMITS, given);
  return { timeout: limit(all.timeout), signal: all.signal };
}

/** Options of `wait` on `refCount` refs. @throws InvalidOptionError, also where `numReturns` is above `refCount` */
export function resolveWaitOptions(
  given: WaitOptions | undefined,
  refCount: number,
): ResolvedWaitLimits & { readonly numReturns: number } {
  const all = checkOptions<WaitOptions>("wait", WAIT, given);
  if (all.numReturns !== undefined && all.numReturns > refCount) {
    throw new InvalidOptionError(
      `numReturns must be at most the number of refs given (${refCount}), got ${all.numReturns}`,
    );
  }
  return {
    numReturns: all.numReturns ?? Math.min(1, refCount),
    timeout: limit(all.timeout),
    signal: all.signal,
  };
}

/** Options of `cancel`. @throws InvalidOptionError */
export function resolveCancelOptions(given: CancelOptions | undefined): {
  readonly force: boolean;
  readonly recursive: boolean;
} {
  const all = checkOptions<CancelOptions>("cancel", CANCEL, given);
  return { force: all.force ?? false, recursive: all.recursive ?? true };
}

/** Options of `kill`. @throws InvalidOptionError */
export function resolveKillOptions(given: KillOptions | undefined): { readonly noRestart: boolean } {
  return { noRestart: checkOptions<KillOptions>("kill", KILL, given).noRestart ?? true };
}

/** Options of `getActor`, and of `getPlacementGroup`. @throws InvalidOptionError */
export function resolveGetActorOptions(
  given: GetActorOptions | undefined,
  what = "getActor",
): ResolvedWaitLimits & { readonly namespace: string | undefined } {
  const all = checkOptions<GetActorOptions>(what, GET_ACTOR, given);
  return { namespace: all.namespace, timeout: limit(all.timeout), signal: all.signal };
}

/** Options of `nodeAffinity`. @throws InvalidOptionError */
export function resolveNodeAffinityOptions(given: NodeAffinityOptions | undefined): {
  readonly soft: boolean;
} {
  return { soft: checkOptions<NodeAffinityOptions>("nodeAffinity", NODE_AFFINITY, given).soft ?? false };
}

/**
 * What can only be judged when an actor is created, all its options being known.
 * @param groupsUsed concurrency groups that its methods name
 * @throws InvalidOptionError for `getIfExists` without `name`, and for a method in a group that the actor does not have
 */
export function checkActorCreation(options: ResolvedActorOptions, groupsUsed: Iterable<string>): void {
  if (options.getIfExists && options.name === "") {
    throw new InvalidOptionError("getIfExists needs a name: give the actor one with { name }");
  }
  for (const group of groupsUsed) {
    if (Object.hasOwn(options.concurrencyGroups, group)) continue;
    const known = Object.keys(options.concurrencyGroups);
    throw new InvalidOptionError(
      `concurrencyGroup must be one of the actor's concurrencyGroups (${known.join(", ") || "it has none"}), got ${show(group)}`,
    );
  }
}

const NO_LIMITS: ResolvedWaitLimits = Object.freeze({ timeout: undefined, signal: undefined });

/** Infinity and nothing mean the same. */
function limit(timeout: number | undefined): number | undefined {
  return timeout === Number.POSITIVE_INFINITY ? undefined : timeout;
}

function demand(all: PlacementOptions, numCpus: number): Resources {
  return Object.freeze(
    toUnits({ ...all.resources, CPU: numCpus, GPU: all.numGpus ?? 0, memory: all.memory ?? 0 }),
  );
}

const ANYWHERE: ResolvedStrategy = Object.freeze({
  kind: "DEFAULT",
  nodeId: "",
  soft: false,
  labels: Object.freeze([]),
  groupId: "",
  bundle: -1,
});

function resolveStrategy(all: PlacementOptions): ResolvedStrategy {
  const given = all.schedulingStrategy ?? "DEFAULT";
  const labels = termsOf(all);
  if (given === "DEFAULT" && labels.length === 0) return ANYWHERE;
  const strategy = { ...ANYWHERE, labels };
  if (typeof given === "string") return Object.freeze({ ...strategy, kind: given });
  if (given.kind === "NODE_AFFINITY")
    return Object.freeze({ ...strategy, kind: given.kind, nodeId: given.nodeId, soft: given.soft });
  return Object.freeze({ ...strategy, kind: given.kind, groupId: given.group.id, bundle: given.bundle });
}

function termsOf({
  labelSelector: asked = {},
  acceleratorType: kind,
}: PlacementOptions): readonly LabelTerm[] {
  const terms = selectorTerms(asked);
  return kind === undefined ? terms : [...terms, { key: ACCELERATOR_LABEL, negated: false, values: [kind] }];
}

/** The terms of a selector that has been checked. */
export function selectorTerms(selector: LabelSelector): readonly LabelTerm[] {
  return Object.entries(selector).flatMap(([key, asked]) => parseTerm(key, asked) ?? []);
}

/** @throws InvalidOptionError when the group has no such bundle, or none that can ever hold `wanted` */
function groupOf(all: PlacementOptions, wanted: Resources): CallGroup | undefined {
  const given = all.schedulingStrategy;
  if (typeof given !== "object" || given.kind !== "PLACEMENT_GROUP") return undefined;
  const { group: facts, bundle, captureChildren } = given;
  const count = facts.bundles.length;
  if (bundle >= count)
    throw new InvalidOptionError(
      `placement: bundle must be from 0 to ${count - 1}, or -1 for any, in placement group ${facts.id}, got ${bundle}`,
    );
  const among = bundle < 0 ? facts.bundles : facts.bundles.slice(bundle, bundle + 1);
  if (!among.some((resources) => fits(wanted, toUnits(resources))))
    throw new InvalidOptionError(
      `${show(fromUnits(wanted))} can never fit ${bundle < 0 ? "any bundle" : `bundle ${bundle}`} of placement group ${facts.id}, which has ${show(among)}`,
    );
  return Object.freeze({ facts, captureChildren });
}

function keyOf(
  resources: Resources,
  { kind, nodeId, soft, labels, groupId, bundle }: ResolvedStrategy,
  env: RuntimeEnv | undefined,
): string {
  const environment = env === undefined ? [] : [runtimeEnvKey(env)];
  const sorted = Object.entries(resources).sort(([a], [b]) => (a < b ? -1 : 1));
  const selected = labels.length === 0 && groupId === "" ? [] : [labels, groupId, bundle];
  return JSON.stringify([sorted.flat(), kind, nodeId, soft, ...environment, ...selected]);
}

function resolveReturns(all: TaskOptions | MethodOptions, traits: CallableTraits): NumReturns {
  const streams = traits.streams ?? false;
  if (streams && all.numReturns !== undefined && all.numReturns !== "streaming") {
    throw new InvalidOptionError(
      `numReturns must be "streaming" or left out for a generator function, got ${all.numReturns}`,
    );
  }
  const resolved: NumReturns = streams ? "streaming" : (all.numReturns ?? 1);
  if (all.generatorBackpressure !== undefined && resolved !== "streaming") {
    throw new InvalidOptionError(
      'generatorBackpressure needs a generator function, or numReturns: "streaming"',
    );
  }
  return resolved;
}

function nodePart(all: NodeOptions): ResolvedNodeOptions {
  return {
    numCpus: all.numCpus,
    numGpus: all.numGpus,
    resources: Object.freeze({ ...all.resources }),
    labels: Object.freeze({ ...all.labels }),
    objectStoreMemory: all.objectStoreMemory,
    spillDir: all.spillDir,
  };
}
