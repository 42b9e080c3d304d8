/** `tsray stop`: ends this user's standing nodes on this machine, and leaves nothing of them. */
import { TsrayError } from "../core/base/errors.ts";
import { endDaemon } from "../core/launch/end-daemon.ts";
import { removeSession, runningNodes, sweepDeadSessions } from "../core/launch/session.ts";

const GRACE_MS = 10_000;

export async function stop(force: boolean): Promise<void> {
  const nodes = runningNodes().filter((node) => node.standing);
  const stuck: number[] = [];
  await Promise.all(
    nodes.map(async (node) => {
      const { nodeId, pid, isHead, headAddress, sessionDir } = node;
      const end = await endDaemon(node, force ? 0 : GRACE_MS);
      if (!end.gone) {
        stuck.push(pid);
        return;
      }
      removeSession(sessionDir);
      const what = isHead ? `head ${headAddress}, node ${nodeId}` : `node ${nodeId} of ${headAddress}`;
      console.log(`${end.killed ? "killed" : "stopped"} ${what} (pid ${pid})`);
    }),
  );
  sweepDeadSessions();
  if (nodes.length === 0) console.log("no node of this user runs on this machine");
  if (stuck.length > 0) {
    throw new TsrayError(
      "ClusterUnreachableError",
      `the kernel has not let go of pid ${stuck.join(", ")} yet`,
    );
  }
}
