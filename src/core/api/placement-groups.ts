/**
 * Placement groups as users have them: `placementGroup`, `getPlacementGroup`, `placement`. Checks what is given and hands
 * it to the runtime; decides nothing.
 */
import { InvalidOptionError } from "../base/errors.ts";
import {
  type GroupStrategy,
  type PlacementGroupFacts,
  type PlacementGroupStrategy,
  resolveGetActorOptions,
  resolveGetOptions,
  type WaitLimits,
} from "../base/options.ts";
import {
  type BundleResources,
  type GetPlacementGroupOptions,
  type PlacementGroupOptions,
  type PlacementGroupView,
  type PlacementOptionsInGroup,
  resolvePlacementGroup,
  resolvePlacementInGroup,
} from "../base/placement-group-options.ts";
import { currentRuntime } from "./runtime-port.ts";

/**
 * Resources set aside on one or several nodes, all of them or none, for tasks and actors that are placed in it:
 * `fn.options({ schedulingStrategy: placement(group, { bundle: 0 }) })`. Can be passed to tasks and actors.
 */
export class PlacementGroup {
  readonly id: string;
  /** "" = none was given. */
  readonly name: string;
  readonly strategy: GroupStrategy;
  /** Resources of each bundle, by name. */
  readonly bundles: readonly BundleResources[];

  /** @internal Made by `placementGroup()` and `getPlacementGroup()`. */
  constructor({ id, name, strategy, bundles }: PlacementGroupFacts) {
    this.id = id;
    this.name = name;
    this.strategy = strategy;
    this.bundles = bundles;
  }

  /**
   * Resolves when all bundles are set aside. A group that fits nowhere waits until nodes join that it fits.
   * @throws PlacementGroupError when the group was removed, GetTimeoutError after `timeout` milliseconds, the reason of
   *   `signal` when that aborts (rejections)
   */
  ready(options?: WaitLimits): Promise<void> {
    return currentRuntime().groups.ready(this, resolveGetOptions(options, "ready"));
  }

  /**
   * Gives the resources back. Tasks that run in the group, or wait for it, fail with PlacementGroupError, actors die.
   * Resolves when their processes have ended. Again, or of a group that is gone: nothing happens.
   */
  remove(): Promise<void> {
    return currentRuntime().groups.remove(this.id);
  }
}

/**
 * Sets resources aside, on several nodes at once: all bundles or none. Resolves when the cluster knows the group; it is
 * placed in the background, `await group.ready()` waits for that.
 *
 * @param bundles resources of each bundle: `[{ CPU: 1 }, { CPU: 1, GPU: 1 }]`
 * @throws InvalidOptionError, PlacementGroupError when the name is taken (rejections)
 */
export async function placementGroup(
  bundles: readonly BundleResources[],
  options?: PlacementGroupOptions,
): Promise<PlacementGroup> {
  const resolved = resolvePlacementGroup(bundles, options);
  return new PlacementGroup(await currentRuntime().groups.create(resolved));
}

/**
 * The placement group of that name.
 * @throws InvalidOptionError, PlacementGroupError when there is none within `timeout` (default 0) milliseconds (rejections)
 */
export async function getPlacementGroup(
  name: string,
  options?: GetPlacementGroupOptions,
): Promise<PlacementGroup> {
  if (typeof name !== "string" || name === "")
    throw new InvalidOptionError(
      `getPlacementGroup() takes the name of a placement group, got ${String(name)}`,
    );
  const limits = resolveGetActorOptions(options, "getPlacementGroup");
  return new PlacementGroup(await currentRuntime().groups.find(name, limits));
}

/** All placement groups of the cluster; of removed ones the last 10,000. */
export function placementGroups(): Promise<PlacementGroupView[]> {
  return currentRuntime().groups.list();
}

/** The group that the running task or actor was placed in; undefined where it was placed in none. */
export function getCurrentPlacementGroup(): PlacementGroup | undefined {
  const facts = currentRuntime().groups.current();
  return facts === undefined ? undefined : new PlacementGroup(facts);
}

/**
 * Runs a task or actor in a placement group: `schedulingStrategy: placement(group, { bundle: 1 })`. It waits until the group
 * is placed.
 *
 * @throws InvalidOptionError for what is no placement group, a bundle that it does not have, or an unknown option
 */
export function placement(group: PlacementGroup, options?: PlacementOptionsInGroup): PlacementGroupStrategy {
  if (!(group instanceof PlacementGroup))
    throw new InvalidOptionError(`placement() takes a placement group, got ${String(group)}`);
  const { bundle, captureChildren } = resolvePlacementInGroup(options);
  if (bundle >= group.bundles.length)
    throw new InvalidOptionError(
      `placement: bundle must be from 0 to ${group.bundles.length - 1}, or -1 for any, in placement group ${group.id}, got ${bundle}`,
    );
  return Object.freeze({ kind: "PLACEMENT_GROUP", group: factsOf(group), bundle, captureChildren });
}

/** What travels of a group. */
export function factsOf({ id, name, strategy, bundles }: PlacementGroupFacts): PlacementGroupFacts {
  return Object.freeze({ id, name, strategy, bundles });
}
