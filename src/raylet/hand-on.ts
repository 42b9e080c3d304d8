/**
 * The objects of a node that leaves: those that processes elsewhere own are kept by other nodes in its place. Loaded when a
 * node leaves, since a node's start does not wait for gRPC.
 */
import { type Endpoint, endpointToTuple } from "../core/base/endpoint.ts";
import type { Channel } from "../core/rpc/channel.ts";
import { createClient, unary } from "../core/rpc/grpc.ts";
import { Peer } from "../core/rpc/messages.ts";
import type { ObjectStore } from "../core/store/object-store.ts";
import { RayletServiceClient } from "../core/wire/gen/tsray/v1/raylet.ts";

const OBJECTS_MAX = 1_000_000;
/** Objects on their way at the same time. */
const AT_ONCE = 4;
const OBJECT_TIMEOUT_MS = 60_000;
const OWNER_ID_CHARS = 16;

export interface HandOnParts {
  readonly store: ObjectStore;
  readonly token: string;
  readonly log: (line: string) => void;
  /** gRPC targets of the nodes that stay. */
  readonly others: () => string[];
  /** A process of another node that owns objects; undefined: it is of this node, or not known. */
  readonly ownerOf: (processId: string) => Endpoint | undefined;
  readonly channelTo: (process: Endpoint) => Channel;
  readonly self: () => Endpoint;
}

/** Copies whose primary is elsewhere need not be kept, and what a process of this node owns ends with it. */
export async function handOn(parts: HandOnParts): Promise<void> {
  const { store, others, ownerOf, log, token } = parts;
  const queue = store.list(OBJECTS_MAX).flatMap(({ key, state, secondary }) => {
    const owner = ownerOf(key.slice(0, OWNER_ID_CHARS));
    return state === "sealed" && !secondary && owner !== undefined
      ? [{ key: Buffer.from(key, "hex"), owner }]
      : [];
  });
  const targets = others();
  if (queue.length === 0 || targets.length === 0) return;
  log(`hands ${queue.length} objects on`);
  const clients = targets.map((address) => createClient(RayletServiceClient, address, token));
  let turn = 0;
  let failed = 0;
  const work = async () => {
    for (let object = queue.shift(); object !== undefined; object = queue.shift()) {
      turn += 1;
      const order = clients.map((_, i) => clients[(turn + i) % clients.length] as RayletServiceClient);
      if (!(await toFirstThatTakes(parts, order, object.key, object.owner))) failed += 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  for (const client of clients) client.close();
  if (failed > 0) log(`${failed} objects could not be handed on`);
}

/** For good. */
async function toFirstThatTakes(
  { self, channelTo }: HandOnParts,
  clients: readonly RayletServiceClient[],
  key: Buffer,
  owner: Endpoint,
): Promise<boolean> {
  for (const client of clients) {
    try {
      const request = { key, from: { ...self() } };
      const { error, endpoint } = await unary(client, client.takeObject, request, OBJECT_TIMEOUT_MS);
      if (error !== "" || endpoint === undefined) continue;
      const seq = key.readUInt32BE(8) * 2 ** 32 + key.readUInt32BE(12);
      channelTo(owner).send([Peer.copyAt, seq, endpointToTuple(endpoint), true]);
      return true;
    } catch {
      // The next one may take it.
    }
  }
  return false;
}
