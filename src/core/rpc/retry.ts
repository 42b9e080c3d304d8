/** Repeating calls that may be repeated: pauses that grow, with jitter, so that callers do not come back all at once. */
import { setTimeout as sleep } from "node:timers/promises";
import { TsrayError } from "../base/errors.ts";

const PAUSE_MS_MIN = 50;
const PAUSE_MS_MAX = 500;

/**
 * Makes the call until it is answered, for `forMs` at most. An answer is also an error that a repeat cannot help.
 * @throws what the last attempt threw
 */
export async function retrying<R>(forMs: number, call: () => Promise<R>): Promise<R> {
  const untilMs = performance.now() + forMs;
  for (let pauseMs = PAUSE_MS_MIN; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
    try {
      return await call();
    } catch (error) {
      const mayHelp = error instanceof TsrayError && error.retryable;
      if (!mayHelp || performance.now() + pauseMs > untilMs) throw error;
    }
    await sleep(pauseMs * (0.5 + Math.random() / 2));
  }
}
