/**
 * Turns any value that tsray can carry into the flat table of table.ts, or says which part of it cannot travel.
 *
 * Walks the graph with a queue, not by recursion: a list of 100,000 nodes costs no stack. Runs user code only where it
 * must: getters, and serialize() of registered classes.
 */

import { types } from "node:util";
import { SerializationError, TsrayError, toErrorRecord } from "../base/errors.ts";
import { ChunkCollector } from "./chunks.ts";
import {
  type AnyClass,
  type AnyFunction,
  CannotTravel,
  type CodecHooks,
  type EncodeOptions,
  type FunctionCodec,
  type FunctionProperty,
  type LoweredFunction,
} from "./hooks.ts";
import { isInt64, isWellFormed } from "./plain.ts";
import { type RegisteredClass, registeredClass } from "./registry.ts";
import {
  BUILT_IN_ERRORS,
  ERROR_FIELDS,
  HOLE,
  MINUS_ZERO,
  PropertyFlag,
  REGISTERED,
  type Ref,
  Tag,
  UNDEFINED,
  VIEW_CLASSES,
  WELL_KNOWN_SYMBOLS,
} from "./table.ts";

/** The table of a value, and what travels beside it. */
export interface Lowered {
  readonly table: readonly [
    root: unknown,
    nodes: readonly unknown[][],
    chunks: readonly unknown[],
    definitions?: readonly unknown[],
  ];
  readonly buffers: readonly Uint8Array[];
  readonly handles: readonly object[];
  /** Code that is not in the table. */
  readonly definitions: ReadonlyMap<string, unknown>;
}

type Slot = string | number | boolean | null | bigint | Ref;
type Node = unknown[];

/** How a part is reached from its parent, as text: `.name`, `[0]`, ` -> variable`. */
type Step = string | number | { readonly variable: string };

/** Arrays at least this long may be so sparse that visiting each index would take for ever. */
const SPARSE_LENGTH_MIN = 1024;
const PATH_STEPS_MAX = 40;
/** Arrays of at least so many handles travel as one node. */
const HANDLES_MIN = 32;

/** Lowers one value. `where` names it in errors: "argument 0 of fit()". */
export function lower(value: unknown, hooks: CodecHooks, where: string, options: EncodeOptions): Lowered {
  return new Lowering(hooks, where, options).run(value);
}

class Lowering {
  readonly #hooks: CodecHooks;
  readonly #where: string;
  readonly #options: EncodeOptions;
  readonly #functions: FunctionCodec | undefined;
  readonly #nodes: Node[] = [];
  /** The objects still to lower, by node index; undefined for a node that was complete at once. */
  readonly #sources: (object | undefined)[] = [];
  readonly #parents: number[] = [];
  readonly #steps: Step[] = [];
  readonly #indexes = new Map<object, number>();
  readonly #chunks = new ChunkCollector();
  readonly #handles: object[] = [];
  readonly #definitions = new Map<string, unknown>();
  readonly #lowered = new Map<AnyFunction, LoweredFunction>();
  /** Symbols of its own that the value holds; they may travel inside functions only. */
  readonly #symbols = new Map<symbol, Ref>();
  /** A function was met: from then on things may be captured variables, which are looked at more closely. */
  #capturing = false;
  /** Node being lowered, and the part of it that is being read: where an error would be. */
  #at = -1;
  #step: Step = "";

  constructor(hooks: CodecHooks, where: string, options: EncodeOptions) {
    this.#hooks = hooks;
    this.#where = where;
    this.#options = options;
    this.#functions = options.dataOnly === true ? undefined : hooks.functions;
  }

  run(value: unknown): Lowered {
    try {
      const root = this.#slot(value, "");
      for (let i = 0; i < this.#sources.length; i++) {
        const source = this.#sources[i];
        if (source === undefined) continue;
        this.#at = i;
        this.#step = "";
        this.#nodes[i] = this.#lower(source);
      }
      this.#chunks.finish();
      const { chunks, buffers } = this.#chunks;
      const definitions = this.#definitions;
      const parts = { buffers, handles: this.#handles, definitions };
      if (definitions.size === 0 || this.#options.definitionsApart === true)
        return { table: [root, this.#nodes, chunks], ...parts };
      return { table: [root, this.#nodes, chunks, [...definitions.values()]], ...parts };
    } catch (error) {
      if (error instanceof SerializationError) throw error;
      if (error instanceof CannotTravel) throw this.#failure(error.message, error.cause);
      throw this.#failure(
        `could not be read: ${error instanceof Error ? error.message : String(error)}`,
        error,
      );
    }
  }

  #slot(value: unknown, step: Step): Slot {
    this.#step = step;
    switch (typeof value) {
      case "string":
        if (isWellFormed(value)) return value;
        return this.#add([Tag.string, Buffer.from(value, "utf16le")], undefined, step);
      case "number":
        return Object.is(value, -0) ? MINUS_ZERO : value;
      case "boolean":
        return value;
      case "undefined":
        return UNDEFINED;
      case "bigint":
        if (isInt64(value)) return value;
        return this.#add(
          [Tag.bigint, (value < 0n ? -value : value).toString(16), value < 0n],
          undefined,
          step,
        );
      case "symbol":
        return this.#symbol(value, step);
      default: {
        if (value === null) return null;
        const object = value as object;
        const index = this.#indexes.get(object);
        if (index !== undefined) return [index];
        const ref = this.#add([], object, step);
        this.#indexes.set(object, ref[0]);
        return ref;
      }
    }
  }

  #add(node: Node, source: object | undefined, step: Step): Ref {
    this.#parents.push(this.#at);
    this.#steps.push(step);
    this.#sources.push(source);
    return [this.#nodes.push(node) - 1];
  }

  #symbol(value: symbol, step: Step): Ref {
    for (const [name, known] of WELL_KNOWN_SYMBOLS) {
      if (known === value) return this.#add([Tag.symbol, true, name], undefined, step);
    }
    const key = Symbol.keyFor(value);
    if (key === undefined && this.#capturing) {
      const known = this.#symbols.get(value);
      if (known !== undefined) return known;
      const ref = this.#add([Tag.localSymbol], undefined, step);
      this.#symbols.set(value, ref);
      this.#nodes[ref[0]]!.push(this.#slot(value.description ?? "", step));
      return ref;
    }
    if (key === undefined)
      throw this.#failure(
        `is the symbol ${String(value)}; only Symbol.for() symbols have a meaning elsewhere`,
      );
    const ref = this.#add([Tag.symbol, false], undefined, step);
    this.#nodes[ref[0]]!.push(this.#slot(key, step));
    return ref;
  }

  #lower(value: object): Node {
    for (const codec of this.#hooks.handles) {
      if (codec.test(value)) {
        this.#handles.push(value);
        const node: Node = [Tag.handle, codec.tag, codec.encode(value)];
        for (const part of codec.parts?.(value) ?? []) node.push(this.#slot(part, ""));
        return node;
      }
    }
    if (typeof value === "function") return this.#function(value as AnyFunction);
    if (this.#capturing) {
      const ref = this.#functions?.known(value);
      if (ref !== undefined) return [Tag.ref, ref];
      if (types.isProxy(value))
        throw this.#failure("is a Proxy; what it does cannot travel: send its target");
      const owner = Object.hasOwn(value, "constructor") ? classOf(value) : undefined;
      if (owner !== undefined) return [Tag.prototype, this.#slot(owner, "constructor")];
    }
    const proto = Object.getPrototypeOf(value) as object | null;
    if (Array.isArray(value) && isProto(proto, "Array")) return this.#array(value);
    if (proto === Object.prototype) return this.#properties([Tag.object], value);
    if (proto === null) return this.#properties([Tag.nullObject], value);
    const Class = classOf(proto);
    const row = Class && registeredClass(Class);
    if (row !== undefined) return this.#registered(row, value);
    if (value instanceof TsrayError) return this.#tsrayError(value);
    return this.#builtIn(value, proto) ?? this.#instance(value, proto, Class);
  }

  #function(fn: AnyFunction): Node {
    if (this.#functions === undefined)
      throw this.#failure(
        `is ${describeFunction(fn)}; a function cannot travel here; pass a remote function or its name`,
      );
    this.#capturing = true;
    const lowered = this.#lowerFunction(fn);
    switch (lowered.kind) {
      case "ref":
        return [Tag.ref, lowered.ref];
      case "class":
        return [Tag.moduleClass, lowered.found.name, lowered.found.module];
      case "bound": {
        const { target, self, args } = lowered;
        const node: Node = [Tag.bound, this.#slot(target, { variable: "target of bind()" })];
        node.push(this.#slot(self, { variable: "this" }));
        for (const [i, arg] of args.entries())
          node.push(this.#slot(arg, { variable: `argument ${i} of bind()` }));
        return node;
      }
      default:
        return this.#code(lowered);
    }
  }

  #lowerFunction(fn: AnyFunction): LoweredFunction {
    let lowered = this.#lowered.get(fn);
    if (lowered === undefined) {
      lowered = (this.#functions as FunctionCodec).lower(fn);
      this.#lowered.set(fn, lowered);
    }
    return lowered;
  }

  #code({
    hash,
    definition,
    name,
    variables,
    properties,
  }: LoweredFunction & { readonly kind: "code" }): Node {
    this.#definitions.set(hash, definition);
    const node: Node = [Tag.closure, hash, name, variables.length];
    for (const { name: variable, value, ref } of variables) {
      const step = { variable };
      node.push(ref === undefined ? this.#slot(value, step) : this.#import(value, ref, step));
    }
    for (const property of properties) {
      const step = typeof property.key === "string" ? property.key : `<${String(property.key)}>`;
      node.push(flagsOf(property), this.#slot(property.key, step), this.#slot(property.value, step));
    }
    return node;
  }

  /** A variable that is imported at the other side; so is the same object wherever else it is met. */
  #import(value: unknown, ref: unknown, step: Step): Ref {
    const isObject = (typeof value === "object" && value !== null) || typeof value === "function";
    const known = isObject ? this.#indexes.get(value) : undefined;
    if (known !== undefined) return [known];
    const added = this.#add([Tag.ref, ref], undefined, step);
    if (isObject) this.#indexes.set(value, added[0]);
    return added;
  }

  #properties(node: Node, value: object, keys: readonly string[] = Object.keys(value)): Node {
    for (const key of keys) {
      this.#step = key;
      node.push(this.#slot(key, key), this.#slot(Reflect.get(value, key), key));
    }
    return node;
  }

  #array(array: readonly unknown[]): Node {
    const keys = Object.keys(array);
    const { length } = array;
    const namedFrom = countIndexes(keys, length);
    const isSparse = length >= SPARSE_LENGTH_MIN && namedFrom * 2 < length;
    if (namedFrom === keys.length && !isSparse) {
      const handles = length >= HANDLES_MIN && namedFrom === length ? this.#handleList(array) : undefined;
      if (handles !== undefined) return handles;
      const node: Node = [Tag.array];
      for (let i = 0; i < length; i++) {
        this.#step = i;
        const item = array[i];
        node.push(item === undefined && !(i in array) ? HOLE : this.#slot(item, i));
      }
      return node;
    }
    const node: Node = [Tag.sparseArray, length, namedFrom];
    for (const key of keys.slice(0, namedFrom)) {
      this.#step = Number(key);
      node.push(Number(key), this.#slot(array[Number(key)], Number(key)));
    }
    return this.#properties(node, array, keys.slice(namedFrom));
  }

  /** Of an array that holds handles of one kind, none of them met before; one that is met again later comes twice. */
  #handleList(array: readonly unknown[]): Node | undefined {
    const [first] = array;
    if (!isObject(first)) return undefined;
    const codec = this.#hooks.handles.find(({ test }) => test(first));
    if (codec === undefined || codec.parts !== undefined || new Set(array).size !== array.length)
      return undefined;
    const isNew = (item: unknown): item is object =>
      isObject(item) && codec.test(item) && !this.#indexes.has(item);
    if (!array.every(isNew)) return undefined;
    const data = array.map((handle) => {
      this.#handles.push(handle);
      return codec.encode(handle);
    });
    return [Tag.handles, codec.tag, data];
  }

  #registered(row: RegisteredClass, value: object): Node {
    if (row.serialize !== undefined) return [Tag.custom, row.name, this.#slot(row.serialize(value), "")];
    if (row.deserialize !== undefined) {
      return [Tag.custom, row.name, this.#slot(Object.fromEntries(Object.entries(value)), "")];
    }
    if (value instanceof Error) return this.#error(value, row.name, REGISTERED);
    const base = builtInBase(value);
    if (base !== undefined)
      throw this.#failure(
        `is an instance of class ${row.name}, which extends ${base}; its registerSerializer() needs serialize and deserialize`,
      );
    return this.#properties([Tag.registered, row.name], value);
  }

  #builtIn(value: object, proto: object): Node | undefined {
    if (typeof DOMException !== "undefined" && value instanceof DOMException) {
      const { name, message, stack } = value as DOMException & { stack?: unknown };
      return [
        Tag.domException,
        this.#slot(name, "name"),
        this.#slot(message, "message"),
        this.#slot(stack, "stack"),
      ];
    }
    if (value instanceof Error || types.isNativeError(value)) return this.#namedError(value as Error, proto);
    const base = builtInBase(value);
    if (base === undefined) return this.#otherBuiltIn(value);
    if (base === "SharedArrayBuffer")
      throw this.#failure("is a SharedArrayBuffer; its memory is shared by the threads of one process only");
    if (base in REFUSED)
      throw this.#failure(`is ${base === "iterator" ? "an" : "a"} ${base}; ${REFUSED[base]}`);
    if (!isProto(proto, base))
      throw this.#failure(`is an instance of class ${className(value)}, which extends ${base}`);
    switch (base) {
      case "Map": {
        const node: Node = [Tag.map];
        let i = 0;
        for (const [key, item] of value as Map<unknown, unknown>) {
          node.push(
            this.#slot(key, `<key ${i++}>`),
            this.#slot(item, typeof key === "string" ? `<${key}>` : `<value ${i - 1}>`),
          );
        }
        return node;
      }
      case "Set": {
        const node: Node = [Tag.set];
        let i = 0;
        for (const item of value as Set<unknown>) node.push(this.#slot(item, `<item ${i++}>`));
        return node;
      }
      case "Date":
        return [Tag.date, Date.prototype.getTime.call(value)];
      case "RegExp":
        return [Tag.regexp, this.#slot((value as RegExp).source, "source"), (value as RegExp).flags];
      case "ArrayBuffer":
        return this.#chunks.addBuffer(value as ArrayBuffer);
      case "Number":
      case "String":
      case "Boolean":
      case "BigInt":
      case "Symbol":
        return [Tag.boxed, this.#slot(value.valueOf(), "")];
      default: {
        if (types.isSharedArrayBuffer((value as ArrayBufferView).buffer)) {
          throw this.#failure(
            "is a view of a SharedArrayBuffer; its memory is shared by the threads of one process only",
          );
        }
        const elementBytes = VIEW_CLASSES.get(base)?.elementBytes ?? 1;
        return this.#chunks.addView(value as ArrayBufferView, base, elementBytes);
      }
    }
  }

  #otherBuiltIn(value: object): Node | undefined {
    if (types.isModuleNamespaceObject(value)) return this.#properties([Tag.nullObject], value);
    const { pipe, on } = value as { pipe?: unknown; on?: unknown };
    if (typeof pipe === "function" && typeof on === "function") {
      throw this.#failure(`is a stream or socket (class ${className(value)}); it belongs to this process`);
    }
    return undefined;
  }

  #namedError(error: Error, proto: object): Node {
    const Class = classOf(proto);
    if (Class === undefined || isProto(proto, baseErrorName(error))) return this.#error(error, null, null);
    const found = this.#hooks.classes.nameOf(Class);
    return this.#error(error, found?.name ?? Class.name, found?.module ?? null);
  }

  #error(error: Error, className: string | null, module: string | typeof REGISTERED | null): Node {
    const node: Node = [
      Tag.error,
      baseErrorName(error),
      this.#slot(String(error.name), "name"),
      className,
      module,
    ];
    const keys = new Set<string>([
      ...ERROR_FIELDS.filter((key) => Object.hasOwn(error, key)),
      ...Object.keys(error),
    ]);
    for (const key of keys) {
      this.#step = key;
      const isEnumerable = Object.prototype.propertyIsEnumerable.call(error, key);
      node.push(this.#slot(key, key), this.#slot(Reflect.get(error, key), key), isEnumerable);
    }
    return node;
  }

  #tsrayError(error: TsrayError): Node {
    const { name, message, fields } = toErrorRecord(error);
    const cause = Object.hasOwn(error, "cause") ? this.#slot(error.cause, "cause") : HOLE;
    const node: Node = [
      Tag.tsrayError,
      name,
      this.#slot(message, "message"),
      this.#slot(error.stack, "stack"),
      cause,
    ];
    return this.#properties(node, fields);
  }

  #instance(value: object, proto: object, Class: AnyClass | undefined): Node {
    if (isForeignObjectProto(proto)) return this.#properties([Tag.object], value);
    if (Class === undefined) {
      throw this.#failure(
        `is an object (${objectTag(value)}) whose prototype belongs to no class that another process could find`,
      );
    }
    const lowered = this.#functions === undefined ? undefined : this.#instanceClass(value, Class);
    const found = lowered === undefined ? this.#hooks.classes.nameOf(Class) : undefined;
    if (found === undefined && lowered === undefined) {
      throw this.#failure(
        `is an instance of class ${className(value)}, which is not a class at the top level of a module that tsray knows`,
      );
    }
    if (hasPrivateFields(Class)) {
      throw this.#failure(
        `is an instance of class ${className(value)}, whose private fields (#) cannot be read from outside`,
      );
    }
    if (found !== undefined) return this.#properties([Tag.instance, found.name, found.module], value);
    this.#capturing = true;
    return this.#properties(
      [Tag.classInstance, this.#slot(Class, { variable: `class ${Class.name}` })],
      value,
    );
  }

  /** How the class of an instance travels; undefined where the other side finds it by name. */
  #instanceClass(value: object, Class: AnyClass): LoweredFunction | undefined {
    const lowered = this.#classOrNothing(Class);
    if (lowered?.kind === "class") return undefined;
    const isUsers = lowered?.kind === "code" || (lowered?.kind === "ref" && !lowered.isNative);
    if (isUsers && builtInBase(value) === undefined) return lowered;
    throw this.#failure(
      `is an instance of class ${className(value)}, which is part of Node, or cannot travel itself`,
    );
  }

  #classOrNothing(Class: AnyClass): LoweredFunction | undefined {
    try {
      return this.#lowerFunction(Class as unknown as AnyFunction);
    } catch (error) {
      if (error instanceof CannotTravel) return undefined;
      throw error;
    }
  }

  #failure(what: string, cause?: unknown): SerializationError {
    const subject = this.#where === "" ? "" : ` ${this.#where}`;
    const options = cause === undefined ? undefined : { cause };
    const path = this.#path();
    const wayOut = path.includes(" -> ") ? `; ${CAPTURED_ADVICE}` : "";
    return new SerializationError(`cannot serialize${subject}: ${path} ${what}${wayOut}`, options);
  }

  #path(): string {
    const steps: string[] = [stepText(this.#step)];
    for (let i = this.#at; i >= 0; i = this.#parents[i]!) steps.push(stepText(this.#steps[i]!));
    const texts = steps.reverse().filter((text) => text !== "");
    const { subject } = this.#options;
    if (subject !== undefined && texts[0] === "[0]") return `${subject}${texts.slice(1).join("")}`;
    if (texts.length <= PATH_STEPS_MAX) return `value${texts.join("")}`;
    const hidden = texts.length - PATH_STEPS_MAX;
    return `value${texts.slice(0, PATH_STEPS_MAX / 2).join("")} ...${hidden} steps... ${texts.slice(-PATH_STEPS_MAX / 2).join("")}`;
  }
}

/** What can be done about a variable that a function closes over. */
const CAPTURED_ADVICE =
  "make it inside the function, pass what it is made of, or move the function into a module that workers import";

/** Built-in kinds that never travel, and why. */
const REFUSED: Readonly<Record<string, string>> = {
  Promise: "await it first",
  WeakMap: "its contents cannot be listed",
  WeakSet: "its contents cannot be listed",
  WeakRef: "pass what it refers to",
  generator: "its position in the code cannot travel",
  iterator: "pass the collection it walks, or an array of its items",
};

function flagsOf({ onPrototype, enumerable, writable, kind }: FunctionProperty): number {
  return (
    (onPrototype ? PropertyFlag.onPrototype : 0) |
    (enumerable ? PropertyFlag.enumerable : 0) |
    (writable ? PropertyFlag.writable : 0) |
    (kind === "value" ? 0 : PropertyFlag[kind])
  );
}

/** Whether instances carry what nobody outside the class can read. */
function hasPrivateFields(Class: AnyClass): boolean {
  for (let each: unknown = Class; typeof each === "function"; each = Object.getPrototypeOf(each))
    if (/\bthis\s*\.\s*#[A-Za-z_$]/.test(Function.prototype.toString.call(each))) return true;
  return false;
}

/** The built-in kind of an object by its internal slots, whatever its prototype says. */
function builtInBase(value: object): string | undefined {
  if (ArrayBuffer.isView(value))
    return Buffer.isBuffer(value) ? "Buffer" : types.isDataView(value) ? "DataView" : viewName(value);
  if (types.isMap(value)) return "Map";
  if (types.isSet(value)) return "Set";
  if (types.isDate(value)) return "Date";
  if (types.isRegExp(value)) return "RegExp";
  if (types.isArrayBuffer(value)) return "ArrayBuffer";
  if (types.isSharedArrayBuffer(value)) return "SharedArrayBuffer";
  if (Array.isArray(value)) return "Array";
  if (types.isBoxedPrimitive(value)) return boxName(value);
  if (types.isPromise(value)) return "Promise";
  if (types.isWeakMap(value)) return "WeakMap";
  if (types.isWeakSet(value)) return "WeakSet";
  if (value instanceof WeakRef) return "WeakRef";
  if (types.isGeneratorObject(value)) return "generator";
  if (types.isMapIterator(value) || types.isSetIterator(value)) return "iterator";
  return undefined;
}

const typedArrayTag = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)!.get!;

function viewName(value: object): string {
  return typedArrayTag.call(value) as string;
}

function boxName(value: object): string {
  if (types.isNumberObject(value)) return "Number";
  if (types.isStringObject(value)) return "String";
  if (types.isBooleanObject(value)) return "Boolean";
  return types.isBigIntObject(value) ? "BigInt" : "Symbol";
}

/** Whether a prototype is that of the built-in class, of this realm or another (vm contexts, test runners). */
function isProto(proto: object | null, name: string): boolean {
  if (proto === null) return false;
  const Class = name === "Buffer" ? Buffer : (Reflect.get(globalThis, name) as AnyClass | undefined);
  if (Class !== undefined && proto === Class.prototype) return true;
  const own = classOf(proto);
  return own !== undefined && own.name === name && isNative(own);
}

/** `Object.prototype` of another realm. */
function isForeignObjectProto(proto: object): boolean {
  return Object.getPrototypeOf(proto) === null && isProto(proto, "Object");
}

function isNative(Class: AnyClass): boolean {
  return Function.prototype.toString.call(Class).endsWith("{ [native code] }");
}

/** The class whose `prototype` this is. */
function classOf(proto: object): AnyClass | undefined {
  const Class: unknown = Object.getOwnPropertyDescriptor(proto, "constructor")?.value;
  return typeof Class === "function" && Class.prototype === proto
    ? (Class as unknown as AnyClass)
    : undefined;
}

function baseErrorName(error: Error): string {
  for (
    let proto: object | null = Object.getPrototypeOf(error);
    proto !== null;
    proto = Object.getPrototypeOf(proto)
  ) {
    const name = classOf(proto)?.name;
    if (name !== undefined && BUILT_IN_ERRORS.has(name) && isProto(proto, name)) return name;
  }
  return "Error";
}

/** How many of the keys are array indexes; they come first. */
function countIndexes(keys: readonly string[], length: number): number {
  let low = 0;
  let high = Math.min(keys.length, length);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (isIndex(keys[middle - 1]!, length)) low = middle;
    else high = middle - 1;
  }
  return low;
}

function isIndex(key: string, length: number): boolean {
  const index = Number(key);
  return Number.isInteger(index) && index >= 0 && index < length && String(index) === key;
}

function className(value: object): string {
  const proto = Object.getPrototypeOf(value) as object | null;
  return (proto && classOf(proto)?.name) || "(anonymous)";
}

function objectTag(value: object): string {
  return Object.prototype.toString.call(value);
}

function describeFunction(value: { name: string }): string {
  const isClass = Function.prototype.toString.call(value).startsWith("class");
  return `${isClass ? "the class" : "the function"} ${value.name || "(anonymous)"}`;
}

function stepText(step: Step): string {
  if (typeof step === "object") return ` -> ${step.variable}`;
  if (typeof step === "number") return `[${step}]`;
  if (step === "" || step.startsWith("<")) return step;
  return /^[A-Za-z_$][\w$]*$/.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
