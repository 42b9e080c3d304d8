/**
 * How a node leaves of its own will: it takes no new work, lets what runs finish within a time, hands on the objects
 * that processes elsewhere own, and goes. Decides the order; who does each part is told by its name.
 */
import { type Endpoint, endpointToTuple } from "../core/base/endpoint.ts";
import type { Channel } from "../core/rpc/channel.ts";
import { createClient, unary } from "../core/rpc/grpc.ts";
import { Peer } from "../core/rpc/messages.ts";
import type { ObjectStore } from "../core/store/object-store.ts";
import { RayletServiceClient } from "../core/wire/gen/tsray/v1/raylet.ts";

const POLL_MS = 20;
const OBJECTS_MAX = 1_000_000;
/** Objects on their way at the same time. */
const AT_ONCE = 4;
const OBJECT_TIMEOUT_MS = 60_000;
const OWNER_ID_CHARS = 16;

export interface DrainParts {
  readonly store: ObjectStore;
  readonly token: string;
  readonly log: (line: string) => void;
  /** Stops taking work, and asks for what is lent. */
  readonly refuseWork: (reason: string) => void;
  /** Leases, actors and drivers that are still here. */
  readonly busy: () => { readonly leases: number; readonly actors: number; readonly drivers: number };
  /** Ends the actors that did not finish in time. */
  readonly endActors: (reason: string) => void;
  /** gRPC targets of the nodes that stay. */
  readonly others: () => string[];
  /** A process of another node that owns objects; undefined: it is of this node, or not known. */
  readonly ownerOf: (processId: string) => Endpoint | undefined;
  readonly channelTo: (process: Endpoint) => Channel;
  readonly self: () => Endpoint;
  /** Resolves when the head knows where the actors have gone. */
  readonly headKnows: () => Promise<void>;
  /** It is done: the node leaves. */
  readonly onDone: (reason: string) => void;
}

export interface DrainOrder {
  readonly graceMs: number;
  readonly reason: string;
  /** Whether drivers are waited for, and objects handed on: not where the whole cluster may be ending. */
  readonly handsOn: boolean;
}

export class Drain {
  readonly #parts: DrainParts;
  #hasBegun = false;

  constructor(parts: DrainParts) {
    this.#parts = parts;
  }

  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** Repeats are no-ops. */
  begin(order: DrainOrder): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    void this.#run(order).catch((error: Error) => {
      this.#parts.log(`while it was drained: ${error.stack}`);
      this.#parts.onDone(order.reason);
    });
  }

  async #run({ graceMs, reason, handsOn }: DrainOrder): Promise<void> {
    const { log, refuseWork, busy, endActors, headKnows, onDone } = this.#parts;
    log(`takes no more work: ${reason}; what runs has ${graceMs} ms`);
    refuseWork(reason);
    const untilMs = performance.now() + graceMs;
    const isBusy = () => {
      const { leases, actors, drivers } = busy();
      return leases > 0 || (handsOn && (actors > 0 || drivers > 0));
    };
    while (isBusy() && performance.now() < untilMs)
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    const { leases, actors, drivers } = busy();
    if (leases + actors + drivers > 0)
      log(`its time is up with ${leases} leases, ${actors} actors and ${drivers} drivers left`);
    endActors(reason);
    while (busy().actors > 0) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    if (handsOn) {
      await this.#handOn();
      // A head that is away would take this node for dead, and its actors for crashed.
      await headKnows();
    }
    onDone(reason);
  }

  /** Copies whose primary is elsewhere need not be kept, and what a process of this node owns ends with it. */
  async #handOn(): Promise<void> {
    const { store, others, ownerOf, log } = this.#parts;
    const queue = store.list(OBJECTS_MAX).flatMap(({ key, state, secondary }) => {
      const owner = ownerOf(key.slice(0, OWNER_ID_CHARS));
      return state === "sealed" && !secondary && owner !== undefined
        ? [{ key: Buffer.from(key, "hex"), owner }]
        : [];
    });
    const targets = others();
    if (queue.length === 0 || targets.length === 0) return;
    log(`hands ${queue.length} objects on`);
    const clients = targets.map((address) => createClient(RayletServiceClient, address, this.#parts.token));
    let turn = 0;
    let failed = 0;
    const work = async () => {
      for (let object = queue.shift(); object !== undefined; object = queue.shift()) {
        turn += 1;
        const order = clients.map((_, i) => clients[(turn + i) % clients.length] as RayletServiceClient);
        if (!(await this.#handOnTo(order, object.key, object.owner))) failed += 1;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    for (const client of clients) client.close();
    if (failed > 0) log(`${failed} objects could not be handed on`);
  }

  /** To the first that takes it for good. */
  async #handOnTo(clients: readonly RayletServiceClient[], key: Buffer, owner: Endpoint): Promise<boolean> {
    for (const client of clients) {
      try {
        const request = { key, from: { ...this.#parts.self() } };
        const { error, endpoint } = await unary(client, client.takeObject, request, OBJECT_TIMEOUT_MS);
        if (error !== "" || endpoint === undefined) continue;
        const seq = key.readUInt32BE(8) * 2 ** 32 + key.readUInt32BE(12);
        const channel = this.#parts.channelTo(owner);
        channel.send([Peer.copyAt, seq, endpointToTuple(endpoint), true]);
        return true;
      } catch {
        // The next one may take it.
      }
    }
    return false;
  }
}
