/** What a daemon is told on its standard input: one line of JSON, so that no secret stands in argv or environment. */
import type { JobConfigRecord } from "../rpc/messages.ts";

export interface DaemonConfig {
  readonly nodeId: string;
  readonly sessionDir: string;
  readonly token: string;
  /** Whether the user gave the token: then nobody may find it by himself. */
  readonly tokenGiven: boolean;
  /** A head runs in this daemon; else `headAddress` says where it is. */
  readonly head: HeadConfig | undefined;
  readonly headAddress: string | undefined;
  /** Host to listen on for other processes than this node's; undefined = Unix sockets only (embedded). */
  readonly host: string | undefined;
  readonly numCpus: number | undefined;
  readonly numGpus: number | undefined;
  readonly resources: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly objectStoreMemory: number | undefined;
  /** The daemon goes with whoever holds its standard input. */
  readonly embedded: boolean;
  readonly embeddedJob: JobConfigRecord | undefined;
}

export interface HeadConfig {
  /** Port on `host`; undefined = a Unix socket. 0 = any. */
  readonly port: number | undefined;
  /** Where the head's tables are kept: "memory", or "lmdb:/directory". */
  readonly state: string;
  readonly healthCheck: { readonly periodMs: number; readonly timeoutMs: number; readonly failureThreshold: number };
}

/** The daemon's answer: lines of JSON on its standard output. */
export type DaemonNews =
  | { readonly kind: "listening"; readonly unixPath: string }
  | { readonly kind: "joined"; readonly headAddress: string; readonly rayletAddress: string; readonly pid: number }
  | { readonly kind: "failed"; readonly error: { readonly name: string; readonly message: string } };
