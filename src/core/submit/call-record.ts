/** A call on its way, of a function or of an actor's method: what settling its refs needs. */
import type { InLine } from "../base/numbered.ts";
import type { ObjectEntry } from "../ownership/entries.ts";
import type { ArgsPayload } from "../rpc/messages.ts";
import type { GeneratorState } from "./generator-state.ts";

export interface CallParts {
  /** Its number in this process, across tasks and actor calls. */
  readonly seq: number;
  /** The refs it gives; empty for generators and for numReturns 0. */
  readonly returns: readonly ObjectEntry[];
  readonly generator: GeneratorState | undefined;
  readonly args: ArgsPayload;
  /** Refs and handles among the arguments: alive until the call is done. */
  readonly held: readonly ObjectEntry[] | undefined;
  /** Code of the functions among the arguments. */
  readonly definitions: ReadonlyMap<string, unknown> | undefined;
  /** Top-level refs among the arguments, in order: it starts when they are ready. */
  readonly waitFor: readonly ObjectEntry[] | undefined;
  /** The task that made the call, for recursive cancel. */
  readonly parentSeq: number | undefined;
}

export class CallRecord implements InLine {
  readonly seq: number;
  readonly returns: readonly ObjectEntry[];
  readonly generator: GeneratorState | undefined;
  readonly args: ArgsPayload;
  held: readonly ObjectEntry[] | undefined;
  readonly definitions: ReadonlyMap<string, unknown> | undefined;
  readonly waitFor: readonly ObjectEntry[] | undefined;
  readonly parentSeq: number | undefined;
  /** 0 for the first run. */
  attempt = 0;
  /** Set when it was cancelled or timed out: what the worker answers is dropped. */
  abandoned = false;
  /** Of those that have been sent where it was, and not been answered. */
  line: InLine["line"];
  before: InLine | undefined;
  after: InLine | undefined;
  /** Undoes the abort listener and the timer of its options. */
  cleanup: (() => void) | undefined;

  constructor(parts: CallParts) {
    this.seq = parts.seq;
    this.returns = parts.returns;
    this.generator = parts.generator;
    this.args = parts.args;
    this.held = parts.held;
    this.definitions = parts.definitions;
    this.waitFor = parts.waitFor;
    this.parentSeq = parts.parentSeq;
  }

  /** Has a lost result made again. @returns why it cannot be, else undefined: it is on its way */
  makeAgain(_lost: ObjectEntry): string | undefined {
    return undefined;
  }
}
