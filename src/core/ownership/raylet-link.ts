/** A client's (driver's or worker's) channel to the raylet of its node: registration, pulls, listings. */
import type { Endpoint } from "../base/endpoint.ts";
import {
  ClusterUnreachableError,
  type ErrorRecord,
  fromErrorRecord,
  type TsrayError,
} from "../base/errors.ts";
import type { Channel } from "../rpc/channel.ts";
import type { Identity } from "../rpc/connection.ts";
import type { Message } from "../rpc/frames.ts";
import { Local, type Welcome } from "../rpc/messages.ts";
import { openChannel } from "../rpc/open-channel.ts";

export class RayletLink {
  readonly channel: Channel;
  /** Messages of the link that are not replies to requests made here. */
  onMessage: (message: Message) => void = () => {};
  #nextRequest = 1;
  readonly #pulls = new Map<number, (error: string | null) => void>();

  private constructor(channel: Channel) {
    this.channel = channel;
  }

  /**
   * Connects and registers.
   * @param register the registration message (worker or driver)
   * @param timeoutMs for so long; undefined = for as long as the connection holds
   * @throws AuthenticationError, ClusterUnreachableError, or what the raylet refused with
   */
  static open(
    raylet: Endpoint,
    identity: Identity,
    register: Message,
    timeoutMs: number | undefined,
  ): Promise<{ link: RayletLink; welcome: Welcome }> {
    return new Promise((resolve, reject) => {
      const channel = openChannel(raylet, identity);
      const link = new RayletLink(channel);
      const fail = (error: TsrayError) => {
        clearTimeout(timer);
        // The first reason counts: the channel's end is told too.
        reject(error);
        channel.destroy();
      };
      const at = raylet.unixPath || `${raylet.host}:${raylet.port}`;
      const silent = `the raylet at ${at} did not answer within ${timeoutMs} ms`;
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => fail(new ClusterUnreachableError(silent)), timeoutMs);
      channel.onMessage = (message) => {
        if (message[0] === Local.welcome) {
          clearTimeout(timer);
          channel.onMessage = (m) => link.#receive(m);
          resolve({ link, welcome: message[1] as Welcome });
        } else if (message[0] === Local.refused) {
          fail(fromErrorRecord(message[1] as ErrorRecord));
        }
      };
      channel.onClose((error) => {
        fail(error ?? new ClusterUnreachableError("the raylet closed the connection"));
        for (const settle of link.#pulls.values()) settle("the connection to this node's raylet is gone");
        link.#pulls.clear();
      });
      channel.send(register);
    });
  }

  /** Has the object brought into this node's store. @returns null, or why it could not be */
  pull(key: Buffer, from: readonly unknown[]): Promise<string | null> {
    if (this.channel.closed) return Promise.resolve("the connection to this node's raylet is gone");
    return new Promise((resolve) => {
      const requestId = this.#nextRequest++;
      this.#pulls.set(requestId, resolve);
      this.channel.send([Local.pull, requestId, key, from]);
    });
  }

  #receive(message: Message): void {
    if (message[0] === Local.pulled) {
      const [, requestId, error] = message as unknown as [number, number, string | null];
      this.#pulls.get(requestId)?.(error);
      this.#pulls.delete(requestId);
    } else {
      this.onMessage(message);
    }
  }
}
