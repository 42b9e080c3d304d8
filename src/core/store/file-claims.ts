/**
 * Who has an object of a file store in hands: a symbolic link beside it, made with the exclusiveness of symlink(2), names
 * the process in the name of the part it points to, so that the claim of a dead process can be told from a live one's.
 */
import { readFileSync, readlinkSync, unlinkSync } from "node:fs";
import { basename } from "node:path";

/** The part that a claim points to; undefined when the claim is gone. */
export function readPart(claim: string): string | undefined {
  try {
    return readlinkSync(claim);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** The pid that a claim names; undefined when the claim is gone. */
export function creatorOf(claim: string): number | undefined {
  const part = readPart(claim);
  return part === undefined ? undefined : Number(basename(part).split("-")[1]);
}

/** Whether the process runs; a zombie has ended. */
export function isAlive(pid: number): boolean {
  if (!exists(pid)) return false;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !"ZX".includes(stat.charAt(stat.lastIndexOf(")") + 2));
  } catch {
    return exists(pid); // it ended just now, or there is no /proc
  }
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) !== "ESRCH";
  }
}

/** False: it was not there. */
export function unlinkIfThere(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

/** Of an error of the file system: ENOENT, EEXIST, ... */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}
