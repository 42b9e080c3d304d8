/**
 * When a connection to the head is given up for a new one. Pure: no clock, no socket.
 *
 * The kernel repeats what was lost after pauses that double: a connection that was cut for a minute moves again up to a
 * minute after the network does. So one that does not come about is dialled again soon, and one that has come about and
 * brings no answers less and less often: a head that is slow must not be asked for more because it is slow.
 */

const CONNECT_MS_MIN = 1000;
const CONNECT_MS_MAX = 3000;
const SILENT_MS_MIN = 2000;

export interface HeadLine {
  readonly isConnecting: boolean;
  /** The head answers over it, as far as one knows. */
  readonly isHeard: boolean;
}

export class HeadDial {
  #dialledMs: number;
  #connectMs = CONNECT_MS_MIN;
  #silentMs = SILENT_MS_MIN;
  /** Since when it has been connected and silent. */
  #silentSinceMs: number | undefined;

  constructor(nowMs: number) {
    this.#dialledMs = nowMs;
  }

  /** To be asked about once a second. @returns whether to dial again, now */
  look({ isConnecting, isHeard }: HeadLine, nowMs: number): boolean {
    if (isConnecting) return nowMs - this.#dialledMs >= this.#connectMs && this.#again(nowMs, "connect");
    if (isHeard) {
      this.#connectMs = CONNECT_MS_MIN;
      this.#silentMs = SILENT_MS_MIN;
      this.#silentSinceMs = undefined;
      return false;
    }
    this.#silentSinceMs ??= nowMs;
    return nowMs - this.#silentSinceMs >= this.#silentMs && this.#again(nowMs, "silent");
  }

  #again(nowMs: number, why: "connect" | "silent"): true {
    this.#dialledMs = nowMs;
    this.#silentSinceMs = undefined;
    if (why === "connect") this.#connectMs = Math.min(1.5 * this.#connectMs, CONNECT_MS_MAX);
    else this.#silentMs *= 2;
    return true;
  }
}
