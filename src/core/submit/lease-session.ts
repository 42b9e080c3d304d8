/**
 * The stream between this process and one raylet, over which leases are asked for, granted and returned.
 * gRPC is loaded at the first session: a worker that never submits tasks does not pay for it.
 */
import type { ClientDuplexStream } from "@grpc/grpc-js";
import type { Endpoint } from "../base/endpoint.ts";
import type { RpcFaults } from "../rpc/faults.ts";
import type { JobConfigRecord } from "../rpc/messages.ts";
import type {
  LeaseAnswer,
  LeaseDemand,
  LeaseMessage,
  RayletServiceClient,
} from "../wire/gen/tsray/v1/raylet.ts";

export interface SessionEvents {
  onAnswer(session: LeaseSession, answer: NonNullable<LeaseAnswer["answer"]>): void;
  /** The stream broke: the raylet, and every lease over it, is gone. */
  onLost(session: LeaseSession, reason: string): void;
}

type Outgoing = NonNullable<LeaseMessage["message"]>;

export class LeaseSession {
  readonly address: string;
  readonly nodeId: string;
  readonly #events: SessionEvents;
  readonly #opened: Promise<void>;
  #client: RayletServiceClient | undefined;
  #stream: ClientDuplexStream<LeaseMessage, LeaseAnswer> | undefined;
  #queued: Outgoing[] = [];
  #faults: RpcFaults | undefined;
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
    this.#opened = this.#open(token, self, job).catch((error: Error) => this.#fail(error.message));
  }

  demand(demand: LeaseDemand): void {
    this.#send({ $case: "demand", value: demand });
  }

  returnLease(leaseId: string, workerFailed: boolean, exitWorker: boolean): void {
    this.#send({ $case: "returnLease", value: { leaseId, workerFailed, exitWorker } });
  }

  close(): void {
    this.lost = true;
    void this.#opened.then(() => {
      this.#stream?.end();
      this.#client?.close();
    });
  }

  #send(message: Outgoing): void {
    if (this.lost) return;
    if (this.#stream === undefined) this.#queued.push(message);
    else {
      this.#stream.write({ message });
      if (this.#faults?.breaks("LeaseSession")) this.#stream.cancel();
    }
  }

  async #open(token: string, self: Endpoint, job: JobConfigRecord): Promise<void> {
    const [{ createClient }, { RayletServiceClient }, { rpcFaults }] = await Promise.all([
      import("../rpc/grpc.ts"),
      import("../wire/gen/tsray/v1/raylet.ts"),
      import("../rpc/faults.ts"),
    ]);
    this.#faults = rpcFaults();
    if (this.lost) return;
    this.#client = createClient(RayletServiceClient, this.address, token);
    const stream = this.#client.leaseSession();
    this.#stream = stream;
    stream.on("data", ({ answer }: LeaseAnswer) => {
      if (answer !== undefined && !this.lost) this.#events.onAnswer(this, answer);
    });
    stream.on("error", (error) => this.#fail(error.message));
    stream.on("end", () => this.#fail("the raylet ended the lease session"));
    stream.write({
      message: {
        $case: "open",
        value: { owner: { ...self }, job: { ...job, execArgv: [...job.execArgv], argv: [...job.argv] } },
      },
    });
    for (const message of this.#queued) stream.write({ message });
    this.#queued = [];
  }

  #fail(reason: string): void {
    if (this.lost) return;
    this.lost = true;
    this.#client?.close();
    this.#events.onLost(this, reason);
  }
}
