/**
 * One end of a conversation over a gRPC stream that outlives the stream: when one breaks, the side that called calls again,
 * and both go on from where the other had got to. Each message is taken once and in order, as on a channel (resume-machine.ts);
 * messages carry how many the sender has taken. Pure but for the writer that it is given.
 */
import { Inbox, Outbox } from "./resume-machine.ts";

/** Puts a message into the stream, with how many were taken; undefined: only that. */
export type WriteMessage<M> = (message: M | undefined, taken: number) => void;

export class LastingStream<M> {
  readonly #outbox = new Outbox<{ readonly bytes: 0; readonly message: M }>();
  readonly #inbox = new Inbox();
  #write: WriteMessage<M> | undefined;

  /** How many messages have been taken: what the other side is told when a stream takes over. */
  get taken(): number {
    return this.#inbox.taken;
  }

  /** Goes out now, or with the next stream. */
  send(message: M): void {
    this.#outbox.add({ bytes: 0, message });
    this.#write?.(message, this.#inbox.confirmed());
  }

  /** A message has arrived. */
  take(): void {
    this.#inbox.take(0);
    if (this.#inbox.isDue(false)) this.#write?.(undefined, this.#inbox.confirmed());
  }

  /** The other side has taken so many. @throws ClusterUnreachableError when that cannot be */
  confirm(taken: number): void {
    this.#outbox.confirm(taken);
  }

  /** Whether the other side can have got so far. */
  fits(taken: number): boolean {
    return this.#outbox.fits(taken);
  }

  /** A stream is there. @param taken what the other side has taken: the rest is said again. It must fit */
  attach(write: WriteMessage<M>, taken: number): void {
    this.#outbox.confirm(taken);
    this.#write = write;
    for (const { message } of this.#outbox.kept()) write(message, this.#inbox.confirmed());
  }

  /** It broke. */
  detach(): void {
    this.#write = undefined;
  }
}
