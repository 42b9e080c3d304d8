/** `release`: gives back shared memory before the garbage collector would. Serves step 8 of the main path. */
import { clientOf } from "../actors/handle.ts";
import type { ReleaseFn } from "../core/api/types.ts";
import { isObjectRef } from "../core/ownership/object-ref.ts";
import { runtimeForCall } from "./state.ts";

/** See {@link ReleaseFn}. */
export const release: ReleaseFn = (value) => {
  const runtime = runtimeForCall();
  if (!runtime.isConnected) return 0;
  let bytes = 0;
  const seen = new Set<object>();
  const waiting: unknown[] = [value];
  while (waiting.length > 0) {
    const next = waiting.pop();
    if (typeof next !== "object" || next === null || seen.has(next)) continue;
    seen.add(next);
    if (ArrayBuffer.isView(next)) waiting.push(next.buffer);
    else if (next instanceof ArrayBuffer) {
      const { byteLength } = next;
      if (byteLength > 0 && runtime.objects.release(new Uint8Array(next))) bytes += byteLength;
    } else if (next instanceof Map) for (const pair of next) waiting.push(...pair);
    else if (next instanceof Set || Array.isArray(next)) for (const each of next) waiting.push(each);
    else if (!isObjectRef(next) && clientOf(next) === undefined) {
      for (const each of Object.values(next)) waiting.push(each);
    }
  }
  return bytes;
};
