// Goal: TCP connections between two nodes that are reset all the while change nothing that a user sees (R20, at counts that
// fit): calls of actors take effect once and in order, tasks and large objects come through, no node is taken for dead.
// Method: all connections between nodes lead through a proxy of this test, which resets them at random.
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { get, init, nodes, shutdown } from "tsray";
import { Cluster } from "tsray/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { randomFrom } from "../../src/core/rpc/faults.ts";
import { TcpProxy } from "../../src/core/rpc/tcp-proxy.fixture.ts";
import { addLines, Log } from "../fixtures/actors.mjs";
import * as f from "../fixtures/functions.ts";
import { isRunning, until } from "../fixtures/processes.ts";
import { digest, digestHere, makePatterned, patterned } from "../fixtures/transfer.ts";

const BYTES = 12_000_000;
const there = { numCpus: 0, resources: { there: 1 } };
let proxy: TcpProxy;
let cluster: Cluster;
const dir = mkdtempSync(join(tmpdir(), "tse-"));

beforeAll(async () => {
  proxy = await TcpProxy.start();
  process.env.TSRAY_TEST_FAULTS = `proxyPort=${proxy.port},replay=0.3`;
  cluster = await Cluster.start({ head: { numCpus: 2 } });
  await cluster.addNode({ numCpus: 2, resources: { there: 10 } });
  await init({ address: cluster.address, logToDriver: false });
});
afterAll(async () => {
  await shutdown();
  await cluster.shutdown();
  await proxy[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true, force: true });
});

/** Runs `work` while connections are reset. */
async function underResets(seed: number, everyMs: number, work: () => Promise<void>): Promise<void> {
  const random = randomFrom(seed, "");
  const resetsBefore = proxy.resets;
  const timer = setInterval(() => proxy.reset(() => random() < 0.5), everyMs);
  try {
    for (let round = 0; round < 3 || proxy.resets - resetsBefore < 5; round++) await work();
  } finally {
    clearInterval(timer);
  }
}

test("calls from node to node, both ways, take effect once and in order", async () => {
  const here = Log.options({ numCpus: 0 }).remote();
  const away = Log.options(there).remote();
  let calls = 0;
  await underResets(1, 100, async () => {
    const adding = addLines.options(there).remote(here, `${calls}`, 50);
    for (let i = 0; i < 10; i++) {
      const answers = await get(Array.from({ length: 10 }, (_, k) => away.add.remote(`${calls + k}`)));
      expect(answers).toEqual(Array.from({ length: 10 }, (_, k) => calls + k + 1));
      calls += 10;
    }
    await adding;
  });
  expect(await away.lines.remote()).toEqual(Array.from({ length: calls }, (_, i) => `${i}`));
  const rounds = Array.from({ length: calls / 100 }, (_, i) => i * 100);
  expect(await here.lines.remote()).toEqual(
    rounds.flatMap((round) => Array.from({ length: 50 }, (_, i) => `${round}:${i}`)),
  );
});

test("tasks and large objects come through", async () => {
  const bytes = patterned(BYTES, 1);
  await underResets(2, 400, async () => {
    const refs = Array.from({ length: 50 }, (_, i) => f.increment.options(there).remote(i));
    const made = [makePatterned.options(there).remote(BYTES, 1)] as const;
    expect(digest(await get(made[0]))).toBe(digest(bytes));
    expect((await digestHere.options(there).remote(bytes)).digest).toBe(digest(bytes));
    expect(await get(refs)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
  });
});

test("no node was taken for dead", async () => {
  expect((await nodes()).map(({ alive }) => alive)).toEqual([true, true]);
});

// Goal: a result counts that was sent before its worker ended, though the raylet's word of the end comes first. Method: the
// proxy lets nothing through from before the result leaves until the raylet has said that the worker is gone.
test("the last words of a worker count", async () => {
  const file = join(dir, "last");
  writeFileSync(file, "");
  const ref = f.answerAndEnd.options({ ...there, maxRetries: 0 }).remote(file);
  await until(() => readFileSync(file, "utf8") !== "");
  const pid = Number.parseInt(readFileSync(file, "utf8"), 10);
  proxy.pause();
  appendFileSync(file, "go\n");
  await until(() => !isRunning(pid));
  const early = await Promise.race([ref, new Promise((resolve) => setTimeout(resolve, 500, "nothing yet"))]);
  proxy.resume();
  expect([early, await ref]).toEqual(["nothing yet", "last words"]);
});
