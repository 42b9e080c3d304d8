/**
 * `remote`: turns functions and classes of the user into ones that can be called on the cluster. Also `method` and `Actor`.
 *
 * Step 1 of the main path: `f.remote(args)` hands record, arguments and options to the runtime and returns what that
 * returns. All options are resolved before the first call, so a call costs nothing here. Never changes what a plain call
 * or `new` does.
 */
import { InvalidOptionError } from "../base/errors.ts";
import {
  type AnyClass,
  type AnyFunction,
  type CallSite,
  captureCallSite,
  generatorKindOf,
  isClass,
  makeExtensible,
  markMethod,
  methodsOf,
  type RegisteredClass,
  type RegisteredTask,
  recordOf,
  registerActorSubclass,
  registerClass,
  registerFunction,
  setReceiver,
} from "../base/function-registry.ts";
import {
  type ActorOptions,
  checkActorCreation,
  type MethodOptions,
  type ResolvedActorOptions,
  type ResolvedTaskOptions,
  resolveActorOptions,
  resolveMethodOptions,
  resolveTaskOptions,
  type TaskOptions,
} from "../base/options.ts";
import { currentRuntime } from "./runtime-port.ts";
import type {
  ActorFactory,
  ActorHandle,
  Constructor,
  MethodDecorator,
  MethodFn,
  RemoteArgs,
  RemoteFn,
} from "./types.ts";

/** What is behind a remote function or class: for the runtime, when one travels. */
export type RemoteForm =
  | { readonly record: RegisteredTask; readonly options: ResolvedTaskOptions }
  | { readonly record: RegisteredClass; readonly options: ResolvedActorOptions };

const formOf = new WeakMap<object, RemoteForm>();

/** The record and options behind what `remote(fn)` or `remote(Class)` returned; undefined for anything else. */
export function remoteFormOf(value: object): RemoteForm | undefined {
  return formOf.get(value);
}

/** What a remote form is made of that came from another process by value. */
export interface ByValueForm {
  readonly kind: "function" | "method" | "class";
  readonly name: string;
  readonly fn: AnyFunction;
  readonly receiver: unknown;
}

/**
 * The remote form of something that was made callable in another process.
 * @param isCallable it is the function or class itself, not what `options()` of a class gives
 */
export function restoreRemoteForm(
  source: RegisteredTask | RegisteredClass | ByValueForm,
  options: ResolvedTaskOptions | ResolvedActorOptions,
  isCallable: boolean,
): object {
  const record = "module" in source ? source : registerByValue(source, options);
  if (record.kind !== "class") return makeFunction(record, options as ResolvedTaskOptions);
  const form = isCallable ? makeClass : makeFactory;
  return form(record, options as ResolvedActorOptions);
}

function registerByValue(
  { kind, name, fn, receiver }: ByValueForm,
  options: ResolvedTaskOptions | ResolvedActorOptions,
): RegisteredTask | RegisteredClass {
  const nowhere = { module: "", caller: "" };
  if (kind === "class")
    return registerClass(fn as unknown as AnyClass, nowhere, options as ResolvedActorOptions, name);
  const record = registerFunction(fn, kind, nowhere, options as ResolvedTaskOptions, name);
  if (receiver !== undefined) setReceiver(record, receiver);
  return record;
}

/**
 * Makes a function or class callable on the cluster.
 *
 * - `remote(fn, options?)` gives a {@link RemoteFunction}, `remote(Class, options?)` a {@link RemoteClass}.
 * - `@remote`, `@remote()`, `@remote({...})` mark a class or a static method, which stays as it is; `remote(Class)`,
 *   `remote(Class.method)` then give its remote form. TC39 decorators and `experimentalDecorators` both work.
 *
 * At the top level of a module, above `await init()`, workers find the function by evaluating the module too. Anywhere else
 * the function travels by value with each call: its code, and the variables it closes over as they are then.
 *
 * @throws InvalidOptionError for an unknown option, one out of range, or something that is neither function nor class
 */
export const remote: RemoteFn = function remote(...given: unknown[]): unknown {
  const [subject, second] = given;
  const site = captureCallSite(remote);
  if (typeof subject === "function" && isTc39Context(second)) return mark(subject, second, undefined, site);
  if (isLegacyMember(given)) return markLegacy(given, undefined, site);
  if (isClass(subject)) {
    if (given.length === 1 && LEGACY_HELPER.test(site.caller))
      return void defineClass(subject, undefined, site);
    return remoteClass(subject, second as ActorOptions | undefined, site);
  }
  if (typeof subject === "function")
    return remoteFunction(subject as AnyFunction, second as TaskOptions, site);
  if (subject !== undefined && (typeof subject !== "object" || subject === null)) {
    throw new InvalidOptionError(
      `remote takes a function, a class or options, got ${subject === null ? "null" : typeof subject}`,
    );
  }
  const options = subject as TaskOptions & ActorOptions;
  return function decorate(...target: unknown[]): void {
    if (typeof target[0] === "function" && isTc39Context(target[1]))
      mark(target[0], target[1], options, site);
    else if (isLegacyMember(target)) markLegacy(target, options, site);
    else if (isClass(target[0])) defineClass(target[0], options, site);
    else throw new InvalidOptionError("@remote decorates classes and static methods");
  };
} as RemoteFn;

/**
 * Says how calls of one method of an actor are run: `@method({ concurrencyGroup: "io" })`.
 * Where a method has several decorators, this one comes first (it must see the method as the class gets it).
 *
 * @throws InvalidOptionError for an unknown option or one out of range, or on anything but an instance method
 */
export const method: MethodFn = (options) => {
  resolveMethodOptions(options, undefined, { streams: options?.generatorBackpressure !== undefined });
  const decorate = (...target: unknown[]): void => {
    const [value, context] = target;
    if (typeof value === "function" && isTc39Context(context)) {
      if (context.kind !== "method" || context.static || context.private) throw notAMethod(context.name);
      attach(value as AnyFunction, options);
      return;
    }
    if (!isLegacyMember(target) || typeof target[0] === "function") throw notAMethod(target[1]);
    const member: unknown = target[2]?.value;
    if (typeof member !== "function") throw notAMethod(target[1]);
    attach(member as AnyFunction, options);
  };
  return decorate as MethodDecorator;
};

function attach(fn: AnyFunction, options: MethodOptions): void {
  resolveMethodOptions(options, undefined, { streams: generatorKindOf(fn) !== "none" });
  markMethod(fn, options);
}

function notAMethod(name: unknown): InvalidOptionError {
  return new InvalidOptionError(`@method decorates public instance methods, and ${String(name)} is none`);
}

/** Base of {@link Actor}; users see it under that name. */
// biome-ignore lint/complexity/noStaticOnlyClass: users extend it
abstract class ActorBase {
  /**
   * Creates an actor of this class and returns its handle at once, as `remote(Class).remote(...)`.
   * @throws SerializationError when an argument cannot travel
   */
  static remote<C extends Constructor>(
    this: C,
    ...args: RemoteArgs<ConstructorParameters<C>>
  ): ActorHandle<InstanceType<C>> {
    // biome-ignore lint/complexity/noThisInStatic: the subclass it is called on
    const { record } = formOfSubclass(this);
    return create(record, args, record.options) as ActorHandle<InstanceType<C>>;
  }

  /**
   * The class with options for the actors that are created from it.
   * @throws InvalidOptionError for an unknown option or one out of range
   */
  static options<C extends Constructor>(this: C, options: ActorOptions): ActorFactory<C> {
    // biome-ignore lint/complexity/noThisInStatic: the subclass it is called on
    const { record } = formOfSubclass(this);
    return makeFactory(record, resolveActorOptions(options, record.options)) as ActorFactory<C>;
  }
}
Object.defineProperty(ActorBase, "name", { value: "Actor" });

/**
 * A base class that puts `remote` and `options` on the class itself: `class Store extends Actor {...}`, then
 * `Store.remote(1, 2)` creates an actor. `new Store(1, 2)` makes an ordinary instance. Default options come from
 * `@remote({...})` or `remote(Store, {...})` on the class.
 */
export const Actor: typeof ActorBase = makeExtensible(ActorBase, ["remote", "options"]);
export type Actor = ActorBase;

/** `this` of the statics of {@link Actor}: a subclass, or the remote form of one. */
function formOfSubclass(Class: AnyClass): { readonly record: RegisteredClass } {
  const form = formOf.get(Class);
  if (form?.record.kind === "class") return { record: form.record };
  return { record: registerActorSubclass(Class) };
}

// ------------------------------------------------------------------------------------------------------- decorators

interface Tc39Context {
  readonly kind: string;
  readonly name: string | symbol | undefined;
  readonly static?: boolean;
  readonly private?: boolean;
  addInitializer(initializer: (this: unknown) => void): void;
}

function isTc39Context(value: unknown): value is Tc39Context {
  if (typeof value !== "object" || value === null) return false;
  const { kind, addInitializer } = value as Partial<Tc39Context>;
  return typeof kind === "string" && typeof addInitializer === "function";
}

type LegacyMember = readonly [target: object, key: string | symbol, descriptor?: PropertyDescriptor];

function isLegacyMember(given: readonly unknown[]): given is LegacyMember {
  return given.length >= 2 && (typeof given[1] === "string" || typeof given[1] === "symbol");
}

/** What compilers call their helper that applies decorators of the old form; there is no other way to tell `@remote class C` from `remote(C)`. */
const LEGACY_HELPER =
  /(?:^|\.)(?:__decorate|__decorateClass|_ts_decorate|__legacyDecorateClassTS|DecorateConstructor|decorate)$/;

function mark(
  subject: object,
  context: Tc39Context,
  options: (TaskOptions & ActorOptions) | undefined,
  site: CallSite,
): void {
  if (context.kind === "class") {
    defineClass(subject as AnyClass, options, site, context.name);
    return;
  }
  if (context.kind !== "method" || context.static !== true) {
    throw new InvalidOptionError(
      `@remote decorates classes and static methods, and ${String(context.name)} is neither`,
    );
  }
  const record = defineFunction(subject as AnyFunction, "method", options, site);
  context.addInitializer(function () {
    setReceiver(record, this);
  });
}

function markLegacy(
  [target, key, descriptor]: LegacyMember,
  options: TaskOptions | undefined,
  site: CallSite,
): void {
  const value: unknown = descriptor?.value;
  if (typeof target !== "function" || typeof value !== "function") {
    throw new InvalidOptionError(
      `@remote decorates classes and static methods, and ${String(key)} is neither`,
    );
  }
  setReceiver(defineFunction(value as AnyFunction, "method", options, site), target);
}

function defineClass(
  Class: AnyClass,
  options: ActorOptions | undefined,
  site: CallSite,
  name?: string | symbol,
): RegisteredClass {
  const resolved = resolveActorOptions(options);
  const known = recordOf(Class);
  if (known !== undefined && options !== undefined) throw definedTwice(known.name);
  return registerClass(Class, site, resolved, typeof name === "string" && name !== "" ? name : undefined);
}

function defineFunction(
  fn: AnyFunction,
  kind: "function" | "method",
  options: TaskOptions | undefined,
  site: CallSite,
): RegisteredTask {
  const resolved = resolveTaskOptions(options, undefined, { streams: generatorKindOf(fn) !== "none" });
  const known = recordOf(fn);
  if (known !== undefined && options !== undefined) throw definedTwice(known.name);
  return registerFunction(fn, kind, site, resolved);
}

function definedTwice(name: string): InvalidOptionError {
  return new InvalidOptionError(`${name} is marked with @remote twice: give its options once`);
}

// ----------------------------------------------------------------------------------------------------- remote forms

/** Remote forms with the options of their definition. */
const plainForms = new WeakMap<RegisteredTask | RegisteredClass, object>();

function remoteFunction(fn: AnyFunction, options: TaskOptions | undefined, site: CallSite): object {
  const form = formOf.get(fn);
  const known = form?.record ?? recordOf(fn);
  if (known === undefined) return plainForm(defineFunction(fn, "function", options, site));
  if (known.kind === "class") throw new InvalidOptionError(`${known.name} is a remote class already`);
  if (form !== undefined && options === undefined) return fn;
  if (options === undefined) return plainForm(known);
  const base = form === undefined ? known.options : (form.options as ResolvedTaskOptions);
  return makeFunction(known, resolveTaskOptions(options, base, streamsOf(known)));
}

function remoteClass(Class: AnyClass, options: ActorOptions | undefined, site: CallSite): object {
  const form = formOf.get(Class);
  const known = (form?.record ?? recordOf(Class)) as RegisteredClass | undefined;
  if (known === undefined) return plainForm(defineClass(Class, options, site));
  if (form !== undefined && options === undefined) return Class;
  if (options === undefined) return plainForm(known);
  const base = form === undefined ? known.options : (form.options as ResolvedActorOptions);
  return makeClass(known, resolveActorOptions(options, base));
}

function plainForm(record: RegisteredTask | RegisteredClass): object {
  let form = plainForms.get(record);
  if (form === undefined) {
    form = record.kind === "class" ? makeClass(record, record.options) : makeFunction(record, record.options);
    plainForms.set(record, form);
  }
  return form;
}

const streamsOf = (record: RegisteredTask) => ({ streams: record.generator !== "none" });

function makeFunction(record: RegisteredTask, options: ResolvedTaskOptions): object {
  const plain = record.fn as (...args: unknown[]) => unknown;
  function call(this: unknown, ...args: unknown[]): unknown {
    return plain.apply(this ?? record.receiver, args);
  }
  call.remote = (...args: unknown[]): unknown => currentRuntime().submitTask(record, args, options);
  call.options = (given: TaskOptions): object =>
    makeFunction(record, resolveTaskOptions(given, options, streamsOf(record)));
  Object.defineProperty(call, "name", { value: record.name, configurable: true });
  Object.defineProperty(call, "length", { value: plain.length, configurable: true });
  formOf.set(call, { record, options });
  return call;
}

/** Behaves as the class it stands for in `new`, `instanceof`, `extends` and for statics. */
function makeClass(record: RegisteredClass, options: ResolvedActorOptions): object {
  const Class = record.fn;
  function RemoteClass(...args: never[]): object {
    if (new.target === undefined)
      throw new TypeError(`Class constructor ${record.name} cannot be invoked without 'new'`);
    return Reflect.construct(
      Class,
      args,
      new.target === (RemoteClass as unknown) ? Class : new.target,
    ) as object;
  }
  Object.setPrototypeOf(RemoteClass, Class);
  Object.defineProperties(RemoteClass, {
    prototype: { value: Class.prototype, writable: false },
    name: { value: record.name, configurable: true },
    length: { value: Class.length, configurable: true },
  });
  return addFactory(RemoteClass, record, options);
}

/** Told from plain data by its class. */
class RemoteFactory {}

function makeFactory(record: RegisteredClass, options: ResolvedActorOptions): object {
  return addFactory(new RemoteFactory(), record, options);
}

function addFactory(target: object, record: RegisteredClass, options: ResolvedActorOptions): object {
  let checked = false;
  const value = (...args: unknown[]): unknown => {
    if (checked) return currentRuntime().createActor(record, args, options);
    const handle = create(record, args, options);
    checked = true;
    return handle;
  };
  Object.defineProperties(target, {
    remote: { value },
    options: { value: (given: ActorOptions) => makeFactory(record, resolveActorOptions(given, options)) },
  });
  formOf.set(target, { record, options });
  return target;
}

function create(record: RegisteredClass, args: readonly unknown[], options: ResolvedActorOptions): unknown {
  const groups = new Set<string>();
  for (const {
    options: { concurrencyGroup },
  } of methodsOf(record.fn).values()) {
    if (concurrencyGroup !== "") groups.add(concurrencyGroup);
  }
  checkActorCreation(options, groups);
  return currentRuntime().createActor(record, args, options);
}
