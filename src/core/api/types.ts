/**
 * The types of the public API: what remote functions, remote classes, handles, `get`, `wait`, `put` and `getActor` take
 * and give. Types only; nothing here exists at run time.
 */
import type {
  ActorOptions,
  GetActorOptions,
  GetOptions,
  MethodCallOptions,
  MethodOptions,
  NumReturns,
  PlacementOptions,
  TaskOptions,
  WaitOptions,
} from "../base/options.ts";
import type { ObjectRef } from "../ownership/object-ref.ts";
import type { ObjectRefGenerator } from "../ownership/object-ref-generator.ts";

/** A class that can be constructed. */
export type Constructor = new (...args: never[]) => object;

/** `numReturns`, or undefined where none was given. */
export type Returns = NumReturns | undefined;

// --------------------------------------------------------------------------------------------- arguments and results

/** Parameters of a remote call: a ref to a value is as good as the value. Names, optional and rest parameters stay. */
export type RemoteArgs<Args extends readonly unknown[]> = { [K in keyof Args]: Args[K] | ObjectRef<Args[K]> };

/** What a ref resolves to; anything else is itself. */
export type Resolved<T> = T extends ObjectRef<infer V> ? Awaited<V> : T;

type IsAny<T> = 0 extends 1 & T ? true : false;
type IsNever<T> = [T] extends [never] ? true : false;

/** What a generator's items are; never for anything else. */
export type YieldOf<R> =
  IsAny<R> extends true
    ? never
    : R extends AsyncIterable<infer Y>
      ? Y
      : R extends Iterable<infer Y> & Iterator<unknown, unknown, never>
        ? Y
        : never;

/** Items of a streaming call: of a generator, or of any iterable. */
type ItemOf<R> =
  IsNever<YieldOf<R>> extends false ? YieldOf<R> : Awaited<R> extends Iterable<infer Y> ? Y : unknown;

/** A tuple of N refs to the elements of T (a tuple, an array, or something unknown). */
type RefTuple<T, N extends number> = RefsToElements<T, TupleOf<N>>;
type TupleOf<N extends number, Slots extends unknown[] = []> = Slots["length"] extends N
  ? Slots
  : TupleOf<N, [...Slots, unknown]>;
type RefsToElements<T, Slots extends unknown[]> = { [K in keyof Slots]: ObjectRef<ElementAt<T, K>> };

type ElementAt<T, K extends PropertyKey> =
  IsAny<T> extends true
    ? unknown
    : T extends readonly (infer E)[]
      ? number extends T["length"]
        ? E
        : K extends keyof T
          ? T[K]
          : never
      : unknown;

// biome-ignore lint/suspicious/noConfusingVoidType: what a call without result gives
type Nothing = void;

/**
 * What a remote call of something that returns R gives, by `numReturns`: not given: an ObjectRef, or an
 * ObjectRefGenerator for generators; 0: nothing; 1: an ObjectRef; n: a tuple of n; "streaming": an ObjectRefGenerator.
 */
export type CallResult<R, N extends Returns = undefined> =
  IsNever<N> extends true
    ? never
    : N extends undefined
      ? IsNever<YieldOf<R>> extends true
        ? ObjectRef<Awaited<R>>
        : ObjectRefGenerator<YieldOf<R>>
      : N extends "streaming"
        ? ObjectRefGenerator<ItemOf<R>>
        : IsNever<YieldOf<R>> extends false
          ? never
          : N extends number
            ? number extends N
              ? ObjectRef<Awaited<R>> | ObjectRef<ElementAt<Awaited<R>, number>>[] | undefined
              : N extends 0
                ? Nothing
                : N extends 1
                  ? ObjectRef<Awaited<R>>
                  : RefTuple<Awaited<R>, N>
            : never;

// -------------------------------------------------------------------------------------------------- remote functions

/**
 * A function that can also run as a task. Made by `remote(fn)`; calling it runs the function here and now.
 * A generic function keeps its type parameters in a plain call of the original only: here they are their constraints.
 */
export interface RemoteFunction<
  Args extends readonly unknown[] = unknown[],
  R = unknown,
  N extends Returns = undefined,
> {
  (...args: Args): R;
  /**
   * Submits a task and returns at once. Refs among the arguments are resolved before it runs.
   * Errors of the function and of the cluster reject the ref.
   * @throws SerializationError when an argument cannot travel
   */
  remote(...args: RemoteArgs<Args>): CallResult<R, N>;
  /**
   * A copy with other options, on top of those it has; the original stays as it is.
   * @throws InvalidOptionError
   */
  options<N2 extends Returns = N>(options: TaskOptions<N2>): RemoteFunction<Args, R, N2>;
}

// ----------------------------------------------------------------------------------------------------------- actors

/** How actors of a class are created. */
export interface ActorFactory<C extends Constructor> {
  /**
   * Creates an actor and returns its handle at once. Refs among the arguments are resolved before its constructor runs.
   * Errors of the constructor reject its calls with ActorDiedError.
   * @throws SerializationError when an argument cannot travel
   * @throws InvalidOptionError when its options do not fit together (`getIfExists` without `name`, an unknown concurrency group)
   */
  remote(...args: RemoteArgs<ConstructorParameters<C>>): ActorHandle<InstanceType<C>>;
  /**
   * A copy with other options, on top of those it has; the original stays as it is.
   * @throws InvalidOptionError
   */
  options(options: ActorOptions): ActorFactory<C>;
}

/** A class whose instances can also be actors. Made by `remote(Class)`; `new` makes an ordinary instance here and now. */
export type RemoteClass<C extends Constructor> = ActorFactory<C> & C;

declare const actorType: unique symbol;

/** What every handle is, whatever its actor's class. */
export interface AnyActorHandle {
  /** Exists in types only. */
  readonly [actorType]: unknown;
}

type MethodNames<T> = {
  [K in keyof T]-?: K extends string
    ? IsAny<T[K]> extends true
      ? never
      : T[K] extends (...args: never[]) => unknown
        ? K
        : never
    : never;
}[keyof T];

/** A method of an actor. */
export interface ActorMethod<Args extends readonly unknown[], R, N extends Returns = undefined> {
  /**
   * Calls the method and returns at once. Calls of one handle run in the order they were made.
   * Refs among the arguments are resolved before it runs. Errors of the method and of the cluster reject the ref.
   * @throws PendingCallsLimitError when `maxPendingCalls` are outstanding
   * @throws SerializationError when an argument cannot travel
   */
  remote(...args: RemoteArgs<Args>): CallResult<R, N>;
  /**
   * The method with other options.
   * @throws InvalidOptionError
   */
  options<N2 extends Returns = N>(options: MethodCallOptions<N2>): ActorMethod<Args, R, N2>;
}

/**
 * A handle on an actor whose class has instances of type T: its public methods, each with `.remote()`.
 * Fields, accessors and private methods are not there. Handles travel as arguments and results.
 */
export type ActorHandle<T = unknown> = { readonly [actorType]: T } & {
  readonly [K in MethodNames<T>]: T[K] extends (...args: infer Args) => infer R
    ? ActorMethod<Args, R>
    : never;
};

// -------------------------------------------------------------------------------------------------------- decorators

/** Options that functions and classes share. */
export interface CommonOptions extends PlacementOptions {}

/** Context of a static method's decorator, as TC39 has it. */
export type StaticMethodContext = ClassMethodDecoratorContext & { readonly static: true };
/** Context of an instance method's decorator, as TC39 has it. */
export type InstanceMethodContext = ClassMethodDecoratorContext & { readonly static: false };

/** A decorator of classes, in TC39's form and in that of `experimentalDecorators`. The class stays as it is. */
export interface RemoteClassDecorator {
  (value: Constructor, context: ClassDecoratorContext): void;
  (target: Constructor): void;
}

/** A decorator of static methods, in both forms. The method stays as it is. */
export interface RemoteStaticDecorator {
  (value: (...args: never[]) => unknown, context: StaticMethodContext): void;
  <F extends (...args: never[]) => unknown>(
    target: abstract new (...args: never[]) => unknown,
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<F>,
  ): void;
}

/** A decorator of instance methods, in both forms. The method stays as it is. */
export interface MethodDecorator {
  (value: (...args: never[]) => unknown, context: InstanceMethodContext): void;
  <F extends (...args: never[]) => unknown>(
    target: { readonly constructor: unknown; readonly prototype?: never },
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<F>,
  ): void;
}

/** Type of `remote`. */
export interface RemoteFn extends RemoteStaticDecorator {
  /** `@remote class C {}` (TC39): marks the class. */
  (value: Constructor, context: ClassDecoratorContext): void;
  /** An instance method cannot be remote by itself: the type of the decorator says so. */
  (
    value: (...args: never[]) => unknown,
    context: ClassMethodDecoratorContext & { readonly static: false },
  ): "@remote decorates classes and static methods";
  /**
   * Makes a class whose instances can be actors.
   * @throws InvalidOptionError for an unknown option or one out of range
   */
  <C extends Constructor>(Class: C, options?: ActorOptions): RemoteClass<C>;
  /**
   * Makes a function that can run as a task. Call it at the top level of a module, above `await init()`.
   * @throws InvalidOptionError for an unknown option or one out of range
   */
  <Args extends unknown[], R, N extends Returns = undefined>(
    fn: (...args: Args) => R,
    options?: TaskOptions<N>,
  ): RemoteFunction<Args, R, N>;
  /** `@remote()`, `@remote({...})`: marks a class or a static method; `remote(C)` gives its typed remote form. */
  (options?: CommonOptions): RemoteClassDecorator & RemoteStaticDecorator;
  /** `@remote({...})` with options of actors: marks a class. */
  (options: ActorOptions): RemoteClassDecorator;
  /** `@remote({...})` with options of tasks: marks a static method. */
  (options: TaskOptions): RemoteStaticDecorator;
}

/** Type of `method`: `@method({ concurrencyGroup: "io" })`. @throws InvalidOptionError */
export type MethodFn = (options: MethodOptions) => MethodDecorator;

// --------------------------------------------------------------------------------------------------- objects, names

/** Type of `get`: waits for values. */
export interface GetFn {
  /**
   * Waits for the value of a ref.
   * @throws (rejects) TaskError, or the error of the system that kept the value away; GetTimeoutError after `timeout`;
   *   the signal's reason when `signal` is aborted
   */
  <T>(ref: ObjectRef<T>, options?: GetOptions): Promise<Awaited<T>>;
  /** Waits for the values of all refs, in their order; rejects with the first error. Tuples stay tuples. */
  <const Refs extends readonly ObjectRef<unknown>[]>(
    refs: Refs,
    options?: GetOptions,
  ): Promise<{ -readonly [K in keyof Refs]: Resolved<Refs[K]> }>;
}

/** What `wait` gives: every ref once, in the order given. */
export interface WaitResult<Ref extends ObjectRef<unknown> = ObjectRef<unknown>> {
  readonly ready: Ref[];
  readonly pending: Ref[];
}

/** Type of `wait`: waits until `numReturns` of the refs have a value or an error, or for `timeout`. Never rejects with their errors. */
export type WaitFn = <Ref extends ObjectRef<unknown>>(
  refs: readonly Ref[],
  options?: WaitOptions,
) => Promise<WaitResult<Ref>>;

/**
 * Type of `put`: stores a value and returns a ref to it at once.
 * @throws SerializationError when it cannot travel; ObjectStoreFullError when it does not fit
 */
export type PutFn = <T>(value: T) => ObjectRef<T>;

/**
 * Type of `getActor`: the handle of a live named actor. `T` is its class's instance type, or `typeof` the class.
 * What it returns can be called at once, and awaited: then it rejects where there is no such actor. (Generator methods
 * and methods with `numReturns` are known once it has been awaited.)
 * @throws (rejects) ActorDiedError when there is none of that name; the calls made on the handle reject with it too
 */
export type GetActorFn = <T = unknown>(
  name: string,
  options?: GetActorOptions,
) => Promise<HandleOf<T>> & HandleOf<T>;

/** The handle type for an instance type or a class type. */
export type HandleOf<T> = T extends abstract new (
  ...args: never[]
) => infer I
  ? ActorHandle<I>
  : ActorHandle<T>;

/**
 * Gives back, now, the shared memory under the views inside a value that `get` returned: typed arrays, Buffers, DataViews
 * and ArrayBuffers, also in arrays, Maps, Sets and the properties of objects. They are empty from then on (length 0), as
 * is every other view of the same memory. Without it the memory is given back when the value is garbage collected.
 *
 * Views of other memory, and refs inside the value, are left alone: nothing is freed that others can still get.
 *
 * @returns bytes given back; 0 for values that hold no shared memory (small ones are copies)
 */
export type ReleaseFn = (value: unknown) => number;
