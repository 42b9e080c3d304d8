/**
 * Looks after the node's store ahead of need: keeps some memory ready to be written to, and makes room before it is
 * full. First every process of the node is asked to let go of what it no longer needs, since spilling garbage is the
 * dearest way to keep it; then primary copies are spilled. Nothing depends on it: who finds no room makes some himself.
 * What a process owned goes with it.
 */
import { ownerPrefix } from "../core/base/ids.ts";
import type { StoreStats } from "../core/store/object-store.ts";
import type { OwnedObjectStore } from "../core/store/open-store.ts";

const LOOK_MS = 200;
/** Above this share of the store, what cannot be evicted is spilled ... */
const SPILL_ABOVE = 0.8;
/** ... until it is this share. */
const SPILL_TO = 0.7;
/** Processes have so long to let go before anything is spilled, and are asked again only after the second. */
const COLLECT_MS = 200;
const COLLECT_AGAIN_MS = 2000;
/** Tasks that still run for an owner who is gone may store their results after his end. */
const LATE_RESULTS_MS = [5000, 60_000];
/** A process whose pins cannot be dropped yet because it still runs is looked at again after this long. */
const RECLAIM_RETRY_MS = 250;
const RECLAIM_TRIES_MAX = 40;
const PROCESS_ID = /^[0-9a-f]{16}$/;
/** Start-up belongs to the workers. */
const WARM_AFTER_MS = 1500;

export interface StoreKeeperParts {
  readonly store: OwnedObjectStore;
  /** Bytes kept ready beyond what is used; 0 = none. */
  readonly warmBytes: number;
  /** Asks the processes of the node to collect their garbage. */
  readonly askForRoom: () => void;
  readonly log: (line: string) => void;
}

export class StoreKeeper {
  readonly #parts: StoreKeeperParts;
  #timer: NodeJS.Timeout | undefined;
  #startedMs = 0;
  #askedMs = Number.NEGATIVE_INFINITY;
  #warmUntil = 0;
  #isWarming = false;
  #isSpilling = false;
  #said = "";
  #isClosed = false;
  readonly #late = new Set<NodeJS.Timeout>();

  constructor(parts: StoreKeeperParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#startedMs = performance.now();
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    this.#timer = undefined;
    for (const timer of this.#late) clearTimeout(timer);
  }

  /** A process is gone, here or on another node: nobody can get the objects it owned. */
  ownerEnded(processId: string): void {
    // The workers of a node that is over end after this: their objects go with the store.
    if (this.#isClosed || !PROCESS_ID.test(processId)) return;
    const prefix = ownerPrefix(processId);
    this.#parts.store.deleteAll(prefix);
    for (const afterMs of LATE_RESULTS_MS) {
      const timer = setTimeout(() => {
        this.#late.delete(timer);
        this.#parts.store.deleteAll(prefix);
      }, afterMs).unref();
      this.#late.add(timer);
    }
  }

  /** Drops what a process that has ended, or is about to, held on to. */
  reclaim(pid: number, tries = 0): void {
    if (this.#isClosed || this.#parts.store.reclaim(pid) || tries >= RECLAIM_TRIES_MAX) return;
    setTimeout(() => this.reclaim(pid, tries + 1), RECLAIM_RETRY_MS).unref();
  }

  #look(): void {
    const stats = this.#parts.store.stats();
    this.#warm(stats);
    if (this.#isSpilling || stats.usedBytes - stats.evictableBytes <= SPILL_ABOVE * stats.capacityBytes)
      return;
    const sinceAsked = performance.now() - this.#askedMs;
    if (sinceAsked > COLLECT_AGAIN_MS) {
      this.#askedMs = performance.now();
      this.#parts.askForRoom();
    } else if (sinceAsked >= COLLECT_MS) {
      void this.#spill(stats);
    }
  }

  async #spill({ capacityBytes }: StoreStats): Promise<void> {
    const { store, log } = this.#parts;
    this.#isSpilling = true;
    try {
      await store.spillDownTo(Math.floor(SPILL_TO * capacityBytes));
      if (this.#timer === undefined) return;
      const { spillError } = store.stats();
      if (spillError !== this.#said)
        log(`spilling ${spillError === "" ? "works again" : `fails: ${spillError}`}`);
      this.#said = spillError;
    } finally {
      this.#isSpilling = false;
    }
  }

  #warm({ usedBytes, capacityBytes }: StoreStats): void {
    const wanted = Math.min(usedBytes + this.#parts.warmBytes, capacityBytes);
    const isEarly = performance.now() - this.#startedMs < WARM_AFTER_MS;
    if (this.#isWarming || isEarly || this.#parts.warmBytes === 0 || wanted <= this.#warmUntil) return;
    this.#isWarming = true;
    void this.#parts.store.prefault(this.#warmUntil, wanted).then((until) => {
      // Memory is short: what is there will do.
      this.#warmUntil = until < wanted ? Number.POSITIVE_INFINITY : until;
      this.#isWarming = false;
    });
  }
}
