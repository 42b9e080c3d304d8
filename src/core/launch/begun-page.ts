/**
 * The page in which a worker notes, for each owner, how many of the runs it sent have begun. It is shared memory, so it
 * can be read after the worker was killed: the raylet then tells each owner which of its tasks had begun and which had
 * only been queued. Decides the layout; the worker writes (src/worker/begun-marks.ts), the raylet reads.
 */

export const BEGUN_PAGE_BYTES = 4096;
/** One owner: its process id (8 bytes), how many of its runs have begun (a double). */
export const BEGUN_SLOT_BYTES = 16;
export const BEGUN_OWNER_BYTES = 8;
/** Owners of one worker at a time; further ones are not noted. */
export const BEGUN_SLOTS = BEGUN_PAGE_BYTES / BEGUN_SLOT_BYTES;
/** Descriptor under which the worker gets the page. */
export const BEGUN_FD = 4;

/** Runs begun, by the owner's process id. */
export function readBegun(page: Buffer): Map<string, number> {
  const begun = new Map<string, number>();
  for (let at = 0; at < page.length; at += BEGUN_SLOT_BYTES) {
    const owner = page.toString("hex", at, at + BEGUN_OWNER_BYTES);
    if (/[^0]/.test(owner)) begun.set(owner, page.readDoubleLE(at + BEGUN_OWNER_BYTES));
  }
  return begun;
}
