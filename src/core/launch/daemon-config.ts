/** What a daemon is told on its standard input: one line of JSON, so that no secret stands in argv or environment. */
import type { JobConfigRecord } from "../rpc/messages.ts";
import type { HealthCheck } from "./health-rules.ts";

export interface DaemonConfig {
  readonly nodeId: string;
  readonly sessionDir: string;
  readonly token: string;
  /** Whether the user gave the token: then nobody may find it by himself. */
  readonly tokenGiven: boolean;
  /** The head that goes with this node; else `headAddress` says where it is. */
  readonly head: HeadConfig | undefined;
  /** The node beside the head, whoever started that. */
  readonly isHead: boolean;
  readonly headAddress: string | undefined;
  /** Host to listen on for other processes than this node's; undefined = Unix sockets only (embedded). */
  readonly host: string | undefined;
  readonly numCpus: number | undefined;
  readonly numGpus: number | undefined;
  readonly resources: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly objectStoreMemory: number | undefined;
  /** Where the user wants spilled objects; undefined = as the daemon finds best. */
  readonly spillDir: string | undefined;
  /** The cluster of one driver, which holds the daemon's standard input: the daemon goes with it. */
  readonly embedded: boolean;
  /** The daemon goes with whoever holds its standard input, as an embedded one does. */
  readonly lifeline: boolean;
  /** `init({ address: "auto" })` and commands find it by themselves, and `tsray stop` ends it. */
  readonly standing: boolean;
  readonly embeddedJob: JobConfigRecord | undefined;
}

export interface HeadConfig {
  /** Port on `host`; undefined = a Unix socket. 0 = any. */
  readonly port: number | undefined;
  /** Where the head's tables are kept: "memory", or "lmdb:/directory". */
  readonly state: string;
  readonly healthCheck: HealthCheck;
}

/** How a head looks after its nodes where nobody says otherwise. */
export const HEALTH_CHECK_DEFAULT: HealthCheck = {
  periodMs: 1000,
  timeoutMs: 3000,
  failureThreshold: 5,
  outageGraceMs: 60_000,
};

/** What runs on a node that is drained has so long to finish, where nobody says otherwise. */
export const DRAIN_GRACE_MS_DEFAULT = 30_000;

/** What the program of a head is told, in the same way. It goes with whoever holds its standard input. */
export interface HeadProcessConfig {
  /** "host:port" (0 = any port). */
  readonly bind: string;
  readonly token: string;
  readonly sessionDir: string;
  readonly state: string;
  readonly healthCheck: HealthCheck;
  /** Where it keeps packages of users' files. */
  readonly packagesDir: string;
}

/** Its answer. */
export type HeadNews =
  | { readonly kind: "serving"; readonly address: string; readonly pid: number }
  | { readonly kind: "failed"; readonly error: { readonly name: string; readonly message: string } };

/** The daemon's answer: lines of JSON on its standard output. */
export type DaemonNews =
  | { readonly kind: "listening"; readonly unixPath: string }
  | {
      readonly kind: "joined";
      readonly headAddress: string;
      readonly rayletAddress: string;
      readonly pid: number;
    }
  | { readonly kind: "failed"; readonly error: { readonly name: string; readonly message: string } };
