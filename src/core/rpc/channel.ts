/**
 * A channel: the one long-lived stream between two processes that talk. Both sides may send at any time; everything sent in
 * one turn of the event loop leaves as one frame.
 *
 * It outlives its connections: as long as both processes live, each message is delivered once and in order, however often
 * the connection between them breaks (resume-machine.ts keeps count). The side that dialled dials again, the other waits for
 * it and looks whether it is still there (open-channel.ts, accepted.ts). It ends when one side closes it or is dead, or
 * when nothing has been heard of the other for some seconds.
 *
 * A channel for object bytes does not outlive its connection: it has no session, and its users get bytes elsewhere.
 */
import type { Endpoint } from "../base/endpoint.ts";
import { ClusterUnreachableError, type TsrayError } from "../base/errors.ts";
import { soon } from "../base/soon.ts";
import type { Connection } from "./connection.ts";
import { Control, encodeBatch, encodeBlob, encodeControl, type Message } from "./frames.ts";
import { Inbox, Outbox } from "./resume-machine.ts";
import { streamFaults } from "./stream-faults.ts";

/** A burst inside one turn leaves in frames of this many messages, so that the peer starts on the first ones. */
const BATCH_MESSAGES_MAX = 512;
/** What has come is confirmed after this long, if there was no other occasion. */
const CONFIRM_MS = 100;
/** An ended channel's connection has so long to take the last of it along. */
const LINGER_MS = 2000;

interface Frame {
  readonly header: Buffer;
  readonly body: Buffer;
  readonly bytes: number;
}

/** Gets a channel another connection when one has broken. */
export interface Recovery {
  /** The connection has broken: in the end `resume` or `lose` is called. */
  begin(cause: Error | undefined): void;
  /** The channel has another connection, or is closed. */
  stop(): void;
  ref(): void;
  unref(): void;
}

export class Channel {
  /** Set by whoever takes the channel over, before the first message can arrive. */
  onMessage: (message: Message) => void = () => {};
  /** The process at the other end. Its node and sockets are known once it has said hello. */
  peer: Endpoint;
  /** Undefined: the channel ends with its connection. Set right after it was made. */
  recovery: Recovery | undefined;
  readonly #outbox: Outbox<Frame> | undefined;
  readonly #inbox: Inbox | undefined;
  /** Undefined while it is broken. */
  #connection: Connection | undefined;
  readonly #closeListeners = new Set<(error: TsrayError | undefined) => void>();
  #out: Message[] = [];
  /** Batches that wait until the peer has confirmed more. */
  #backlog: Message[][] = [];
  #closed = false;
  #closeError: TsrayError | undefined;
  #isReferenced = true;
  #confirmTimer: NodeJS.Timeout | undefined;

  /** @param isResumable whether it outlives its connections */
  constructor(peer: Endpoint, isResumable: boolean) {
    this.peer = peer;
    if (!isResumable) return;
    this.#outbox = new Outbox();
    this.#inbox = new Inbox();
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes received so far over this connection. */
  get bytesRead(): number {
    return this.#connection?.bytesRead ?? 0;
  }

  /** Whether it keeps an otherwise idle process alive. */
  get isReferenced(): boolean {
    return this.#isReferenced;
  }

  /** How many frames have been taken. */
  get taken(): number {
    return this.#inbox?.taken ?? 0;
  }

  /**
   * Queues a message for the end of this turn. While the connection is broken it waits. On a closed channel it is dropped:
   * `onClose` has told of it.
   */
  send(message: Message): void {
    if (this.#closed) return;
    this.#out.push(message);
    if (this.#out.length === 1) soon(this.#flush);
    else if (this.#out.length >= BATCH_MESSAGES_MAX) this.#flush();
  }

  /** Sends what is queued now, without waiting for the end of the turn. */
  flush(): void {
    this.#flush();
  }

  /**
   * Sends one message with raw bytes behind it, without copying them; on channels that end with their connection only.
   * Resolves when nothing here reads them any more: the kernel has taken them, or the connection is gone.
   * @param crc CRC-32 of the blob
   */
  sendBlob(message: Message, blob: Uint8Array, crc: number): Promise<void> {
    this.#flush();
    const connection = this.#connection;
    if (this.#closed || connection === undefined) return Promise.resolve();
    return connection.writeAll(...encodeBlob(message, blob, crc));
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

  /** Sends what is queued, then ends the channel. What a broken connection has not delivered by now is lost. */
  close(error?: TsrayError): void {
    if (this.#closed) return;
    this.#flush();
    for (const batch of this.#backlog) this.#sendBatch(batch);
    this.#sayBye();
    this.#connection?.end();
    this.#markClosed(error);
  }

  /** Ends the channel now. */
  destroy(error?: TsrayError): void {
    if (this.#closed) return;
    this.#sayBye();
    const connection = this.#connection;
    if (this.#outbox === undefined) connection?.drop();
    else if (connection !== undefined) {
      connection.end();
      setTimeout(() => connection.drop(), LINGER_MS).unref();
    }
    this.#markClosed(error);
  }

  /** Whether an otherwise idle process stays alive for this channel. */
  ref(): void {
    this.#isReferenced = true;
    this.#connection?.ref();
    this.recovery?.ref();
  }
  unref(): void {
    this.#isReferenced = false;
    this.#connection?.unref();
    this.recovery?.unref();
  }

  #flush = (): void => {
    if (this.#out.length === 0 || this.#closed) return;
    const batch = this.#out;
    this.#out = [];
    if (this.#outbox?.isFull === true) this.#backlog.push(batch);
    else this.#sendBatch(batch);
  };

  #sendBatch(batch: readonly Message[]): void {
    const [header, body] = encodeBatch(batch);
    const connection = this.#connection;
    const inbox = this.#inbox;
    this.#outbox?.add({ header, body, bytes: header.length + body.length });
    if (connection === undefined) return;
    if (inbox?.isDue(true) === true)
      connection.write(header, body, encodeControl(Control.confirm, inbox.confirmed()));
    else connection.write(header, body);
  }

  // --- connections ---

  /** Whether a peer that says it has taken so many frames can go on with this channel. */
  fits(taken: unknown): boolean {
    return this.#outbox?.fits(taken) === true;
  }

  /** Its first connection: what is sent goes there. What comes does so once it is open. */
  begin(connection: Connection): void {
    this.#connection = connection;
    if (!this.#isReferenced) connection.unref();
  }

  /** It came to nothing. */
  detach(): void {
    this.#connection = undefined;
  }

  /** The handshake is over: what comes now are messages. */
  open(connection: Connection): void {
    const { reader } = connection;
    reader.deliver = (message) => this.onMessage(message);
    connection.onMalformed = (error) => this.destroy(error);
    connection.onEnd = (cause) => this.breakOff(cause);
    const inbox = this.#inbox;
    if (inbox === undefined) return;
    reader.onBatch = (bytes) => inbox.take(bytes);
    reader.onControl = (kind, number) => this.#onControl(kind, number);
    connection.onReceived = () => this.#confirmLater(inbox);
  }

  /** Goes on over another connection. @param taken frames that the peer has taken, as `fits` allows */
  resume(connection: Connection, taken: number): void {
    this.#connection?.drop();
    this.recovery?.stop();
    const outbox = this.#outbox as Outbox<Frame>;
    if (streamFaults()?.replays() !== true) outbox.confirm(taken);
    this.#inbox?.restart();
    this.begin(connection);
    this.open(connection);
    connection.write(encodeControl(Control.begin, outbox.first));
    for (const { header, body } of outbox.kept()) connection.write(header, body);
    this.#sendBacklog(outbox);
  }

  /** The connection is gone, or must not be used any more. */
  breakOff(cause: Error | undefined): void {
    if (this.#closed) return;
    this.#connection?.drop();
    this.#connection = undefined;
    if (this.recovery !== undefined && this.#outbox !== undefined) this.recovery.begin(cause);
    else this.lose(cause === undefined ? undefined : this.unreachable(cause.message, cause));
  }

  /** There is no way to the peer any more, or no peer. */
  lose(error: TsrayError | undefined): void {
    if (this.#closed) return;
    this.#connection?.drop();
    this.#markClosed(error);
  }

  unreachable(why: string, cause?: Error): ClusterUnreachableError {
    return new ClusterUnreachableError(
      `connection to process ${this.peer.processId || "?"} failed: ${why}`,
      cause === undefined ? undefined : { cause },
    );
  }

  #onControl(kind: number, number: number): void {
    if (kind === Control.begin) this.#inbox?.beginAt(number);
    else if (kind === Control.bye) this.lose(undefined);
    else if (this.#outbox !== undefined) {
      this.#outbox.confirm(number);
      if (this.#backlog.length > 0) this.#sendBacklog(this.#outbox);
    }
  }

  #sendBacklog(outbox: Outbox<Frame>): void {
    while (!outbox.isFull) {
      const batch = this.#backlog.shift();
      if (batch === undefined) return;
      this.#sendBatch(batch);
    }
  }

  #confirmLater(inbox: Inbox): void {
    if (!inbox.isUnconfirmed) return;
    if (inbox.isDue(false)) this.#confirm();
    else if (this.#confirmTimer === undefined)
      this.#confirmTimer = setTimeout(this.#confirmInTime, CONFIRM_MS).unref();
  }

  #confirmInTime = (): void => {
    this.#confirmTimer = undefined;
    if (this.#inbox?.isUnconfirmed === true) this.#confirm();
  };

  #confirm(): void {
    if (this.#inbox !== undefined)
      this.#connection?.write(encodeControl(Control.confirm, this.#inbox.confirmed()));
  }

  #sayBye(): void {
    if (this.#outbox !== undefined) this.#connection?.write(encodeControl(Control.bye, 0));
  }

  #markClosed(error: TsrayError | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#closeError ??= error;
    this.#out = [];
    this.#backlog = [];
    clearTimeout(this.#confirmTimer);
    this.recovery?.stop();
    if (this.#connection !== undefined) {
      // Bytes may still be on their way; nobody is told what becomes of them.
      this.#connection.onEnd = () => {};
      this.#connection.onMalformed = () => {};
      this.#connection.onReceived = undefined;
      this.#connection.reader.deliver = () => {};
    }
    for (const listener of this.#closeListeners) listener(this.#closeError);
    this.#closeListeners.clear();
  }
}
