/** Between the raylet's own types and those of proto/. */
import type { JobConfigRecord } from "../core/rpc/messages.ts";
import type { JobConfig, SchedulingStrategy } from "../core/wire/gen/tsray/v1/common.ts";

export function jobFromWire(wire: JobConfig): JobConfigRecord {
  return { ...wire };
}

const ANYWHERE = { kind: "DEFAULT", nodeId: "", soft: false, labels: [], groupId: "", bundle: -1 };

export function strategyFromWire(wire: SchedulingStrategy | undefined): SchedulingStrategy {
  return wire ?? ANYWHERE;
}

export function jobToWire(job: JobConfigRecord): JobConfig {
  return { ...job, execArgv: [...job.execArgv], argv: [...job.argv] };
}
