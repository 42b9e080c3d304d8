/**
 * What `placementGroup()`, `placement()` and `getPlacementGroup()` take: bundles and options, checked. See options.ts.
 */
import { isGroupResource } from "./bundles.ts";
import { InvalidOptionError } from "./errors.ts";
import type { LabelTerm } from "./labels.ts";
import {
  checkOptions,
  type GroupStrategy,
  isAmount,
  isPlainObject,
  type LabelSelector,
  labelSelector,
  type OptionTable,
  selectorTerms,
  show,
  text,
  type WaitLimits,
} from "./options.ts";

/** Resources of one bundle, by name: `{ CPU: 1, GPU: 1 }`. */
export type BundleResources = Readonly<Record<string, number>>;

/** Options of `placementGroup`. */
export interface PlacementGroupOptions {
  /**
   * "PACK" (default): on as few nodes as can be; "SPREAD": on as many; "STRICT_PACK": all on one node;
   * "STRICT_SPREAD": each on a node of its own. The strict ones wait where that is not possible.
   */
  readonly strategy?: GroupStrategy | undefined;
  /** What `getPlacementGroup` finds it by, in the namespace of the job. Default: none. */
  readonly name?: string | undefined;
  /** "detached": stays until `remove()`. Default: it goes with the job, or with the detached actor that made it. */
  readonly lifetime?: "detached" | undefined;
  /** What the labels of each bundle's node must be: a selector per bundle. Default: anything. */
  readonly bundleLabelSelectors?: readonly LabelSelector[] | undefined;
}

/** Options of `placement`. */
export interface PlacementOptionsInGroup {
  /** Which bundle, from 0; -1 (default) = any with room. */
  readonly bundle?: number | undefined;
  /** Whether tasks and actors that it starts, and that name no strategy, go into the group too. Default false. */
  readonly captureChildren?: boolean | undefined;
}

/** Options of `getPlacementGroup`. */
export interface GetPlacementGroupOptions extends WaitLimits {
  /** Where the name counts. Default: the namespace of the job. */
  readonly namespace?: string | undefined;
}

/** A placement group as `placementGroups()` lists it. */
export interface PlacementGroupView {
  readonly id: string;
  /** "" = none was given. */
  readonly name: string;
  readonly namespace: string;
  readonly strategy: GroupStrategy;
  readonly state: "PENDING" | "PREPARED" | "CREATED" | "RESCHEDULING" | "REMOVED";
  /** Why it waits, or was removed; "" otherwise. */
  readonly reason: string;
  readonly detached: boolean;
  readonly jobId: string;
  /** Resources and node of each bundle; "" = on no node. */
  readonly bundles: readonly { readonly resources: BundleResources; readonly nodeId: string }[];
}

export interface ResolvedPlacementGroup {
  readonly strategy: GroupStrategy;
  /** "" = none. */
  readonly name: string;
  readonly detached: boolean;
  readonly bundles: readonly BundleResources[];
  /** Terms of each bundle. */
  readonly labels: readonly (readonly LabelTerm[])[];
}

const STRATEGIES: readonly GroupStrategy[] = ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"];
export const BUNDLES_MAX = 1000;

const GROUP: OptionTable<PlacementGroupOptions> = {
  strategy: {
    takes: STRATEGIES.map((name) => `"${name}"`).join(", "),
    ok: (v) => (STRATEGIES as readonly unknown[]).includes(v),
  },
  name: text,
  lifetime: { takes: '"detached"', ok: (v) => v === "detached" },
  bundleLabelSelectors: {
    takes: "an array of label selectors, one per bundle",
    ok: (v) => Array.isArray(v) && v.every(isPlainObject),
    problem(value) {
      const rule = labelSelector as { problem(selector: unknown): string | undefined };
      for (const [i, selector] of (value as unknown[]).entries()) {
        const problem = rule.problem(selector);
        if (problem !== undefined) return `bundleLabelSelectors[${i}]: ${problem}`;
      }
      return undefined;
    },
  },
};

const IN_GROUP: OptionTable<PlacementOptionsInGroup> = {
  bundle: {
    takes: "a whole number >= 0, or -1 (any)",
    ok: (v) => Number.isInteger(v) && (v as number) >= -1,
  },
  captureChildren: { takes: "true or false", ok: (v) => typeof v === "boolean" },
};

/** @throws InvalidOptionError */
export function resolvePlacementGroup(
  bundles: readonly BundleResources[],
  given: PlacementGroupOptions | undefined,
): ResolvedPlacementGroup {
  if (!Array.isArray(bundles) || bundles.length === 0 || bundles.length > BUNDLES_MAX)
    throw new InvalidOptionError(
      `placementGroup takes an array of 1 to ${BUNDLES_MAX} bundles, as in [{ CPU: 1 }], got ${show(bundles)}`,
    );
  bundles.forEach(checkBundle);
  const all = checkOptions<PlacementGroupOptions>("placementGroup", GROUP, given);
  const selectors = all.bundleLabelSelectors ?? [];
  if (selectors.length > 0 && selectors.length !== bundles.length)
    throw new InvalidOptionError(
      `bundleLabelSelectors must have one selector per bundle: there are ${bundles.length} bundles, got ${selectors.length}`,
    );
  return {
    strategy: all.strategy ?? "PACK",
    name: all.name ?? "",
    detached: all.lifetime === "detached",
    bundles: bundles.map((bundle) => Object.freeze({ ...bundle })),
    labels: bundles.map((_, i) => selectorTerms(selectors[i] ?? {})),
  };
}

function checkBundle(bundle: unknown, i: number): void {
  const of = `bundles[${i}]`;
  if (!isPlainObject(bundle))
    throw new InvalidOptionError(
      `${of} must be an object of resource names and amounts, as in { CPU: 1 }, got ${show(bundle)}`,
    );
  for (const [name, given] of Object.entries(bundle)) {
    if (name === "" || name === "__proto__" || name === "bundle" || isGroupResource(name))
      throw new InvalidOptionError(`${of} must not have a resource of the name ${show(name)}`);
    if (name === "object_store_memory")
      throw new InvalidOptionError(`${of} must not name object_store_memory: it cannot be set aside`);
    if (!isAmount(given))
      throw new InvalidOptionError(
        `${of}.${name} must be a number >= 0 with at most 4 decimals, got ${show(given)}`,
      );
    if (name === "GPU" && given > 1 && !Number.isInteger(given))
      throw new InvalidOptionError(
        `${of}.GPU must be a number from 0 to 1 with at most 4 decimals, or a whole number, got ${show(given)}`,
      );
  }
  if (!Object.values(bundle).some((given) => Number(given) > 0))
    throw new InvalidOptionError(`${of} must set something aside, got ${show(bundle)}`);
}

/** @throws InvalidOptionError */
export function resolvePlacementInGroup(given: PlacementOptionsInGroup | undefined): {
  readonly bundle: number;
  readonly captureChildren: boolean;
} {
  const all = checkOptions<PlacementOptionsInGroup>("placement", IN_GROUP, given);
  return { bundle: all.bundle ?? -1, captureChildren: all.captureChildren ?? false };
}
