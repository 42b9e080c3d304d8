/** The door of `tsray/testing`: a cluster of several nodes on this machine, and a gate that tasks can wait on. */

export type { NodeOptions } from "../core/base/options.ts";
export { Cluster, type ClusterNode, type RemoveNodeOptions } from "./cluster.ts";
export type { ClusterOptions, HealthCheckOptions } from "./cluster-options.ts";
export { Signal } from "./signal.ts";
