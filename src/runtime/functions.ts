/**
 * How functions and classes travel between the processes of a job: remote functions as what they are, all others by
 * value (core/closures), classes of modules by name where the other side has them.
 */
import { remoteFormOf, restoreRemoteForm } from "../core/api/remote.ts";
import {
  type AnyClass,
  type AnyFunction,
  describeFunction,
  type FunctionId,
  findFunction,
  isByValue,
  isLateModule,
  isTestFile,
  registry,
} from "../core/base/function-registry.ts";
import { inspectFunction } from "../core/base/inspector.ts";
import { localUrl, travelUrl } from "../core/base/module-map.ts";
import type { ResolvedActorOptions, ResolvedTaskOptions } from "../core/base/options.ts";
import { createFunctionCodec } from "../core/closures/index.ts";
import { tsrayVersion } from "../core/launch/version.ts";
import { CannotTravel, type FunctionCodec, type HandleCodec, NotLoaded } from "../core/serialize/hooks.ts";
import { createScopeResolver } from "../core/serialize/scopes.ts";

/** How this process gets at code that it has not loaded; a worker has its own ways. */
export const loading: {
  prepareImport: (url: string) => Promise<void>;
  /** Rejects when it is not there afterwards. */
  loadFunction: (id: FunctionId) => Promise<unknown>;
  /** Whether stack traces are this process's to map: a test runner maps its own. */
  mapsStacks: boolean;
} = {
  mapsStacks: false,
  prepareImport: async () => {},
  loadFunction: async (id) => {
    await import(localUrl(id.module));
    if (findFunction(id) === undefined) throw new Error(`${id.module} registers no ${id.name}`);
  },
};

/** Classes are looked for in the scopes of every function that `remote()` has seen in each process that has the module. */
export const scopes = createScopeResolver();
registry.onRegister = (record) => {
  if (!isByValue(record)) scopes.addAnchor(record.fn, record.module);
};

let codec: FunctionCodec | undefined;

/** One per process. */
export function functionCodec(): FunctionCodec {
  codec ??= createFunctionCodec({
    classNamed: (fn) => {
      const Class = fn as unknown as AnyClass;
      const found = scopes.nameOf(Class);
      return found === undefined || isTestFile(found.module) || isBelowInit(Class, found.module)
        ? undefined
        : found;
    },
    isEntry: (url) => isTestFile(url) || isLateModule(travelUrl(url)),
    own: () => Reflect.get(globalThis, Symbol.for(`tsray@${tsrayVersion()}`)) as object | undefined,
    beforeImport: (url) => loading.prepareImport(url),
    mapsStacks: () => loading.mapsStacks,
  });
  return codec;
}

/** Workers evaluate the entry module up to `await init()`: classes below are not there. */
function isBelowInit(Class: AnyClass, module: string): boolean {
  const call = registry.initCall;
  if (call === undefined || call.module !== module) return false;
  const { location } = inspectFunction(Class);
  if (location === undefined) return false;
  return location.line > call.line || (location.line === call.line && location.column > call.column);
}

interface FormData {
  readonly kind: "function" | "method" | "class";
  readonly name: string;
  /** undefined = by value: it is one of the parts. */
  readonly id: FunctionId | null;
  readonly isCallable: boolean;
}

/** What `remote()` gives: a worker that gets one can call it as its maker could. */
export const remoteForms: HandleCodec = {
  tag: "remote",
  test: (value): value is object => remoteFormOf(value) !== undefined,
  encode: (form): FormData => {
    const { record } = remoteFormOf(form)!;
    const id = isByValue(record) ? null : describeFunction(record);
    return { kind: record.kind, name: record.name, id, isCallable: typeof form === "function" };
  },
  parts: (form) => {
    const { record, options } = remoteFormOf(form)!;
    if ("signal" in options && options.signal !== undefined)
      throw new CannotTravel(
        "is a remote function with a signal in its options, which belongs to this process",
      );
    const receiver = record.kind === "method" ? record.receiver : undefined;
    return isByValue(record) ? [options, record.fn, receiver] : [options];
  },
  decode: (data, [options, fn, receiver]) => {
    const { kind, name, id, isCallable } = data as FormData;
    const resolved = options as ResolvedTaskOptions | ResolvedActorOptions;
    if (id === null)
      return restoreRemoteForm({ kind, name, fn: fn as AnyFunction, receiver }, resolved, isCallable);
    const record = findFunction(id);
    if (record === undefined)
      throw new NotLoaded(async () => {
        await loading.loadFunction(id);
      });
    return restoreRemoteForm(record, resolved, isCallable);
  },
};
