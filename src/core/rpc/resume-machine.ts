/**
 * What lets a channel outlive its connections: pure bookkeeping, no clock and no sockets.
 *
 * Each side numbers the frames it sends from 1, keeps them until the other has confirmed them, and sends them again over the
 * next connection from where the other had got to. Numbers do not travel with frames, since both sides count: a connection
 * that takes over from another begins with the number of its first frame. So each frame is taken once and in order.
 */
import { ClusterUnreachableError } from "../base/errors.ts";

/** With so many bytes unconfirmed nothing more is packed: messages wait. */
export const WINDOW_BYTES = 16 * 1024 * 1024;
/** What was taken is confirmed after so many frames or bytes at the latest, or with what is sent anyway after fewer. */
const CONFIRM_FRAMES = 64;
const CONFIRM_FRAMES_ALONG = 16;
const CONFIRM_BYTES = 256 * 1024;
/** Places that confirmed frames have left are given up when there are so many. */
const HOLES_MAX = 1024;

/** Frames on their way, oldest first. */
export class Outbox<F extends { readonly bytes: number }> {
  #frames: (F | undefined)[] = [];
  /** Where the oldest stands in the list, and its number. */
  #head = 0;
  #first = 1;
  #bytes = 0;

  /** Number of the oldest frame that is kept, or of the next one. */
  get first(): number {
    return this.#first;
  }

  /** How many frames have been sent. */
  get sent(): number {
    return this.#first + this.#frames.length - this.#head - 1;
  }

  get isFull(): boolean {
    return this.#bytes >= WINDOW_BYTES;
  }

  /** Keeps a frame that is sent now, or as soon as there is a connection. */
  add(frame: F): void {
    this.#frames.push(frame);
    this.#bytes += frame.bytes;
  }

  /** Whether a peer can have got so far: it has not confirmed more before, and no more was sent. */
  fits(taken: unknown): taken is number {
    return (
      Number.isSafeInteger(taken) && (taken as number) >= this.#first - 1 && (taken as number) <= this.sent
    );
  }

  /** The peer has taken so many frames. @throws ClusterUnreachableError when that cannot be */
  confirm(taken: number): void {
    if (!this.fits(taken)) {
      throw new ClusterUnreachableError(
        `a peer confirmed ${taken} frames, of ${this.sent} that were sent and ${this.#first - 1} confirmed`,
      );
    }
    while (this.#first <= taken) {
      this.#bytes -= (this.#frames[this.#head] as F).bytes;
      this.#frames[this.#head++] = undefined;
      this.#first += 1;
    }
    if (this.#head === this.#frames.length) {
      this.#frames = [];
      this.#head = 0;
    } else if (this.#head > HOLES_MAX && this.#head * 2 > this.#frames.length) {
      this.#frames = this.#frames.slice(this.#head);
      this.#head = 0;
    }
  }

  /** What the peer may not have. */
  kept(): F[] {
    return this.#frames.slice(this.#head) as F[];
  }
}

/** What has come. */
export class Inbox {
  #taken = 0;
  #confirmed = 0;
  #bytes = 0;
  /** Number of the next frame of the connection; undefined until a connection that took over has said it. */
  #next: number | undefined = 1;

  /** How many frames have been taken. */
  get taken(): number {
    return this.#taken;
  }

  /** Another connection takes over. */
  restart(): void {
    this.#next = undefined;
  }

  /** It begins with that frame. @throws ClusterUnreachableError when frames would be missing */
  beginAt(number: number): void {
    if (this.#next !== undefined || number < 1 || number > this.#taken + 1) {
      throw new ClusterUnreachableError(`a peer went on with frame ${number} after frame ${this.#taken}`);
    }
    this.#next = number;
  }

  /** A frame is here. @returns whether it is new; else it was taken from an earlier connection */
  take(bytes: number): boolean {
    if (this.#next === undefined) throw new ClusterUnreachableError("a peer went on without saying where");
    const isNew = this.#next > this.#taken;
    this.#next += 1;
    if (isNew) {
      this.#taken += 1;
      this.#bytes += bytes;
    }
    return isNew;
  }

  get isUnconfirmed(): boolean {
    return this.#taken > this.#confirmed;
  }

  /** Whether the peer should be told by now. @param along in front of what is sent to it anyway */
  isDue(along: boolean): boolean {
    const frames = this.#taken - this.#confirmed;
    return frames >= (along ? CONFIRM_FRAMES_ALONG : CONFIRM_FRAMES) || this.#bytes >= CONFIRM_BYTES;
  }

  /** The peer is told now. @returns of how many frames */
  confirmed(): number {
    this.#confirmed = this.#taken;
    this.#bytes = 0;
    return this.#taken;
  }
}

/** Pause before the second attempt; it doubles, up to the longest. */
const PAUSE_MS_MIN = 5;
const PAUSE_MS_MAX = 250;
/** Most that one attempt counts for: a process that was busy or stopped has not waited in vain meanwhile. */
const STEP_MS_MAX = 2000;

/** When a lost peer is dialled again, and when it is given up: after so long without sign of life. */
export class Patience {
  readonly #limitMs: number;
  readonly #random: () => number;
  #pauseMs = PAUSE_MS_MIN;
  #spentMs = 0;

  constructor(limitMs: number, random: () => number) {
    this.#limitMs = limitMs;
    this.#random = random;
  }

  /** An attempt came to nothing. @param waitedMs for it and the pause before it. @returns the next pause; undefined: enough */
  failed(waitedMs: number): number | undefined {
    this.#spentMs += Math.min(waitedMs, STEP_MS_MAX);
    if (this.#spentMs >= this.#limitMs) return undefined;
    return this.#pause();
  }

  /** The peer lives. @returns the pause before it is asked again */
  answered(): number {
    this.#spentMs = 0;
    return this.#pause();
  }

  #pause(): number {
    const pauseMs = this.#pauseMs * (0.5 + this.#random() / 2);
    this.#pauseMs = Math.min(2 * this.#pauseMs, PAUSE_MS_MAX);
    return pauseMs;
  }
}
