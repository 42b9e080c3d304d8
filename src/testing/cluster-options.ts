/** Options of `Cluster.start`: what they may be, and the form in which the cluster uses them. */
import { InvalidOptionError } from "../core/base/errors.ts";
import {
  checkOptions,
  type NodeOptions,
  type OptionTable,
  type ResolvedNodeOptions,
  resolveNodeOptions,
} from "../core/base/options.ts";
import { checkToken } from "../core/base/token.ts";
import { DRAIN_GRACE_MS_DEFAULT, type HeadConfig } from "../core/launch/daemon-config.ts";

/** How the head finds out that a node is dead. */
export interface HealthCheckOptions {
  /** Milliseconds between a node's reports. Default 200. */
  readonly period?: number | undefined;
  /** Milliseconds that an answer may take. Default 5000. */
  readonly timeout?: number | undefined;
  /**
   * A node that has had no answer for this many periods and a timeout ends what runs on it, unless the head is gone for
   * all. The head takes it for dead after 1.5 times as long (and 3 s). Default 50. A node whose process is killed is
   * dead at once.
   */
  readonly failureThreshold?: number | undefined;
  /** Milliseconds for which nodes wait for a head that is gone. Default 60,000. */
  readonly outageGrace?: number | undefined;
}

/** Options of `Cluster.start`. */
export interface ClusterOptions {
  /** What the head's node offers. Default: no CPU and no GPU, so that tasks run on the nodes that are added. */
  readonly head?: NodeOptions | undefined;
  /** Where the head keeps its tables: "lmdb" (default; outlives `killHead`), "lmdb:/directory" or "memory". */
  readonly state?: string | undefined;
  /** The cluster's token. Default: one of its own, which drivers in this process find by themselves. */
  readonly token?: string | undefined;
  readonly healthCheck?: HealthCheckOptions | undefined;
}

export interface ResolvedClusterOptions {
  readonly head: ResolvedNodeOptions;
  /** "lmdb" = in a directory of the cluster's own. */
  readonly state: string;
  readonly token: string | undefined;
  readonly healthCheck: HeadConfig["healthCheck"];
}

/** Nodes of a test do not share out the machine: each is as small as it can be, unless the test says more. */
const NODE_CPUS_DEFAULT = 1;
const STORE_BYTES_DEFAULT = 128 * 1024 * 1024;
const HEALTH_CHECK_DEFAULT: HeadConfig["healthCheck"] = {
  periodMs: 200,
  timeoutMs: 5000,
  failureThreshold: 50,
  outageGraceMs: 60_000,
};
const HEALTH_MS_MIN = 10;
const HEALTH_MS_MAX = 3_600_000;

const isObject = (value: unknown): boolean => typeof value === "object" && value !== null;
const isWhole = (value: unknown, min: number, max: number): boolean =>
  Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
const milliseconds = {
  takes: `a whole number of milliseconds from ${HEALTH_MS_MIN} to ${HEALTH_MS_MAX}`,
  ok: (value: unknown) => isWhole(value, HEALTH_MS_MIN, HEALTH_MS_MAX),
};

const CLUSTER: OptionTable<ClusterOptions> = {
  head: { takes: "an object of node options", ok: isObject },
  state: {
    takes: '"lmdb", "lmdb:/directory" or "memory"',
    ok: (value) => typeof value === "string",
    problem(value) {
      const state = String(value);
      if (state.startsWith("nats:")) return "state: NATS is not supported in this version";
      if (state === "lmdb" || state === "memory" || /^lmdb:./.test(state)) return undefined;
      return `state must be "lmdb", "lmdb:/directory" or "memory", got ${JSON.stringify(state)}`;
    },
  },
  token: { takes: "a string", ok: (value) => typeof value === "string" },
  healthCheck: { takes: "an object of period, timeout, failureThreshold and outageGrace", ok: isObject },
};
const HEALTH_CHECK: OptionTable<HealthCheckOptions> = {
  period: milliseconds,
  timeout: milliseconds,
  failureThreshold: { takes: "a whole number from 1 to 1000", ok: (value) => isWhole(value, 1, 1000) },
  outageGrace: {
    takes: `a whole number of milliseconds from 0 to ${HEALTH_MS_MAX}`,
    ok: (value) => isWhole(value, 0, HEALTH_MS_MAX),
  },
};

/** @throws InvalidOptionError for what the tables do not allow */
export function resolveClusterOptions(given: ClusterOptions | undefined): ResolvedClusterOptions {
  const { head, state, token, healthCheck } = checkOptions("Cluster.start", CLUSTER, given);
  const health = checkOptions<HealthCheckOptions>("healthCheck", HEALTH_CHECK, healthCheck);
  return {
    head: resolveClusterNode(head, 0),
    state: state ?? "lmdb",
    token: token === undefined ? undefined : checkToken(token, "token"),
    healthCheck: {
      periodMs: health.period ?? HEALTH_CHECK_DEFAULT.periodMs,
      timeoutMs: health.timeout ?? HEALTH_CHECK_DEFAULT.timeoutMs,
      failureThreshold: health.failureThreshold ?? HEALTH_CHECK_DEFAULT.failureThreshold,
      outageGraceMs: health.outageGrace ?? HEALTH_CHECK_DEFAULT.outageGraceMs,
    },
  };
}

/** @throws InvalidOptionError */
export function resolveClusterNode(
  given: NodeOptions | undefined,
  cpus: number = NODE_CPUS_DEFAULT,
): ResolvedNodeOptions {
  const node = resolveNodeOptions(given);
  return {
    ...node,
    numCpus: node.numCpus ?? cpus,
    numGpus: node.numGpus ?? 0,
    objectStoreMemory: node.objectStoreMemory ?? STORE_BYTES_DEFAULT,
  };
}

interface Removal {
  readonly graceful?: boolean | undefined;
  readonly gracePeriod?: number | undefined;
}

/** @throws InvalidOptionError for what is no option of `removeNode`, or none that goes with the others */
export function resolveRemoval(given: Removal | undefined): { graceful: boolean; graceMs: number } {
  if (given !== undefined && !isObject(given))
    throw new InvalidOptionError("removeNode options must be an object");
  const table: OptionTable<Removal> = {
    graceful: { takes: "true or false", ok: (value) => typeof value === "boolean" },
    gracePeriod: {
      takes: `a whole number of milliseconds from 0 to ${HEALTH_MS_MAX}`,
      ok: (value) => isWhole(value, 0, HEALTH_MS_MAX),
    },
  };
  const { graceful = false, gracePeriod } = checkOptions("removeNode", table, given);
  if (gracePeriod !== undefined && !graceful)
    throw new InvalidOptionError("removeNode: gracePeriod is for a graceful removal");
  return { graceful, graceMs: gracePeriod ?? DRAIN_GRACE_MS_DEFAULT };
}
