/** For tests: a state store in memory that is full when the test says so, and outlives the heads on it. */
import { MemoryStateStore } from "./state-store/memory-state-store.ts";
import type { PutAnswer } from "./state-store/state-store.ts";

export class FullStore extends MemoryStateStore {
  /** Every write fails. */
  isFull = false;
  /** Writes of this table fail; "" = none. */
  refusedTable = "";
  /** Writes of this key fail; "" = none. */
  refusedKey = "";
  /** Writes that were tried. */
  writes = 0;

  override async put(table: string, key: string, value: Uint8Array, expected?: number): Promise<PutAnswer> {
    this.#check(table, key);
    return super.put(table, key, value, expected);
  }

  override async delete(table: string, key: string, expected?: number): Promise<boolean> {
    this.#check(table, key);
    return super.delete(table, key, expected);
  }

  #check(table: string, key: string): void {
    this.writes += 1;
    if (this.isFull || table === this.refusedTable || key === this.refusedKey)
      throw new Error("no space left on device");
  }
}
