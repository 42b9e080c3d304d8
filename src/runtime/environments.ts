/** Environments of this process's calls, bound to the head that keeps their files. */
import { RuntimeEnvError, SerializationError } from "../core/base/errors.ts";
import type { RuntimeEnv } from "../core/base/runtime-env.ts";
import { OwnerEnvironments } from "../core/environments/prepare.ts";
import type { ObjectAccess } from "../core/ownership/object-access.ts";
import type { JobConfigRecord } from "../core/rpc/messages.ts";
import type { HeadClient } from "../core/submit/head-client.ts";

const FIND_TIMEOUT_MS = 10_000;
const PIECE_TIMEOUT_MS = 60_000;

export function ownerEnvironments(
  head: HeadClient,
  { jobId, entryUrl }: JobConfigRecord,
  own: string | RuntimeEnv,
  objects: Pick<ObjectAccess, "packFunction">,
): OwnerEnvironments {
  return new OwnerEnvironments({
    own,
    entryUrl,
    store: {
      find: async (hash) => {
        const request = { hash, jobId };
        const state = await head.call((service, unary) =>
          unary(service, service.findPackage, request, FIND_TIMEOUT_MS),
        );
        return state.complete;
      },
      put: async (piece) => {
        const state = await head.call((service, unary) =>
          unary(service, service.putPackage, { ...piece, jobId }, PIECE_TIMEOUT_MS),
        );
        return state.complete ? piece.totalBytes : state.receivedBytes;
      },
    },
    encodeFunction: (fn) => {
      try {
        return objects.packFunction(fn, "runtimeEnv.workerSetup");
      } catch (error) {
        if (!(error instanceof SerializationError)) throw error;
        throw new RuntimeEnvError(`runtimeEnv.workerSetup cannot travel: ${error.message}`, { cause: error });
      }
    },
  });
}

/** Tells the nodes that cannot see this driver's files where they can be had, or why they cannot. */
export async function offerFiles(
  head: HeadClient,
  environments: OwnerEnvironments,
  { jobId }: JobConfigRecord,
): Promise<void> {
  let environment = "";
  let error = "";
  try {
    environment = await environments.offer();
  } catch (failure) {
    error = failure instanceof Error ? failure.message : String(failure);
  }
  const files = { jobId, known: true, environment, error };
  await head.call((service, unary) => unary(service, service.offerJobFiles, files, FIND_TIMEOUT_MS));
}
