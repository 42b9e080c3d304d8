/**
 * Steps 2, 3, 5 and 8 of a task's way, at its owner: wait for arguments, hold leases per scheduling class, push tasks
 * to leased workers, settle refs with what comes back, retry what was lost.
 *
 * Leases over raylets: leases.ts. This file decides what happens to one task.
 */
import { InvalidOptionError, PlacementGroupError, TaskCancelledError } from "../base/errors.ts";
import {
  byValueTask,
  describeFunction,
  isByValue,
  labelOf,
  type RegisteredTask,
} from "../base/function-registry.ts";
import { Numbered } from "../base/numbered.ts";
import type { ResolvedTaskOptions } from "../base/options.ts";
import type { ObjectEntry } from "../ownership/entries.ts";
import { INLINE_BYTES_MAX } from "../ownership/object-access.ts";
import type { Channel } from "../rpc/channel.ts";
import { type Payload, PayloadKind, Peer, type RunExtra } from "../rpc/messages.ts";
import { fillArguments } from "./arguments.ts";
import { CallRecord } from "./call-record.ts";
import { type Calls, DoneFlag, type Promised, type Submitted, submittedOf } from "./calls.ts";
import { Leases, type LeasesParts, type WorkerLoss } from "./leases.ts";
import { lossError } from "./loss-errors.ts";
import { FunctionState, type Lease, learnDuration, type SchedulingClass, TaskRecord } from "./records.ts";
import { judgeLoss, OOM_RETRIES_DEFAULT } from "./retry-policy.ts";

/** Failed tasks remembered for `tsray list tasks`. */
const FAILED_KEPT_MAX = 1000;
/** A task that waits for arguments this long is worth a line to the user. */
const ARGUMENTS_WARNING_MS = 10_000;
/** A worker that does not answer a cancel for this long is ended, where force was asked for. */
const FORCE_ANSWER_MS = 500;
/** Functions that travel by value whose durations are remembered. */
const BY_VALUE_MAX = 10_000;
/** Functions that are told to workers once, which then have them as long as they live; more travel with each call. */
const FIXED_MAX = 1000;

export interface TaskSubmitterParts
  extends Omit<LeasesParts, "onWorkerLost" | "dispatch" | "fail" | "objects"> {
  readonly calls: Calls;
  /** Called as work begins and ends, so that a driver stays alive while it waits. */
  readonly onBusy: (delta: 1 | -1) => void;
}

/** Why a call was cancelled along with the one that made it. */
export const CHILD_OF_CANCELLED = "the task that submitted it was cancelled";

/** A row of `tsray list tasks`. */
export interface TaskRow {
  readonly taskSeq: number;
  readonly name: string;
  readonly state: string;
  readonly reason: string;
  readonly nodeId: string;
  readonly pid: number;
  readonly attempt: number;
  readonly count: number;
}

export class TaskSubmitter {
  readonly #parts: TaskSubmitterParts;
  readonly #calls: Calls;
  readonly #leases: Leases;
  /** Every task that is not done. */
  readonly #tasks = new Numbered<TaskRecord>();
  /** What each worker was sent. */
  readonly #sent = new WeakMap<Channel, { readonly functions: Map<FunctionState, number>; runs: number }>();
  readonly #functions = new WeakMap<RegisteredTask, FunctionState>();
  readonly #byValue = new Map<string, FunctionState>();
  /** Functions whose code, with what it closes over, goes through the store at each call. */
  readonly #large = new WeakSet<RegisteredTask>();
  /** How many of those in `#functions` have code of their own. */
  #fixed = 0;
  readonly #failed: TaskRow[] = [];
  readonly #oomRetries = oomRetriesOf(process.env.TSRAY_OOM_RETRIES);
  #argumentsTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(parts: TaskSubmitterParts) {
    this.#parts = parts;
    this.#calls = parts.calls;
    this.#leases = new Leases({
      ...parts,
      objects: parts.calls.objects,
      fail: (task, error) => this.#fail(task, error),
      dispatch: (task, lease) => this.#dispatch(task, lease),
      onWorkerLost: (lease, tasks, loss) => this.#onWorkerLost(lease, tasks, loss),
    });
  }

  /** Refs at once; nothing is awaited. @throws SerializationError, ObjectStoreFullError */
  submit(
    record: RegisteredTask,
    args: readonly unknown[],
    options: ResolvedTaskOptions,
    promised?: Promised,
  ): Submitted {
    const label = labelOf(record);
    const name = options.name || label;
    const fn = this.#functionState(record);
    const parts =
      isByValue(record) && fn.code === undefined
        ? this.#calls.make(name, [callableOf(record), ...args], options.numReturns, promised, label)
        : this.#calls.make(name, args, options.numReturns, promised);
    const task = new TaskRecord(parts, fn, options);
    for (const entry of task.returns) entry.task = task;
    this.#begin(task);
    this.#calls.watch(task, options, (why) => this.#cancelTask(task, false, true, why));
    task.generator?.begin({
      consumed: (count) => this.#onConsumed(task, count),
      cancel: (force, recursive, why) => this.#cancelTask(task, force, recursive, why),
    });
    return submittedOf(task);
  }

  /** Makes the call behind a lost object once more. @returns why it may not, else undefined */
  reconstruct(entry: ObjectEntry): string | undefined {
    const { task, unmakeable } = entry;
    if (unmakeable !== undefined) return unmakeable;
    if (this.#isClosed) return "this process has left its cluster";
    if (!(task instanceof CallRecord)) return "the task that made it is not known";
    if (!(task instanceof TaskRecord)) return task.makeAgain(entry);
    if (task.state !== "done") return undefined;
    if (task.abandoned) return `task ${task.name} was cancelled`;
    const { maxRetries } = task.options;
    if (maxRetries >= 0 && entry.reconstructions >= maxRetries)
      return maxRetries === 0
        ? `task ${task.name} has maxRetries 0`
        : `task ${task.name} was run again ${entry.reconstructions} times, as often as its maxRetries allows`;
    for (const other of task.returns) {
      if (other.payload?.[0] === PayloadKind.stored) other.unsettle();
      other.reconstructions += 1;
    }
    task.state = "waiting";
    task.attempt += 1;
    task.losses = { ...task.losses, retries: task.losses.retries + 1 };
    this.#calls.lineage.resume(task);
    this.#begin(task);
    return undefined;
  }

  /** Cancels the task behind an object. No-op when it is done, or was no task's. */
  cancel(entry: ObjectEntry, force: boolean, recursive: boolean): void {
    if (entry.task instanceof TaskRecord) this.#cancelTask(entry.task, force, recursive, "it was cancelled");
  }

  /** Cancels what the given task of this process has submitted. */
  cancelChildren(parentSeq: number): void {
    for (const task of this.#tasks.values()) {
      if (task.parentSeq === parentSeq) this.#cancelTask(task, false, true, CHILD_OF_CANCELLED);
    }
  }

  onNodeDied(nodeId: string): void {
    this.#leases.onNodeDied(nodeId);
  }

  /** Tasks that are not done. */
  get count(): number {
    return this.#tasks.size;
  }

  list(rowsMax: number): TaskRow[] {
    const rows: TaskRow[] = [];
    const grouped = new Map<string, { row: TaskRow; count: number }>();
    for (const task of this.#tasks.values()) {
      const row = this.#row(task);
      if (row.state === "RUNNING" && rows.length < rowsMax) rows.push(row);
      else {
        const key = `${row.name}|${row.state}|${row.reason}`;
        const group = grouped.get(key);
        if (group) group.count += 1;
        else grouped.set(key, { row, count: 1 });
      }
    }
    for (const { row, count } of grouped.values()) rows.push({ ...row, count });
    return [...rows, ...this.#failed];
  }

  /** What tasks that are not done keep alive. */
  *pinnedEntries(): IterableIterator<ObjectEntry> {
    for (const { held } of this.#tasks.values()) if (held !== undefined) yield* held;
  }

  /** Ends every session; leases go back with them, and what is outstanding fails with `error`. */
  close(error: Payload): void {
    this.#isClosed = true;
    clearTimeout(this.#argumentsTimer);
    this.#leases.close();
    for (const task of this.#tasks.values()) this.#fail(task, error);
  }

  // --- messages from workers ---

  onDone(from: Channel, seq: number, micros: number, result: unknown, flags: number): void {
    const task = this.#tasks.get(seq);
    const lease = task?.lease;
    if (task === undefined || lease === undefined || lease.channel !== from) return;
    if (flags === 0) learnDuration(task.fn, micros);
    lease.remove(task);
    if (flags & DoneFlag.exitWorker) this.#leases.retire(lease);
    const isValue = flags === 0 || flags === DoneFlag.exitWorker;
    if (task.abandoned) {
      if (isValue) this.#calls.drop(task, result, from);
      this.#forget(task);
    } else if (isValue) this.#succeed(task, result, from);
    else this.#failOrRetry(task, result as Payload, flags);
    this.#leases.pump(lease.schedulingClass, lease);
  }

  onGiveBack(from: Channel, seqs: readonly number[]): void {
    // A worker that waits may be lent twice, for tasks of different classes.
    const back = new Map<SchedulingClass, TaskRecord[]>();
    for (const seq of seqs) {
      const task = this.#tasks.get(seq);
      const lease = task?.lease;
      if (task === undefined || lease?.channel !== from) continue;
      lease.remove(task);
      if (task.abandoned) this.#forget(task);
      else {
        task.state = "queued";
        const { schedulingClass } = lease;
        const others = back.get(schedulingClass);
        if (others === undefined) back.set(schedulingClass, [task]);
        else others.push(task);
      }
    }
    this.#leases.onGivenBack(from, back);
  }

  onItem(from: Channel, taskSeq: number, index: number, payload: Payload): void {
    const task = this.#tasks.get(taskSeq);
    if (task?.lease?.channel === from) this.#calls.item(task, index, payload, from);
  }

  // --- one task ---

  #functionState(record: RegisteredTask): FunctionState {
    if (isByValue(record)) return this.#byValueState(record);
    let state = this.#functions.get(record);
    if (state === undefined) {
      state = new FunctionState(record);
      this.#functions.set(record, state);
    }
    return state;
  }

  /**
   * Each `remote()` that comes late makes a record of its own: those of one source text are one function to the leases,
   * and come with each call. One that is called again and can only be the same again is told to a worker once.
   */
  #byValueState(record: RegisteredTask): FunctionState {
    const { objects } = this.#calls;
    const own = this.#functions.get(record);
    const isNever = this.#fixed >= FIXED_MAX || record.receiver !== undefined || this.#large.has(record);
    if (own === undefined && isNever) return this.#sharedState(record);
    if (!objects.isFixed(record.fn)) return this.#sharedState(record);
    if (own !== undefined) return own;
    const code = objects.packFunction(record.fn, record.name);
    if (code.length > INLINE_BYTES_MAX) {
      this.#large.add(record);
      return this.#sharedState(record);
    }
    const made = new FunctionState(record, code);
    made.estimateMicros = this.#sharedState(record).estimateMicros;
    this.#functions.set(record, made);
    this.#fixed += 1;
    return made;
  }

  #sharedState(record: RegisteredTask): FunctionState {
    const key = `${record.name}\n${record.hash}`;
    let state = this.#byValue.get(key);
    if (state === undefined) {
      state = new FunctionState(byValueTask(labelOf(record)));
      if (this.#byValue.size >= BY_VALUE_MAX) this.#byValue.clear();
      this.#byValue.set(key, state);
    }
    return state;
  }

  #begin(task: TaskRecord): void {
    this.#tasks.set(task.seq, task);
    this.#parts.onBusy(1);
    this.#calls.whenArgumentsReady(task, () => this.#enqueue(task));
    if (task.state !== "waiting") return;
    task.waitingSinceMs = performance.now();
    this.#argumentsTimer ??= setTimeout(this.#warnOfArguments, ARGUMENTS_WARNING_MS).unref();
  }

  /** Says once per function what its tasks wait for. */
  #warnOfArguments = (): void => {
    this.#argumentsTimer = undefined;
    let isAnyWaiting = false;
    for (const task of this.#tasks.values()) {
      if (task.state !== "waiting" || task.fn.hasWarned) continue;
      isAnyWaiting = true;
      if (performance.now() - task.waitingSinceMs < ARGUMENTS_WARNING_MS) continue;
      task.fn.hasWarned = true;
      this.#parts.warn(
        `task ${task.name} has waited ${ARGUMENTS_WARNING_MS / 1000} s for its arguments: ${describeMissing(task)}`,
      );
    }
    if (isAnyWaiting) this.#argumentsTimer = setTimeout(this.#warnOfArguments, ARGUMENTS_WARNING_MS).unref();
  };

  #enqueue(task: TaskRecord): void {
    const failed = this.#calls.failedArgument(task);
    if (failed !== undefined) {
      this.#fail(task, failed);
      return;
    }
    task.state = "queued";
    this.#leases.enqueue(task);
  }

  #dispatch(task: TaskRecord, lease: Lease): void {
    task.state = "running";
    lease.add(task);
    let sent = this.#sent.get(lease.channel);
    if (sent === undefined) {
      sent = { functions: new Map(), runs: 0 };
      this.#sent.set(lease.channel, sent);
    }
    sent.runs += 1;
    task.pushed = sent.runs;
    const indexes = sent.functions;
    let index = indexes.get(task.fn);
    if (index === undefined) {
      index = indexes.size;
      indexes.set(task.fn, index);
      const { record, code } = task.fn;
      const id = describeFunction(record);
      lease.channel.send(code === undefined ? [Peer.define, index, id] : [Peer.define, index, id, code]);
    }
    this.#calls.sendDefinitions(lease.channel, task);
    const { options } = task;
    const args = task.waitFor === undefined ? task.args : fillArguments(task.args, task.waitFor);
    const returns = options.numReturns === "streaming" ? -1 : options.numReturns;
    const first = task.generator?.firstSeq ?? task.returns[0]?.seq ?? 0;
    // The common shape is short; what few tasks need comes behind.
    if (options.isPlain && task.attempt === 0) {
      lease.channel.send([Peer.run, task.seq, index, first, args]);
    } else {
      const extra: RunExtra = {
        resources: options.resources,
        attempt: task.attempt,
        maxCalls: options.maxCalls,
        name: options.name,
        ahead: options.generatorBackpressure ?? 0,
        consumed: task.generator?.consumed ?? 0,
        gpuIds: lease.gpuIds,
        group: options.group ?? null,
      };
      lease.channel.send([Peer.run, task.seq, index, first, args, returns, extra]);
    }
  }

  #succeed(task: TaskRecord, result: unknown, from: Channel): void {
    this.#calls.succeed(task, result, from);
    this.#forget(task);
    // Lineage: only what lies in a store can be lost, and so made again.
    for (const entry of task.returns) if (entry.payload?.[0] !== PayloadKind.stored) entry.task = undefined;
    this.#calls.lineage.keep(task);
  }

  #failOrRetry(task: TaskRecord, payload: Payload, flags: number): void {
    if (flags & DoneFlag.cancelled) {
      this.#fail(task, payload);
      return;
    }
    const { retryExceptions } = task.options;
    if (flags & DoneFlag.userError && retryExceptions !== false && this.#hasRetriesLeft(task)) {
      if (retryExceptions === true || this.#calls.isOneOf(payload, retryExceptions)) {
        this.#retry(task);
        return;
      }
    }
    this.#fail(task, payload);
  }

  #hasRetriesLeft(task: TaskRecord): boolean {
    return task.options.maxRetries < 0 || task.losses.retries < task.options.maxRetries;
  }

  #retry(task: TaskRecord): void {
    task.attempt += 1;
    task.losses = { ...task.losses, retries: task.losses.retries + 1 };
    this.#enqueue(task);
  }

  #fail(task: TaskRecord, payload: Payload): void {
    if (this.#failed.length >= FAILED_KEPT_MAX) this.#failed.shift();
    this.#failed.push({ ...this.#row(task), state: "FAILED", reason: this.#calls.describeError(payload) });
    this.#calls.fail(task, payload);
    this.#forget(task);
    for (const entry of task.returns) entry.task = undefined;
  }

  #forget(task: TaskRecord): void {
    if (!this.#tasks.delete(task.seq)) return;
    task.state = "done";
    task.cleanup?.();
    task.cleanup = undefined;
    // Arguments stay only where the task may have to run again for a lost result.
    if (!task.returns.some((entry) => entry.payload?.[0] === PayloadKind.stored)) task.held = undefined;
    this.#parts.onBusy(-1);
  }

  #cancelTask(task: TaskRecord, force: boolean, recursive: boolean, why: string): void {
    if (task.state === "done") return;
    const { lease } = task;
    const payload = this.#calls.objects.errorPayload(
      new TaskCancelledError(`task ${task.name} was cancelled: ${why}`),
    );
    if (!task.abandoned) {
      if (lease === undefined) {
        if (task.state === "queued") this.#leases.dequeue(task);
        task.abandoned = true;
        this.#fail(task, payload);
        return;
      }
      task.abandoned = true;
      // The refs are settled now; the record stays until the worker answers.
      this.#calls.fail(task, payload);
      lease.channel.send([Peer.cancel, task.seq, recursive]);
    }
    if (force && lease !== undefined) this.#forceOut(task, lease);
  }

  /** Ends the worker that runs the task. One that is only queued there is dropped by the worker, if that can still answer. */
  #forceOut(task: TaskRecord, lease: Lease): void {
    if (lease.inFlight.first === task) {
      this.#leases.kill(lease);
      return;
    }
    setTimeout(() => {
      if (task.lease === lease) this.#leases.kill(lease);
    }, FORCE_ANSWER_MS).unref();
  }

  #onConsumed(task: TaskRecord, consumed: number): void {
    const { lease } = task;
    if (lease !== undefined && task.options.generatorBackpressure !== undefined) {
      lease.channel.send([Peer.consumed, task.seq, consumed]);
    }
  }

  /** The worker's own notes tell which tasks had begun; only those are charged, and only they can have crashed it. */
  #onWorkerLost(lease: Lease, tasks: readonly TaskRecord[], loss: WorkerLoss): void {
    const hasBegun = (task: TaskRecord) => loss.begun === undefined || task.pushed <= loss.begun;
    const alone = tasks.filter(hasBegun).length === 1;
    const again: TaskRecord[] = [];
    for (const task of tasks) {
      task.lease = undefined;
      if (task.abandoned) {
        this.#forget(task);
        continue;
      }
      if (loss.groupRemoved !== "") {
        this.#fail(task, this.#calls.objects.errorPayload(groupRemovedError(task, lease, loss)));
        continue;
      }
      const { nodeDied, exitCode, signal } = loss;
      const facts = {
        workerId: lease.worker.processId,
        nodeDied,
        outOfMemory: loss.outOfMemory !== undefined,
        exitCode,
        signal,
        begun: hasBegun(task),
        alone,
      };
      const limits = { maxRetries: task.options.maxRetries, oomRetries: this.#oomRetries };
      const verdict = judgeLoss(task.losses, facts, limits);
      if (verdict.kind === "fail") {
        const error = lossError(task, lease, loss, verdict.why, verdict.history);
        this.#fail(task, this.#calls.objects.errorPayload(error));
        continue;
      }
      if (verdict.kind === "retry") {
        task.attempt += 1;
        task.losses = verdict.history;
        // Which of several crashed it is not known: each goes alone from now on, so the next crash has one author.
        task.suspect ||= !alone;
      }
      if (verdict.kind === "retry" && verdict.pauseMs > 0) this.#enqueueLater(task, verdict.pauseMs);
      else again.push(task);
    }
    for (const task of again) task.state = "queued";
    this.#leases.requeue(lease.schedulingClass, again);
  }

  #enqueueLater(task: TaskRecord, pauseMs: number): void {
    task.state = "delayed";
    setTimeout(() => {
      if (task.state === "delayed") this.#enqueue(task);
    }, pauseMs).unref();
  }

  #row(task: TaskRecord): TaskRow {
    const { lease } = task;
    const state =
      task.state === "waiting"
        ? "PENDING_ARGS_AVAIL"
        : task.state === "queued"
          ? "PENDING_NODE_ASSIGNMENT"
          : task.state === "delayed"
            ? "PENDING_NODE_ASSIGNMENT"
            : "RUNNING";
    const reason =
      task.state === "waiting"
        ? "waiting for arguments"
        : task.state === "queued"
          ? this.#leases.whyPending(task)
          : task.state === "delayed"
            ? "pausing before it runs again"
            : "";
    return {
      taskSeq: task.seq,
      name: task.name,
      state,
      reason,
      nodeId: lease?.worker.nodeId ?? "",
      pid: lease?.worker.pid ?? 0,
      attempt: task.attempt,
      count: 1,
    };
  }
}

/** What travels: the function, with its `this` where a decorator gave it one. */
function callableOf({ fn, receiver }: RegisteredTask): unknown {
  return receiver === undefined ? fn : fn.bind(receiver as never);
}

function describeMissing(task: TaskRecord): string {
  const missing = (task.waitFor ?? []).filter((entry) => entry.payload === undefined);
  const makers = missing.flatMap(({ task: maker }) => (maker instanceof TaskRecord ? [maker.name] : []));
  const by = makers.length === 0 ? "" : `, made by ${[...new Set(makers)].slice(0, 3).join(", ")}`;
  return `${missing.length} of ${task.waitFor?.length ?? 0} refs have no value yet${by}`;
}

function oomRetriesOf(given: string | undefined): number {
  if (given === undefined || given === "") return OOM_RETRIES_DEFAULT;
  const times = Number(given);
  if (!Number.isSafeInteger(times) || times < 0)
    throw new InvalidOptionError(`TSRAY_OOM_RETRIES must be a whole number, 0 or more, got "${given}"`);
  return times;
}

function groupRemovedError(task: TaskRecord, { worker }: Lease, { groupRemoved }: WorkerLoss): Error {
  return new PlacementGroupError(
    `task ${task.name} was ended while it ran (worker ${worker.pid} on node ${worker.nodeId}): ${groupRemoved}`,
  );
}
