// Goal: a process can say what objects it holds, why, and where they lie, in bounded room. Method: the reference tables of
// two processes over a real socket; one passes refs to the other.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, expect, test } from "vitest";
import type { Endpoint } from "../base/endpoint.ts";
import { objectIdOf } from "../base/ids.ts";
import type { Channel } from "../rpc/channel.ts";
import { type ChannelServer, listenForChannels } from "../rpc/channel-server.ts";
import { PayloadKind, Peer } from "../rpc/messages.ts";
import { Peers } from "../rpc/peers.ts";
import type { ObjectEntry } from "./entries.ts";
import { listObjects } from "./object-listing.ts";
import { ReferenceTable } from "./reference-table.ts";

const TOKEN = "a token of this test, long enough";
const NODE = ["raylet", "node", "", "", 0, 0] as const;
const NOBODY = { pinned: [], lineage: [] };
const dir = mkdtempSync(join(tmpdir(), "tsray-own-"));
const opened: { peers: Peers; server: ChannelServer }[] = [];
afterEach(() => {
  for (const { peers, server } of opened.splice(0)) {
    peers.closeAll();
    server.close();
  }
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function open(processId: string): Promise<ReferenceTable> {
  const self: Endpoint = { processId, nodeId: "node", unixPath: "", host: "", port: 0, pid: process.pid };
  const onMessage = (channel: Channel, message: readonly unknown[]) => {
    const [kind, first, second] = message as unknown as [number, number, number[]];
    if (kind === Peer.borrow) table.onBorrow(channel, first, second);
    else if (kind === Peer.borrowed) table.onBorrowed(first);
  };
  const peers = new Peers({ self, token: TOKEN }, onMessage, () => {});
  const table: ReferenceTable = new ReferenceTable(self, {
    channelTo: (owner) => peers.to(owner),
    freeCopies: () => {},
    keepCopy: () => {},
    markLost: () => {},
  });
  const unixPath = join(dir, `${processId}.sock`);
  const onPeer = (channel: Channel) => peers.accept(channel);
  const server = await listenForChannels({
    processId,
    nodeId: "node",
    unixPath,
    host: undefined,
    token: TOKEN,
    onPeer,
  });
  Object.assign(self, server.endpoint);
  opened.push({ peers, server });
  return table;
}

function stored(table: ReferenceTable, bytes: number): ObjectEntry {
  const entry = table.newOwned();
  const copies = [NODE];
  table.stored(entry, bytes, copies);
  entry.settle([PayloadKind.stored, bytes, copies, null]);
  return entry;
}

test("rows say size, owner, nodes and every reason that is known, at the owner and at the borrower", async () => {
  const [owner, borrower] = [await open("00000000000000aa"), await open("00000000000000bb")];
  const lent = stored(owner, 3000);
  const box = stored(owner, 2000);
  box.held = [lent];
  owner.export(box);
  const pinned = stored(owner, 1000);
  const borrowed = borrower.import(owner.export(lent));
  await borrower.borrowsSettled();

  const { rows, objectsTotal, bytesTotal } = listObjects(owner, { pinned: [pinned], lineage: [box] }, 10);
  expect([objectsTotal, bytesTotal]).toEqual([3, 6000]);
  expect(rows.map(({ kinds }) => kinds)).toEqual([
    ["LENT", "CAPTURED_IN_OBJECT"],
    ["LINEAGE"],
    ["PINNED_BY_TASK"],
  ]);
  expect(rows[0]).toMatchObject({
    objectId: objectIdOf("00000000000000aa", lent.seq),
    sizeBytes: 3000,
    lentTo: 1,
    ownerProcessId: "00000000000000aa",
    ownerPid: process.pid,
    nodes: ["node"],
  });
  expect(listObjects(borrower, NOBODY, 10).rows).toMatchObject([
    { objectId: rows[0]?.objectId, kinds: ["BORROWED"], lentTo: 0, ownerNodeId: "node" },
  ]);
  expect(borrowed.owned).toBe(false);
});

test("the largest come first, and what has no row is counted", async () => {
  const table = await open("00000000000000cc");
  const entries = Array.from({ length: 50 }, (_, i) => stored(table, (i + 1) * 10));
  const { rows, objectsTotal, bytesTotal } = listObjects(table, NOBODY, 3);
  expect(rows.map(({ sizeBytes, kinds }) => [sizeBytes, ...kinds])).toEqual([
    [500, "LOCAL_REFERENCE"],
    [490, "LOCAL_REFERENCE"],
    [480, "LOCAL_REFERENCE"],
  ]);
  expect([objectsTotal, bytesTotal]).toEqual([entries.length, 12_750]);
});
