/** What a remote generator gives: its items as refs, while it still runs. */
import type { ObjectEntry } from "./entries.ts";
import { ObjectRef } from "./object-ref.ts";

/** Where items come from: the owner's record of the running generator. */
export interface ItemSource {
  take(): Promise<ObjectEntry | undefined>;
  leave(): void;
  cancel(force: boolean, recursive: boolean): void;
}

/** The owner's record behind a generator, for the runtime. */
export let sourceOf: (generator: ObjectRefGenerator<unknown>) => ItemSource;

const abandoned = new FinalizationRegistry<ItemSource>((source) => source.leave());

/**
 * An async iterator over refs to the items of a remote generator. Breaking out of a `for await` stops the generator.
 * When it fails, the next ref rejects with the error, and then the iteration ends.
 */
export class ObjectRefGenerator<Y> implements AsyncIterableIterator<ObjectRef<Y>> {
  readonly #source: ItemSource;

  static {
    sourceOf = (generator) => generator.#source;
  }

  /** @internal */
  constructor(source: ItemSource) {
    this.#source = source;
    abandoned.register(this, source);
  }

  async next(): Promise<IteratorResult<ObjectRef<Y>, undefined>> {
    const entry = await this.#source.take();
    return entry === undefined
      ? { done: true, value: undefined }
      : { done: false, value: new ObjectRef<Y>(entry) };
  }

  /** Stops the generator. */
  async return(): Promise<IteratorResult<ObjectRef<Y>, undefined>> {
    this.#source.leave();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#source.leave();
  }
}
