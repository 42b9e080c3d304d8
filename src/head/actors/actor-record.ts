/**
 * What the directory has of one actor: its spec, its state, and what hangs on both while this head lives.
 */
import { takenAt } from "../../core/base/bundles.ts";
import { ActorSpec } from "../../core/wire/gen/tsray/v1/head.ts";
import type { KeptRecord } from "../state-store/record-keeper.ts";
import type { ActorState } from "./actor-machine.ts";
import type { Amounts, PlacementDemand } from "./placement.ts";

export interface ActorRecord {
  spec: ActorSpec;
  state: ActorState;
  /** Spec and state on the store. */
  readonly kept: KeptRecord;
  /** Actors of one shape fit the same nodes. */
  shape: string;
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
    shape: JSON.stringify([spec.resources, spec.placement, spec.strategy]),
    enteredAtMs: performance.now(),
  });
}

export const NO_BYTES = Buffer.alloc(0);

const NO_SPEC = ActorSpec.fromPartial({ creation: NO_BYTES, handleMeta: NO_BYTES });

/** What the history tells of it: what was needed to start, place or reach it is gone. */
export function specOfDead(spec: ActorSpec): ActorSpec {
  const { actorId, jobId, className, name, namespace, detached, maxRestarts, resources } = spec;
  return { ...NO_SPEC, actorId, jobId, className, name, namespace, detached, maxRestarts, resources };
}

/** A copy in memory of its own: a small buffer keeps the 8 KiB of Node's pool that it lies in. */
export function unpooled(bytes: Uint8Array): Buffer {
  if (bytes.length === 0) return NO_BYTES;
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
