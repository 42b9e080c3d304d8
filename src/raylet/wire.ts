/** Between the raylet's own types and those of proto/. */
import type { JobConfigRecord } from "../core/rpc/messages.ts";
import type { JobConfig } from "../core/wire/gen/tsray/v1/common.ts";

export function jobFromWire(wire: JobConfig): JobConfigRecord {
  return { ...wire };
}

export function jobToWire(job: JobConfigRecord): JobConfig {
  return { ...job, execArgv: [...job.execArgv], argv: [...job.argv] };
}
