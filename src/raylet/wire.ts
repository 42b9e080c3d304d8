/** Between the raylet's own types and those of proto/. */
import type { Endpoint } from "../core/base/endpoint.ts";
import type { JobConfigRecord } from "../core/rpc/messages.ts";
import type { JobConfig, Endpoint as WireEndpoint } from "../core/wire/gen/tsray/v1/common.ts";

export function jobFromWire(wire: JobConfig): JobConfigRecord {
  return { ...wire };
}

export function jobToWire(job: JobConfigRecord): JobConfig {
  return { ...job, execArgv: [...job.execArgv], argv: [...job.argv] };
}

export function endpointToWire(endpoint: Endpoint): WireEndpoint {
  return { ...endpoint };
}
