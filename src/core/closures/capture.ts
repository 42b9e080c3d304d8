/**
 * What a function or class is to another process: something known by name there, an import, or its code with the
 * variables it closes over, as they are now.
 *
 * The text and its free variables are looked at once per place in a file; the values are read anew each time (0.1 ms).
 */
import { createRequire } from "node:module";
import { isAbsolute } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { types } from "node:util";
import { isClass } from "../base/function-registry.ts";
import {
  type FunctionFacts,
  inspectFunction,
  type Location,
  type Scope,
  type Script,
  scriptOf,
} from "../base/inspector.ts";
import { travelUrl } from "../base/module-map.ts";
import {
  type AnyFunction,
  CannotTravel,
  type CapturedVariable,
  type ClassName,
  type FunctionProperty,
  type LoweredFunction,
} from "../serialize/hooks.ts";
import {
  type Analysis,
  analyse,
  type ComputedKey,
  type Definition,
  META_SLOT,
  SUPER_SLOT,
  tupleOf,
} from "./definition.ts";
import { FixedFunctions } from "./fixed.ts";
import { builtinGlobal, isScriptVariable, knownName } from "./known.ts";
import { type ImportRef, type ModuleFacts, moduleFacts } from "./modules.ts";
import type { SyntaxNode } from "./parse.ts";
import { refToTuple } from "./refs.ts";
import { sourceMapOf } from "./source-map.ts";

export interface CaptureParts {
  /** Where the other side finds a class of a module by itself. */
  readonly classNamed: (Class: AnyFunction) => ClassName | undefined;
  /** Whether a file is the user's script or test: what it exports cannot be imported by others. */
  readonly isEntry: (url: string) => boolean;
  /** tsray's public functions. */
  readonly own: () => object | undefined;
  /** What a function was made from, if it came from elsewhere. */
  readonly madeFrom: (fn: AnyFunction) => Definition | undefined;
  /** Imports of a script that was made here from a definition, by the definition's hash. */
  readonly importsOf: (hash: string) => ReadonlyMap<string, ImportRef> | undefined;
}

const ANALYSES_MAX = 10_000;
const NO_IMPORTS: ReadonlyMap<string, ImportRef> = new Map();
/** The beginning of scripts that were made from definitions. */
const MADE_HERE = /^\/\*tsray ([0-9a-f]{32})\*\//;

export class Capture {
  readonly #parts: CaptureParts;
  /** By place and text. */
  readonly #analyses = new Map<string, Analysis>();
  /** Functions whose variables cannot change any more: they need not be read again. */
  readonly #settled = new WeakMap<AnyFunction, Settled>();
  #own: ReadonlyMap<unknown, string> | undefined;
  readonly #fixed = new FixedFunctions({
    isSettled: (fn) => this.#settled.has(fn),
    lower: (fn) => this.lower(fn),
  });

  constructor(parts: CaptureParts) {
    this.#parts = parts;
  }

  /** Whether a function that was lowered before gives the same data each time. */
  isFixed(fn: AnyFunction): boolean {
    return this.#fixed.has(fn);
  }

  /** @throws CannotTravel */
  lower(fn: AnyFunction): LoweredFunction {
    const settled = this.#settled.get(fn);
    if (settled !== undefined) return lowered(fn, settled);
    const found = isClass(fn) ? this.#parts.classNamed(fn) : undefined;
    if (found !== undefined) return { kind: "class", found };
    const ref = this.known(fn);
    if (ref !== undefined) return { kind: "ref", ref, isNative: true };
    if (types.isProxy(fn))
      throw new CannotTravel("is a Proxy of a function; what it does cannot travel: send its target");
    const facts = inspectFunction(fn);
    if (facts.bound !== undefined)
      return { kind: "bound", ...(facts.bound as typeof facts.bound & { target: AnyFunction }) };
    const text = Function.prototype.toString.call(fn);
    if (NATIVE.test(text))
      throw new CannotTravel(
        `is ${describe(fn)}, which is native code: wrap it in a function of your own, (...args) => ${fn.name || "f"}(...args)`,
      );
    if (facts.location === undefined)
      throw new CannotTravel(
        `is ${describe(fn)}, whose variables cannot be read: this process has no inspector`,
      );
    const origin = this.#parts.madeFrom(fn);
    if (origin !== undefined) {
      const variables = this.#variables(fn, facts.scopes, origin, []);
      return lowered(fn, { text, definition: origin, variables });
    }
    const script = scriptOf(facts.location.scriptId);
    if (script === undefined) throw new CannotTravel(`is ${describe(fn)}, whose source cannot be found`);
    if (script.url.startsWith("node:"))
      throw new CannotTravel(`is ${describe(fn)}, a function of Node's own that has no public name`);
    const exported = this.#exportOf(fn, script, facts.scopes);
    if (exported !== undefined) return { kind: "ref", ref: refToTuple(exported), isNative: false };
    return this.#capture(fn, text, facts, script);
  }

  /** The ref of what every process has. */
  known(value: object): unknown {
    const name = knownName(value);
    if (name?.kind === "global") return [name.path];
    if (name?.kind === "builtin")
      return refToTuple({ form: "builtin", specifier: name.specifier, parent: "", name: name.name });
    const own = this.#ownName(value);
    return own === undefined
      ? undefined
      : refToTuple({ form: "own", specifier: "tsray", parent: "", name: own });
  }

  #ownName(value: object): string | undefined {
    if (this.#own === undefined) {
      const own = this.#parts.own();
      if (own === undefined) return undefined;
      this.#own = new Map(Object.entries(own).map(([name, each]) => [each as unknown, name]));
    }
    return this.#own.get(value);
  }

  #capture(
    fn: AnyFunction,
    text: string,
    { scopes, location }: FunctionFacts,
    script: Script,
  ): LoweredFunction {
    const analysis = this.#analysisOf(fn, text, location as Location, script, scopes);
    const { ownName, rebound, keys } = analysis;
    refuse(analysis, fn);
    const lost = analysis.inKeys.find((name) => lookUp(scopes, name) === undefined && !(name in globalThis));
    if (lost !== undefined)
      throw new CannotTravel(
        `is ${describe(fn)}, with a field whose name is computed from ${lost}, which V8 does not keep: set that field in the constructor`,
      );
    let { definition } = analysis;
    if (ownName !== undefined && rebound !== undefined) {
      const now = lookUp(scopes, ownName);
      if (now !== undefined && now.value !== undefined && now.value !== fn) definition = rebound;
    }
    const code = { text, definition, variables: this.#variables(fn, scopes, definition, keys) };
    if (fileUrl(script.url) !== undefined && isSettled(code, moduleFacts(script, parentOf(script.url))))
      this.#settled.set(fn, code);
    return lowered(fn, code);
  }

  #variables(
    fn: AnyFunction,
    scopes: readonly Scope[],
    definition: Definition,
    keys: readonly ComputedKey[],
  ): readonly CapturedVariable[] {
    return definition.slots.map((name, i): CapturedVariable => {
      if (name === SUPER_SLOT)
        return { name: "extends", value: Object.getPrototypeOf(fn) as unknown, ref: undefined };
      const key = keys.find(({ slot }) => slot === name);
      if (key !== undefined) return { name: "computed name", value: keyOf(fn, key), ref: undefined };
      const found = lookUp(scopes, name);
      const value = found === undefined ? globalMember(name) : found.value;
      return { name: name === META_SLOT ? "import.meta" : name, value, ref: definition.refs[i] ?? undefined };
    });
  }

  #analysisOf(
    fn: AnyFunction,
    text: string,
    at: Location,
    script: Script,
    scopes: readonly Scope[],
  ): Analysis {
    const key = `${at.scriptId}:${at.line}:${at.column}\n${text}`;
    const known = this.#analyses.get(key);
    if (known !== undefined) return known;
    const made = MADE_HERE.exec(script.source);
    const parent = parentOf(script.url);
    const facts = made === null ? moduleFacts(script, parent) : undefined;
    const isStrict =
      script.isModule ||
      facts?.isStrict === true ||
      /^[^\n]{0,60}"use strict";/.test(made === null ? "" : script.source);
    const begins = placeOf(text, at, script);
    // Other loaders run at the other side too, and transform the file there as they do here.
    const mapOf = (root: SyntaxNode, before: number) =>
      VITE_WRAPPER.test(script.source) ? sourceMapOf(root, { text, ...begins, before }, script) : "";
    const place = { file: travelUrl(script.url), ...begins, isStrict, mapOf };
    const imports = this.#withoutEntry(
      made === null
        ? (facts?.imports ?? NO_IMPORTS)
        : (this.#parts.importsOf(made[1] as string) ?? NO_IMPORTS),
    );
    // Variables of the file itself, not of a function in it; vite wraps a file in a function and a block.
    const outside = VITE_WRAPPER.test(script.source) ? 1 : 0;
    const refOf = (name: string) => {
      const found = lookUp(scopes, name);
      if (name === META_SLOT) return refToTuple(whole("meta", parent));
      const ref =
        found === undefined
          ? builtinRef(name)
          : found.outside <= outside
            ? importOf(name, found.value, imports, parent)
            : undefined;
      return ref === undefined ? undefined : refToTuple(ref);
    };
    let analysis: Analysis;
    try {
      analysis = analyse(
        text,
        fn.name,
        place,
        (name) =>
          lookUp(scopes, name) !== undefined || isScriptVariable(name) || builtinGlobal(name) !== undefined,
        refOf,
      );
    } catch (error) {
      throw new CannotTravel(
        `is ${describe(fn)}, whose source cannot be parsed: ${(error as Error).message}`,
        { cause: error },
      );
    }
    if (this.#analyses.size >= ANALYSES_MAX) this.#analyses.clear();
    this.#analyses.set(key, analysis);
    return analysis;
  }

  /** What is imported from the user's script itself travels by value. */
  #withoutEntry(imports: ReadonlyMap<string, ImportRef>): ReadonlyMap<string, ImportRef> {
    const kept = [...imports].filter(([, { specifier, parent }]) => {
      if (!/^(?:\.{0,2}\/|file:)/.test(specifier) || !URL.canParse(specifier, parent)) return true;
      return !this.#parts.isEntry(new URL(specifier, parent).href);
    });
    return new Map(kept);
  }

  /** Functions that a module of the user's or a package exports are imported, not copied. */
  #exportOf(fn: AnyFunction, script: Script, scopes: readonly Scope[]): ImportRef | undefined {
    if (MADE_HERE.test(script.source)) return undefined;
    const url = fileUrl(script.url);
    if (url === undefined || this.#parts.isEntry(url)) return undefined;
    const isVite = VITE_WRAPPER.test(script.source);
    if (script.isModule || isVite) {
      const outermost = scopes.slice(isVite ? -2 : -1);
      for (const [local, name] of moduleFacts(script, url).exports)
        if (outermost.some((scope) => scope[local] === fn))
          return { form: "import", specifier: url, parent: url, name };
      return undefined;
    }
    const exports: unknown = createRequire(import.meta.url).cache[fileURLToPath(url)]?.exports;
    if (exports === fn) return { form: "require", specifier: fileURLToPath(url), parent: url, name: null };
    if (typeof exports !== "object" || exports === null) return undefined;
    for (const name of Object.keys(exports))
      if (Object.getOwnPropertyDescriptor(exports, name)?.value === fn)
        return { form: "require", specifier: fileURLToPath(url), parent: url, name };
    return undefined;
  }
}

interface Settled {
  readonly text: string;
  readonly definition: Definition;
  readonly variables: readonly CapturedVariable[];
}

function lowered(fn: AnyFunction, { text, definition, variables }: Settled): LoweredFunction {
  return {
    kind: "code",
    hash: definition.hash,
    definition: tupleOf(definition),
    name: ownDataName(fn),
    variables,
    properties: propertiesOf(fn, text, definition),
  };
}

/**
 * Whether every variable has its last value: nothing in the file assigns to a name like it, it is initialized, and it is no
 * import that travels by value, which is another file's to assign to.
 */
function isSettled({ definition, variables }: Settled, { assigned, imports }: ModuleFacts): boolean {
  if (assigned.has(definition.name) || definition.slots.includes(SUPER_SLOT)) return false;
  return variables.every(({ value, ref }, i) => {
    const name = definition.slots[i] as string;
    if (ref !== undefined) return true;
    return value !== undefined && !assigned.has(name) && !imports.has(name) && !isScriptVariable(name);
  });
}

const VITE_WRAPPER = /^'use strict';async \(__vi/;
const NATIVE = /\{\s*\[native code\]\s*\}\s*$/;
const META_NAMES = new Set(["__vite_ssr_import_meta__"]);
const DYNAMIC_NAMES = new Set(["__vite_ssr_dynamic_import__"]);

function refuse({ outer }: Analysis, fn: AnyFunction): void {
  const [first] = outer;
  if (first === undefined) return;
  const what = describe(fn);
  if (first === "super")
    throw new CannotTravel(
      `is ${what}, which uses super outside of a class that travels: call the function it means by name`,
    );
  if (first.startsWith("#"))
    throw new CannotTravel(
      `is ${what}, which uses ${first}, private to its class: send the class, or an instance through registerSerializer()`,
    );
  throw new CannotTravel(
    `is ${what}, which uses \`${first}\` of the function around it, and that cannot be read: keep it in a variable first (const self = this)`,
  );
}

/** The name that a computed one came to: the member has the same text. */
function keyOf(fn: AnyFunction, { text, isStatic }: ComputedKey): string | symbol {
  const owner = isStatic ? fn : ((fn as { prototype?: unknown }).prototype as object);
  for (const key of Reflect.ownKeys(owner)) {
    const { value, get, set } = Object.getOwnPropertyDescriptor(owner, key) ?? {};
    for (const each of [value, get, set] as unknown[])
      if (typeof each === "function" && Function.prototype.toString.call(each) === text) return key;
  }
  // It was taken off or replaced: any name will do, the property that travels beside takes its place.
  return Symbol("replaced");
}

/** The variable's value, and how many scopes lie around its own. */
function lookUp(scopes: readonly Scope[], name: string): { value: unknown; outside: number } | undefined {
  for (const [i, scope] of scopes.entries())
    if (Object.hasOwn(scope, name)) return { value: scope[name], outside: scopes.length - 1 - i };
  return undefined;
}

function globalMember(name: string): unknown {
  return isScriptVariable(name) ? Reflect.get(globalThis, name) : undefined;
}

function builtinRef(name: string): ImportRef | undefined {
  const specifier = isScriptVariable(name) ? undefined : builtinGlobal(name);
  return specifier === undefined ? undefined : { form: "builtin", specifier, parent: "", name: null };
}

function whole(form: ImportRef["form"], parent: string): ImportRef {
  return { form, specifier: "", parent, name: null };
}

function importOf(
  name: string,
  value: unknown,
  imports: ReadonlyMap<string, ImportRef>,
  parent: string,
): ImportRef | undefined {
  const ref = imports.get(name);
  if (ref !== undefined) return ref;
  if (META_NAMES.has(name)) return whole("meta", parent);
  if (DYNAMIC_NAMES.has(name)) return { ...whole("dynamic", parent), specifier: "vite" };
  if (name === "require" && typeof value === "function" && Object.hasOwn(value, "resolve"))
    return whole("require", parent);
  return undefined;
}

/** Where the text begins in its file. V8 tells where the parameters begin, which are inside. */
function placeOf(
  text: string,
  at: Location,
  { source, startLine, startColumn }: Script,
): { line: number; column: number } {
  const lines = source.split("\n");
  const row = at.line - startLine;
  const offset =
    lines.slice(0, row).reduce((sum, line) => sum + line.length + 1, 0) +
    at.column -
    (row === 0 ? startColumn : 0);
  const start = source.lastIndexOf(text, offset);
  if (start < 0 || start + text.length < offset) return { line: at.line, column: at.column };
  const before = source.slice(0, start).split("\n");
  const column = (before.at(-1) as string).length;
  return { line: startLine + before.length - 1, column: before.length === 1 ? column + startColumn : column };
}

/** Keys that functions have by themselves. */
const OWN_KEYS = new Set<string | symbol>(["length", "name", "prototype", "arguments", "caller"]);

function propertiesOf(
  fn: AnyFunction,
  text: string,
  { isClass: fromClass }: Definition,
): readonly FunctionProperty[] {
  const found: FunctionProperty[] = [];
  const prototype: unknown = Object.getOwnPropertyDescriptor(fn, "prototype")?.value;
  addProperties(fn, fromClass ? text : "", OWN_KEYS, false, found);
  const parent = Object.getPrototypeOf(fn) as object | null;
  if (!fromClass && !isIntrinsic(parent)) found.push(parentProperty(parent, false));
  if (typeof prototype !== "object" || prototype === null) return found;
  addProperties(prototype, fromClass ? text : "", new Set(["constructor"]), true, found);
  const inherited = Object.getPrototypeOf(prototype) as object | null;
  const isGenerator = !fromClass && !Object.hasOwn(prototype, "constructor");
  if (!fromClass && !isGenerator && inherited !== Object.prototype)
    found.push(parentProperty(inherited, true));
  return found;
}

/** @param text the members that it gives are left out */
function addProperties(
  owner: object,
  text: string,
  except: ReadonlySet<string | symbol>,
  onPrototype: boolean,
  found: FunctionProperty[],
): void {
  for (const key of Reflect.ownKeys(owner)) {
    const {
      value,
      get,
      set,
      enumerable = false,
      writable = false,
    } = Object.getOwnPropertyDescriptor(owner, key) ?? {};
    // A static method or field may be called like a property that functions have.
    const isGiven = (each: unknown) =>
      typeof each === "function" && text !== "" && text.includes(Function.prototype.toString.call(each));
    if (except.has(key) && !(key === "name" && text !== "" && typeof value !== "string" && !isGiven(value)))
      continue;
    if (isGiven(value) || isGiven(get) || isGiven(set)) continue;
    const base = { onPrototype, key, enumerable, writable };
    if (get !== undefined) found.push({ ...base, value: get, kind: "get" });
    if (set !== undefined) found.push({ ...base, value: set, kind: "set" });
    if (get === undefined && set === undefined)
      found.push({ ...base, value: value as unknown, kind: "value" });
  }
}

function parentProperty(value: object | null, onPrototype: boolean): FunctionProperty {
  return { onPrototype, key: "", value, kind: "parent", enumerable: false, writable: false };
}

/** `Function.prototype` and its kin for async functions and generators. */
function isIntrinsic(proto: object | null): boolean {
  const Class: unknown =
    proto === null ? undefined : Object.getOwnPropertyDescriptor(proto, "constructor")?.value;
  return (
    typeof Class === "function" &&
    /^(?:Async)?(?:Generator)?Function$/.test(Class.name) &&
    NATIVE.test(String(Class))
  );
}

function ownDataName(fn: AnyFunction): string | null {
  const name: unknown = Object.getOwnPropertyDescriptor(fn, "name")?.value;
  return typeof name === "string" ? name : null;
}

function describe(fn: AnyFunction): string {
  return `${isClass(fn) ? "the class" : "the function"} ${fn.name || "(anonymous)"}`;
}

/** A script's file as a URL; undefined where it is none. */
function fileUrl(url: string): string | undefined {
  const path = isAbsolute(url) ? pathToFileURL(url).href : url;
  if (!path.startsWith("file:")) return undefined;
  const parsed = new URL(path);
  parsed.search = "";
  parsed.hash = "";
  return /\/\[(?:eval|stdin)\d*\]$/.test(decodeURI(parsed.pathname)) ? undefined : parsed.href;
}

/** What specifiers in a script are relative to: its file, else the current directory. */
function parentOf(url: string): string {
  return fileUrl(url) ?? pathToFileURL(`${process.cwd()}/[eval]`).href;
}
