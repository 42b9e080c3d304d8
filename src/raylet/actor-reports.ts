/**
 * What this node's actors have come to, on its way to the head: in order, what happens in one turn or while a call is under
 * way in one call, again and again until the head has it. What a raylet does not report, nobody ever learns.
 */
import { TsrayError } from "../core/base/errors.ts";
import type { ActorReport } from "../core/wire/gen/tsray/v1/head.ts";

/** Well below what one message takes. */
const REPORTS_MAX = 1000;
const ERROR_BYTES_MAX = 4 * 1024 * 1024;

export interface ActorReportsParts {
  /** One call of the head. */
  readonly send: (reports: ActorReport[]) => Promise<unknown>;
  /** The head has all of them. */
  readonly onEmpty: () => void;
  /** How long to wait after a call that was lost. */
  readonly retryMs: number;
  readonly log: (line: string) => void;
}

export class ActorReports {
  readonly #parts: ActorReportsParts;
  readonly #queue: ActorReport[] = [];
  /** Of the queue, under way. */
  #sent = 0;
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Immediate | undefined;
  #isClosed = false;

  constructor(parts: ActorReportsParts) {
    this.#parts = parts;
  }

  get isEmpty(): boolean {
    return this.#queue.length === 0;
  }

  add(report: ActorReport): void {
    this.#queue.push(report);
    this.#soon ??= setImmediate(() => this.flush());
  }

  /** What waits leaves now, unless a call is under way already. */
  flush(): void {
    clearImmediate(this.#soon);
    this.#soon = undefined;
    if (this.#sent > 0 || this.#queue.length === 0 || this.#timer !== undefined || this.#isClosed) return;
    const reports = this.#next();
    this.#sent = reports.length;
    this.#parts.send(reports).then(
      () => this.#done(),
      (error: Error) => this.#failed(error),
    );
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    clearImmediate(this.#soon);
  }

  #next(): ActorReport[] {
    let bytes = 0;
    const tooMany = this.#queue.findIndex(({ error }, i) => {
      bytes += error.length;
      return i > 0 && (i >= REPORTS_MAX || bytes > ERROR_BYTES_MAX);
    });
    return this.#queue.slice(0, tooMany === -1 ? this.#queue.length : tooMany);
  }

  #done(): void {
    this.#queue.splice(0, this.#sent);
    this.#sent = 0;
    if (this.isEmpty) this.#parts.onEmpty();
    else this.flush();
  }

  #failed(error: Error): void {
    if (this.#isClosed || (error instanceof TsrayError && !error.retryable)) {
      for (const { actorId, state } of this.#queue.slice(0, this.#sent))
        this.#parts.log(`actor ${actorId}: its state ${state} could not be reported: ${error.message}`);
      this.#done();
      return;
    }
    this.#sent = 0;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.flush();
    }, this.#parts.retryMs);
  }
}
