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
  /** Gets a private copy of what `encode` returned. */
  decode(data: unknown): T;
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

/** Everything the codec needs from outside. */
export interface CodecHooks {
  readonly handles: readonly HandleCodec[];
  readonly classes: ClassResolver;
}

/** A value as bytes: one payload, and the large binary parts beside it (views over the caller's memory, not copies). */
export interface EncodedValue {
  readonly payload: Uint8Array;
  readonly buffers: readonly Uint8Array[];
  /** Every handle met at any depth, once each, breadth first. */
  readonly handles: readonly object[];
  /** Size of the flat form (layout.ts). */
  readonly byteLength: number;
}
