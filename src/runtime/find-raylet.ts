/** Which raylet a driver attaches to: one of its own machine, in the cluster that the address names. */
import { readFileSync } from "node:fs";
import type { Endpoint } from "../core/base/endpoint.ts";
import { AuthenticationError, ClusterUnreachableError } from "../core/base/errors.ts";
import { checkToken, readTokenFile } from "../core/base/token.ts";
import { type FoundNode, hostId, runningNodes, tokenPath } from "../core/launch/session.ts";

const CONNECT_TIMEOUT_MS = 5000;

export interface FoundRaylet {
  readonly raylet: Endpoint;
  readonly token: string;
  readonly host: string | undefined;
  readonly sessionDir: string;
  readonly headAddress: string;
}

/** The token given by option or TSRAY_TOKEN_FILE; undefined = none was given. */
export function givenToken(option: string | undefined): string | undefined {
  if (option !== undefined) return checkToken(option, "token");
  const file = process.env.TSRAY_TOKEN_FILE;
  return file === undefined || file === "" ? undefined : readTokenFile(file, "TSRAY_TOKEN_FILE");
}

/** Nodes of this user on this machine that are there for whoever comes: not those of drivers and of tests. */
export function standingNodes(): FoundNode[] {
  return runningNodes().filter((node) => node.standing && node.headAddress !== "");
}

/** This user's nodes of one cluster on this machine. */
function nodesOfCluster(address: string): FoundNode[] {
  return runningNodes().filter((node) => !node.embedded && sameAddress(node.headAddress, address));
}

/** Head address of the cluster that runs on this machine. @throws ClusterUnreachableError when there is none */
export function localAddress(): string {
  const nodes = standingNodes();
  const found = nodes.find((node) => node.isHead) ?? nodes[0];
  if (found === undefined) {
    throw new ClusterUnreachableError(
      "no cluster of this user runs on this machine: start one with `tsray start --head`",
    );
  }
  return found.headAddress;
}

/** The token for a cluster: as given, else that which a daemon of this user wrote. @throws AuthenticationError */
export function tokenFor(address: string, given: string | undefined): string {
  if (given !== undefined) return given;
  const nodes = nodesOfCluster(address);
  for (const { sessionDir, tokenGiven } of nodes) {
    if (tokenGiven) continue;
    try {
      return readFileSync(tokenPath(sessionDir), "utf8").trim();
    } catch {
      // Another daemon of the cluster may have it.
    }
  }
  const why = nodes.length > 0 ? "was started with a token of its own" : "is not known on this machine";
  throw new AuthenticationError(`the cluster at ${address} ${why}, and no token was given`);
}

/**
 * Head address and token with which to ask it. The token is "" where none was given and none is known here: the head
 * cannot be asked then, but that it is not there at all is said first.
 * @throws ClusterUnreachableError when "auto" finds none; AuthenticationError when the cluster needs a token to be given
 */
export function findHead(
  address: string,
  given: string | undefined,
): { readonly address: string; readonly token: string } {
  const target = address === "auto" ? localAddress() : address;
  const isKnown = nodesOfCluster(target).length > 0;
  return { address: target, token: given === undefined && !isKnown ? "" : tokenFor(target, given) };
}

/**
 * @throws ClusterUnreachableError when the head does not answer, or no raylet of it runs on this machine
 * @throws AuthenticationError when the token is missing or wrong
 */
export async function findRaylet(
  address: string,
  given: string | undefined,
  timeoutMs = CONNECT_TIMEOUT_MS,
): Promise<FoundRaylet> {
  const { address: target, token } = findHead(address, given);
  const [{ createClient, unary }, { HeadServiceClient }] = await Promise.all([
    import("../core/rpc/grpc.ts"),
    import("../core/wire/gen/tsray/v1/head.ts"),
  ]);
  const client = createClient(HeadServiceClient, target, token);
  try {
    const { nodes } = await unary(client, client.listNodes, {}, timeoutMs);
    const here = nodes.filter((node) => node.alive && node.hostId === hostId());
    const node = here.find((each) => each.isHead) ?? here[0];
    if (node?.endpoint === undefined) {
      throw new ClusterUnreachableError(
        `the cluster at ${target} has no raylet on this machine: join it with \`tsray start --address ${target}\``,
      );
    }
    const { host } = node.endpoint;
    return {
      raylet: node.endpoint,
      token,
      host: host === "" ? undefined : host,
      sessionDir: node.sessionDir,
      headAddress: target,
    };
  } finally {
    client.close();
  }
}

function sameAddress(a: string, b: string): boolean {
  const normal = (text: string) =>
    text.replace(/^localhost:/, "127.0.0.1:").replace(/^\[::1\]:/, "127.0.0.1:");
  return normal(a) === normal(b);
}
