/**
 * Whether this raylet may act, and on whose word. It may not once it is fenced: the cluster gives its work to others, so
 * its workers are killed first of all.
 */
import type { HealthTimes } from "../core/launch/health-rules.ts";
import type { HeadEpoch } from "./head-epoch.ts";
import { ownClock } from "./own-clock.ts";
import { PauseGuard } from "./pause-guard.ts";
import { Pulse } from "./pulse.ts";

export interface StandingParts {
  readonly epoch: HeadEpoch;
  /** Where workers see that this process moves. */
  readonly pulsePath: string;
  /** The head is in this process, and stands still with it. */
  readonly isHeadWithin: boolean;
  /** Kills what runs here, now, and has the node end. */
  readonly onFenced: (reason: string) => void;
}

export class Standing {
  readonly #parts: StandingParts;
  #guard: PauseGuard | undefined;
  #pulse: Pulse | undefined;
  #isFenced = false;

  constructor(parts: StandingParts) {
    this.#parts = parts;
  }

  get isFenced(): boolean {
    return this.#isFenced;
  }

  /** The head has said how long it waits for a node. @param headAddress where it is */
  begin({ pauseMsMax }: HealthTimes, headAddress: string): void {
    if (this.#parts.isHeadWithin) return;
    this.#pulse = new Pulse(this.#parts.pulsePath, pauseMsMax);
    this.#guard = new PauseGuard(
      pauseMsMax,
      (pausedMs) =>
        this.fence(
          `this process stood still for ${Math.round(pausedMs)} ms, and has been given up meanwhile`,
        ),
      ownClock(headAddress),
    );
  }

  get pulse(): { path: string; msMax: number } | null {
    return this.#pulse === undefined ? null : { path: this.#pulse.path, msMax: this.#pulse.msMax };
  }

  /** To be asked before anything that has arrived is acted on. */
  mayAct(): boolean {
    return !this.#isFenced && (this.#guard?.check() ?? true);
  }

  /** @returns why a call that has arrived is refused */
  refusal(epoch: number | undefined): string | undefined {
    return this.mayAct() ? this.#parts.epoch.refusal(epoch) : "this node has been fenced";
  }

  fence(reason: string): void {
    if (this.#isFenced) return;
    this.#isFenced = true;
    this.#guard?.close();
    this.#parts.onFenced(reason);
  }

  close(): void {
    this.#guard?.close();
    this.#pulse?.close();
  }
}
