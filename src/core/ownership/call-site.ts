/** Where the user's code made an object, for `tsray memory`. Recorded only with TSRAY_RECORD_CALL_SITES=1: it costs a stack trace. */
import { fileURLToPath } from "node:url";

const FRAMES_MAX = 25;

/** tsray's own files: bundled below dist/, else below src/. */
const THIS = fileURLToPath(import.meta.url);
const OWN = /^(.*\/(?:dist|src)\/)/.exec(THIS)?.[1] ?? THIS;

export const recordsCallSites = process.env.TSRAY_RECORD_CALL_SITES === "1";

/** "function (file:line:column)" of the first frame that is not tsray's; "" where there is none. */
export function callSite(): string {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = FRAMES_MAX;
  const { stack = "" } = new Error();
  Error.stackTraceLimit = stackTraceLimit;
  const frame = stack
    .split("\n")
    .slice(1)
    .find((line) => !line.includes(OWN) && !line.includes("node:internal"));
  return frame?.trim().replace(/^at /, "") ?? "";
}
