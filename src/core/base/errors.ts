/**
 * Every error that tsray throws: one class per kind, one row of {@link ERROR_TABLE} per class.
 *
 * A message says what happened and where; `act` of the row says what to do about it and is appended to the message.
 * Errors that cross a process boundary travel as {@link ErrorRecord} (class name, message, fields) and come back as the
 * same class. Bottom file: imports nothing.
 */

interface ErrorRow {
  readonly code: `ERR_TSRAY_${string}`;
  /** What the reader can do. Appended to every message of the class. */
  readonly act: string;
  /** Whether the same call may succeed when it is simply made again. */
  readonly retryable: boolean;
}

/** The table behind the error classes: stable code, advice, and whether a plain retry can help. */
export const ERROR_TABLE = {
  TaskError: {
    code: "ERR_TSRAY_TASK",
    act: "the original error is in .cause, its stack in .remoteStack",
    retryable: false,
  },
  WorkerCrashedError: {
    code: "ERR_TSRAY_WORKER_CRASHED",
    act: "look at the worker's last output above; raise maxRetries if the crash is expected to pass",
    retryable: true,
  },
  PoisonTaskError: {
    code: "ERR_TSRAY_POISON_TASK",
    act: "mend what crashes the process; maxRetries: -1 runs it for ever, with growing pauses",
    retryable: false,
  },
  ActorDiedError: {
    code: "ERR_TSRAY_ACTOR_DIED",
    act: "create the actor again, or give it maxRestarts so that tsray restarts it",
    retryable: false,
  },
  ActorUnavailableError: {
    code: "ERR_TSRAY_ACTOR_UNAVAILABLE",
    act: "the actor is restarting or out of reach: call again later, or set maxTaskRetries",
    retryable: true,
  },
  ObjectLostError: {
    code: "ERR_TSRAY_OBJECT_LOST",
    act: "set maxRetries on the task that makes the object, or put it again",
    retryable: false,
  },
  OwnerDiedError: {
    code: "ERR_TSRAY_OWNER_DIED",
    act: "the process that created the ref has ended: create objects that must outlive it in a longer-lived process",
    retryable: false,
  },
  RefDisposedError: {
    code: "ERR_TSRAY_REF_DISPOSED",
    act: "use the ref before its scope ends, or hold it in a variable without `using`",
    retryable: false,
  },
  ObjectStoreFullError: {
    code: "ERR_TSRAY_OBJECT_STORE_FULL",
    act: "drop refs you no longer need, or start the node with a larger objectStoreMemory",
    retryable: true,
  },
  OutOfMemoryError: {
    code: "ERR_TSRAY_OUT_OF_MEMORY",
    act: "ask for more memory per task (fewer run at once) or use a larger node",
    retryable: true,
  },
  NodeDiedError: {
    code: "ERR_TSRAY_NODE_DIED",
    act: "check the raylet's log on that node; raise maxRetries so that the task runs elsewhere",
    retryable: true,
  },
  GetTimeoutError: {
    code: "ERR_TSRAY_GET_TIMEOUT",
    act: "wait longer, or see `tsray list tasks` for what the task is waiting for",
    retryable: true,
  },
  TaskCancelledError: {
    code: "ERR_TSRAY_TASK_CANCELLED",
    act: "submit the task again if its result is still wanted",
    retryable: false,
  },
  PendingCallsLimitError: {
    code: "ERR_TSRAY_PENDING_CALLS_LIMIT",
    act: "await some of the outstanding calls first, or raise maxPendingCalls",
    retryable: true,
  },
  FunctionNotFoundError: {
    code: "ERR_TSRAY_FUNCTION_NOT_FOUND",
    act: "call remote() at the top level of a module, above `await init()`, so that workers evaluate it too",
    retryable: false,
  },
  SerializationError: {
    code: "ERR_TSRAY_SERIALIZATION",
    act: "pass plain data, or teach tsray the class with registerSerializer()",
    retryable: false,
  },
  RuntimeEnvError: {
    code: "ERR_TSRAY_RUNTIME_ENV",
    act: "fix the runtimeEnv of the task, actor or job",
    retryable: false,
  },
  PlacementGroupError: {
    code: "ERR_TSRAY_PLACEMENT_GROUP",
    act: "check the placement group's bundles and state",
    retryable: false,
  },
  UnschedulableError: {
    code: "ERR_TSRAY_UNSCHEDULABLE",
    act: "compare what was asked for with `tsray status`",
    retryable: false,
  },
  AuthenticationError: {
    code: "ERR_TSRAY_AUTHENTICATION",
    act: "bring the cluster's token: init({ token }), TSRAY_TOKEN_FILE or --token-file",
    retryable: false,
  },
  ClusterUnreachableError: {
    code: "ERR_TSRAY_CLUSTER_UNREACHABLE",
    act: "check the address, and that `tsray start --head` is running there",
    retryable: true,
  },
  AlreadyInitializedError: {
    code: "ERR_TSRAY_ALREADY_INITIALIZED",
    act: "call shutdown() first, or init({ ignoreReinit: true })",
    retryable: false,
  },
  NotInitializedError: {
    code: "ERR_TSRAY_NOT_INITIALIZED",
    act: "call `await init()` first",
    retryable: false,
  },
  TuneError: {
    code: "ERR_TSRAY_TUNE",
    act: "what is recorded of the experiment stays: Tuner.restore(path) goes on with it",
    retryable: false,
  },
  InvalidOptionError: {
    code: "ERR_TSRAY_INVALID_OPTION",
    act: "see the option's documentation",
    retryable: false,
  },
} as const satisfies Record<string, ErrorRow>;

/** Name of an error class of tsray. */
export type ErrorName = keyof typeof ERROR_TABLE;

/** An error on its way between processes: plain data that msgpack and protobuf can carry. */
export interface ErrorRecord {
  readonly name: ErrorName;
  readonly message: string;
  /** Own fields of the class (plain data only; `cause` travels beside, through the value codec). */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Base of all errors of tsray. `code` is stable across versions; recognise errors by it or by `instanceof`. */
export class TsrayError extends Error {
  declare readonly code: string;
  /** Whether the same call may succeed when it is simply made again. */
  declare readonly retryable: boolean;

  constructor(name: ErrorName, message: string, options?: ErrorOptions) {
    const row: ErrorRow = ERROR_TABLE[name];
    super(message.endsWith(row.act) ? message : `${message}\n  -> ${row.act}`, options);
    Object.defineProperty(this, "name", { value: name, configurable: true, writable: true });
    Object.defineProperty(this, "code", { value: row.code, enumerable: true, configurable: true });
    Object.defineProperty(this, "retryable", { value: row.retryable, configurable: true });
  }
}

/** A user's function threw: `.cause` is what it threw, rebuilt in its own class where that class can be found here. */
export class TaskError extends TsrayError {
  declare readonly functionName: string;
  declare readonly pid: number;
  declare readonly nodeId: string;
  /** The stack as the worker saw it. */
  declare readonly remoteStack: string;

  constructor(
    message: string,
    fields: Partial<Pick<TaskError, "functionName" | "pid" | "nodeId" | "remoteStack">> = {},
    options?: ErrorOptions,
  ) {
    super("TaskError", message, options);
    Object.assign(this, fields);
  }
}

/** The worker process ended while it ran the task: exit code or signal, and its last lines on standard error. */
export class WorkerCrashedError extends TsrayError {
  declare readonly pid: number;
  declare readonly exitCode: number | null;
  declare readonly signal: string | null;
  declare readonly stderrTail: string;

  constructor(
    message: string,
    fields: Partial<Pick<WorkerCrashedError, "pid" | "exitCode" | "signal" | "stderrTail">> = {},
    name: "WorkerCrashedError" | "PoisonTaskError" = "WorkerCrashedError",
  ) {
    super(name, message);
    Object.assign(this, fields);
  }
}

/** The task crashed several workers by itself, with nothing else running there: it is not run again. */
export class PoisonTaskError extends WorkerCrashedError {
  constructor(message: string, fields: ConstructorParameters<typeof WorkerCrashedError>[1] = {}) {
    super(message, fields, "PoisonTaskError");
  }
}

/**
 * A worker was ended because its node ran out of memory (by the node, or by the kernel), or ended because its own
 * JavaScript heap was exhausted. The figures are there in the first case: what the worker held (0: the kernel was
 * quicker than the node could look), what was used on the node or in its control group, and of how much.
 */
export class OutOfMemoryError extends TsrayError {
  declare readonly pid: number;
  declare readonly nodeId: string;
  declare readonly workerBytes: number;
  declare readonly usedBytes: number;
  declare readonly limitBytes: number;

  constructor(
    message: string,
    fields: Partial<
      Pick<OutOfMemoryError, "pid" | "nodeId" | "workerBytes" | "usedBytes" | "limitBytes">
    > = {},
  ) {
    super("OutOfMemoryError", message);
    Object.assign(this, fields);
  }
}

/** The actor is gone for good. `maybeExecuted` tells whether the failed call may have run before it died. */
export class ActorDiedError extends TsrayError {
  declare readonly actorId: string;
  declare readonly maybeExecuted: boolean;

  constructor(
    message: string,
    fields: Partial<Pick<ActorDiedError, "actorId" | "maybeExecuted">> = {},
    options?: ErrorOptions,
  ) {
    super("ActorDiedError", message, options);
    Object.assign(this, fields);
  }
}

/** The actor is restarting or out of reach; it may come back. */
export class ActorUnavailableError extends TsrayError {
  declare readonly actorId: string;
  declare readonly maybeExecuted: boolean;

  constructor(
    message: string,
    fields: Partial<Pick<ActorUnavailableError, "actorId" | "maybeExecuted">> = {},
  ) {
    super("ActorUnavailableError", message);
    Object.assign(this, fields);
  }
}

/** Every copy of the object is gone and it cannot be made again. */
export class ObjectLostError extends TsrayError {
  declare readonly objectId: string;

  constructor(message: string, fields: Partial<Pick<ObjectLostError, "objectId">> = {}) {
    super("ObjectLostError", message);
    Object.assign(this, fields);
  }
}

/** The process that owns the object (and knows its value or place) has ended. */
export class OwnerDiedError extends TsrayError {
  declare readonly objectId: string;

  constructor(message: string, fields: Partial<Pick<OwnerDiedError, "objectId">> = {}) {
    super("OwnerDiedError", message);
    Object.assign(this, fields);
  }
}

function simple<N extends ErrorName>(name: N) {
  return class extends TsrayError {
    constructor(message: string, options?: ErrorOptions) {
      super(name, message, options);
    }
  };
}

/** A ref was used after `Symbol.dispose` let go of its object. */
export class RefDisposedError extends simple("RefDisposedError") {}
/** The object does not fit the node's store, and nothing can be evicted. */
export class ObjectStoreFullError extends simple("ObjectStoreFullError") {}
/** The node that ran the task is dead or unreachable. */
export class NodeDiedError extends simple("NodeDiedError") {}
/** `get` waited for its timeout and the object was not there. */
export class GetTimeoutError extends simple("GetTimeoutError") {}
/** The task, or something it depends on, was cancelled. */
export class TaskCancelledError extends simple("TaskCancelledError") {}
/** More calls are outstanding on the actor handle than `maxPendingCalls` allows. */
export class PendingCallsLimitError extends simple("PendingCallsLimitError") {}
/** A worker could not find the function or class that the call names. */
export class FunctionNotFoundError extends simple("FunctionNotFoundError") {}
/** A value cannot travel between processes; the message names the path to the part that cannot. */
export class SerializationError extends simple("SerializationError") {}
/** The runtime environment of a job, task or actor could not be set up. */
export class RuntimeEnvError extends simple("RuntimeEnvError") {}
/** A placement group cannot be created or used. */
export class PlacementGroupError extends simple("PlacementGroupError") {}
/** The demand can never be met (thrown only where it was asked to fail fast, such as hard node affinity). */
export class UnschedulableError extends simple("UnschedulableError") {}
/** The token was missing or wrong. */
export class AuthenticationError extends simple("AuthenticationError") {}
/** No cluster answers at the address, or the connection to it is gone. */
export class ClusterUnreachableError extends simple("ClusterUnreachableError") {}
/** `init` was called twice without `shutdown`. */
export class AlreadyInitializedError extends simple("AlreadyInitializedError") {}
/** The call needs `init` first, or came after `shutdown`. */
export class NotInitializedError extends simple("NotInitializedError") {}
/** An experiment of tsray/tune cannot begin, go on or be read. */
export class TuneError extends simple("TuneError") {}
/** An option does not exist or is out of range; the message names it and what it takes. */
export class InvalidOptionError extends simple("InvalidOptionError") {}

const CLASSES: Record<ErrorName, new (message: string) => TsrayError> = {
  TaskError,
  WorkerCrashedError,
  PoisonTaskError,
  ActorDiedError,
  ActorUnavailableError,
  ObjectLostError,
  OwnerDiedError,
  RefDisposedError,
  ObjectStoreFullError,
  OutOfMemoryError,
  NodeDiedError,
  GetTimeoutError,
  TaskCancelledError,
  PendingCallsLimitError,
  FunctionNotFoundError,
  SerializationError,
  RuntimeEnvError,
  PlacementGroupError,
  UnschedulableError,
  AuthenticationError,
  ClusterUnreachableError,
  AlreadyInitializedError,
  NotInitializedError,
  TuneError,
  InvalidOptionError,
};

/** Turns an error of tsray into plain data for another process. `cause` is left to the value codec. */
export function toErrorRecord(error: TsrayError): ErrorRecord {
  const fields: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(error)) if (key !== "code") fields[key] = value;
  return { name: error.name as ErrorName, message: error.message, fields };
}

/** The inverse of {@link toErrorRecord}. An unknown name (a newer peer) becomes a plain TsrayError. */
export function fromErrorRecord(record: ErrorRecord, cause?: unknown): TsrayError {
  const Class = Object.hasOwn(CLASSES, record.name) ? CLASSES[record.name] : undefined;
  const error = Class ? new Class(record.message) : new TsrayError("TaskError", record.message);
  for (const [key, value] of Object.entries(record.fields)) {
    Object.defineProperty(error, key, { value, enumerable: true, configurable: true, writable: true });
  }
  if (cause !== undefined)
    Object.defineProperty(error, "cause", { value: cause, configurable: true, writable: true });
  return error;
}
