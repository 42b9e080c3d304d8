/**
 * Faults that tests and the chaos run provoke in this process's channels: what networks do to connections now and then. Part
 * of TSRAY_TEST_FAULTS, which faults.ts reads and explains; without it nothing here runs.
 */
import type { Socket } from "node:net";
import { type FaultPlan, faultPlan, randomFrom, saltOfProcess } from "./faults.ts";

/** What happens to a frame that is about to leave. */
export type Strike = "none" | "cutBefore" | "cutWithin" | "cutAfter" | "hold";

export class StreamFaults {
  readonly #plan: FaultPlan;
  readonly #random: () => number;
  /** Connections cut so far. */
  cuts = 0;

  /** @param salt tells processes of one run apart */
  constructor(plan: FaultPlan, salt = "") {
    this.#plan = plan;
    this.#random = randomFrom(plan.seed, `${salt}/streams`);
  }

  /** Where connections between nodes go instead; they begin with a line that says where they wanted to go. */
  get proxy(): { host: string; port: number } | undefined {
    const { proxyPort } = this.#plan;
    return proxyPort === 0 ? undefined : { host: "127.0.0.1", port: proxyPort };
  }

  get holdMs(): number {
    return this.#random() * this.#plan.holdMs;
  }

  /** @param nth frame of its connection, from 1 */
  strike(nth: number): Strike {
    const { cut, cutAfter, hold } = this.#plan;
    if ((cutAfter > 0 && nth >= cutAfter) || this.#happens(cut)) {
      this.cuts += 1;
      const where = this.#random();
      return where < 1 / 3 ? "cutBefore" : where < 2 / 3 ? "cutWithin" : "cutAfter";
    }
    return this.#happens(hold) ? "hold" : "none";
  }

  /** Whether a connection that takes over sends what the other side is known to have as well. */
  replays(): boolean {
    return this.#happens(this.#plan.replay);
  }

  /** @returns undefined where nothing is done to connections of that kind */
  writesOf(socket: Socket, stream: "unix" | "tcp"): FaultyWrites | undefined {
    const { only, cut, cutAfter, hold } = this.#plan;
    const isConcerned = cut > 0 || cutAfter > 0 || hold > 0;
    if (!isConcerned || (only.length > 0 && !only.includes(stream))) return undefined;
    return new FaultyWrites(socket, stream, this);
  }

  #happens(chance: number): boolean {
    return chance > 0 && this.#random() < chance;
  }
}

/** What is written to one connection. */
export class FaultyWrites {
  readonly #socket: Socket;
  readonly #stream: "unix" | "tcp";
  readonly #faults: StreamFaults;
  #written = 0;

  constructor(socket: Socket, stream: "unix" | "tcp", faults: StreamFaults) {
    this.#socket = socket;
    this.#stream = stream;
    this.#faults = faults;
  }

  write(parts: readonly Uint8Array[]): void {
    this.#written += 1;
    // The hello: a peer that never gets to know who calls has nothing to take up again.
    const strike = this.#written === 1 ? "none" : this.#faults.strike(this.#written - 1);
    const bytes = Buffer.concat(parts);
    const socket = this.#socket;
    if (strike === "hold") {
      socket.cork();
      setTimeout(() => socket.uncork(), this.#faults.holdMs);
    }
    if (strike === "cutWithin") socket.write(bytes.subarray(0, bytes.length >> 1));
    else if (strike !== "cutBefore") socket.write(bytes);
    if (!strike.startsWith("cut")) return;
    if (this.#stream === "tcp" && strike !== "cutAfter") socket.resetAndDestroy();
    else socket.destroy();
  }
}

/** Of this process's channels; undefined where nobody asked for faults. */
export function streamFaults(): StreamFaults | undefined {
  const asked = faultPlan();
  if (asked !== undefined) faults ??= new StreamFaults(asked, saltOfProcess);
  return faults;
}
let faults: StreamFaults | undefined;
