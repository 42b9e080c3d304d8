// Goal: every error class is reached, and its message says to a user who died or failed, why, and what to do. Method: one
// row per class: a way to provoke it, and what must stand in its message. Rows that need a machine of their own are in
// the files named at the end; a class without a row fails the last test.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as tsray from "tsray";
import {
  ActorDiedError,
  free,
  get,
  getActor,
  getRuntimeContext,
  init,
  kill,
  type ObjectRef,
  placement,
  placementGroup,
  put,
  shutdown,
  TsrayError,
} from "tsray";
import * as testing from "tsray/testing";
import * as tune from "tsray/tune";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ERROR_TABLE } from "../../src/core/base/errors.ts";
import { Counter, Gate, NeverMade, RemoteOverlap, spinFor } from "../fixtures/actors.mjs";
import * as f from "../fixtures/functions.ts";
import { isRunning } from "../fixtures/processes.ts";
import { rejection, temporaryDirectory, until, useCluster } from "./support.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const reached = new Set<string>();

/** What the provocation throws or rejects with must be of the class, with its code and its advice. */
async function expectError(
  name: keyof typeof ERROR_TABLE,
  provoke: () => unknown,
  message: RegExp,
): Promise<void> {
  const error = await rejection((async () => provoke())());
  expect(error.name).toBe(name);
  expect(error).toMatchObject({ code: ERROR_TABLE[name].code });
  expect(error.message).toMatch(message);
  expect(error.message).toContain(`\n  -> ${ERROR_TABLE[name].act}`);
  reached.add(name);
}

/** Calls an actor until it is known to be dead. */
async function untilDead(call: () => PromiseLike<unknown>): Promise<void> {
  const outcome = async () => {
    try {
      await call();
      return undefined;
    } catch (error) {
      return error;
    }
  };
  await until(async () => (await outcome()) instanceof ActorDiedError, "the actor's end");
}

const dir = temporaryDirectory();
const file = () => `${dir}/${Math.random()}`;
const PROCESS = String.raw`worker \d+ on node [0-9a-f]{16}`;

describe("outside a cluster", () => {
  test("NotInitializedError", () =>
    expectError(
      "NotInitializedError",
      () => getRuntimeContext(),
      /getRuntimeContext\(\) was called before init\(\)/,
    ));

  test("ClusterUnreachableError names the address and what happened there", () =>
    expectError(
      "ClusterUnreachableError",
      () => init({ address: "127.0.0.1:1", token: TOKEN }),
      /no answer from 127\.0\.0\.1:1: .*ECONNREFUSED/,
    ));

  test("InvalidOptionError names the option and what it takes", () =>
    expectError(
      "InvalidOptionError",
      () => f.add.options({ numCpus: -1 }),
      /numCpus must be a number >= 0 with at most 4 decimals, got -1/,
    ));

  test("TuneError names the path", () =>
    expectError("TuneError", () => tune.Tuner.restore(`${dir}/none`, () => 0), new RegExp(`${dir}/none`)));
});

describe("in a cluster of one node", () => {
  useCluster({ logToDriver: false });

  test("AlreadyInitializedError", () => expectError("AlreadyInitializedError", () => init(), /init\(\)/));

  test("TaskError names the function, the process and its node", () =>
    expectError(
      "TaskError",
      () => f.fail.remote("range"),
      /fail2?\(\) failed with RangeError: out of range \(process \d+ on node [0-9a-f]{16}\)/,
    ));

  test("WorkerCrashedError: which worker, how it ended, what it said last", () =>
    expectError(
      "WorkerCrashedError",
      () => f.crash.options({ maxRetries: 1 }).remote(file(), "exit"),
      new RegExp(
        `^${PROCESS} exited with code 7 while it ran task crash2? \\(attempt 2\\)\n  last output on its stderr:\n    about to end by exit\n`,
      ),
    ));

  test("WorkerCrashedError: a signal by name", () =>
    expectError(
      "WorkerCrashedError",
      () => f.crash.options({ maxRetries: 0 }).remote(file(), "kill"),
      new RegExp(`^${PROCESS} was killed by SIGKILL while it ran task crash2?\n`),
    ));

  test("PoisonTaskError: how often, on how many workers, and that its retries are not used up", () =>
    expectError(
      "PoisonTaskError",
      () => f.crash.options({ maxRetries: 9 }).remote(file(), "exit"),
      new RegExp(
        `^task crash2? is poison: it crashed its worker 4 times, on 4 workers.* maxRetries \\(9\\).* ${PROCESS} exited with code 7`,
      ),
    ));

  test("ActorDiedError: which actor, which process, how it ended", () =>
    expectError(
      "ActorDiedError",
      () => Counter.remote().die.remote(3),
      /^actor Counter \([0-9a-f]{24}\) died: its process \d+ exited with code 3/,
    ));

  test("ActorDiedError: what its constructor threw", () =>
    expectError(
      "ActorDiedError",
      () => NeverMade.remote("not today").hello.remote(),
      /^actor NeverMade \([0-9a-f]{24}\) died: its constructor failed: RangeError: not today/,
    ));

  test("ActorDiedError: who killed it", async () => {
    const counter = Counter.remote();
    await counter.value.remote();
    kill(counter);
    await untilDead(() => counter.value.remote());
    await expectError("ActorDiedError", () => counter.value.remote(), /it was killed by kill\(\)/);
  });

  test("ActorDiedError: which name was looked for, and where", () =>
    expectError("ActorDiedError", () => getActor("nobody"), /no live actor named "nobody" in namespace "/));

  test("ActorUnavailableError: that the call may have run", () =>
    expectError(
      "ActorUnavailableError",
      () => Counter.options({ maxRestarts: 1 }).remote().die.remote(),
      /^actor Counter \([0-9a-f]{24}\) restarted while die\(\) was outstanding: it may or may not have run/,
    ));

  test("PendingCallsLimitError: which actor, and the limit", async () => {
    const gate = Gate.remote();
    const actor = RemoteOverlap.options({ maxPendingCalls: 1 }).remote();
    const held = actor.meet.remote(gate);
    await expectError(
      "PendingCallsLimitError",
      () => actor.meet.remote(gate),
      /actor Overlap has 1 calls outstanding, as many as maxPendingCalls allows/,
    );
    await gate.open.remote();
    await held;
  });

  test("ObjectLostError: which object, and why it cannot be made again", async () => {
    const ref = put(new Uint8Array(1_000_000));
    free([ref]);
    await expectError("ObjectLostError", () => get(ref), /object [0-9a-f]{32} /);
  });

  test("OwnerDiedError: which object, and which process owned it", async () => {
    const keeper = f.Keeper.remote();
    const { ref } = await keeper.make.remote();
    const pid = await keeper.pid.remote();
    kill(keeper as Parameters<typeof kill>[0]);
    await until(() => !isRunning(pid), "the owner's end");
    await expectError(
      "OwnerDiedError",
      () => get(ref as ObjectRef<unknown>),
      /^object [0-9a-f]{32} cannot be had: its owner \(process \d+ on node [0-9a-f]{16}\) is gone/,
    );
  });

  test("RefDisposedError", () => {
    const ref = put(1);
    ref[Symbol.dispose ?? Symbol.for("nodejs.dispose")]();
    return expectError("RefDisposedError", () => get(ref), /ref/);
  });

  test("GetTimeoutError: how long, and for what", async () => {
    const gate = Gate.remote();
    const waiting = f.holdOpen.remote(gate as never);
    await expectError("GetTimeoutError", () => get(waiting, { timeout: 20 }), /20 ms/);
    await gate.open.remote();
    await waiting;
  });

  test("TaskCancelledError: which task, and by whom", () =>
    expectError(
      "TaskCancelledError",
      () => f.add.options({ name: "sum", signal: AbortSignal.abort() }).remote(1, 2),
      /^task sum was cancelled: its signal was aborted/,
    ));

  test("UnschedulableError: which task, and which node is missing", () =>
    expectError(
      "UnschedulableError",
      () =>
        f.add
          .options({
            name: "sum",
            schedulingStrategy: { kind: "NODE_AFFINITY", nodeId: "0000000000000000", soft: false },
          })
          .remote(1, 2),
      /^task sum cannot be placed: node 0000000000000000 is not in the cluster/,
    ));

  test("PlacementGroupError: which task, which group, and who removed it", async () => {
    const group = await placementGroup([{ CPU: 1 }], { name: "short" });
    await group.remove();
    await expectError(
      "PlacementGroupError",
      () => f.add.options({ name: "sum", schedulingStrategy: placement(group) }).remote(1, 2),
      new RegExp(
        `^task sum cannot run: placement group ${group.id} \\("short"\\) was removed: remove\\(\\) was called`,
      ),
    );
  });

  test("RuntimeEnvError: which task, where, and what is wrong with its environment", () =>
    expectError(
      "RuntimeEnvError",
      () =>
        f.add
          .options({ name: "sum", runtimeEnv: { execArgv: ["--no-such-flag"] }, maxRetries: 0 })
          .remote(1, 2),
      /^task sum cannot run on node [0-9a-f]{16}: worker \d+, before it was ready, .* exited with code 9.*--no-such-flag/s,
    ));

  test("SerializationError: the path to what cannot travel", () =>
    expectError("SerializationError", () => put({ deep: [0, new WeakMap()] }), /WeakMap/));
});

describe("in a cluster of several nodes", () => {
  let cluster: testing.Cluster;
  beforeAll(async () => {
    cluster = await testing.Cluster.start({ token: TOKEN });
  });
  afterAll(async () => {
    await shutdown();
    await cluster.shutdown();
  });

  test("AuthenticationError names who refused", () =>
    expectError(
      "AuthenticationError",
      () => init({ address: cluster.address, token: "f".repeat(32) }),
      new RegExp(`${cluster.address} refused the connection: the cluster token is missing or wrong`),
    ));

  test("NodeDiedError: which node, which task, and how it is known", async () => {
    await init({ address: cluster.address, token: TOKEN, logToDriver: false });
    const node = await cluster.addNode({ numCpus: 1, resources: { there: 1 } });
    const gate = Gate.options({ numCpus: 0.1 }).remote();
    const task = spinFor.options({ maxRetries: 0, numCpus: 0, resources: { there: 1 } }).remote(gate, false);
    await gate.wait.remote();
    await cluster.removeNode(node);
    await expectError(
      "NodeDiedError",
      () => task,
      new RegExp(`^node ${node.nodeId} died while it ran task spinFor \\(.+\\)`),
    );
  });
});

/** Classes whose rows need more: where their messages are read. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  OutOfMemoryError: "out-of-memory.test.ts",
  ObjectStoreFullError: "spilling.test.ts",
  FunctionNotFoundError: "task-failure.test.ts",
};

// Method: the classes that users can import, whatever the table says.
test("no class that is exported is left out", () => {
  const exported = Object.values<unknown>({ ...tsray, ...tune, ...testing }).filter(
    (value): value is typeof TsrayError =>
      typeof value === "function" && value.prototype instanceof TsrayError,
  );
  const names = new Set(exported.map(({ name }) => name));
  expect([...names].toSorted()).toEqual(Object.keys(ERROR_TABLE).toSorted());
  const missing = [...names].filter((name) => {
    if (reached.has(name)) return false;
    const where = ELSEWHERE[name];
    if (where === undefined) return true;
    return !readFileSync(fileURLToPath(new URL(where, import.meta.url)), "utf8").includes(name);
  });
  expect(missing).toEqual([]);
});
