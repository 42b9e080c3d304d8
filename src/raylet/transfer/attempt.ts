/**
 * One object, one source: asks for the missing chunks, some of them ahead, and tells how it ended. The source may be
 * another raylet's mistake or worse: offsets and lengths count only where they were asked for.
 */
import type { Endpoint } from "../../core/base/endpoint.ts";
import type { ObjectWriter } from "../../core/store/object-store.ts";
import type { ChunkPlan } from "./chunk-plan.ts";
import { type DataLink, type Download, malformed } from "./data-link.ts";

const CHUNKS_IN_FLIGHT_MAX = 4;
const OBJECT_BYTES_MAX = 2 ** 46;

export interface Offer {
  /** Bytes. */
  readonly size: number;
  /** Other nodes with a copy. */
  readonly others: readonly Endpoint[];
}

export type Outcome =
  | { readonly kind: "complete" }
  | { readonly kind: "moved"; readonly to: Endpoint }
  /** The next source may do better. */
  | { readonly kind: "failed"; readonly why: string }
  /** The connection broke: the same source may do better over another. */
  | { readonly kind: "broken"; readonly why: string }
  /** No source can help. */
  | { readonly kind: "over"; readonly why: string };

/** The object being made, and what of it is here. */
export interface HalfMade {
  readonly plan: ChunkPlan;
  readonly writer: ObjectWriter;
  /** The object's own memory, where the store shows it. */
  readonly memory: Buffer | undefined;
  readonly onReceived: (bytes: number) => void;
}

export class Attempt implements Download {
  /** Undefined: the attempt ended before. */
  readonly offered: Promise<Offer | undefined>;
  readonly over: Promise<Outcome>;
  readonly #link: DataLink;
  readonly #id: number;
  #offer: (offer: Offer | undefined) => void = () => {};
  #end: (outcome: Outcome) => void = () => {};
  #state: "opening" | "offered" | "reading" | "ended" = "opening";
  #object: HalfMade | undefined;
  #landing: Promise<void> | undefined;
  #onLanded: () => void = () => {};

  constructor(link: DataLink, key: Buffer, insists: boolean) {
    this.offered = new Promise((resolve) => {
      this.#offer = resolve;
    });
    this.over = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#link = link;
    this.#id = link.open(this, key, insists);
  }

  get expects(): boolean {
    return this.#state === "opening" || this.#state === "reading";
  }

  /** After the end: resolves when no byte of the source is written into the object any more. */
  get landing(): Promise<void> | undefined {
    return this.#landing;
  }

  /** Asks for what is missing. */
  start(object: HalfMade): void {
    if (this.#state === "ended") return;
    this.#state = "reading";
    this.#object = object;
    object.plan.restart();
    if (object.plan.isComplete) this.#complete(object);
    else for (let i = 0; i < CHUNKS_IN_FLIGHT_MAX; i++) this.#askNext(object);
  }

  /** Ends the attempt; later calls change nothing. */
  settle(outcome: Outcome): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    const isLanding = this.#link.done(this.#id, outcome.kind === "complete");
    if (isLanding) {
      this.#landing = new Promise((resolve) => {
        this.#onLanded = resolve;
      });
    }
    this.#offer(undefined);
    this.#end(outcome);
  }

  // --- called by the link ---

  onOffer(size: unknown, others: readonly Endpoint[]): void {
    if (this.#state !== "opening" || !isSize(size)) throw malformed(`offered ${String(size)} bytes`);
    this.#state = "offered";
    this.#offer({ size, others });
  }

  place(offset: unknown, length: number): Buffer {
    const object = this.#object;
    if (object === undefined || typeof offset !== "number" || !object.plan.expects(offset, length))
      throw malformed(`sent ${length} bytes at ${String(offset)} that nobody asked for`);
    return object.memory?.subarray(offset, offset + length) ?? this.#link.spare(length);
  }

  onChunk(offset: number, bytes: Buffer, intact: boolean): void {
    const object = this.#object as HalfMade;
    if (!intact) {
      if (object.plan.damaged(offset)) this.#askNext(object);
      else
        this.settle({
          kind: "failed",
          why: `the chunk at ${offset} came damaged twice (its checksum is wrong)`,
        });
      return;
    }
    if (object.memory === undefined) object.writer.write(offset, bytes);
    object.plan.arrived(offset);
    object.onReceived(bytes.length);
    if (object.plan.isComplete) this.#complete(object);
    else this.#askNext(object);
  }

  onMoved(to: Endpoint): void {
    this.settle({ kind: "moved", to });
  }

  onAbsent(): void {
    this.settle({ kind: "failed", why: "it has no copy (any more)" });
  }

  onBroken(why: string, mayLive: boolean): void {
    this.settle({ kind: mayLive ? "broken" : "failed", why });
  }

  landed(): void {
    this.#onLanded();
  }

  #askNext(object: HalfMade): void {
    const chunk = object.plan.next();
    if (chunk !== undefined) this.#link.read(this.#id, chunk.offset, chunk.length);
  }

  /** Sealed first: the source may send others here as soon as it knows. */
  #complete(object: HalfMade): void {
    object.writer.seal();
    this.settle({ kind: "complete" });
  }
}

function isSize(size: unknown): size is number {
  return Number.isSafeInteger(size) && (size as number) >= 0 && (size as number) <= OBJECT_BYTES_MAX;
}
