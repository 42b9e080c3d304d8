/**
 * A connection for object bytes, dialled by the node that pulls to one that has copies. Several downloads share it; each
 * asks for its chunks as it wants them and the source sends them in the order in which they were asked for.
 *
 * Chunks are read from the socket into the memory of the object they belong to. It closes when nobody has used it for some
 * seconds, and breaks when the source stays silent while something is expected of it.
 */
import { type Endpoint, endpointFromTuple } from "../../core/base/endpoint.ts";
import { ClusterUnreachableError } from "../../core/base/errors.ts";
import type { Channel } from "../../core/rpc/channel.ts";
import type { Identity } from "../../core/rpc/connection.ts";
import type { BlobSink, Message } from "../../core/rpc/frames.ts";
import { Transfer } from "../../core/rpc/messages.ts";
import { openChannel } from "../../core/rpc/open-channel.ts";

const CHECK_MS = 5000;
/** A source that owes us something and has sent nothing for this long is given up. It says `queued` more often. */
const SILENCE_MS_MAX = 30_000;

/** One object on its way over the link. The link calls it; after `done` it calls no more, but for `landed`. */
export interface Download {
  /** Whether the source owes it an answer. */
  readonly expects: boolean;
  /** @throws ClusterUnreachableError when that size cannot be */
  onOffer(size: unknown, others: readonly Endpoint[]): void;
  /** Where a chunk goes. @throws ClusterUnreachableError when it was not asked for */
  place(offset: unknown, length: number): Buffer;
  /** The chunk that was given a place is there. */
  onChunk(offset: number, bytes: Buffer, intact: boolean): void;
  onMoved(to: Endpoint): void;
  onAbsent(): void;
  /** The connection is gone. @param mayLive it broke; nothing says that the node is gone as well */
  onBroken(why: string, mayLive: boolean): void;
  /** A chunk that was being read when the download ended is read now, or never will be: its memory may be given up. */
  landed(): void;
}

/** The chunk that is being read. */
interface Landing {
  readonly download: Download;
  readonly offset: number;
  readonly bytes: Buffer;
}

export class DataLink {
  readonly node: Endpoint;
  readonly #channel: Channel;
  readonly #downloads = new Map<number, Download>();
  readonly #timer: NodeJS.Timeout;
  readonly #onEnd: (error: Error | undefined) => void;
  #landing: Landing | undefined;
  #spare: Buffer | undefined;
  #nextId = 1;
  #idleChecks = 0;
  #heardBytes = 0;
  #heardAtMs = performance.now();

  /** @param onEnd the connection is gone; the error, if that was one */
  constructor(node: Endpoint, identity: Identity, onEnd: (error: Error | undefined) => void) {
    this.node = node;
    this.#onEnd = onEnd;
    const sink: BlobSink = {
      place: (message, length) => this.#place(message, length),
      placed: (_message, intact) => this.#placed(intact),
    };
    this.#channel = openChannel(node, identity, sink);
    this.#channel.unref();
    this.#channel.onMessage = (message) => this.#onMessage(message);
    this.#channel.onClose((error) => this.#onClose(error));
    this.#timer = setInterval(() => this.#check(), CHECK_MS);
    this.#timer.unref();
  }

  get isClosed(): boolean {
    return this.#channel.closed;
  }

  /** Asks for an object. @returns the upload's id */
  open(download: Download, key: Buffer, insists: boolean): number {
    const id = this.#nextId++;
    this.#noteHeard();
    this.#downloads.set(id, download);
    this.#channel.send([Transfer.open, id, key, insists]);
    return id;
  }

  read(id: number, offset: number, length: number): void {
    this.#noteHeard();
    this.#channel.send([Transfer.read, id, offset, length]);
  }

  /** The download wants nothing more. @returns whether a chunk of it is being read: `landed` will be called */
  done(id: number, complete: boolean): boolean {
    const download = this.#downloads.get(id);
    if (download === undefined) return false;
    this.#downloads.delete(id);
    this.#channel.send([Transfer.done, id, complete]);
    return this.#landing?.download === download;
  }

  /** Memory for a chunk, where the object has none of its own to show; good until the next chunk of the link comes. */
  spare(length: number): Buffer {
    if (this.#spare === undefined || this.#spare.length < length)
      this.#spare = Buffer.allocUnsafeSlow(length);
    return this.#spare.subarray(0, length);
  }

  /** Ends the connection now. */
  destroy(why: string): void {
    this.#channel.destroy(new ClusterUnreachableError(why));
  }

  #onMessage(message: Message): void {
    const [kind, id, ...fields] = message;
    const download = this.#downloads.get(id as number);
    if (download === undefined) return;
    switch (kind) {
      case Transfer.offer:
        download.onOffer(fields[0], endpoints(fields[1]));
        break;
      case Transfer.moved: {
        const to = endpointFromTuple(fields[0]);
        if (to === undefined) throw malformed("sends us to what is no node");
        this.#downloads.delete(id as number);
        download.onMoved(to);
        break;
      }
      case Transfer.absent:
        this.#downloads.delete(id as number);
        download.onAbsent();
        break;
      case Transfer.queued:
        break;
      default:
        throw malformed(`sent a message of kind ${kind}`);
    }
  }

  #place([kind, id, offset]: Message, length: number): Buffer | undefined {
    if (kind !== Transfer.chunk) throw malformed("sent bytes that are no chunk");
    const download = this.#downloads.get(id as number);
    // Of a download that has ended.
    if (download === undefined) return undefined;
    const bytes = download.place(offset, length);
    this.#landing = { download, offset: offset as number, bytes };
    return bytes;
  }

  #placed(intact: boolean): void {
    const landing = this.#landing;
    this.#landing = undefined;
    if (landing === undefined) return;
    const { download, offset, bytes } = landing;
    if (this.#isRunning(download)) download.onChunk(offset, bytes, intact);
    else download.landed();
  }

  #isRunning(download: Download): boolean {
    for (const each of this.#downloads.values()) if (each === download) return true;
    return false;
  }

  #onClose(error: Error | undefined): void {
    clearInterval(this.#timer);
    this.#onEnd(error);
    const landing = this.#landing;
    this.#landing = undefined;
    if (landing !== undefined && !this.#isRunning(landing.download)) landing.download.landed();
    // Its first line: the rest is advice for those who start clusters.
    const why = error?.message.split("\n")[0] ?? "it closed the connection";
    const downloads = [...this.#downloads.values()];
    this.#downloads.clear();
    for (const download of downloads) download.onBroken(why, isBreak(error));
  }

  #check(): void {
    this.#idleChecks = this.#downloads.size === 0 && this.#landing === undefined ? this.#idleChecks + 1 : 0;
    if (this.#idleChecks > 1) {
      this.#channel.close();
      return;
    }
    const isOwed =
      this.#landing !== undefined || [...this.#downloads.values()].some((download) => download.expects);
    if (!isOwed || this.#channel.bytesRead !== this.#heardBytes) this.#noteHeard();
    else if (performance.now() - this.#heardAtMs > SILENCE_MS_MAX)
      this.destroy(`it has sent nothing for ${SILENCE_MS_MAX / 1000} s`);
  }

  #noteHeard(): void {
    this.#heardBytes = this.#channel.bytesRead;
    this.#heardAtMs = performance.now();
  }
}

function endpoints(tuples: unknown): Endpoint[] {
  if (!Array.isArray(tuples)) return [];
  return tuples.flatMap((tuple) => endpointFromTuple(tuple) ?? []);
}

/** Whether a connection ended as connections do when networks fail, and not because nobody is there or something is wrong. */
function isBreak(error: Error | undefined): boolean {
  if (error === undefined) return true;
  const code = (error.cause as NodeJS.ErrnoException | undefined)?.code;
  return code === "ECONNRESET" || code === "EPIPE" || code === "ETIMEDOUT";
}

export function malformed(what: string): ClusterUnreachableError {
  return new ClusterUnreachableError(`the node at the other end ${what}`);
}
