/** Functions that workers cannot find: registered after `init()` returned, in the entry module or nowhere. */
import { SerializationError } from "../core/base/errors.ts";
import type { RegisteredFunction } from "../core/base/function-registry.ts";

/** @throws SerializationError for a function that would have to travel by value */
export function describeRemoteUse(record: RegisteredFunction): void {
  if (!record.late && record.module !== "") return;
  const where = record.module === "" ? "outside any module" : "after `await init()`";
  throw new SerializationError(
    `${record.kind} ${record.name} was given to remote() ${where}, so workers cannot find it: sending functions by value is not supported in this version. ` +
      "Move the remote() call above `await init()`, or into a module of its own",
  );
}
