/** Placement groups on behalf of this process's code: what it makes belongs to its job, what it waits for keeps it alive. */
import type { GroupPort } from "../core/api/runtime-port.ts";
import { currentCall } from "../core/base/call-context.ts";
import { GetTimeoutError, PlacementGroupError } from "../core/base/errors.ts";
import { newGroupId } from "../core/base/ids.ts";
import type { GroupStrategy, PlacementGroupFacts, ResolvedWaitLimits } from "../core/base/options.ts";
import type { PlacementGroupView, ResolvedPlacementGroup } from "../core/base/placement-group-options.ts";
import { fromUnits, toUnits } from "../core/base/resources.ts";
import type { Welcome } from "../core/rpc/messages.ts";
import type { GroupClient } from "../core/submit/group-client.ts";
import type { PlacementGroupInfo } from "../core/wire/gen/tsray/v1/head.ts";

const POLL_MS = 100;
/** A group that is not placed for this long is worth a line to the user. */
const PENDING_WARNING_MS = 10_000;

export interface RuntimeGroupsParts {
  /** Resolves when this process is connected. @throws when it will not be */
  readonly connected: () => Promise<{ readonly groups: GroupClient; readonly welcome: Welcome }>;
  /** In an actor: its id. */
  readonly actorId: () => string | undefined;
  /** The process stays alive while it waits. */
  readonly onBusy: (delta: 1 | -1) => void;
  readonly warn: (line: string) => void;
}

export class RuntimeGroups implements GroupPort {
  readonly #parts: RuntimeGroupsParts;

  constructor(parts: RuntimeGroupsParts) {
    this.#parts = parts;
  }

  create(group: ResolvedPlacementGroup): Promise<PlacementGroupFacts> {
    return this.#busy(async () => {
      const { groups, welcome } = await this.#parts.connected();
      const { name, strategy, bundles, labels, detached } = group;
      const info = await groups.create({
        groupId: newGroupId(),
        name,
        namespace: welcome.job.namespace,
        strategy,
        bundles: bundles.map((resources, i) => ({
          resources: { amounts: toUnits(resources) },
          labels: (labels[i] ?? []).map((term) => ({ ...term, values: [...term.values] })),
        })),
        detached,
        jobId: welcome.job.jobId,
        creatorActorId: this.#parts.actorId() ?? "",
      });
      return factsOf(info);
    });
  }

  ready(group: PlacementGroupFacts, { timeout, signal }: ResolvedWaitLimits): Promise<void> {
    return this.#busy(async () => {
      signal?.throwIfAborted();
      const { groups } = await this.#parts.connected();
      const look = async () => (await groups.look(group.id))?.reason || "it is being placed";
      const warning = setTimeout(() => {
        void look().then(
          (reason) =>
            this.#parts.warn(
              `${tellGroup(group)} has waited ${PENDING_WARNING_MS / 1000} s to be placed: ${reason}`,
            ),
          () => {},
        );
      }, PENDING_WARNING_MS).unref();
      const limit = limitOf(timeout, signal);
      const waits = new AbortController();
      try {
        const info = await Promise.race([groups.settled(group.id, waits.signal), limit.over]);
        if (info === undefined) {
          throw new GetTimeoutError(
            `${tellGroup(group)} was not placed within ${timeout} ms: ${await look()}`,
          );
        }
        if (!info.found) throw new PlacementGroupError(`there is no ${tellGroup(group)} (any more)`);
        if (info.state === "REMOVED")
          throw new PlacementGroupError(`${tellGroup(group)} was removed: ${info.reason}`);
      } finally {
        clearTimeout(warning);
        waits.abort();
        limit.dispose();
      }
    });
  }

  remove(groupId: string): Promise<void> {
    return this.#busy(async () => {
      const { groups } = await this.#parts.connected();
      await groups.remove(groupId);
    });
  }

  find(
    name: string,
    { namespace, timeout = 0, signal }: ResolvedWaitLimits & { readonly namespace: string | undefined },
  ): Promise<PlacementGroupFacts> {
    return this.#busy(async () => {
      const { groups, welcome } = await this.#parts.connected();
      const where = namespace ?? welcome.job.namespace;
      const untilMs = performance.now() + timeout;
      for (;;) {
        signal?.throwIfAborted();
        const found = await groups.find(name, where);
        if (found !== undefined) return factsOf(found);
        // With a timeout, a group that is yet to be created is waited for.
        if (performance.now() >= untilMs) break;
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
      throw new PlacementGroupError(
        `there is no placement group named ${JSON.stringify(name)} in namespace ${JSON.stringify(where)}`,
      );
    });
  }

  list(): Promise<PlacementGroupView[]> {
    return this.#busy(async () => {
      const { groups } = await this.#parts.connected();
      return (await groups.list()).map(viewOf);
    });
  }

  current(): PlacementGroupFacts | undefined {
    return currentCall()?.group?.facts;
  }

  async #busy<R>(run: () => Promise<R>): Promise<R> {
    this.#parts.onBusy(1);
    try {
      return await run();
    } finally {
      this.#parts.onBusy(-1);
    }
  }
}

/** `over` resolves when the time is up, and rejects when the signal aborts. */
function limitOf(
  timeout: number | undefined,
  signal: AbortSignal | undefined,
): { readonly over: Promise<undefined>; dispose(): void } {
  let timer: NodeJS.Timeout | undefined;
  let onAbort = () => {};
  const over = new Promise<undefined>((resolve, reject) => {
    if (timeout !== undefined) timer = setTimeout(() => resolve(undefined), timeout);
    onAbort = () => reject(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
  over.catch(() => {});
  return {
    over,
    dispose: () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    },
  };
}

function bundlesOf({ spec }: PlacementGroupInfo) {
  return (spec?.bundles ?? []).map(({ resources }) => Object.freeze(fromUnits(resources?.amounts ?? {})));
}

function factsOf(info: PlacementGroupInfo): PlacementGroupFacts {
  const { groupId = "", name = "", strategy = "PACK" } = info.spec ?? {};
  return Object.freeze({ id: groupId, name, strategy: strategy as GroupStrategy, bundles: bundlesOf(info) });
}

function viewOf(info: PlacementGroupInfo): PlacementGroupView {
  const { namespace = "", jobId = "", detached = false } = info.spec ?? {};
  const bundles = bundlesOf(info).map((resources, i) => ({ resources, nodeId: info.nodeIds[i] ?? "" }));
  const { id, name, strategy } = factsOf(info);
  const state = info.state as PlacementGroupView["state"];
  return { id, name, namespace, strategy, state, reason: info.reason, detached, jobId, bundles };
}

const tellGroup = ({ id, name }: PlacementGroupFacts): string =>
  name === "" ? `placement group ${id}` : `placement group ${id} ("${name}")`;
