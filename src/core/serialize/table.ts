/**
 * The flat table that carries a value which is more than plain data: the contract between lower.ts and raise.ts.
 *
 * A table is `[root, nodes, chunks]`, with a fourth element where it holds functions: their definitions. Every object of the graph is one node, so depth costs no stack, and identity and
 * cycles are indexes. A node is an array: its {@link Tag}, then what the tag says. Where a node holds a value it holds a
 * slot: a string, number, boolean, null, bigint of 64 bits as itself; anything else as a one-element array, either the
 * index of a node or one of the negative marks below. A chunk is a piece of binary memory: bytes, or the index of an
 * out-of-band buffer.
 */

/** First byte of a payload in table form; msgpack never uses it, so a plain payload cannot start with it. */
export const TABLE_MARK = 0xc1;

/** Binary parts of at least this many bytes travel beside the payload. */
export const OUT_OF_BAND_BYTES_MIN = 4096;

/** What kind of node; the comment says what follows the tag. */
export const Tag = {
  /** one slot per element */
  array: 0,
  /** length, number of elements there are, then index, slot, ... of those, then key, slot, ... of named properties */
  sparseArray: 1,
  /** key, slot, ... (so are the next two) */
  object: 2,
  nullObject: 3,
  /** name, module, then key, slot, ...: an instance of a module-level class */
  instance: 4,
  /** registered name, then key, slot, ... */
  registered: 5,
  /** registered name, slot of what serialize() returned */
  custom: 6,
  /** key slot, value slot, ... */
  map: 7,
  /** slot, ... */
  set: 8,
  /** milliseconds */
  date: 9,
  /** source slot, flags */
  regexp: 10,
  /** hexadecimal digits, whether negative */
  bigint: 11,
  /** whether well-known, name slot */
  symbol: 12,
  /** UTF-16 code units: a string that UTF-8 cannot carry */
  string: 13,
  /** slot of the primitive */
  boxed: 14,
  /** chunk */
  arrayBuffer: 15,
  /** kind, chunk, byte offset, length in elements */
  view: 16,
  /** built-in base, name slot, class name or null, module | REGISTERED | null, then key, slot, enumerable, ... */
  error: 17,
  /** class, message slot, stack slot, cause slot or HOLE, then key, slot, ... */
  tsrayError: 18,
  /** name slot, message slot, stack slot */
  domException: 19,
  /** tag of the HandleCodec, its data, slots of its parts */
  handle: 20,
  /** hash of the definition, name or null, number of variables, a slot for each, then three per property: flags, key slot, value slot */
  closure: 21,
  /** slot of the target, of `this`, of each argument */
  bound: 22,
  /** data of the FunctionCodec: something that is imported, or that every process has */
  ref: 23,
  /** name, module: a module-level class */
  moduleClass: 24,
  /** slot of a class that is a node of this table, then key, slot, ... */
  classInstance: 25,
  /** slot of the description: a symbol of its own, the same one throughout the value */
  localSymbol: 26,
  /** slot of a function: its `prototype` */
  prototype: 27,
  /** tag of the HandleCodec, list of the data of each: an array of many handles, each a node's worth cheaper than alone */
  handles: 28,
} as const;

/** A reference to a node, or a mark. */
export type Ref = readonly [number];

export const UNDEFINED: Ref = [-1];
export const MINUS_ZERO: Ref = [-2];
/** An element that an array does not have, or a field that an error does not have. */
export const HOLE: Ref = [-3];

/** In place of a module: the class is found in the registry. */
export const REGISTERED = 1;

/** Flags of a function's property. */
export const PropertyFlag = {
  onPrototype: 1,
  enumerable: 2,
  writable: 4,
  get: 8,
  set: 16,
  parent: 32,
} as const;

/** Symbols that mean the same in every process. */
export const WELL_KNOWN_SYMBOLS: ReadonlyMap<string, symbol> = new Map(
  Object.getOwnPropertyNames(Symbol).flatMap((name) => {
    const value: unknown = Reflect.get(Symbol, name);
    return typeof value === "symbol" ? [[name, value] as const] : [];
  }),
);

/** Error classes of the language, most derived first where it matters. */
export const BUILT_IN_ERRORS: ReadonlyMap<string, ErrorConstructor> = new Map(
  [EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError, AggregateError, Error].map(
    (Class) => [Class.name, Class as unknown as ErrorConstructor],
  ),
);

/** Own properties of errors that are kept although they are not enumerable. */
export const ERROR_FIELDS = ["name", "message", "stack", "cause", "errors"] as const;

type ViewClass = new (buffer: ArrayBuffer, byteOffset: number, length: number) => ArrayBufferView;

/** Views over binary memory, by name; `Buffer` is the one that is not a global constructor of the language. */
export const VIEW_CLASSES: ReadonlyMap<string, { readonly Class: ViewClass; readonly elementBytes: number }> =
  new Map(
    [
      "Int8Array",
      "Uint8Array",
      "Uint8ClampedArray",
      "Int16Array",
      "Uint16Array",
      "Int32Array",
      "Uint32Array",
      "Float16Array",
      "Float32Array",
      "Float64Array",
      "BigInt64Array",
      "BigUint64Array",
      "DataView",
    ].flatMap((name) => {
      const Class = Reflect.get(globalThis, name) as (ViewClass & { BYTES_PER_ELEMENT?: number }) | undefined;
      return Class === undefined
        ? []
        : [[name, { Class, elementBytes: Class.BYTES_PER_ELEMENT ?? 1 }] as const];
    }),
  );
