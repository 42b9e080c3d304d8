/**
 * Which bytes travel for the ArrayBuffers and views of a value.
 *
 * A buffer that is itself part of the value is sent whole. Otherwise only the bytes under its views are, and views that
 * overlap share one chunk, so that they share memory on the other side too. Large chunks are views over the caller's
 * memory (out of band); small ones are copied into the payload.
 */

import { OUT_OF_BAND_BYTES_MIN, Tag } from "./table.ts";

interface PendingView {
  readonly node: unknown[];
  readonly kind: string;
  readonly offset: number;
  readonly byteLength: number;
  readonly length: number;
  readonly elementBytes: number;
}
interface Source {
  readonly views: PendingView[];
  /** The node of the buffer itself, when it is part of the value. */
  whole: unknown[] | undefined;
}

/** Collects the binary parts of one value, then fills in their nodes. */
export class ChunkCollector {
  readonly chunks: (Uint8Array | number)[] = [];
  readonly buffers: Uint8Array[] = [];
  readonly #sources = new Map<ArrayBuffer, Source>();

  addBuffer(buffer: ArrayBuffer): unknown[] {
    const node: unknown[] = [Tag.arrayBuffer];
    this.#source(buffer).whole = node;
    return node;
  }

  addView(view: ArrayBufferView, kind: string, elementBytes: number): unknown[] {
    const node: unknown[] = [Tag.view];
    const { byteOffset: offset, byteLength } = view;
    const length = byteLength / elementBytes;
    this.#source(view.buffer as ArrayBuffer).views.push({
      node,
      kind,
      offset,
      byteLength,
      length,
      elementBytes,
    });
    return node;
  }

  /** Decides the chunks and completes every node handed out. */
  finish(): void {
    for (const [buffer, source] of this.#sources) {
      if (source.whole !== undefined) {
        const chunk = this.#chunk(buffer, 0, buffer.byteLength);
        source.whole.push(chunk);
        for (const view of source.views) place(view, chunk, 0);
      } else {
        this.#shareOverlaps(buffer, source.views);
      }
    }
  }

  #shareOverlaps(buffer: ArrayBuffer, views: PendingView[]): void {
    views.sort((a, b) => a.offset - b.offset);
    for (let first = 0; first < views.length; ) {
      let start = views[first]!.offset;
      let end = start + views[first]!.byteLength;
      let next = first + 1;
      while (next < views.length && views[next]!.offset < end) {
        end = Math.max(end, views[next]!.offset + views[next]!.byteLength);
        next++;
      }
      const group = views.slice(first, next);
      // A group that starts with a view of single bytes may put its wider views off their boundary.
      if (group.some((view) => (view.offset - start) % view.elementBytes !== 0)) start -= start % 8;
      const chunk = this.#chunk(buffer, start, end);
      for (const view of group) place(view, chunk, start);
      first = next;
    }
  }

  #chunk(buffer: ArrayBuffer, start: number, end: number): number {
    const byteLength = end - start;
    if (byteLength >= OUT_OF_BAND_BYTES_MIN) {
      this.chunks.push(this.buffers.push(new Uint8Array(buffer, start, byteLength)) - 1);
    } else {
      this.chunks.push(Buffer.from(buffer, start, byteLength));
    }
    return this.chunks.length - 1;
  }

  #source(buffer: ArrayBuffer): Source {
    let source = this.#sources.get(buffer);
    if (source === undefined) {
      source = { views: [], whole: undefined };
      this.#sources.set(buffer, source);
    }
    return source;
  }
}

function place(view: PendingView, chunk: number, chunkStart: number): void {
  view.node.push(view.kind, chunk, view.offset - chunkStart, view.length);
}
