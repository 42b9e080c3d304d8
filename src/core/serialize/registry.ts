/**
 * Which classes the user has taught tsray to serialize, and how.
 *
 * One registry per process, keyed by the name that travels. A class is matched exactly: an instance of a subclass needs
 * its own registration.
 */

import { InvalidOptionError } from "../base/errors.ts";
import type { AnyClass } from "./hooks.ts";

/** How instances of one class travel. Left out, `serialize` takes the own enumerable properties and `deserialize` puts them back. */
export interface SerializerOptions<T extends object, D = unknown> {
  /** Name on the wire; must be the same in every process. Default: the name of the class. */
  readonly name?: string;
  readonly serialize?: (value: T) => D;
  readonly deserialize?: (data: D) => T;
}

/** One row of the registry. */
export interface RegisteredClass {
  readonly Class: AnyClass;
  readonly name: string;
  readonly serialize: ((value: object) => unknown) | undefined;
  readonly deserialize: ((data: unknown) => object) | undefined;
}

const byClass = new Map<AnyClass, RegisteredClass>();
const byName = new Map<string, RegisteredClass>();

/** Teaches tsray a class. Call it at the top level of a module, so that workers do it too. Again for the same class: replaces. */
export function registerSerializer<T extends object, D = unknown>(
  Class: abstract new (...args: never[]) => T,
  options: SerializerOptions<T, D> = {},
): void {
  if (typeof Class !== "function" || typeof Class.prototype !== "object" || Class.prototype === null) {
    throw new InvalidOptionError("registerSerializer: the first argument must be a class");
  }
  const name = options.name ?? Class.name;
  if (typeof name !== "string" || name === "") {
    throw new InvalidOptionError("registerSerializer: the class has no name; give one with { name }");
  }
  for (const key of ["serialize", "deserialize"] as const) {
    if (options[key] !== undefined && typeof options[key] !== "function") {
      throw new InvalidOptionError(`registerSerializer(${name}): ${key} must be a function`);
    }
  }
  const taken = byName.get(name);
  if (taken !== undefined && taken.Class !== Class) {
    throw new InvalidOptionError(
      `registerSerializer: the name "${name}" is taken by another class; give one with { name }`,
    );
  }
  unregisterSerializer(Class);
  const row: RegisteredClass = {
    Class,
    name,
    serialize: options.serialize as RegisteredClass["serialize"],
    deserialize: options.deserialize as RegisteredClass["deserialize"],
  };
  byClass.set(Class, row);
  byName.set(name, row);
}

/** Forgets a class. Returns whether it was registered. */
export function unregisterSerializer(Class: AnyClass): boolean {
  const row = byClass.get(Class);
  if (row === undefined) return false;
  byClass.delete(Class);
  byName.delete(row.name);
  return true;
}

/** The row of exactly this class. */
export function registeredClass(Class: AnyClass): RegisteredClass | undefined {
  return byClass.get(Class);
}

/** The row that travels under this name. */
export function registeredName(name: string): RegisteredClass | undefined {
  return byName.get(name);
}
