/** This worker's side of the begun page: one number per owner, written when a run begins (core/launch/begun-page.ts). */
import { closeSync, fstatSync, writeSync } from "node:fs";
import {
  BEGUN_FD,
  BEGUN_OWNER_BYTES,
  BEGUN_PAGE_BYTES,
  BEGUN_SLOT_BYTES,
  BEGUN_SLOTS,
} from "../core/launch/begun-page.ts";
import { loadNative } from "../core/store/native.ts";

/** Index of a slot; -1 where there is none. */
export type BegunSlot = number;

export class BegunMarks {
  /** Owners by slot. A slot keeps its name when its owner is gone, until another needs it. */
  readonly #owners: string[] = [];
  readonly #free = new Set<BegunSlot>();
  /** The page as doubles, mapped; undefined where it is written through its descriptor, or not there at all. */
  readonly #mapped: Float64Array | undefined;
  readonly #bytes: Buffer | undefined;
  readonly #hasFile: boolean;
  readonly #scratch = Buffer.alloc(BEGUN_SLOT_BYTES);

  constructor() {
    this.#hasFile = isPage(BEGUN_FD);
    const { addon } = loadNative();
    if (!this.#hasFile || addon === null) return;
    this.#bytes = addon.mapShared(BEGUN_FD, BEGUN_PAGE_BYTES);
    this.#mapped = new Float64Array(this.#bytes.buffer, this.#bytes.byteOffset, BEGUN_PAGE_BYTES / 8);
    // The mapping is enough, and children of the user's code must not inherit the descriptor.
    closeSync(BEGUN_FD);
  }

  /** A slot for an owner, counting from zero. */
  open(ownerId: string): BegunSlot {
    if (!this.#hasFile) return -1;
    let slot = this.#owners.indexOf(ownerId);
    if (slot < 0) slot = this.#owners.length < BEGUN_SLOTS ? this.#owners.length : ([...this.#free][0] ?? -1);
    if (slot < 0) return slot;
    this.#free.delete(slot);
    this.#owners[slot] = ownerId;
    this.#name(slot, ownerId);
    return slot;
  }

  /** The owner is gone. */
  close(slot: BegunSlot): void {
    if (slot >= 0) this.#free.add(slot);
  }

  /** The owner's run number `count` begins. */
  mark(slot: BegunSlot, count: number): void {
    if (slot < 0) return;
    if (this.#mapped !== undefined) this.#mapped[2 * slot + 1] = count;
    else {
      this.#scratch.writeDoubleLE(count, 0);
      writeSync(BEGUN_FD, this.#scratch, 0, 8, slot * BEGUN_SLOT_BYTES + BEGUN_OWNER_BYTES);
    }
  }

  #name(slot: BegunSlot, ownerId: string): void {
    this.mark(slot, 0);
    if (this.#bytes !== undefined)
      this.#bytes.write(ownerId, slot * BEGUN_SLOT_BYTES, BEGUN_OWNER_BYTES, "hex");
    else {
      this.#scratch.write(ownerId, 0, BEGUN_OWNER_BYTES, "hex");
      writeSync(BEGUN_FD, this.#scratch, 0, BEGUN_OWNER_BYTES, slot * BEGUN_SLOT_BYTES);
    }
  }
}

function isPage(fd: number): boolean {
  try {
    const stat = fstatSync(fd);
    return stat.isFile() && stat.size === BEGUN_PAGE_BYTES;
  } catch {
    return false;
  }
}
