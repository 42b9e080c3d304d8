/** Accepts channels on a Unix socket (0600) and, where the cluster has more than one node, on TCP. */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import type { Endpoint } from "../base/endpoint.ts";
import { ClusterUnreachableError } from "../base/errors.ts";
import { tokensEqual } from "../base/token.ts";
import { AcceptedChannels } from "./accepted.ts";
import type { Channel } from "./channel.ts";
import { Connection, helloOk, readHello, refused, writeHandshake } from "./connection.ts";
import { FRAME_BYTES_MAX, FrameReader, type Message } from "./frames.ts";
import { answerAsk } from "./open-channel.ts";

const HELLO_TIMEOUT_MS = 5000;
const UNAUTHENTICATED_MAX = 512;

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
  const strangers = new Set<Connection>();
  let endpoint: Endpoint = { processId, nodeId, unixPath, host: host ?? "", port: 0, pid: process.pid };
  const channels = new AcceptedChannels(() => ({ self: endpoint, token }), options.onPeer);

  const accept = (socket: Socket): void => {
    if (strangers.size >= UNAUTHENTICATED_MAX) {
      socket.destroy();
      return;
    }
    const reader = new FrameReader((message) => greet(message));
    const connection = new Connection(socket, reader, socket.remoteAddress === undefined ? "unix" : "tcp");
    const from = socket.remoteAddress ?? "this machine";
    strangers.add(connection);
    const settle = () => {
      strangers.delete(connection);
      clearTimeout(timer);
    };
    const timer = setTimeout(() => {
      settle();
      connection.drop();
    }, HELLO_TIMEOUT_MS);
    connection.onEnd = settle;
    connection.onMalformed = (error) => {
      settle();
      log?.(`connection of a stranger (${from}): ${error.message}`);
    };
    const greet = (message: Message) => {
      settle();
      reader.deliver = () => {};
      const hello = readHello(message, (given) => tokensEqual(given, token));
      if (hello.kind === "refused") {
        log?.(`refused a connection (${from}): ${String(hello.answer[2])}`);
        writeHandshake(connection, hello.answer);
        connection.end();
      } else if (hello.kind === "ask") {
        const isKnown = answerAsk(hello.session);
        const answer = isKnown ? helloOk(endpoint, 0) : refused("session", "that channel is over");
        writeHandshake(connection, answer);
        connection.end();
      } else {
        reader.frameBytesMax = FRAME_BYTES_MAX;
        channels.greet(connection, hello.peer, hello.session)?.onClose((error) => {
          if (error !== undefined)
            log?.(`connection of ${hello.peer.processId || "a stranger"} (${from}): ${error.message}`);
        });
      }
    };
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
      for (const connection of strangers) connection.drop();
      channels.close();
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
