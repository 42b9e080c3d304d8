// Goal: the nodes' order of use is at any time what sorting them anew would give.
// Method: random histories of reports, arrivals, promises and removals, against a sort of the same rooms.
import { expect, test } from "vitest";
import { NodeInfo } from "../../core/wire/gen/tsray/v1/common.ts";
import { NodeRooms } from "./node-rooms.ts";
import { compareUse } from "./placement.ts";

/** Mulberry32. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

test.each([1, 2, 3, 4, 5])("400 events of seed %i", (seed) => {
  const next = random(seed);
  const below = (n: number) => Math.floor(next() * n);
  const rooms = new NodeRooms();
  const placed: [string, string][] = [];
  for (let i = 0; i < 400; i++) {
    const nodeId = `n${below(20)}`;
    const kind = below(6);
    const [place] = placed.slice(below(placed.length || 1));
    if (kind === 0) {
      const amounts = {
        total: { amounts: { CPU: 40_000 } },
        available: { amounts: { CPU: below(5) * 10_000 } },
      };
      rooms.report(NodeInfo.fromPartial({ nodeId, ...amounts }), 0);
    } else if (kind === 1 && below(5) === 0) rooms.remove(nodeId);
    else if (kind === 2 && place !== undefined) rooms.accept(...place);
    else if (kind === 3 && place !== undefined) rooms.leave(...place);
    else if (kind === 4) rooms.promise(nodeId, `g${i}`, { CPU: 10_000 });
    else {
      rooms.arrive(nodeId, `a${i}`, below(2) === 0 ? {} : { CPU: 10_000 });
      placed.push([nodeId, `a${i}`]);
    }
    // Sorting is stable: those that are alike stay as they came.
    expect(rooms.byUse).toEqual([...rooms.inTurn].sort(compareUse));
  }
  expect(rooms.inTurn.length).toBeGreaterThan(5);
});
