/**
 * Functions out of definitions: each definition is compiled once, under the name of the user's file and at the place
 * where it stands there; and the modules that captured variables come from, loaded once.
 */
import { createRequire, isBuiltin } from "node:module";
import { dirname, isAbsolute } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import vm from "node:vm";
import { SerializationError } from "../base/errors.ts";
import { localUrl } from "../base/module-map.ts";
import type { AnyFunction, UnmadeFunction } from "../serialize/hooks.ts";
import { type Definition, definitionFromTuple, hashOf } from "./definition.ts";
import { globalValue } from "./known.ts";
import { type ImportRef, viteFile } from "./modules.ts";
import { refFromTuple } from "./refs.ts";
import { mapComment } from "./source-map.ts";

export interface RebuildParts {
  /** tsray's public functions. */
  readonly own: () => object | undefined;
  /** Called before a module is imported, with its URL where that is known: loaders may be missing for it. */
  /** The user's script waits in `init()` for ever in a worker, and so would an import of it. */
  readonly isEntry: (url: string) => boolean;
  readonly beforeImport: (url: string) => Promise<void>;
  /** Whether Node may be told to map stack traces: it does so for all of the process. */
  readonly mapsStacks: () => boolean;
}

type Factory = (
  member: typeof takeMember,
) => [make: () => AnyFunction, fill: (values: readonly unknown[]) => void];

/** Definitions kept; the oldest go first. */
const DEFINITIONS_MAX = 50_000;

export class Rebuild {
  readonly #parts: RebuildParts;
  readonly #definitions = new Map<string, Definition>();
  readonly #factories = new Map<string, Factory>();
  readonly #made = new WeakMap<AnyFunction, Definition>();
  /** Imported namespaces by parent and specifier. */
  readonly #modules = new Map<string, object>();

  constructor(parts: RebuildParts) {
    this.#parts = parts;
  }

  /** @throws SerializationError for what is no definition */
  define(tuple: unknown): void {
    const hash: unknown = Array.isArray(tuple) ? tuple[0] : undefined;
    if (typeof hash === "string" && this.#definitions.has(hash)) return;
    const definition = definitionFromTuple(tuple);
    if (definition === undefined || hashOf(definition) !== definition.hash)
      throw new SerializationError("cannot decode a value: it holds a function whose code is broken");
    if (this.#definitions.size >= DEFINITIONS_MAX) {
      const [oldest] = this.#definitions.keys();
      this.#definitions.delete(oldest as string);
      this.#factories.delete(oldest as string);
    }
    this.#definitions.set(definition.hash, definition);
  }

  begin(hash: string): UnmadeFunction {
    const definition = this.#definitions.get(hash);
    if (definition === undefined)
      throw new SerializationError("cannot decode a value: the code of a function in it has not arrived");
    let factory = this.#factories.get(hash);
    if (factory === undefined) {
      factory = compile(definition, this.#parts.mapsStacks());
      this.#factories.set(hash, factory);
    }
    const [make, fill] = factory(takeMember);
    const { isClass, runs } = definition;
    return {
      isClass,
      runs,
      fill,
      make: (name) => {
        const fn = make();
        if (name !== null && fn.name !== name)
          Object.defineProperty(fn, "name", { value: name, configurable: true });
        this.#made.set(fn, definition);
        return fn;
      },
    };
  }

  /** What a function was made from here. */
  madeFrom(fn: AnyFunction): Definition | undefined {
    return this.#made.get(fn);
  }

  /** Imported variables of a function that was made here, by name. */
  importsOf(hash: string): ReadonlyMap<string, ImportRef> {
    const { slots = [], refs = [] } = this.#definitions.get(hash) ?? {};
    return new Map(
      slots.flatMap((name, i) => {
        const ref = refFromTuple(refs[i]);
        return ref === undefined ? [] : [[name, ref] as const];
      }),
    );
  }

  missing(tuples: readonly unknown[]): (() => Promise<void>) | undefined {
    const wanted = tuples.map(toRef).filter((ref) => ref !== undefined && this.#needsImport(ref));
    if (wanted.length === 0) return undefined;
    return async () => {
      await Promise.all((wanted as ImportRef[]).map((ref) => this.#import(ref)));
    };
  }

  imported(tuple: unknown): unknown {
    if (isGlobalRef(tuple)) return globalOf(tuple[0].map(String));
    const ref = toRef(tuple) as ImportRef;
    const { form, specifier, parent } = ref;
    switch (form) {
      case "own":
        return memberOf(this.#parts.own() ?? {}, ref);
      case "meta":
        return metaOf(parent);
      case "dynamic":
        return (id: string) => importer(parent)(viteFile(id));
      case "require": {
        const require = createRequire(parent);
        return specifier === "" ? require : memberOf(required(require, ref), ref);
      }
      case "interop":
      case "interop-node":
        return interop(required(createRequire(parent), ref), form === "interop-node");
      case "builtin":
        return memberOf(process.getBuiltinModule(specifier), ref);
      default:
        return memberOf(this.#modules.get(keyOf(ref)), ref);
    }
  }

  #needsImport(ref: ImportRef): boolean {
    const { form, specifier, parent } = ref;
    if (form !== "import" || this.#modules.has(keyOf(ref))) return false;
    return !(URL.canParse(specifier, parent) && this.#parts.isEntry(new URL(specifier, parent).href));
  }

  async #import(ref: ImportRef): Promise<void> {
    const { specifier, parent } = ref;
    try {
      if (URL.canParse(specifier, parent)) await this.#parts.beforeImport(new URL(specifier, parent).href);
      const namespace = await importer(parent)(specifier);
      this.#modules.set(keyOf(ref), namespace);
    } catch (error) {
      throw unimportable(ref, error);
    }
  }
}

function compile({ hash, code, file, line, column, imports, map }: Definition, mapsStacks: boolean): Factory {
  const mark = `/*tsray ${hash}*/`;
  if (map !== "" && mapsStacks && !imports) return compileMapped(mark, code, `${file}?${hash}`, map);
  const options = {
    filename: imports ? localUrl(file) : file,
    lineOffset: line,
    columnOffset: column - mark.length,
  };
  try {
    return vm.compileFunction(mark + code, ["__tsrayMember"], {
      ...options,
      ...(imports ? { importModuleDynamically: mainLoader() } : {}),
    }) as Factory;
  } catch (error) {
    throw new SerializationError(
      `cannot decode a value: the code of a function in it does not compile: ${String(error)}`,
      {
        cause: error,
      },
    );
  }
}

/** Node reads the map of a script only where the text is evaluated; the map begins where `code` does. */
function compileMapped(mark: string, code: string, url: string, map: string): Factory {
  process.setSourceMapsEnabled(true);
  const text = `${mark}(function(__tsrayMember){\n${code}\n})\n//# sourceURL=${url}\n${mapComment(withLineBefore(map))}`;
  // biome-ignore lint/security/noGlobalEval: the code of a driver or worker of the same job, as all that is compiled here
  const evaluate = globalThis.eval;
  return evaluate(text) as Factory;
}

function withLineBefore(map: string): string {
  const parsed = JSON.parse(map) as { mappings: string };
  return JSON.stringify({ ...parsed, mappings: `;${parsed.mappings}` });
}

/** The one member of an object literal, whatever its name. */
function takeMember(form: "method" | "get" | "set", literal: object): AnyFunction {
  const [key] = Reflect.ownKeys(literal);
  const descriptor = Object.getOwnPropertyDescriptor(literal, key as string) as PropertyDescriptor;
  return (form === "method" ? descriptor.value : descriptor[form]) as AnyFunction;
}

// ---------------------------------------------------------------------------------------------------------- modules

/** The path to a member of the global object. */
function isGlobalRef(tuple: unknown): tuple is readonly [readonly unknown[]] {
  return Array.isArray(tuple) && tuple.length === 1 && Array.isArray(tuple[0]);
}

function globalOf(path: readonly string[]): unknown {
  const value = globalValue(path);
  if (value !== undefined) return value;
  throw new SerializationError(
    `cannot decode a value: a function in it uses globalThis.${path.join(".")}, which process ${process.pid} has not`,
  );
}

function toRef(tuple: unknown): ImportRef | undefined {
  if (isGlobalRef(tuple)) return undefined;
  const ref = refFromTuple(tuple);
  if (ref === undefined) throw new SerializationError("cannot decode a value: it holds a broken import");
  return ref;
}

function keyOf({ specifier, parent }: ImportRef): string {
  return `${parent}\n${specifier}`;
}

function memberOf(namespace: unknown, ref: ImportRef): unknown {
  if (ref.name === null) return namespace;
  const isObject = (typeof namespace === "object" && namespace !== null) || typeof namespace === "function";
  if (!isObject || !(ref.name in (namespace as object)))
    throw unimportable(ref, new Error(`it exports no ${ref.name}`));
  return Reflect.get(namespace as object, ref.name);
}

function required(require: NodeJS.Require, ref: ImportRef): unknown {
  try {
    return require(ref.specifier);
  } catch (error) {
    throw unimportable(ref, error);
  }
}

function unimportable({ specifier, parent, name }: ImportRef, cause: unknown): SerializationError {
  const what = name === null ? specifier : `${name} of ${specifier}`;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new SerializationError(
    `cannot decode a value: a function in it uses ${what}, imported in ${parent}, and process ${process.pid} cannot import that: ${why}`,
    { cause },
  );
}

/** As compilers wrap a CommonJS module for `import`. */
function interop(exports: unknown, isNodeMode: boolean): object {
  const isObject = (typeof exports === "object" && exports !== null) || typeof exports === "function";
  const isMarked = isObject && Reflect.get(exports as object, "__esModule") === true;
  const wrapped: Record<string, unknown> = {};
  if (isObject)
    for (const key of Object.keys(exports as object)) wrapped[key] = Reflect.get(exports as object, key);
  if (isNodeMode || !isMarked) wrapped.default = exports;
  return wrapped;
}

type Importer = (specifier: string) => Promise<object>;
const importers = new Map<string, Importer>();

/** `import()` as the file itself would call it: with the process's loaders, relative to the file. */
function importer(parent: string): Importer {
  let found = importers.get(parent);
  if (found === undefined) {
    found = vm.compileFunction("return import(specifier)", ["specifier"], {
      filename: parent,
      importModuleDynamically: mainLoader(),
    }) as Importer;
    importers.set(parent, found);
  }
  return found;
}

type MainLoader = NonNullable<vm.CompileFunctionOptions["importModuleDynamically"]>;
let isQuiet = false;

/** Node says once that this is experimental; the user has not chosen it. */
function mainLoader(): MainLoader {
  const loader = (vm.constants as unknown as { USE_MAIN_CONTEXT_DEFAULT_LOADER: MainLoader })
    .USE_MAIN_CONTEXT_DEFAULT_LOADER;
  if (!isQuiet) {
    isQuiet = true;
    const { emitWarning } = process;
    process.emitWarning = () => {};
    try {
      const probe = vm.compileFunction('return import("node:vm")', [], { importModuleDynamically: loader });
      (probe() as Promise<unknown>).catch(() => {});
    } finally {
      process.emitWarning = emitWarning;
    }
  }
  return loader;
}

function metaOf(parent: string): object {
  const isFile = parent.startsWith("file:");
  const filename = isFile ? fileURLToPath(parent) : "";
  const resolve = (specifier: string): string => {
    if (/^\.{0,2}\//.test(specifier) || (URL.canParse(specifier) && !isBuiltin(specifier)))
      return new URL(specifier, parent).href;
    if (isBuiltin(specifier)) return specifier.startsWith("node:") ? specifier : `node:${specifier}`;
    const path = createRequire(parent).resolve(specifier);
    return isAbsolute(path) ? pathToFileURL(path).href : path;
  };
  return { url: parent, filename, dirname: isFile ? dirname(filename) : "", resolve };
}
