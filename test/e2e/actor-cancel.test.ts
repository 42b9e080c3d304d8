/** Cancelling calls of actors: queued, running, streaming, finished, by force. Scenarios J8, J10, J12 of Ray's black-box tests. */
import { cancel, get, InvalidOptionError, TaskCancelledError } from "tsray";
import { expect, test } from "vitest";
import { Cancellable } from "../fixtures/cancellable.ts";
import { Recorder, rejection, temporaryDirectory, until, useCluster } from "./support.ts";

const dir = temporaryDirectory();
useCluster({ logToDriver: false });
let files = 0;

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
