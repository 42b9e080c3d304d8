/** Asks other raylets, and the head's machine, about a head that does not answer this node. */

import { createClient, unary } from "../core/rpc/grpc.ts";
import { probe } from "../core/rpc/probe.ts";
import { RayletServiceClient } from "../core/wire/gen/tsray/v1/raylet.ts";
import type { HeadEpoch } from "./head-epoch.ts";
import type { Hearsay } from "./head-watch.ts";

/** Of many nodes so many are asked; others at each round. */
const ASKED_MAX = 16;

export interface Asking {
  readonly headAddress: string;
  /** The head is on this machine: no network lies between. */
  readonly isHeadHere: boolean;
  /** Addresses of the other raylets. */
  readonly raylets: readonly string[];
  readonly token: string;
  readonly timeoutMs: number;
  /** The latest head that this node has heard of. */
  readonly epoch: HeadEpoch;
  /** Called for every answer, with when it was asked for. */
  told(what: Hearsay, askedMs: number): void;
}

/**
 * A head that began after the one this node has lost gives every node its grace, from its own start on: that others are
 * back with it already says that the earlier one is gone, not that this node is cut off.
 */
export async function askOthers(asking: Asking): Promise<void> {
  const { headAddress, isHeadHere, raylets, token, timeoutMs, told } = asking;
  const probedMs = performance.now();
  const some = [...raylets].sort(() => Math.random() - 0.5).slice(0, ASKED_MAX);
  const answer = await probe(headAddress, timeoutMs);
  // Where nobody listens, nobody is heard: asking all nodes of all nodes would only cost them time.
  if (answer === "refused") {
    told("gone", probedMs);
    return;
  }
  if (answer === "listens" && isHeadHere) told("stuck", probedMs);
  const askedMs = performance.now();
  const others = some.map(async (address) => {
    const client = createClient(RayletServiceClient, address, token);
    try {
      const { hears, epoch } = await unary(client, client.hearsHead, {}, timeoutMs);
      told(hears && epoch <= asking.epoch.latest ? "heard" : "lost", askedMs);
    } catch {
      // It cannot be reached: it says nothing.
    } finally {
      client.close();
    }
  });
  await Promise.all(others);
}
