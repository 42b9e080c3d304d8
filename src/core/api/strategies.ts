/** What `schedulingStrategy` takes beside "DEFAULT" and "SPREAD". */
import { InvalidOptionError, PlacementGroupError } from "../base/errors.ts";
import {
  type NodeAffinityOptions,
  type NodeAffinityStrategy,
  resolveNodeAffinityOptions,
} from "../base/options.ts";

/**
 * Runs a task or actor on one node: `schedulingStrategy: nodeAffinity(nodeId)`.
 *
 * @param nodeId id of the node, as `nodes()` and `getRuntimeContext().nodeId` give it
 * @param options `soft: true`: another node will do when that one is dead or can never fit the demand. Default false:
 *   the task then fails with UnschedulableError.
 * @throws InvalidOptionError when the id is not a non-empty string, or for an unknown option
 */
export function nodeAffinity(nodeId: string, options?: NodeAffinityOptions): NodeAffinityStrategy {
  if (typeof nodeId !== "string" || nodeId === "") {
    throw new InvalidOptionError(
      `nodeAffinity takes the id of a node, a non-empty string, got ${String(nodeId) || '""'}`,
    );
  }
  return Object.freeze({ kind: "NODE_AFFINITY", nodeId, ...resolveNodeAffinityOptions(options) });
}

/**
 * Runs a task or actor in a bundle of a placement group. Not supported in this version.
 * @throws PlacementGroupError always
 */
export function placement(
  _group: object,
  _options?: { readonly bundle?: number | undefined; readonly captureChildren?: boolean | undefined },
): never {
  throw new PlacementGroupError("placement(): placement groups are not supported in this version");
}

/**
 * Reserves resources on several nodes at once. Not supported in this version.
 * @throws PlacementGroupError (rejection) always
 */
export async function placementGroup(
  _bundles: readonly Readonly<Record<string, number>>[],
  _options?: {
    readonly strategy?: "PACK" | "SPREAD" | "STRICT_PACK" | "STRICT_SPREAD";
    readonly name?: string;
    readonly lifetime?: "detached";
  },
): Promise<never> {
  throw new PlacementGroupError("placementGroup(): placement groups are not supported in this version");
}
