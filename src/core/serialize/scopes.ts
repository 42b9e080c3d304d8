/**
 * Finds module-level classes by name, without the user registering them.
 *
 * V8 keeps, for every function, the scopes it closes over; the outermost but one is its module: top-level classes,
 * constants and imports that some function of the module uses. tsray's remote functions are such functions, so they
 * serve as anchors (base/inspector.ts). Where there is no inspector, nothing is found and instances need registerSerializer().
 */

import { inspectFunction, type Scope } from "../base/inspector.ts";
import type { AnyClass, AnyFunction, ClassName, ClassResolver } from "./hooks.ts";

/** A ClassResolver that searches the modules of its anchors. */
export interface ScopeResolver extends ClassResolver {
  /** Makes the module-level classes that `fn` can see findable under `module`. A class is an anchor of itself as well. */
  addAnchor(fn: AnyFunction | AnyClass, module: string): void;
}

type Anchor = AnyFunction | AnyClass;

/** Anchors asked per module; more of one module see the same scope. */
const ANCHORS_PER_MODULE_MAX = 16;

/** A resolver with no anchors yet. */
export function createScopeResolver(): ScopeResolver {
  return new Resolver();
}

class Resolver implements ScopeResolver {
  /** Anchors by module; the scopes of an anchor are read when they are first needed. */
  readonly #anchors = new Map<string, Map<Anchor, readonly Scope[] | undefined>>();
  readonly #found = new Map<string, AnyClass>();
  readonly #names = new WeakMap<AnyClass, ClassName>();
  /** Classes not found so far; forgotten when an anchor is added. */
  #missed = new WeakSet<AnyClass>();

  addAnchor(fn: Anchor, module: string): void {
    let anchors = this.#anchors.get(module);
    if (anchors === undefined) {
      anchors = new Map();
      this.#anchors.set(module, anchors);
    }
    if (anchors.size >= ANCHORS_PER_MODULE_MAX || anchors.has(fn)) return;
    anchors.set(fn, undefined);
    this.#missed = new WeakSet();
  }

  nameOf(Class: AnyClass): ClassName | undefined {
    const known = this.#names.get(Class);
    if (known !== undefined) return known;
    if (this.#missed.has(Class)) return undefined;
    for (const module of this.#anchors.keys()) {
      for (const { name, Found } of this.#candidates(module, Class.name, Class)) {
        if (Found !== Class) continue;
        const found = { name, module };
        this.#names.set(Class, found);
        this.#found.set(cacheKey(name, module), Class);
        return found;
      }
    }
    this.#missed.add(Class);
    return undefined;
  }

  find(name: string, module: string): AnyClass | undefined {
    if (module === "") return this.#findAnywhere(name);
    if (!this.#anchors.has(module)) return undefined;
    const key = cacheKey(name, module);
    const known = this.#found.get(key);
    if (known !== undefined) return known;
    for (const { Found } of this.#candidates(module, name, undefined)) {
      this.#found.set(key, Found);
      return Found;
    }
    return undefined;
  }

  /** The sender did not know the module: take the class only if all modules that have the name mean the same one. */
  #findAnywhere(name: string): AnyClass | undefined {
    const all = new Set<AnyClass>();
    for (const module of this.#anchors.keys()) {
      if (module === "") continue;
      const Found = this.find(name, module);
      if (Found !== undefined) all.add(Found);
    }
    return all.size === 1 ? all.values().next().value : undefined;
  }

  /** Bindings of the module called `name`, then bindings of any name that hold `wanted`. */
  *#candidates(
    module: string,
    name: string,
    wanted: AnyClass | undefined,
  ): Generator<{ name: string; Found: AnyClass }> {
    for (const anchor of this.#anchors.get(module)?.keys() ?? []) {
      if (anchor.name === name && isClass(anchor)) yield { name, Found: anchor };
      for (const scope of this.#scopesOf(module, anchor)) {
        for (const place of withNamespaces(scope)) {
          const direct = readBinding(place, name);
          if (isClass(direct)) yield { name, Found: direct };
          if (wanted === undefined) continue;
          for (const key of Object.keys(place))
            if (readBinding(place, key) === wanted) yield { name: key, Found: wanted };
        }
      }
    }
  }

  #scopesOf(module: string, anchor: Anchor): readonly Scope[] {
    const anchors = this.#anchors.get(module);
    let scopes = anchors?.get(anchor);
    if (scopes === undefined) {
      scopes = inspectFunction(anchor).scopes;
      anchors?.set(anchor, scopes);
    }
    return scopes;
  }
}

function cacheKey(name: string, module: string): string {
  return `${module}\n${name}`;
}

function isClass(value: unknown): value is AnyClass {
  return typeof value === "function" && typeof value.prototype === "object" && value.prototype !== null;
}

/** A binding that is not initialized yet throws when read. */
function readBinding(scope: Scope, name: string): unknown {
  try {
    return Object.hasOwn(scope, name) ? scope[name] : undefined;
  } catch {
    return undefined;
  }
}

/** The scope, and the module namespaces bound in it (how test runners and bundlers hold imports). */
function* withNamespaces(scope: Scope): Generator<Scope> {
  yield scope;
  for (const key of Object.keys(scope)) {
    const value = readBinding(scope, key);
    if (isNamespace(value)) yield value;
  }
}

function isNamespace(value: unknown): value is Scope {
  if (typeof value !== "object" || value === null) return false;
  try {
    return Reflect.get(value, Symbol.toStringTag) === "Module" || Reflect.get(value, "__esModule") === true;
  } catch {
    return false;
  }
}
