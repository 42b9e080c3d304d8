/** Ends this worker when its raylet has stood still for so long that the cluster has given its work to others. */
import { closeSync, openSync, readSync } from "node:fs";
import { PULSE_BYTES } from "../core/launch/pulse-file.ts";
import type { WorkerBoot } from "../core/launch/worker-boot.ts";
import { loadNative } from "../core/store/native.ts";

const LOOK_MS = 500;

export function watchPulse({ path, msMax }: NonNullable<WorkerBoot["pulse"]>): void {
  let fd: number;
  try {
    fd = openSync(path, "r+");
  } catch {
    // The raylet has ended, and this process with it.
    return;
  }
  const { addon } = loadNative();
  if (addon === null) {
    watchFromHere(fd, msMax);
    return;
  }
  // Also while user code is in a loop.
  addon.watchPulse(fd, msMax);
  closeSync(fd);
}

/** Without the addon: as long as the main thread runs. */
function watchFromHere(fd: number, msMax: number): void {
  const beats = Buffer.alloc(PULSE_BYTES);
  let seen = -1n;
  let seenMs = performance.now();
  let lookedMs = seenMs;
  setInterval(() => {
    readSync(fd, beats, 0, PULSE_BYTES, 0);
    const nowMs = performance.now();
    const now = beats.readBigUInt64LE();
    // When this process did not run itself, the raylet gets its whole time again.
    if (now !== seen || nowMs - lookedMs > LOOK_MS + msMax / 4) {
      seen = now;
      seenMs = nowMs;
    } else if (nowMs - seenMs > msMax) {
      // With all that it has started.
      process.kill(-process.pid, "SIGKILL");
    }
    lookedMs = nowMs;
  }, LOOK_MS).unref();
}
