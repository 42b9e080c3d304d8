/**
 * Unary calls as messages on one lasting gRPC stream: the same methods, handlers, errors and deadlines, at a fraction of
 * what a call costs as an HTTP/2 stream of its own (headers, interceptors, a stream object on both sides). For pairs of
 * processes that call each other often: the head and its raylets.
 *
 * When the stream breaks, the calls under way fail as lost, and the next call opens another one. Repeats are up to whoever
 * calls, as with calls that are not on a stream.
 */
import type { Client, ClientDuplexStream, ServerDuplexStream, ServiceError } from "@grpc/grpc-js";
import {
  ClusterUnreachableError,
  type ErrorRecord,
  fromErrorRecord,
  InvalidOptionError,
  type TsrayError,
  toErrorRecord,
} from "../base/errors.ts";
import type { CallFrame } from "../wire/gen/tsray/v1/common.ts";
import { rpcFaults } from "./faults.ts";
import { epochOf, fromServiceError, type Handler, thrownBy, withFaults } from "./grpc.ts";

const NO_BYTES = Buffer.alloc(0);
/** After its end a stream has so long to bring its last messages. */
const CLOSE_GRACE_MS = 1000;

/** A unary method as generated stubs describe it. */
export interface Method<Q, R> {
  readonly path: string;
  readonly requestSerialize: (request: Q) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => R;
}

interface UnderWay {
  readonly take: (body: Buffer) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

type Stream = ClientDuplexStream<CallFrame, CallFrame>;

/** A client whose service has the method `Calls`. */
export type CallsClient = Client & { calls(): Stream };

export class CallStream {
  readonly #client: CallsClient;
  #stream: Stream | undefined;
  readonly #underWay = new Map<number, UnderWay>();
  #lastId = 0;

  constructor(client: CallsClient) {
    this.#client = client;
  }

  /**
   * @param timeoutMs deadline of the call
   * @throws the tsray error that the server threw, AuthenticationError, or ClusterUnreachableError (rejections)
   */
  call<Q, R>(method: Method<Q, R>, request: Q, timeoutMs: number): Promise<R> {
    return withFaults(method.path, () => this.#send(method, request, timeoutMs));
  }

  /** What is under way fails as lost; what was written before arrives, if the other side is there. */
  close(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.end();
    setTimeout(() => stream?.cancel(), CLOSE_GRACE_MS).unref();
    this.#failAll(() => new ClusterUnreachableError("the connection was closed"));
  }

  #send<Q, R>(method: Method<Q, R>, request: Q, timeoutMs: number): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#stream ??= this.#open();
      const stream = this.#stream;
      const id = ++this.#lastId;
      const timer = setTimeout(() => {
        this.#underWay.delete(id);
        const target = this.#client.getChannel().getTarget().replace(/^dns:/, "");
        reject(new ClusterUnreachableError(`no answer from ${target}: it did not answer in time`));
      }, timeoutMs);
      const take = (body: Buffer) => resolve(method.responseDeserialize(body));
      this.#underWay.set(id, { take, reject, timer });
      stream.write({
        id,
        method: nameOf(method.path),
        body: method.requestSerialize(request),
        failure: NO_BYTES,
      });
      if (rpcFaults()?.breaks("Calls")) stream.cancel();
    });
  }

  #open(): Stream {
    const stream = this.#client.calls();
    stream.on("data", (frame: CallFrame) => this.#answered(frame));
    const broken = (why: () => Error) => {
      if (this.#stream !== stream) return;
      this.#stream = undefined;
      this.#failAll(why);
    };
    stream.on("error", (error: ServiceError) => broken(() => fromServiceError(error, this.#client)));
    stream.on("end", () => broken(() => new ClusterUnreachableError("the other side ended the connection")));
    return stream;
  }

  #answered({ id, body, failure }: CallFrame): void {
    const call = this.#underWay.get(id);
    if (call === undefined) return;
    this.#underWay.delete(id);
    clearTimeout(call.timer);
    try {
      if (failure.length === 0) call.take(body);
      else call.reject(fromErrorRecord(JSON.parse(failure.toString("utf8")) as ErrorRecord));
    } catch (error) {
      call.reject(error as Error);
    }
  }

  #failAll(why: () => Error): void {
    const calls = [...this.#underWay.values()];
    this.#underWay.clear();
    for (const { timer, reject } of calls) {
      clearTimeout(timer);
      reject(why());
    }
  }
}

interface ServedMethod {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestDeserialize: (bytes: Buffer) => unknown;
  readonly responseSerialize: (reply: never) => Buffer;
}

/** A service's handlers but for the one of these streams, from its generated types. */
export type WithoutCalls<Server, Definition> = Pick<
  Server,
  Exclude<keyof Definition & keyof Server, "calls">
>;

type Serve = (frame: CallFrame, answer: (frame: CallFrame) => void) => void;

/**
 * Serves such streams with a service's own handlers.
 * @param admit asked for every call, with the epoch that its stream carries; says why it is refused
 */
export function serveCalls(
  definition: Readonly<Record<string, ServedMethod>>,
  handlers: object,
  admit: (epoch: number | undefined) => string | undefined = () => undefined,
): (stream: ServerDuplexStream<CallFrame, CallFrame>) => void {
  const methods = new Map<string, Serve>();
  for (const [key, method] of Object.entries(definition)) {
    if (method.requestStream || method.responseStream) continue;
    const handler = (handlers as Record<string, Handler<unknown, never>>)[key];
    if (handler !== undefined) methods.set(nameOf(method.path), serving(method, handler));
  }
  return (stream) => {
    const epoch = epochOf(stream.metadata);
    const answer = (frame: CallFrame) => {
      if (stream.writable) stream.write(frame);
    };
    stream.on("data", (frame: CallFrame) => {
      const serve = methods.get(frame.method);
      const refused = admit(epoch);
      if (refused !== undefined) answer(failed(frame.id, new ClusterUnreachableError(refused)));
      else if (serve !== undefined) serve(frame, answer);
      else answer(failed(frame.id, new InvalidOptionError(`there is no unary method "${frame.method}"`)));
    });
    stream.on("error", () => {});
    stream.on("end", () => stream.end());
  };
}

function serving(method: ServedMethod, handler: Handler<unknown, never>): Serve {
  return ({ id, body }, answer) => {
    let request: unknown;
    try {
      request = method.requestDeserialize(body);
    } catch (error) {
      answer(
        failed(id, new InvalidOptionError(`the request is no ${method.path}: ${(error as Error).message}`)),
      );
      return;
    }
    handler({ request }, (error, response) => {
      const thrown = error === null ? undefined : thrownBy(error);
      if (thrown !== undefined) answer({ id, method: "", body: NO_BYTES, failure: thrown });
      else if (error !== null) answer(failed(id, new ClusterUnreachableError(error.message ?? "it failed")));
      else answer({ id, method: "", body: method.responseSerialize(response as never), failure: NO_BYTES });
    });
  };
}

function failed(id: number, error: TsrayError): CallFrame {
  return {
    id,
    method: "",
    body: NO_BYTES,
    failure: Buffer.from(JSON.stringify(toErrorRecord(error)), "utf8"),
  };
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
