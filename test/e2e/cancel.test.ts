/** Cancelling tasks: queued, running, waiting, by force, with their children. Scenarios J of Ray's black-box tests. */
import { appendFileSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cancel, GetTimeoutError, get, type ObjectRef, TaskCancelledError, TaskError } from "tsray";
import { describe, expect, onTestFinished, test } from "vitest";
import { attachStore } from "../../src/core/store/open-store.ts";
import * as f from "../fixtures/functions.ts";
import { Recorder, rejection, temporaryDirectory, until, useCluster } from "./support.ts";

const dir = temporaryDirectory();
const here = useCluster({ logToDriver: false });
let files = 0;
const recorder = () => new Recorder(dir, `${files++}`);

/** Of the node's store. */
function bytesInUse(sessionDir: string): () => number {
  const [file] = readdirSync(join(sessionDir, "nodes"));
  const record = JSON.parse(readFileSync(join(sessionDir, "nodes", file as string), "utf8"));
  const store = attachStore({ path: record.storePath, kind: "arena" });
  onTestFinished(() => store.close());
  return () => store.stats().usedBytes;
}

describe("cancel", () => {
  // Goal: a task that waits for its turn is removed, and never runs (J4). Method: both CPUs are taken by others.
  test("a queued task never runs", async () => {
    const gate = f.Gate.remote();
    const file = recorder();
    const blockers = [f.meetAtFile.remote(file.path), f.meetAtFile.remote(file.path)];
    await until(() => file.lines.length === 2, "the blockers to run");
    const ran = recorder();
    const queued = f.record.remote(ran.path, "ran");
    const kept = f.record.remote(ran.path, "kept");
    cancel(queued);
    expect(await rejection(queued)).toBeInstanceOf(TaskCancelledError);
    await f.record.options({ numCpus: 0 }).remote(file.path, "go");
    await get(blockers);
    expect(await kept).toBe("kept");
    expect(ran.lines).toEqual(["kept"]);
    await gate.open.remote();
  });

  // Goal: a task that waits for its arguments is removed.
  test("a task whose arguments are not there yet never runs", async () => {
    const gate = f.Gate.remote();
    const ran = recorder();
    const waiting = f.record.remote(ran.path, "ran", f.holdOpen.remote(gate));
    cancel(waiting);
    expect(await rejection(waiting)).toBeInstanceOf(TaskCancelledError);
    await gate.open.remote();
    expect(await f.add.remote(1, 1)).toBe(2);
    expect(ran.lines).toEqual([]);
  });

  // Goal: running code sees its signal. Method: the body notes the abort in a file.
  test("a running task sees its signal aborted, and its ref rejects", async () => {
    const gate = f.Gate.remote();
    const file = recorder();
    const ref = f.untilAborted.remote(gate, file.path);
    await gate.arrivals.remote(1);
    cancel(ref);
    const error = (await rejection(ref)) as TaskCancelledError;
    expect(error).toBeInstanceOf(TaskCancelledError);
    expect(error.code).toBe("ERR_TSRAY_TASK_CANCELLED");
    await until(() => file.lines.length > 0, "the body to see the abort");
    expect(file.lines).toEqual(["aborted AbortError"]);
    await gate.open.remote();
  });

  // Goal: force ends a loop that never looks at its signal, once and for all, and the CPU is free again.
  test("force ends a synchronous loop, and it is not retried", async () => {
    const file = recorder();
    const ref = f.spin.options({ numCpus: 2 }).remote(file.path);
    await until(() => file.lines.length === 1, "the loop to run");
    const pid = Number(file.lines[0]?.split(" ")[1]);
    cancel(ref, { force: true });
    expect(await rejection(ref)).toBeInstanceOf(TaskCancelledError);
    expect(await f.add.options({ numCpus: 2 }).remote(1, 1)).toBe(2);
    expect(() => process.kill(pid, 0)).toThrow();
    expect(file.lines).toHaveLength(1);
  });

  // Goal: force of a queued task does not end the worker that another task runs in.
  test("force of a task that has not begun does no harm to others", async () => {
    const file = recorder();
    await get(Array.from({ length: 100 }, () => f.nothing.remote()));
    const blockers = [
      f.meetAtFile.options({ maxRetries: 0 }).remote(file.path),
      f.meetAtFile.options({ maxRetries: 0 }).remote(file.path),
    ];
    const victims = Array.from({ length: 50 }, () => f.nothing.remote());
    await until(() => file.lines.length === 2, "the blockers to run");
    for (const victim of victims) cancel(victim, { force: true });
    await Promise.allSettled(victims);
    await f.record.options({ numCpus: 0 }).remote(file.path, "go");
    expect(await get(blockers)).toEqual(["met", "met"]);
  });

  // Goal: a cancelled parent takes its children along; recursive: false leaves them (J7).
  test("children are cancelled with their parent, unless recursive is false", async () => {
    for (const recursive of [true, false]) {
      const gate = f.Gate.remote();
      const file = recorder();
      const parent = f.parentOfThree.remote(gate, file.path);
      await gate.arrivals.remote(3);
      await gate.open.remote();
      await until(() => new Set(file.lines).size === 3, "the children to run");
      cancel(parent, { recursive });
      expect(await rejection(parent)).toBeInstanceOf(TaskCancelledError);
      if (recursive) {
        let before = -1;
        await until(async () => {
          const now = file.lines.length;
          const isStill = now === before;
          before = now;
          await new Promise((resolve) => setTimeout(resolve, 100));
          return isStill && file.lines.length === now;
        }, "the children to stop");
      } else {
        const before = file.lines.length;
        await until(() => file.lines.length > before + 20, "the children to go on");
      }
    }
  });

  // Goal: a chain of tasks that wait for each other ends when its head is cancelled (J1).
  test("cancelling the head of a chain of waiting tasks ends all of it", async () => {
    const gate = f.Gate.remote();
    const head = f.chain.remote(gate, 3);
    await gate.arrivals.remote(1);
    cancel(head);
    expect(await rejection(head)).toBeInstanceOf(TaskCancelledError);
    const other = f.chain.remote(gate, 2);
    expect(await rejection(get(other, { timeout: 50 }))).toBeInstanceOf(GetTimeoutError);
    await gate.open.remote();
    expect(await other).toBe("end");
  });

  // Goal: cancelling in the middle of a chain ends what waits for that, and nothing before it (J2).
  test("cancelling the middle of a chain spares what comes before", async () => {
    const gate = f.Gate.remote();
    const one = f.holdOpen.remote(gate, "one");
    const two = f.increment.remote(one);
    const three = f.increment.remote(two);
    const four = f.increment.remote(three);
    await gate.arrivals.remote(1);
    cancel(three);
    expect(await rejection(three)).toBeInstanceOf(TaskCancelledError);
    expect(await rejection(four)).toBeInstanceOf(TaskCancelledError);
    await gate.open.remote();
    expect(await get([one, two])).toEqual([1, 2]);
  });

  // Goal: cancelling what is done changes nothing (J10).
  test("a finished task keeps its value, a failed one its error", async () => {
    const done = f.add.remote(1, 2);
    await done;
    cancel(done);
    cancel(done, { force: true });
    expect(await done).toBe(3);
    const failed = f.fail.remote("range");
    await rejection(failed);
    cancel(failed);
    expect(await rejection(failed)).toBeInstanceOf(TaskError);
  });

  // Goal: cancelling in the midst of many leaves every get with a value or TaskCancelledError (J5).
  test("every get ends when 5 % of 5,000 tasks and 100 at once are cancelled", async () => {
    const refs = Array.from({ length: 5000 }, (_, i) => f.increment.remote(i));
    refs.forEach((ref, i) => {
      if (i % 20 === 0) cancel(ref, { force: i % 40 === 0 });
    });
    const immediate: ObjectRef<number>[] = [];
    for (let i = 0; i < 100; i++) {
      const ref = f.increment.remote(i);
      cancel(ref);
      immediate.push(ref);
    }
    const results = await Promise.allSettled([...refs, ...immediate]);
    results.forEach((result, i) => {
      if (result.status === "fulfilled") expect(result.value).toBe((i < 5000 ? i : i - 5000) + 1);
      else {
        expect(result.reason).toBeInstanceOf(TaskCancelledError);
        expect(i >= 5000 || i % 20 === 0).toBe(true);
      }
    });
  });

  // Goal: a task cancelled while its worker crashes is not retried (J11).
  test("a cancelled task is not retried", async () => {
    const file = recorder();
    const ref = f.spin.options({ maxRetries: -1 }).remote(file.path);
    await until(() => file.lines.length === 1, "the loop to run");
    cancel(ref);
    expect(await rejection(ref)).toBeInstanceOf(TaskCancelledError);
    process.kill(Number(file.lines[0]?.split(" ")[1]), "SIGKILL");
    await get(Array.from({ length: 20 }, () => f.nothing.remote()));
    expect(await f.add.options({ numCpus: 2 }).remote(1, 1)).toBe(2);
    expect(file.lines).toHaveLength(1);
  });

  // Goal: a ref that someone else owns can be cancelled by a borrower.
  test("a borrower can cancel a task", async () => {
    const gate = f.Gate.remote();
    const ref = f.holdOpen.remote(gate);
    await gate.arrivals.remote(1);
    await f.cancelFor.remote({ ref });
    expect(await rejection(ref)).toBeInstanceOf(TaskCancelledError);
    await gate.open.remote();
  });

  // Goal: what nobody gets leaves nothing. Method: tasks that have been cancelled answer with 10 MB each all the same; one
  // was told in time, the answer of the other is on its way when it is cancelled.
  test("results of cancelled tasks do not stay in the store", async () => {
    const inUse = bytesInUse(here.cluster.sessionDir);
    const before = inUse();
    const file = recorder();
    const told = f.answerLate.remote(file.path, 10_000_000);
    await until(() => file.lines.length === 1, "the task to run");
    cancel(told);
    await f.record.options({ numCpus: 0 }).remote(file.path, "go");
    await until(() => file.lines.includes("ends"), "the task to end");
    const other = recorder();
    const late = f.answerLate.remote(other.path, 10_000_000);
    await until(() => other.lines.length === 1, "the task to run");
    appendFileSync(other.path, "go\n");
    const endMs = Date.now() + 10_000;
    // Nothing is read meanwhile.
    while (!other.lines.includes("ends") || inUse() === before)
      if (Date.now() > endMs) throw new Error("no result");
    cancel(late);
    expect(await rejection(late)).toBeInstanceOf(TaskCancelledError);
    await until(() => inUse() === before, "the results to go");
  });
});
