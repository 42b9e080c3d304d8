/** What a trial takes of the cluster, as users write it and as the runner reckons with it. */
import { InvalidOptionError } from "../errors.ts";

/** Fractions of CPUs and GPUs are fine; default `{ numCpus: 1 }`. */
export interface ResourcesOption {
  readonly numCpus?: number;
  readonly numGpus?: number;
  /** Bytes. */
  readonly memory?: number;
  /** Custom resources by name. */
  readonly resources?: Readonly<Record<string, number>>;
}

/** Amounts by resource name: CPU, GPU, memory, custom ones. Nothing that is zero. */
export type Resources = Readonly<Record<string, number>>;

export const ONE_CPU: Resources = { CPU: 1 };

/** @throws InvalidOptionError naming what is wrong */
export function resolveResources(option: ResourcesOption): Resources {
  if (typeof option !== "object" || option === null || Array.isArray(option))
    throw new InvalidOptionError("a trial's resources are { numCpus, numGpus, memory, resources }");
  if ("bundles" in option)
    throw new InvalidOptionError("resources: bundles (placement groups) are not supported in this version");
  const known = ["numCpus", "numGpus", "memory", "resources"];
  for (const name of Object.keys(option)) {
    if (!known.includes(name))
      throw new InvalidOptionError(
        `a trial's resources have no ${JSON.stringify(name)}; they have ${known.join(", ")}`,
      );
  }
  const amounts: Record<string, number> = {};
  const put = (name: string, amount: number | undefined, from: string) => {
    if (amount === undefined || amount === 0) return;
    if (typeof amount !== "number" || !Number.isFinite(amount) || amount < 0)
      throw new InvalidOptionError(`${from} must be a number >= 0, got ${String(amount)}`);
    amounts[name] = amount;
  };
  put("CPU", option.numCpus ?? 1, "numCpus");
  put("GPU", option.numGpus, "numGpus");
  put("memory", option.memory, "memory");
  for (const [name, amount] of Object.entries(option.resources ?? {})) put(name, amount, `resources.${name}`);
  return amounts;
}

/** The options of an actor that takes these. */
export function actorOptions({ CPU = 0, GPU = 0, memory, ...resources }: Resources) {
  return {
    numCpus: CPU,
    ...(GPU > 0 ? { numGpus: GPU } : {}),
    ...(memory === undefined ? {} : { memory }),
    ...(Object.keys(resources).length > 0 ? { resources: resources as Record<string, number> } : {}),
  };
}

export function showResources(amounts: Resources): string {
  const parts = Object.entries(amounts).map(([name, amount]) => `${amount} ${name}`);
  return parts.length === 0 ? "nothing" : parts.join(", ");
}

/** Whether `wanted` is within `total`. */
export function fits(wanted: Resources, total: Resources): boolean {
  return Object.entries(wanted).every(([name, amount]) => amount <= (total[name] ?? 0) + 1e-9);
}

export function addAmounts(sum: Record<string, number>, amounts: Resources, sign: 1 | -1): void {
  for (const [name, amount] of Object.entries(amounts)) sum[name] = (sum[name] ?? 0) + sign * amount;
}

export function keyOf(amounts: Resources): string {
  return Object.keys(amounts)
    .sort()
    .map((name) => `${name}=${amounts[name]}`)
    .join(",");
}
