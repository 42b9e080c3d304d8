/** Errors of trials: as they are recorded, as users get them, and which of them end the whole run. */
import { FunctionNotFoundError, InvalidOptionError, SerializationError, TuneError } from "../errors.ts";
import type { HostError } from "./protocol.ts";

/** What no other trial would fare better with; undefined for a failure of this trial alone. */
export function fatalCauseOf(error: unknown): Error | undefined {
  if (error instanceof TuneError || error instanceof InvalidOptionError) return error;
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  for (const each of [error, cause]) {
    if (each instanceof SerializationError || each instanceof FunctionNotFoundError) {
      return new TuneError(
        `the trainable cannot reach a worker; give remote(trainable) at the top level of a module, above init(): ${each.message}`,
        { cause: each },
      );
    }
  }
  return undefined;
}

/** What a call of the actor failed with: its process ended, or its constructor threw. */
export function errorOf(error: unknown): HostError {
  if (!(error instanceof Error)) return { name: "Error", message: String(error), stack: String(error) };
  const cause = error.cause instanceof Error ? error.cause : undefined;
  const shown = error.name === "TaskError" && cause !== undefined ? cause : error;
  return { name: shown.name, message: shown.message, stack: shown.stack ?? String(shown) };
}

export function toError({ name, message, stack }: HostError): Error {
  const error = new Error(message);
  Object.defineProperties(error, {
    name: { value: name, configurable: true, writable: true },
    stack: { value: stack, configurable: true, writable: true },
  });
  return error;
}
