/**
 * This node's standing with the head: registration, reports, and what the head tells all nodes. The stream is opened
 * again when it breaks, also to the next head, which is told what runs here. What a silent head means is decided in
 * head-watch.ts; a head that has declared this node dead says so, and the node must end.
 */
import { type ClientDuplexStream, connectivityState, type ServiceError } from "@grpc/grpc-js";
import { HEALTH_CHECK_DEFAULT } from "../core/launch/daemon-config.ts";
import { type HealthTimes, healthTimes } from "../core/launch/health-rules.ts";
import { CallStream } from "../core/rpc/call-stream.ts";
import { rpcFaults } from "../core/rpc/faults.ts";
import { createClient, fromServiceError, unary } from "../core/rpc/grpc.ts";
import type { JobConfigRecord } from "../core/rpc/messages.ts";
import { CONNECT_MS_MAX, probe } from "../core/rpc/probe.ts";
import {
  type ClusterUpdate,
  HeadServiceClient,
  HeadServiceService,
  type JobEvent,
  type JobMessage,
  type LogBatch,
  type NodeReport,
} from "../core/wire/gen/tsray/v1/head.ts";
import { ActorReports } from "./actor-reports.ts";
import type { ActorNews } from "./actors.ts";
import { askOthers } from "./ask-others.ts";
import { HeadDial } from "./head-dial.ts";
import type { HeadEpoch } from "./head-epoch.ts";
import type { RayletForHead, RayletHeadLink, StartedHeadLink } from "./head-link.ts";
import { HeadWatch } from "./head-watch.ts";
import { LogBacklog } from "./log-backlog.ts";
import { isHere } from "./own-clock.ts";
import { jobToWire } from "./wire.ts";

const RECONNECT_MS = 200;
const DIAL_CHECK_MS = 250;

/** The head has so long to take note that this node leaves. */
const FAREWELL_MS_MAX = 1000;
const REPORT_COALESCE_MS = 20;
const REPORT_TIMEOUT_MS = 5000;
const PACKAGE_TIMEOUT_MS = 60_000;
const JOB_FILES_WAIT_MS = 10_000;
/** Ended processes that are told again after the stream broke: the last reports may be lost. */
const ENDED_REPEATED_MAX = 1000;

/** How the head is found, and whether it can be lost. */
export interface HeadLinkOptions {
  readonly headAddress: string;
  readonly token: string;
  /** The latest head that this node has heard of. */
  readonly epoch: HeadEpoch;
  /** The head is in this process: it cannot be lost alone. */
  readonly isWithin: boolean;
  readonly log: (line: string) => void;
}

/** The head at an address, as {@link RayletHeadLink}. */
export function headLink(options: HeadLinkOptions): StartedHeadLink {
  return (raylet) => new HeadSession(options, raylet);
}

/** Of a driver of this node. */
interface JobStream {
  readonly stream: ClientDuplexStream<JobMessage, JobEvent>;
  /** The driver has left, and the head may not know yet. */
  isOver: boolean;
}

function sayOver(stream: JobStream["stream"]): void {
  stream.write({ start: undefined, nodeId: "", ended: true });
  stream.end();
}

class HeadSession implements RayletHeadLink {
  readonly headAddress: string;
  readonly #options: HeadLinkOptions;
  #client: HeadServiceClient;
  /** Of the client. */
  #calls: CallStream;
  readonly #raylet: RayletForHead;
  readonly #log: (line: string) => void;
  /** On this machine, in whichever process. */
  readonly #isHeadHere: boolean;
  readonly #jobs = new Map<string, JobStream>();
  readonly #actorReports: ActorReports;
  #stream: ClientDuplexStream<NodeReport, ClusterUpdate> | undefined;
  #registered: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #dial = new HeadDial(performance.now());
  readonly #dialTimer: NodeJS.Timeout;
  #isTrying = false;
  #soon: NodeJS.Timeout | undefined;
  readonly #logs = new LogBacklog();
  #endedProcesses: string[] = [];
  #endedRecently: string[] = [];
  #isRegistered = false;
  #onCaughtUp: (() => void)[] = [];
  /** Undefined until the first registration. */
  #watch: HeadWatch | undefined;
  #times: HealthTimes = healthTimes(HEALTH_CHECK_DEFAULT);
  #beat = 0;
  #registerSentMs = 0;
  /** What was logged last of a head that cannot be reached: said once, not at every attempt. */
  #said = "";
  #closed = false;
  /** Resolves at the first registration. */
  readonly registered: Promise<void>;

  constructor(options: HeadLinkOptions, raylet: RayletForHead) {
    this.#options = options;
    this.headAddress = options.headAddress;
    this.#raylet = raylet;
    this.#log = options.log;
    this.#isHeadHere = isHere(options.headAddress);
    this.#client = this.#makeClient();
    this.#calls = new CallStream(this.#client);
    this.#actorReports = new ActorReports({
      send: (reports) => this.#calls.call(HeadServiceService.reportActors, { reports }, REPORT_TIMEOUT_MS),
      onEmpty: () => this.#lookWhetherCaughtUp(),
      retryMs: RECONNECT_MS,
      log: options.log,
    });
    this.#dialTimer = setInterval(() => void this.#lookAtLine(), DIAL_CHECK_MS).unref();
    this.registered = new Promise((resolve) => {
      this.#registered = resolve;
    });
    this.#connect();
  }

  hears(): boolean {
    return this.#watch?.hears(performance.now()) ?? false;
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
    this.#actorReports.add({
      ...news,
      endpoint: endpoint === undefined ? undefined : { ...endpoint },
      error: Buffer.from(news.error),
      nodeId: this.#raylet.describe().nodeId,
    });
  }

  caughtUp(): Promise<void> {
    return new Promise((resolve) => {
      this.#onCaughtUp.push(resolve);
      this.#lookWhetherCaughtUp();
    });
  }

  #lookWhetherCaughtUp(): void {
    if (this.#closed || (this.#isRegistered && this.#actorReports.isEmpty))
      for (const resolve of this.#onCaughtUp.splice(0)) resolve();
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
    if (!this.#jobs.has(job.jobId)) this.#openJob(job, false);
  }

  /** Until the head has it: a job whose end it does not hear of has actors that nobody ends. */
  endJob(jobId: string): void {
    const session = this.#jobs.get(jobId);
    if (session === undefined || session.isOver) return;
    session.isOver = true;
    sayOver(session.stream);
  }

  #openJob(job: JobConfigRecord, isOver: boolean): void {
    if (this.#closed) return;
    const { jobId } = job;
    const stream = this.#client.jobSession();
    const session: JobStream = { stream, isOver };
    this.#jobs.set(jobId, session);
    stream.on("data", (event: JobEvent) => {
      for (const { nodeId, lines } of event.logs) {
        this.#raylet.onJobLines(
          jobId,
          lines.map(({ name, pid, isStderr, text }) => [name, pid, isStderr, text, nodeId] as const),
        );
      }
      if (event.filesWanted) this.#raylet.onJobFilesWanted(jobId);
      if (event.warning !== "") this.#raylet.onJobWarning(jobId, event.warning);
    });
    // The job runs as long as its driver is here, whatever becomes of the stream or of the head.
    let hasBroken = false;
    const again = (error?: ServiceError) => {
      if (hasBroken || this.#jobs.get(jobId) !== session) return;
      hasBroken = true;
      const refused = error === undefined ? undefined : fromServiceError(error, this.#client);
      const isFinal = refused !== undefined && !refused.retryable;
      if (session.isOver && (error === undefined || isFinal)) {
        this.#jobs.delete(jobId);
        return;
      }
      if (isFinal) {
        this.#raylet.onJobWarning(jobId, `the head has refused this job: ${refused.message}`);
        return;
      }
      setTimeout(() => {
        if (this.#jobs.get(jobId) === session) this.#openJob(job, session.isOver);
      }, RECONNECT_MS);
    };
    stream.on("error", again);
    stream.on("end", () => again());
    stream.write({ start: jobToWire(job), nodeId: this.#raylet.describe().nodeId, ended: false });
    if (isOver) sayOver(stream);
  }

  async close(leaving?: string): Promise<void> {
    // What is known of its actors leaves before it does.
    this.#actorReports.flush();
    this.#closed = true;
    this.#lookWhetherCaughtUp();
    clearInterval(this.#timer);
    clearInterval(this.#dialTimer);
    clearTimeout(this.#soon);
    for (const jobId of [...this.#jobs.keys()]) this.endJob(jobId);
    const stream = this.#stream;
    if (leaving !== undefined && stream !== undefined) {
      // The head ends the stream when it has struck the node off.
      const struckOff = new Promise<void>((resolve) => {
        for (const event of ["end", "error"]) stream.once(event, () => resolve());
        setTimeout(resolve, FAREWELL_MS_MAX);
      });
      stream.write(this.#message({ leaving }));
      await struckOff;
    }
    stream?.end();
    this.#actorReports.close();
    this.#calls.close();
    this.#client.close();
  }

  #connect(): void {
    if (this.#closed) return;
    const stream = this.#client.nodeSession();
    this.#stream = stream;
    let broken = false;
    const retry = (reason: string) => {
      if (broken || this.#closed) return;
      broken = true;
      if (this.#stream === stream) this.#stream = undefined;
      this.#isRegistered = false;
      this.#logs.broken();
      if (reason !== this.#said) this.#log(`connection to the head broke (${reason}); trying again`);
      this.#said = reason;
      setTimeout(() => this.#connect(), RECONNECT_MS);
    };
    stream.on("data", (update: ClusterUpdate) => {
      if (broken || this.#closed || !this.#raylet.mayAct()) return;
      if (update.registered) {
        const { epoch } = this.#options;
        if (epoch.isForeign(update.clusterId)) {
          this.#raylet.onHeadLost(`the head at ${this.headAddress} has lost the cluster's tables`);
          return;
        }
        const refused = epoch.registered(update.clusterId, update.epoch);
        if (refused !== undefined) {
          stream.cancel();
          retry(refused);
          return;
        }
        this.#onRegistered(update);
      }
      if (update.heardBeat > 0) {
        this.#watch?.answered(update.heardBeat);
        this.#logs.answered(update.heardBeat);
      }
      this.#raylet.onUpdate(update);
    });
    stream.on("error", (error) => retry(error.message));
    stream.on("end", () => retry("the head ended the stream"));
    const raylet = this.#raylet;
    const { actors, jobIds } = raylet.hosted();
    this.#registerSentMs = performance.now();
    // A beat too: a head that has answered it is heard.
    const beat = ++this.#beat;
    this.#watch?.sent(beat, this.#registerSentMs);
    const register = raylet.describe();
    stream.write(this.#message({ register, actors, jobIds, bundles: raylet.bundles(), beat }));
  }

  #onRegistered({ healthCheck = HEALTH_CHECK_DEFAULT }: ClusterUpdate): void {
    this.#registered?.();
    this.#isRegistered = true;
    this.#lookWhetherCaughtUp();
    this.#said = "";
    if (this.#watch === undefined) {
      this.#times = healthTimes(healthCheck);
      this.#watch = new HeadWatch(this.#times, this.#registerSentMs);
      this.#raylet.onTimes(this.#times);
    }
    this.#endedProcesses = [...this.#endedRecently];
    clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      this.#report(true);
      if (!this.#options.isWithin) this.#look(healthCheck.periodMs);
    }, healthCheck.periodMs);
    this.#report(true);
  }

  #makeClient(): HeadServiceClient {
    return createClient(HeadServiceClient, this.headAddress, this.#options.token);
  }

  /** One that has failed is tried again by gRPC itself. */
  get #isLineFine(): boolean {
    const state = this.#client.getChannel().getConnectivityState(false);
    if (this.#options.isWithin || this.#closed) return true;
    return state === connectivityState.READY ? this.hears() : state !== connectivityState.CONNECTING;
  }

  /**
   * A connection that the network has swallowed is given up for a new one, once the network is there. To a head on this
   * machine there is none: a new connection would only be more work for a head that is behind with it.
   */
  async #lookAtLine(): Promise<void> {
    if (this.#isHeadHere || !this.#dial.look(this.#isLineFine, performance.now()) || this.#isTrying) return;
    this.#isTrying = true;
    const answer = await probe(this.headAddress, CONNECT_MS_MAX);
    this.#isTrying = false;
    if (answer !== "listens" || this.#isLineFine) return;
    this.#dial.dialled(performance.now());
    this.#log("the head does not answer: connecting anew");
    const old = this.#client;
    this.#calls.close();
    this.#client = this.#makeClient();
    this.#calls = new CallStream(this.#client);
    // Their ends open them again, over the new connection.
    this.#stream?.cancel();
    for (const { stream } of this.#jobs.values()) stream.cancel();
    old.close();
  }

  /** A node that the head cannot hear is dead to the cluster, and must not run what others are given. */
  #look(periodMs: number): void {
    const watch = this.#watch as HeadWatch;
    const verdict = watch.look(performance.now());
    if (verdict.kind === "fence") this.#raylet.onHeadLost(verdict.reason);
    if (verdict.kind !== "ask") return;
    // Once a period, whether or not all have answered: what is not heard again soon is not believed any more.
    const timeoutMs = Math.max(periodMs, this.#times.trustMs / 2);
    const { token, epoch } = this.#options;
    void askOthers({
      headAddress: this.headAddress,
      isHeadHere: this.#isHeadHere,
      raylets: this.#raylet.others(),
      token,
      timeoutMs,
      epoch,
      told: (what, askedMs) => watch.told(what, askedMs),
    });
  }

  /** @param isBeat the head is to answer */
  #report(isBeat = false): void {
    if (this.#stream === undefined) return;
    // The head answers a beat at once, so that lines need not be kept for long.
    const logs = this.#isRegistered ? this.#logs.take(this.#beat + 1) : [];
    const isAnswered = isBeat || logs.length > 0;
    const endedProcessIds = this.#endedProcesses;
    this.#endedProcesses = [];
    const { available, total, store, transfers } = this.#raylet.describe();
    if (isAnswered) this.#watch?.sent(++this.#beat, performance.now());
    this.#stream.write(
      this.#message({
        beat: isAnswered ? this.#beat : 0,
        available,
        total,
        store,
        transfers,
        pending: this.#raylet.pending(),
        logs,
        endedProcessIds,
      }),
    );
    if (rpcFaults()?.breaks("NodeSession")) this.#stream.cancel();
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
      beat: 0,
      actors: [],
      jobIds: [],
      leaving: "",
      bundles: [],
      draining: this.#raylet.isDraining(),
      ...part,
    };
  }
}
