/**
 * What `tsray` is in this process: not started, a driver, or a worker. The API's functions ask here for the runtime.
 *
 * A worker that is still evaluating its job's entry module is parked by the first call that needs a cluster: the refs it
 * gets never settle, so nothing below runs. After that, calls of tasks and actors reach the worker's real runtime.
 */

import { setRuntimeProvider } from "../core/api/runtime-port.ts";
import type { Endpoint } from "../core/base/endpoint.ts";
import { newProcessId } from "../core/base/ids.ts";
import { entryOf, setRefResolver } from "../core/ownership/object-ref.ts";
import { awaitEntry } from "./await-entry.ts";
import { Runtime } from "./runtime.ts";

/** What the worker's actor host offers the API. */
export interface ActorSide {
  readonly identity: ActorFacts | undefined;
  exit(): Promise<never>;
}

export interface ActorFacts {
  readonly actorId: string;
  readonly className: string;
  readonly incarnation: number;
  readonly resources: Readonly<Record<string, number>>;
  readonly gpuIds: readonly string[];
}

type State =
  | { readonly kind: "none" }
  | {
      readonly kind: "driver";
      readonly runtime: Runtime;
      readonly ready: Promise<void>;
      readonly stop: () => Promise<void>;
    }
  | { readonly kind: "loading"; readonly runtime: Runtime; readonly park: () => void }
  | { readonly kind: "worker"; readonly runtime: Runtime; readonly actor: ActorSide };

let state: State = { kind: "none" };
/** Starts an embedded cluster; set by init.ts. */
let autoInit: () => void = () => {};

export function setAutoInit(start: () => void): void {
  autoInit = start;
}

export function getState(): State {
  return state;
}

export function setState(next: State): void {
  state = next;
}

/** The runtime for a call of the API; starts an embedded cluster where there is none. */
export function runtimeForCall(): Runtime {
  if (state.kind === "none") autoInit();
  if (state.kind === "none") throw new Error("unreachable: init made no runtime");
  if (state.kind === "loading") state.park();
  return state.runtime;
}

setRuntimeProvider(runtimeForCall);
setRefResolver((ref) => awaitEntry(runtimeForCall(), entryOf(ref)));

export function nobody(): Endpoint {
  return { processId: newProcessId(), nodeId: "", unixPath: "", host: "", port: 0, pid: process.pid };
}

/** Makes this process a worker that is evaluating its job's entry. @returns when it is parked, and how to end that phase */
export function becomeWorker(
  runtime: Runtime,
  actor: ActorSide,
): { parked: Promise<void>; done: () => void } {
  let park = () => {};
  const parked = new Promise<void>((resolve) => {
    park = resolve;
  });
  // Refs made by the entry's own code belong to a runtime that is never connected.
  const inert = new Runtime(
    nobody(),
    () => {},
    () => {},
  );
  state = { kind: "loading", runtime: inert, park };
  return {
    parked,
    done: () => {
      state = { kind: "worker", runtime, actor };
    },
  };
}
