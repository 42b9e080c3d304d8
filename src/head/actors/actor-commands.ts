/**
 * What the directory has raylets do: start this life of an actor, end that one.
 *
 * Decides their order and their repeats: those about one actor to one node go one after another, so that a stop never
 * overtakes a start; each leaves after the state that it follows from is on the store, and is repeated until the raylet
 * has answered, it has become pointless, or the node is dead.
 */
import { TsrayError } from "../../core/base/errors.ts";
import { Timers } from "../timers.ts";
import { tellActor } from "./actor-info.ts";
import type { ActorEvent, ActorWordFromRaylet } from "./actor-machine.ts";
import type { ActorOutbox } from "./actor-outbox.ts";
import type { ActorRecord } from "./actor-record.ts";

const RETRY_MS_MIN = 100;
const RETRY_MS_MAX = 2000;

export interface ActorCommandsOptions {
  readonly outbox: ActorOutbox;
  readonly isAlive: (nodeId: string) => boolean;
  /** Its machine is told what the raylet answered. */
  readonly apply: (record: ActorRecord, event: ActorEvent) => void;
  /** The raylet would not have it; told before its machine is. */
  readonly onRefused: (record: ActorRecord, nodeId: string) => void;
  readonly log: (line: string) => void;
}

export class ActorCommands {
  readonly #options: ActorCommandsOptions;
  /** The last command under way by actor and node. */
  readonly #last = new Map<string, Promise<void>>();
  readonly #timers = new Timers();
  #isClosed = false;

  constructor(options: ActorCommandsOptions) {
    this.#options = options;
  }

  /** Answered with `accepted` or `rejected`. */
  start(record: ActorRecord, nodeId: string, incarnation: number): void {
    this.#inOrder(record, nodeId, () => this.#start(record, nodeId, incarnation));
  }

  /** Answered with `stopped`, where it is not graceful. */
  stop(record: ActorRecord, nodeId: string, graceful: boolean, reason: string): void {
    const { actorId } = record.spec;
    // What is to be replaced is the life before the one that waits.
    const { stoppingOn, incarnation: last } = record.state;
    const incarnation = stoppingOn === nodeId ? last - 1 : last;
    this.#inOrder(record, nodeId, async () => {
      await record.kept.written();
      const isWanted = () => !graceful || record.state.nodeId === nodeId;
      await this.#untilAnswered(nodeId, isWanted, () =>
        this.#options.outbox.stop(nodeId, { actorId, incarnation, graceful, reason }),
      );
      if (!graceful) this.#options.apply(record, { kind: "stopped", nodeId });
    });
  }

  /** Repeated: nobody else would ever end it. */
  async endUnknown(nodeId: string, actorId: string): Promise<void> {
    this.#options.log(`actor ${actorId} on node ${nodeId} is not known: it is ended`);
    const stop = { actorId, incarnation: -1, graceful: false, reason: "the head does not know this actor" };
    await this.#untilAnswered(
      nodeId,
      () => true,
      () => this.#options.outbox.stop(nodeId, stop),
    ).catch(() => {});
  }

  /** A start that was taken to be lost was carried out after all, when that life had been given to another node. */
  endIfStray({ spec, state }: ActorRecord, { state: said, nodeId, incarnation }: ActorWordFromRaylet): void {
    const isElsewhere = state.nodeId !== undefined && state.nodeId !== nodeId && state.stoppingOn !== nodeId;
    if (said !== "ALIVE" || !isElsewhere || !this.#options.isAlive(nodeId)) return;
    this.#options.log(
      `actor ${tellActor(spec)} runs on node ${nodeId} although it was placed elsewhere: ended`,
    );
    const stop = { actorId: spec.actorId, incarnation, graceful: false, reason: "it was placed elsewhere" };
    void this.#options.outbox.stop(nodeId, stop).catch(() => {});
  }

  close(): void {
    this.#isClosed = true;
    this.#timers.close();
  }

  #inOrder(record: ActorRecord, nodeId: string, call: () => Promise<void>): void {
    const key = `${record.spec.actorId} ${nodeId}`;
    const done = (this.#last.get(key) ?? Promise.resolve()).then(call).catch((error: unknown) => {
      this.#options.log(
        `actor ${tellActor(record.spec)}: ${error instanceof Error ? error.message : String(error)}`,
      );
    });
    this.#last.set(key, done);
    void done.then(() => {
      if (this.#last.get(key) === done) this.#last.delete(key);
    });
  }

  async #start(record: ActorRecord, nodeId: string, incarnation: number): Promise<void> {
    // A new head must know where an actor may be running.
    await record.kept.written();
    const isWanted = () => {
      const { state } = record;
      return state.nodeId === nodeId && state.incarnation === incarnation && !state.accepted;
    };
    await this.#untilAnswered(nodeId, isWanted, async () => {
      const reply = await this.#options.outbox.start(nodeId, { spec: record.spec, incarnation });
      if (reply.accepted) this.#options.apply(record, { kind: "accepted", nodeId, incarnation });
      else this.#refused(record, nodeId, incarnation, reply.reason);
    }).catch((error: TsrayError) =>
      this.#refused(record, nodeId, incarnation, error.message.split("\n")[0] ?? ""),
    );
  }

  #refused(record: ActorRecord, nodeId: string, incarnation: number, reason: string): void {
    this.#options.onRefused(record, nodeId);
    this.#options.apply(record, {
      kind: "rejected",
      nodeId,
      incarnation,
      reason: `node ${nodeId}: ${reason || "refused"}`,
    });
  }

  /** @throws TsrayError what the raylet threw, when a repeat cannot help */
  async #untilAnswered(nodeId: string, isWanted: () => boolean, call: () => Promise<void>): Promise<void> {
    for (let waitMs = RETRY_MS_MIN; ; waitMs = Math.min(waitMs * 2, RETRY_MS_MAX)) {
      if (this.#isClosed || !isWanted() || !this.#options.isAlive(nodeId)) return;
      try {
        await call();
        return;
      } catch (error) {
        if (error instanceof TsrayError && !error.retryable) throw error;
      }
      await new Promise<void>((resolve) => this.#timers.after(waitMs, resolve));
    }
  }
}
