/** What the machine offers, where the user does not say. */
import { existsSync, readdirSync, readFileSync, statfsSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { InvalidOptionError } from "../core/base/errors.ts";
import { ACCELERATOR_LABEL, type Labels } from "../core/base/labels.ts";
import { toUnits } from "../core/base/resources.ts";
import type { DaemonConfig } from "../core/launch/daemon-config.ts";

const STORE_SHARE_OF_MEMORY = 0.3;
const STORE_SHARE_OF_SHM = 0.8;
const MEMORY_SHARE_FOR_TASKS = 0.7;
/** Fresh memory takes a write at a thirtieth of the speed of memory used before. */
const WARM_SHARE = 1 / 8;
const WARM_BYTES_MAX = 128 * 1024 * 1024;
const STORE_BYTES_MIN = 64 * 1024 * 1024;

const NVIDIA_GPUS = "/proc/driver/nvidia/gpus";

/** Device ids, as CUDA_VISIBLE_DEVICES takes them. A limit set outside is respected. */
export function gpuIds(numGpus: number | undefined): string[] {
  const visible = process.env.CUDA_VISIBLE_DEVICES;
  const found =
    visible !== undefined
      ? visible.split(",").filter((id) => id !== "")
      : existsSync(NVIDIA_GPUS)
        ? readdirSync(NVIDIA_GPUS).map((_, i) => String(i))
        : [];
  if (numGpus === undefined) return found;
  return Array.from({ length: numGpus }, (_, i) => found[i] ?? String(i));
}

/** What the user says of the node, and the kind of its GPUs where it has some and the machine tells. */
export function nodeLabels({ labels }: DaemonConfig, gpus: number): Labels {
  if (gpus === 0 || !existsSync(NVIDIA_GPUS)) return labels;
  const [first] = readdirSync(NVIDIA_GPUS);
  const model =
    first === undefined ? undefined : kindOfGpu(readFileSync(`${NVIDIA_GPUS}/${first}/information`, "utf8"));
  return model === undefined ? labels : { [ACCELERATOR_LABEL]: model, ...labels };
}

/** "Model: Tesla T4" is a T4, "NVIDIA A100-SXM4-40GB" an A100, as in Ray. */
export function kindOfGpu(information: string): string | undefined {
  return /^Model:\s*\w+\s+([A-Z0-9]+)/m.exec(information)?.[1];
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
