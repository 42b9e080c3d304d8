/** Waiting for the value behind an entry: what `get` and awaiting a ref do. */
import { currentCall } from "../core/base/call-context.ts";
import type { ObjectEntry } from "../core/ownership/entries.ts";
import { PayloadKind } from "../core/rpc/messages.ts";
import type { Runtime } from "./runtime.ts";

/** @throws the error that the entry stands for */
export function awaitEntry(runtime: Runtime, entry: ObjectEntry): Promise<unknown> {
  const { payload } = entry;
  if (payload?.[0] === PayloadKind.plain) return Promise.resolve(payload[1]);
  if (payload !== undefined && runtime.isConnected) {
    const value = runtime.objects.materialise(entry);
    // It may lie on another node: nothing but this keeps a driver alive until it has come.
    return payload[0] === PayloadKind.stored ? staying(runtime, value) : value;
  }
  return waiting(
    runtime,
    () =>
      new Promise((resolve, reject) => {
        if (runtime.isConnected) runtime.objects.ask(entry);
        entry.whenReady(() => {
          const found = entry.payload;
          if (found?.[0] === PayloadKind.plain) resolve(found[1]);
          else runtime.objects.materialise(entry).then(resolve, reject);
        });
      }),
  );
}

/** Resolves when the entry has a value or an error. */
export function whenReady(runtime: Runtime, entry: ObjectEntry): Promise<void> {
  return new Promise((resolve) => {
    if (runtime.isConnected) runtime.objects.ask(entry);
    entry.whenReady(resolve);
  });
}

async function staying<T>(runtime: Runtime, value: Promise<T>): Promise<T> {
  runtime.busy(1);
  try {
    return await value;
  } finally {
    runtime.busy(-1);
  }
}

/** Marks the running call as waiting, and a driver as having something to wait for. */
export async function waiting<T>(runtime: Runtime, wait: () => Promise<T>): Promise<T> {
  const call = currentCall();
  call?.onWait(1);
  runtime.busy(1);
  try {
    return await wait();
  } finally {
    runtime.busy(-1);
    call?.onWait(-1);
  }
}
