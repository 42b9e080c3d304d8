/**
 * The session between this process and one raylet, over which leases are asked for, granted and returned. It outlives its
 * streams: it is over when nobody listens at the raylet's address, when the raylet does not know it, or when nothing has
 * been heard of the raylet for some seconds.
 * gRPC is loaded at the first session: a worker that never submits tasks does not pay for it.
 */
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import type { Endpoint } from "../base/endpoint.ts";
import { randomId } from "../base/ids.ts";
import { patienceWith } from "../rpc/dialling.ts";
import type { RpcFaults } from "../rpc/faults.ts";
import { LastingStream } from "../rpc/lasting-stream.ts";
import type { JobConfigRecord } from "../rpc/messages.ts";
import { CONNECT_MS_MAX, probe } from "../rpc/probe.ts";
import type {
  LeaseAnswer,
  LeaseDemand,
  LeaseMessage,
  RayletServiceClient,
} from "../wire/gen/tsray/v1/raylet.ts";

export interface SessionEvents {
  onAnswer(session: LeaseSession, answer: NonNullable<LeaseAnswer["answer"]>): void;
  /** The raylet, and every lease over the session, is gone. */
  onLost(session: LeaseSession, reason: string): void;
}

type Outgoing = NonNullable<LeaseMessage["message"]>;
type Stream = ClientDuplexStream<LeaseMessage, LeaseAnswer>;

const SESSION_ID_BYTES = 12;
/** CANCELLED, INTERNAL, UNAVAILABLE: the stream broke. All else is an answer. */
const BROKEN = new Set([1, 13, 14]);

export class LeaseSession {
  readonly address: string;
  readonly nodeId: string;
  readonly #events: SessionEvents;
  readonly #id = randomId(SESSION_ID_BYTES);
  readonly #wire = new LastingStream<Outgoing>();
  readonly #isNear: boolean;
  /** Opens another stream. */
  #connect: () => void = () => {};
  #client: RayletServiceClient | undefined;
  #stream: Stream | undefined;
  #streams = 0;
  /** The raylet has answered: it has the session. */
  #isKnown = false;
  #patience: ReturnType<typeof patienceWith>;
  #brokenSinceMs = 0;
  /** There is no stream any more, and will be none. */
  #isOver = false;
  #timer: NodeJS.Timeout | undefined;
  #faults: RpcFaults | undefined;
  /** Nothing is to be had over it any more. */
  lost = false;
  /** Leases held over this session. */
  leases = 0;

  constructor(
    address: string,
    nodeId: string,
    token: string,
    self: Endpoint,
    job: JobConfigRecord,
    events: SessionEvents,
  ) {
    this.address = address;
    this.nodeId = nodeId;
    this.#events = events;
    this.#isNear = nodeId === self.nodeId;
    this.#patience = patienceWith(this.#isNear);
    this.#open(token, self, job).catch((error: Error) => this.#fail(error.message));
  }

  demand(demand: LeaseDemand): void {
    this.#send({ $case: "demand", value: demand });
  }

  returnLease(leaseId: string, workerFailed: boolean, exitWorker: boolean): void {
    this.#send({ $case: "returnLease", value: { leaseId, workerFailed, exitWorker } });
  }

  /** Lasts until the raylet has taken what was said before: also that leases come back. */
  close(): void {
    if (this.lost) return;
    this.#send({ $case: "close", value: {} });
    this.lost = true;
  }

  /** The raylet's node is dead. */
  giveUp(reason: string): void {
    this.#fail(reason);
  }

  #send(message: Outgoing): void {
    if (this.lost) return;
    this.#wire.send(message);
    if (this.#faults?.breaks("LeaseSession")) this.#stream?.cancel();
  }

  async #open(token: string, self: Endpoint, job: JobConfigRecord): Promise<void> {
    const [{ createClient }, { RayletServiceClient }, { rpcFaults }] = await Promise.all([
      import("../rpc/grpc.ts"),
      import("../wire/gen/tsray/v1/raylet.ts"),
      import("../rpc/faults.ts"),
    ]);
    this.#faults = rpcFaults();
    if (this.lost) {
      this.#isOver = true;
      return;
    }
    const owner = { ...self };
    const config = { ...job, execArgv: [...job.execArgv], argv: [...job.argv] };
    this.#connect = () => {
      const client = createClient(RayletServiceClient, this.address, token);
      const stream = client.leaseSession();
      this.#client = client;
      this.#stream = stream;
      this.#streams += 1;
      this.#listen(stream);
      const open = { owner, job: config, sessionId: this.#id, resumes: this.#isKnown, stream: this.#streams };
      stream.write({ message: { $case: "open", value: open }, taken: this.#wire.taken });
      // The raylet has nothing yet, so what there is to say need not wait for its answer.
      if (this.#streams === 1) this.#attach(stream, 0);
    };
    this.#connect();
  }

  #attach(stream: Stream, taken: number): void {
    this.#wire.attach((message, sofar) => stream.write({ message, taken: sofar }), taken);
  }

  #listen(stream: Stream): void {
    const isFirst = this.#streams === 1;
    stream.on("data", ({ answer, taken }: LeaseAnswer) => {
      if (this.#isOver || this.#stream !== stream) return;
      if (answer?.$case === "opened" && !answer.value.known)
        this.#fail("the raylet has taken its leases back");
      else if (!this.#wire.fits(taken)) this.#fail(`the raylet says that it has taken ${taken} messages`);
      else if (answer?.$case === "opened") {
        this.#isKnown = true;
        this.#patience = patienceWith(this.#isNear);
        if (!isFirst) this.#attach(stream, taken);
      } else {
        this.#wire.confirm(taken);
        if (answer === undefined) return;
        this.#wire.take();
        if (!this.lost) this.#events.onAnswer(this, answer);
      }
    });
    stream.on("error", (error: ServiceError) => {
      if (this.#isOver || this.#stream !== stream) return;
      this.#client?.close();
      if (!BROKEN.has(error.code)) {
        this.#fail(error.message);
        return;
      }
      this.#stream = undefined;
      this.#wire.detach();
      this.#brokenSinceMs = performance.now();
      this.#again(error.message);
    });
    stream.on("end", () => {
      if (this.#stream === stream) this.#fail("the raylet ended the lease session");
    });
  }

  /** An attempt came to nothing. */
  #again(reason: string): void {
    const nowMs = performance.now();
    const pauseMs = this.#patience.failed(nowMs - this.#brokenSinceMs);
    this.#brokenSinceMs = nowMs;
    if (pauseMs === undefined) {
      this.#fail(reason);
      return;
    }
    this.#timer = setTimeout(() => void this.#dial(reason), pauseMs);
    // It only has to be said that it is over: when this process ends, the raylet finds that out.
    if (this.lost) this.#timer.unref();
  }

  /** gRPC has no deadline for connecting, and takes its time to tell a dead raylet from a silent one. */
  async #dial(reason: string): Promise<void> {
    const answer = await probe(this.address, CONNECT_MS_MAX);
    if (this.#isOver) return;
    if (answer === "refused") this.#fail(reason);
    else if (answer === "silent") this.#again(reason);
    else this.#connect();
  }

  #fail(reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    // A stream that is open would keep this process for as long as its raylet is silent.
    this.#stream?.cancel();
    this.#client?.close();
    if (this.lost) return;
    this.lost = true;
    this.#events.onLost(this, reason);
  }
}
