/**
 * Bundles of placement groups at this node, as the head asks for them: set aside, opened, given back. What may be is
 * decided by lease/bundles.ts; here whoever runs in a bundle is ended before its resources go back.
 */
import type { BundleAnswer, BundleBatch, ReturnBundlesRequest } from "../core/wire/gen/tsray/v1/raylet.ts";
import type { Actors } from "./actors.ts";
import type { LeaseMachine } from "./lease/lease-machine.ts";
import type { LeaseService } from "./lease/lease-service.ts";
import type { WorkerPool } from "./workers/worker-pool.ts";

export interface BundleServiceParts {
  readonly machine: LeaseMachine;
  readonly leases: LeaseService;
  readonly pool: WorkerPool;
  readonly actors: Actors;
}

export class BundleService {
  readonly #parts: BundleServiceParts;

  constructor(parts: BundleServiceParts) {
    this.#parts = parts;
  }

  prepare({ bundles }: BundleBatch): BundleAnswer[] {
    const { machine } = this.#parts;
    return this.#each(bundles, (bundle) =>
      machine.bundles.prepare({ ...bundle, resources: bundle.resources?.amounts ?? {} }),
    );
  }

  commit({ bundles }: BundleBatch): BundleAnswer[] {
    return this.#each(bundles, (bundle) => this.#parts.machine.bundles.commit(bundle));
  }

  /** Resolves when nothing runs in them any more and the node has their resources back. */
  async giveBack({ returns }: ReturnBundlesRequest): Promise<void> {
    const { machine, leases, pool, actors } = this.#parts;
    const ends: Promise<unknown>[] = [];
    for (const { groupId, attempt, earlier, reason } of returns) {
      machine.bundles.close(groupId, attempt, earlier);
      // Only what was open can be in use, and what was open goes with its whole group.
      if (!earlier) continue;
      for (const workerId of machine.workersIn(groupId)) {
        const worker = pool.get(workerId);
        if (worker === undefined) continue;
        worker.removedGroup = { groupId, reason };
        worker.process.kill();
        ends.push(worker.process.over);
      }
      ends.push(actors.endGroup(groupId, reason));
    }
    leases.carryOut(machine.reschedule());
    await Promise.all(ends);
  }

  #each<T>(bundles: readonly T[], act: (bundle: T) => string | undefined): BundleAnswer[] {
    const answers = bundles.map((bundle) => {
      const reason = act(bundle);
      return { accepted: reason === undefined, reason: reason ?? "" };
    });
    this.#parts.leases.carryOut(this.#parts.machine.reschedule());
    return answers;
  }
}
