/** `get`, `put`, `wait`, `cancel`, `free`. */
import { inspect } from "node:util";
import { forceOfActorCall } from "../actors/actor-client.ts";
import type { GetFn, PutFn, WaitFn } from "../core/api/types.ts";
import { GetTimeoutError, InvalidOptionError, ObjectLostError } from "../core/base/errors.ts";
import {
  type CancelOptions,
  type GetOptions,
  type ResolvedWaitLimits,
  resolveCancelOptions,
  resolveGetOptions,
  resolveWaitOptions,
  type WaitOptions,
} from "../core/base/options.ts";
import type { ObjectEntry } from "../core/ownership/entries.ts";
import { entryOf, isObjectRef, type ObjectRef } from "../core/ownership/object-ref.ts";
import { ObjectRefGenerator, sourceOf } from "../core/ownership/object-ref-generator.ts";
import { PayloadKind } from "../core/rpc/messages.ts";
import { awaitEntry, waiting } from "./await-entry.ts";
import type { Runtime } from "./runtime.ts";
import { runtimeForCall } from "./state.ts";

/** See {@link GetFn}. */
export const get: GetFn = ((what: unknown, options?: GetOptions): Promise<unknown> => {
  const limits = resolveGetOptions(options);
  const runtime = runtimeForCall();
  if (isObjectRef(what))
    return limited(
      limits,
      () => awaitEntry(runtime, entryOf(what)),
      () => `ref ${what.id}`,
    );
  if (!Array.isArray(what)) throw notARef("get()", what);
  const refs = what.map((ref: unknown) => {
    if (!isObjectRef(ref)) throw notARef("get()", ref);
    return ref;
  });
  const pending = () => {
    const late = refs.filter((ref) => entryOf(ref).payload === undefined);
    return `${late.length} of ${refs.length} refs (first: ${late[0]?.id ?? "none"})`;
  };
  return limited(limits, () => getAll(runtime, refs.map(entryOf)), pending);
}) as GetFn;

/** Values in order; the first error, without waiting for slower ones. One registration for the whole list. */
function getAll(runtime: Runtime, entries: readonly ObjectEntry[]): Promise<unknown[]> {
  const values = new Array<unknown>(entries.length);
  let missing = entries.length;
  if (missing === 0) return Promise.resolve(values);
  return waiting(
    runtime,
    () =>
      new Promise((resolve, reject) => {
        const take = (i: number, value: unknown) => {
          values[i] = value;
          missing -= 1;
          if (missing === 0) resolve(values);
        };
        entries.forEach((entry, i) => {
          if (runtime.isConnected) runtime.objects.ask(entry);
          entry.whenReady(() => {
            const { payload } = entry;
            if (payload?.[0] === PayloadKind.plain) take(i, payload[1]);
            else runtime.objects.materialise(entry).then((value) => take(i, value), reject);
          });
        });
      }),
  );
}

/** See {@link PutFn}. */
export const put: PutFn = ((value: unknown) => {
  if (isObjectRef(value))
    throw new InvalidOptionError("put() takes a value, got a ref: a ref is a value in the store already");
  return runtimeForCall().put(value);
}) as PutFn;

/** See {@link WaitFn}. */
export const wait: WaitFn = (async (refs: readonly ObjectRef<unknown>[], options?: WaitOptions) => {
  if (!Array.isArray(refs)) throw notARef("wait()", refs);
  const { ready, areOwned, areAscending } = survey(refs);
  const { numReturns, timeout, signal } = resolveWaitOptions(options, refs.length);
  const runtime = runtimeForCall();
  // A process has one entry per object. Ids would have to be made: a wait in a loop costs the square of what it costs here.
  if (!areAscending && new Set(refs.map(entryOf)).size !== refs.length)
    throw new InvalidOptionError("wait() was given the same ref twice");
  if (!areOwned && runtime.isConnected) for (const ref of refs) runtime.objects.ask(entryOf(ref));
  if (signal?.aborted) throw signal.reason as Error;
  if (ready < numReturns && timeout !== 0)
    await waitFor(runtime, refs.map(entryOf), numReturns, { timeout, signal });
  return split(refs, numReturns);
}) as WaitFn;

/** What a wait has to know of its refs, in one look at each. @throws InvalidOptionError when one is none */
function survey(refs: readonly unknown[]) {
  let ready = 0;
  let areOwned = true;
  /** In the order in which this process made them: then no two are the same. */
  let areAscending = true;
  let seq = -1;
  for (const ref of refs) {
    if (!isObjectRef(ref)) throw notARef("wait()", ref);
    const entry = entryOf(ref);
    if (!entry.owned) areOwned = false;
    if (!entry.owned || entry.seq <= seq) areAscending = false;
    seq = entry.seq;
    if (entry.payload !== undefined) ready += 1;
  }
  return { ready, areOwned, areAscending };
}

/** The first `count` that are ready, and the others, both in order. */
function split(refs: readonly ObjectRef<unknown>[], count: number) {
  const ready: ObjectRef<unknown>[] = [];
  const late: ObjectRef<unknown>[] = [];
  let at = 0;
  for (; at < refs.length && ready.length < count; at++) {
    const ref = refs[at] as ObjectRef<unknown>;
    if (entryOf(ref).payload !== undefined) ready.push(ref);
    else late.push(ref);
  }
  const rest = refs.slice(at);
  return { ready, pending: late.length === 0 ? rest : late.concat(rest) };
}

function waitFor(
  runtime: Runtime,
  entries: readonly ObjectEntry[],
  count: number,
  { timeout, signal }: ResolvedWaitLimits,
): Promise<void> {
  return waiting(
    runtime,
    () =>
      new Promise((resolve, reject) => {
        let ready = 0;
        const onReady = () => {
          ready += 1;
          if (ready >= count) finish();
        };
        const onAbort = () => finish(signal?.reason as Error);
        const timer = timeout === undefined ? undefined : setTimeout(() => finish(), timeout);
        const finish = (error?: Error) => {
          clearTimeout(timer);
          signal?.removeEventListener("abort", onAbort);
          for (const entry of entries) entry.forget(onReady);
          if (error === undefined) resolve();
          else reject(error);
        };
        signal?.addEventListener("abort", onAbort, { once: true });
        for (const entry of entries) {
          if (entry.payload === undefined) entry.whenReady(onReady);
          else ready += 1;
        }
        if (ready >= count) finish();
      }),
  );
}

/**
 * Cancels the task or actor call behind a ref: queued work is removed, running work sees its `signal` aborted, and the
 * ref rejects with TaskCancelledError. No-op for what is done. A synchronous loop is only ended by `force`.
 *
 * @throws InvalidOptionError when it is given no ref, or `force` for an actor's call
 */
export function cancel(
  target: ObjectRef<unknown> | ObjectRefGenerator<unknown>,
  options?: CancelOptions,
): void {
  const { force, recursive } = resolveCancelOptions(options);
  const runtime = runtimeForCall();
  if (target instanceof ObjectRefGenerator) {
    sourceOf(target).cancel(force, recursive);
    return;
  }
  if (!isObjectRef(target)) throw notARef("cancel()", target);
  const entry = entryOf(target);
  if (force && entry.task !== undefined && "client" in entry.task) throw forceOfActorCall();
  runtime.cancelEntry(entry, force, recursive);
}

/** Drops the stored values of refs now, wherever they lie; getting them later gives ObjectLostError. Small values stay. */
export function free(refs: ObjectRef<unknown> | readonly ObjectRef<unknown>[]): void {
  const runtime = runtimeForCall();
  const list: readonly unknown[] = Array.isArray(refs) ? refs : [refs];
  for (const ref of list) {
    if (!isObjectRef(ref)) throw notARef("free()", ref);
    const entry = entryOf(ref);
    const { payload } = entry;
    if (!entry.owned || payload?.[0] !== PayloadKind.stored) continue;
    runtime.objects.freeEntry(entry, payload[2]);
    entry.task = undefined;
    entry.settle(
      runtime.objects.errorPayload(
        new ObjectLostError(`object ${ref.id} was freed with free()`, { objectId: ref.id }),
      ),
    );
  }
}

function limited<T>(limits: ResolvedWaitLimits, wait: () => Promise<T>, what: () => string): Promise<T> {
  // What is asked for most takes no way around.
  const isUnlimited = limits.timeout === undefined && limits.signal === undefined;
  return isUnlimited ? wait() : withLimits(limits, wait, what);
}

async function withLimits<T>(
  { timeout, signal }: ResolvedWaitLimits,
  wait: () => Promise<T>,
  what: () => string,
): Promise<T> {
  if (signal?.aborted) throw signal.reason;
  return new Promise<T>((resolve, reject) => {
    const late = () => reject(new GetTimeoutError(`get() waited ${timeout} ms for ${what()}`));
    // A timeout of 0 takes what is there now: values that are need no more than this turn.
    const timer = timeout === undefined ? undefined : timeout === 0 ? undefined : setTimeout(late, timeout);
    if (timeout === 0) setImmediate(late);
    const onAbort = () => reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    wait()
      .then(resolve, reject)
      .finally(() => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      });
  });
}

function notARef(caller: string, value: unknown): InvalidOptionError {
  return new InvalidOptionError(
    `${caller} takes refs (of remote calls or put()), got ${inspect(value, { depth: 0 })}`,
  );
}
