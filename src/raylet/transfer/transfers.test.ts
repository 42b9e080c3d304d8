// Goal: objects arrive whole and once, whatever the network and the other nodes do. Method: nodes with real stores and
// sockets in one process, and impostors in a raylet's place.
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { afterEach, describe, expect, test } from "vitest";
import type { Endpoint } from "../../core/base/endpoint.ts";
import type { Channel } from "../../core/rpc/channel.ts";
import type { Message } from "../../core/rpc/frames.ts";
import { Transfer } from "../../core/rpc/messages.ts";
import { openChannel } from "../../core/rpc/open-channel.ts";
import { CHUNK_BYTES } from "./pull.ts";
import { Impostor, Node, type NodeOptions, TOKEN } from "./transfer.fixture.ts";

const MIB = 1024 * 1024;
const nodes: Disposable[] = [];
afterEach(() => {
  for (const node of nodes.splice(0)) node[Symbol.dispose]();
});
async function start(options?: NodeOptions): Promise<Node> {
  const node = await Node.start(options);
  nodes.push(node);
  return node;
}
async function impostor(answer: (channel: Channel, message: Message) => void): Promise<Impostor> {
  const found = await Impostor.start(answer);
  nodes.push(found);
  return found;
}
const NOBODY: Endpoint = { processId: "x", nodeId: "x", unixPath: "", host: "", port: 0, pid: 1 };
/** A connection to a node as another raylet would open it. */
function dial(to: Endpoint, self = NOBODY): { readonly channel: Channel; readonly closed: Promise<void> } {
  const channel = openChannel(to, { self, token: TOKEN }, { place: () => undefined, placed: () => {} });
  return { channel, closed: new Promise((resolve) => channel.onClose(() => resolve())) };
}
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}
const sum = (numbers: readonly number[]) => numbers.reduce((all, n) => all + n, 0);

describe("what arrives", () => {
  const SIZES = [0, 1, 1000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 12_345];
  test.each([
    ["an arena to an arena", false, false],
    ["an arena to files", false, true],
    ["files to an arena", true, false],
  ])("equals what was sent, at every size, from %s", async (_, fromFiles, toFiles) => {
    const [from, to] = [await start({ files: fromFiles }), await start({ files: toFiles })];
    for (const size of SIZES) {
      const { key, bytes } = from.put(size);
      expect([size, await to.pulls(key, [from], bytes)]).toEqual([size, null]);
      to.store.delete(key);
    }
    expect(to.transfers.counts).toEqual({
      sentBytes: 0,
      receivedBytes: sum(SIZES),
      receivedObjects: SIZES.length,
    });
    expect(from.transfers.counts.sentBytes).toBe(sum(SIZES));
  });

  test("is one transfer, however many ask at once", async () => {
    const [from, to] = [await start(), await start()];
    const { key, bytes } = from.put(3 * CHUNK_BYTES);
    const all = await Promise.all(Array.from({ length: 100 }, () => to.pulls(key, [from], bytes)));
    expect(new Set(all)).toEqual(new Set([null]));
    expect(from.transfers.counts.sentBytes).toBe(3 * CHUNK_BYTES);
    expect(to.transfers.counts.receivedObjects).toBe(1);
  });

  test("is right for 40 objects at once between two nodes, both ways, through stores that hold a part of them", async () => {
    const [a, b] = [await start(), await start()];
    const objects = Array.from({ length: 40 }, (_, i) => ({ ...(i % 2 ? a : b).put(1_000_000 + i), i }));
    const results = await Promise.all(
      objects.map(({ key, bytes, i }) => (i % 2 ? b.pulls(key, [a], bytes) : a.pulls(key, [b], bytes))),
    );
    expect(results).toEqual(objects.map(() => null));
  });

  test("the sender keeps nothing pinned", async () => {
    const [from, to] = [await start(), await start()];
    const { key, bytes } = from.put(2 * CHUNK_BYTES);
    expect(await to.pulls(key, [from], bytes)).toBeNull();
    await until(() => from.store.stats().pinnedObjects === 0);
    from.store.delete(key);
    expect(from.store.stats().objects).toBe(0);
  });
});

describe("a broadcast", () => {
  test("to 8 nodes at once loads the node where it began with 3 uploads at most", async () => {
    const origin = await start();
    const others = await Promise.all(Array.from({ length: 8 }, () => start()));
    const { key, bytes } = origin.put(3 * CHUNK_BYTES + 1);
    const results = await Promise.all(others.map((node) => node.pulls(key, [origin], bytes)));
    expect(results).toEqual(others.map(() => null));
    const uploads = origin.transfers.counts.sentBytes / bytes.length;
    expect(uploads).toBeGreaterThanOrEqual(1);
    expect(uploads).toBeLessThanOrEqual(3);
    expect(sum(others.map((node) => node.transfers.counts.sentBytes)) / bytes.length + uploads).toBe(8);
  });

  // Method: the first to get the object is one that says, when it is asked, that it has lost it; the second keeps the origin
  // busy, so that the third is sent to the first.
  test("a node sent to one that has lost its copy comes back and is served", async () => {
    const [origin, third] = [await start(), await start()];
    const { key, bytes } = origin.put(1000);
    let ask = () => {};
    const asked = new Promise<void>((resolve) => {
      ask = resolve;
    });
    const first = await impostor((channel, message) => {
      if (message[0] !== Transfer.open) return;
      channel.send([Transfer.absent, message[1]]);
      ask();
    });
    const getter = dial(origin.endpoint, first.endpoint).channel;
    for (const message of [
      [Transfer.open, 1, key, false],
      [Transfer.read, 1, 0, 1000],
      [Transfer.done, 1, true],
    ] as const)
      getter.send(message);
    const busy = dial(origin.endpoint).channel;
    const answers: unknown[] = [];
    busy.onMessage = ([kind, , , others]) => answers.push([kind, others]);
    busy.send([Transfer.open, 1, key, true]);
    busy.send([Transfer.read, 1, 0, 1000]);
    await until(() => answers.length > 0);
    expect(answers).toEqual([[Transfer.offer, [first.tuple]]]);
    const pulled = third.pulls(key, [origin], bytes);
    await asked;
    busy.close();
    expect(await pulled).toBeNull();
    getter.close();
  });
});

describe("sources", () => {
  test("one that has no copy, one that is not there: the next is asked", async () => {
    const [gone, empty, good, to] = [await start(), await start(), await start(), await start()];
    const { key, bytes } = good.put(100_000);
    gone[Symbol.dispose]();
    expect(await to.pulls(key, [gone, empty, good], bytes)).toBeNull();
    expect(await to.pulls(randomBytes(16), [empty], bytes)).toBe(
      `node ${empty.id}: it has no copy (any more)`,
    );
    expect(await to.pulls(randomBytes(16), [gone], bytes)).toContain(
      `node ${gone.id}: connection to process`,
    );
    expect(await to.pulls(randomBytes(16), [], bytes)).toBe("no node holds a copy");
    const neither = await to.pulls(randomBytes(16), [gone, empty], bytes);
    expect(neither).toContain(`node ${gone.id}: connection to process`);
    expect(neither).toContain(`node ${empty.id}: it has no copy (any more)`);
  });

  // Method: whichever source is asked first stops after two chunks, and then dies.
  test("one that dies in mid-transfer: another sends the chunks that are missing, and no others", async () => {
    const dir = mkdtempSync(join(tmpdir(), "tst-"));
    const held = join(dir, "held");
    const faults = `hold:3:${held}`;
    const [a, b, to] = [await start({ faults }), await start({ faults }), await start()];
    const size = 7 * CHUNK_BYTES + 1;
    const { key, bytes } = a.put(size);
    b.store.put(key, size, [{ offset: 0, bytes }]);
    const pulled = to.pulls(key, [a, b], bytes);
    await until(() => existsSync(held) && readFileSync(held, "utf8") !== "");
    const [first, second] = readFileSync(held, "utf8") === a.id ? [a, b] : [b, a];
    await until(() => to.transfers.counts.receivedBytes === 2 * CHUNK_BYTES);
    first[Symbol.dispose]();
    expect(await pulled).toBeNull();
    expect(second.transfers.counts.sentBytes).toBe(size - 2 * CHUNK_BYTES);
    rmSync(dir, { recursive: true });
  });

  test("a chunk that came damaged is sent again", async () => {
    const [from, to] = [await start({ faults: "damage:3" }), await start()];
    const { key, bytes } = from.put(6 * CHUNK_BYTES);
    expect(await to.pulls(key, [from], bytes)).toBeNull();
    expect(from.transfers.counts.sentBytes).toBe(9 * CHUNK_BYTES);
  });

  test("a source whose chunk comes damaged twice is given up, and the next one asked", async () => {
    const [bad, good, to] = [await start({ faults: "damage:99" }), await start(), await start()];
    const { key, bytes } = bad.put(1000);
    expect(await to.pulls(key, [bad], bytes)).toBe(
      `node ${bad.id}: the chunk at 0 came damaged twice (its checksum is wrong)`,
    );
    expect(to.store.list(10)).toEqual([]);
    good.store.put(key, 1000, [{ offset: 0, bytes }]);
    expect(await to.pulls(key, [bad, good], bytes)).toBeNull();
  });
});

describe("room", () => {
  test("an object that cannot fit is refused with the store's reason, and others still come", async () => {
    const [from, to] = [await start(), await start({ storeBytes: 8 * CHUNK_BYTES })];
    const large = from.put(9 * CHUNK_BYTES);
    const small = Array.from({ length: 6 }, () => from.put(CHUNK_BYTES));
    const [refused, ...came] = await Promise.all(
      [large, ...small].map(({ key, bytes }) => to.pulls(key, [from], bytes)),
    );
    expect(refused).toContain(`object of ${9 * CHUNK_BYTES} bytes does not fit the store`);
    expect(came).toEqual(small.map(() => null));
  });

  test("many objects go one after the other through a store with room for a few", async () => {
    const [from, to] = [
      await start({ storeBytes: 48 * CHUNK_BYTES }),
      await start({ storeBytes: 8 * CHUNK_BYTES }),
    ];
    const objects = Array.from({ length: 12 }, () => from.put(3 * CHUNK_BYTES));
    const results = await Promise.all(
      objects.map(async ({ key, bytes }) => {
        const failed = await to.transfers.pull(key, [from.tuple]);
        const here = to.store.get(key);
        // Evicted since, for those that came after it: then it is not here.
        return failed ?? (here === undefined || here.equals(bytes) ? null : "other bytes");
      }),
    );
    expect(results).toEqual(objects.map(() => null));
    expect(to.transfers.counts.receivedObjects).toBe(12);
  });

  test("an object freed while it is on its way leaves nothing", async () => {
    const dir = mkdtempSync(join(tmpdir(), "tst-"));
    const [from, to] = [await start({ faults: `hold:3:${join(dir, "held")}` }), await start()];
    const { key, bytes } = from.put(6 * CHUNK_BYTES);
    const pulled = to.pulls(key, [from], bytes);
    await until(() => to.transfers.counts.receivedBytes === 2 * CHUNK_BYTES);
    to.transfers.free(key, [from.tuple]);
    expect(await pulled).toBe("it was freed while it was on its way here");
    expect(to.store.list(10)).toEqual([]);
    await until(() => !from.store.contains(key));
    rmSync(dir, { recursive: true });
  });
});

// Method: pulls of six objects from two sources, while objects are freed and nodes cut off at random moments, 12 times over.
// A chunk may be on its way into memory that is given up just then.
test("whatever ends at whatever moment, what is here is whole, and nothing half-made is left", async () => {
  const sources = [await start({ storeBytes: 128 * MIB }), await start({ storeBytes: 128 * MIB })] as const;
  const objects = Array.from({ length: 6 }, (_, i) => sources[0].put(Math.floor((i + 0.3) * CHUNK_BYTES)));
  for (const { key, bytes } of objects) sources[1].store.put(key, bytes.length, [{ offset: 0, bytes }]);
  const to = await start({ storeBytes: 128 * MIB });
  const pending: Promise<void>[] = [];
  const later = (act: () => void) => {
    pending.push(sleep(Math.random() * 25).then(act));
  };
  let arrived = 0;
  for (let round = 0; round < 12; round++) {
    await Promise.all(
      objects.map(async ({ key, bytes }, i) => {
        const pulled = to.pulls(key, sources, bytes);
        if ((i + round) % 3 === 0) later(() => to.transfers.free(key, []));
        if ((i + round) % 5 === 0)
          later(() => to.transfers.onNodeGone(sources[i % 2 ? 0 : 1].id, "it is gone"));
        if ((i + round) % 7 === 0) later(() => sources[0].transfers.onNodeGone(to.id, "it is gone"));
        const failed = await pulled;
        // Freed just after it came: not here any more.
        if (failed === "other bytes") expect(to.store.contains(key)).toBe(false);
        if (failed === null) arrived += 1;
      }),
    );
    await Promise.all(pending.splice(0));
    for (const { key } of objects) to.store.delete(key);
    expect(to.store.list(100).filter(({ state }) => state !== "deleting")).toEqual([]);
  }
  expect(arrived).toBeGreaterThan(0);
  await until(() => sources.every(({ store }) => store.stats().pinnedObjects === 0));
});

describe("what no raylet would send", () => {
  const chunk = (channel: Channel, id: unknown, offset: unknown, bytes: Buffer) =>
    void channel.sendBlob([Transfer.chunk, id, offset], bytes, crc32(bytes));
  const offers =
    (size: unknown, then?: (channel: Channel, message: Message) => void) =>
    (channel: Channel, message: Message) => {
      if (message[0] === Transfer.open) channel.send([Transfer.offer, message[1], size, []]);
      else then?.(channel, message);
    };
  test.each<[string, (channel: Channel, message: Message) => void, string]>([
    ["a size below zero", offers(-1), "offered -1 bytes"],
    ["a size that is no number", offers("many"), "offered many bytes"],
    ["a size beyond all stores", offers(2 ** 50), "offered"],
    [
      "a chunk outside the object",
      offers(1000, (c, m) => chunk(c, m[1], 4000, Buffer.alloc(9))),
      "9 bytes at 4000",
    ],
    [
      "a chunk longer than asked for",
      offers(1000, (c, m) => chunk(c, m[1], 0, Buffer.alloc(1001))),
      "1001 bytes at 0",
    ],
    ["a chunk at no number", offers(1000, (c, m) => chunk(c, m[1], "x", Buffer.alloc(1000))), "at x"],
    ["a chunk before the offer", (c, m) => chunk(c, m[1], 0, Buffer.alloc(10)), "10 bytes at 0"],
    ["a message of another plane", (c, m) => c.send([99, m[1]]), "a message of kind 99"],
    ["a move to nowhere", (c, m) => c.send([Transfer.moved, m[1], ["?"]]), "what is no node"],
  ])("%s ends that connection, with a reason", async (_, answer, reason) => {
    const [bad, good, to] = [await impostor(answer), await start(), await start()];
    const { key, bytes } = good.put(1000);
    const failed = await to.transfers.pull(key, [bad.tuple]);
    expect(failed).toContain(`node ${bad.endpoint.nodeId}: `);
    expect(failed).toContain(reason);
    expect(to.log.join("\n")).toContain(reason);
    expect(to.store.list(10)).toEqual([]);
    expect(await to.pulls(key, [good], bytes)).toBeNull();
  });

  const key = randomBytes(16);
  const opened = [Transfer.open, 1, key, false] as const;
  test.each<[string, readonly Message[]]>([
    ["a key that is none", [[Transfer.open, 1, "key", false]]],
    ["an upload without a number", [[Transfer.open, -1, key, false]]],
    ["the same upload twice", [opened, opened]],
    ["bytes outside the object", [opened, [Transfer.read, 1, 999, 2]]],
    ["an offset below zero", [opened, [Transfer.read, 1, -1, 2]]],
    ["no bytes", [opened, [Transfer.read, 1, 0, 0]]],
    ["more than a chunk", [opened, [Transfer.read, 1, 0, CHUNK_BYTES + 1]]],
    [
      "more chunks ahead than there are",
      [opened, ...Array.from({ length: 999 }, () => [Transfer.read, 1, 0, 1] as const)],
    ],
    ["a message that only sources send", [opened, [Transfer.moved, 1, []]]],
    ["a drop of what is no key", [[Transfer.drop, "key"]]],
  ])("whoever asks for %s is cut off, and others are not", async (_, messages) => {
    const [from, to] = [await start(), await start()];
    const { bytes } = from.put(1000, key);
    const { channel, closed } = dial(from.endpoint);
    for (const message of messages) channel.send(message);
    await closed;
    await until(() => from.log.length > 0);
    expect(from.log[0]).toMatch(/^connection of x \(.*127\.0\.0\.1\): .*the node at the other end/);
    expect(await to.pulls(key, [from], bytes)).toBeNull();
  });
});
