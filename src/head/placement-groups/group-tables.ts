/**
 * How placement groups lie in the state store: the spec, written once, and the state, written at each decision.
 *
 * A group counts as stored when both are; a spec without a state was never acknowledged, and is dropped on load. Of bundles
 * only those are kept that were decided: the others are as good as never set aside.
 */
import { PlacementGroupSpec } from "../../core/wire/gen/tsray/v1/head.ts";
import type { StateStore } from "../state-store/state-store.ts";
import { type BundleState, type GroupPhase, type GroupState, newGroupState } from "./group-machine.ts";

const SPECS = "placement-group-specs";
const STATES = "placement-group-states";

interface StoredState {
  readonly phase: GroupPhase;
  readonly version: number;
  readonly isDecided: boolean;
  /** Node and attempt of each; null = nowhere. */
  readonly bundles: readonly (readonly [nodeId: string, attempt: number] | null)[];
  readonly attempt: number;
  readonly removedReason: string;
}

export interface StoredGroup {
  readonly spec: PlacementGroupSpec;
  readonly state: GroupState;
}

export class GroupTables {
  readonly #store: StateStore;

  constructor(store: StateStore) {
    this.#store = store;
  }

  /** Writes the group as it is when called. @param onStore whether its spec has been written before */
  writer(group: StoredGroup, onStore: boolean): () => Promise<void> {
    let isSpecStored = onStore;
    return async () => {
      const { spec, state } = group;
      await Promise.all([!isSpecStored && this.#putSpec(spec), this.#putState(state)]);
      isSpecStored = true;
    };
  }

  async delete(groupId: string): Promise<void> {
    await this.#store.delete(STATES, groupId);
    await this.#store.delete(SPECS, groupId);
  }

  async load(): Promise<StoredGroup[]> {
    const groups: StoredGroup[] = [];
    for (const entry of await this.#store.list(SPECS)) {
      const spec = PlacementGroupSpec.decode(entry.value);
      const stored = await this.#store.get(STATES, entry.key);
      if (stored === undefined) await this.#store.delete(SPECS, entry.key);
      else
        groups.push({
          spec,
          state: fromStored(spec, JSON.parse(Buffer.from(stored.value).toString("utf8"))),
        });
    }
    return groups;
  }

  async #putSpec(spec: PlacementGroupSpec): Promise<void> {
    await this.#store.put(SPECS, spec.groupId, PlacementGroupSpec.encode(spec).finish());
  }

  async #putState(state: GroupState): Promise<void> {
    await this.#store.put(STATES, state.groupId, Buffer.from(JSON.stringify(toStored(state)), "utf8"));
  }
}

function toStored({ phase, version, isDecided, bundles, attempt, removedReason }: GroupState): StoredState {
  const kept = bundles.map(({ stage, nodeId, attempt: of }) =>
    nodeId !== undefined && (stage === "committing" || stage === "committed")
      ? ([nodeId, of] as const)
      : null,
  );
  return { phase, version, isDecided, bundles: kept, attempt, removedReason };
}

function fromStored(spec: PlacementGroupSpec, stored: StoredState): GroupState {
  const bundles = stored.bundles.map(
    (kept): BundleState =>
      kept === null
        ? { stage: "nowhere", nodeId: undefined, attempt: 0 }
        : { stage: "committing", nodeId: kept[0], attempt: kept[1] },
  );
  return { ...stateOf(spec), ...stored, bundles };
}

/** The state of a group that nobody has heard of yet. */
export function stateOf(spec: PlacementGroupSpec, firstAttempt = 0): GroupState {
  return newGroupState({ ...spec, bundleCount: spec.bundles.length }, firstAttempt);
}
