/** Accepts channels on a Unix socket (0600) and, where the cluster has more than one node, on TCP. */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import type { Endpoint } from "../base/endpoint.ts";
import { ClusterUnreachableError } from "../base/errors.ts";
import { tokensEqual } from "../base/token.ts";
import { Channel, checkHello, helloOk } from "./channel.ts";
import { FRAME_BYTES_MAX, FrameReader } from "./frames.ts";

const HELLO_TIMEOUT_MS = 5000;
const UNAUTHENTICATED_MAX = 512;

const NOBODY: Endpoint = { processId: "", nodeId: "", unixPath: "", host: "", port: 0, pid: 0 };

export interface ChannelServer {
  readonly endpoint: Endpoint;
  /** Stops listening and ends every accepted channel. */
  close(): void;
}

export interface ListenOptions {
  readonly processId: string;
  readonly nodeId: string;
  readonly unixPath: string;
  /** Host for TCP; undefined = Unix socket only. */
  readonly host: string | undefined;
  readonly token: string;
  /** A peer has shown its token. Set `onMessage` here, before returning. */
  readonly onPeer: (channel: Channel) => void;
  /** A connection was refused, or ended with an error: why, and whose it was. */
  readonly log?: ((line: string) => void) | undefined;
}

/** @throws ClusterUnreachableError when an address cannot be bound */
export async function listenForChannels(options: ListenOptions): Promise<ChannelServer> {
  const { processId, nodeId, unixPath, host, token, log } = options;
  const channels = new Set<Channel>();
  let unauthenticated = 0;
  let endpoint: Endpoint = { processId, nodeId, unixPath, host: host ?? "", port: 0, pid: process.pid };

  const accept = (socket: Socket): void => {
    if (unauthenticated >= UNAUTHENTICATED_MAX) {
      socket.destroy();
      return;
    }
    unauthenticated += 1;
    const channel = new Channel(socket, NOBODY);
    let greeted = false;
    const settle = () => {
      if (!greeted) unauthenticated -= 1;
      greeted = true;
      clearTimeout(timer);
    };
    const timer = setTimeout(() => channel.destroy(), HELLO_TIMEOUT_MS);
    channels.add(channel);
    const from = socket.remoteAddress ?? "this machine";
    channel.onClose((error) => {
      if (error !== undefined)
        log?.(`connection of ${channel.peer.processId || "a stranger"} (${from}): ${error.message}`);
      settle();
      channels.delete(channel);
    });
    const reader = new FrameReader((message) => {
      if (greeted) {
        channel.onMessage(message);
        return;
      }
      const answer = checkHello(message, (given) => tokensEqual(given, token));
      settle();
      if ("refused" in answer) {
        log?.(`refused a connection (${from}): ${String(answer.refused[2])}`);
        channel.send(answer.refused);
        channel.close();
        return;
      }
      reader.frameBytesMax = FRAME_BYTES_MAX;
      channel.peer = answer.peer;
      channel.send(helloOk(endpoint));
      options.onPeer(channel);
    });
    channel.listen(reader);
  };

  const servers: Server[] = [await bind(accept, { path: unixPath })];
  chmodSync(unixPath, 0o600);
  if (host !== undefined) {
    const tcp = await bind(accept, { host, port: 0 });
    servers.push(tcp);
    const address = tcp.address();
    if (address !== null && typeof address === "object") endpoint = { ...endpoint, port: address.port };
  }
  for (const server of servers) server.unref();

  return {
    get endpoint() {
      return endpoint;
    },
    close() {
      for (const server of servers) server.close();
      for (const channel of channels) channel.close();
      rmSync(unixPath, { force: true });
    },
  };
}

function bind(
  accept: (socket: Socket) => void,
  where: { path: string } | { host: string; port: number },
): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer(accept);
    server.once("error", (cause) =>
      reject(
        new ClusterUnreachableError(
          `cannot listen on ${"path" in where ? where.path : where.host}: ${cause.message}`,
          { cause },
        ),
      ),
    );
    server.listen(where, () => {
      server.removeAllListeners("error");
      server.on("error", () => {});
      resolve(server);
    });
  });
}
