/** A question to the head of a cluster, on behalf of a command. */
import { createClient, unary } from "../core/rpc/grpc.ts";
import { HeadServiceClient } from "../core/wire/gen/tsray/v1/head.ts";
import { findHead } from "../runtime/find-raylet.ts";
import { readAddress, readGivenToken } from "./flags.ts";

const CONNECT_TIMEOUT_MS = 5000;

export interface HeadFlags {
  readonly address?: string;
  readonly tokenFile?: string;
}

type Ask = <Q, R>(method: Parameters<typeof unary<Q, R>>[1], request: Q) => Promise<R>;

/**
 * Asks the head that the flags, TSRAY_ADDRESS or this machine name.
 * @throws ClusterUnreachableError when none answers in time, AuthenticationError when it does not take the token
 */
export async function askHead<T>(
  flags: HeadFlags,
  question: (head: HeadServiceClient, ask: Ask, address: string) => Promise<T>,
): Promise<T> {
  const { address, token } = findHead(namedAddress(flags.address), readGivenToken(flags.tokenFile));
  const head = createClient(HeadServiceClient, address, token);
  try {
    return await question(
      head,
      (method, request) => unary(head, method, request, CONNECT_TIMEOUT_MS),
      address,
    );
  } finally {
    head.close();
  }
}

function namedAddress(flag: string | undefined): string {
  const named = flag ?? process.env.TSRAY_ADDRESS ?? "";
  if (named === "" || named === "auto" || named === "local") return "auto";
  readAddress(flag === undefined ? "TSRAY_ADDRESS" : "--address", named);
  return named;
}
