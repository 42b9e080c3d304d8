/** The files of a job that this node cannot see: asked for until the driver answers, or is gone. */
import { RuntimeEnvError } from "../../core/base/errors.ts";
import type { RayletHeadLink } from "../head-link.ts";

/** @returns text of a spec. @throws RuntimeEnvError when the driver cannot give them, or its job is over */
export async function jobFilesOf(
  jobId: string,
  nodeId: string,
  head: Pick<RayletHeadLink, "watchJobFiles">,
  isOver: () => boolean,
): Promise<string> {
  const where = `node ${nodeId} cannot see the driver's files`;
  while (!isOver()) {
    const { known, environment, error } = await head.watchJobFiles(jobId);
    if (error !== "") throw new RuntimeEnvError(`${where}, and the driver cannot send them: ${error}`);
    if (known) return environment;
  }
  throw new RuntimeEnvError(`${where}, and the job is over`);
}
