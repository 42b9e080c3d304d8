/**
 * Has garbage collected where an object of the store may hang on it: refs and views are small to the JavaScript heap, so
 * on its own it would let go of them far too late. Decides when; what is found dead is freed by whoever watched it.
 *
 * While anything is held there is a look every half second, unless nothing has run since the last one. Whoever fills the
 * store faster than that has garbage collected inside its turn. Never takes more than about 2 % of the time.
 */
import { performance } from "node:perf_hooks";
import { collectGarbage } from "../base/garbage.ts";
import type { DeathWatch, WatchDeath } from "./death-watch.ts";

/** Not a round number: a timer of the user's that fires in the same turn each time would go unseen. */
const LOOK_MS = 487;
/** The next look comes no sooner than this many times the processor time of the last collection. */
const REST = 50;
/** A process may take or pin this share of the store before it looks for what it no longer needs. */
const SHARE = 1 / 16;
const LIMIT_BYTES_MIN = 4 * 1024 * 1024;
const LIMIT_BYTES_MAX = 256 * 1024 * 1024;
/** What a mapping costs (page tables), as a share of what it maps. */
const MAPPING_SHARE = 1 / 64;
/** Above this share of the store every put looks, as far as the rests between collections allow. */
const PRESSURE = 0.8;
/** A collection that takes longer than this is made half as often for the sake of bytes. */
const SLOW_MS = 50;

export interface CollectorParts {
  readonly storeBytes: number;
  readonly usedBytes: () => number;
  /** Whether an object lives, here or elsewhere, for the sake of something in this process. */
  readonly isHolding: () => boolean;
  /** Tells whether an object was collected, within the turn; null without the addon. */
  readonly watchDeath: WatchDeath | null;
  /** Frees what a collection has found dead. @returns how many objects that were */
  readonly sweep: () => number;
}

export class Collector {
  readonly #parts: CollectorParts;
  readonly #limitMax: number;
  #limit: number;
  /** Bytes stored or mapped, and in how many pieces, since the last collection of any kind. */
  #bytes = 0;
  #pieces = 0;
  /** Bytes that collections of young garbage have not freed. */
  #bytesOld = 0;
  /** Mapped views that have not been collected: with the addon, and without it. */
  readonly #views = new Set<DeathWatch>();
  #viewsFinalized = 0;
  readonly #viewsGone = new FinalizationRegistry<undefined>(() => {
    this.#viewsFinalized -= 1;
  });
  #isScheduled = false;
  #timer: NodeJS.Timeout | undefined;
  #restsUntilMs = 0;
  /** Turns of the event loop at the last look. */
  #turns = 0;
  /** Something has run since the last collection. */
  #isDirty = false;

  constructor(parts: CollectorParts) {
    this.#parts = parts;
    const { storeBytes } = parts;
    this.#limit = Math.min(LIMIT_BYTES_MAX, Math.max(LIMIT_BYTES_MIN, storeBytes * SHARE));
    this.#limitMax = Math.max(this.#limit, storeBytes / 4);
  }

  /** This process stored an object. Its garbage is found within the turn: a loop of puts may never end its own. */
  notePut(bytes: number): void {
    this.#bytes += bytes;
    this.#pieces += 1;
    if (this.#bytes >= this.#limit) this.#collectYoung();
    else if (this.#isUnderPressure()) this.now();
    else this.look();
  }

  /**
   * An object's memory is in use by this process until the view is collected. Another view of an object that was viewed
   * before holds no more memory, only a mapping.
   */
  noteView(view: Uint8Array, isAnother: boolean): void {
    const { watchDeath } = this.#parts;
    if (watchDeath !== null) this.#views.add(watchDeath(view.buffer));
    else {
      this.#viewsFinalized += 1;
      this.#viewsGone.register(view.buffer, undefined);
    }
    this.#bytes += isAnother ? view.byteLength * MAPPING_SHARE : view.byteLength;
    this.#pieces += 1;
    // A loop that awaits nothing but what is there already never ends its turn.
    if (this.#bytes >= 2 * this.#limit) this.#collectYoung();
    else if (this.#bytes >= this.#limit) this.#soon();
    else this.look();
  }

  /** Something is held, or was let go: there is a look within half a second, and more while anything is held. */
  look(): void {
    this.#timer ??= setTimeout(() => this.#look(), LOOK_MS).unref();
  }

  /** Collects at once. */
  now(): void {
    this.#bytes = 0;
    this.#pieces = 0;
    this.#bytesOld = 0;
    this.#isDirty = false;
    // Time of the processor: on a busy machine a collection waits for it longer than it takes.
    const before = process.cpuUsage();
    collectGarbage();
    const { user, system } = process.cpuUsage(before);
    const tookMs = (user + system) / 1000;
    if (tookMs > SLOW_MS) this.#limit = Math.min(this.#limit * 2, this.#limitMax);
    this.#restsUntilMs = performance.now() + REST * tookMs;
    this.#sweep();
    this.look();
  }

  /** What a loop has put and dropped is young, and found in about a millisecond however large the heap is. */
  #collectYoung(): void {
    collectGarbage("minor");
    this.#bytesOld += this.#bytes * Math.max(0, 1 - this.#sweep() / this.#pieces);
    this.#bytes = 0;
    this.#pieces = 0;
    if (this.#bytesOld >= this.#limit) this.now();
    else this.look();
  }

  /** @returns how many objects and views were found dead */
  #sweep(): number {
    const before = this.#views.size;
    for (const view of this.#views) if (!view.isAlive()) this.#views.delete(view);
    return before - this.#views.size + this.#parts.sweep();
  }

  /** Collects when the code that runs now has returned: what it still has on its stack would be kept. */
  #soon(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (this.#bytes >= this.#limit) this.#collectYoung();
    }).unref();
  }

  #look(): void {
    this.#timer = undefined;
    const turns = performance.nodeTiming.uvMetricsInfo.loopCount;
    // One turn is this timer's own.
    this.#isDirty ||= turns > this.#turns + 1;
    this.#turns = turns;
    if (this.#isDirty && performance.now() >= this.#restsUntilMs) {
      this.now();
      return;
    }
    // The heap's own collections may have found something.
    if (this.#isDirty) this.#sweep();
    if (this.#views.size + this.#viewsFinalized > 0 || this.#parts.isHolding()) this.look();
  }

  #isUnderPressure(): boolean {
    return (
      performance.now() >= this.#restsUntilMs && this.#parts.usedBytes() > this.#parts.storeBytes * PRESSURE
    );
  }
}
