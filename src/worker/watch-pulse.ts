/** Ends this worker when its raylet has stood still for so long that the cluster has given its work to others. */
import { statSync } from "node:fs";
import type { WorkerBoot } from "../core/launch/worker-boot.ts";

const LOOK_MS = 500;

export function watchPulse({ path, msMax }: NonNullable<WorkerBoot["pulse"]>): void {
  let seen = "";
  let seenMs = performance.now();
  setInterval(() => {
    const now = beatOf(path);
    if (now !== seen) {
      seen = now;
      seenMs = performance.now();
    } else if (performance.now() - seenMs > msMax) {
      // With all that it has started.
      process.kill(-process.pid, "SIGKILL");
    }
  }, LOOK_MS).unref();
}

function beatOf(path: string): string {
  try {
    return String(statSync(path).mtimeMs);
  } catch {
    return "";
  }
}
