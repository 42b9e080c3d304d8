// Goal: a call about many actors is answered actor by actor, and raylets are told in one call what they are to start.
// Method: a real head over Unix sockets, simulated raylets that speak the real protocol; waits are for events.
import { afterEach, beforeEach, expect, test } from "vitest";
import { createClient, unary } from "../../core/rpc/grpc.ts";
import { ActorRegistry } from "../../core/submit/actor-registry.ts";
import { HeadClient } from "../../core/submit/head-client.ts";
import { ActorSpec, HeadServiceClient } from "../../core/wire/gen/tsray/v1/head.ts";
import { TestCluster, TOKEN } from "../test-kit.ts";

const CALL_MS = 10_000;

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await TestCluster.start();
});
afterEach(() => cluster.stop());

const spec = (actorId: string, more: Partial<ActorSpec> = {}) =>
  ActorSpec.fromPartial({ actorId, jobId: "job", className: "Counter", namespace: "ns", ...more });

test("each actor of a call has its own answer, and one that is refused keeps none of the others", async () => {
  const specs = [
    spec("a", { name: "one" }),
    spec("b", { name: "one" }),
    spec("c", { name: "one", getIfExists: true }),
    spec(""),
    spec("d"),
  ];
  const { actors } = await unary(cluster.client, cluster.client.createActors, { specs }, CALL_MS);
  expect(actors.map(({ actor, existed }) => [actor?.actorId, existed])).toEqual([
    ["a", false],
    [undefined, false],
    ["a", true],
    [undefined, false],
    ["d", false],
  ]);
  expect(actors[1]?.error).toContain('actor name "one" is taken');
  expect(JSON.parse(actors[3]?.failure ?? "")).toMatchObject({ name: "InvalidOptionError" });
  // A repeat gets the first answers.
  const again = await unary(cluster.client, cluster.client.createActors, { specs }, CALL_MS);
  expect(again.actors.map(({ existed }) => existed)).toEqual([false, false, true, false, false]);
});

test("what a driver creates in one turn reaches a node in one call, and each is told when it lives", async () => {
  const one = await cluster.raylet("n1");
  const head = new HeadClient(cluster.head.address, TOKEN);
  const registry = new ActorRegistry(head);
  const ids = Array.from({ length: 300 }, (_, i) => `a${i}`);
  const created = await Promise.all(ids.map((actorId) => registry.create(spec(actorId))));
  expect(created.every(({ error, failure }) => error === "" && failure === "")).toBe(true);
  await one.starts.until(() => one.starts.all.length === ids.length);
  expect(one.startCalls).toBeLessThan(5);
  const lives = async (actorId: string) => {
    for (let known = 0; ; ) {
      const info = await registry.watch(actorId, known, CALL_MS);
      if (info.state === "ALIVE") return;
      known = info.version;
    }
  };
  const living = Promise.all([...ids.map(lives), registry.watch("nobody", 0, CALL_MS)]);
  for (const actorId of ids) await one.say(actorId, 0, "ALIVE");
  expect((await living).at(-1)).toMatchObject({ found: false });
  const kill = { noRestart: true, graceful: false, reason: "done", requestId: "" };
  await Promise.all(ids.map((actorId) => registry.kill({ ...kill, actorId })));
  await one.stops.until(() => one.stops.all.length === ids.length);
  expect((await cluster.info("a7")).state).toBe("DEAD");
  head.close();
});

test("a raylet that has not decided yet is asked again, the others of the call are not", async () => {
  let asked = 0;
  const one = await cluster.raylet("n1", 4, ({ spec: of }) => {
    if (of?.actorId !== "slow") return { accepted: true };
    asked += 1;
    return asked < 3 ? { undecided: true, reason: "its last life has not ended yet" } : { accepted: true };
  });
  const specs = [spec("quick"), spec("slow"), spec("other")];
  await unary(cluster.client, cluster.client.createActors, { specs }, CALL_MS);
  await one.starts.until(() => asked === 3);
  await one.bringUp("slow");
  expect(one.starts.all.map((start) => start.spec?.actorId).sort()).toEqual([
    "other",
    "quick",
    "slow",
    "slow",
    "slow",
  ]);
  expect((await cluster.info("slow")).state).toBe("ALIVE");
});

test("a wrong report is refused, those beside it count", async () => {
  const one = await cluster.raylet("n1");
  await cluster.create({ actorId: "a" });
  await one.starts.until(() => true);
  const client = createClient(HeadServiceClient, cluster.head.address, TOKEN);
  const report = { actorId: "a", incarnation: 0, nodeId: "n1", reason: "", error: Buffer.alloc(0) };
  const endpoint = { processId: "p", nodeId: "n1", unixPath: "", host: "", port: 0, pid: 1 };
  const reports = [
    { ...report, state: "DANCING", endpoint: undefined },
    { ...report, state: "ALIVE", endpoint },
  ];
  await expect(unary(client, client.reportActors, { reports }, CALL_MS)).rejects.toThrow("DANCING");
  expect((await cluster.info("a")).state).toBe("ALIVE");
  client.close();
});
