/** What a raylet is opened with; its daemon decides. */
import type { Resources } from "../core/base/resources.ts";
import type { JobConfigRecord } from "../core/rpc/messages.ts";
import type { HeadEpoch } from "./head-epoch.ts";

export interface RayletOptions {
  readonly nodeId: string;
  readonly token: string;
  readonly sessionDir: string;
  /** Host for other nodes; undefined = this node is all there is (embedded). */
  readonly host: string | undefined;
  readonly isHead: boolean;
  /** The head is in this process. */
  readonly isHeadWithin: boolean;
  /** The latest head that this process has heard of, also as an earlier node. */
  readonly epoch: HeadEpoch;
  readonly total: Resources;
  readonly gpuIds: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly storePath: string;
  readonly storeBytes: number;
  readonly spillDir: string;
  /** For copies of users' files and packages. */
  readonly environmentsDir: string;
  /** Of the store, kept ready ahead of use. */
  readonly warmBytes: number;
  /** Job of the driver that this daemon is embedded in: its workers start at once, and the daemon goes with it. */
  readonly embeddedJob: JobConfigRecord | undefined;
  readonly log: (line: string) => void;
  /** The node must end: fenced, told to, or its embedding driver is gone. Fenced, the machine may come back as a new node. */
  readonly onOver: (reason: string, isFenced: boolean) => void;
}
