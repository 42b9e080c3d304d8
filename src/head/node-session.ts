/**
 * The head's stream to one node. While the node cannot keep up it gets nothing; then it gets what it has missed: views of
 * other nodes as they are by then, or all there is to know where more than views was missed.
 */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { ClusterUpdate, type NodeReport } from "../core/wire/gen/tsray/v1/head.ts";

export type NodeCall = ServerDuplexStream<NodeReport, ClusterUpdate>;

export interface CatchUp {
  /** All that the node has to know. */
  snapshot(): ClusterUpdate;
  /** The views of these nodes. */
  views(nodeIds: Iterable<string>): ClusterUpdate;
}

export class NodeSession {
  readonly call: NodeCall;
  #isCongested = false;
  #hasMissedNews = false;
  readonly #viewsMissed = new Set<string>();

  constructor(call: NodeCall, catchUp: CatchUp) {
    this.call = call;
    call.on("drain", () => {
      this.#isCongested = false;
      const nodeIds = [...this.#viewsMissed];
      this.#viewsMissed.clear();
      if (this.#hasMissedNews) {
        this.#hasMissedNews = false;
        this.send(catchUp.snapshot());
      } else if (nodeIds.length > 0) this.sendViews(catchUp.views(nodeIds), nodeIds);
    });
  }

  send(update: ClusterUpdate): void {
    if (!this.call.writable) return;
    if (this.#isCongested) this.#hasMissedNews = true;
    else this.#isCongested = !this.call.write(update);
  }

  /** An answer that is worth nothing later. */
  sendNow(update: ClusterUpdate): void {
    if (this.call.writable && !this.call.write(update)) this.#isCongested = true;
  }

  /** @param nodeIds whose views the update brings: nothing else is in it */
  sendViews(update: ClusterUpdate, nodeIds: readonly string[]): void {
    if (!this.call.writable) return;
    if (this.#isCongested) for (const nodeId of nodeIds) this.#viewsMissed.add(nodeId);
    else this.#isCongested = !this.call.write(update);
  }

  end(last?: ClusterUpdate): void {
    if (!this.call.writable) return;
    if (last) this.call.write(last);
    this.call.end();
  }
}

const NOTHING = ClusterUpdate.fromPartial({});

/** Unlike fromPartial, copies no view. */
export const updateOf = (update: Partial<ClusterUpdate>): ClusterUpdate => ({ ...NOTHING, ...update });

const encoded = new WeakMap<ClusterUpdate, Buffer>();

/** A message that stands for bytes which are there already. Encoded messages may be joined: repeated fields follow one another. */
export function preEncoded(parts: readonly Buffer[]): ClusterUpdate {
  const update = updateOf({});
  encoded.set(update, Buffer.concat(parts));
  return update;
}

export const encodeUpdate = (update: Partial<ClusterUpdate>): Buffer =>
  Buffer.from(ClusterUpdate.encode(updateOf(update)).finish());

/** Serialises an update once, however many streams it goes to. */
export function encodeUpdateOnce(update: ClusterUpdate): Buffer {
  let bytes = encoded.get(update);
  if (bytes === undefined) {
    bytes = encodeUpdate(update);
    encoded.set(update, bytes);
  }
  return bytes;
}
