/** How nodes lie in the state store: what a later head has to know of them, without what changes all the time. */
import type { NodeInfo } from "../core/wire/gen/tsray/v1/common.ts";
import { type DrainNodeRequest, StoredNode } from "../core/wire/gen/tsray/v1/head.ts";
import type { KeptRecord, RecordKeeper } from "./state-store/record-keeper.ts";
import type { StateStore } from "./state-store/state-store.ts";

const TABLE = "nodes";

export interface NodeRow {
  view: NodeInfo;
  /** It was told to leave, and how; undefined: it was not. */
  drain: DrainNodeRequest | undefined;
}

export class NodeRecords {
  readonly #store: StateStore;
  readonly #keeper: RecordKeeper;

  constructor(store: StateStore, keeper: RecordKeeper) {
    this.#store = store;
    this.#keeper = keeper;
  }

  async load(): Promise<NodeRow[]> {
    return (await this.#store.list(TABLE)).flatMap(({ value }) => {
      const { info: view, drain } = StoredNode.decode(value);
      return view === undefined ? [] : [{ view, drain }];
    });
  }

  /** Writes the row as it is by then, whenever it is told of a change. */
  keep(row: NodeRow): KeptRecord {
    return this.#keeper.keep(async () => {
      const { view, drain } = row;
      const info: NodeInfo = { ...view, available: undefined, store: undefined, transfers: undefined };
      await this.#store.put(TABLE, view.nodeId, StoredNode.encode({ info, drain }).finish());
    });
  }

  forget({ view: { nodeId } }: NodeRow, kept: KeptRecord): void {
    kept.replaced(async () => {
      await this.#store.delete(TABLE, nodeId);
    });
  }
}
