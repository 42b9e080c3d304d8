/**
 * Turns any value that tsray can carry into the flat table of table.ts, or says which part of it cannot travel.
 *
 * Walks the graph with a queue, not by recursion: a list of 100,000 nodes costs no stack. Runs user code only where it
 * must: getters, and serialize() of registered classes.
 */

import { types } from "node:util";
import { SerializationError, TsrayError, toErrorRecord } from "../base/errors.ts";
import { ChunkCollector } from "./chunks.ts";
import type { AnyClass, CodecHooks } from "./hooks.ts";
import { isInt64, isWellFormed } from "./plain.ts";
import { type RegisteredClass, registeredClass } from "./registry.ts";
import {
  BUILT_IN_ERRORS,
  ERROR_FIELDS,
  HOLE,
  MINUS_ZERO,
  REGISTERED,
  type Ref,
  Tag,
  UNDEFINED,
  VIEW_CLASSES,
  WELL_KNOWN_SYMBOLS,
} from "./table.ts";

/** The table of a value, and what travels beside it. */
export interface Lowered {
  readonly table: readonly [root: unknown, nodes: readonly unknown[][], chunks: readonly unknown[]];
  readonly buffers: readonly Uint8Array[];
  readonly handles: readonly object[];
}

type Slot = string | number | boolean | null | bigint | Ref;
type Node = unknown[];

/** How a part is reached from its parent, as text: `.name`, `[0]`. */
type Step = string | number;

/** Arrays at least this long may be so sparse that visiting each index would take for ever. */
const SPARSE_LENGTH_MIN = 1024;
const PATH_STEPS_MAX = 40;

/** Lowers one value. `where` names it in errors: "argument 0 of fit()". */
export function lower(value: unknown, hooks: CodecHooks, where: string): Lowered {
  return new Lowering(hooks, where).run(value);
}

class Lowering {
  readonly #hooks: CodecHooks;
  readonly #where: string;
  readonly #nodes: Node[] = [];
  /** The objects still to lower, by node index; undefined for a node that was complete at once. */
  readonly #sources: (object | undefined)[] = [];
  readonly #parents: number[] = [];
  readonly #steps: Step[] = [];
  readonly #indexes = new Map<object, number>();
  readonly #chunks = new ChunkCollector();
  readonly #handles: object[] = [];
  /** Node being lowered, and the part of it that is being read: where an error would be. */
  #at = -1;
  #step: Step = "";

  constructor(hooks: CodecHooks, where: string) {
    this.#hooks = hooks;
    this.#where = where;
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
      return { table: [root, this.#nodes, chunks], buffers, handles: this.#handles };
    } catch (error) {
      if (error instanceof SerializationError) throw error;
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
        return [Tag.handle, codec.tag, codec.encode(value)];
      }
    }
    if (typeof value === "function")
      throw this.#failure(
        `is ${describeFunction(value)}; a function cannot be passed by value yet; pass a remote function or its name`,
      );
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
    const found = this.#hooks.classes.nameOf(Class);
    if (found === undefined) {
      throw this.#failure(
        `is an instance of class ${className(value)}, which is not a class at the top level of a module that tsray knows`,
      );
    }
    if (/\bthis\.#[A-Za-z_$]/.test(Function.prototype.toString.call(Class))) {
      throw this.#failure(
        `is an instance of class ${className(value)}, whose private fields (#) cannot be read from outside`,
      );
    }
    return this.#properties([Tag.instance, found.name, found.module], value);
  }

  #failure(what: string, cause?: unknown): SerializationError {
    const subject = this.#where === "" ? "" : ` ${this.#where}`;
    const options = cause === undefined ? undefined : { cause };
    return new SerializationError(`cannot serialize${subject}: ${this.#path()} ${what}`, options);
  }

  #path(): string {
    const steps: string[] = [stepText(this.#step)];
    for (let i = this.#at; i >= 0; i = this.#parents[i]!) steps.push(stepText(this.#steps[i]!));
    const texts = steps.reverse().filter((text) => text !== "");
    if (texts.length <= PATH_STEPS_MAX) return `value${texts.join("")}`;
    const hidden = texts.length - PATH_STEPS_MAX;
    return `value${texts.slice(0, PATH_STEPS_MAX / 2).join("")} ...${hidden} steps... ${texts.slice(-PATH_STEPS_MAX / 2).join("")}`;
  }
}

/** Built-in kinds that never travel, and why. */
const REFUSED: Readonly<Record<string, string>> = {
  Promise: "await it first",
  WeakMap: "its contents cannot be listed",
  WeakSet: "its contents cannot be listed",
  WeakRef: "pass what it refers to",
  generator: "its position in the code cannot travel",
  iterator: "pass the collection it walks, or an array of its items",
};

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
  if (typeof step === "number") return `[${step}]`;
  if (step === "" || step.startsWith("<")) return step;
  return /^[A-Za-z_$][\w$]*$/.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`;
}
