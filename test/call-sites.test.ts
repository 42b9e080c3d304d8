// Goal: with TSRAY_RECORD_CALL_SITES=1 a listing says where the user's code made an object. Method: tsray's source counts as
// tsray's own, this file as the user's.
import { expect, test } from "vitest";

test("the call site of an object is the first frame outside tsray", async () => {
  process.env.TSRAY_RECORD_CALL_SITES = "1";
  const { ReferenceTable } = await import("../src/core/ownership/reference-table.ts");
  const { listObjects } = await import("../src/core/ownership/object-listing.ts");
  const self = { processId: "00000000000000aa", nodeId: "n", unixPath: "", host: "", port: 0, pid: 1 };
  const table = new ReferenceTable(self, {
    channelTo: () => {
      throw new Error("nothing is sent here");
    },
    freeCopies: () => {},
    keepCopy: () => {},
    markLost: () => {},
  });
  const entry = (function madeHere() {
    return table.newOwned();
  })();
  table.export(entry);
  const [row] = listObjects(table, { pinned: [], lineage: [] }, 1).rows;
  expect(row?.callSite).toMatch(/^madeHere \(.*test\/call-sites\.test\.ts:\d+:\d+\)$/);
  expect(entry.payload).toBeUndefined();
});
