/** Tasks that any of the same leases can serve: equal resources and strategy. */
import type { ResolvedTaskOptions } from "../base/options.ts";
import type { Lease } from "./lease.ts";
import type { LeaseSession } from "./lease-session.ts";
import { Queue } from "./queue.ts";
import type { TaskRecord } from "./task-record.ts";

export class SchedulingClass {
  readonly id: number;
  readonly key: string;
  /** Options of the first task: resources and strategy are the same for all. */
  readonly options: ResolvedTaskOptions;
  readonly queue = new Queue<TaskRecord>();
  readonly leases = new Set<Lease>();
  /** Leases asked for and not answered yet, per raylet. */
  readonly asked = new Map<LeaseSession, number>();
  /** Why the raylet says tasks of this class wait. */
  pendingReason = "";
  warned = false;

  constructor(id: number, key: string, options: ResolvedTaskOptions) {
    this.id = id;
    this.key = key;
    this.options = options;
  }
}
