/** One driver per experiment: a file with the pid of the one that writes to it. */
import { hostname } from "node:os";
import { TuneError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";

const FILE = "driver.lock";

/** @throws TuneError where another live process of this machine holds it. @returns how to let go */
export function lock(storage: Storage): () => void {
  const held = storage.readText(FILE);
  if (held !== undefined) {
    const { pid, host } = parse(held);
    if (host === hostname() && pid !== undefined && pid !== process.pid && isAlive(pid)) {
      throw new TuneError(
        `the experiment ${storage.location} is being run by process ${pid}: end that first`,
      );
    }
  }
  storage.writeText(FILE, JSON.stringify({ pid: process.pid, host: hostname() }));
  return () => void storage.remove(FILE);
}

function parse(text: string): { readonly pid?: number; readonly host?: string } {
  try {
    return JSON.parse(text) as { pid?: number; host?: string };
  } catch {
    return {};
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
