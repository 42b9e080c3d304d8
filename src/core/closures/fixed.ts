/**
 * Which functions are the same data each time they are sent, so that sending them once is enough: those whose variables
 * have their last values, none of which can be changed in itself (an array can, the number in a `const` cannot).
 */
import { isClass } from "../base/function-registry.ts";
import type { AnyFunction, LoweredFunction } from "../serialize/hooks.ts";

export interface FixedParts {
  /** Whether nothing assigns to the function's variables any more. */
  readonly isSettled: (fn: AnyFunction) => boolean;
  /** @throws CannotTravel */
  readonly lower: (fn: AnyFunction) => LoweredFunction;
}

/** A function, and what would show that somebody gave it properties since. */
interface Member {
  readonly fn: AnyFunction;
  readonly keys: number;
  readonly parent: unknown;
}

export class FixedFunctions {
  readonly #parts: FixedParts;
  /** The function and those that it uses; undefined for one that is not fixed. */
  readonly #members = new WeakMap<AnyFunction, readonly Member[] | undefined>();

  constructor(parts: FixedParts) {
    this.#parts = parts;
  }

  has(fn: AnyFunction): boolean {
    if (!this.#parts.isSettled(fn)) return false;
    if (!this.#members.has(fn)) this.#members.set(fn, this.#membersOf(fn));
    return this.#members.get(fn)?.every(isAsItWas) === true;
  }

  #membersOf(fn: AnyFunction): readonly Member[] | undefined {
    const found = new Map<AnyFunction, Member>([[fn, memberOf(fn)]]);
    for (const each of found.keys()) {
      // A method that is replaced would not show.
      if (isClass(each)) return undefined;
      const lowered = this.#parts.lower(each);
      if (lowered.kind === "ref") continue;
      if (lowered.kind !== "code" || !this.#parts.isSettled(each) || lowered.properties.length > 0)
        return undefined;
      for (const { value, ref } of lowered.variables) {
        if (ref !== undefined) continue;
        if (typeof value === "function") found.set(value as AnyFunction, memberOf(value as AnyFunction));
        else if (typeof value === "symbol" || (typeof value === "object" && value !== null)) return undefined;
      }
    }
    return [...found.values()];
  }
}

function memberOf(fn: AnyFunction): Member {
  return { fn, keys: keysOf(fn), parent: Object.getPrototypeOf(fn) };
}

function isAsItWas({ fn, keys, parent }: Member): boolean {
  return keysOf(fn) === keys && Object.getPrototypeOf(fn) === parent;
}

function keysOf(fn: AnyFunction): number {
  const { prototype } = fn as { prototype?: unknown };
  const own = Reflect.ownKeys(fn).length;
  return typeof prototype === "object" && prototype !== null ? own + Reflect.ownKeys(prototype).length : own;
}
