/**
 * Channels that others have dialled. When the connection of one breaks, whoever dialled it dials again; meanwhile it is asked
 * whether it still has the channel, so that its death is known at once.
 */
import type { Endpoint } from "../base/endpoint.ts";
import { Channel, type Recovery } from "./channel.ts";
import {
  ask,
  type Connection,
  helloOk,
  type Identity,
  refused,
  type SessionHello,
  writeHandshake,
} from "./connection.ts";
import { Dialling, lossOf } from "./dialling.ts";

/** The other side is dialling already, if it lives. */
const ASK_MS = 3;
/** How long it is remembered that a channel is over, so that a late hello does not begin it anew. */
const OVER_MS = 60_000;

interface Accepted {
  readonly channel: Channel;
  /** Number of its latest connection. */
  connection: number;
}

export class AcceptedChannels {
  readonly #identity: () => Identity;
  readonly #onPeer: (channel: Channel) => void;
  readonly #channels = new Set<Channel>();
  readonly #sessions = new Map<string, Accepted>();
  readonly #over = new Map<string, number>();

  /** @param onPeer a new channel is there */
  constructor(identity: () => Identity, onPeer: (channel: Channel) => void) {
    this.#identity = identity;
    this.#onPeer = onPeer;
  }

  /** A peer has shown its token and says what the connection is for. @returns the channel, if it is a new one */
  greet(connection: Connection, peer: Endpoint, session: SessionHello | undefined): Channel | undefined {
    const known = session === undefined ? undefined : this.#sessions.get(session.id);
    if (session !== undefined && known !== undefined) {
      this.#resume(known, connection, peer, session);
      return undefined;
    }
    if (session !== undefined && (session.isKnown || this.#over.has(session.id))) {
      this.#refuse(connection);
      return undefined;
    }
    const channel = new Channel(peer, session !== undefined);
    this.#channels.add(channel);
    if (session !== undefined) this.#keep(channel, session);
    channel.onClose(() => this.#channels.delete(channel));
    writeHandshake(connection, helloOk(this.#identity().self, 0));
    // A first connection may have failed before it came to anything.
    if (session !== undefined && session.connection > 1) channel.resume(connection, 0);
    else {
      channel.begin(connection);
      channel.open(connection);
    }
    this.#onPeer(channel);
    return channel;
  }

  close(): void {
    for (const channel of this.#channels) channel.close();
  }

  #resume(known: Accepted, connection: Connection, peer: Endpoint, session: SessionHello): void {
    const { channel } = known;
    const isSame = peer.processId === channel.peer.processId && session.connection > known.connection;
    if (!isSame || !channel.fits(session.taken)) {
      this.#refuse(connection);
      return;
    }
    known.connection = session.connection;
    writeHandshake(connection, helloOk(this.#identity().self, channel.taken));
    channel.resume(connection, session.taken);
  }

  #refuse(connection: Connection): void {
    writeHandshake(connection, refused("session", "it does not know this channel (any more)"));
    connection.end();
  }

  #keep(channel: Channel, { id, connection }: SessionHello): void {
    const accepted: Accepted = { channel, connection };
    this.#sessions.set(id, accepted);
    channel.onClose(() => {
      this.#sessions.delete(id);
      this.#remember(id);
    });
    channel.recovery = new Asking(accepted, id, this.#identity);
  }

  #remember(id: string): void {
    const nowMs = performance.now();
    this.#over.set(id, nowMs);
    for (const [old, sinceMs] of this.#over) {
      if (nowMs - sinceMs < OVER_MS) return;
      this.#over.delete(old);
    }
  }
}

/** Waits for a peer to dial again. */
class Asking implements Recovery {
  readonly #accepted: Accepted;
  readonly #id: string;
  readonly #identity: () => Identity;
  #dialling: Dialling | undefined;

  constructor(accepted: Accepted, id: string, identity: () => Identity) {
    this.#accepted = accepted;
    this.#id = id;
    this.#identity = identity;
  }

  begin(cause: Error | undefined): void {
    const { channel } = this.#accepted;
    const identity = this.#identity();
    this.#dialling = new Dialling(
      {
        to: channel.peer,
        self: identity.self,
        isReferenced: channel.isReferenced,
        greeting: () =>
          ask(identity, { id: this.#id, connection: this.#accepted.connection, taken: 0, isKnown: true }),
        onAnswer: () => "again",
        onGone: (gone) => channel.lose(lossOf(channel, gone, cause)),
      },
      ASK_MS,
    );
  }

  stop(): void {
    this.#dialling?.stop();
    this.#dialling = undefined;
  }

  ref(): void {
    this.#dialling?.ref();
  }
  unref(): void {
    this.#dialling?.unref();
  }
}
