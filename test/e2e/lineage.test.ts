// Goal: what is lost with a node is made again where a task can make it, as often as maxRetries allows, and else fails
// with an error that says why. Scenarios G. Method: clusters of real raylets; nodes that hold the only copies are SIGKILLed.
import { get, InvalidOptionError, init, ObjectLostError, type ObjectRef, put, shutdown, wait } from "tsray";
import { Cluster, type ClusterNode } from "tsray/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Counter, grow, makeBytes, putBytes, sumAndNode } from "../fixtures/actors.mjs";
import { otherSize } from "../fixtures/functions.ts";
import { Recorder, rejection, temporaryDirectory } from "./support.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const dir = temporaryDirectory();
let cluster: Cluster;

beforeEach(async () => {
  cluster = await Cluster.start({ token: TOKEN });
});
afterEach(async () => {
  delete process.env.TSRAY_LINEAGE_BYTES;
  await shutdown();
  await cluster.shutdown();
});
const connect = () => init({ address: cluster.address, token: TOKEN, logToDriver: false });
/** A node whose one CPU alone can run what asks for `m`. */
const addMaker = (): Promise<ClusterNode> => cluster.addNode({ numCpus: 1, resources: { m: 10 } });
const onMaker = { numCpus: 1, resources: { m: 1 } };
type Bytes = Uint8Array;

// G3. Method: the chain's results lie on one node; the one that comes after it has a single CPU for all three tasks.
test("a chain of lost results is made again, each task once", async () => {
  await connect();
  const runs = new Recorder(dir, "chain");
  const doomed = await addMaker();
  const a = grow.options(onMaker).remote(runs.path, "a", null);
  const b = grow.options(onMaker).remote(runs.path, "b", a);
  const c = grow.options(onMaker).remote(runs.path, "c", b);
  await wait([a, b, c], { numReturns: 3 });
  await cluster.removeNode(doomed);
  await addMaker();
  expect(((await get(c)) as Bytes)[5]).toBe(3);
  expect([...runs.lines].sort()).toEqual(["a", "a", "b", "b", "c", "c"]);
});

// G3 with the refs in the middle gone: lineage alone holds them.
test("a chain is made again although the refs in its middle were dropped", async () => {
  await connect();
  const runs = new Recorder(dir, "dropped");
  const doomed = await addMaker();
  const chain = () => {
    const a = grow.options(onMaker).remote(runs.path, "a", null);
    return grow.options(onMaker).remote(runs.path, "b", a);
  };
  const b = chain();
  await wait([b]);
  await cluster.removeNode(doomed);
  await addMaker();
  expect(((await get(b)) as Bytes)[5]).toBe(2);
});

// G9. Method: the second run gives more, or so little that it is stored nowhere; both are asked for by a task and the driver.
test("a result that has another size when it is made again is the new one", async () => {
  await connect();
  const doomed = await addMaker();
  const refs = [3_000_000, 10].map((second) => {
    const runs = new Recorder(dir, `size ${second}`);
    return otherSize.options(onMaker).remote(runs.path, [1_000_000, second]);
  });
  await wait(refs, { numReturns: 2 });
  await cluster.removeNode(doomed);
  await addMaker();
  expect(await get(refs.map((ref) => sumAndNode.remote(ref)))).toMatchObject([{ sum: 0 }, { sum: 0 }]);
  expect((await get(refs)).map(({ length }) => length)).toEqual([3_000_000, 10]);
});

// Goal: what a finished task was given stays as long as its result may have to be made again.
test("a put argument is still there when the task runs again", async () => {
  await connect();
  const runs = new Recorder(dir, "argument");
  const doomed = await addMaker();
  const make = () => grow.options(onMaker).remote(runs.path, "a", put(new Uint8Array(1_000_000).fill(7)));
  const ref = make();
  await wait([ref]);
  await cluster.removeNode(doomed);
  await addMaker();
  expect(((await get(ref)) as Bytes)[5]).toBe(8);
});

// G2, second half: the budget.
test("a result that is lost more often than maxRetries allows is an error that says so", async () => {
  await connect();
  const runs = new Recorder(dir, "budget");
  let doomed = await addMaker();
  const ref = grow.options({ ...onMaker, maxRetries: 1 }).remote(runs.path, "a", null);
  await wait([ref]);
  await cluster.removeNode(doomed);
  doomed = await addMaker();
  // The copy that is made again is not read here, so that it is the only one.
  expect((await sumAndNode.options({ numCpus: 0, resources: { m: 1 } }).remote(ref)).sum).toBe(1_000_000);
  await cluster.removeNode(doomed);
  await addMaker();
  const error = await rejection(get(ref));
  expect(error).toBeInstanceOf(ObjectLostError);
  expect(error.message).toMatch(/maxRetries/);
  expect(runs.lines).toEqual(["a", "a"]);
});

// G4, and what else no task can make again.
test("lost objects that nothing can make again say why; what was derived from them stays", async () => {
  await connect();
  const doomed = await addMaker();
  const actor = Counter.options({ numCpus: 0, resources: { m: 1 } }).remote();
  const once = makeBytes.options({ ...onMaker, maxRetries: 0 }).remote(1_000_000, 2);
  const result = actor.big.remote(1_000_000);
  const [inner] = (await get(putBytes.options(onMaker).remote(1_000_000))) as [ObjectRef<Bytes>];
  const derived = await get(sumAndNode.options({ numCpus: 0 }).remote(inner));
  await wait([once, result], { numReturns: 2 });
  await cluster.removeNode(doomed);
  const reasons = await Promise.all(
    [once, result, inner].map((ref) => rejection(get(ref as ObjectRef<Bytes>))),
  );
  expect(reasons[0]?.message).toMatch(/maxRetries 0/);
  expect(reasons[1]?.message).toMatch(/actor's call/);
  expect(reasons[2]?.name).toBe("OwnerDiedError");
  expect(derived.sum).toBe(5_000_000);
});

// G7. Method: room for the lineage of a few tasks, and two that are further apart than that.
test("lineage is bounded: the oldest goes first, and a lost object says so", async () => {
  process.env.TSRAY_LINEAGE_BYTES = "8000";
  await connect();
  const doomed = await addMaker();
  const refs = Array.from({ length: 10 }, (_, i) => makeBytes.options(onMaker).remote(200_000, i));
  await wait(refs, { numReturns: refs.length });
  await cluster.removeNode(doomed);
  await addMaker();
  const error = await rejection(get(refs[0] as ObjectRef<Bytes>));
  expect(error).toBeInstanceOf(ObjectLostError);
  expect(error.message).toContain("its lineage was evicted");
  expect(((await get(refs[9] as ObjectRef<Bytes>)) as Bytes)[0]).toBe(9);
});

test.each(["-1", "1.5", "many"])("TSRAY_LINEAGE_BYTES=%s is refused", async (given) => {
  process.env.TSRAY_LINEAGE_BYTES = given;
  const error = await rejection(connect());
  expect(error).toBeInstanceOf(InvalidOptionError);
  expect(error.message).toContain(`"${given}"`);
});
