/**
 * This node's standing with the head: registration, reports, and what the head tells all nodes. The stream is opened
 * again when it breaks; a head that has declared this node dead says so, and the node must end.
 */
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { TsrayError } from "../core/base/errors.ts";
import { HEALTH_CHECK_DEFAULT } from "../core/launch/daemon-config.ts";
import { rpcFaults } from "../core/rpc/faults.ts";
import { createClient, unary } from "../core/rpc/grpc.ts";
import type { JobConfigRecord } from "../core/rpc/messages.ts";
import { retrying } from "../core/rpc/retry.ts";
import {
  type ClusterUpdate,
  HeadServiceClient,
  type JobEvent,
  type JobMessage,
  type LogBatch,
  type NodeReport,
} from "../core/wire/gen/tsray/v1/head.ts";
import type { ActorNews } from "./actors.ts";
import type { RayletForHead, RayletHeadLink, StartedHeadLink } from "./head-link.ts";
import { jobToWire } from "./wire.ts";

const RECONNECT_MS = 200;

const REPORT_COALESCE_MS = 20;
const REPORT_TIMEOUT_MS = 5000;
const PACKAGE_TIMEOUT_MS = 60_000;
const JOB_FILES_WAIT_MS = 10_000;
/** Ended processes that are told again after the stream broke: the last reports may be lost. */
const ENDED_REPEATED_MAX = 1000;

/** The head at an address, as {@link RayletHeadLink}. */
export function headLink(headAddress: string, token: string, log: (line: string) => void): StartedHeadLink {
  return (raylet) => new HeadSession(headAddress, token, raylet, log);
}

class HeadSession implements RayletHeadLink {
  readonly headAddress: string;
  readonly #client: HeadServiceClient;
  readonly #raylet: RayletForHead;
  readonly #log: (line: string) => void;
  readonly #jobs = new Map<string, ClientDuplexStream<JobMessage, JobEvent>>();
  #stream: ClientDuplexStream<NodeReport, ClusterUpdate> | undefined;
  #registered: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Timeout | undefined;
  #logs: LogBatch[] = [];
  #endedProcesses: string[] = [];
  #endedRecently: string[] = [];
  /** When the head was last known to hear this node; 0 = it has not registered yet. */
  #heardAtMs = 0;
  #silenceMsMax = Number.POSITIVE_INFINITY;
  #checkedAtMs = 0;
  #probing = false;
  #closed = false;
  /** Resolves at the first registration. */
  readonly registered: Promise<void>;

  constructor(headAddress: string, token: string, raylet: RayletForHead, log: (line: string) => void) {
    this.headAddress = headAddress;
    this.#raylet = raylet;
    this.#log = log;
    this.#client = createClient(HeadServiceClient, headAddress, token);
    this.registered = new Promise((resolve) => {
      this.#registered = resolve;
    });
    this.#connect();
  }

  /** Resources or demand changed: reported soon, together with other changes. */
  changed(): void {
    if (this.#closed) return;
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.#report();
    }, REPORT_COALESCE_MS);
  }

  sendLogs(batch: LogBatch): void {
    this.#logs.push(batch);
    this.changed();
  }

  /** A process of this node that may own actors has ended. */
  processEnded(processId: string): void {
    this.#endedProcesses.push(processId);
    this.#endedRecently.push(processId);
    if (this.#endedRecently.length > ENDED_REPEATED_MAX) this.#endedRecently.shift();
    this.changed();
  }

  reportActor(news: ActorNews): void {
    const { endpoint } = news;
    const report = {
      ...news,
      endpoint: endpoint === undefined ? undefined : { ...endpoint },
      error: Buffer.from(news.error),
      nodeId: this.#raylet.describe().nodeId,
    };
    // Until the head has it: what a raylet does not report, nobody ever learns.
    const attempt = (): void => {
      unary(this.#client, this.#client.reportActor, report, REPORT_TIMEOUT_MS).catch((error: Error) => {
        const isFinal = this.#closed || (error instanceof TsrayError && !error.retryable);
        if (!isFinal) setTimeout(attempt, RECONNECT_MS);
        else
          this.#log(`actor ${news.actorId}: its state ${news.state} could not be reported: ${error.message}`);
      });
    };
    attempt();
  }

  async getPackage(hash: string, offset: number): Promise<{ data: Buffer; totalBytes: number }> {
    return unary(this.#client, this.#client.getPackage, { hash, offset }, PACKAGE_TIMEOUT_MS);
  }

  async watchJobFiles(jobId: string): Promise<{ known: boolean; environment: string; error: string }> {
    const request = { jobId, waitMs: JOB_FILES_WAIT_MS };
    const { watchJobFiles } = this.#client;
    return unary(this.#client, watchJobFiles, request, JOB_FILES_WAIT_MS + REPORT_TIMEOUT_MS);
  }

  startJob(job: JobConfigRecord): void {
    if (this.#closed || this.#jobs.has(job.jobId)) return;
    const stream = this.#client.jobSession();
    this.#jobs.set(job.jobId, stream);
    stream.on("data", (event: JobEvent) => {
      for (const { nodeId, lines } of event.logs) {
        this.#raylet.onJobLines(
          job.jobId,
          lines.map(({ name, pid, isStderr, text }) => [name, pid, isStderr, text, nodeId] as const),
        );
      }
      if (event.filesWanted) this.#raylet.onJobFilesWanted(job.jobId);
      if (event.warning !== "") this.#raylet.onJobWarning(job.jobId, event.warning);
    });
    const again = () => {
      if (this.#jobs.get(job.jobId) !== stream) return;
      this.#jobs.delete(job.jobId);
      setTimeout(() => this.startJob(job), RECONNECT_MS);
    };
    stream.on("error", again);
    stream.on("end", again);
    stream.write({ start: jobToWire(job) });
  }

  endJob(jobId: string): void {
    const stream = this.#jobs.get(jobId);
    this.#jobs.delete(jobId);
    stream?.end();
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    for (const jobId of [...this.#jobs.keys()]) this.endJob(jobId);
    this.#stream?.end();
    this.#client.close();
  }

  #connect(): void {
    if (this.#closed) return;
    const stream = this.#client.nodeSession();
    this.#stream = stream;
    stream.on("data", (update: ClusterUpdate) => {
      if (this.#heardAtMs !== 0) this.#heardAtMs = performance.now();
      if (update.registered) this.#onRegistered(update);
      this.#raylet.onUpdate(update);
    });
    let broken = false;
    const retry = (reason: string) => {
      if (broken || this.#closed) return;
      broken = true;
      if (this.#stream === stream) this.#stream = undefined;
      this.#log(`connection to the head broke (${reason}); trying again`);
      setTimeout(() => this.#connect(), RECONNECT_MS);
    };
    stream.on("error", (error) => retry(error.message));
    stream.on("end", () => retry("the head ended the stream"));
    stream.write(this.#message({ register: this.#raylet.describe() }));
  }

  #onRegistered({ healthCheck }: ClusterUpdate): void {
    this.#registered?.();
    const { periodMs, timeoutMs, failureThreshold } = healthCheck ?? HEALTH_CHECK_DEFAULT;
    this.#silenceMsMax = periodMs * failureThreshold + timeoutMs;
    this.#heardAtMs = performance.now();
    this.#checkedAtMs = this.#heardAtMs;
    this.#endedProcesses = [...this.#endedRecently];
    clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      this.#report();
      this.#checkReach(periodMs);
    }, periodMs);
    this.#report();
  }

  /** A node that the head cannot hear is dead to the cluster, and must not run what others were given meanwhile. */
  #checkReach(periodMs: number): void {
    const nowMs = performance.now();
    // When this process stood still, the head is not to blame.
    const stalledMs = nowMs - this.#checkedAtMs - periodMs;
    this.#checkedAtMs = nowMs;
    if (stalledMs > periodMs) this.#heardAtMs += stalledMs;
    const silentMs = nowMs - this.#heardAtMs;
    if (silentMs > this.#silenceMsMax) {
      this.#raylet.onHeadLost(`the head could not be reached for ${Math.round(silentMs)} ms`);
    } else if (!this.#probing) {
      this.#probing = true;
      // One lost message is no silence.
      retrying(periodMs, () => unary(this.#client, this.#client.clusterInfo, {}, this.#silenceMsMax))
        .then(
          () => {
            this.#heardAtMs = Math.max(this.#heardAtMs, nowMs);
          },
          () => {},
        )
        .finally(() => {
          this.#probing = false;
        });
    }
  }

  #report(): void {
    if (this.#stream === undefined) return;
    const logs = this.#logs;
    this.#logs = [];
    const endedProcessIds = this.#endedProcesses;
    this.#endedProcesses = [];
    const { available, total, store, transfers } = this.#raylet.describe();
    this.#stream.write(
      this.#message({
        available,
        total,
        store,
        transfers,
        pending: this.#raylet.pending(),
        logs,
        endedProcessIds,
      }),
    );
    if (rpcFaults?.breaks("NodeSession")) this.#stream.cancel();
  }

  #message(part: Partial<NodeReport>): NodeReport {
    return {
      register: undefined,
      available: undefined,
      total: undefined,
      pending: [],
      store: undefined,
      transfers: undefined,
      logs: [],
      endedProcessIds: [],
      ...part,
    };
  }
}
