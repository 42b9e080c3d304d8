/** Identifiers. Random ones are lower-case hex; objects are numbered by their owner, so that making one costs nothing. */
import { randomBytes } from "node:crypto";

/** A random id of `bytes` random bytes, as lower-case hex. */
export function randomId(bytes: number): string {
  return randomBytes(bytes).toString("hex");
}

/** Processes (drivers, workers, raylets), nodes, jobs, leases, placement groups: 64 random bits. */
export const newProcessId = (): string => randomId(8);
export const newNodeId = (): string => randomId(8);
export const newJobId = (): string => randomId(4);
export const newGroupId = (): string => randomId(8);
export const newActorId = (): string => randomId(12);
/** Of a call that must not take effect twice. */
export const newRequestId = (): string => randomId(8);

/** Items of streaming generators are numbered from here, so that the worker can name them without asking. */
const ITEM_SEQ_BASE = 2 ** 52;
/** The most items that a streaming generator may give. */
export const STREAM_ITEMS_MAX = 2 ** 26;
const STREAMS_MAX = 2 ** 52 / STREAM_ITEMS_MAX;
let streams = 0;

/** The number, at its owner, of the first item of a new stream; the others follow it. */
export function newStreamSeq(): number {
  return ITEM_SEQ_BASE + (streams++ % STREAMS_MAX) * STREAM_ITEMS_MAX;
}

/** The printed form of an object's id: 16 hex digits of its owner, 16 of its number there. */
export function objectIdOf(ownerId: string, seq: number): string {
  return ownerId + seq.toString(16).padStart(16, "0");
}

/** What the keys of all objects of an owner begin with. */
export function ownerPrefix(ownerId: string): Buffer {
  return objectKey(ownerId, 0).subarray(0, 8);
}

/** The 16-byte key of an object in a node's store. */
export function objectKey(ownerId: string, seq: number): Buffer {
  const key = Buffer.allocUnsafe(16);
  key.write(ownerId, 0, 8, "hex");
  key.writeUInt32BE(Math.floor(seq / 2 ** 32), 8);
  key.writeUInt32BE(seq % 2 ** 32, 12);
  return key;
}
