/**
 * What the resources of a placement group are called at a node, as in Ray: `CPU_group_<group>` is what the group has there,
 * `CPU_group_<bundle>_<group>` what one of its bundles has. Whoever runs in a bundle takes from both, and a little of
 * `bundle_group_...`, so that tasks which ask for nothing go there too. Pure.
 */
import type { Resources } from "./resources.ts";
import { UNITS } from "./resources.ts";

/** Where in a group something runs. */
export interface BundlePlace {
  /** "" = in no group. */
  readonly groupId: string;
  /** -1 = in any of its bundles. */
  readonly bundle: number;
}

/** Amount of `bundle_group_...` in each bundle, and what each user of the bundle takes of it. */
const PRESENCE_TOTAL = 1000 * UNITS;
const PRESENCE = UNITS / 1000;

const GROUP_NAME = /_group_(?:\d+_)?[0-9a-f]{16}$/;
const CPU_OF_GROUP = "CPU_group_";

export const groupName = (name: string, groupId: string): string => `${name}_group_${groupId}`;
export const bundleName = (name: string, groupId: string, index: number): string =>
  `${name}_group_${index}_${groupId}`;
export const presenceName = (groupId: string, index: number): string => bundleName("bundle", groupId, index);

/** Whether the name is one that a placement group has at a node. */
export const isGroupResource = (name: string): boolean => GROUP_NAME.test(name);

/** Whether it is CPU, of the node or of a group's: what a waiting task gives back. */
export const isCpu = (name: string): boolean => name === "CPU" || name.startsWith(CPU_OF_GROUP);

/** What a committed bundle adds to its node. */
export function offeredBy(resources: Resources, groupId: string, index: number): Record<string, number> {
  const offered: Record<string, number> = {};
  for (const [name, amount] of Object.entries({ ...resources, bundle: PRESENCE_TOTAL })) {
    offered[groupName(name, groupId)] = amount;
    offered[bundleName(name, groupId, index)] = amount;
  }
  return offered;
}

/** What something that asks for `resources` takes at its node: the same, or in a group the group's. */
export function takenAt(resources: Resources, { groupId, bundle }: BundlePlace): Resources {
  if (groupId === "") return resources;
  const taken: Record<string, number> = {};
  for (const [name, amount] of Object.entries({ ...resources, bundle: PRESENCE })) {
    taken[groupName(name, groupId)] = amount;
    if (bundle >= 0) taken[bundleName(name, groupId, bundle)] = amount;
  }
  return taken;
}

/** The CPUs among the amounts. */
export function onlyCpu(resources: Resources): Resources {
  const cpu: Record<string, number> = {};
  for (const name in resources) if (isCpu(name)) cpu[name] = resources[name] ?? 0;
  return cpu;
}

/** All but the CPUs. */
export function exceptCpu(resources: Resources): Resources {
  const rest: Record<string, number> = {};
  for (const name in resources) if (!isCpu(name)) rest[name] = resources[name] ?? 0;
  return rest;
}
