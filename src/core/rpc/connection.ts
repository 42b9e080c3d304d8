/**
 * One connection: a socket that carries frames. A channel has one at a time, and may outlive it (channel.ts). The side that
 * dials says hello in its first frame; the other answers in its own.
 */
import { connect as connectSocket, type Socket } from "node:net";
import { type Endpoint, endpointFromTuple, endpointToTuple } from "../base/endpoint.ts";
import { ClusterUnreachableError } from "../base/errors.ts";
import { busyPoll } from "./busy-poll.ts";
import { type BlobSink, encodeBatch, FRAME_BYTES_MAX, FrameReader, type Message } from "./frames.ts";
import { type FaultyWrites, streamFaults } from "./stream-faults.ts";

const PROTOCOL_VERSION = 2;

const JOINED_BYTES_MAX = 2048;

const HELLO = 0;
const HELLO_OK = 1;
const HELLO_REFUSED = 2;
/** The side that was dialled asks whether the other still has a channel whose connection broke. */
const ASK = 3;

/** A machine that has gone without a word is found out after so long in silence (and ten more seconds of asking). */
const KEEPALIVE_MS = 5000;

/** Who dials, and with which token. */
export interface Identity {
  readonly self: Endpoint;
  readonly token: string;
}

export class Connection {
  readonly reader: FrameReader;
  /** It is gone. Set by whoever has it. */
  onEnd: (cause: NodeJS.ErrnoException | undefined) => void = () => {};
  /** What came could not be handled, and it is gone. */
  onMalformed: (error: ClusterUnreachableError) => void = () => {};
  /** Some bytes have been handled. */
  onReceived: (() => void) | undefined;
  readonly #socket: Socket;
  readonly #faulty: FaultyWrites | undefined;
  #cause: NodeJS.ErrnoException | undefined;
  #isOver = false;

  constructor(socket: Socket, reader: FrameReader, stream: "unix" | "tcp") {
    this.#socket = socket;
    this.reader = reader;
    this.#faulty = streamFaults()?.writesOf(socket, stream);
    socket.setNoDelay(true);
    if (stream === "tcp") socket.setKeepAlive(true, KEEPALIVE_MS);
    socket.on("data", (chunk: Buffer) => this.receive(chunk));
    socket.on("error", (cause) => {
      this.#cause ??= cause;
    });
    socket.on("close", () => this.#end());
  }

  get bytesRead(): number {
    return this.#socket.bytesRead;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Calls `listener` when there is somebody at the other end. */
  onConnected(listener: () => void): void {
    this.#socket.on("connect", listener);
  }

  /** One frame, in parts; what else is given goes along. */
  write(...parts: readonly Uint8Array[]): void {
    if (this.#faulty !== undefined) {
      this.#faulty.write(parts);
      return;
    }
    const socket = this.#socket;
    let bytes = 0;
    for (const part of parts) bytes += part.length;
    // Copying little costs less than a write of several pieces.
    if (bytes <= JOINED_BYTES_MAX) {
      socket.write(parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts, bytes));
      busyPoll.sent();
      return;
    }
    socket.cork();
    for (const part of parts) socket.write(part);
    socket.uncork();
  }

  /** As `write`. Resolves when nothing here reads the last part any more: the kernel has taken it, or the connection is gone. */
  writeAll(...parts: readonly Uint8Array[]): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#socket.off("close", done);
        resolve();
      };
      this.#socket.on("close", done);
      this.#socket.cork();
      parts.forEach((part, i) => {
        if (i === parts.length - 1) this.#socket.write(part, done);
        else this.#socket.write(part);
      });
      this.#socket.uncork();
    });
  }

  /** Sends what is queued, then ends. */
  end(): void {
    this.#socket.end();
  }

  /** Ends now; whoever has it is not told. */
  drop(): void {
    this.onEnd = () => {};
    this.#isOver = true;
    this.#socket.destroy();
  }

  ref(): void {
    this.#socket.ref();
  }
  unref(): void {
    this.#socket.unref();
  }

  receive(chunk: Buffer): void {
    if (this.#isOver) return;
    busyPoll.received();
    try {
      this.reader.push(chunk);
    } catch (cause) {
      const error =
        cause instanceof ClusterUnreachableError
          ? cause
          : new ClusterUnreachableError(`a message could not be handled: ${(cause as Error).stack}`, {
              cause,
            });
      this.onMalformed(error);
      this.drop();
      return;
    }
    this.onReceived?.();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.onEnd(this.#cause);
  }
}

/** Whether `to` is reached over its Unix socket: it shares this node, and so a file system; or it has no other. */
export function isOverUnix(self: Endpoint, to: Endpoint): boolean {
  return to.unixPath !== "" && (self.nodeId === to.nodeId || to.port === 0);
}

/** @param blobs where blobs go that the other side sends; without it none may come */
export function dial(to: Endpoint, self: Endpoint, blobs?: BlobSink): Connection {
  const reader = new FrameReader(() => {}, blobs);
  // Clients trust whom they dialled.
  reader.frameBytesMax = FRAME_BYTES_MAX;
  const onread = {
    buffer: () => reader.room(),
    callback: (bytes: number, into: Uint8Array) => {
      connection.receive(Buffer.from(into.buffer, into.byteOffset, bytes));
      return true;
    },
  };
  const overUnix = isOverUnix(self, to);
  const proxy = streamFaults()?.proxy;
  const socket = overUnix
    ? connectSocket({ path: to.unixPath, onread })
    : connectSocket({ ...(proxy ?? { host: to.host, port: to.port }), onread });
  if (!overUnix && proxy !== undefined) socket.write(`${to.host}:${to.port}\n`);
  const connection = new Connection(socket, reader, overUnix ? "unix" : "tcp");
  return connection;
}

// ------------------------------------------------------------------------------------------------------ the handshake

/** The channel that a connection is for. */
export interface SessionHello {
  readonly id: string;
  /** How many connections it has had, this one included. */
  readonly connection: number;
  /** Frames that the dialling side has taken. */
  readonly taken: number;
  /** The other side has answered for it before: it must know it. */
  readonly isKnown: boolean;
}

export type Hello =
  | { readonly kind: "hello"; readonly peer: Endpoint; readonly session: SessionHello | undefined }
  | { readonly kind: "ask"; readonly peer: Endpoint; readonly session: SessionHello }
  | { readonly kind: "refused"; readonly answer: Message };

export type HelloAnswer =
  | { readonly kind: "ok"; readonly peer: Endpoint | undefined; readonly taken: number }
  | {
      readonly kind: "refused";
      readonly why: "authentication" | "protocol" | "session";
      readonly text: string;
    };

/** @param session undefined: the channel ends with the connection */
export function hello({ self, token }: Identity, session: SessionHello | undefined): Message {
  return [
    HELLO,
    PROTOCOL_VERSION,
    token,
    endpointToTuple(self),
    session === undefined ? null : tupleOf(session),
  ];
}

export function ask({ self, token }: Identity, session: SessionHello): Message {
  return [ASK, PROTOCOL_VERSION, token, endpointToTuple(self), tupleOf(session)];
}

export function helloOk(self: Endpoint, taken: number): Message {
  return [HELLO_OK, endpointToTuple(self), taken];
}

export function refused(why: (HelloAnswer & { kind: "refused" })["why"], text: string): Message {
  return [HELLO_REFUSED, why, text];
}

/** What the first message of a connection says. */
export function readHello(message: Message, isToken: (given: string) => boolean): Hello {
  const no = (why: "authentication" | "protocol", text: string): Hello => ({
    kind: "refused",
    answer: refused(why, text),
  });
  const [kind, version, token, tuple, given] = message;
  const peer = endpointFromTuple(tuple);
  const session = sessionOf(given);
  if ((kind !== HELLO && kind !== ASK) || peer === undefined)
    return no("protocol", "the first message must be a hello");
  if (version !== PROTOCOL_VERSION)
    return no("protocol", `protocol version ${String(version)}, this process speaks ${PROTOCOL_VERSION}`);
  if (typeof token !== "string" || !isToken(token))
    return no("authentication", "the cluster token is missing or wrong");
  if (session === undefined && (given !== null || kind === ASK))
    return no("protocol", "the hello names a channel that cannot be");
  if (kind === ASK) return { kind: "ask", peer, session: session as SessionHello };
  return { kind: "hello", peer, session };
}

/** @returns undefined when the message is no answer to a hello */
export function readAnswer(message: Message): HelloAnswer | undefined {
  const [kind, first, second] = message;
  if (kind === HELLO_OK) return { kind: "ok", peer: endpointFromTuple(first), taken: second as number };
  if (kind !== HELLO_REFUSED) return undefined;
  const why = first === "authentication" || first === "session" ? first : "protocol";
  return { kind: "refused", why, text: String(second) };
}

/** A frame of its own: until the token has been shown, the other side takes small frames only. */
export function writeHandshake(connection: Connection, message: Message): void {
  connection.write(...encodeBatch([message]));
}

function tupleOf({ id, connection, taken, isKnown }: SessionHello): readonly unknown[] {
  return [id, connection, taken, isKnown];
}

function sessionOf(tuple: unknown): SessionHello | undefined {
  if (!Array.isArray(tuple)) return undefined;
  const [id, connection, taken, isKnown] = tuple as unknown[];
  if (typeof id !== "string" || typeof isKnown !== "boolean") return undefined;
  if (!isCount(connection) || !isCount(taken)) return undefined;
  return { id, connection, taken, isKnown };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
