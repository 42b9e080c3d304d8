/**
 * How actors lie in the state store: the spec, written once and large, and the state, small and written at each change.
 *
 * An actor counts as stored when both are; a spec without a state was never acknowledged, and is dropped on load.
 */

import { Endpoint } from "../../core/wire/gen/tsray/v1/common.ts";
import { ActorSpec } from "../../core/wire/gen/tsray/v1/head.ts";
import type { StateStore } from "../state-store/state-store.ts";
import { type ActorPhase, type ActorState, newActorState } from "./actor-machine.ts";

const SPECS = "actor-specs";
const STATES = "actor-states";

interface StoredState {
  phase: ActorPhase;
  version: number;
  incarnation: number;
  moves: number;
  nodeId?: string;
  accepted: boolean;
  stoppingOn?: string;
  leaving: boolean;
  killRequests: readonly string[];
  endpoint?: string;
  deathReason: string;
  deathError: string;
}

export interface StoredActor {
  readonly spec: ActorSpec;
  readonly state: ActorState;
}

export class ActorTables {
  readonly #store: StateStore;

  constructor(store: StateStore) {
    this.#store = store;
  }

  /**
   * Writes the actor as it is when called. The history's lesser spec comes after the state that says DEAD: without
   * constructor arguments nothing can be started again.
   * @param onStore whether its spec has been written before
   */
  writer(actor: StoredActor, onStore: boolean): () => Promise<void> {
    let stored = onStore ? actor.spec : undefined;
    return async () => {
      const { spec, state } = actor;
      const isNew = stored === undefined;
      await Promise.all([isNew && this.#putSpec(spec), this.#putState(state)]);
      if (isNew) stored = spec;
      if (state.phase !== "DEAD" || actor.spec === stored) return;
      await this.#putSpec(actor.spec);
      stored = actor.spec;
    };
  }

  async delete(actorId: string): Promise<void> {
    await this.#store.delete(STATES, actorId);
    await this.#store.delete(SPECS, actorId);
  }

  async load(): Promise<StoredActor[]> {
    const actors: StoredActor[] = [];
    for (const entry of await this.#store.list(SPECS)) {
      const spec = ActorSpec.decode(entry.value);
      const stored = await this.#store.get(STATES, entry.key);
      if (stored === undefined) await this.#store.delete(SPECS, entry.key);
      else
        actors.push({
          spec,
          state: fromStored(spec, JSON.parse(Buffer.from(stored.value).toString("utf8")) as StoredState),
        });
    }
    return actors;
  }

  async #putSpec(spec: ActorSpec): Promise<void> {
    await this.#store.put(SPECS, spec.actorId, ActorSpec.encode(spec).finish());
  }

  async #putState(state: ActorState): Promise<void> {
    await this.#store.put(STATES, state.actorId, Buffer.from(JSON.stringify(toStored(state)), "utf8"));
  }
}

function toStored(state: ActorState): StoredState {
  const { phase, version, incarnation, moves, nodeId, accepted, stoppingOn, leaving } = state;
  const { killRequests, endpoint, deathReason } = state;
  return {
    phase,
    version,
    incarnation,
    moves,
    accepted,
    leaving,
    killRequests,
    deathReason,
    deathError: state.deathError.toString("base64"),
    ...(nodeId !== undefined && { nodeId }),
    ...(stoppingOn !== undefined && { stoppingOn }),
    ...(endpoint !== undefined && {
      endpoint: Buffer.from(Endpoint.encode(endpoint).finish()).toString("base64"),
    }),
  };
}

function fromStored(spec: ActorSpec, stored: StoredState): ActorState {
  return {
    ...newActorState(spec),
    ...stored,
    nodeId: stored.nodeId,
    stoppingOn: stored.stoppingOn,
    endpoint:
      stored.endpoint === undefined ? undefined : Endpoint.decode(Buffer.from(stored.endpoint, "base64")),
    deathError: Buffer.from(stored.deathError, "base64"),
  };
}
