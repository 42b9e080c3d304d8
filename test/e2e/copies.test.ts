// Goal: an owner knows every copy of its objects: all go with the last ref, and any of them serves when another is lost.
// Method: clusters of real raylets; the nodes' stores are looked into from outside.
import { rmSync } from "node:fs";
import { free, get, init, ObjectLostError, type ObjectRef, put, shutdown } from "tsray";
import { Cluster, type ClusterNode } from "tsray/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ObjectStore } from "../../src/core/store/object-store.ts";
import { attachStore } from "../../src/core/store/open-store.ts";
import { makeBytes, sumAndNode } from "../fixtures/actors.mjs";
import { makeRuntimeDir, recordsIn } from "./processes.ts";
import { rejection, until } from "./support.ts";

const MB = 1_000_000;
const TOKEN = "0123456789abcdef0123456789abcdef";

const before = process.env.XDG_RUNTIME_DIR;
let runtimeDir = "";
let cluster: Cluster;
let stores: ObjectStore[] = [];

beforeEach(async () => {
  runtimeDir = makeRuntimeDir();
  process.env.XDG_RUNTIME_DIR = runtimeDir;
  cluster = await Cluster.start({ token: TOKEN });
  await init({ address: cluster.address, token: TOKEN, logToDriver: false });
});
afterEach(async () => {
  for (const store of stores.splice(0)) store.close();
  await shutdown();
  await cluster.shutdown();
  rmSync(runtimeDir, { recursive: true, force: true });
  if (before === undefined) delete process.env.XDG_RUNTIME_DIR;
  else process.env.XDG_RUNTIME_DIR = before;
});

const addNode = (name: string): Promise<ClusterNode> =>
  cluster.addNode({ numCpus: 1, resources: { [name]: 2 } });

/** Attaches to the stores of all nodes there are. */
function openStores(): void {
  stores = recordsIn(runtimeDir).map(({ storePath }) => attachStore({ path: storePath, kind: "arena" }));
}
const bytesInUse = () => stores.map((store) => store.stats().usedBytes);

const readOn = (name: string, ref: ObjectRef<Uint8Array>) =>
  sumAndNode.options({ numCpus: 0, resources: { [name]: 1 } }).remote(ref);

test("every node's copy goes with the last ref, of a put object, of a result and of large arguments", async () => {
  await Promise.all([addNode("a"), addNode("b")]);
  openStores();
  expect(stores).toHaveLength(3);
  const use = async () => {
    const refs = [
      put(new Uint8Array(10 * MB).fill(1)),
      makeBytes.options({ numCpus: 0, resources: { a: 1 } }).remote(10 * MB, 1),
    ] as ObjectRef<Uint8Array>[];
    for (const ref of refs) {
      for (const node of ["a", "b"]) expect((await readOn(node, ref)).sum).toBe(10 * MB);
      expect((await get(ref)).length).toBe(10 * MB);
    }
    const large = new Uint8Array(10 * MB).fill(2) as unknown as ObjectRef<Uint8Array>;
    expect((await readOn("b", large)).sum).toBe(20 * MB);
    expect(Math.min(...bytesInUse())).toBeGreaterThan(19 * MB);
  };
  await use();
  await until(() => bytesInUse().every((bytes) => bytes === 0), "all stores to be empty");
});

test("free() drops the copies on all nodes", async () => {
  await addNode("a");
  openStores();
  const ref = put(new Uint8Array(10 * MB).fill(3)) as ObjectRef<Uint8Array>;
  expect((await readOn("a", ref)).sum).toBe(30 * MB);
  expect(Math.min(...bytesInUse())).toBeGreaterThan(9 * MB);
  free(ref);
  await until(() => bytesInUse().every((bytes) => bytes === 0), "both copies to be gone");
  expect(await rejection(get(ref))).toBeInstanceOf(ObjectLostError);
});

// G1 for a reader that has never seen the copy: it is told of all that are left.
test("a copy on a third node serves when the node that made the object is gone", async () => {
  const [maker] = await Promise.all([addNode("a"), addNode("b"), addNode("c")]);
  const ref = makeBytes
    .options({ numCpus: 0, resources: { a: 1 }, maxRetries: 0 })
    .remote(10 * MB, 1) as ObjectRef<Uint8Array>;
  expect((await readOn("b", ref)).sum).toBe(10 * MB);
  await cluster.removeNode(maker);
  expect((await readOn("c", ref)).sum).toBe(10 * MB);
  expect((await get(ref)).length).toBe(10 * MB);
});
