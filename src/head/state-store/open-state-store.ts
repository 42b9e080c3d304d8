/** Chooses the store behind the head's tables; an implementation is loaded only when it is chosen. */
import { InvalidOptionError } from "../../core/base/errors.ts";
import type { StateStore } from "./state-store.ts";

/** Opens the store that `target` names: "memory", or "lmdb:/directory". LMDB is loaded only when it is chosen. */
export async function openStateStore(target: string): Promise<StateStore> {
  if (target === "memory") return new (await import("./memory-state-store.ts")).MemoryStateStore();
  if (target.startsWith("lmdb:") && target.length > "lmdb:".length) {
    return (await import("./lmdb-state-store.ts")).LmdbStateStore.open(target.slice("lmdb:".length));
  }
  throw new InvalidOptionError(
    `state store ${JSON.stringify(target)} is neither "memory" nor "lmdb:/directory"`,
  );
}
