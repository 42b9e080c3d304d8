/** The channels of this process to other processes, one per peer, whoever opened it. */
import type { Endpoint } from "../base/endpoint.ts";
import { ClusterUnreachableError, type TsrayError } from "../base/errors.ts";
import type { Channel } from "./channel.ts";
import type { Identity } from "./connection.ts";
import type { Message } from "./frames.ts";
import { openChannel } from "./open-channel.ts";

export class Peers {
  readonly #channels = new Map<string, Channel>();
  readonly #all = new Set<Channel>();
  readonly #identity: Identity;
  readonly #onMessage: (channel: Channel, message: Message) => void;
  readonly #onClose: (channel: Channel, error: TsrayError | undefined) => void;
  readonly #onPeer: (peer: Endpoint) => void;

  /** @param onPeer called when a channel to a process begins, whoever opened it */
  constructor(
    identity: Identity,
    onMessage: (channel: Channel, message: Message) => void,
    onClose: (channel: Channel, error: TsrayError | undefined) => void,
    onPeer: (peer: Endpoint) => void = () => {},
  ) {
    this.#identity = identity;
    this.#onMessage = onMessage;
    this.#onClose = onClose;
    this.#onPeer = onPeer;
  }

  /** The channel to a process; opened on first use. A dead process shows as a channel that closes. */
  to(endpoint: Endpoint): Channel {
    const known = this.#channels.get(endpoint.processId);
    if (known !== undefined && !known.closed) return known;
    const channel = openChannel(endpoint, this.#identity);
    channel.unref();
    this.#adopt(endpoint.processId, channel);
    return channel;
  }

  /** Takes a channel that a peer opened. */
  accept(channel: Channel): void {
    channel.unref();
    const id = channel.peer.processId;
    const known = this.#channels.get(id);
    if (known === undefined || known.closed) this.#adopt(id, channel);
    else this.#attach(id, channel);
  }

  /** A node has died: what is connected to its processes may never notice. */
  nodeDied(nodeId: string, reason: string): void {
    for (const channel of this.#all) {
      if (channel.peer.nodeId === nodeId) channel.destroy(new ClusterUnreachableError(reason));
    }
  }

  closeAll(): void {
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }

  #adopt(id: string, channel: Channel): void {
    this.#channels.set(id, channel);
    this.#attach(id, channel);
  }

  #attach(id: string, channel: Channel): void {
    this.#all.add(channel);
    this.#onPeer(channel.peer);
    channel.onMessage = (message) => this.#onMessage(channel, message);
    channel.onClose((error) => {
      this.#all.delete(channel);
      if (this.#channels.get(id) === channel) this.#channels.delete(id);
      this.#onClose(channel, error);
    });
  }
}
