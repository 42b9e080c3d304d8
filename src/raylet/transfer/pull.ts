/**
 * One object's way into this node's store, however many wait for it: from one source after the other until it is whole.
 *
 * What has come from a source that fails is kept, and the next one sends the rest. Half an object is never seen: it is
 * sealed when it is complete, or given up.
 */
import { type Endpoint, endpointFromTuple } from "../../core/base/endpoint.ts";
import { ObjectStoreFullError } from "../../core/base/errors.ts";
import type { ObjectStore } from "../../core/store/object-store.ts";
import type { PullAdmission } from "./admission.ts";
import { Attempt, type HalfMade, type Outcome } from "./attempt.ts";
import { ChunkPlan } from "./chunk-plan.ts";
import type { DataLink } from "./data-link.ts";
import { type Source, type SourceRules, Sources } from "./sources.ts";

export const CHUNK_BYTES = 4 * 1024 * 1024;
/** Somebody else of this node is writing the object: how long that is waited for. */
const WRITER_WAIT_MS_MAX = 10_000;
const WRITER_POLL_MS = 20;

/** Of the sources that failed, so many are named. */
const REASONS_MAX = 4;
const FREED = "it was freed while it was on its way here";

export interface PullParts {
  readonly store: ObjectStore;
  readonly admission: PullAdmission;
  readonly isPrimary: boolean;
  readonly rules: SourceRules;
  readonly linkTo: (node: Endpoint) => DataLink;
  readonly onReceived: (bytes: number) => void;
}

export class Pull {
  readonly #key: Buffer;
  readonly #parts: PullParts;
  readonly #sources: Sources;
  #object: HalfMade | undefined;
  #admittedBytes: number | undefined;
  #attempt: Attempt | undefined;
  #freed = false;
  /** Whether anything has come since a connection last broke. */
  #hasProgressed = false;

  constructor(key: Buffer, parts: PullParts) {
    this.#key = key;
    this.#parts = parts;
    this.#sources = new Sources(parts.rules);
  }

  /** Nodes that are said to have a copy. */
  addSources(tuples: readonly unknown[]): void {
    this.#sources.add(tuples.flatMap((tuple) => endpointFromTuple(tuple) ?? []));
  }

  /** The object was freed: nobody wants it any more. */
  free(): void {
    this.#freed = true;
    this.#attempt?.settle({ kind: "over", why: FREED });
  }

  /** @returns null, or why it could not be brought here */
  async run(): Promise<string | null> {
    try {
      if (this.#parts.store.contains(this.#key)) return null;
      return await this.#fromAny();
    } catch (error) {
      this.#attempt?.settle({ kind: "over", why: (error as Error).message });
      return (error as Error).message;
    } finally {
      // The object's memory must not go while the socket is read into it.
      await this.#attempt?.landing;
      // After seal() it does nothing.
      this.#object?.writer.abort();
      if (this.#admittedBytes !== undefined) this.#parts.admission.end(this.#admittedBytes);
    }
  }

  async #fromAny(): Promise<string | null> {
    const reasons: string[] = [];
    for (let source = this.#sources.next(); source !== undefined; source = this.#sources.next()) {
      if (this.#freed) return FREED;
      const outcome = await this.#from(source);
      if (outcome.kind === "complete") return null;
      if (outcome.kind === "over") return outcome.why;
      if (outcome.kind === "moved") this.#sources.moved(source.node, outcome.to);
      else if (outcome.kind !== "broken" || !this.#isAskedAgain(source))
        reasons.push(`node ${source.node.nodeId}: ${outcome.why}`);
    }
    if (reasons.length === 0) return "no node holds a copy";
    return [...new Set(reasons)].slice(0, REASONS_MAX).join("; ");
  }

  #isAskedAgain(source: Source): boolean {
    const isAsked = this.#sources.broken(source, this.#hasProgressed);
    this.#hasProgressed = false;
    return isAsked;
  }

  async #from(source: Source): Promise<Outcome> {
    const attempt = new Attempt(this.#parts.linkTo(source.node), this.#key, source.insists);
    this.#attempt = attempt;
    const offer = await attempt.offered;
    if (offer !== undefined) {
      this.#sources.add(offer.others);
      const problem = await this.#prepare(offer.size);
      if (this.#freed) this.free();
      else if (problem !== undefined) attempt.settle(problem);
      else attempt.start(this.#object as HalfMade);
    }
    const outcome = await attempt.over;
    await attempt.landing;
    return outcome;
  }

  /** Room in the store, once the size is known. @returns undefined when bytes may come */
  async #prepare(size: number): Promise<Outcome | undefined> {
    if (this.#object !== undefined) {
      if (this.#object.plan.size === size) return undefined;
      return { kind: "failed", why: `its copy has ${size} bytes, another had ${this.#object.plan.size}` };
    }
    const { admission } = this.#parts;
    if (this.#admittedBytes === undefined) {
      await new Promise<void>((begin) => admission.ask(size, begin));
      this.#admittedBytes = size;
    }
    for (;;) {
      try {
        return await this.#create(size);
      } catch (error) {
        if (!(error instanceof ObjectStoreFullError)) throw error;
        if (admission.running === 1) return { kind: "over", why: error.message };
        await new Promise<void>((begin) => admission.askAlone(size, begin));
      }
    }
  }

  /** @throws ObjectStoreFullError */
  async #create(size: number): Promise<Outcome | undefined> {
    const { store, onReceived } = this.#parts;
    const untilMs = performance.now() + WRITER_WAIT_MS_MAX;
    for (;;) {
      const writer = store.create(this.#key, size, { secondary: !this.#parts.isPrimary });
      if (writer !== undefined) {
        this.#object = {
          plan: new ChunkPlan(size, CHUNK_BYTES),
          writer,
          memory: writer.memory,
          onReceived: (bytes) => {
            this.#hasProgressed = true;
            onReceived(bytes);
          },
        };
        return undefined;
      }
      if (store.contains(this.#key)) return { kind: "complete" };
      if (this.#freed || performance.now() > untilMs)
        return { kind: "over", why: "another process of this node is writing it, and has not finished" };
      await new Promise((resolve) => setTimeout(resolve, WRITER_POLL_MS));
    }
  }
}
