/** Which task or actor call is running: known to code that it calls, across awaits. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { CallGroup } from "./options.ts";
import type { Resources } from "./resources.ts";

export interface CallContext {
  /** Number of the call in this process, for its children. */
  readonly localId: number;
  readonly taskId: string;
  readonly name: string;
  readonly attempt: number;
  readonly resources: Resources;
  readonly gpuIds: readonly string[];
  /** The placement group that it runs in. */
  readonly group: CallGroup | null;
  /** Aborted when the call is cancelled; made when it is first looked at. */
  readonly signal: AbortSignal;
  /** The call begins or ends a wait for objects: its CPUs may be used by others meanwhile. */
  onWait(delta: 1 | -1): void;
}

const storage = new AsyncLocalStorage<CallContext>();

export function currentCall(): CallContext | undefined {
  return storage.getStore();
}

export function runInCall<R>(context: CallContext, run: () => R): R {
  return storage.run(context, run);
}
