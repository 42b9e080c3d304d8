/** One call as the worker serves it: a task, or a call of the actor it hosts. */
import type { CallContext } from "../core/base/call-context.ts";
import type { CallGroup } from "../core/base/options.ts";
import type { Resources } from "../core/base/resources.ts";
import type { Channel } from "../core/rpc/channel.ts";
import type { ArgsPayload } from "../core/rpc/messages.ts";

let nextLocalId = 1;

export class CallJob implements CallContext {
  readonly localId = nextLocalId++;
  readonly channel: Channel;
  /** Its number at its owner. */
  readonly seq: number;
  /** Of what it returns, or gives as items. */
  readonly firstReturnSeq: number;
  readonly args: ArgsPayload;
  /** -1 = streaming. */
  readonly numReturns: number;
  readonly attempt: number;
  readonly resources: Resources;
  readonly gpuIds: readonly string[];
  /** Items a generator may be ahead; 0 = no limit. */
  readonly ahead: number;
  readonly group: CallGroup | null;
  name = "";
  cancelled = false;
  finished = false;
  /** How many waits for objects it is in; once it is finished, how many it was in then. */
  waits = 0;
  onWaitChange: (job: CallJob) => void = () => {};
  /** Generators: items the consumer has taken, and who waits for it to take more. */
  consumed = 0;
  wakeProducer: (() => void) | undefined;
  #controller: AbortController | undefined;

  constructor(
    channel: Channel,
    seq: number,
    firstReturnSeq: number,
    args: ArgsPayload,
    numReturns: number,
    attempt: number,
    resources: Resources,
    gpuIds: readonly string[],
    ahead: number,
    group: CallGroup | null,
  ) {
    this.channel = channel;
    this.seq = seq;
    this.firstReturnSeq = firstReturnSeq;
    this.args = args;
    this.numReturns = numReturns;
    this.attempt = attempt;
    this.resources = resources;
    this.gpuIds = gpuIds;
    this.ahead = ahead;
    this.group = group;
  }

  get taskId(): string {
    return `${this.channel.peer.processId}-${this.seq}`;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.cancelled) this.#controller.abort(cancelReason());
    }
    return this.#controller.signal;
  }

  onWait(delta: 1 | -1): void {
    // What it still waits for after its answer is nobody's concern: those who count waits have settled with it by then.
    if (this.finished) return;
    this.waits += delta;
    if ((delta === 1 && this.waits === 1) || (delta === -1 && this.waits === 0)) this.onWaitChange(this);
  }

  cancel(): void {
    this.cancelled = true;
    this.#controller?.abort(cancelReason());
    this.wakeProducer?.();
  }
}

function cancelReason(): DOMException {
  return new DOMException("the task was cancelled", "AbortError");
}
