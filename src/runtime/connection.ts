/** What the runtime is given to connect: where to, as what, and what a worker adds. */
import type { Endpoint } from "../core/base/endpoint.ts";
import type { RuntimeEnv } from "../core/base/runtime-env.ts";
import type { Channel } from "../core/rpc/channel.ts";
import type { Message } from "../core/rpc/frames.ts";

/** How a process connects. */
export interface Connection {
  readonly self: Endpoint;
  readonly token: string;
  readonly raylet: Endpoint;
  readonly register: Message;
  /** Host for TCP; undefined = Unix sockets only. */
  readonly host: string | undefined;
  /** What its calls inherit: text of an environment in a worker, what `init` was given in a driver. */
  readonly environment: string | RuntimeEnv;
  /** For the raylet's answer; undefined = no limit, for a worker: its raylet is its parent, and may be starved for long. */
  readonly timeoutMs: number | undefined;
}

/** What a worker adds: messages that only executors get. */
export interface ExecutorHooks {
  onMessage(channel: Channel, message: Message): void;
  onPeerClosed(channel: Channel): void;
  onLocal(message: Message): void;
}
