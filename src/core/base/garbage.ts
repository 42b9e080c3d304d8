/**
 * Garbage collection on demand, in processes that were not started with --expose-gc. Decides nothing: who collects when is
 * in core/ownership/collector.ts.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

type Collect = (options?: { readonly type: "minor" }) => void;
let gc: Collect | undefined;

/**
 * Collects at once: the whole heap, or young garbage only. The memory of dead ArrayBuffers is freed before it returns; V8
 * would do that on another thread, and then nobody could say which views of shared memory have ended.
 */
export function collectGarbage(type: "minor" | "major" = "major"): void {
  if (gc === undefined) {
    setFlagsFromString("--expose-gc");
    gc = runInNewContext("gc") as Collect;
    setFlagsFromString("--no-expose-gc");
  }
  setFlagsFromString("--no-concurrent-array-buffer-sweeping");
  // An explicit undefined is a minor collection to newer versions of V8.
  if (type === "minor") gc({ type });
  else gc();
  setFlagsFromString("--concurrent-array-buffer-sweeping");
}
