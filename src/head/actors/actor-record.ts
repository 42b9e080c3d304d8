/**
 * What the directory has of one actor: its spec, its state, and what hangs on both while this head lives.
 */
import { takenAt } from "../../core/base/bundles.ts";
import type { ActorSpec } from "../../core/wire/gen/tsray/v1/head.ts";
import type { KeptRecord } from "../state-store/record-keeper.ts";
import type { ActorState } from "./actor-machine.ts";
import type { Amounts, PlacementDemand } from "./placement.ts";

export interface ActorRecord {
  spec: ActorSpec;
  state: ActorState;
  /** Spec and state on the store. */
  readonly kept: KeptRecord;
  readonly watchers: Set<() => void>;
  /** Actors of one shape fit the same nodes. */
  readonly shape: string;
  readonly refusedBy: Map<string, { revision: number; untilMs: number }>;
  readonly enteredAtMs: number;
}

/** @param keep what writes it, made once */
export function newRecord(
  spec: ActorSpec,
  state: ActorState,
  keep: (actor: { spec: ActorSpec; state: ActorState }) => KeptRecord,
): ActorRecord {
  const actor = { spec, state };
  return Object.assign(actor, {
    kept: keep(actor),
    watchers: new Set<() => void>(),
    shape: JSON.stringify([spec.resources, spec.placement, spec.strategy]),
    refusedBy: new Map(),
    enteredAtMs: performance.now(),
  });
}

export const NO_BYTES = Buffer.alloc(0);

/** The history needs no constructor arguments, nor the 8 KiB of Node's pool that a small buffer keeps. */
export const specOfDead = (spec: ActorSpec): ActorSpec => ({
  ...spec,
  creation: NO_BYTES,
  job: undefined,
  handleMeta: unpooled(spec.handleMeta),
});

/** A copy in memory of its own. */
export function unpooled(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy;
}

const ANYWHERE = { kind: "DEFAULT", nodeId: "", soft: false, labels: [], groupId: "", bundle: -1 };

export const groupOf = (spec: ActorSpec): string => spec.strategy?.groupId ?? "";

/** What it takes at its node: of a placement group, under the group's names. */
export const heldBy = (spec: ActorSpec): Amounts =>
  takenAt(spec.resources?.amounts ?? {}, spec.strategy ?? ANYWHERE);

export function demandOf(spec: ActorSpec): PlacementDemand {
  const strategy = spec.strategy ?? ANYWHERE;
  return {
    resources: heldBy(spec),
    placement: takenAt(spec.placement?.amounts ?? {}, strategy),
    strategy,
    ownerNodeId: spec.owner?.nodeId ?? "",
  };
}
