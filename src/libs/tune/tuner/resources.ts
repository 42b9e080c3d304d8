/** What a trial takes of the cluster, as users write it and as the runner reckons with it. */
import type { GroupStrategy } from "../../../index.ts";
import { InvalidOptionError } from "../errors.ts";

/** Fractions of CPUs and GPUs are fine; default `{ numCpus: 1 }`. */
export interface AmountsOption {
  readonly numCpus?: number;
  readonly numGpus?: number;
  /** Bytes. */
  readonly memory?: number;
  /** Custom resources by name. */
  readonly resources?: Readonly<Record<string, number>>;
  readonly bundles?: never;
}

/** A placement group per trial: set aside as a whole, for the trial and for what it starts. */
export interface BundlesOption {
  /** Resources by name; the first bundle is the trial's own and may be empty: `[{ CPU: 1 }, { CPU: 1, GPU: 1 }]`. */
  readonly bundles: readonly Resources[];
  /** How they lie on the nodes (default "PACK"). */
  readonly strategy?: GroupStrategy;
}

/** What a trial takes. Its tasks and actors have to fit the cluster's rest, or the other bundles of its group. */
export type ResourcesOption = AmountsOption | BundlesOption;

/** Amounts by resource name: CPU, GPU, memory, custom ones. Nothing that is zero. */
export type Resources = Readonly<Record<string, number>>;

/** A trial's placement group. */
export interface Group {
  readonly bundles: readonly Resources[];
  readonly strategy: GroupStrategy;
}

/** What a trial takes in all, and how it lies on the nodes where it is a group. */
export interface Demand {
  readonly resources: Resources;
  readonly group?: Group;
}

/** @throws InvalidOptionError naming what is wrong */
export function resolveResources(option: ResourcesOption): Demand {
  if (typeof option !== "object" || option === null || Array.isArray(option))
    throw new InvalidOptionError(
      "a trial's resources are { numCpus, numGpus, memory, resources } or { bundles, strategy }",
    );
  return option.bundles === undefined ? { resources: amountsOf(option) } : groupOf(option);
}

const STRATEGIES: readonly string[] = ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"];

function groupOf({ bundles, strategy = "PACK", ...rest }: BundlesOption): Demand {
  for (const name of Object.keys(rest))
    throw new InvalidOptionError(
      `a trial's resources with bundles take nothing beside them but strategy, got ${JSON.stringify(name)}`,
    );
  if (!STRATEGIES.includes(strategy))
    throw new InvalidOptionError(`strategy must be one of ${STRATEGIES.join(", ")}, got ${String(strategy)}`);
  const setAside = Array.isArray(bundles) && bundles.some((each) => Object.keys(each ?? {}).length > 0);
  if (!setAside) throw new InvalidOptionError("bundles must be an array such as [{ CPU: 1 }, { CPU: 1 }]");
  const resources: Record<string, number> = {};
  for (const [i, bundle] of (bundles as readonly Resources[]).entries()) {
    if (typeof bundle !== "object" || bundle === null || (i > 0 && Object.keys(bundle).length === 0))
      throw new InvalidOptionError(
        `bundles[${i}] must be an object such as { CPU: 1 }${i > 0 ? "; only the first may be empty" : ""}`,
      );
    for (const [name, amount] of Object.entries(bundle))
      if (typeof amount !== "number" || !Number.isFinite(amount) || amount <= 0)
        throw new InvalidOptionError(`bundles[${i}].${name} must be a number > 0, got ${String(amount)}`);
    addAmounts(resources, bundle, 1);
  }
  return { resources, group: { bundles: bundles.map((bundle) => ({ ...bundle })), strategy } };
}

function amountsOf(option: AmountsOption): Resources {
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

export function showDemand({ resources, group }: Demand): string {
  if (group === undefined) return showResources(resources);
  return `bundles of ${group.bundles.map(showResources).join(" + ")} (${group.strategy})`;
}

export function showResources(amounts: Resources): string {
  const parts = Object.entries(amounts).map(([name, amount]) => `${amount} ${name}`);
  return parts.length === 0 ? "nothing" : parts.join(", ");
}

/** Whether nodes with these totals could hold a trial's demand if nothing else ran there. */
export function canHold(nodes: readonly Resources[], { resources, group }: Demand): boolean {
  if (group === undefined || group.strategy === "STRICT_PACK")
    return nodes.some((node) => fits(resources, node));
  // The largest first onto the first node with room: exact for bundles alike, which they mostly are.
  const free = nodes.map((node) => ({ ...node }) as Record<string, number>);
  const size = (bundle: Resources) => Object.values(bundle).reduce((a, b) => a + b, 0);
  return [...group.bundles]
    .sort((a, b) => size(b) - size(a))
    .every((bundle) => {
      const at = free.findIndex((node) => fits(bundle, node));
      if (at < 0) return false;
      if (group.strategy === "STRICT_SPREAD") free.splice(at, 1);
      else addAmounts(free[at] as Record<string, number>, bundle, -1);
      return true;
    });
}

/** Whether `wanted` is within `total`. */
export function fits(wanted: Resources, total: Resources): boolean {
  return Object.entries(wanted).every(([name, amount]) => amount <= (total[name] ?? 0) + 1e-9);
}

export function addAmounts(sum: Record<string, number>, amounts: Resources, sign: 1 | -1): void {
  for (const [name, amount] of Object.entries(amounts)) sum[name] = (sum[name] ?? 0) + sign * amount;
}

/** Equal for demands that one slot can serve. */
export function keyOf({ resources, group }: Demand): string {
  const amounts = Object.keys(resources)
    .sort()
    .map((name) => `${name}=${resources[name]}`)
    .join(",");
  return group === undefined ? amounts : `${amounts} ${JSON.stringify(group)}`;
}
