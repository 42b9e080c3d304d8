/** Drivers and workers connected to this raylet, and what is asked of all of them. */
import type { Channel } from "../core/rpc/channel.ts";
import type { Message } from "../core/rpc/frames.ts";
import { type JobConfigRecord, type JobNotice, Local, type ObjectListing } from "../core/rpc/messages.ts";
import type { TaskInfo } from "../core/wire/gen/tsray/v1/head.ts";

const LIST_TIMEOUT_MS = 800;
const NOTICE_LINES_MAX = 10_000;

type NoticeLine = NonNullable<JobNotice["lines"]>[number];

export interface Client {
  readonly link: Channel;
  readonly job: JobConfigRecord;
  readonly isDriver: boolean;
}

/** What objects one process of this node holds. */
export interface ClientObjects extends ObjectListing {
  readonly processId: string;
  readonly pid: number;
  readonly jobId: string;
  readonly isDriver: boolean;
}

/** A question to all clients that some have not answered yet. */
interface OpenList {
  missing: number;
  readonly finish: () => void;
}

export class Clients {
  readonly #clients = new Map<Channel, Client>();
  readonly #lists = new Map<number, OpenList & { readonly rows: TaskInfo[] }>();
  readonly #objectLists = new Map<number, OpenList & { readonly processes: ClientObjects[] }>();
  readonly #lines = new Map<string, NoticeLine[]>();
  #nextList = 1;

  add(client: Client): void {
    this.#clients.set(client.link, client);
  }

  remove(link: Channel): Client | undefined {
    const client = this.#clients.get(link);
    this.#clients.delete(link);
    return client;
  }

  of(link: Channel): Client | undefined {
    return this.#clients.get(link);
  }

  driverOf(jobId: string): Client | undefined {
    for (const client of this.#clients.values())
      if (client.isDriver && client.job.jobId === jobId) return client;
    return undefined;
  }

  /** Jobs whose drivers are connected here. */
  drivenJobs(): string[] {
    return [...this.#clients.values()].flatMap(({ isDriver, job }) => (isDriver ? [job.jobId] : []));
  }

  broadcast(message: Parameters<Channel["send"]>[0]): void {
    for (const { link } of this.#clients.values()) link.send(message);
  }

  /** A line for the driver of a job on this node; leaves with others of this turn. @returns false when it is not here */
  tell(jobId: string, line: NoticeLine): boolean {
    if (this.driverOf(jobId) === undefined) return false;
    const lines = this.#lines.get(jobId);
    if (lines === undefined) {
      this.#lines.set(jobId, [line]);
      setImmediate(() => this.flush(jobId));
    } else if (lines.length < NOTICE_LINES_MAX) lines.push(line);
    return true;
  }

  /** Sends the lines collected for a job's driver. */
  flush(jobId: string): void {
    const lines = this.#lines.get(jobId);
    this.#lines.delete(jobId);
    if (lines !== undefined && lines.length > 0) {
      this.driverOf(jobId)?.link.send([Local.notice, { lines } satisfies JobNotice]);
    }
  }

  /** A client's answer to one of the questions below. */
  onAnswer(link: Channel, message: Message): void {
    const [kind, requestId, answer] = message as unknown as [number, number, unknown];
    if (kind === Local.tasks) this.onTasks(link, requestId, answer as Record<string, unknown>[]);
    else if (kind === Local.objects) this.onObjects(link, requestId, answer as ObjectListing);
  }

  /** Asks every client for its tasks. Those that do not answer in time (busy in a loop) are left out. */
  listTasks(): Promise<TaskInfo[]> {
    const rows: TaskInfo[] = [];
    return this.#ask(this.#lists, (open) => ({ ...open, rows }), [Local.listTasks]).then(() => rows);
  }

  /** Asks every client what objects it holds, and why; as {@link listTasks}. */
  listObjects(rowsMax: number): Promise<ClientObjects[]> {
    const processes: ClientObjects[] = [];
    const question = [Local.listObjects, rowsMax] as const;
    return this.#ask(this.#objectLists, (open) => ({ ...open, processes }), question).then(() => processes);
  }

  onObjects(link: Channel, requestId: number, listing: ObjectListing): void {
    const list = this.#objectLists.get(requestId);
    const client = this.#clients.get(link);
    if (list === undefined || client === undefined) return;
    const { processId, pid } = link.peer;
    list.processes.push({ ...listing, processId, pid, jobId: client.job.jobId, isDriver: client.isDriver });
    list.missing -= 1;
    if (list.missing === 0) list.finish();
  }

  /** Resolves when every client has answered, or the time is up. */
  #ask<L extends OpenList>(
    lists: Map<number, L>,
    make: (open: OpenList) => L,
    [kind, ...rest]: readonly number[],
  ): Promise<void> {
    if (this.#clients.size === 0) return Promise.resolve();
    const requestId = this.#nextList++;
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        lists.delete(requestId);
        resolve();
      };
      const timer = setTimeout(finish, LIST_TIMEOUT_MS);
      lists.set(requestId, make({ missing: this.#clients.size, finish }));
      this.broadcast([kind as number, requestId, ...rest]);
    });
  }

  onTasks(link: Channel, requestId: number, rows: readonly Record<string, unknown>[]): void {
    const list = this.#lists.get(requestId);
    if (list === undefined) return;
    const jobId = this.#clients.get(link)?.job.jobId ?? "";
    for (const row of rows) {
      list.rows.push({
        taskId: `${link.peer.processId}-${String(row.taskSeq)}`,
        name: String(row.name),
        jobId,
        state: String(row.state),
        reason: String(row.reason),
        nodeId: String(row.nodeId),
        pid: Number(row.pid),
        attempt: Number(row.attempt),
        ownerProcessId: link.peer.processId,
        count: Number(row.count),
      });
    }
    list.missing -= 1;
    if (list.missing === 0) list.finish();
  }
}
