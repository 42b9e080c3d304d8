/**
 * Which jobs run, and what their drivers hear: their workers' output and the death of nodes.
 *
 * Decides when a job ends: its driver has left, or its driver's node has died or come back without it. A stream that
 * breaks ends nothing: the raylet that speaks for the driver opens it again, also at the next head. A job's id is not
 * taken twice. A driver that reads too slowly loses log lines, never memory of the head: lines over
 * the bound are dropped and counted, and the count is told as one warning once there is room.
 */
import type { ServerDuplexStream } from "@grpc/grpc-js";
import { InvalidOptionError } from "../core/base/errors.ts";
import { toServiceError } from "../core/rpc/grpc.ts";
import type { JobConfig, NodeInfo } from "../core/wire/gen/tsray/v1/common.ts";
import {
  JobEvent,
  type JobInfo,
  type JobList,
  type JobMessage,
  type LogBatch,
  StoredJob,
} from "../core/wire/gen/tsray/v1/head.ts";
import { BoundedMap } from "./bounded-map.ts";
import type { KeptRecord, RecordKeeper } from "./state-store/record-keeper.ts";
import type { StateStore } from "./state-store/state-store.ts";

const TABLE = "jobs";
const JOBS_RUNNING_MAX = 10_000;
const JOBS_ENDED_MAX = 1000;
/** Characters of log text on their way to one driver. */
export const LOG_CHARS_IN_FLIGHT_MAX = 4 * 1024 * 1024;

export interface JobEvents {
  started(job: JobConfig): void;
  ended(job: JobConfig, reason: string): void;
}

type Call = ServerDuplexStream<JobMessage, JobEvent>;

/** What is kept of a job, also when it has ended. */
interface KeptJob {
  readonly row: StoredJob & { info: JobInfo };
  readonly kept: KeptRecord;
}

interface Job extends KeptJob {
  readonly config: JobConfig;
  readonly nodeId: string;
  /** Undefined from when it breaks, or a new head begins, until the driver's raylet opens it again. */
  session: JobSession | undefined;
  /** Lines that came meanwhile, and how many that were too much. */
  held: LogBatch[];
  heldChars: number;
  heldDropped: number;
}

/** The stream of one driver, with a bound on the log text that waits in it. */
class JobSession {
  readonly #call: Call;
  #logCharsInFlight = 0;
  #linesDropped = 0;

  constructor(call: Call) {
    this.#call = call;
  }

  send(event: Partial<JobEvent>): void {
    if (this.#call.writable) this.#call.write(JobEvent.fromPartial(event));
  }

  sendLogs(batch: LogBatch): void {
    const chars = charsOf(batch);
    if (!this.#call.writable) return;
    if (this.#logCharsInFlight + chars > LOG_CHARS_IN_FLIGHT_MAX) {
      this.#linesDropped += batch.lines.length;
      return;
    }
    this.#logCharsInFlight += chars;
    this.#call.write(JobEvent.fromPartial({ logs: [batch] }), () => {
      this.#logCharsInFlight -= chars;
      this.#tellDropped();
    });
  }

  /** Lines could not be kept for it. */
  dropped(lines: number): void {
    this.#linesDropped += lines;
    this.#tellDropped();
  }

  refuse(error: unknown): void {
    this.#call.emit("error", Object.assign(new Error("job refused"), toServiceError(error)));
  }

  end(): void {
    if (this.#call.writable) this.#call.end();
  }

  #tellDropped(): void {
    if (this.#linesDropped === 0 || this.#logCharsInFlight > LOG_CHARS_IN_FLIGHT_MAX / 2) return;
    const lines = this.#linesDropped;
    this.#linesDropped = 0;
    this.send({
      warning: `${lines} log lines of workers were dropped: the driver reads them too slowly, or could not be reached`,
    });
  }
}

export class JobTable {
  readonly #store: StateStore;
  readonly #events: JobEvents;
  readonly #isNodeAlive: (nodeId: string) => boolean;
  readonly #log: (line: string) => void;
  readonly #keeper: RecordKeeper;
  readonly #running = new Map<string, Job>();
  readonly #ended: BoundedMap<string, KeptJob>;
  #isClosed = false;

  constructor(options: {
    store: StateStore;
    keeper: RecordKeeper;
    events: JobEvents;
    isNodeAlive(nodeId: string): boolean;
    log(line: string): void;
  }) {
    this.#store = options.store;
    this.#keeper = options.keeper;
    this.#events = options.events;
    this.#isNodeAlive = options.isNodeAlive;
    this.#log = options.log;
    this.#ended = new BoundedMap(JOBS_ENDED_MAX, (jobId, { kept }) =>
      kept.replaced(async () => {
        await this.#store.delete(TABLE, jobId);
      }),
    );
  }

  /** Reads the table back. A job that ran goes on where the node of its driver may. */
  async load(): Promise<void> {
    for (const entry of await this.#store.list(TABLE)) {
      const { info, config, driverNodeId } = StoredJob.decode(entry.value);
      if (info === undefined) continue;
      const kept = this.#keep({ info, config, driverNodeId });
      if (info.state !== "RUNNING" || config === undefined) this.#ended.set(info.jobId, kept);
      else
        this.#running.set(info.jobId, {
          ...kept,
          ...nothingHeld(),
          config,
          nodeId: driverNodeId,
          session: undefined,
        });
    }
  }

  /** The nodes are known: what ended with a node that did not come back ends now. */
  endOrphans(): void {
    for (const job of [...this.#running.values()]) {
      if (!this.#isNodeAlive(job.nodeId)) this.#end(job, `its driver's node ${job.nodeId} has died`);
    }
  }

  /** A node registered, with the jobs whose drivers are there: others that were there have lost theirs. */
  nodeRegistered(nodeId: string, jobIds: readonly string[]): void {
    for (const job of [...this.#running.values()]) {
      if (job.nodeId === nodeId && job.session === undefined && !jobIds.includes(job.config.jobId))
        this.#end(job, "its driver ended while the head could not be reached");
    }
  }

  running(): JobConfig[] {
    return [...this.#running.values()].map((job) => job.config);
  }

  hasEnded(jobId: string): boolean {
    return this.#ended.has(jobId);
  }

  isRunning(jobId: string): boolean {
    return this.#running.has(jobId);
  }

  /** A node cannot see the driver's files: the driver is asked for them. */
  askForFiles(jobId: string): void {
    this.#running.get(jobId)?.session?.send({ filesWanted: true });
  }

  /** Whether that process is the driver of a job that runs: its session tells of its end. */
  isRunningDriver(jobId: string, processId: string): boolean {
    return processId !== "" && this.#running.get(jobId)?.config.driverProcessId === processId;
  }

  list(): JobList {
    return { jobs: [...this.#running.values(), ...this.#ended.values()].map(({ row }) => row.info) };
  }

  routeLogs(batches: readonly LogBatch[]): void {
    for (const batch of batches) {
      const job = this.#running.get(batch.jobId);
      if (!job?.config.logToDriver) continue;
      if (job.session !== undefined) job.session.sendLogs(batch);
      else hold(job, batch);
    }
  }

  announceDead(node: NodeInfo): void {
    for (const job of [...this.#running.values()]) {
      if (job.nodeId === node.nodeId) this.#end(job, `its driver's ${node.deathReason}`);
      else job.session?.send({ deadNodes: [node] });
    }
  }

  /** Serves one JobSession stream. */
  serve(call: Call): void {
    const session = new JobSession(call);
    let job: Job | undefined;
    let hasStarted = false;
    let isLost = false;
    const lost = () => {
      isLost = true;
      session.end();
      if (job?.session !== session) return;
      job.session = undefined;
      if (!this.#isNodeAlive(job.nodeId)) this.#end(job, "its driver's session ended");
    };
    for (const event of ["end", "close", "cancelled", "error"]) call.on(event, lost);
    call.on("data", (message: JobMessage) => {
      if (hasStarted) {
        if (message.ended && job?.session === session) this.#end(job, "its driver has left");
        return;
      }
      hasStarted = true;
      try {
        job = this.#start(message, session);
      } catch (error) {
        session.refuse(error);
        return;
      }
      job.kept.durable().then(
        () => {
          if (!isLost) session.send({ accepted: true });
        },
        (error: unknown) => {
          if (!isLost) session.refuse(error);
        },
      );
    });
  }

  close(): void {
    this.#isClosed = true;
    for (const job of this.#running.values()) job.session?.end();
  }

  /** @throws InvalidOptionError when the job cannot run (any more) */
  #start({ start: config, nodeId }: JobMessage, session: JobSession): Job {
    if (config === undefined || config.jobId === "") {
      throw new InvalidOptionError("the first message of a job's session must start it, with a job id");
    }
    const { jobId } = config;
    if (this.#ended.has(jobId)) throw new InvalidOptionError(`job ${jobId} has ended and cannot start again`);
    const known = this.#running.get(jobId);
    if (known !== undefined) {
      // Its raylet has seen the stream break before we did, or there is a new head.
      const before = known.session;
      known.session = session;
      before?.end();
      handOver(known, session);
      return known;
    }
    if (this.#running.size >= JOBS_RUNNING_MAX) {
      throw new InvalidOptionError(`${JOBS_RUNNING_MAX} jobs run in the cluster, which is the most it takes`);
    }
    const { namespace, entryUrl, driverPid } = config;
    const times = { startedAtMs: Date.now(), endedAtMs: 0 };
    const info = { jobId, namespace, entryUrl, driverPid, state: "RUNNING", ...times };
    const kept = this.#keep({ info, config, driverNodeId: nodeId });
    const job: Job = { ...kept, ...nothingHeld(), config, nodeId, session };
    this.#running.set(jobId, job);
    job.kept.changed();
    this.#log(`job ${jobId} started (driver ${driverPid})`);
    this.#events.started(config);
    return job;
  }

  #end(job: Job, reason: string): void {
    const { jobId } = job.config;
    if (this.#isClosed || this.#running.get(jobId) !== job) return;
    this.#running.delete(jobId);
    const { row, kept } = job;
    row.info = { ...row.info, state: "ENDED", endedAtMs: Date.now() };
    row.config = undefined;
    kept.changed();
    this.#ended.set(jobId, { row, kept });
    this.#log(`job ${jobId} ended: ${reason}`);
    this.#events.ended(job.config, reason);
  }

  #keep(row: KeptJob["row"]): KeptJob {
    const kept = this.#keeper.keep(async () => {
      await this.#store.put(TABLE, row.info.jobId, StoredJob.encode(row).finish());
    });
    return { row, kept };
  }
}

const nothingHeld = () => ({ held: [] as LogBatch[], heldChars: 0, heldDropped: 0 });

function charsOf({ lines }: LogBatch): number {
  return lines.reduce((sum, { text, name }) => sum + text.length + name.length, 0);
}

/** Until the driver's raylet opens its session again. */
function hold(job: Job, batch: LogBatch): void {
  const chars = charsOf(batch);
  if (job.heldChars + chars > LOG_CHARS_IN_FLIGHT_MAX) job.heldDropped += batch.lines.length;
  else {
    job.held.push(batch);
    job.heldChars += chars;
  }
}

function handOver(job: Job, session: JobSession): void {
  const { held, heldDropped } = job;
  Object.assign(job, nothingHeld());
  for (const batch of held) session.sendLogs(batch);
  if (heldDropped > 0) session.dropped(heldDropped);
}
