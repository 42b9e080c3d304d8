/**
 * Functions and objects that every process has: members of the global object, and of Node's built-in modules. They
 * travel by name.
 */
import { builtinModules } from "node:module";

export type KnownName =
  | { readonly kind: "global"; readonly path: readonly string[] }
  | { readonly kind: "builtin"; readonly specifier: string; readonly name: string | null };

/** `globalThis.Array.prototype.map` has three names below the global object. */
const GLOBAL_DEPTH_MAX = 3;

const names = new Map<object, KnownName>();
let loadedBuiltins = -1;

/** The name of a function or object that is the same in every process. */
export function knownName(value: object): KnownName | undefined {
  if (names.size === 0) {
    names.set(globalThis, { kind: "global", path: [] });
    addGlobals(globalThis, []);
  }
  return names.get(value) ?? (addBuiltins() ? names.get(value) : undefined);
}

/** What a name of {@link knownName} means here; undefined where there is no such thing. */
export function globalValue(path: readonly string[]): unknown {
  let value: unknown = globalThis;
  for (const key of path) {
    if ((typeof value !== "object" && typeof value !== "function") || value === null) return undefined;
    value = Reflect.get(value, key);
  }
  return value;
}

/** The built-in module of that name, where the REPL and `node -e` have put it into the global object. */
export function builtinGlobal(name: string): string | undefined {
  if (!builtinModules.includes(name)) return undefined;
  const descriptor = Object.getOwnPropertyDescriptor(globalThis, name);
  if (descriptor === undefined || name === "process" || name === "console") return undefined;
  return `node:${name}`;
}

/** A variable of a script or REPL, which lies in the global object: the language makes it impossible to delete. */
export function isScriptVariable(name: string): boolean {
  const descriptor = Object.getOwnPropertyDescriptor(globalThis, name);
  return (
    descriptor !== undefined &&
    !descriptor.configurable &&
    descriptor.enumerable === true &&
    "value" in descriptor
  );
}

function addGlobals(owner: object, path: readonly string[]): void {
  for (const key of Object.getOwnPropertyNames(owner)) {
    const descriptor = Object.getOwnPropertyDescriptor(owner, key);
    const value: unknown = descriptor?.value;
    if ((typeof value !== "object" && typeof value !== "function") || value === null) continue;
    if (path.length === 0 && (isScriptVariable(key) || isUsers(value))) continue;
    if (names.has(value)) continue;
    const below = [...path, key];
    names.set(value, { kind: "global", path: below });
    const isTree = typeof value === "function" || Object.getPrototypeOf(value) === Object.prototype;
    if (below.length < GLOBAL_DEPTH_MAX && isTree) addGlobals(value, below);
    if (below.length < GLOBAL_DEPTH_MAX && key === "prototype") addGlobals(value, below);
  }
}

/** Whether a member of the global object is no part of the language or of Node: then its parts are not known elsewhere. */
function isUsers(value: object): boolean {
  return (
    typeof value === "object" &&
    Object.getPrototypeOf(value) === Object.prototype &&
    !(Symbol.toStringTag in value)
  );
}

/** Adds the exports of the built-in modules that are loaded. @returns whether there were new ones */
function addBuiltins(): boolean {
  const loaded = (process as { moduleLoadList?: readonly string[] }).moduleLoadList;
  const count = loaded?.length ?? 0;
  if (count === loadedBuiltins) return false;
  loadedBuiltins = count;
  const isLoaded = new Set(loaded);
  for (const id of builtinModules) {
    if (id.startsWith("_") || (loaded !== undefined && !isLoaded.has(`NativeModule ${id}`))) continue;
    const exports: unknown = process.getBuiltinModule(id);
    if ((typeof exports !== "object" && typeof exports !== "function") || exports === null) continue;
    const specifier = id.startsWith("node:") ? id : `node:${id}`;
    if (!names.has(exports)) names.set(exports, { kind: "builtin", specifier, name: null });
    for (const name of Object.getOwnPropertyNames(exports)) {
      const value: unknown = Object.getOwnPropertyDescriptor(exports, name)?.value;
      const isPart = (typeof value === "function" || typeof value === "object") && value !== null;
      if (isPart && !names.has(value)) names.set(value, { kind: "builtin", specifier, name });
    }
  }
  return true;
}
