/** What a detached actor must have of its own, because it goes on without the driver that made it. */
import type { ObjectAccess } from "../core/ownership/object-access.ts";
import { entryOf, isObjectRef } from "../core/ownership/object-ref.ts";
import type { Channel } from "../core/rpc/channel.ts";
import { Peer } from "../core/rpc/messages.ts";

/** Arguments of its constructor: the head keeps them. */
export const DETACHED_ARGUMENTS_BYTES_MAX = 4 * 1024 * 1024;

/** The arguments with refs among them replaced by what they stand for. @throws the error that one stands for */
export function valuesOf(args: readonly unknown[], objects: ObjectAccess): Promise<unknown[]> {
  return Promise.all(
    args.map(async (arg) => {
      if (!isObjectRef(arg)) return arg;
      await objects.ready(entryOf(arg));
      return objects.materialise(entryOf(arg));
    }),
  );
}

/** The detached actors that a process has to do with, itself included: what they own must not lean on the driver's. */
export class Outliving {
  readonly #processes = new Set<string>();
  readonly #told = new WeakSet<Channel>();

  has(processId: string): boolean {
    return this.#processes.has(processId);
  }

  add(processId: string): void {
    this.#processes.add(processId);
  }

  /** Says so to the other end of a channel, once, where this process is one. */
  tell(channel: Channel, self: string): void {
    if (!this.#processes.has(self) || this.#told.has(channel)) return;
    this.#told.add(channel);
    channel.send([Peer.outlivesDriver]);
  }
}
