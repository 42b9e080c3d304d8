/**
 * Whether this node may go on without a word from the head. Pure: no clock, no socket.
 *
 * A node that alone does not hear the head is cut off, and what it runs will be given to others: it must end it in time
 * (core/launch/health-rules.ts). A head that nobody hears is gone, gives nothing away, and is waited for. So a node that
 * misses answers asks others, and believes what it was told for a short while only: one that hears the head settles it.
 * A node on the head's own machine cannot be cut off from it: unless others hear it, the head is stuck there.
 */
import type { HealthTimes } from "../core/launch/health-rules.ts";

/** What is known of the head from elsewhere. */
export type Hearsay =
  /** Another node hears it: this one is cut off. */
  | "heard"
  /** Another node has lost it too, or is back with a later one. */
  | "lost"
  /** It is on this machine, where no network can fail, and listens: it stands still, or has no processor time. */
  | "stuck"
  /** Its machine says that nobody listens there: who answers next began after that, and gives this node its grace. */
  | "gone";

export type WatchVerdict =
  | { readonly kind: "hears" }
  /** Ask others, and look again. */
  | { readonly kind: "ask" }
  | { readonly kind: "fence"; readonly reason: string };

const HEARS: WatchVerdict = { kind: "hears" };
const ASK: WatchVerdict = { kind: "ask" };

export class HeadWatch {
  readonly #times: HealthTimes;
  /** Reports on their way, oldest first, by when they left. */
  readonly #sent: { readonly beat: number; readonly atMs: number }[] = [];
  /** When the last report that the head has answered left. */
  #answeredMs: number;
  #heardMs = Number.NEGATIVE_INFINITY;
  #lostMs = Number.NEGATIVE_INFINITY;
  #goneMs = Number.NEGATIVE_INFINITY;
  #lookedMs: number;

  /** @param nowMs when the report left that the head's registration answered */
  constructor(times: HealthTimes, nowMs: number) {
    this.#times = times;
    this.#answeredMs = nowMs;
    this.#lookedMs = nowMs;
  }

  sent(beat: number, nowMs: number): void {
    this.#sent.push({ beat, atMs: nowMs });
  }

  answered(beat: number): void {
    while (this.#sent.length > 0 && (this.#sent[0]?.beat ?? 0) <= beat)
      this.#answeredMs = Math.max(this.#answeredMs, this.#sent.shift()?.atMs ?? 0);
  }

  /** @param askedMs when the question left */
  told(what: Hearsay, askedMs: number): void {
    if (what === "heard") this.#heardMs = Math.max(this.#heardMs, askedMs);
    else if (what !== "gone") this.#lostMs = Math.max(this.#lostMs, askedMs);
    else this.#goneMs = Math.max(this.#goneMs, askedMs);
  }

  /** What this node answers others. */
  hears(nowMs: number): boolean {
    return nowMs - this.#answeredMs <= this.#times.trustMs;
  }

  /** To be asked once a period. */
  look(nowMs: number): WatchVerdict {
    const { selfFenceMs, graceMs, trustMs } = this.#times;
    const silentMs = nowMs - this.#answeredMs;
    const sinceLookMs = nowMs - this.#lookedMs;
    this.#lookedMs = nowMs;
    if (silentMs <= trustMs) return HEARS;
    if (silentMs <= selfFenceMs) return ASK;
    // This process came late to look: answers may lie in its sockets. It looks once more before it decides.
    if (sinceLookMs > trustMs) return ASK;
    const told = `the head has not answered for ${Math.round(silentMs)} ms`;
    if (nowMs - this.#heardMs <= trustMs) return fence(`${told}, and other nodes hear it`);
    const isGone = this.#goneMs > this.#answeredMs;
    if (!isGone && nowMs - this.#lostMs > trustMs) return fence(`${told}, and nobody says that it is gone`);
    if (silentMs > graceMs) return fence(`${told}, and is not waited for any longer`);
    return ASK;
  }
}

function fence(reason: string): WatchVerdict {
  return { kind: "fence", reason };
}
