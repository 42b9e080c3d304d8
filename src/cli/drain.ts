/** `tsray drain`: a node leaves the cluster in order; the command waits until it has. */
import { ClusterUnreachableError } from "../core/base/errors.ts";
import { DRAIN_GRACE_MS_DEFAULT } from "../core/launch/daemon-config.ts";
import { retrying } from "../core/rpc/retry.ts";
import { readWhole } from "./flags.ts";
import { askHead, type HeadFlags } from "./head.ts";
import { UsageError } from "./usage-error.ts";

export interface DrainFlags extends HeadFlags {
  readonly grace?: string;
  readonly reason?: string;
}

const POLL_MS = 100;
/** How long a head that does not answer is waited for. */
const OUTAGE_MS_MAX = 60_000;

/** @param node its id, or the beginning of it that no other live node shares */
export async function drain(node: string, flags: DrainFlags): Promise<void> {
  const graceMs =
    flags.grace === undefined ? DRAIN_GRACE_MS_DEFAULT : readWhole("--grace", flags.grace) * 1000;
  await askHead(flags, async (head, ask) => {
    const { nodes } = await ask(head.listNodes, {});
    const found = nodes.filter(({ nodeId, alive }) => alive && nodeId.startsWith(node));
    const [only] = found;
    if (only === undefined || node === "")
      throw new UsageError(`no live node has the id ${JSON.stringify(node)}: see \`tsray list nodes\``);
    if (found.length > 1)
      throw new UsageError(`${found.length} live nodes have an id that begins with ${node}: give more of it`);
    if (only.isHead)
      throw new UsageError(
        `node ${only.nodeId} is the head's: \`tsray stop\` ends it, and the cluster with it`,
      );
    const { nodeId } = only;
    await ask(head.drainNode, { nodeId, graceMs, reason: flags.reason ?? "tsray drain" });
    for (;;) {
      // A head that is started again meanwhile knows of the order.
      const { nodes: now } = await retrying(OUTAGE_MS_MAX, () => ask(head.listNodes, {}));
      const view = now.find((each) => each.nodeId === nodeId);
      if (view === undefined || view.state === "DRAINED") break;
      if (!view.alive) throw new ClusterUnreachableError(view.deathReason);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    console.log(`drained node ${nodeId}`);
  });
}
