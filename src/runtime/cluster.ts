/** What can be asked of the cluster and of the running task or actor: listings, contexts, named actors. */

import { expectHandle } from "../actors/handle.ts";
import type { ActorMeta } from "../actors/meta.ts";
import type { AnyActorHandle, GetActorFn } from "../core/api/types.ts";
import { currentCall } from "../core/base/call-context.ts";
import { ActorDiedError, InvalidOptionError, NotInitializedError } from "../core/base/errors.ts";
import {
  type GetActorOptions,
  type KillOptions,
  resolveGetActorOptions,
  resolveKillOptions,
} from "../core/base/options.ts";
import { add, fromUnits } from "../core/base/resources.ts";
import { unpackPlain } from "../core/rpc/frames.ts";
import type { NodeInfo } from "../core/wire/gen/tsray/v1/common.ts";
import type { ActorInfo } from "../core/wire/gen/tsray/v1/head.ts";
import type { Runtime } from "./runtime.ts";
import { getState, runtimeForCall } from "./state.ts";

const CALL_TIMEOUT_MS = 10_000;
const POLL_MS = 100;
const REGISTERED_POLL_MS = 5;

/** A node of the cluster, as `nodes()` gives it. Amounts are whole numbers and fractions. */
export interface NodeView {
  readonly nodeId: string;
  readonly alive: boolean;
  /** A node that is "DRAINING" is alive and takes no new work; one that is "DRAINED" has left in order. */
  readonly state: "ALIVE" | "DRAINING" | "DRAINED" | "DEAD";
  readonly isHead: boolean;
  readonly address: string;
  readonly pid: number;
  readonly resources: Readonly<Record<string, number>>;
  readonly available: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly deathReason: string;
}

/** What a task or actor knows of itself; in a driver the ids of tasks are empty. */
export interface RuntimeContext {
  readonly jobId: string;
  readonly taskId: string;
  readonly nodeId: string;
  readonly workerId: string;
  readonly namespace: string;
  readonly actorId?: string;
  /** In an actor: a handle on itself. */
  readonly actorHandle?: AnyActorHandle;
  /** In an actor: whether it has been restarted, and how often. */
  readonly wasRestarted: boolean;
  readonly restartCount: number;
  readonly gpuIds: readonly string[];
  readonly assignedResources: Readonly<Record<string, number>>;
  /** Aborted when the task is cancelled. */
  readonly signal: AbortSignal;
  /** 0 for the first run of a task, 1 for its first retry. */
  readonly attempt: number;
}

/** The nodes of the cluster, dead ones included. @throws NotInitializedError, ClusterUnreachableError (rejections) */
export async function nodes(): Promise<NodeView[]> {
  const { nodes: found } = await listNodes();
  return found.map((node) => ({
    nodeId: node.nodeId,
    alive: node.alive,
    state: node.state as NodeView["state"],
    isHead: node.isHead,
    address: node.rayletAddress,
    pid: node.pid,
    resources: fromUnits(node.total?.amounts ?? {}),
    available: fromUnits(node.available?.amounts ?? {}),
    labels: node.labels,
    deathReason: node.deathReason,
  }));
}

/** All resources of the live nodes. */
export function clusterResources(): Promise<Record<string, number>> {
  return sumOver((node) => node.total?.amounts ?? {});
}

/** What of them nobody holds now (as the head last heard). */
export function availableResources(): Promise<Record<string, number>> {
  return sumOver((node) => node.available?.amounts ?? {});
}

/** @throws NotInitializedError outside drivers and workers */
export function getRuntimeContext(): RuntimeContext {
  const state = getState();
  if (state.kind !== "driver" && state.kind !== "worker")
    throw new NotInitializedError("getRuntimeContext() was called before init()");
  const { welcome } = state.runtime.connected;
  const call = currentCall();
  const actor = state.kind === "worker" ? state.actor.identity : undefined;
  return {
    jobId: welcome.job.jobId,
    taskId: call?.taskId ?? "",
    nodeId: welcome.nodeId,
    workerId: state.runtime.self.processId,
    namespace: welcome.job.namespace,
    ...(actor === undefined ? {} : { actorId: actor.actorId }),
    get actorHandle() {
      return actor === undefined
        ? undefined
        : (state.runtime.ownHandle(actor.actorId) as AnyActorHandle | undefined);
    },
    wasRestarted: (actor?.incarnation ?? 0) > 0,
    restartCount: actor?.incarnation ?? 0,
    gpuIds: call?.gpuIds ?? actor?.gpuIds ?? [],
    assignedResources: fromUnits(call?.resources ?? actor?.resources ?? {}),
    get signal() {
      return call?.signal ?? new AbortController().signal;
    },
    attempt: call?.attempt ?? 0,
  } as RuntimeContext;
}

/** See {@link GetActorFn}. */
export const getActor: GetActorFn = ((name: string, options?: GetActorOptions) =>
  runtimeForCall().pendingHandle(String(name), findActor(name, options))) as GetActorFn;

async function findActor(
  name: string,
  options: GetActorOptions | undefined,
): Promise<{ info: ActorInfo; meta: ActorMeta }> {
  if (typeof name !== "string" || name === "")
    throw new InvalidOptionError(`getActor() takes the name of an actor, got ${String(name)}`);
  const { namespace, timeout, signal } = resolveGetActorOptions(options);
  const runtime = await connectedRuntime();
  const { head, welcome } = runtime.connected;
  const where = namespace ?? welcome.job.namespace;
  const untilMs = performance.now() + (timeout ?? 0);
  for (;;) {
    signal?.throwIfAborted();
    const { found, actor } = await head.call((service, unary) =>
      unary(service, service.findActor, { name, namespace: where }, CALL_TIMEOUT_MS),
    );
    if (found && actor !== undefined) {
      return { info: { ...actor, found: true }, meta: unpackPlain(actor.handleMeta) as ActorMeta };
    }
    // With a timeout, an actor that is yet to be created is waited for.
    if (performance.now() >= untilMs) break;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new ActorDiedError(
    `there is no live actor named ${JSON.stringify(name)} in namespace ${JSON.stringify(where)}`,
    { actorId: "", maybeExecuted: false },
  );
}

/** Ends an actor's process now; running and queued calls fail with ActorDiedError. @throws InvalidOptionError */
export function kill(handle: AnyActorHandle, options?: KillOptions): void {
  const client = expectHandle(handle, "kill()");
  const { noRestart } = resolveKillOptions(options);
  const runtime = runtimeForCall();
  runtime.killActor(client, noRestart);
}

/** Resolves when the actor is constructed. @throws ActorDiedError (rejection) when it failed to, or is dead */
export async function ready(handle: AnyActorHandle): Promise<void> {
  const client = expectHandle(handle, "ready()");
  const runtime = runtimeForCall();
  runtime.busy(1);
  try {
    await client.ready();
  } finally {
    runtime.busy(-1);
  }
}

/**
 * Leaves the actor that calls it: earlier calls have finished, later ones fail with ActorDiedError, and it is not
 * restarted. Never returns. @throws InvalidOptionError outside an actor
 */
export function exitActor(): Promise<never> {
  const state = getState();
  if (state.kind !== "worker" || state.actor.identity === undefined)
    throw new InvalidOptionError("exitActor() was called outside an actor");
  return state.actor.exit();
}

async function connectedRuntime(): Promise<Runtime> {
  const runtime = runtimeForCall();
  const state = getState();
  if (state.kind === "loading") return new Promise<never>(() => {});
  if (state.kind === "driver") await state.ready;
  return runtime;
}

/** The head's table of nodes, once this process's own node is in it: right after `init` it may be on its way there. */
async function listNodes(): Promise<{ nodes: NodeInfo[] }> {
  const runtime = await connectedRuntime();
  const { head, welcome } = runtime.connected;
  const untilMs = performance.now() + CALL_TIMEOUT_MS;
  for (;;) {
    const list = await head.call((service, unary) => unary(service, service.listNodes, {}, CALL_TIMEOUT_MS));
    const isOwnListed = list.nodes.some(({ nodeId }) => nodeId === welcome.nodeId);
    if (isOwnListed || performance.now() > untilMs) return list;
    await new Promise((resolve) => setTimeout(resolve, REGISTERED_POLL_MS));
  }
}

async function sumOver(amounts: (node: NodeInfo) => Record<string, number>): Promise<Record<string, number>> {
  const { nodes: found } = await listNodes();
  const sum: Record<string, number> = {};
  for (const node of found) if (node.alive) add(sum, amounts(node));
  return fromUnits(sum);
}
