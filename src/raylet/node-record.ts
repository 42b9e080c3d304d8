/** The record by which drivers and commands of this machine find the node. */
import { join } from "node:path";
import { type NodeRecord, processStart, writeNodeRecord } from "../core/launch/session.ts";

type Options = Pick<NodeRecord, "nodeId" | "isHead" | "storePath" | "spillDir"> & {
  readonly sessionDir: string;
};

export function writeRecordOf(
  { nodeId, isHead, storePath, spillDir, sessionDir }: Options,
  headAddress: string,
  { embedded, standing, tokenGiven }: Pick<NodeRecord, "embedded" | "standing" | "tokenGiven">,
): void {
  writeNodeRecord(sessionDir, {
    nodeId,
    pid: process.pid,
    pidStart: processStart(process.pid),
    headAddress,
    isHead,
    embedded,
    standing,
    unixPath: join(sessionDir, "raylet.sock"),
    storePath,
    spillDir,
    tokenGiven,
  });
}
