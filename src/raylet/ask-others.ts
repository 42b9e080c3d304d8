/** Asks other raylets, and the head's machine, about a head that does not answer this node. */

import { createClient, unary } from "../core/rpc/grpc.ts";
import { probe } from "../core/rpc/probe.ts";
import { RayletServiceClient } from "../core/wire/gen/tsray/v1/raylet.ts";
import type { Hearsay } from "./head-watch.ts";

/** Of many nodes so many are asked; others at each round. */
const ASKED_MAX = 16;

/** @param told called for every answer, with when it was asked for */
export async function askOthers(
  headAddress: string,
  raylets: readonly string[],
  token: string,
  timeoutMs: number,
  told: (what: Hearsay, askedMs: number) => void,
): Promise<void> {
  const askedMs = performance.now();
  const some = [...raylets].sort(() => Math.random() - 0.5).slice(0, ASKED_MAX);
  const head = probe(headAddress, timeoutMs).then((answer) => {
    if (answer === "refused") told("lost", askedMs);
  });
  const others = some.map(async (address) => {
    const client = createClient(RayletServiceClient, address, token);
    try {
      const { hears } = await unary(client, client.hearsHead, {}, timeoutMs);
      told(hears ? "heard" : "lost", askedMs);
    } catch {
      // It cannot be reached: it says nothing.
    } finally {
      client.close();
    }
  });
  await Promise.all([head, ...others]);
}
