/**
 * What objects this process holds, and why: the rows behind `tsray memory`. Looks at tables when it is asked and keeps
 * nothing itself; bounded by a number of rows, the largest objects first.
 */
import { objectIdOf } from "../base/ids.ts";
import { type HoldKind, type ObjectListing, type ObjectRow, PayloadKind } from "../rpc/messages.ts";
import { BorrowedRecord, type ObjectEntry, OwnedRecord } from "./entries.ts";
import type { ReferenceTable } from "./reference-table.ts";

/** Entries that something other than a variable holds. */
export interface Holders {
  readonly pinned: Iterable<ObjectEntry>;
  readonly lineage: Iterable<ObjectEntry>;
}

type Record_ = OwnedRecord | BorrowedRecord;

export function listObjects(references: ReferenceTable, holders: Holders, rowsMax: number): ObjectListing {
  const pinned = recordsOf(holders.pinned);
  const lineage = recordsOf(holders.lineage);
  const captured = new Set<Record_>();
  const capture = (entry: ObjectEntry | undefined) => {
    for (const { record } of entry?.held ?? []) if (record !== undefined) captured.add(record);
  };
  for (const entry of [...holders.pinned, ...holders.lineage]) capture(entry);
  for (const record of references.records()) capture(references.entryOf(record));

  const rows: ObjectRow[] = [];
  for (const record of references.records()) {
    const kinds: HoldKind[] = [];
    if (record instanceof BorrowedRecord) kinds.push("BORROWED");
    else {
      if (record.onFree !== undefined) kinds.push("ACTOR_HANDLE");
      if (record.borrowers !== undefined) kinds.push("LENT");
    }
    if (pinned.has(record)) kinds.push("PINNED_BY_TASK");
    if (captured.has(record)) kinds.push("CAPTURED_IN_OBJECT");
    if (lineage.has(record)) kinds.push("LINEAGE");
    if (kinds.length === 0) kinds.push("LOCAL_REFERENCE");
    rows.push(rowOf(references, record, kinds));
  }
  rows.sort((a, b) => b.sizeBytes - a.sizeBytes);
  return {
    rows: rows.slice(0, rowsMax),
    objectsTotal: rows.length,
    bytesTotal: rows.reduce((sum, { sizeBytes }) => sum + Math.max(0, sizeBytes), 0),
  };
}

function rowOf(references: ReferenceTable, record: Record_, kinds: readonly HoldKind[]): ObjectRow {
  const entry = references.entryOf(record);
  const payload = entry?.payload;
  const isOwned = record instanceof OwnedRecord;
  const owner = isOwned ? references.self : record.owner;
  const copies = isOwned ? record.copies : payload?.[0] === PayloadKind.stored ? payload[2] : undefined;
  return {
    objectId: objectIdOf(owner.processId, record.seq),
    sizeBytes: isOwned && record.storedBytes > 0 ? record.storedBytes : sizeOf(payload),
    kinds,
    lentTo: isOwned ? (record.borrowers?.size ?? 0) : 0,
    ownerProcessId: owner.processId,
    ownerPid: owner.pid,
    ownerNodeId: owner.nodeId,
    nodes: (copies ?? []).map((node) => String(node[1])),
    callSite: isOwned ? record.callSite : "",
  };
}

function sizeOf(payload: ObjectEntry["payload"]): number {
  switch (payload?.[0]) {
    case PayloadKind.bytes:
    case PayloadKind.error:
      return payload[1].byteLength;
    case PayloadKind.stored:
      return payload[1];
    default:
      return -1;
  }
}

function recordsOf(entries: Iterable<ObjectEntry>): Set<Record_> {
  const records = new Set<Record_>();
  for (const { record } of entries) if (record !== undefined) records.add(record);
  return records;
}
