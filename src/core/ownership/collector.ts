/**
 * Has garbage collected when this process may be holding much of the node's store: refs and views are small to the
 * JavaScript heap, so on its own it would let go of them far too late. Counts bytes; never looks at objects.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** A process may take or pin this share of the store before it looks for what it no longer needs. */
const SHARE = 1 / 16;
const LIMIT_BYTES_MIN = 4 * 1024 * 1024;
const LIMIT_BYTES_MAX = 256 * 1024 * 1024;
/** Less than this is left to the heap's own collections. */
const IDLE_BYTES_MIN = 1024 * 1024;
const IDLE_MS = 250;
/**
 * What is no longer used here keeps its object alive for about this long; where nothing happens, twice as long after
 * each look.
 */
const HOLDING_MS = 1000;
const HOLDING_MS_MAX = 30_000;
/** A collection that takes longer than this is made half as often. */
const SLOW_MS = 50;

export class Collector {
  readonly #limitMax: number;
  readonly #isHolding: () => boolean;
  #holdingMs = HOLDING_MS;
  #limit: number;
  #bytes = 0;
  #isScheduled = false;
  #timer: NodeJS.Timeout | undefined;

  /** @param isHolding whether an object lives, here or elsewhere, for the sake of something in this process */
  constructor(storeBytes: number, isHolding: () => boolean) {
    this.#isHolding = isHolding;
    this.#limit = Math.min(LIMIT_BYTES_MAX, Math.max(LIMIT_BYTES_MIN, storeBytes * SHARE));
    this.#limitMax = Math.max(this.#limit, storeBytes / 4);
  }

  /** An object of that size was stored or mapped by this process. */
  note(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes >= this.#limit) this.soon();
    else if (this.#bytes >= IDLE_BYTES_MIN) {
      this.#timer ??= setTimeout(() => this.#collect(), IDLE_MS).unref();
    }
  }

  /** Something that may have held an object is over: a call, a ref that arrived, a borrower that let go. */
  noteChange(): void {
    this.#holdingMs = HOLDING_MS;
    this.#lookLater();
  }

  /** Collects when the code that runs now has returned: what it still has on its stack would be kept. */
  soon(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.#collect()).unref();
  }

  #collect(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isScheduled = false;
    this.#bytes = 0;
    const startedMs = performance.now();
    collectGarbage();
    if (performance.now() - startedMs > SLOW_MS) this.#limit = Math.min(this.#limit * 2, this.#limitMax);
    this.#holdingMs = Math.min(this.#holdingMs * 2, HOLDING_MS_MAX);
    this.#lookLater();
  }

  #lookLater(): void {
    if (this.#isHolding()) this.#timer ??= setTimeout(() => this.#collect(), this.#holdingMs).unref();
  }
}

let gc: (() => void) | undefined;

function collectGarbage(): void {
  if (gc === undefined) {
    setFlagsFromString("--expose-gc");
    gc = runInNewContext("gc") as () => void;
    setFlagsFromString("--no-expose-gc");
  }
  gc();
}
