/**
 * The control plane: gRPC servers and clients that carry the cluster token on every call.
 *
 * One place for the limits (grpc-js has them off by default), for the token check, and for turning gRPC statuses into
 * errors of tsray. Loaded lazily by workers: importing grpc-js costs more than a worker's start.
 */
import {
  type ChannelOptions,
  type Client,
  type ClientDuplexStream,
  credentials,
  InterceptingCall,
  type Interceptor,
  Metadata,
  Server,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import {
  AuthenticationError,
  ClusterUnreachableError,
  type ErrorRecord,
  fromErrorRecord,
  TsrayError,
  toErrorRecord,
} from "../base/errors.ts";
import { tokensEqual } from "../base/token.ts";
import { exitPoint } from "./exit-points.ts";
import { rpcFaults } from "./faults.ts";

const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
/**
 * A client closes a connection that it has had no call on for half an hour (grpc-js). What a server sees idle for longer is
 * of a machine that has gone without a word: nothing else would ever tell of it. TCP keepalive cannot be had through
 * grpc-js, and HTTP/2 pings from the server would end connections of processes that only compute.
 */
const IDLE_MS_MAX = 40 * 60_000;
const ERROR_KEY = "tsray-error-bin";
/** Metadata of the head's commands: which start of the head they come from. */
export const EPOCH_KEY = "tsray-epoch";

/** That a call carries. */
export function epochOf(metadata: Metadata): number | undefined {
  const [epoch] = metadata.get(EPOCH_KEY);
  return typeof epoch === "string" ? Number(epoch) : undefined;
}

const LIMITS: ChannelOptions = {
  "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
  "grpc.max_send_message_length": MESSAGE_BYTES_MAX,
  "grpc.default_compression_algorithm": 0,
  "grpc.enable_http_proxy": 0,
};

/**
 * A gRPC server that refuses calls without the cluster token. Not yet bound.
 * @param admit asked for every call, with the epoch that it carries; says why it is refused
 */
export function createServer(
  token: string,
  admit: (epoch: number | undefined) => string | undefined = () => undefined,
): Server {
  const authenticate: ServerInterceptor = (_descriptor, call) =>
    new ServerInterceptingCall(call, {
      start(next) {
        next({
          onReceiveMetadata(metadata, proceed) {
            const given = metadata.get("authorization")[0];
            const bearer = typeof given === "string" && given.startsWith("Bearer ") ? given.slice(7) : "";
            if (!tokensEqual(bearer, token)) {
              call.sendStatus({
                code: status.UNAUTHENTICATED,
                details: "the cluster token is missing or wrong",
              });
              return;
            }
            const refused = admit(epochOf(metadata));
            if (refused === undefined) proceed(metadata);
            else call.sendStatus({ code: status.ABORTED, details: refused });
          },
        });
      },
    });
  return new Server({
    ...LIMITS,
    "grpc.max_concurrent_streams": 4096,
    "grpc-node.max_session_memory": 64,
    "grpc.max_connection_idle_ms": IDLE_MS_MAX,
    interceptors: [authenticate],
  });
}

/**
 * Binds to `host:port` (port 0 = any) or `unix:/path` and returns the target clients use.
 * @throws ClusterUnreachableError when the address is in use or not ours
 */
export function bindServer(server: Server, target: string): Promise<string> {
  return new Promise((resolve, reject) => {
    server.bindAsync(target, ServerCredentials.createInsecure(), (error, port) => {
      if (error) {
        reject(new ClusterUnreachableError(`cannot listen on ${target}: ${error.message}`, { cause: error }));
        return;
      }
      resolve(target.startsWith("unix:") ? target : `${target.slice(0, target.lastIndexOf(":"))}:${port}`);
    });
  });
}

type ClientClass<C extends Client> = new (
  address: string,
  channelCredentials: ReturnType<typeof credentials.createInsecure>,
  options?: ChannelOptions & { interceptors?: Interceptor[] },
) => C;

/** A client of one of our services at `target`, with the token (and `extra`) on every call. Connects at the first call. */
export function createClient<C extends Client>(
  Service: ClientClass<C>,
  target: string,
  token: string,
  extra: Readonly<Record<string, string>> = {},
): C {
  const addToken: Interceptor = (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start(metadata, listener, next) {
        metadata.set("authorization", `Bearer ${token}`);
        for (const [key, value] of Object.entries(extra)) metadata.set(key, value);
        next(metadata, listener);
      },
    });
  return new Service(target, credentials.createInsecure(), {
    ...LIMITS,
    "grpc.initial_reconnect_backoff_ms": 100,
    // A head that was started again is looked for often: what it does not hear of waits.
    "grpc.max_reconnect_backoff_ms": 500,
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
    // Every client its own connection: a closed one must not linger in a shared pool.
    "grpc.use_local_subchannel_pool": 1,
    interceptors: [addToken],
  });
}

type UnaryMethod<Q, R> = (
  request: Q,
  metadata: Metadata,
  options: { deadline: number },
  callback: (error: ServiceError | null, response: R) => void,
) => { cancel(): void };

/**
 * One unary call as a promise: `unary(client, client.listNodes, {}, 5000)`.
 * @param timeoutMs deadline of the call
 * @param signal gives the call up: it fails like one that was lost, and keeps the process alive no longer
 * @throws the tsray error that the server threw, AuthenticationError, or ClusterUnreachableError
 */
export function unary<Q, R>(
  client: Client,
  method: UnaryMethod<Q, R>,
  request: Q,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<R> {
  const send = () =>
    new Promise<R>((resolve, reject) => {
      const options = { deadline: Date.now() + timeoutMs };
      const call = method.call(client, request, new Metadata(), options, (error, response) => {
        signal?.removeEventListener("abort", giveUp);
        if (error) reject(fromServiceError(error, client));
        else resolve(response);
      });
      const giveUp = () => call.cancel();
      if (signal?.aborted) giveUp();
      else signal?.addEventListener("abort", giveUp, { once: true });
    });
  return withFaults((method as { path?: string }).path ?? "", send);
}

/** Makes a call; in tests, with what they have happen to calls of that method. */
export function withFaults<R>(path: string, send: () => Promise<R>): Promise<R> {
  return rpcFaults() === undefined && exitPoint === undefined ? send() : faulty(path, send);
}

async function faulty<R>(path: string, send: () => Promise<R>): Promise<R> {
  const name = path.split("/").at(-1) ?? "";
  exitPoint?.reach(`asking ${name}`);
  const faults = rpcFaults();
  const reply = await (faults === undefined ? send() : faults.around(path, send));
  exitPoint?.reach(`answered ${name}`);
  return reply;
}

/** The tsray error that a status carries, as JSON. */
export function thrownBy({ metadata }: Partial<ServiceError>): Buffer | undefined {
  const [carried] = metadata?.get(ERROR_KEY) ?? [];
  return carried instanceof Buffer ? carried : undefined;
}

/** Turns what gRPC reports into an error of tsray. */
export function fromServiceError(error: ServiceError, client: Client): TsrayError {
  const carried = thrownBy(error);
  if (carried !== undefined) return fromErrorRecord(JSON.parse(carried.toString("utf8")) as ErrorRecord);
  const target = client.getChannel().getTarget().replace(/^dns:/, "");
  if (error.code === status.UNAUTHENTICATED) {
    return new AuthenticationError(`${target} refused the connection: ${error.details}`, { cause: error });
  }
  const details = (error.details || error.message)
    .replace(/^No connection established\. Last error: (?:Error: )?/, "")
    .replace(/\.? Resolution note:.*$/, "");
  const what = error.code === status.DEADLINE_EXCEEDED ? "it did not answer in time" : details;
  return new ClusterUnreachableError(`no answer from ${target}: ${what}`, { cause: error });
}

/** The status that carries an error of ours to the caller of a handler. */
export function toServiceError(error: unknown): Partial<ServiceError> {
  const ours =
    error instanceof TsrayError
      ? error
      : new ClusterUnreachableError(
          `internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
        );
  const metadata = new Metadata();
  metadata.set(ERROR_KEY, Buffer.from(JSON.stringify(toErrorRecord(ours)), "utf8"));
  return { code: status.FAILED_PRECONDITION, details: ours.message.split("\n")[0] ?? "", metadata };
}

/** What serves a unary method. */
export type Handler<Q, R> = (
  call: { request: Q },
  callback: (error: Partial<ServiceError> | null, response?: R) => void,
) => void;

/** Wraps an async function as a unary handler; what it throws reaches the caller in its own class. */
export function handleUnary<Q, R>(serve: (request: Q) => R | Promise<R>): Handler<Q, R> {
  return (call, callback) => {
    Promise.resolve()
      .then(() => serve(call.request))
      .then(
        (response) => callback(null, response),
        (error: unknown) => callback(toServiceError(error)),
      );
  };
}

export type { Client, ClientDuplexStream, Server };
