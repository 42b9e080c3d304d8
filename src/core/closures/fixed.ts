/**
 * Which functions are the same data each time they are sent, so that sending them once is enough: those whose variables
 * have their last values, none of which can be changed in itself (an array can, the number in a `const` cannot).
 */
import { isClass } from "../base/function-registry.ts";
import type { AnyFunction, CapturedVariable, LoweredFunction } from "../serialize/hooks.ts";
import { refFromTuple } from "./refs.ts";

export interface FixedParts {
  /** Whether nothing assigns to the function's variables any more. */
  readonly isSettled: (fn: AnyFunction) => boolean;
  /** @throws CannotTravel */
  readonly lower: (fn: AnyFunction) => LoweredFunction;
}

/** Properties that a function has from the beginning. */
const GIVEN = new Set<string | symbol>(["length", "name", "prototype", "arguments", "caller"]);

/** A function, and what would show that somebody has changed it since. */
interface Member {
  readonly fn: AnyFunction;
  readonly name: unknown;
  readonly parent: unknown;
  readonly prototype: unknown;
  readonly prototypeParent: unknown;
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
      // A method that is replaced would not show. Handles (remote functions) have properties.
      if (isClass(each) || !hasOnlyGiven(each)) return undefined;
      const lowered = this.#parts.lower(each);
      if (lowered.kind === "ref") continue;
      if (lowered.kind !== "code" || !this.#parts.isSettled(each) || lowered.properties.length > 0)
        return undefined;
      for (const variable of lowered.variables) {
        const { value, ref } = variable;
        if (ref !== undefined) {
          if (mayChange(variable)) return undefined;
        } else if (typeof value === "function")
          found.set(value as AnyFunction, memberOf(value as AnyFunction));
        else if (typeof value === "symbol" || (typeof value === "object" && value !== null)) return undefined;
      }
    }
    return [...found.values()];
  }
}

/** What is imported by name is looked up when the function is made: a value that the module may replace would be an old one. */
function mayChange({ value, ref }: CapturedVariable): boolean {
  const from = refFromTuple(ref);
  return from === undefined || (from.form !== "builtin" && from.name !== null && typeof value !== "function");
}

function memberOf(fn: AnyFunction): Member {
  const { name, prototype } = fn as { name?: unknown; prototype?: unknown };
  return {
    fn,
    name,
    parent: Object.getPrototypeOf(fn),
    prototype,
    prototypeParent: isObject(prototype) ? Object.getPrototypeOf(prototype) : undefined,
  };
}

function isAsItWas(member: Member): boolean {
  const { name, parent, prototype, prototypeParent } = memberOf(member.fn);
  return (
    name === member.name &&
    parent === member.parent &&
    prototype === member.prototype &&
    prototypeParent === member.prototypeParent &&
    hasOnlyGiven(member.fn)
  );
}

function hasOnlyGiven(fn: AnyFunction): boolean {
  const { prototype } = fn as { prototype?: unknown };
  for (const key of Reflect.ownKeys(fn)) if (!GIVEN.has(key)) return false;
  return !isObject(prototype) || Reflect.ownKeys(prototype).every((key) => key === "constructor");
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
