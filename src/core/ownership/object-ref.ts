/** The public handle on a value that exists, or will exist, somewhere in the cluster. */
import { inspect } from "node:util";
import { RefDisposedError } from "../base/errors.ts";
import { objectIdOf } from "../base/ids.ts";
import type { ObjectEntry } from "./entries.ts";

/** How awaiting a ref gets at the value; set once by the composition root, so that this file needs nothing above it. */
let resolve: (ref: ObjectRef<unknown>) => Promise<unknown> = () => new Promise(() => {});

export function setRefResolver(resolver: (ref: ObjectRef<unknown>) => Promise<unknown>): void {
  resolve = resolver;
}

const INTERNAL = Symbol("tsray.internal");

/**
 * A reference to a value of type `T`. Awaiting it is `get(ref)`.
 * The value lives while any process of the cluster holds a ref to it. `using ref = put(value)` lets go of it at the end of
 * the scope. Not to be constructed by users.
 */
export class ObjectRef<out T = unknown> implements PromiseLike<T>, Disposable {
  /** The entry; once disposed of, the id that is left. @internal */
  [INTERNAL]: ObjectEntry | string;
  declare private readonly __type?: T;

  /** @internal */
  constructor(entry: ObjectEntry) {
    this[INTERNAL] = entry;
  }

  /** Printed form of the object's id: stable across processes. */
  get id(): string {
    const entry = this[INTERNAL];
    return typeof entry === "string" ? entry : objectIdOf(entry.owner.processId, entry.seq);
  }

  /** Waits for the value, as `get(this)`. */
  // biome-ignore lint/suspicious/noThenProperty: a ref is awaitable by contract
  then<R1 = T, R2 = never>(
    onFulfilled?: ((value: T) => R1 | PromiseLike<R1>) | null,
    onRejected?: ((reason: unknown) => R2 | PromiseLike<R2>) | null,
  ): Promise<R1 | R2> {
    return (resolve(this) as Promise<T>).then(onFulfilled, onRejected);
  }

  /** As `Promise.prototype.catch`. */
  catch<R = never>(onRejected?: ((reason: unknown) => R | PromiseLike<R>) | null): Promise<T | R> {
    return this.then(undefined, onRejected);
  }

  /** As `Promise.prototype.finally`. */
  finally(onFinally?: (() => void) | null): Promise<T> {
    return (resolve(this) as Promise<T>).finally(onFinally);
  }

  /**
   * This ref no longer holds the object, which goes with the last ref that does; other refs to it are not affected.
   * Waiting for what was asked for before goes on. Using the ref later throws RefDisposedError; disposing again does nothing.
   */
  [Symbol.dispose](): void {
    this[INTERNAL] = this.id;
  }

  toString(): string {
    return `ObjectRef(${this.id})`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** The entry behind a ref, for the runtime. @throws RefDisposedError */
export function entryOf(ref: ObjectRef<unknown>): ObjectEntry {
  const entry = ref[INTERNAL];
  if (typeof entry === "string")
    throw new RefDisposedError(`ref ${entry} was disposed of before it was used`);
  return entry;
}

export function isObjectRef(value: unknown): value is ObjectRef<unknown> {
  return value instanceof ObjectRef;
}
