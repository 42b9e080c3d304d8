// Goal: channels carry messages whole and in order, and let nobody in without the token. Method: real sockets.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { afterAll, expect, test } from "vitest";
import type { Endpoint } from "../base/endpoint.ts";
import { AuthenticationError } from "../base/errors.ts";
import type { Channel } from "./channel.ts";
import { type ChannelServer, listenForChannels } from "./channel-server.ts";
import { type BlobSink, encodeBatch, FRAME_BYTES_MAX_UNAUTHENTICATED, type Message } from "./frames.ts";
import { openChannel } from "./open-channel.ts";

const TOKEN = "a token of this test, long enough";
const dir = mkdtempSync(join(tmpdir(), "tsray-rpc-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
let count = 0;

interface Pair extends AsyncDisposable {
  readonly server: ChannelServer;
  readonly received: Message[];
  /** Resolves when the server has `n` messages. */
  got(n: number): Promise<void>;
  readonly accepted: Promise<Channel>;
}

async function serve(host?: string): Promise<Pair> {
  const received: Message[] = [];
  let wake = () => {};
  let accept: (channel: Channel) => void = () => {};
  const accepted = new Promise<Channel>((resolve) => {
    accept = resolve;
  });
  const server = await listenForChannels({
    processId: "server",
    nodeId: "node",
    unixPath: join(dir, `s${count++}.sock`),
    host,
    token: TOKEN,
    onPeer: (channel) => {
      channel.onMessage = (message) => {
        received.push(message);
        wake();
      };
      accept(channel);
    },
  });
  return {
    server,
    received,
    accepted,
    got: async (n) => {
      while (received.length < n) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    [Symbol.asyncDispose]: async () => server.close(),
  };
}

const client = (nodeId = "node"): Endpoint => ({
  processId: "client",
  nodeId,
  unixPath: "",
  host: "",
  port: 0,
  pid: 1,
});
const closed = (channel: Channel) => new Promise<Error | undefined>((resolve) => channel.onClose(resolve));

test("messages of several turns arrive whole and in order, over Unix sockets and TCP", async () => {
  await using pair = await serve("127.0.0.1");
  for (const nodeId of ["node", "another node"]) {
    const channel = openChannel(pair.server.endpoint, { self: client(nodeId), token: TOKEN });
    pair.received.length = 0;
    for (let i = 0; i < 2000; i++) channel.send([100, i, "x".repeat(i)]);
    await Promise.resolve();
    channel.send([100, 2000, new Uint8Array([1, 2, 3])]);
    await pair.got(2001);
    expect(pair.received.map((message) => message[1])).toEqual(Array.from({ length: 2001 }, (_, i) => i));
    expect(pair.received[1999]?.[2]).toHaveLength(1999);
    expect(pair.received[2000]?.[2]).toEqual(Buffer.from([1, 2, 3]));
    channel.close();
  }
});

/** Notes what it is told, and keeps blobs of more than one byte in memory of its own. */
class Sink implements BlobSink {
  readonly seen: [what: unknown, bytes: Buffer | undefined, intact: boolean][] = [];
  #into: Buffer | undefined;
  #wake = () => {};
  place(_message: Message, length: number): Buffer | undefined {
    this.#into = length === 1 ? undefined : Buffer.alloc(length);
    return this.#into;
  }
  placed(message: Message, intact: boolean): void {
    this.seen.push([message[1], this.#into, intact]);
    this.#wake();
  }
  async got(n: number): Promise<void> {
    while (this.seen.length < n) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

test("blobs are read into the memory that is given for them, or skipped, and a damaged one is told", async () => {
  await using pair = await serve();
  const sink = new Sink();
  const messages: Message[] = [];
  const channel = openChannel(pair.server.endpoint, { self: client(), token: TOKEN }, sink);
  channel.onMessage = (message) => messages.push(message);
  const from = await pair.accepted;
  const blob = Buffer.alloc(20_000_000, "tsray");
  from.send([100, "before"]);
  await from.sendBlob([101, "blob"], blob, crc32(blob));
  await from.sendBlob([101, "skipped"], Buffer.from("x"), crc32("x"));
  await from.sendBlob([101, "empty"], Buffer.alloc(0), 0);
  await from.sendBlob([101, "damaged"], blob.subarray(0, 300_000), crc32("another"));
  from.send([100, "after", Buffer.from("bytes")]);
  await sink.got(4);
  while (messages.length < 2) await new Promise(setImmediate);
  expect(messages).toEqual([
    [100, "before"],
    [100, "after", Buffer.from("bytes")],
  ]);
  expect(sink.seen.map(([what, , intact]) => [what, intact])).toEqual([
    ["blob", true],
    ["skipped", false],
    ["empty", true],
    ["damaged", false],
  ]);
  expect(blob.equals(sink.seen[0]?.[1] as Buffer)).toBe(true);
  channel.close();
});

test("what binary fields hold stays as it was when more arrives", async () => {
  await using pair = await serve();
  const channel = openChannel(pair.server.endpoint, { self: client(), token: TOKEN });
  const from = await pair.accepted;
  const got: Message[] = [];
  let wake = () => {};
  channel.onMessage = (message) => {
    got.push(message);
    wake();
  };
  const fields = [10, 70_000, 10, 200_000, 10].map((length, i) => Buffer.alloc(length, i + 1));
  for (const bytes of fields) {
    from.send([100, bytes]);
    from.flush();
    await new Promise(setImmediate);
  }
  while (got.length < fields.length) {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
  expect(got.every((message, i) => fields[i]?.equals(message[1] as Buffer))).toBe(true);
  channel.close();
});

test("a blob that nobody expects ends the connection", async () => {
  await using pair = await serve();
  const channel = openChannel(pair.server.endpoint, { self: client(), token: TOKEN });
  const serverSide = await pair.accepted;
  const gone = closed(serverSide);
  await channel.sendBlob([100, "blob"], Buffer.from("x"), crc32("x"));
  expect(await gone).toMatchObject({ message: expect.stringContaining("a frame of type 1") });
  expect(pair.received).toEqual([]);
});

test("the socket file is for this user only", async () => {
  await using pair = await serve();
  expect(statSync(pair.server.endpoint.unixPath).mode & 0o777).toBe(0o600);
});

test("a wrong token closes the channel with AuthenticationError, and nothing sent with it is delivered", async () => {
  await using pair = await serve();
  const channel = openChannel(pair.server.endpoint, { self: client(), token: `${TOKEN}x` });
  channel.send([100, "secret"]);
  expect(await closed(channel)).toBeInstanceOf(AuthenticationError);
  expect(pair.received).toEqual([]);
});

test.each([
  ["bytes that are no frame", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ["a frame larger than a stranger may send", Buffer.from([...u32(FRAME_BYTES_MAX_UNAUTHENTICATED + 1), 0])],
  ["a batch that is no list", frame(Buffer.from([0x2a]))],
  ["a message before the hello", Buffer.concat(encodeBatch([[100, "hi"]]))],
  ["msgpack that promises more than it holds", frame(Buffer.from([0xdd, 0x01, 0xff, 0xff, 0xff]))],
])("%s ends that connection and no other", async (_what, bytes) => {
  await using pair = await serve();
  const good = openChannel(pair.server.endpoint, { self: client(), token: TOKEN });
  const stranger = connect(pair.server.endpoint.unixPath);
  stranger.on("error", () => {});
  stranger.resume();
  stranger.write(bytes);
  await new Promise((resolve) => stranger.on("close", resolve));
  good.send([100, "still here"]);
  await pair.got(1);
  expect(pair.received).toEqual([[100, "still here"]]);
  good.close();
});

test("both sides learn that the other is gone", async () => {
  await using pair = await serve();
  const channel = openChannel(pair.server.endpoint, { self: client(), token: TOKEN });
  const serverSide = await pair.accepted;
  const gone = closed(serverSide);
  channel.destroy();
  await gone;
  expect(serverSide.closed).toBe(true);
});

function u32(n: number): number[] {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(n);
  return [...bytes];
}

function frame(body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([...u32(body.length), 0]), body]);
}
