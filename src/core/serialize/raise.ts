/**
 * Turns the flat table of table.ts back into a value; the inverse of lower.ts.
 *
 * Two passes: the first makes an empty shell for every node, the second fills the shells, so that cycles close. Where a
 * registered deserialize() must be given finished data, the second pass goes depth first instead. Between the two,
 * functions and classes are made. Checks everything it reads: a table that lower.ts did not write gives a
 * SerializationError.
 */

import { type ErrorName, fromErrorRecord, SerializationError, TsrayError } from "../base/errors.ts";
import {
  type AnyClass,
  type CodecHooks,
  type FunctionCodec,
  NotLoaded,
  type UnmadeFunction,
} from "./hooks.ts";
import { registeredName } from "./registry.ts";
import {
  BUILT_IN_ERRORS,
  HOLE,
  MINUS_ZERO,
  PropertyFlag,
  REGISTERED,
  Tag,
  UNDEFINED,
  VIEW_CLASSES,
  WELL_KNOWN_SYMBOLS,
} from "./table.ts";

type AnyFunction = (...args: never[]) => unknown;
type Node = readonly unknown[];

/** Up to this length an array is made dense; beyond, a length alone must not cost memory. */
const DENSE_LENGTH_MAX = 4096;

/** Raises one value. `table` is untrusted. */
export function raise(table: unknown, buffers: readonly Uint8Array[], hooks: CodecHooks): unknown {
  if (!Array.isArray(table) || table.length < 3 || table.length > 4) throw broken("not a table");
  const [root, nodes, chunks, definitions = []] = table as unknown[];
  if (!Array.isArray(nodes) || !Array.isArray(chunks) || !nodes.every((node) => Array.isArray(node)))
    throw broken("not a table");
  if (!Array.isArray(definitions)) throw broken("not a table");
  for (const definition of definitions) functionsOf(hooks).define(definition);
  return new Raising(nodes as Node[], chunks, buffers, hooks).run(root);
}

class Raising {
  readonly #nodes: readonly Node[];
  readonly #chunks: readonly unknown[];
  readonly #buffers: readonly Uint8Array[];
  readonly #hooks: CodecHooks;
  readonly #shells: unknown[];
  readonly #memory: (Uint8Array<ArrayBuffer> | undefined)[] = [];
  /** Functions and what is made of them: begun, in the order of the nodes. */
  readonly #unmade = new Map<number, UnmadeFunction>();
  /** Nodes whose shell can only be made when other nodes are: what is being made, and what is done. */
  readonly #late = new Map<number, "waiting" | "making" | "made">();
  readonly #filled: Uint8Array;

  constructor(
    nodes: readonly Node[],
    chunks: readonly unknown[],
    buffers: readonly Uint8Array[],
    hooks: CodecHooks,
  ) {
    this.#nodes = nodes;
    this.#chunks = chunks;
    this.#buffers = buffers;
    this.#hooks = hooks;
    this.#shells = new Array<unknown>(nodes.length);
    this.#filled = new Uint8Array(nodes.length);
  }

  run(root: unknown): unknown {
    let hasCustom = false;
    this.#load();
    // ArrayBuffers first: a view over one must find the memory that it exposes.
    for (const [i, node] of this.#nodes.entries())
      if (node[0] === Tag.arrayBuffer) this.#shells[i] = this.#arrayBuffer(node);
    // From the end: the primitive inside a box has a higher index than the box.
    for (let i = this.#nodes.length - 1; i >= 0; i--) {
      const node = this.#nodes[i]!;
      if (node[0] === Tag.custom) hasCustom = true;
      else if (isLate(node)) this.#begin(i, node);
      else if (node[0] !== Tag.arrayBuffer) this.#shells[i] = this.#shell(node);
    }
    for (const i of this.#late.keys()) this.#make(i);
    if (hasCustom) this.#fillDepthFirst();
    else for (let i = 0; i < this.#nodes.length; i++) this.#fill(i);
    return this.#value(root);
  }

  /** Fills a node after the nodes it holds, so that deserialize() sees finished data wherever there is no cycle. */
  #fillDepthFirst(): void {
    const cursors = new Int32Array(this.#nodes.length);
    const isDone = new Uint8Array(this.#nodes.length);
    const stack: number[] = [];
    for (let start = 0; start < this.#nodes.length; start++) {
      if (cursors[start] === 0) stack.push(start);
      while (stack.length > 0) {
        const i = stack[stack.length - 1]!;
        const child = this.#nextChild(i, cursors);
        if (child === undefined) {
          this.#fill(i);
          isDone[i] = 1;
          stack.pop();
        } else if (cursors[child] === 0) {
          stack.push(child);
        } else if (isDone[child] === 0 && this.#nodes[child]![0] === Tag.custom) {
          const name = String(this.#nodes[child]![1]);
          throw new SerializationError(
            `cannot decode a value: what serialize() of ${name} returned leads back to the same ${name}`,
          );
        }
      }
    }
  }

  #nextChild(i: number, cursors: Int32Array): number | undefined {
    const node = this.#nodes[i]!;
    // The data of a handle is its own affair.
    const first = node[0] === Tag.handles ? node.length : node[0] === Tag.handle ? 3 : 1;
    for (let at = Math.max(first, cursors[i]!); at < node.length; at++) {
      const item = node[at];
      if (!Array.isArray(item) || item.length !== 1 || !isIndexIn(item[0], this.#nodes.length)) continue;
      cursors[i] = at + 1;
      return item[0];
    }
    cursors[i] = Math.max(first, node.length);
    return undefined;
  }

  #value(slot: unknown): unknown {
    if (typeof slot !== "object" || slot === null) return slot;
    const at: unknown = Array.isArray(slot) && slot.length === 1 ? slot[0] : undefined;
    if (isIndexIn(at, this.#shells.length)) return this.#shells[at];
    if (at === UNDEFINED[0]) return undefined;
    if (at === MINUS_ZERO[0]) return -0;
    throw broken("a reference to nowhere");
  }

  #text(slot: unknown): string {
    const value = this.#value(slot);
    if (typeof value !== "string") throw broken("text expected");
    return value;
  }

  #shell(node: Node): unknown {
    switch (node[0]) {
      case Tag.array:
        return [];
      case Tag.sparseArray:
        return emptyArray(node[1]);
      case Tag.object:
        return {};
      case Tag.nullObject:
        return Object.create(null);
      case Tag.instance:
        return Object.create(this.#classNamed(text(node[1]), text(node[2])).prototype as object);
      case Tag.registered:
        return Object.create(registered(text(node[1])).Class.prototype as object);
      case Tag.map:
        return new Map();
      case Tag.set:
        return new Set();
      case Tag.date:
        return new Date(number(node[1]));
      case Tag.regexp:
        return new RegExp(this.#text(node[1]), text(node[2]));
      case Tag.bigint:
        return bigint(text(node[1]), node[2] === true);
      case Tag.symbol:
        return symbol(node[1] === true, this.#text(node[2]));
      case Tag.string:
        return Buffer.from(binary(node[1])).toString("utf16le");
      case Tag.boxed:
        return boxed(this.#value(node[1]));
      case Tag.view:
        return this.#view(node);
      case Tag.error:
        return this.#error(node);
      case Tag.tsrayError:
        return withoutTrace(() =>
          fromErrorRecord({ name: text(node[1]) as ErrorName, message: this.#text(node[2]), fields: {} }),
        );
      case Tag.domException:
        return withoutTrace(() => new DOMException(this.#text(node[2]), this.#text(node[1])));
      case Tag.handle:
        return this.#handle(text(node[1]), node[2], []);
      case Tag.handles:
        return this.#handleList(text(node[1]), node[2]);
      case Tag.ref:
        return functionsOf(this.#hooks).imported(node[1]);
      case Tag.moduleClass:
        return this.#classNamed(text(node[1]), text(node[2]));
      case Tag.localSymbol:
        return Symbol(this.#text(node[1]));
      default:
        throw broken("an unknown kind of node");
    }
  }

  /** Everything that is imported must be loaded before anything is made: making is synchronous. */
  #load(): void {
    const refs = this.#nodes.flatMap((node) => (node[0] === Tag.ref ? [node[1]] : []));
    if (refs.length === 0) return;
    const load = functionsOf(this.#hooks).missing(refs);
    if (load !== undefined) throw new NotLoaded(load);
  }

  #begin(i: number, node: Node): void {
    this.#late.set(i, "waiting");
    if (node[0] === Tag.closure) this.#unmade.set(i, functionsOf(this.#hooks).begin(text(node[1])));
  }

  /** Makes a node that needs others to be made before it: a class what it extends, an instance its class. */
  #make(i: number): void {
    if (this.#late.get(i) !== "waiting") return;
    this.#late.set(i, "making");
    const node = this.#nodes[i]!;
    switch (node[0]) {
      case Tag.closure: {
        const unmade = this.#unmade.get(i)!;
        if (unmade.isClass) {
          for (const child of this.#variables(node)) this.#makeSlot(child, unmade.runs);
          unmade.fill(this.#variables(node).map((slot) => this.#value(slot)));
        }
        this.#shells[i] = unmade.make(node[2] === null ? null : text(node[2]));
        break;
      }
      case Tag.bound:
        for (const slot of node.slice(1)) this.#makeSlot(slot, false);
        this.#shells[i] = bind(node.slice(1).map((slot) => this.#value(slot)));
        break;
      case Tag.prototype:
        this.#makeSlot(node[1], false);
        this.#shells[i] = prototypeOf(this.#value(node[1]));
        break;
      case Tag.classInstance:
        this.#makeSlot(node[1], false);
        this.#shells[i] = Object.create(prototypeOf(this.#value(node[1])));
        break;
      default: {
        for (const slot of node.slice(3)) this.#makeSlot(slot, !this.#isFunction(slot));
        const parts = node.slice(3).map((slot) => this.#value(slot));
        this.#shells[i] = this.#handle(text(node[1]), node[2], parts);
      }
    }
    this.#late.set(i, "made");
  }

  #variables(node: Node): readonly unknown[] {
    const count = number(node[3]);
    if (!isIndexIn(count, node.length - 3)) throw broken("a function with too few variables");
    return node.slice(4, 4 + count);
  }

  #isFunction(slot: unknown): boolean {
    const at: unknown = Array.isArray(slot) ? slot[0] : undefined;
    return isIndexIn(at, this.#nodes.length) && this.#nodes[at]![0] === Tag.closure;
  }

  /** @param complete fill it too, with everything below it, as far as it is made */
  #makeSlot(slot: unknown, complete: boolean): void {
    const at: unknown = Array.isArray(slot) && slot.length === 1 ? slot[0] : undefined;
    if (!isIndexIn(at, this.#nodes.length)) return;
    this.#make(at);
    if (complete) this.#complete(at);
  }

  #complete(from: number): void {
    const stack = [from];
    const seen = new Set(stack);
    for (let i = stack.pop(); i !== undefined; i = stack.pop()) {
      this.#make(i);
      if (this.#late.get(i) === "making") continue;
      for (const slot of this.#nodes[i]!) {
        const child: unknown = Array.isArray(slot) && slot.length === 1 ? slot[0] : undefined;
        if (!isIndexIn(child, this.#nodes.length) || seen.has(child)) continue;
        seen.add(child);
        stack.push(child);
      }
    }
    for (const i of [...seen].reverse()) {
      if (this.#late.get(i) !== "making") this.#fill(i);
    }
  }

  #holdsUnmade(node: Node): boolean {
    return node.some((slot) => {
      const at: unknown = Array.isArray(slot) && slot.length === 1 ? slot[0] : undefined;
      return typeof at === "number" && this.#late.has(at) && this.#late.get(at) !== "made";
    });
  }

  #fill(i: number): void {
    if (this.#filled[i] === 1) return;
    // What was filled early, while something it holds was not made yet, is filled once more at the end.
    if (!this.#holdsUnmade(this.#nodes[i]!)) this.#filled[i] = 1;
    const node = this.#nodes[i]!;
    const shell = this.#shells[i] as object;
    switch (node[0]) {
      case Tag.array:
        this.#fillArray(node, shell as unknown[]);
        return;
      case Tag.sparseArray:
        this.#fillSparse(node, shell);
        return;
      case Tag.object:
      case Tag.nullObject:
        this.#fillPlain(node, shell as Record<string, unknown>);
        return;
      case Tag.registered:
        this.#fillProperties(node, 2, shell);
        return;
      case Tag.instance:
        this.#fillProperties(node, 3, shell);
        return;
      case Tag.map:
        (shell as Map<unknown, unknown>).clear();
        for (let at = 1; at < node.length; at += 2)
          (shell as Map<unknown, unknown>).set(this.#value(node[at]), this.#value(node[at + 1]));
        return;
      case Tag.set:
        (shell as Set<unknown>).clear();
        for (let at = 1; at < node.length; at++) (shell as Set<unknown>).add(this.#value(node[at]));
        return;
      case Tag.error:
        for (let at = 5; at < node.length; at += 3)
          define(shell, this.#text(node[at]), this.#value(node[at + 1]), node[at + 2] === true);
        return;
      case Tag.tsrayError:
        define(shell, "stack", this.#value(node[3]), false);
        if (!isHole(node[4])) define(shell, "cause", this.#value(node[4]), false);
        this.#fillProperties(node, 5, shell);
        return;
      case Tag.domException:
        define(shell, "stack", this.#value(node[3]), false);
        return;
      case Tag.custom:
        this.#shells[i] = deserialize(text(node[1]), this.#value(node[2]));
        return;
      case Tag.classInstance:
        this.#fillProperties(node, 2, shell);
        return;
      case Tag.closure:
        this.#unmade.get(i)!.fill(this.#variables(node).map((slot) => this.#value(slot)));
        this.#fillFunction(node, shell as AnyFunction);
        return;
    }
  }

  /** Properties that the text of a function does not give. */
  #fillFunction(node: Node, fn: AnyFunction): void {
    for (let at = 4 + number(node[3]); at + 2 < node.length; at += 3) {
      const flags = number(node[at]);
      const key = this.#value(node[at + 1]) as string;
      const value = this.#value(node[at + 2]);
      const target = flags & PropertyFlag.onPrototype ? (fn as { prototype?: unknown }).prototype : fn;
      if ((typeof target !== "object" && typeof target !== "function") || target === null)
        throw broken("a property of no object");
      const enumerable = (flags & PropertyFlag.enumerable) !== 0;
      if (flags & PropertyFlag.parent) Object.setPrototypeOf(target, value as object | null);
      else if (flags & PropertyFlag.get)
        Object.defineProperty(target, key, { get: value as () => unknown, enumerable, configurable: true });
      else if (flags & PropertyFlag.set)
        Object.defineProperty(target, key, { set: value as () => void, enumerable, configurable: true });
      else {
        const writable = (flags & PropertyFlag.writable) !== 0;
        Object.defineProperty(target, key, { value, enumerable, writable, configurable: true });
      }
    }
  }

  #fillArray(node: Node, array: unknown[]): void {
    array.length = 0;
    for (let at = 1; at < node.length; at++) {
      if (isHole(node[at])) array.length++;
      else array.push(this.#value(node[at]));
    }
  }

  #fillSparse(node: Node, array: object): void {
    const namedAt = 3 + 2 * number(node[2]);
    if (!(namedAt <= node.length)) throw broken("a sparse array is too short");
    for (let at = 3; at < namedAt; at += 2) {
      const index = node[at];
      if (!isIndexIn(index, number(node[1]))) throw broken("an element outside its array");
      define(array, String(index), this.#value(node[at + 1]), true);
    }
    for (let at = namedAt; at < node.length; at += 2) {
      const key = this.#text(node[at]);
      if (key === "length") throw broken("an array with two lengths");
      define(array, key, this.#value(node[at + 1]), true);
    }
  }

  /** Assigns: no class, so no setter that could run, but for that of `__proto__`. */
  #fillPlain(node: Node, target: Record<string, unknown>): void {
    for (let at = 1; at < node.length; at += 2) {
      const key = this.#text(node[at]);
      const value = this.#value(node[at + 1]);
      if (key === "__proto__") define(target, key, value, true);
      else target[key] = value;
    }
  }

  #fillProperties(node: Node, from: number, target: object): void {
    for (let at = from; at < node.length; at += 2)
      define(target, this.#text(node[at]), this.#value(node[at + 1]), true);
  }

  #error(node: Node): Error {
    const Base = BUILT_IN_ERRORS.get(text(node[1]));
    if (Base === undefined) throw broken("an unknown error");
    const error = withoutTrace(() =>
      Base === (AggregateError as unknown) ? new AggregateError([]) : new Base(),
    );
    for (const key of ["stack", "errors"]) Reflect.deleteProperty(error, key);
    const Class = node[3] === null ? undefined : this.#errorClass(text(node[3]), node[4]);
    if (Class !== undefined) Object.setPrototypeOf(error, Class.prototype as object);
    const name = this.#text(node[2]);
    if (error.name !== name) define(error, "name", name, false);
    return error;
  }

  #errorClass(name: string, module: unknown): AnyClass | undefined {
    const Class =
      module === REGISTERED
        ? registeredName(name)?.Class
        : this.#hooks.classes.find(name, module === null ? "" : text(module));
    return Class !== undefined &&
      (Class === Error || Class.prototype instanceof Error) &&
      !(Class.prototype instanceof TsrayError)
      ? Class
      : undefined;
  }

  #classNamed(name: string, module: string): AnyClass {
    const Class = this.#hooks.classes.find(name, module);
    const { functions } = this.#hooks;
    // The module may not have been imported here yet.
    const load =
      Class === undefined && module !== "" ? functions?.missing([functions.moduleRef(module)]) : undefined;
    if (load !== undefined) throw new NotLoaded(load);
    if (Class === undefined || typeof Class.prototype !== "object" || Class.prototype === null) {
      throw new SerializationError(
        `cannot decode a value: this process finds no class ${name} at the top level of ${module}`,
      );
    }
    return Class;
  }

  #handleList(tag: string, data: unknown): object[] {
    const codec = this.#hooks.handles.find((each) => each.tag === tag);
    if (codec === undefined) throw broken(`unknown handles "${tag}"`);
    if (!Array.isArray(data)) throw broken("a list of handles that is none");
    return data.map((each) => codec.decode(each, []));
  }

  #handle(tag: string, data: unknown, parts: readonly unknown[]): object {
    const codec = this.#hooks.handles.find((each) => each.tag === tag);
    if (codec === undefined) throw broken(`an unknown handle "${tag}"`);
    return codec.decode(data, parts);
  }

  #arrayBuffer(node: Node): ArrayBuffer {
    const memory = this.#chunk(node[1]);
    if (memory.byteLength === memory.buffer.byteLength) return memory.buffer;
    const copy = new Uint8Array(memory);
    this.#memory[node[1] as number] = copy;
    return copy.buffer;
  }

  #view(node: Node): ArrayBufferView {
    const kind = text(node[1]);
    const known = VIEW_CLASSES.get(kind === "Buffer" ? "Uint8Array" : kind);
    if (known === undefined) throw broken("an unknown kind of view");
    const { Class, elementBytes } = known;
    const memory = this.#chunk(node[2]);
    const offset = node[3];
    const length = node[4];
    if (
      !isIndexIn(offset, memory.byteLength + 1) ||
      !isIndexIn(length, Math.floor((memory.byteLength - offset) / elementBytes) + 1)
    ) {
      throw broken("a view outside its memory");
    }
    let { buffer, byteOffset } = memory;
    byteOffset += offset;
    if (byteOffset % elementBytes !== 0) {
      buffer = new Uint8Array(memory.subarray(offset, offset + length * elementBytes)).buffer;
      byteOffset = 0;
    }
    return kind === "Buffer"
      ? Buffer.from(buffer, byteOffset, length)
      : new Class(buffer, byteOffset, length);
  }

  #chunk(index: unknown): Uint8Array<ArrayBuffer> {
    if (!isIndexIn(index, this.#chunks.length)) throw broken("a chunk that is not there");
    const known = this.#memory[index];
    if (known !== undefined) return known;
    const chunk = this.#chunks[index];
    const memory = typeof chunk === "number" ? this.#buffers[chunk] : binary(chunk);
    if (memory === undefined) throw broken("an out-of-band buffer that is not there");
    this.#memory[index] = memory as Uint8Array<ArrayBuffer>;
    return memory as Uint8Array<ArrayBuffer>;
  }
}

/** Nodes that can only be made when other nodes are. */
function isLate(node: Node): boolean {
  switch (node[0]) {
    case Tag.closure:
    case Tag.bound:
    case Tag.classInstance:
    case Tag.prototype:
      return true;
    case Tag.handle:
      return node.length > 3;
    default:
      return false;
  }
}

function functionsOf({ functions }: CodecHooks): FunctionCodec {
  if (functions === undefined)
    throw new SerializationError("cannot decode a value: it holds functions, which are refused here");
  return functions;
}

function bind([target, self, ...args]: readonly unknown[]): AnyFunction {
  if (typeof target !== "function") throw broken("a bound function without a target");
  return Function.prototype.bind.call(target, self, ...args) as AnyFunction;
}

function prototypeOf(Class: unknown): object {
  const prototype: unknown = typeof Class === "function" ? (Class as AnyClass).prototype : undefined;
  if (typeof prototype !== "object" || prototype === null) throw broken("an instance without a class");
  return prototype;
}

function broken(what: string): SerializationError {
  return new SerializationError(`cannot decode a value: ${what}`);
}

function isIndexIn(index: unknown, length: number): index is number {
  return typeof index === "number" && Number.isInteger(index) && index >= 0 && index < length;
}

function isHole(slot: unknown): boolean {
  return Array.isArray(slot) && slot.length === 1 && slot[0] === HOLE[0];
}

function text(value: unknown): string {
  if (typeof value !== "string") throw broken("text expected");
  return value;
}

function number(value: unknown): number {
  if (typeof value !== "number") throw broken("a number expected");
  return value;
}

function binary(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw broken("bytes expected");
  return value;
}

function define(target: object, key: string, value: unknown, enumerable: boolean): void {
  Object.defineProperty(target, key, { value, enumerable, configurable: true, writable: true });
}

/** An array of holes. Beyond a small length it is kept in V8's sparse form, which costs nothing per hole. */
function emptyArray(length: unknown): unknown[] {
  if (!isIndexIn(length, 2 ** 32)) throw broken("an impossible array length");
  const array: unknown[] = [];
  if (length > DENSE_LENGTH_MAX) {
    array[length - 1] = undefined;
    delete array[length - 1];
  }
  array.length = length;
  return array;
}

function bigint(digits: string, isNegative: boolean): bigint {
  if (!/^[0-9a-f]+$/.test(digits)) throw broken("not a bigint");
  const value = BigInt(`0x${digits}`);
  return isNegative ? -value : value;
}

function symbol(isWellKnown: boolean, name: string): symbol {
  if (!isWellKnown) return Symbol.for(name);
  const known = WELL_KNOWN_SYMBOLS.get(name);
  if (known === undefined) throw broken("an unknown symbol");
  return known;
}

function boxed(value: unknown): object {
  if (value === null || value === undefined || typeof value === "object")
    throw broken("a primitive expected");
  return Object(value) as object;
}

function registered(name: string) {
  const row = registeredName(name);
  if (row === undefined)
    throw new SerializationError(
      `cannot decode a value: no class is registered as "${name}" in this process`,
    );
  return row;
}

function deserialize(name: string, data: unknown): object {
  const row = registered(name);
  if (row.deserialize !== undefined) return row.deserialize(data);
  return Object.assign(Object.create(row.Class.prototype as object) as object, data);
}

/** Makes an error without the cost of a stack trace that is replaced anyway. */
function withoutTrace<T>(make: () => T): T {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return make();
  } finally {
    Error.stackTraceLimit = limit;
  }
}
