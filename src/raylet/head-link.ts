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
}

export type StartedHeadLink = (raylet: RayletForHead) => RayletHeadLink;
