/** Where a process listens on the data plane. The tuple form is what frames carry. */

/** Address of a process: a Unix socket for its own node, host and port for the others (port 0 = none). */
export interface Endpoint {
  readonly processId: string;
  readonly nodeId: string;
  readonly unixPath: string;
  readonly host: string;
  readonly port: number;
  readonly pid: number;
}

/** How a process of node `from` reaches it: "unix:/path" or "host:port"; undefined: it does not listen there. */
export function targetOf({ nodeId, unixPath, host, port }: Endpoint, from: string): string | undefined {
  if (unixPath !== "" && (nodeId === from || port === 0)) return `unix:${unixPath}`;
  return port === 0 ? undefined : `${host}:${port}`;
}

export type EndpointTuple = readonly [string, string, string, string, number, number];

export function endpointToTuple(e: Endpoint): EndpointTuple {
  return [e.processId, e.nodeId, e.unixPath, e.host, e.port, e.pid];
}

/** @returns undefined when the tuple is not one (it came from a peer) */
export function endpointFromTuple(tuple: unknown): Endpoint | undefined {
  if (!Array.isArray(tuple)) return undefined;
  const [processId, nodeId, unixPath, host, port, pid] = tuple as unknown[];
  if (typeof processId !== "string" || typeof nodeId !== "string" || typeof unixPath !== "string")
    return undefined;
  if (typeof host !== "string" || typeof port !== "number" || typeof pid !== "number") return undefined;
  return { processId, nodeId, unixPath, host, port, pid };
}
