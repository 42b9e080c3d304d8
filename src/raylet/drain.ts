/**
 * How a node leaves of its own will: it takes no new work, lets what runs finish within a time, hands on the objects
 * that processes elsewhere own, and goes. Decides the order; who does each part is told by its name.
 */
import type { HandOnParts } from "./hand-on.ts";

const POLL_MS = 20;

export interface DrainParts extends HandOnParts {
  /** Stops taking work, and asks for what is lent. */
  readonly refuseWork: (reason: string) => void;
  /** Leases, actors and drivers that are still here. */
  readonly busy: () => { readonly leases: number; readonly actors: number; readonly drivers: number };
  /** Ends the actors that did not finish in time. */
  readonly endActors: (reason: string) => void;
  /** Resolves when the head knows where the actors have gone. */
  readonly headKnows: () => Promise<void>;
  /** It is done: the node leaves. */
  readonly onDone: (reason: string) => void;
}

export interface DrainOrder {
  readonly graceMs: number;
  readonly reason: string;
  /** Whether drivers are waited for, and objects handed on: not where the whole cluster may be ending. */
  readonly handsOn: boolean;
}

export class Drain {
  readonly #parts: DrainParts;
  #hasBegun = false;

  constructor(parts: DrainParts) {
    this.#parts = parts;
  }

  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** Repeats are no-ops. */
  begin(order: DrainOrder): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    void this.#run(order).catch((error: Error) => {
      this.#parts.log(`while it was drained: ${error.stack}`);
      this.#parts.onDone(order.reason);
    });
  }

  async #run({ graceMs, reason, handsOn }: DrainOrder): Promise<void> {
    const { log, refuseWork, busy, endActors, headKnows, onDone } = this.#parts;
    log(`takes no more work: ${reason}; what runs has ${graceMs} ms`);
    refuseWork(reason);
    const untilMs = performance.now() + graceMs;
    const isBusy = () => {
      const { leases, actors, drivers } = busy();
      return leases > 0 || (handsOn && (actors > 0 || drivers > 0));
    };
    while (isBusy() && performance.now() < untilMs)
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    const { leases, actors, drivers } = busy();
    if (leases + actors + drivers > 0)
      log(`its time is up with ${leases} leases, ${actors} actors and ${drivers} drivers left`);
    endActors(reason);
    while (busy().actors > 0) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    if (handsOn) {
      const { handOn } = await import("./hand-on.ts");
      await handOn(this.#parts);
      // A head that is away would take this node for dead, and its actors for crashed.
      await headKnows();
    }
    onDone(reason);
  }
}
