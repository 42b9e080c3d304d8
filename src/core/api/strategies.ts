/** What `schedulingStrategy` takes beside "DEFAULT" and "SPREAD". */
import { InvalidOptionError } from "../base/errors.ts";
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
