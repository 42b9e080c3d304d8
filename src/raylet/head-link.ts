/** What the raylet needs of the head. The composition root (src/daemon) provides it once gRPC is loaded. */
import type { JobConfigRecord } from "../core/rpc/messages.ts";
import type { NodeInfo } from "../core/wire/gen/tsray/v1/common.ts";
import type { ClusterUpdate, LogBatch, PendingDemand } from "../core/wire/gen/tsray/v1/head.ts";
import type { ActorNews } from "./actors.ts";

export interface RayletHeadLink {
  readonly headAddress: string;
  readonly registered: Promise<void>;
  changed(): void;
  sendLogs(batch: LogBatch): void;
  processEnded(processId: string): void;
  reportActor(news: ActorNews): void;
  /** A piece of a package. @throws RuntimeEnvError, ClusterUnreachableError (rejections) */
  getPackage(hash: string, offset: number): Promise<{ data: Buffer; totalBytes: number }>;
  /** Waits a while for where the job's files can be had; `known` is false where that is not known yet. */
  watchJobFiles(jobId: string): Promise<{ known: boolean; environment: string; error: string }>;
  startJob(job: JobConfigRecord): void;
  endJob(jobId: string): void;
  close(): void;
}

export interface RayletForHead {
  describe(): NodeInfo;
  pending(): PendingDemand[];
  onUpdate(update: ClusterUpdate): void;
  /** The head could not be reached for so long that it takes this node for dead. */
  onHeadLost(reason: string): void;
  onJobLines(jobId: string, lines: readonly (readonly [string, number, boolean, string, string])[]): void;
  onJobWarning(jobId: string, warning: string): void;
  /** A node of the cluster cannot see the files of a driver of this one. */
  onJobFilesWanted(jobId: string): void;
}

export type StartedHeadLink = (raylet: RayletForHead) => RayletHeadLink;
