/** The raylet's gRPC service: leases for owners; actors, bundles and listings for the head. */
import { serveCalls, type WithoutCalls } from "../core/rpc/call-stream.ts";
import { bindServer, createServer, handleUnary } from "../core/rpc/grpc.ts";
import type { WorkerInfo } from "../core/wire/gen/tsray/v1/head.ts";
import {
  type ActorStartAnswer,
  type ActorToStart,
  type RayletServiceServer,
  RayletServiceService,
} from "../core/wire/gen/tsray/v1/raylet.ts";
import type { Raylet } from "./raylet.ts";
import type { PooledWorker } from "./workers/worker-pool.ts";

/** What takes part in a call of the head answers within this time, or not at all. */
const ANSWER_MS_MAX = 1000;

export interface RayletServiceOptions {
  readonly raylet: Raylet;
  readonly nodeId: string;
  readonly token: string;
  /** "host:port" or "unix:/path". */
  readonly bind: string;
  readonly onShutdown: (reason: string) => void;
}

/** @throws ClusterUnreachableError when the address cannot be bound */
export async function serveRaylet(
  options: RayletServiceOptions,
): Promise<{ address: string; close(): void }> {
  const { raylet, nodeId, onShutdown } = options;
  const refusal = (epoch: number | undefined) => raylet.refusal(epoch);
  const server = createServer(options.token, refusal);
  const service: WithoutCalls<RayletServiceServer, typeof RayletServiceService> = {
    leaseSession: (stream) => raylet.leases.serve(stream),
    startActors: handleUnary(async ({ starts }) => ({
      answers: await Promise.all(starts.map((start) => startActor(raylet.actors, start))),
    })),
    stopActors: handleUnary(async ({ stops }) => {
      const ended = await Promise.all(
        stops.map(({ actorId, graceful, reason, incarnation }) =>
          soonOr(
            false,
            raylet.actors.stop(actorId, graceful, reason, incarnation).then(() => true),
          ),
        ),
      );
      return { runningIds: stops.flatMap(({ actorId }, i) => (ended[i] ? [] : actorId)) };
    }),
    prepareBundles: handleUnary((batch) => ({ answers: raylet.bundles.prepare(batch) })),
    commitBundles: handleUnary((batch) => ({ answers: raylet.bundles.commit(batch) })),
    returnBundles: handleUnary(async (request) => {
      await raylet.bundles.giveBack(request);
      return {};
    }),
    listTasks: handleUnary(async () => ({ tasks: await raylet.clients.listTasks(), unreachable: [] })),
    listObjects: handleUnary(async ({ rowsMax }) => ({
      processes: (await raylet.clients.listObjects(rowsMax)).map(({ rows, ...process }) => ({
        ...process,
        nodeId,
        rows: rows.map((row) => ({ ...row, kinds: [...row.kinds], nodes: [...row.nodes] })),
      })),
      stores: [{ nodeId, stats: raylet.describeStore() }],
      unreachable: [],
    })),
    listWorkers: handleUnary(() => ({
      workers: [...raylet.pool.all()].map((worker) => describeWorker(worker, nodeId, raylet)),
      unreachable: [],
    })),
    hearsHead: handleUnary(() => ({ nodeId, ...raylet.hearsHead })),
    drain: handleUnary(({ graceMs, reason }) => {
      raylet.drain({ graceMs, reason, handsOn: true });
      return {};
    }),
    takeObject: handleUnary(({ key, from }) => raylet.takeObject(key, from)),
    ping: handleUnary(() => ({ nodeId, uptimeMs: raylet.uptimeMs })),
    shutdown: handleUnary(({ reason }) => {
      // The answer must be out first.
      setImmediate(() => onShutdown(reason || "asked to"));
      return {};
    }),
  };
  const calls = serveCalls(RayletServiceService, service, refusal);
  server.addService(RayletServiceService, { ...service, calls });
  const address = await bindServer(server, options.bind);
  return { address, close: () => server.forceShutdown() };
}

/** One that cannot be started keeps none of the others from it. */
async function startActor(
  actors: Raylet["actors"],
  { spec, incarnation }: ActorToStart,
): Promise<ActorStartAnswer> {
  const refused = (reason: string) => ({ accepted: false, reason, undecided: false });
  if (spec === undefined) return refused("the request names no actor");
  try {
    return await soonOr(
      { accepted: false, reason: "its last life here has not ended yet", undecided: true },
      actors
        .start(spec, incarnation)
        .then((reason) =>
          reason === undefined ? { accepted: true, reason: "", undecided: false } : refused(reason),
        ),
    );
  } catch (error) {
    return refused((error as Error).message);
  }
}

/** What takes longer, because a process has to end first, is asked for again: the others of a call have their answer. */
async function soonOr<T>(late: T, answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<T>((resolve) => {
    timer = setTimeout(resolve, ANSWER_MS_MAX, late);
  });
  try {
    return await Promise.race([answer, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}

function describeWorker(worker: PooledWorker, nodeId: string, raylet: Raylet): WorkerInfo {
  const state = !worker.ready
    ? "STARTING"
    : worker.actorId !== undefined
      ? "ACTOR"
      : raylet.isLeased(worker.workerId)
        ? "LEASED"
        : "IDLE";
  return {
    workerId: worker.workerId,
    nodeId,
    pid: worker.process.pid,
    state,
    jobId: worker.job.jobId,
    running: worker.running,
    startedAtMs: worker.process.startedAtMs,
  };
}
