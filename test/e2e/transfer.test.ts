// Goal: objects go from node to node whole, once per node, and in spite of nodes that die. Method: clusters of real raylets
// that count what they move; `tsray status --json` tells.
import { execFile } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { free, get, init, ObjectLostError, type ObjectRef, shutdown, wait } from "tsray";
import { Cluster, type ClusterNode } from "tsray/testing";
import { afterEach, describe, expect, test } from "vitest";
import { digest, digestHere, getInside, makePatterned, patterned, Stage } from "../fixtures/transfer.ts";
import { CLI } from "./processes.ts";
import { rejection, temporaryDirectory, until } from "./support.ts";

const CHUNK = 4 * 1024 * 1024;
const STORE_BYTES = 64 * 1024 * 1024;
const dir = temporaryDirectory();

interface Counts {
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly receivedObjects: number;
}

let cluster: Cluster;
afterEach(async () => {
  await shutdown();
  await cluster.shutdown();
});

/** Nodes with a resource of their own each: "n0", "n1" and so on. */
async function startNodes(
  count: number,
  faults = "",
  storeBytes: (i: number) => number = () => STORE_BYTES,
): Promise<ClusterNode[]> {
  cluster = await Cluster.start();
  process.env.TSRAY_TEST_TRANSFER = faults;
  try {
    const nodes = await Promise.all(
      Array.from({ length: count }, (_, i) =>
        cluster.addNode({ resources: { [`n${i}`]: 100 }, objectStoreMemory: storeBytes(i) }),
      ),
    );
    await init({ address: cluster.address, logToDriver: false });
    return nodes;
  } finally {
    delete process.env.TSRAY_TEST_TRANSFER;
  }
}
const at = (i: number) => ({ numCpus: 0, resources: { [`n${i}`]: 1 } });
/** An object on node `i`; in a list, as awaiting a ref gets its value. */
async function make(i: number, bytes: number, seed: number): Promise<[ObjectRef<Uint8Array>]> {
  const ref = makePatterned.options(at(i)).remote(bytes, seed);
  await wait([ref]);
  return [ref];
}

/** What each node has moved, by its id, as the head last heard. */
async function counts(): Promise<Map<string, Counts>> {
  const args = [CLI, "status", "--json", "--address", cluster.address];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 1 << 24 });
  const { nodes } = JSON.parse(stdout) as { nodes: { nodeId: string; transfers: Counts }[] };
  return new Map(nodes.map(({ nodeId, transfers }) => [nodeId, transfers]));
}

describe("transfer", () => {
  // H3. Sizes around those of chunks, and one of many.
  test("values of many sizes are equal on another node", async () => {
    await startNodes(2, "", () => 3 * STORE_BYTES);
    const sizes = [150_000, CHUNK - 1, CHUNK, CHUNK + 1, 50_000_000];
    const refs = (await Promise.all(sizes.map((size, seed) => make(0, size, seed)))).flat();
    const found = await get(refs.map((ref) => digestHere.options(at(1)).remote(ref)));
    expect(found.map((each) => each.digest)).toEqual(
      sizes.map((size, seed) => digest(patterned(size, seed))),
    );
    expect((await get(refs)).map(digest)).toEqual(found.map((each) => each.digest));
  });

  // K8. Method: an actor on each of four nodes; each item goes through all of them.
  test("a chain of generator actors over four nodes passes on what the first makes", async () => {
    await startNodes(4);
    const stages = [0, 1, 2, 3].map((i) => Stage.options(at(i)).remote());
    const [first, ...rest] = stages as [(typeof stages)[0], ...typeof stages];
    const options = { numReturns: "streaming", generatorBackpressure: 2 } as const;
    const found: string[] = [];
    for await (const ref of first.items.options(options).remote(10, 12_000_000, rest))
      found.push(digest(await ref));
    expect(found).toEqual(Array.from({ length: 10 }, (_, i) => digest(patterned(12_000_000, i))));
  });

  // Method: 40 tasks take it as an argument, and some of them get it three times more.
  test("many tasks of a node that ask for an object at once cause one transfer", async () => {
    const [from, to] = (await startNodes(2)) as [ClusterNode, ClusterNode];
    const [ref] = await make(0, 20_000_000, 1);
    const expected = digest(patterned(20_000_000, 1));
    const byArgument = Array.from({ length: 30 }, () => digestHere.options(at(1)).remote(ref));
    const byGet = Array.from({ length: 10 }, () => getInside.options(at(1)).remote({ ref }));
    expect(await get(byArgument)).toEqual(byArgument.map(() => ({ digest: expected, nodeId: to.nodeId })));
    expect(await get(byGet)).toEqual(byGet.map(() => [expected, expected, expected]));
    let found = await counts();
    await until(async () => {
      found = await counts();
      return (found.get(to.nodeId)?.receivedObjects ?? 0) > 0;
    }, "the node's report");
    const sent = found.get(from.nodeId)?.sentBytes ?? 0;
    expect(found.get(to.nodeId)).toMatchObject({ receivedObjects: 1, receivedBytes: sent });
    expect(sent).toBeGreaterThan(20_000_000);
    expect(sent).toBeLessThan(21_000_000);
  });

  // Method: 8 nodes ask at once for an object of a ninth, which sends nothing before it has heard them all.
  test("a broadcast spreads as a tree", async () => {
    const nodes = await startNodes(9, `gather:8:${join(dir, "gathers")}`);
    const [origin, ...others] = nodes as [ClusterNode, ...ClusterNode[]];
    // Workers are there before: nobody who asked is kept waiting for long.
    await get(others.map((_, i) => digestHere.options(at(i + 1)).remote(new Uint8Array(1))));
    const [ref] = await make(0, 24_000_000, 2);
    const expected = digest(patterned(24_000_000, 2));
    const digests = await get(others.map((_, i) => digestHere.options(at(i + 1)).remote(ref)));
    expect(digests.map((each) => each.digest)).toEqual(others.map(() => expected));
    let found = await counts();
    await until(async () => {
      found = await counts();
      return others.every(({ nodeId }) => found.get(nodeId)?.receivedObjects === 1);
    }, "the nodes' reports");
    const size = found.get((others[0] as ClusterNode).nodeId)?.receivedBytes ?? 0;
    const uploads = (found.get(origin.nodeId)?.sentBytes ?? 0) / size;
    expect(size).toBeGreaterThan(24_000_000);
    expect(uploads).toBeGreaterThanOrEqual(1);
    expect(uploads).toBeLessThanOrEqual(3);
  });

  // Method: of two nodes with a copy, the one that is asked first stops at its third chunk and is killed.
  test("a source killed in mid-transfer: the transfer goes on from another copy", async () => {
    const held = join(dir, "held");
    // While the file is there, nobody holds: the second copy is made.
    writeFileSync(held, "");
    const nodes = await startNodes(3, `hold:3:${held}`);
    const [ref] = await make(0, 30_000_000, 3);
    const expected = digest(patterned(30_000_000, 3));
    expect(await digestHere.options(at(1)).remote(ref)).toMatchObject({ digest: expected });
    rmSync(held);
    const third = digestHere.options(at(2)).remote(ref);
    await until(() => existsSync(held) && readFileSync(held, "utf8") !== "", "a source to be asked");
    const source = nodes.find(({ nodeId }) => nodeId === readFileSync(held, "utf8")) as ClusterNode;
    await cluster.removeNode(source);
    expect(await third).toEqual({ digest: expected, nodeId: nodes[2]?.nodeId });
  });

  // Method: the node with the only copy damages its first three chunks; one of four would come damaged twice at most.
  test("damaged chunks are noticed and sent again", async () => {
    const [from] = (await startNodes(2, "damage:3")) as [ClusterNode];
    const [ref] = await make(0, 40_000_000, 4);
    expect(await digestHere.options(at(1)).remote(ref)).toMatchObject({
      digest: digest(patterned(40_000_000, 4)),
    });
    await until(
      async () => ((await counts()).get(from.nodeId)?.sentBytes ?? 0) >= 40_000_000 + 3 * CHUNK,
      "the node's report",
    );
  });

  test("a node that sends nothing but damage is an error that says so", async () => {
    await startNodes(2, "damage:999");
    const [ref] = await make(0, 1_000_000, 5);
    const error = await rejection(digestHere.options({ ...at(1), maxRetries: 0 }).remote(ref));
    expect(error.message).toContain("came damaged twice");
    expect(error).toBeInstanceOf(ObjectLostError);
  });

  // Where not even the disk takes it, the pull fails with the store's reason: src/raylet/transfer/transfers.test.ts.
  test("an object larger than the other node's memory arrives on its disk, and smaller ones beside it", async () => {
    await startNodes(2, "", (i) => (i === 0 ? STORE_BYTES : 16_000_000));
    const [[large], [small]] = await Promise.all([make(0, 30_000_000, 6), make(0, 3_000_000, 7)]);
    const found = await get([large, small].map((ref) => digestHere.options(at(1)).remote(ref)));
    expect(found.map((each) => each.digest)).toEqual([
      digest(patterned(30_000_000, 6)),
      digest(patterned(3_000_000, 7)),
    ]);
  });

  // Method: freed at its owner right after it was sent on its way; 10 times, as every moment may be the wrong one.
  test("an object that its owner frees while it travels arrives or is lost, and nothing hangs", async () => {
    await startNodes(2);
    for (let round = 0; round < 10; round++) {
      const [ref] = await make(0, 10_000_000, round);
      const there = digestHere.options({ ...at(1), maxRetries: 0 }).remote(ref);
      if (round % 2 === 1) await new Promise((resolve) => setTimeout(resolve, round));
      free([ref]);
      const outcome = await Promise.resolve(there).then(
        (value) => value.digest,
        (error: Error) => error,
      );
      if (outcome instanceof Error) expect(outcome).toBeInstanceOf(ObjectLostError);
      else expect(outcome).toBe(digest(patterned(10_000_000, round)));
    }
  });
});
