/** An actor as it is told: to clients, and to people. Decides nothing. */
import type { ActorInfo, ActorSpec } from "../../core/wire/gen/tsray/v1/head.ts";
import type { ActorState } from "./actor-machine.ts";

export function infoOf({ spec, state }: { readonly spec: ActorSpec; readonly state: ActorState }): ActorInfo {
  const { actorId, className, name, namespace, jobId, detached, handleMeta, maxRestarts, resources } = spec;
  const { version, phase, endpoint, incarnation, deathReason, deathError, pendingReason } = state;
  const isDead = phase === "DEAD";
  return {
    actorId,
    className,
    name,
    namespace,
    jobId,
    detached,
    handleMeta,
    maxRestarts,
    resources,
    version,
    state: phase,
    endpoint,
    incarnation,
    deathReason: isDead ? deathReason : "",
    deathError,
    pendingReason,
    found: true,
  };
}

export const tellActor = (spec: ActorSpec) =>
  `${spec.actorId} (${spec.name ? `${spec.className} "${spec.name}"` : spec.className})`;
