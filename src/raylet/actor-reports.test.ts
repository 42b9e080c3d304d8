// Goal: what actors come to reaches the head in order, together where it can, and until the head has it.
// Method: reports in, the calls made out; calls end when the test says so.
import { afterEach, expect, test } from "vitest";
import { ClusterUnreachableError, InvalidOptionError } from "../core/base/errors.ts";
import { ActorReport } from "../core/wire/gen/tsray/v1/head.ts";
import { ActorReports } from "./actor-reports.ts";

interface Call {
  readonly ids: string[];
  done(error?: Error): void;
}

const calls: Call[] = [];
const logs: string[] = [];
let onCall: () => void = () => {};
let reports: ActorReports;

function start(): void {
  calls.length = 0;
  logs.length = 0;
  reports = new ActorReports({
    send: (sent) =>
      new Promise<void>((resolve, reject) => {
        const done = (error?: Error) => (error === undefined ? resolve() : reject(error));
        calls.push({ ids: sent.map(({ actorId }) => actorId), done });
        onCall();
      }),
    onEmpty: () => logs.push("empty"),
    retryMs: 1,
    log: (line) => logs.push(line),
  });
}
afterEach(() => reports.close());

const add = (...ids: string[]) => {
  for (const actorId of ids) reports.add(ActorReport.fromPartial({ actorId, state: "ALIVE" }));
};
async function call(number: number): Promise<Call> {
  while (calls.length < number)
    await new Promise<void>((resolve) => {
      onCall = resolve;
    });
  return calls[number - 1] as Call;
}

test("one call for what happens in one turn; what happens meanwhile goes in the next, in order", async () => {
  start();
  add("a", "b");
  const first = await call(1);
  expect(first.ids).toEqual(["a", "b"]);
  add("c");
  add("d");
  reports.flush();
  expect(calls).toHaveLength(1);
  first.done();
  const second = await call(2);
  expect(second.ids).toEqual(["c", "d"]);
  expect([reports.isEmpty, logs]).toEqual([false, []]);
  second.done();
  await new Promise((resolve) => setImmediate(resolve));
  expect([reports.isEmpty, logs]).toEqual([true, ["empty"]]);
});

test("a call that is lost is made again, with what has come since behind it", async () => {
  start();
  add("a");
  const first = await call(1);
  add("b");
  first.done(new ClusterUnreachableError("no answer"));
  expect((await call(2)).ids).toEqual(["a", "b"]);
});

test("what the head refuses for good is logged, and the next goes on", async () => {
  start();
  add("a");
  const first = await call(1);
  add("b");
  first.done(new InvalidOptionError("no such state"));
  expect((await call(2)).ids).toEqual(["b"]);
  expect(logs).toHaveLength(1);
  expect(logs[0]).toContain("actor a: its state ALIVE could not be reported: no such state");
});

test("nothing leaves after the end", async () => {
  start();
  add("a");
  const first = await call(1);
  add("b");
  reports.close();
  first.done();
  await new Promise((resolve) => setImmediate(resolve));
  expect(calls).toHaveLength(1);
});
