// Calls on one stream, over a real gRPC server and a Unix socket.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Server, type ServerDuplexStream, status } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import { AuthenticationError, ClusterUnreachableError, InvalidOptionError } from "../base/errors.ts";
import type { CallFrame } from "../wire/gen/tsray/v1/common.ts";
import { RayletServiceClient, RayletServiceService } from "../wire/gen/tsray/v1/raylet.ts";
import { CallStream, serveCalls } from "./call-stream.ts";
import { bindServer, createClient, createServer, EPOCH_KEY, handleUnary } from "./grpc.ts";

const TOKEN = "a-token-for-tests";
const CALL_MS = 10_000;
const { stopActors, ping, drain } = RayletServiceService;

let directory: string;
let server: Server;
let target: string;
let calls: CallStream;
let client: RayletServiceClient;
/** Streams that have been opened. */
let streams: ServerDuplexStream<CallFrame, CallFrame>[];
let epochMin: number;
let onDrain: () => void;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "tsc-"));
  server = createServer(TOKEN);
  streams = [];
  epochMin = 0;
  onDrain = () => {};
  const handlers = {
    stopActors: handleUnary(({ stops }: { stops: { actorId: string }[] }) => ({
      runningIds: stops.map(({ actorId }) => actorId),
    })),
    ping: handleUnary(() => {
      throw new InvalidOptionError("no ping today");
    }),
    drain: handleUnary(() => {
      onDrain();
      return new Promise<never>(() => {});
    }),
  };
  const serve = serveCalls(RayletServiceService, handlers, (epoch = 0) =>
    epoch < epochMin ? `epoch ${epoch} is over` : undefined,
  );
  server.addService(
    { calls: RayletServiceService.calls },
    {
      calls: (stream: ServerDuplexStream<CallFrame, CallFrame>) => {
        streams.push(stream);
        serve(stream);
      },
    },
  );
  target = await bindServer(server, `unix:${directory}/s`);
  connect();
});

function connect(token = TOKEN): void {
  client = createClient(RayletServiceClient, target, token, { [EPOCH_KEY]: "4" });
  calls = new CallStream(client);
}

afterEach(async () => {
  calls.close();
  client.close();
  server.forceShutdown();
  await rm(directory, { recursive: true, force: true });
});

const stop = (actorId: string) =>
  calls.call(stopActors, { stops: [{ actorId, incarnation: 0, graceful: false, reason: "" }] }, CALL_MS);

test("many calls share one stream, and each has its own answer", async () => {
  const answers = await Promise.all(Array.from({ length: 1000 }, (_, i) => stop(`a${i}`)));
  expect(answers.map(({ runningIds }) => runningIds[0])).toEqual(
    Array.from({ length: 1000 }, (_, i) => `a${i}`),
  );
  expect(streams).toHaveLength(1);
});

test("what the handler throws reaches the caller in its own class", async () => {
  const failed = expect(calls.call(ping, {}, CALL_MS)).rejects;
  await failed.toThrow(new InvalidOptionError("no ping today"));
  await failed.toBeInstanceOf(InvalidOptionError);
});

test("a call that is not answered in time fails alone, and its late answer is nobody's", async () => {
  const late = calls.call(drain, { graceMs: 1, reason: "" }, 50);
  await expect(late).rejects.toThrow(/it did not answer in time/);
  expect((await stop("a")).runningIds).toEqual(["a"]);
  expect(streams).toHaveLength(1);
});

test("a stream that breaks takes its calls with it; the next call has another", async () => {
  const asked = new Promise<void>((resolve) => {
    onDrain = resolve;
  });
  const lost = calls.call(drain, { graceMs: 1, reason: "" }, CALL_MS);
  await asked;
  streams[0]?.emit("error", Object.assign(new Error("gone"), { code: status.UNAVAILABLE, details: "gone" }));
  await expect(lost).rejects.toBeInstanceOf(ClusterUnreachableError);
  expect((await stop("b")).runningIds).toEqual(["b"]);
  expect(streams).toHaveLength(2);
});

test("a stream that the other side ends is one that broke", async () => {
  await stop("a");
  const lost = calls.call(drain, { graceMs: 1, reason: "" }, CALL_MS);
  streams[0]?.end();
  await expect(lost).rejects.toBeInstanceOf(ClusterUnreachableError);
  expect((await stop("b")).runningIds).toEqual(["b"]);
});

test("calls under way fail when the caller closes", async () => {
  await stop("a");
  const lost = calls.call(drain, { graceMs: 1, reason: "" }, CALL_MS);
  calls.close();
  await expect(lost).rejects.toThrow(/the connection was closed/);
});

test("each call is refused from the moment its epoch is over, on a stream that was welcome", async () => {
  await stop("a");
  epochMin = 5;
  await expect(stop("b")).rejects.toThrow(/epoch 4 is over/);
  epochMin = 4;
  expect((await stop("c")).runningIds).toEqual(["c"]);
  expect(streams).toHaveLength(1);
});

test("without the token there is no stream", async () => {
  connect("another");
  await expect(stop("a")).rejects.toBeInstanceOf(AuthenticationError);
  expect(streams).toHaveLength(0);
});

test("what is no unary method of the service, and what is no request, is refused by name", async () => {
  const odd = (path: string, bytes: Buffer) =>
    calls.call({ path, requestSerialize: () => bytes, responseDeserialize: (b) => b }, {}, CALL_MS);
  for (const path of ["/s/Nothing", "/s/LeaseSession", "/s/Calls", "/s/__proto__"])
    await expect(odd(path, Buffer.alloc(0))).rejects.toThrow(`there is no unary method "${path.slice(3)}"`);
  await expect(odd("/s/StopActors", Buffer.from([0xff, 0xff, 0xff]))).rejects.toThrow(InvalidOptionError);
  expect((await stop("a")).runningIds).toEqual(["a"]);
});
