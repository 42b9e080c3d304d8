/**
 * A channel: the one long-lived stream between two processes that talk. Everything sent in one turn of the event loop
 * leaves as one frame. Both sides may send at any time; the first frame of the connecting side is the handshake.
 */
import { connect as connectSocket, type Socket } from "node:net";
import { type Endpoint, endpointFromTuple, endpointToTuple } from "../base/endpoint.ts";
import { AuthenticationError, ClusterUnreachableError, type TsrayError } from "../base/errors.ts";
import {
  type BlobSink,
  encodeBatch,
  encodeBlob,
  FRAME_BYTES_MAX,
  FrameReader,
  type Message,
} from "./frames.ts";

const PROTOCOL_VERSION = 1;
/** A burst inside one turn leaves in frames of this many messages, so that the peer starts on the first ones. */
const BATCH_MESSAGES_MAX = 512;

const HELLO = 0;
const HELLO_OK = 1;
const HELLO_REFUSED = 2;

/** The part of a channel that feature code sees. */
export class Channel {
  /** Set by whoever takes the channel over, before the first message can arrive. */
  onMessage: (message: Message) => void = () => {};
  /** The process at the other end. Its node and sockets are known once it has said hello. */
  peer: Endpoint;
  readonly #socket: Socket;
  #reader: FrameReader | undefined;
  readonly #closeListeners = new Set<(error: TsrayError | undefined) => void>();
  #out: Message[] = [];
  #closed = false;
  #closeError: TsrayError | undefined;

  constructor(socket: Socket, peer: Endpoint) {
    this.#socket = socket;
    this.peer = peer;
    socket.setNoDelay(true);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes received so far. */
  get bytesRead(): number {
    return this.#socket.bytesRead;
  }

  /** Queues a message for the end of this turn. On a closed channel it is dropped: `onClose` has told of it. */
  send(message: Message): void {
    if (this.#closed) return;
    this.#out.push(message);
    if (this.#out.length === 1) queueMicrotask(this.#flush);
    else if (this.#out.length >= BATCH_MESSAGES_MAX) this.#flush();
  }

  /** Sends what is queued now, without waiting for the end of the turn. */
  flush(): void {
    this.#flush();
  }

  /**
   * Sends one message with raw bytes behind it, without copying them. Resolves when nothing here reads them any more: the
   * kernel has taken them, or the connection is gone.
   * @param crc CRC-32 of the blob
   */
  sendBlob(message: Message, blob: Uint8Array, crc: number): Promise<void> {
    this.#flush();
    if (this.#closed) return Promise.resolve();
    const [header, packed] = encodeBlob(message, blob, crc);
    return new Promise((resolve) => {
      const done = () => {
        this.#socket.off("close", done);
        resolve();
      };
      this.#socket.on("close", done);
      this.#socket.cork();
      this.#socket.write(header);
      this.#socket.write(packed);
      this.#socket.write(blob, done);
      this.#socket.uncork();
    });
  }

  /** Calls `listener` once when the channel is gone (at once if it is already). */
  onClose(listener: (error: TsrayError | undefined) => void): () => void {
    if (this.#closed) {
      queueMicrotask(() => listener(this.#closeError));
      return () => {};
    }
    this.#closeListeners.add(listener);
    return () => this.#closeListeners.delete(listener);
  }

  /** Sends what is queued, then ends the connection. */
  close(error?: TsrayError): void {
    if (this.#closed) return;
    this.#flush();
    this.#socket.end();
    this.#markClosed(error);
  }

  /** Ends the connection now. */
  destroy(error?: TsrayError): void {
    this.#socket.destroy();
    this.#markClosed(error);
  }

  /** Whether an otherwise idle process stays alive for this channel. */
  ref(): void {
    this.#socket.ref();
  }
  unref(): void {
    this.#socket.unref();
  }

  #flush = (): void => {
    if (this.#out.length === 0 || this.#closed) return;
    const batch = this.#out;
    this.#out = [];
    const [header, body] = encodeBatch(batch);
    this.#socket.cork();
    this.#socket.write(header);
    this.#socket.write(body);
    this.#socket.uncork();
  };

  /** Has what arrives cut up by `reader`. Whoever dialled with `onread` calls `receive` himself. */
  listen(reader: FrameReader): void {
    this.#reader = reader;
    this.#socket.on("data", (chunk: Buffer) => this.receive(chunk));
    this.#socket.on("error", (cause) => {
      this.#closeError ??= new ClusterUnreachableError(
        `connection to process ${this.peer.processId || "?"} failed: ${cause.message}`,
        { cause },
      );
    });
    this.#socket.on("close", () => this.#markClosed(this.#closeError));
  }

  receive(chunk: Buffer): void {
    try {
      this.#reader?.push(chunk);
    } catch (error) {
      this.destroy(
        error instanceof ClusterUnreachableError
          ? error
          : new ClusterUnreachableError(`a message could not be handled: ${(error as Error).stack}`, {
              cause: error,
            }),
      );
    }
  }

  #markClosed(error: TsrayError | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#closeError ??= error;
    this.#out = [];
    for (const listener of this.#closeListeners) listener(this.#closeError);
    this.#closeListeners.clear();
  }
}

/** Who dials, and with which token. */
export interface Identity {
  readonly self: Endpoint;
  readonly token: string;
}

/** Whether `a` and `b` share a node and so a file system for sockets. */
function sameNode(a: Endpoint, b: Endpoint): boolean {
  return a.nodeId === b.nodeId && b.unixPath !== "";
}

/**
 * Opens a channel to a process. Messages may be sent at once; they follow the handshake.
 * When the other side refuses the token, the channel closes with AuthenticationError.
 * @param blobs where blobs go that the other side sends; without it none may come
 */
export function openChannel(to: Endpoint, identity: Identity, blobs?: BlobSink): Channel {
  const reader = new FrameReader((message) => {
    if (message[0] === HELLO_OK) {
      const peer = endpointFromTuple(message[1]);
      if (peer) channel.peer = peer;
    } else if (message[0] === HELLO_REFUSED) {
      const [, code, text] = message;
      channel.destroy(
        code === "authentication"
          ? new AuthenticationError(`process ${to.processId} refused the connection: ${String(text)}`)
          : new ClusterUnreachableError(`process ${to.processId} refused the connection: ${String(text)}`),
      );
    } else {
      channel.onMessage(message);
    }
  }, blobs);
  // Clients trust whom they dialled.
  reader.frameBytesMax = FRAME_BYTES_MAX;
  const overUnix = sameNode(identity.self, to) || (to.port === 0 && to.unixPath !== "");
  const onread = {
    buffer: () => reader.room(),
    callback: (bytes: number, into: Uint8Array) => {
      channel.receive(Buffer.from(into.buffer, into.byteOffset, bytes));
      return true;
    },
  };
  const socket = connectSocket({
    ...(overUnix ? { path: to.unixPath } : { port: to.port, host: to.host }),
    onread,
  });
  const channel = new Channel(socket, to);
  channel.listen(reader);
  channel.send([HELLO, PROTOCOL_VERSION, identity.token, endpointToTuple(identity.self)]);
  // A frame of its own: until the token has been shown, the other side takes small frames only.
  channel.flush();
  return channel;
}

/** The server's half of the handshake. @returns the peer, or why it is refused */
export function checkHello(
  message: Message,
  isToken: (given: string) => boolean,
): { peer: Endpoint } | { refused: Message } {
  const [kind, version, token, tuple] = message;
  const peer = endpointFromTuple(tuple);
  if (kind !== HELLO || peer === undefined)
    return { refused: [HELLO_REFUSED, "protocol", "the first message must be a hello"] };
  if (version !== PROTOCOL_VERSION) {
    return {
      refused: [
        HELLO_REFUSED,
        "protocol",
        `protocol version ${String(version)}, this process speaks ${PROTOCOL_VERSION}`,
      ],
    };
  }
  if (typeof token !== "string" || !isToken(token)) {
    return { refused: [HELLO_REFUSED, "authentication", "the cluster token is missing or wrong"] };
  }
  return { peer };
}

export function helloOk(self: Endpoint): Message {
  return [HELLO_OK, endpointToTuple(self)];
}
