/**
 * What the head has to say to raylets about actors, gathered over a turn of the event loop: one call per node and kind.
 * Each command is asked once; whoever gives it decides whether it is asked again.
 */
import { ClusterUnreachableError } from "../../core/base/errors.ts";
import { TurnBatch } from "../../core/base/turn-batch.ts";
import {
  type ActorStartAnswer,
  type ActorToStart,
  type ActorToStop,
  RayletServiceService,
} from "../../core/wire/gen/tsray/v1/raylet.ts";
import type { RayletClients } from "../raylet-clients.ts";

const CALL_TIMEOUT_MS = 5000;
const COMMANDS_MAX = 1000;
/** Of what the actors are created with: one that is larger goes alone. */
const START_BYTES_MAX = 2 * 1024 * 1024;

export class ActorOutbox {
  readonly #clients: RayletClients;
  /** Of this turn, by node. */
  readonly #starts = new Map<string, TurnBatch<ActorToStart, ActorStartAnswer>>();
  readonly #stops = new Map<string, TurnBatch<ActorToStop, undefined>>();

  constructor(clients: RayletClients) {
    this.#clients = clients;
  }

  /** @throws what the call threw, or what says that it has to be asked again */
  async start(nodeId: string, start: ActorToStart): Promise<ActorStartAnswer> {
    let batch = this.#starts.get(nodeId);
    if (batch === undefined) {
      batch = this.#startsOf(nodeId);
      this.#starts.set(nodeId, batch);
    }
    const answer = await batch.add(start);
    if (answer.undecided) throw new ClusterUnreachableError(`node ${nodeId}: ${answer.reason}`);
    return answer;
  }

  /** Resolves when its process has ended; at once for a graceful stop. @throws as {@link start} */
  async stop(nodeId: string, stop: ActorToStop): Promise<void> {
    let batch = this.#stops.get(nodeId);
    if (batch === undefined) {
      batch = this.#stopsOf(nodeId);
      this.#stops.set(nodeId, batch);
    }
    await batch.add(stop);
  }

  #startsOf(nodeId: string): TurnBatch<ActorToStart, ActorStartAnswer> {
    return new TurnBatch(
      async (waiting) => {
        this.#starts.delete(nodeId);
        const starts = waiting.map(({ asked }) => asked);
        const { startActors } = RayletServiceService;
        const { answers } = await this.#clients.call(nodeId, startActors, { starts }, CALL_TIMEOUT_MS);
        waiting.forEach(({ resolve }, i) => {
          resolve(answers[i] as ActorStartAnswer);
        });
      },
      {
        itemsMax: COMMANDS_MAX,
        bytesMax: START_BYTES_MAX,
        bytesOf: ({ spec }) => (spec === undefined ? 0 : spec.creation.length + spec.handleMeta.length),
      },
    );
  }

  #stopsOf(nodeId: string): TurnBatch<ActorToStop, undefined> {
    return new TurnBatch(
      async (waiting) => {
        this.#stops.delete(nodeId);
        const stops = waiting.map(({ asked }) => asked);
        const { stopActors } = RayletServiceService;
        const { runningIds } = await this.#clients.call(nodeId, stopActors, { stops }, CALL_TIMEOUT_MS);
        const running = new Set(runningIds);
        for (const { asked, resolve, reject } of waiting) {
          if (!running.has(asked.actorId)) resolve(undefined);
          else reject(new ClusterUnreachableError(`node ${nodeId} has not ended actor ${asked.actorId} yet`));
        }
      },
      { itemsMax: COMMANDS_MAX },
    );
  }
}
