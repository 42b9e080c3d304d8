/** A task as its owner sees it, from submission to the last settled ref. */
import type { RegisteredFunction } from "../base/function-registry.ts";
import type { ResolvedTaskOptions } from "../base/options.ts";
import type { ObjectEntry } from "../ownership/entries.ts";
import type { ArgsPayload } from "../rpc/messages.ts";
import type { GeneratorState } from "./generator-state.ts";
import type { Lease } from "./lease.ts";

export type TaskState = "waiting" | "queued" | "running" | "done";

export class TaskRecord {
  readonly seq: number;
  readonly fn: RegisteredFunction;
  readonly options: ResolvedTaskOptions;
  /** The refs it gives; empty for generators and for numReturns 0. */
  readonly returns: readonly ObjectEntry[];
  readonly generator: GeneratorState | undefined;
  readonly args: ArgsPayload;
  /** Refs and handles among the arguments: alive until the task is done. */
  held: readonly ObjectEntry[] | undefined;
  /** The task that submitted it, for recursive cancel. */
  readonly parentSeq: number | undefined;
  state: TaskState = "waiting";
  /** 0 for the first run. */
  attempt = 0;
  lease: Lease | undefined;
  /** Whether the worker is known to have begun it. */
  started = false;
  /** Set when it was cancelled or timed out: what the worker answers is dropped. */
  abandoned = false;
  /** Undoes the abort listener and the timer of its options. */
  cleanup: (() => void) | undefined;

  constructor(
    seq: number,
    fn: RegisteredFunction,
    options: ResolvedTaskOptions,
    returns: readonly ObjectEntry[],
    generator: GeneratorState | undefined,
    args: ArgsPayload,
    held: readonly ObjectEntry[] | undefined,
    parentSeq: number | undefined,
  ) {
    this.seq = seq;
    this.fn = fn;
    this.options = options;
    this.returns = returns;
    this.generator = generator;
    this.args = args;
    this.held = held;
    this.parentSeq = parentSeq;
  }

  get name(): string {
    return this.options.name || this.fn.name;
  }
}
