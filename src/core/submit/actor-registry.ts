/**
 * The head's directory of actors as a driver or worker deals with it: actors created, watched, ended. What is asked in
 * one turn of the event loop goes in one call. Decides nothing about an actor; a head that cannot be reached is waited
 * for where the call says so.
 */
import { type ErrorRecord, fromErrorRecord, type TsrayError } from "../base/errors.ts";
import { TurnBatch, type Waiting } from "../base/turn-batch.ts";
import type { ActorInfo, ActorKill, ActorSpec, CreatedActor } from "../wire/gen/tsray/v1/head.ts";
import type { HeadClient } from "./head-client.ts";

const CALL_TIMEOUT_MS = 30_000;
const WATCH_GRACE_MS = 5000;
/** Creations in one call: what the head takes in within some tens of milliseconds, and well below a message's bound. */
const CREATIONS_MAX = 1000;
const CREATION_BYTES_MAX = 2 * 1024 * 1024;
const KILLS_MAX = 5000;
/** Each answer has the rest asked again: few enough that this costs little, enough that a thousand actors are few calls. */
const WATCHED_MAX = 128;

interface Watch {
  readonly actorId: string;
  readonly knownVersion: number;
  readonly untilMs: number;
}

export class ActorRegistry {
  readonly #head: HeadClient;
  readonly #creations: TurnBatch<ActorSpec, CreatedActor>;
  readonly #kills: TurnBatch<ActorKill, undefined>;
  readonly #partings: TurnBatch<ActorKill, undefined>;
  readonly #watches: TurnBatch<Watch, ActorInfo>;

  constructor(head: HeadClient) {
    this.#head = head;
    this.#creations = new TurnBatch((waiting) => this.#create(waiting), {
      itemsMax: CREATIONS_MAX,
      bytesMax: CREATION_BYTES_MAX,
      bytesOf: ({ creation, handleMeta }) => creation.length + handleMeta.length,
    });
    this.#kills = new TurnBatch((waiting) => this.#kill(waiting, true), { itemsMax: KILLS_MAX });
    this.#partings = new TurnBatch((waiting) => this.#kill(waiting, false), { itemsMax: KILLS_MAX });
    this.#watches = new TurnBatch((waiting) => this.#watch(waiting), { itemsMax: WATCHED_MAX });
  }

  /**
   * Resolves when the head has stored it, or says in `error` why it does not take it.
   * @throws (rejection) what the head threw for this actor; ClusterUnreachableError after a minute without an answer
   */
  create(spec: ActorSpec): Promise<CreatedActor> {
    return this.#creations.add(spec);
  }

  /**
   * Resolves when the head has written it down.
   * @param isAwaited false: the process need not stay for the answer
   * @throws (rejection) ClusterUnreachableError after a minute without an answer
   */
  kill(kill: ActorKill, { isAwaited = true }: { isAwaited?: boolean } = {}): Promise<undefined> {
    return (isAwaited ? this.#kills : this.#partings).add(kill);
  }

  /**
   * The actor when its version is above the known one, or it is dead or not known; as it is after `waitMs` at the latest.
   * @throws (rejection) also when the head does not answer now
   */
  watch(actorId: string, knownVersion: number, waitMs: number): Promise<ActorInfo> {
    return this.#watches.add({ actorId, knownVersion, untilMs: performance.now() + waitMs });
  }

  async #create(waiting: readonly Waiting<ActorSpec, CreatedActor>[]): Promise<void> {
    let left = waiting;
    await this.#head.call(async (service, unary) => {
      const specs = left.map(({ asked }) => asked);
      const { actors } = await unary(service, service.createActors, { specs }, CALL_TIMEOUT_MS);
      let lost: TsrayError | undefined;
      left = left.filter(({ resolve, reject }, i) => {
        const answer = actors[i] as CreatedActor;
        if (answer.failure === "") resolve(answer);
        else {
          const error = fromErrorRecord(JSON.parse(answer.failure) as ErrorRecord);
          if (!error.retryable) reject(error);
          else lost = error;
          return error.retryable;
        }
        return false;
      });
      // Those are asked for again, the others have their answer.
      if (lost !== undefined) throw lost;
    });
  }

  async #kill(waiting: readonly Waiting<ActorKill, undefined>[], isAwaited: boolean): Promise<void> {
    const kills = waiting.map(({ asked }) => asked);
    await this.#head.call(
      (service, unary) => unary(service, service.killActors, { kills }, CALL_TIMEOUT_MS),
      { isAwaited },
    );
    for (const { resolve } of waiting) resolve(undefined);
  }

  async #watch(waiting: readonly Waiting<Watch, ActorInfo>[]): Promise<void> {
    const untilMs = Math.min(...waiting.map(({ asked }) => asked.untilMs));
    const waitMs = Math.max(0, Math.round(untilMs - performance.now()));
    const actors = waiting.map(({ asked: { actorId, knownVersion } }) => ({ actorId, knownVersion }));
    const { news } = await this.#head.callOnce((service, unary, over) =>
      unary(service, service.watchActors, { actors, waitMs }, waitMs + WATCH_GRACE_MS, over),
    );
    const told = new Set<number>();
    for (const { index, actor } of news) {
      if (actor === undefined) continue;
      told.add(index);
      waiting[index]?.resolve(actor);
    }
    waiting.forEach(({ asked, resolve, reject }, i) => {
      if (!told.has(i)) this.#watches.add(asked).then(resolve, reject);
    });
  }
}
