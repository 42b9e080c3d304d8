/** Whether an object was collected: asked of the native addon, whose answer does not wait for the end of the turn. */
import { loadNative } from "../store/native.ts";

/** Whether what it was made for is still reachable. */
export interface DeathWatch {
  isAlive(): boolean;
}

export type WatchDeath = (target: object) => DeathWatch;

/** Unlike WeakRef and FinalizationRegistry it also tells after a collection of young garbage only. Null without the addon. */
export function nativeDeathWatch(): WatchDeath | null {
  const { addon } = loadNative();
  return addon === null ? null : (target) => addon.weakRef(target);
}
