/** Cancelling calls of actors: queued, running, streaming, finished, by force. Scenarios J8, J10, J12 of Ray's black-box tests. */
import { cancel, get, InvalidOptionError, TaskCancelledError } from "tsray";
import { expect, test } from "vitest";
import { Cancellable, callUntilAborted, takeOne, untilAborted } from "../fixtures/cancellable.ts";
import { Recorder, rejection, temporaryDirectory, until, useCluster } from "./support.ts";

const dir = temporaryDirectory();
useCluster({ logToDriver: false });
let files = 0;
/** An actor and a task each need a process, which takes its time where others are busy. */
const BEGIN_MS_MAX = 40_000;

function start() {
  const record = new Recorder(dir, String(files++));
  return { actor: Cancellable.remote(record.path), record };
}

// Method: the first call holds the actor; of two behind it one is cancelled.
test("a queued call is removed, and the calls around it run in order", async () => {
  const { actor, record } = start();
  const first = actor.untilAborted.remote("first");
  await until(() => record.lines.includes("first began"), "the first call");
  const queued = actor.call.remote("queued");
  const kept = actor.call.remote("kept");
  cancel(queued);
  const error = await rejection(queued);
  expect(error).toBeInstanceOf(TaskCancelledError);
  expect(error.message).toMatch(/call .*\.call was cancelled: it was cancelled/);
  cancel(first);
  expect(await rejection(first)).toBeInstanceOf(TaskCancelledError);
  expect(await kept).toBe("kept");
  expect(record.lines).toEqual(["first began", "first AbortError", "kept ran"]);
});

test("a running call sees its signal, by cancel, signal and timeout; the actor lives on", async () => {
  const { actor, record } = start();
  const controller = new AbortController();
  const ends = [
    actor.untilAborted.remote("a"),
    actor.untilAborted.options({ signal: controller.signal }).remote("b"),
    actor.untilAborted.options({ timeout: 3000 }).remote("c"),
  ] as const;
  const failures = ends.map((ref) => rejection(ref));
  await until(() => record.lines.includes("a began"), "the first call");
  cancel(ends[0]);
  await until(() => record.lines.includes("b began"), "the second call");
  controller.abort();
  for (const failure of failures) expect(await failure).toBeInstanceOf(TaskCancelledError);
  expect(await actor.call.remote("next")).toBe("next");
  expect(record.lines.filter((line) => line.endsWith("AbortError")).slice(0, 2)).toEqual([
    "a AbortError",
    "b AbortError",
  ]);
});

test("a streaming call ends, its producer with it", async () => {
  const { actor, record } = start();
  const stream = actor.endless.remote();
  expect((await stream.next()).done).toBe(false);
  cancel(stream);
  await until(() => record.lines.includes("stream closed"), "the producer to stop");
  expect(await actor.call.remote("next")).toBe("next");
});

test("a finished call keeps its value, and force is refused with what to do instead", async () => {
  const { actor } = start();
  const done = actor.call.remote("done");
  await done;
  cancel(done);
  expect(await get(done)).toBe("done");
  const running = actor.untilAborted.remote("running");
  expect(() => cancel(running, { force: true })).toThrow(InvalidOptionError);
  expect(() => cancel(running, { force: true })).toThrow(/kill\(handle\)/);
  cancel(running);
  expect(await rejection(running)).toBeInstanceOf(TaskCancelledError);
});

// Method: one argument is there and the other never comes: a call that stays in the queue would hold those behind it.
test("a call whose signal is aborted beforehand is not made, and holds up no other", async () => {
  const { actor, record } = start();
  const signal = AbortSignal.abort();
  const pending = untilAborted.remote();
  const refs = [
    actor.call.options({ signal }).remote("aborted"),
    actor.call.options({ signal }).remote(pending),
  ];
  for (const ref of refs) expect(await rejection(ref)).toBeInstanceOf(TaskCancelledError);
  expect(await actor.call.remote("next")).toBe("next");
  expect(record.lines).toEqual(["next ran"]);
  cancel(pending);
});

test("calls that a cancelled task has made are cancelled with it", async () => {
  const { actor, record } = start();
  const parent = callUntilAborted.remote({ actor });
  await until(() => record.lines.includes("child began"), "the call", BEGIN_MS_MAX);
  cancel(parent);
  expect(await rejection(parent)).toBeInstanceOf(TaskCancelledError);
  await until(() => record.lines.includes("child AbortError"), "the call's end");
  expect(await actor.call.remote("next")).toBe("next");
});

// Method: a task's process is killed after one item. With back-pressure the producer waits for it, without it goes on for ever.
test.each([1, undefined])(
  "a stream ends with the process that takes it (back-pressure %s)",
  async (ahead) => {
    const { actor, record } = start();
    const pids = new Recorder(dir, String(files++));
    const task = takeOne.options({ maxRetries: 0 }).remote({ actor }, pids.path, ahead);
    await until(() => pids.lines.length === 1, "the first item", BEGIN_MS_MAX);
    process.kill(Number(pids.lines[0]), "SIGKILL");
    await rejection(task);
    expect(await actor.call.remote("next")).toBe("next");
    expect(record.lines).toEqual(["stream closed", "next ran"]);
  },
);

test("force is refused for a stream of an actor too", async () => {
  const { actor } = start();
  const stream = actor.endless.remote();
  expect((await stream.next()).done).toBe(false);
  expect(() => cancel(stream, { force: true })).toThrow(/kill\(handle\)/);
  expect((await stream.next()).done).toBe(false);
  await stream.return();
  expect(await actor.call.remote("next")).toBe("next");
});
