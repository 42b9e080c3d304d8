// Goal: a channel outlives its connections, and only them: each message arrives once and in order while both processes live,
// and the end of one is known at once. Method: real sockets; every frame may break its connection (TSRAY_TEST_FAULTS), or
// a proxy resets them; processes that are killed.
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, expect, test, vi } from "vitest";
import type { Endpoint } from "../base/endpoint.ts";
import type { Channel } from "./channel.ts";
import type { ChannelServer } from "./channel-server.ts";
import type { Message } from "./frames.ts";
import { TcpProxy } from "./tcp-proxy.fixture.ts";

const TOKEN = "a token of this test, long enough";
const dir = mkdtempSync(join(tmpdir(), "tsray-resume-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

type Rpc = typeof import("./open-channel.ts") &
  typeof import("./channel-server.ts") &
  typeof import("./stream-faults.ts");

/** The modules as a process with that TSRAY_TEST_FAULTS has them. */
async function load(faults: string): Promise<Rpc> {
  vi.resetModules();
  process.env.TSRAY_TEST_FAULTS = faults;
  try {
    const faulty = await import("./stream-faults.ts");
    faulty.streamFaults();
    return { ...faulty, ...(await import("./open-channel.ts")), ...(await import("./channel-server.ts")) };
  } finally {
    delete process.env.TSRAY_TEST_FAULTS;
  }
}

let count = 0;
class Process implements Disposable {
  readonly #rpc: Rpc;
  readonly server: ChannelServer;
  readonly got: Message[] = [];
  accepted: Channel | undefined;
  #wake = () => {};

  private constructor(rpc: Rpc, server: ChannelServer) {
    this.#rpc = rpc;
    this.server = server;
  }

  /** @param name also its node; its socket lies at `path` if that is given */
  static async start(rpc: Rpc, name: string, path = join(dir, `s${count++}.sock`)): Promise<Process> {
    let self: Process | undefined;
    const onPeer = (channel: Channel) => {
      if (self !== undefined) self.accepted = channel;
      channel.onMessage = (message) => self?.take(message);
    };
    const server = await rpc.listenForChannels({
      ...{ processId: name, nodeId: name, unixPath: path, host: "127.0.0.1", token: TOKEN, onPeer },
    });
    self = new Process(rpc, server);
    return self;
  }

  take(message: Message): void {
    this.got.push(message);
    this.#wake();
  }

  /** Resolves when it has received `n` messages. */
  async has(n: number): Promise<void> {
    while (this.got.length < n) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  open(to: Endpoint): Channel {
    const channel = this.#rpc.openChannel(to, { self: this.server.endpoint, token: TOKEN });
    channel.onMessage = (message) => this.take(message);
    return channel;
  }

  [Symbol.dispose](): void {
    this.server.close();
  }
}

const closed = (channel: Channel) => new Promise<Error | undefined>((resolve) => channel.onClose(resolve));
const numbers = (n: number) => Array.from({ length: n }, (_, i) => i);
const valuesOf = (messages: readonly Message[]) => messages.map((message) => message[1]);

test.each([
  ["Unix sockets, every 20th frame", "unix", "cutAfter=20,replay=0.5"],
  ["Unix sockets, at random", "unix", "cut=0.03,replay=0.5,hold=0.03,holdMs=5"],
  ["TCP, every 20th frame", "tcp", "cutAfter=20,replay=0.5"],
  ["TCP, at random", "tcp", "cut=0.03,replay=0.5,hold=0.03,holdMs=5"],
])("broken over and over, both ways: %s", async (_what, stream, faults) => {
  for (const seed of [1, 2, 3]) {
    const rpc = await load(`seed=${seed},${faults}`);
    using a = await Process.start(rpc, "a");
    using b = await Process.start(rpc, "b");
    const to = stream === "unix" ? { ...b.server.endpoint, nodeId: "a" } : b.server.endpoint;
    const channel = a.open(to);
    channel.send([100, 0]);
    await b.has(1);
    for (let i = 1; i < 300; i++) {
      channel.send([100, i, "x".repeat(i % 7 === 0 ? 5000 : 5)]);
      b.accepted?.send([100, i - 1]);
      if (i % 3 === 0) await new Promise(setImmediate);
    }
    b.accepted?.send([100, 299]);
    await Promise.all([a.has(300), b.has(300)]);
    expect(valuesOf(b.got)).toEqual(numbers(300));
    expect(valuesOf(a.got)).toEqual(numbers(300));
    expect([channel.closed, b.accepted?.closed]).toEqual([false, false]);
    expect(rpc.streamFaults()?.cuts).toBeGreaterThan(3);
    channel.close();
  }
});

test("what is sent while a proxy resets everything arrives once, in order, both ways", async () => {
  const rpc = await load("");
  using a = await Process.start(rpc, "a");
  using b = await Process.start(rpc, "b");
  await using proxy = await TcpProxy.start(b.server.endpoint.port);
  const channel = a.open({ ...b.server.endpoint, port: proxy.port });
  channel.send([100, 0]);
  await b.has(1);
  for (let i = 1; i < 2000; i++) {
    channel.send([100, i]);
    b.accepted?.send([100, i - 1]);
    if (i % 100 === 0) {
      await Promise.race([a.has(i - 90), b.has(i - 90)]);
      proxy.reset();
    }
  }
  b.accepted?.send([100, 1999]);
  await Promise.all([a.has(2000), b.has(2000)]);
  expect(valuesOf(a.got)).toEqual(numbers(2000));
  expect(valuesOf(b.got)).toEqual(numbers(2000));
  expect(proxy.resets).toBeGreaterThan(10);
  channel.close();
});

// Method: more than the window at once; a peer that has not confirmed gets no more until it has.
test("much more than the window holds goes through, across a break", async () => {
  const rpc = await load("");
  using a = await Process.start(rpc, "a");
  using b = await Process.start(rpc, "b");
  await using proxy = await TcpProxy.start(b.server.endpoint.port);
  const channel = a.open({ ...b.server.endpoint, port: proxy.port });
  const body = Buffer.alloc(1_000_000, 7);
  for (let i = 0; i < 60; i++) {
    channel.send([100, i, body]);
    channel.flush();
  }
  await b.has(5);
  proxy.reset();
  await b.has(60);
  expect(valuesOf(b.got)).toEqual(numbers(60));
  expect(b.got.every((message) => body.equals(message[2] as Buffer))).toBe(true);
  channel.close();
});

test("a peer that does not know the channel any more says so when it is dialled again", async () => {
  const rpc = await load("");
  using a = await Process.start(rpc, "a");
  using b = await Process.start(rpc, "b");
  await using proxy = await TcpProxy.start(b.server.endpoint.port);
  const channel = a.open({ ...b.server.endpoint, port: proxy.port });
  channel.send([100, 0]);
  await b.has(1);
  const ended = closed(channel);
  b.accepted?.lose(undefined);
  channel.send([100, 1]);
  proxy.reset();
  expect((await ended)?.message).toContain("it does not know this channel");
  expect(valuesOf(b.got)).toEqual([0]);
});

test("a side that gave a broken channel up says so when it is asked", async () => {
  const rpc = await load("");
  using a = await Process.start(rpc, "a");
  using b = await Process.start(rpc, "b");
  await using proxy = await TcpProxy.start(b.server.endpoint.port);
  const channel = a.open({ ...b.server.endpoint, port: proxy.port });
  channel.send([100, 0]);
  await b.has(1);
  const ended = closed(b.accepted as Channel);
  channel.lose(undefined);
  proxy.reset();
  expect((await ended)?.message).toContain("that channel is over");
});

test("a side that has not noticed the break is told of it by the other's question", async () => {
  const rpc = await load("");
  using a = await Process.start(rpc, "a");
  using b = await Process.start(rpc, "b");
  const channel = a.open(b.server.endpoint);
  channel.send([100, 0]);
  await b.has(1);
  // Only the accepting side takes the connection for broken.
  b.accepted?.breakOff(new Error("a test"));
  b.accepted?.send([100, 0]);
  channel.send([100, 1]);
  await Promise.all([a.has(1), b.has(2)]);
  expect([valuesOf(a.got), valuesOf(b.got)]).toEqual([[0], [0, 1]]);
  channel.close();
});

// Method: a process of its own, which opens a channel back to whoever opened one to it.
test.each(["unix", "tcp"])(
  "a process that is killed is gone at once, at both ends of a channel: %s",
  async (stream) => {
    const rpc = await load("");
    using a = await Process.start(rpc, "a");
    const program = join(dir, "peer.mjs");
    await build({
      stdin: {
        contents: `import { listenForChannels } from "./channel-server.ts";
        import { openChannel } from "./open-channel.ts";
        const [token, path, nodeId] = process.argv.slice(2);
        const server = await listenForChannels({
          processId: "c", nodeId, unixPath: path, host: "127.0.0.1", token,
          onPeer: (channel) => openChannel(channel.peer, { self: server.endpoint, token }).send([100, 0]),
        });
        setInterval(() => {}, 1000);
        process.send(server.endpoint);`,
        resolveDir: import.meta.dirname,
        loader: "ts",
      },
      ...{ bundle: true, platform: "node", format: "esm", outfile: program },
    });
    const path = join(dir, `c${count++}.sock`);
    const child = fork(program, [TOKEN, path, stream === "unix" ? "a" : "c"]);
    const [endpoint] = (await once(child, "message")) as [Endpoint];
    const channel = a.open(endpoint);
    await a.has(1);
    const gone = [closed(channel), closed(a.accepted as Channel)];
    child.kill("SIGKILL");
    expect((await Promise.all(gone)).map((error) => error?.message ?? "gone")).toEqual([
      expect.stringMatching(/^gone$|ECONNRESET/),
      expect.stringMatching(/^gone$|ECONNRESET/),
    ]);
    // Nobody listens there: that is as sure.
    const late = a.open(endpoint);
    expect((await closed(late))?.message).toMatch(/ECONNREFUSED|ENOENT/);
  },
);
