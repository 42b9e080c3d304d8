/**
 * What the value codec asks of the rest of tsray, and what it hands back.
 *
 * The codec knows no ObjectRef, no ActorHandle and no user class: it meets them through these interfaces only.
 */

/**
 * How one kind of tsray object (ObjectRef, ActorHandle, remote function) travels.
 *
 * The prototype of such an object must not be `Object.prototype`: plain objects take a fast path that asks no hook.
 */
export interface HandleCodec<T extends object = object> {
  /** Names the kind on the wire: short, unique among the handles of a codec. */
  readonly tag: string;
  test(value: object): value is T;
  /** Plain data only: JSON-like values and `Uint8Array`. */
  encode(handle: T): unknown;
  /** Values that travel beside the data, through the codec. */
  parts?(handle: T): readonly unknown[];
  /** Gets a private copy of what `encode` returned, and the parts. @throws NotLoaded */
  decode(data: unknown, parts: readonly unknown[]): T;
}

/** A class or function object, of any signature. */
export type AnyFunction = (...args: never[]) => unknown;
/** A class, seen only as something with a prototype. */
export type AnyClass = abstract new (...args: never[]) => object;

/** Where a class lives, in terms that another process with the same code understands. */
export interface ClassName {
  readonly name: string;
  readonly module: string;
}

/** Finds module-level classes by name. `module` is `""` where the sender did not know it. */
export interface ClassResolver {
  nameOf(Class: AnyClass): ClassName | undefined;
  find(name: string, module: string): AnyClass | undefined;
}

/** A variable that a function closes over. */
export interface CapturedVariable {
  readonly name: string;
  readonly value: unknown;
  /** Set where the value is to be imported at the other side: plain data, for {@link FunctionCodec.imported}. */
  readonly ref: unknown;
}

/** A property of a function (or of its `prototype`) that its text does not give. */
export interface FunctionProperty {
  readonly onPrototype: boolean;
  readonly key: string | symbol;
  /** Its value; for an accessor the function that gets or sets. For "parent", what the object inherits from. */
  readonly value: unknown;
  readonly kind: "value" | "get" | "set" | "parent";
  readonly enumerable: boolean;
  readonly writable: boolean;
}

/** What a function or class is to another process. Data (`ref`, `definition`) is plain. */
export type LoweredFunction =
  | {
      readonly kind: "ref";
      readonly ref: unknown;
      /** Part of the language or of Node: its instances hold what cannot be copied. */
      readonly isNative: boolean;
    }
  | { readonly kind: "class"; readonly found: ClassName }
  | {
      readonly kind: "bound";
      readonly target: AnyFunction;
      readonly self: unknown;
      readonly args: readonly unknown[];
    }
  | {
      readonly kind: "code";
      readonly hash: string;
      readonly definition: unknown;
      /** null = as the text gives it. */
      readonly name: string | null;
      readonly variables: readonly CapturedVariable[];
      readonly properties: readonly FunctionProperty[];
    };

/** A function being made from its definition. Variables may be filled in after it is made, and again. */
export interface UnmadeFunction {
  readonly isClass: boolean;
  /** Making it runs code of the user's, which may use the variables. */
  readonly runs: boolean;
  fill(values: readonly unknown[]): void;
  make(name: string | null): AnyFunction;
}

/** Functions and classes by value. A codec without one refuses them, on both sides. */
export interface FunctionCodec {
  /** @throws CannotTravel */
  lower(fn: AnyFunction): LoweredFunction;
  /** Whether a function that was lowered before gives the same data each time. */
  isFixed(fn: AnyFunction): boolean;
  /** The ref of an object that every process has (`Math`, a built-in module). */
  known(value: object): unknown;
  /** The code of {@link LoweredFunction}, before functions are made of it. */
  define(definition: unknown): void;
  begin(hash: string): UnmadeFunction;
  /** What has to be loaded before {@link imported} can be asked for these refs; undefined = nothing. */
  missing(refs: readonly unknown[]): (() => Promise<void>) | undefined;
  imported(ref: unknown): unknown;
  /** The ref of a whole module. */
  moduleRef(url: string): unknown;
}

/** Says what about a function or value keeps it here; the codec adds the path to it. */
export class CannotTravel extends Error {}

/** A value cannot be decoded before something is loaded: call `load`, then decode again. */
export class NotLoaded extends Error {
  readonly load: () => Promise<void>;

  constructor(load: () => Promise<void>) {
    super("a module that a value needs is not loaded yet");
    this.load = load;
  }
}

/** Everything the codec needs from outside. */
export interface CodecHooks {
  readonly handles: readonly HandleCodec[];
  readonly classes: ClassResolver;
  readonly functions?: FunctionCodec;
}

/** How a value is encoded. */
export interface EncodeOptions {
  /** The value is the list of a call's arguments, the first of them a function of this name: paths in errors begin there. */
  readonly subject?: string;
  /** Leave the code of functions out of the payload: it is sent before, once. */
  readonly definitionsApart?: boolean;
  /** Refuse functions. */
  readonly dataOnly?: boolean;
}

/** A value as bytes: one payload, and the large binary parts beside it (views over the caller's memory, not copies). */
export interface EncodedValue {
  readonly payload: Uint8Array;
  readonly buffers: readonly Uint8Array[];
  /** Every handle met at any depth, once each, breadth first. */
  readonly handles: readonly object[];
  /** Code of the functions inside that was left out of the payload, by hash. */
  readonly definitions: ReadonlyMap<string, unknown>;
  /** Size of the flat form (layout.ts). */
  readonly byteLength: number;
}
