/** The public handle on an actor: one property per public method, each with `remote` and `options`. */
import { inspect } from "node:util";
import { InvalidOptionError } from "../core/base/errors.ts";
import { type MethodCallOptions, resolveMethodOptions } from "../core/base/options.ts";
import { ObjectRef } from "../core/ownership/object-ref.ts";
import { ObjectRefGenerator } from "../core/ownership/object-ref-generator.ts";
import type { Submitted } from "../core/submit/calls.ts";
import type { ActorCallOptions, ActorClient } from "./actor-client.ts";
import { METHOD_UNKNOWN, type MethodMeta, namesOf } from "./meta.ts";

/** Makes a call of a method; the runtime puts its own in front, which waits until the process is connected. */
export type CallActor = (
  client: ActorClient,
  method: string,
  args: readonly unknown[],
  options: ActorCallOptions,
) => Submitted;

const CLIENT = Symbol("tsray.actor");
const NOTHING_GIVEN = resolveMethodOptions({});

/** Base of all handles: recognised by it, and never taken for plain data. */
class HandleBase {
  declare readonly [CLIENT]: ActorClient;

  constructor(client: ActorClient) {
    Object.defineProperty(this, CLIENT, { value: client });
  }

  [inspect.custom](): string {
    const client = this[CLIENT];
    return `ActorHandle(${client.meta.className}, ${client.actorId})`;
  }
}

/** Makes the handle of an actor. */
export function makeHandle(client: ActorClient, call: CallActor): object {
  const handle = new HandleBase(client);
  for (const [name, meta] of Object.entries(client.meta.methods)) {
    // Methods are made when they are first used: most handles use few.
    Object.defineProperty(handle, name, {
      configurable: true,
      enumerable: true,
      get: () => {
        const method = makeMethod(client, name, meta, optionsOf(client, meta), call);
        Object.defineProperty(handle, name, { value: method, enumerable: true });
        return method;
      },
    });
  }
  return handle;
}

/**
 * The handle of an actor that is looked for: it can be called at once, and awaiting it gives the handle of the actor that
 * was found (a handle proper must not be awaitable, or passing it through async functions would wait).
 */
export function makePendingHandle(client: ActorClient, call: CallActor, found: Promise<object>): object {
  const methods = new Map<string, object>();
  return new Proxy(makeHandle(client, call), {
    get: (handle, key) => {
      if (key === "then" || key === "catch" || key === "finally") return found[key].bind(found);
      if (typeof key === "symbol" || key in handle) return Reflect.get(handle, key) as unknown;
      let method = methods.get(key);
      if (method === undefined) {
        method = makeMethod(client, key, METHOD_UNKNOWN, optionsOf(client, METHOD_UNKNOWN), call);
        methods.set(key, method);
      }
      return method;
    },
  });
}

/** The actor behind a handle, if it is one. */
export function clientOf(value: unknown): ActorClient | undefined {
  return value instanceof HandleBase ? value[CLIENT] : undefined;
}

/** @throws InvalidOptionError when it is no handle */
export function expectHandle(value: unknown, caller: string): ActorClient {
  const client = clientOf(value);
  if (client === undefined)
    throw new InvalidOptionError(`${caller} takes an actor handle, got ${inspect(value, { depth: 0 })}`);
  return client;
}

function optionsOf(client: ActorClient, meta: MethodMeta): ActorCallOptions {
  return {
    numReturns: meta.streams ? "streaming" : meta.numReturns,
    maxTaskRetries: meta.maxTaskRetries ?? client.meta.maxTaskRetries,
    retryExceptions: meta.retryExceptions,
    generatorBackpressure: meta.generatorBackpressure ?? undefined,
    name: "",
    group: "",
    signal: undefined,
    timeout: undefined,
  };
}

function makeMethod(
  client: ActorClient,
  name: string,
  meta: MethodMeta,
  options: ActorCallOptions,
  call: CallActor,
): object {
  return {
    remote: (...args: unknown[]): unknown => resultOf(call(client, name, args, options)),
    options: (given: MethodCallOptions): object => {
      const resolved = resolveMethodOptions(given, NOTHING_GIVEN, { streams: meta.streams });
      const merged: ActorCallOptions = {
        numReturns: given.numReturns === undefined ? options.numReturns : resolved.numReturns,
        maxTaskRetries: given.maxTaskRetries === undefined ? options.maxTaskRetries : given.maxTaskRetries,
        retryExceptions:
          given.retryExceptions === undefined ? options.retryExceptions : namesOf(resolved.retryExceptions),
        generatorBackpressure: given.generatorBackpressure ?? options.generatorBackpressure,
        name: resolved.name || options.name,
        group: resolved.concurrencyGroup || options.group,
        signal: resolved.signal ?? options.signal,
        timeout: resolved.timeout ?? options.timeout,
      };
      return makeMethod(client, name, meta, merged, call);
    },
  };
}

/** What the user gets for a submission. */
export function resultOf(submitted: Submitted): unknown {
  if (submitted.kind === "generator") return new ObjectRefGenerator(submitted.source);
  const { entries } = submitted;
  if (entries.length === 1) return new ObjectRef(entries[0] as NonNullable<(typeof entries)[0]>);
  return entries.length === 0 ? undefined : entries.map((entry) => new ObjectRef(entry));
}
