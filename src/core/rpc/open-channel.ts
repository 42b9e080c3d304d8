/** The side of a channel that dials: it opens the channel, and dials again when the connection has broken. */
import type { Endpoint } from "../base/endpoint.ts";
import { randomId } from "../base/ids.ts";
import { Channel, type Recovery } from "./channel.ts";
import { type Connection, hello, type Identity, type SessionHello } from "./connection.ts";
import { Dialling, type Gone, lossOf } from "./dialling.ts";
import type { BlobSink } from "./frames.ts";

const SESSION_ID_BYTES = 12;

/** Channels that this process has dialled and that are not over, by session. */
const dialled = new Map<string, DialledChannel>();

/**
 * Opens a channel to a process. Messages may be sent at once; they follow the handshake. When nobody listens there it closes;
 * when the other side refuses the token, with AuthenticationError.
 * @param blobs where blobs go that the other side sends; then the channel ends with its connection. Without it none may come
 */
export function openChannel(to: Endpoint, identity: Identity, blobs?: BlobSink): Channel {
  return new DialledChannel(to, identity, blobs).channel;
}

/**
 * The other side has lost a connection of a channel, and asks whether it is still wanted. If this side has not noticed, it
 * takes the connection for broken too.
 */
export function answerAsk({ id, connection }: SessionHello): boolean {
  const asked = dialled.get(id);
  asked?.onAsked(connection);
  return asked !== undefined;
}

class DialledChannel implements Recovery {
  readonly channel: Channel;
  readonly #to: Endpoint;
  readonly #identity: Identity;
  readonly #blobs: BlobSink | undefined;
  readonly #id: string | undefined;
  #dialling: Dialling | undefined;
  #connections = 0;
  /** The other side has answered: it has the channel. */
  #isKnown = false;
  #cause: Error | undefined;

  constructor(to: Endpoint, identity: Identity, blobs: BlobSink | undefined) {
    this.#to = to;
    this.#identity = identity;
    this.#blobs = blobs;
    const isResumable = blobs === undefined;
    const channel = new Channel(to, isResumable);
    this.channel = channel;
    channel.recovery = this;
    if (isResumable) {
      const id = randomId(SESSION_ID_BYTES);
      this.#id = id;
      dialled.set(id, this);
      channel.onClose(() => dialled.delete(id));
    }
    this.#dialling = this.#dial(!isResumable);
  }

  begin(cause: Error | undefined): void {
    this.#cause = cause;
    this.#dialling = this.#dial(false);
  }

  stop(): void {
    this.#dialling?.stop();
  }

  ref(): void {
    this.#dialling?.ref();
  }
  unref(): void {
    this.#dialling?.unref();
  }

  onAsked(connection: number): void {
    if (this.#isKnown && connection === this.#connections) this.channel.breakOff(undefined);
  }

  #dial(isOnce: boolean): Dialling {
    const { channel } = this;
    let first: Connection | undefined;
    return new Dialling(
      {
        to: this.#to,
        self: this.#identity.self,
        blobs: this.#blobs,
        isReferenced: channel.isReferenced,
        greeting: () => hello(this.#identity, this.#session()),
        onAttempt: (connection) => {
          // Only the first connection takes messages before it is answered: the other side has nothing of them yet.
          if (this.#connections > 1) return;
          first = connection;
          channel.begin(connection);
        },
        onFailed: () => channel.detach(),
        onAnswer: (connection, { peer, taken }) => {
          if (peer !== undefined) channel.peer = peer;
          this.#isKnown = true;
          if (connection === first) channel.open(connection);
          else if (channel.fits(taken)) channel.resume(connection, taken);
          else channel.lose(channel.unreachable(`it says that it has taken ${taken} frames`));
          return "done";
        },
        onGone: (gone) => this.#onGone(gone),
      },
      0,
      isOnce,
    );
  }

  #session(): SessionHello | undefined {
    this.#connections += 1;
    if (this.#id === undefined) return undefined;
    const { taken } = this.channel;
    return { id: this.#id, connection: this.#connections, taken, isKnown: this.#isKnown };
  }

  #onGone(gone: Gone): void {
    this.channel.lose(lossOf(this.channel, gone, this.#isKnown ? this.#cause : null));
  }
}
