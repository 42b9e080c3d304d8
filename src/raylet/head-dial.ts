/**
 * When a connection over which the head does not answer is given up for a new one. Pure: no clock, no socket.
 *
 * The kernel repeats what was lost after pauses that double: a connection that was cut for a minute moves again up to a
 * minute after the network does. So while it is silent the head's machine is tried all the time, and as soon as it
 * answers there is a new connection. Then less and less often: a head that is slow must not be asked for more for that.
 */

const PATIENCE_MS_MIN = 2000;

export class HeadDial {
  /** Since when the connection is as it is. */
  #sinceMs: number;
  #patienceMs = PATIENCE_MS_MIN;

  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
  }

  /**
   * To be asked a few times a second.
   * @param isHeard the head answers, or there is no connection that could be silent
   * @returns whether it is worth trying whether the network is there
   */
  look(isHeard: boolean, nowMs: number): boolean {
    if (isHeard) this.#patienceMs = PATIENCE_MS_MIN;
    return !isHeard && nowMs - this.#sinceMs >= this.#patienceMs;
  }

  /** The network is there, and there is a new connection. */
  dialled(nowMs: number): void {
    this.#sinceMs = nowMs;
    this.#patienceMs *= 2;
  }
}
