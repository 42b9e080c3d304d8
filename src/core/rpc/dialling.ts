/**
 * How a process is dialled: once, or again and again when the connection of a channel has broken.
 *
 * A peer is dead when nobody listens at its address, or when it says that it does not know the channel (it began anew, or
 * has given it up); a process that is killed closes its listening socket first, so that is known within a turn of the loop.
 * A connection that is taken but not answered is a process that is busy: it is waited for. Otherwise the peer is dialled
 * again with growing pauses, until nothing has been heard of it for some seconds.
 */
import type { Endpoint } from "../base/endpoint.ts";
import { AuthenticationError, ClusterUnreachableError, type TsrayError } from "../base/errors.ts";
import type { Channel } from "./channel.ts";
import {
  type Connection,
  dial,
  type HelloAnswer,
  isOverUnix,
  readAnswer,
  writeHandshake,
} from "./connection.ts";
import type { BlobSink, Message } from "./frames.ts";
import { CONNECT_MS_MAX, isNobody } from "./probe.ts";
import { Patience } from "./resume-machine.ts";

/** On its node a process is there or not. */
const SILENCE_MS_MAX_LOCAL = 5000;
/** More than the head takes to find that a node is dead (health-rules.ts), whose channels are then closed. */
const SILENCE_MS_MAX_REMOTE = 20_000;

/** How long a peer that is not heard of is dialled. @param isNear it is on this node */
export function patienceWith(isNear: boolean): Patience {
  return new Patience(isNear ? SILENCE_MS_MAX_LOCAL : SILENCE_MS_MAX_REMOTE, Math.random);
}

/** How dialling ended, where it did not end with an answer. */
export type Gone =
  | (HelloAnswer & { readonly kind: "refused" })
  /** Nobody listens there. */
  | { readonly kind: "nobody"; readonly cause: Error }
  | { readonly kind: "silence"; readonly cause: Error | undefined };

export interface DialParts {
  readonly to: Endpoint;
  readonly self: Endpoint;
  readonly blobs?: BlobSink | undefined;
  readonly isReferenced: boolean;
  /** What is said, at each attempt. */
  greeting(): Message;
  /** An attempt is under way, and the greeting said. */
  onAttempt?(connection: Connection): void;
  /** It came to nothing. */
  onFailed?(): void;
  /** @returns whether to dial again later, to see whether the peer is still there */
  onAnswer(connection: Connection, answer: HelloAnswer & { readonly kind: "ok" }): "done" | "again";
  onGone(gone: Gone): void;
}

export class Dialling {
  readonly #parts: DialParts;
  readonly #patience: Patience;
  #connection: Connection | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isReferenced: boolean;
  #isOver = false;
  /** When the last attempt had failed, or been answered. */
  #sinceMs = performance.now();

  /** @param isOnce whether one failed attempt is enough */
  constructor(parts: DialParts, inMs: number, isOnce = false) {
    this.#parts = parts;
    this.#isReferenced = parts.isReferenced;
    this.#patience = isOnce ? new Patience(0, Math.random) : patienceWith(isOverUnix(parts.self, parts.to));
    if (inMs === 0) this.#dial();
    else this.#later(inMs);
  }

  stop(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#connection?.drop();
    this.#connection = undefined;
  }

  ref(): void {
    this.#isReferenced = true;
    this.#timer?.ref();
    this.#connection?.ref();
  }
  unref(): void {
    this.#isReferenced = false;
    this.#timer?.unref();
    this.#connection?.unref();
  }

  #later(inMs: number): void {
    this.#timer = setTimeout(() => this.#dial(), inMs);
    if (!this.#isReferenced) this.#timer.unref();
  }

  #dial(): void {
    const { to, self, blobs } = this.#parts;
    if (to.unixPath === "" && to.port === 0) {
      // It does not listen: it comes back by itself, or not.
      this.#again(undefined);
      return;
    }
    const connection = dial(to, self, blobs);
    this.#connection = connection;
    if (!this.#isReferenced) connection.unref();
    let aloneMs: number | undefined;
    const timer = setTimeout(() => {
      // The answer may be here already, in a process that was busy.
      setImmediate(() => {
        if (aloneMs !== undefined || connection.isOver) return;
        connection.drop();
        this.#again(new Error(`no answer within ${CONNECT_MS_MAX} ms`));
      });
    }, CONNECT_MS_MAX);
    timer.unref();
    connection.onConnected(() => {
      clearTimeout(timer);
      aloneMs = performance.now() - this.#sinceMs;
    });
    connection.onMalformed = (error) => this.#again(error, aloneMs);
    connection.onEnd = (cause) => {
      clearTimeout(timer);
      if (cause !== undefined && isNobody(cause.code)) this.#end({ kind: "nobody", cause });
      else this.#again(cause, aloneMs);
    };
    connection.reader.deliver = (message) => this.#onMessage(connection, message);
    writeHandshake(connection, this.#parts.greeting());
    this.#parts.onAttempt?.(connection);
  }

  #onMessage(connection: Connection, message: Message): void {
    const answer = readAnswer(message);
    if (answer === undefined || this.#isOver) return;
    if (answer.kind === "refused") {
      this.#end(answer);
      return;
    }
    this.#connection = undefined;
    if (this.#parts.onAnswer(connection, answer) === "done") {
      this.#isOver = true;
      return;
    }
    connection.drop();
    this.#sinceMs = performance.now();
    this.#later(this.#patience.answered());
  }

  /** An attempt failed. @param aloneMs how long nobody was at the other end: while somebody was, it was not in vain */
  #again(cause: Error | undefined, aloneMs = performance.now() - this.#sinceMs): void {
    if (this.#isOver) return;
    this.#connection = undefined;
    const pauseMs = this.#patience.failed(aloneMs);
    this.#sinceMs = performance.now();
    if (pauseMs === undefined) {
      this.#end({ kind: "silence", cause });
      return;
    }
    this.#parts.onFailed?.();
    this.#later(pauseMs);
  }

  #end(gone: Gone): void {
    this.stop();
    this.#parts.onGone(gone);
  }
}

/**
 * Why a channel is over whose peer could not be had.
 * @param broken why its last connection broke; null: it never had one
 */
export function lossOf(
  channel: Channel,
  gone: Gone,
  broken: Error | undefined | null,
): TsrayError | undefined {
  const { processId } = channel.peer;
  if (gone.kind === "refused") {
    const text = `process ${processId} refused the connection: ${gone.text}`;
    return gone.why === "authentication" ? new AuthenticationError(text) : new ClusterUnreachableError(text);
  }
  if (broken === null) return channel.unreachable(gone.cause?.message ?? "nobody answers", gone.cause);
  // A process that has ended is no error.
  if (gone.kind === "nobody") return broken && channel.unreachable(broken.message, broken);
  const why = (gone.cause ?? broken)?.message;
  return channel.unreachable(
    `nothing has been heard of it since it broke${why === undefined ? "" : `: ${why}`}`,
    gone.cause ?? broken,
  );
}
