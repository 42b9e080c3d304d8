/** What the machine offers, where the user does not say. */
import { existsSync, readdirSync, statfsSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { InvalidOptionError } from "../core/base/errors.ts";
import { toUnits } from "../core/base/resources.ts";
import type { DaemonConfig } from "../core/launch/daemon-config.ts";

const STORE_SHARE_OF_MEMORY = 0.3;
const STORE_SHARE_OF_SHM = 0.8;
const MEMORY_SHARE_FOR_TASKS = 0.7;
/** Fresh memory takes a write at a thirtieth of the speed of memory used before. */
const WARM_SHARE = 1 / 8;
const WARM_BYTES_MAX = 128 * 1024 * 1024;
const STORE_BYTES_MIN = 64 * 1024 * 1024;

/** Device ids, as CUDA_VISIBLE_DEVICES takes them. A limit set outside is respected. */
export function gpuIds(numGpus: number | undefined): string[] {
  const visible = process.env.CUDA_VISIBLE_DEVICES;
  const found =
    visible !== undefined
      ? visible.split(",").filter((id) => id !== "")
      : existsSync("/proc/driver/nvidia/gpus")
        ? readdirSync("/proc/driver/nvidia/gpus").map((_, i) => String(i))
        : [];
  if (numGpus === undefined) return found;
  return Array.from({ length: numGpus }, (_, i) => found[i] ?? String(i));
}

export function storeBytes(config: DaemonConfig): number {
  if (config.objectStoreMemory !== undefined) return config.objectStoreMemory;
  const shm = statfsSync("/dev/shm");
  const free = shm.bavail * shm.bsize;
  return Math.floor(
    Math.max(STORE_BYTES_MIN, Math.min(memoryBytes() * STORE_SHARE_OF_MEMORY, free * STORE_SHARE_OF_SHM)),
  );
}

/** Bytes of the store kept ready ahead of use. TSRAY_WARM_BYTES says otherwise; 0 = none. */
export function warmBytes(store: number): number {
  const given = process.env.TSRAY_WARM_BYTES;
  if (given === undefined || given === "") return Math.min(WARM_BYTES_MAX, Math.floor(store * WARM_SHARE));
  if (!/^\d{1,15}$/.test(given)) {
    throw new InvalidOptionError(
      `TSRAY_WARM_BYTES must be a whole number of bytes, got ${JSON.stringify(given)}`,
    );
  }
  return Math.min(Number(given), store);
}

export function nodeResources(config: DaemonConfig, gpus: number, store: number): Record<string, number> {
  return toUnits({
    CPU: config.numCpus ?? availableParallelism(),
    ...(gpus > 0 ? { GPU: gpus } : {}),
    memory: Math.floor(memoryBytes() * MEMORY_SHARE_FOR_TASKS),
    object_store_memory: store,
    [`node:${config.host ?? "127.0.0.1"}`]: 1,
    ...config.resources,
  });
}

function memoryBytes(): number {
  const limit = process.constrainedMemory?.() ?? 0;
  return limit > 0 && limit < totalmem() ? limit : totalmem();
}
