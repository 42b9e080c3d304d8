/**
 * Which functions and classes can be named in a call, and how another process finds them.
 *
 * `remote()` registers what it is given under the module that called it, its name, and how many of that name came before
 * in that module. A worker that evaluates the same modules registers the same things under the same descriptors, so a
 * call carries a descriptor instead of code. Serves step 2 (naming) and step 6 (finding) of the main path.
 * Never imports a user's module and never runs a user's function.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { isAbsolute } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { InvalidOptionError } from "./errors.ts";
import { localUrl, travelUrl } from "./module-map.ts";
import {
  type MethodOptions,
  type ResolvedActorOptions,
  type ResolvedMethodOptions,
  type ResolvedTaskOptions,
  resolveActorOptions,
  resolveMethodOptions,
  resolveTaskOptions,
} from "./options.ts";

/** Any function. */
export type AnyFunction = (...args: never[]) => unknown;
/** Any class that can be constructed. */
export type AnyClass = new (...args: never[]) => object;

/** Whether calls of a function yield items, and how. */
export type GeneratorKind = "none" | "sync" | "async";

/** How another process finds a function or class. */
export interface FunctionId {
  /** URL of the module that registered it; "" where there is none (eval, REPL). */
  readonly module: string;
  readonly name: string;
  /** Of its source text; "" = do not compare (the caller's text was transformed by a test runner). */
  readonly hash: string;
  /** How many registrations of the same module and name came before. */
  readonly ordinal: number;
  /** Of the module's file; absent or "" where it cannot be read. Loaders may transform equal files differently. */
  readonly file?: string;
}

interface Registration extends Omit<FunctionId, "file"> {
  readonly generator: GeneratorKind;
  /** It was registered in the driver's entry module after `init` returned: no worker will ever register it. */
  readonly late: boolean;
}

/** A function or static method that tasks run. */
export interface RegisteredTask extends Registration {
  readonly kind: "function" | "method";
  readonly fn: AnyFunction;
  readonly options: ResolvedTaskOptions;
  /** What `this` is when it runs: the class of a static method that was marked by a decorator, else undefined. */
  readonly receiver: unknown;
}

/** A class that actors are made of. */
export interface RegisteredClass extends Registration {
  readonly kind: "class";
  readonly fn: AnyClass;
  readonly options: ResolvedActorOptions;
}

export type RegisteredFunction = RegisteredTask | RegisteredClass;

/** A public method of a class, as handles and actors see it. */
export interface MethodInfo {
  readonly name: string;
  readonly generator: GeneratorKind;
  /** What `@method()` says, with defaults. */
  readonly options: ResolvedMethodOptions;
}

/** What the composition root tells the registry. */
export const registry: {
  /** URL of the driver's entry module, set when `init` returns: what registers there from then on is `late`. */
  lateModule: string | undefined;
  /** Where `init()` was called, if that was at the top level of a module: workers evaluate nothing below. */
  initCall: CodePosition | undefined;
  /** Told of each registration, past ones included. */
  onRegister: ((record: RegisteredFunction) => void) | undefined;
  /** In a worker that runs the driver's files as one bundle: the module that a place in it was written in. */
  originOf: ((position: CodePosition) => string | undefined) | undefined;
  /** Hashes of files that are not here, by module: what a bundle was made of. */
  files: Readonly<Record<string, string>>;
} = { lateModule: undefined, initCall: undefined, onRegister: undefined, originOf: undefined, files: {} };

/** A position in a module as V8 compiled it; lines and columns count from 0. */
export interface CodePosition {
  readonly module: string;
  readonly line: number;
  readonly column: number;
}

/** A place in the user's code. */
export interface CallSite {
  /** URL of the module; "" where there is none. */
  readonly module: string;
  /** Name of the function there; "" at the top level. */
  readonly caller: string;
  /** Where in the module; absent where there is none. */
  readonly position?: CodePosition;
}

const NOWHERE: CallSite = { module: "", caller: "" };

/** Name of what has none. */
const ANONYMOUS = "anonymous";

// ------------------------------------------------------------------------------------------------------- registering

const recordOfFunction = new WeakMap<object, RegisteredFunction>();
/** By module and name, in order of registration. */
const recordsByName = new Map<string, RegisteredFunction[]>();

class Registered {
  readonly fn: AnyFunction | AnyClass;
  readonly kind: "function" | "class" | "method";
  readonly module: string;
  readonly name: string;
  readonly ordinal: number;
  readonly generator: GeneratorKind;
  readonly options: ResolvedTaskOptions | ResolvedActorOptions;
  readonly late: boolean;
  receiver: unknown = undefined;
  #hash: string | undefined;

  constructor(fields: Omit<Registered, "hash" | "receiver">) {
    this.fn = fields.fn;
    this.kind = fields.kind;
    this.module = fields.module;
    this.name = fields.name;
    this.ordinal = fields.ordinal;
    this.generator = fields.generator;
    this.options = fields.options;
    this.late = fields.late;
  }

  get hash(): string {
    this.#hash ??= hashOf(this.fn);
    return this.#hash;
  }
}

/** Registers a function or static method with its options. What is registered already keeps its record. */
export function registerFunction(
  fn: AnyFunction,
  kind: "function" | "method",
  callSite: CallSite,
  options: ResolvedTaskOptions,
  name: string = nameOf(fn),
): RegisteredTask {
  return register(fn, kind, callSite, options, name) as RegisteredTask;
}

/** Registers a class with its options. What is registered already keeps its record. */
export function registerClass(
  Class: AnyClass,
  callSite: CallSite,
  options: ResolvedActorOptions,
  name: string = nameOf(Class),
): RegisteredClass {
  return register(Class, "class", callSite, options, name) as RegisteredClass;
}

function register(
  fn: AnyFunction | AnyClass,
  kind: Registered["kind"],
  callSite: CallSite,
  options: ResolvedTaskOptions | ResolvedActorOptions,
  name: string,
): RegisteredFunction {
  const known = recordOfFunction.get(fn);
  if (known !== undefined) return known;
  const { module } = callSite;
  const late = (callSite as Partial<DefinitionSite>).late ?? isLate(module);
  const key = keyOf(module, name);
  const same = recordsByName.get(key) ?? [];
  const record = new Registered({
    fn,
    kind,
    module,
    name,
    ordinal: same.length,
    generator: generatorKindOf(fn),
    options,
    late,
  }) as RegisteredFunction;
  recordOfFunction.set(fn, record);
  registry.onRegister?.(record);
  // Those that travel by value are found by no other process: the table need not keep them and what they close over.
  if (!late && module !== "") {
    same.push(record);
    recordsByName.set(key, same);
  }
  return record;
}

function isLate(module: string): boolean {
  return isLateModule(module) || isTestFile(module);
}

let lateModule: { readonly given: string; readonly url: string } | undefined;

/** Whether what registers in that module from now on is late: it is the driver's entry, and `init` has returned. */
export function isLateModule(module: string): boolean {
  const given = registry.lateModule;
  if (given === undefined) return false;
  if (lateModule?.given !== given) lateModule = { given, url: moduleUrl(given) };
  return lateModule.url === module;
}

/** Whether a file is a test of vitest or jest, which only its runner can evaluate. */
export function isTestFile(module: string): boolean {
  // The environment is slow to read, and this is asked for each capture.
  return TEST_FILE.test(module) && isTransformedByRunner();
}

const TEST_FILE = /[./_-](?:test|spec|bench)\.[cm]?[jt]sx?$/;

/** Whether workers cannot find it, so that it travels by value: it was registered too late, or in no module. */
export function isByValue(record: RegisteredFunction): boolean {
  return record.late || record.module === "";
}

/** In place of a module: the function comes as the first argument of each call. */
const BY_VALUE = "tsray:value";

/** Whether a descriptor says that the function comes with the arguments. */
export function isByValueId(id: Pick<FunctionId, "module">): boolean {
  return id.module === BY_VALUE;
}

const callFirst = (target: AnyFunction, ...args: never[]) => target(...args);

/** What serves calls of a function that travels by value; without one, it comes as the first argument. */
export function byValueTask(name: string, fn: AnyFunction = callFirst as AnyFunction): RegisteredTask {
  const options = resolveTaskOptions(undefined, undefined, { streams: false });
  return {
    kind: "function",
    fn,
    module: BY_VALUE,
    name,
    hash: "",
    ordinal: 0,
    generator: "none",
    late: false,
    options,
    receiver: undefined,
  };
}

/** Says what `this` is when a static method runs. */
export function setReceiver(record: RegisteredTask, receiver: unknown): void {
  (record as { receiver: unknown }).receiver = receiver;
}

/** The record of a function or class that was registered, if it was. */
export function recordOf(fn: object): RegisteredFunction | undefined {
  return recordOfFunction.get(fn);
}

// ----------------------------------------------------------------------------------------------------------- finding

/**
 * The function of that descriptor in this process. Where registrations came in another order than at the caller, the
 * one with the same source text is taken, if there is exactly one. An empty hash compares no text: {@link findLoose}.
 */
export function findFunction(id: FunctionId): RegisteredFunction | undefined {
  if (id.hash === "") return findLoose(id);
  const found = findExact(id);
  if (found !== undefined) return found;
  return registerActorSubclasses() ? findExact(id) : undefined;
}

function findExact(id: FunctionId): RegisteredFunction | undefined {
  const same = recordsByName.get(keyOf(id.module, id.name)) ?? [];
  const exact = same[id.ordinal];
  if (exact?.hash === id.hash) return exact;
  const alike = same.filter((record) => record.hash === id.hash);
  if (alike.length === 1) return alike[0];
  // The same file, transformed into another text (as a CommonJS module there, as an ES module here).
  return exact !== undefined && id.file !== undefined && id.file !== "" && id.file === fileHash(id.module)
    ? exact
    : undefined;
}

/** The function registered by that module under that name and number, whatever its text. */
export function findLoose(
  id: Pick<FunctionId, "module" | "name" | "ordinal">,
): RegisteredFunction | undefined {
  // Runners number a function that is called as the variable it is given to: `const f = remote(function f() {})`.
  const names = [id.name, id.name.replace(/\d+$/, "")];
  const find = () =>
    names.map((name) => recordsByName.get(keyOf(id.module, name))?.[id.ordinal]).find((found) => found);
  return find() ?? (registerActorSubclasses() ? find() : undefined);
}

/** The descriptor of a record that travels. Its hash is "" in a process whose modules a test runner transformed. */
export function describeFunction(record: RegisteredFunction): FunctionId {
  if (isByValue(record) || isByValueId(record))
    return { module: BY_VALUE, name: labelOf(record), hash: "", ordinal: 0 };
  const { module, name, ordinal } = record;
  return { module, name, ordinal, hash: isTransformedByRunner() ? "" : record.hash, file: fileHash(module) };
}

/** Whether this process (or the one that started it) is a test of vitest or jest, which transform the modules they load. */
export function isTransformedByRunner(environment: NodeJS.ProcessEnv = process.env): boolean {
  return environment.VITEST !== undefined || environment.JEST_WORKER_ID !== undefined;
}

// ----------------------------------------------------------------------------------------------------------- methods

const methodOptions = new WeakMap<object, MethodOptions>();
const methodTables = new WeakMap<object, ReadonlyMap<string, MethodInfo>>();

/** Marks a method with what `@method()` was given, already checked. */
export function markMethod(fn: AnyFunction, options: MethodOptions): void {
  methodOptions.set(fn, options);
}

/** The public methods of a class and of the classes it extends, by name. Accessors and symbols are not among them. */
export function methodsOf(Class: AnyClass): ReadonlyMap<string, MethodInfo> {
  const known = methodTables.get(Class);
  if (known !== undefined) return known;
  const methods = new Map<string, MethodInfo>();
  for (
    let proto: object | null = Class.prototype as object | null;
    proto !== null && proto !== Object.prototype;
    proto = Object.getPrototypeOf(proto) as object | null
  ) {
    for (const name of Object.getOwnPropertyNames(proto)) {
      const value: unknown = Object.getOwnPropertyDescriptor(proto, name)?.value;
      if (name === "constructor" || typeof value !== "function" || methods.has(name)) continue;
      const generator = generatorKindOf(value);
      const options = resolveMethodOptions(methodOptions.get(value), undefined, {
        streams: generator !== "none",
      });
      methods.set(name, { name, generator, options });
    }
  }
  methodTables.set(Class, methods);
  return methods;
}

// -------------------------------------------------------------------------------------------- subclasses of Actor

/** Where a class was written that extends `Actor`: the prototype it got as its parent leads there. */
interface DefinitionSite extends CallSite {
  readonly seq: number;
  readonly late: boolean;
}

const definitionSites = new WeakMap<object, DefinitionSite>();
let definitions = 0;
let actorBase: AnyClass | undefined;
let actorItself: object | undefined;

/**
 * Makes the class that users extend to get static `remote` and `options`.
 *
 * JavaScript tells a base class nothing of its subclasses, and a worker must find them by name. What it does do, once
 * per subclass, is read `prototype` of the class it extends. A bound function has no such property of its own, so it can
 * be a getter, which notes the place and hands out a parent prototype that leads back to it. The classes themselves are
 * found when they are first asked for, see {@link registerActorSubclasses}. `instanceof` looks through bound functions.
 */
export function makeExtensible<B extends abstract new () => object>(base: B, statics: readonly string[]): B {
  actorBase = base as unknown as AnyClass;
  const extensible = (base as unknown as () => void).bind(null);
  Object.defineProperty(extensible, "name", { value: base.name, configurable: true });
  for (const name of statics) {
    const descriptor = Object.getOwnPropertyDescriptor(base, name);
    if (descriptor !== undefined) Object.defineProperty(extensible, name, descriptor);
  }
  Object.defineProperty(extensible, "prototype", {
    configurable: true,
    get: function prototype(): object {
      const parent = Object.create(base.prototype) as object;
      const site = captureCallSite(prototype);
      definitionSites.set(parent, { ...site, seq: definitions++, late: isLate(site.module) });
      return parent;
    },
  });
  actorItself = extensible;
  return extensible as unknown as B;
}

/**
 * The place where a subclass of `Actor` was written; for a subclass of a subclass, where the one that names `Actor` was
 * (so one that is written in another module than that is better given to `remote()`).
 */
function definitionSite(Class: AnyClass): DefinitionSite | undefined {
  let proto = Object.getPrototypeOf(Class.prototype) as object | null;
  while (proto !== null && !definitionSites.has(proto)) proto = Object.getPrototypeOf(proto) as object | null;
  return proto === null ? undefined : definitionSites.get(proto);
}

/** Registers a subclass of `Actor` that was not given to `remote()`, at its first use. */
export function registerActorSubclass(Class: AnyClass): RegisteredClass {
  const known = recordOfFunction.get(Class);
  if (known !== undefined) return known as RegisteredClass;
  if (!isSubclassOfActor(Class))
    throw new InvalidOptionError("remote and options belong to classes that extend Actor");
  return registerClass(Class, definitionSite(Class) ?? NOWHERE, resolveActorOptions(undefined));
}

function isSubclassOfActor(Class: AnyClass): boolean {
  return actorBase !== undefined && Class !== actorItself && Class.prototype instanceof actorBase;
}

/**
 * Registers every subclass of `Actor` in this process that is not registered yet, in the order they were written.
 * V8's heap knows them; searching it takes tens of ms, and happens only for a class that was not found otherwise.
 * @returns whether there were any
 */
function registerActorSubclasses(): boolean {
  if (actorBase === undefined || definitions === 0) return false;
  const found = instancesInHeap(actorBase.prototype as object)
    .map((proto) => Object.getOwnPropertyDescriptor(proto, "constructor")?.value as unknown)
    .filter((Class): Class is AnyClass => typeof Class === "function" && !recordOfFunction.has(Class))
    .map((Class) => ({ Class, site: definitionSite(Class) }))
    .filter(({ site }) => site !== undefined)
    .sort((a, b) => (a.site?.seq ?? 0) - (b.site?.seq ?? 0));
  for (const { Class, site } of found) registerClass(Class, site ?? NOWHERE, resolveActorOptions(undefined));
  return found.length > 0;
}

/** Every object with `proto` in its prototype chain. */
function instancesInHeap(proto: object): readonly object[] {
  const inspector = process.getBuiltinModule("node:inspector");
  const exchange: { proto: object; found: object[] } = { proto, found: [] };
  const key = Symbol.for("tsray.heap-query");
  Object.defineProperty(globalThis, key, { value: exchange, configurable: true });
  const session = new inspector.Session();
  try {
    session.connect();
    session.post(
      "Runtime.evaluate",
      { expression: "globalThis[Symbol.for('tsray.heap-query')].proto" },
      (_error, evaluated) => {
        const prototypeObjectId = evaluated?.result.objectId;
        if (prototypeObjectId === undefined) return;
        session.post("Runtime.queryObjects", { prototypeObjectId }, (_queryError, answer) => {
          const objectId = answer?.objects.objectId;
          if (objectId === undefined) return;
          session.post("Runtime.callFunctionOn", {
            objectId,
            functionDeclaration: "function () { globalThis[Symbol.for('tsray.heap-query')].found = this; }",
          });
        });
      },
    );
    return [...exchange.found];
  } catch {
    return []; // no inspector in this process: such classes need remote() or @remote
  } finally {
    session.disconnect();
    Reflect.deleteProperty(globalThis, key);
  }
}

// -------------------------------------------------------------------------------------------------------- call sites

/** Frames looked at: the caller, and helpers of compilers between it and the user's code. */
const FRAMES_MAX = 8;
/** Helpers that call decorators from a file of their own. */
const HELPER_FILES = /\/node_modules\/(?:tslib|@swc\/helpers|@babel\/runtime|reflect-metadata|core-js)\//;

/**
 * Where the user's code called `boundary` (a public function of tsray that is on the stack).
 * Costs some 5 us; `Error.prepareStackTrace` is as before when it returns.
 */
export function captureCallSite(boundary: (...args: never[]) => unknown): CallSite {
  const { prepareStackTrace, stackTraceLimit } = Error;
  const holder: { stack?: unknown } = {};
  let frames: NodeJS.CallSite[] = [];
  try {
    Error.stackTraceLimit = FRAMES_MAX;
    Error.prepareStackTrace = (_error, structured) => structured;
    Error.captureStackTrace(holder, boundary);
    frames = holder.stack as NodeJS.CallSite[];
  } finally {
    Error.prepareStackTrace = prepareStackTrace;
    Error.stackTraceLimit = stackTraceLimit;
  }
  if (!Array.isArray(frames)) return NOWHERE;
  const caller = frames[0]?.getFunctionName() ?? "";
  for (const frame of frames) {
    const file = frame.getFileName();
    if (typeof file !== "string" || file.startsWith("node:") || HELPER_FILES.test(file)) continue;
    const module = moduleUrl(file);
    if (module === "") continue;
    const position = {
      module,
      line: (frame.getLineNumber() ?? 1) - 1,
      column: (frame.getColumnNumber() ?? 1) - 1,
    };
    return { module: registry.originOf?.(position) ?? module, caller, position };
  }
  return { module: "", caller };
}

/**
 * A file name of V8 as the URL by which all processes of the job call the module: plain paths become file: URLs, query and
 * fragment go. "" for what is no module.
 */
export function moduleUrl(file: string): string {
  if (isAbsolute(file)) {
    const query = /\?[\w-]+(?:=|$)/.exec(file);
    return travelUrl(pathToFileURL(query === null ? file : file.slice(0, query.index)).href);
  }
  if (!URL.canParse(file)) return "";
  const url = new URL(file);
  if (url.protocol === "data:") return file;
  if (url.protocol === "node:" || /\/\[(?:eval|stdin)\d*\]$/.test(decodeURI(url.pathname))) return "";
  url.search = "";
  url.hash = "";
  return travelUrl(url.href);
}

// ------------------------------------------------------------------------------------------------------ small things

function keyOf(module: string, name: string): string {
  return `${module}\n${name}`;
}

function nameOf(fn: AnyFunction | AnyClass): string {
  const { name } = fn as { readonly name: unknown };
  return typeof name === "string" && name !== "" ? name : ANONYMOUS;
}

function hashOf(fn: AnyFunction | AnyClass): string {
  return createHash("sha1").update(Function.prototype.toString.call(fn)).digest("hex").slice(0, 16);
}

const sources = new Map<string, string>();

/** Text of a module's file; "" where there is none. */
function sourceOf(module: string): string {
  let text = sources.get(module);
  if (text === undefined) {
    try {
      text = readFileSync(fileURLToPath(localUrl(module)), "utf8");
    } catch {
      text = "";
    }
    sources.set(module, text);
  }
  return text;
}

function fileHash(module: string): string {
  const known = registry.files[module];
  if (known !== undefined) return known;
  const text = sourceOf(module);
  return text === "" ? "" : createHash("sha1").update(text).digest("hex").slice(0, 16);
}

/** `const NAME = remote(` before a function or class without a name of its own. */
const ASSIGNED =
  /([\w$]+)\s*=\s*(?:[\w$]+\.)?remote(?:<[^()]*>)?\s*\(\s*(?:async\s*)?(?:\(|[\w$]+\s*=>|function\s*\*?\s*\(|class\s*(?:extends\b|\{))/g;
const labels = new WeakMap<RegisteredFunction, string>();

/**
 * What listings, logs and errors call it: its name, or for `const fit = remote((x) => ...)` the variable's, as far as the
 * module's text tells which is which. Never part of its identity.
 */
export function labelOf(record: RegisteredFunction): string {
  if (record.name !== ANONYMOUS) return record.name;
  let label = labels.get(record);
  if (label === undefined) {
    const assigned = [...sourceOf(record.module).matchAll(ASSIGNED)].map((match) => match[1] as string);
    const same = recordsByName.get(keyOf(record.module, ANONYMOUS)) ?? [];
    label = (assigned.length === same.length ? assigned[same.indexOf(record)] : undefined) ?? ANONYMOUS;
    labels.set(record, label);
  }
  return label;
}

/** Told by the constructor's name, so that functions of other realms (test runners) are recognised. */
export function generatorKindOf(fn: object): GeneratorKind {
  switch ((Object.getPrototypeOf(fn) as object | null)?.constructor?.name) {
    case "GeneratorFunction":
      return "sync";
    case "AsyncGeneratorFunction":
      return "async";
    default:
      return "none";
  }
}

/** Whether it is a class: only a class has a `prototype` that cannot be replaced. */
export function isClass(value: unknown): value is AnyClass {
  if (typeof value !== "function") return false;
  const prototype = Object.getOwnPropertyDescriptor(value, "prototype");
  return prototype?.writable === false;
}
