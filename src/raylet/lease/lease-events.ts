/** What the lease machine is told, and what it wants done. */
import type { BundlePlace } from "../../core/base/bundles.ts";
import type { LabelTerm } from "../../core/base/labels.ts";
import type { Resources } from "../../core/base/resources.ts";
import type { NodeView } from "../scheduling/policy.ts";

/** Where something is to run; a place in a group is told by the names of the resources too. */
export interface Strategy extends BundlePlace {
  readonly kind: string;
  readonly nodeId: string;
  readonly soft: boolean;
  readonly labels: readonly LabelTerm[];
}

export interface DemandStatement {
  readonly owner: string;
  readonly jobId: string;
  /** Workers that can serve it: those of its job, or of its job in one environment. */
  readonly pool: string;
  readonly classId: number;
  /** As the user asked for them; taken from the group where the strategy names one. */
  readonly resources: Resources;
  readonly strategy: Strategy;
  readonly count: number;
  readonly redirected: boolean;
  /** Redirected, and to wait here although there is no room now. */
  readonly patient: boolean;
  readonly localityNodeId: string;
  /** Its tasks may run again. Decides nothing here: whoever must end a worker asks for it. */
  readonly retriable?: boolean;
}

export type LeaseEvent =
  | { readonly kind: "demand"; readonly demand: DemandStatement }
  | { readonly kind: "ownerGone"; readonly owner: string }
  | {
      readonly kind: "workerIdle";
      readonly workerId: string;
      readonly jobId: string;
      readonly pool: string;
      /** false when it has just started; true when it was withdrawn and comes back. */
      readonly wasReady: boolean;
    }
  | {
      readonly kind: "workerBlocked";
      readonly workerId: string;
      readonly blocked: boolean;
      /** Process whose task goes on there, when one does. */
      readonly runningFor: string;
    }
  | {
      readonly kind: "workerGone";
      readonly workerId: string;
      readonly pool: string;
      /** Whether it had been ready: else it ends one of those that are starting. */
      readonly wasReady: boolean;
    }
  | { readonly kind: "leaseReturned"; readonly leaseId: string }
  | { readonly kind: "nodeView"; readonly node: NodeView }
  | { readonly kind: "nodeGone"; readonly nodeId: string }
  /**
   * A second or so has passed: demand for a node that nobody has heard of is given up after some of them, and what was
   * sent to other nodes is counted off them no longer.
   */
  | { readonly kind: "tick" }
  | { readonly kind: "jobEnded"; readonly jobId: string }
  /** This node grants nothing any more, and wants back what it has lent. */
  | { readonly kind: "drain" }
  | {
      readonly kind: "workersFail";
      readonly pool: string;
      readonly reason: string;
      readonly what: Unservable;
    }
  /** Workers of a pool will not come up after all: as many as were to start. */
  | { readonly kind: "startsFailed"; readonly pool: string; readonly count: number };

/** Why no placement would help: the workers end before they are ready, or their environment cannot be set up. */
export type Unservable = "workers" | "environment";

export type LeaseEffect =
  | {
      readonly kind: "grant";
      readonly owner: string;
      readonly classId: number;
      readonly leaseId: string;
      readonly workerId: string;
      readonly resources: Resources;
      readonly gpuIds: readonly string[];
    }
  | {
      readonly kind: "redirect";
      readonly owner: string;
      readonly classId: number;
      readonly count: number;
      readonly node: NodeView;
      /** To wait there as well, not instead. */
      readonly patient: boolean;
    }
  | { readonly kind: "reject"; readonly owner: string; readonly classId: number; readonly count: number }
  | { readonly kind: "pending"; readonly owner: string; readonly classId: number; readonly reason: string }
  | {
      readonly kind: "unschedulable";
      /** undefined: it is the placement. */
      readonly what: Unservable | undefined;
      readonly owner: string;
      readonly classId: number;
      readonly reason: string;
    }
  | { readonly kind: "startWorkers"; readonly pool: string; readonly count: number }
  | { readonly kind: "reclaim"; readonly owner: string; readonly leaseId: string };
