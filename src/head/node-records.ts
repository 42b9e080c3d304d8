/** How nodes lie in the state store: what a later head has to know of them, without what changes all the time. */
import { NodeInfo } from "../core/wire/gen/tsray/v1/common.ts";
import type { StateStore } from "./state-store/state-store.ts";

const TABLE = "nodes";

export class NodeRecords {
  readonly #store: StateStore;
  readonly #log: (line: string) => void;
  readonly #writes = new Set<Promise<void>>();

  constructor(store: StateStore, log: (line: string) => void) {
    this.#store = store;
    this.#log = log;
  }

  async load(): Promise<NodeInfo[]> {
    return (await this.#store.list(TABLE)).map(({ value }) => NodeInfo.decode(value));
  }

  /** Resolves when it is written, or could not be, which is logged. */
  put(view: NodeInfo): Promise<void> {
    const lasting: NodeInfo = { ...view, available: undefined, store: undefined, transfers: undefined };
    return this.#write(this.#store.put(TABLE, view.nodeId, NodeInfo.encode(lasting).finish()));
  }

  delete(nodeId: string): void {
    void this.#write(this.#store.delete(TABLE, nodeId));
  }

  /** Waits for the writes under way. */
  async close(): Promise<void> {
    await Promise.all(this.#writes);
  }

  #write(write: Promise<unknown>): Promise<void> {
    const done: Promise<void> = write
      .then(
        () => {},
        (error: Error) => this.#log(`cannot write the node table: ${error.message}`),
      )
      .then(() => void this.#writes.delete(done));
    this.#writes.add(done);
    return done;
  }
}
