/** What the raylet needs of the head. The composition root (src/daemon) provides it once gRPC is loaded. */

import type { HealthTimes } from "../core/launch/health-rules.ts";
import type { JobConfigRecord } from "../core/rpc/messages.ts";
import type { HeldBundle, NodeInfo } from "../core/wire/gen/tsray/v1/common.ts";
import type { ClusterUpdate, HostedActor, LogBatch, PendingDemand } from "../core/wire/gen/tsray/v1/head.ts";
import type { ActorNews } from "./actors.ts";

export interface RayletHeadLink {
  readonly headAddress: string;
  readonly registered: Promise<void>;
  /** Whether the head has answered this node's last reports. */
  hears(): boolean;
  changed(): void;
  sendLogs(batch: LogBatch): void;
  processEnded(processId: string): void;
  reportActor(news: ActorNews): void;
  /** Resolves when the head has taken every actor's report so far; where it is away, it is waited for. */
  caughtUp(): Promise<void>;
  /** A piece of a package. @throws RuntimeEnvError, ClusterUnreachableError (rejections) */
  getPackage(hash: string, offset: number): Promise<{ data: Buffer; totalBytes: number }>;
  /** Waits a while for where the job's files can be had; `known` is false where that is not known yet. */
  watchJobFiles(jobId: string): Promise<{ known: boolean; environment: string; error: string }>;
  startJob(job: JobConfigRecord): void;
  endJob(jobId: string): void;
  /** @param leaving why the node leaves; the head need not find out. undefined: it is told nothing */
  close(leaving?: string): Promise<void>;
}

export interface RayletForHead {
  describe(): NodeInfo;
  /** What the node holds for placement groups. */
  bundles(): HeldBundle[];
  pending(): PendingDemand[];
  /** Actors that run here, and jobs whose drivers are here. */
  hosted(): { readonly actors: HostedActor[]; readonly jobIds: string[] };
  /** Whether the node takes no new work, and will leave. */
  isDraining(): boolean;
  /** gRPC targets of the other nodes' raylets. */
  others(): string[];
  /** Called before anything that the head has sent is acted on. @returns false when it must not be */
  mayAct(): boolean;
  /** The head has answered for the first time. */
  onTimes(times: HealthTimes): void;
  onUpdate(update: ClusterUpdate): void;
  /** This node must end what runs on it: the head gives it away. */
  onHeadLost(reason: string): void;
  onJobLines(jobId: string, lines: readonly (readonly [string, number, boolean, string, string])[]): void;
  onJobWarning(jobId: string, warning: string): void;
  /** A node of the cluster cannot see the files of a driver of this one. */
  onJobFilesWanted(jobId: string): void;
}

export type StartedHeadLink = (raylet: RayletForHead) => RayletHeadLink;
