/** A task as its owner sees it, from submission to the last settled ref. */
import { labelOf, type RegisteredTask } from "../base/function-registry.ts";
import type { ResolvedTaskOptions } from "../base/options.ts";
import { type CallParts, CallRecord } from "./call-record.ts";
import type { Lease } from "./lease.ts";

export type TaskState = "waiting" | "queued" | "running" | "done";

/** A remote function as this owner uses it. */
export class FunctionState {
  readonly record: RegisteredTask;
  /** How long a call takes, in microseconds; undefined until one has been measured. */
  estimateMicros: number | undefined;

  constructor(record: RegisteredTask) {
    this.record = record;
  }

  get name(): string {
    return labelOf(this.record);
  }
}

export class TaskRecord extends CallRecord {
  readonly fn: FunctionState;
  readonly options: ResolvedTaskOptions;
  state: TaskState = "waiting";
  lease: Lease | undefined;
  /** Whether the worker is known to have begun it while an earlier one waits. */
  started = false;
  /** When it was first seen at the head of its queue without a lease; 0 = not yet. */
  queuedAtMs = 0;

  constructor(parts: CallParts, fn: FunctionState, options: ResolvedTaskOptions) {
    super(parts);
    this.fn = fn;
    this.options = options;
  }

  get name(): string {
    return this.options.name || this.fn.name;
  }
}
