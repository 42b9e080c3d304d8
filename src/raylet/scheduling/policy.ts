/**
 * Which node a task shape should run on. Pure.
 *
 * DEFAULT is Ray's hybrid policy: a node whose most used resource stays at or below 50 % counts as empty, and the first
 * such node (this one first) is taken, so that work packs; above that the least used node wins, so that it spreads.
 */
import type { Labels } from "../../core/base/labels.ts";
import { criticalUtilisation, fits, type Resources } from "../../core/base/resources.ts";

const PACK_UNTIL = 0.5;

export interface NodeView {
  readonly nodeId: string;
  readonly address: string;
  readonly total: Resources;
  readonly available: Resources;
  readonly labels: Labels;
}

/**
 * @param self this node; undefined where it is not to be taken
 * @returns the node for one more task of these resources, or undefined when none has room now
 */
export function pickHybrid(
  wanted: Resources,
  self: NodeView | undefined,
  others: Iterable<NodeView>,
): NodeView | undefined {
  let best: NodeView | undefined;
  let bestScore = Number.POSITIVE_INFINITY;
  const consider = (node: NodeView) => {
    if (!fits(wanted, node.available)) return;
    const utilisation = criticalUtilisation(node.available, node.total, wanted);
    // CPU work leaves machines with GPUs alone while others have room.
    const keepsGpus = (node.total.GPU ?? 0) > 0 && (wanted.GPU ?? 0) === 0 ? 0.001 : 0;
    const score = (utilisation <= PACK_UNTIL ? 0 : utilisation) + keepsGpus;
    if (score < bestScore) {
      best = node;
      bestScore = score;
    }
  };
  if (self !== undefined) consider(self);
  if (bestScore > 0) for (const node of others) consider(node);
  return best;
}

/** Round robin over the nodes with room, starting after `cursor`. */
export function pickSpread(
  wanted: Resources,
  nodes: readonly NodeView[],
  cursor: number,
): { node: NodeView; cursor: number } | undefined {
  for (let i = 0; i < nodes.length; i++) {
    const at = (cursor + i) % nodes.length;
    const node = nodes[at] as NodeView;
    if (fits(wanted, node.available)) return { node, cursor: at + 1 };
  }
  return undefined;
}
