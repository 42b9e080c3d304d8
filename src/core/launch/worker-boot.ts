/** What a raylet tells a worker at its start. */
import type { JobConfigRecord } from "../rpc/messages.ts";

/** What the worker reads from descriptor 3 before anything else. */
export interface WorkerBoot {
  readonly workerId: string;
  readonly nodeId: string;
  readonly token: string;
  readonly rayletUnixPath: string;
  readonly rayletPid: number;
  readonly socketDir: string;
  /** Host on which other nodes reach the worker; null in an embedded cluster. */
  readonly host: string | null;
  readonly job: JobConfigRecord;
  /** Text of its environment: what its own calls inherit. */
  readonly environment: string;
  /** Copies of the driver's files that it runs, as URLs of directories. */
  readonly trees: readonly { readonly root: string; readonly here: string }[];
  /** Directory of the bundle that stands for the driver's entry; "" = none. */
  readonly bundleDir: string;
  /** The raylet's sign of life, and how long it may stand still; null where the head stands still with it. */
  readonly pulse: { readonly path: string; readonly msMax: number } | null;
}

/** In a worker's output, this, a name and {@link MARK_END} say which task or actor prints from there on. */
export const MARK = "\u001b]tsray;";
export const MARK_END = "\u0007";
