/**
 * Placement groups as a driver or worker deals with them: created, waited for, removed at the head. What is asked in one
 * turn of the event loop goes in one call. Decides nothing about a group; a head that cannot be reached is asked again.
 */
import { PlacementGroupError, TsrayError } from "../base/errors.ts";
import { TurnBatch, type Waiting } from "../base/turn-batch.ts";
import type {
  CreatedPlacementGroup,
  PlacementGroupInfo,
  PlacementGroupSpec,
} from "../wire/gen/tsray/v1/head.ts";
import type { HeadClient } from "./head-client.ts";

const CALL_TIMEOUT_MS = 30_000;
const WATCH_WAIT_MS = 10_000;
const WATCH_GRACE_MS = 5000;
const RETRY_MS = 100;
/** A head that does not answer for this long makes those who wait fail. */
const HEAD_SILENCE_MS_MAX = 60_000;

/** A group that somebody waits for, until they do no longer. */
interface Settling {
  readonly groupId: string;
  readonly signal: AbortSignal;
}

export class GroupClient {
  readonly #head: HeadClient;
  readonly #creations: TurnBatch<PlacementGroupSpec, CreatedPlacementGroup>;
  readonly #removals: TurnBatch<string, undefined>;
  readonly #settled: TurnBatch<Settling, PlacementGroupInfo>;

  constructor(head: HeadClient) {
    this.#head = head;
    this.#creations = new TurnBatch((waiting) => this.#create(waiting));
    this.#removals = new TurnBatch((waiting) => this.#remove(waiting));
    this.#settled = new TurnBatch((waiting) => this.#untilSettled(waiting));
  }

  /** @throws PlacementGroupError (rejection) when the head refuses it */
  async create(spec: PlacementGroupSpec): Promise<PlacementGroupInfo> {
    const { group, error } = await this.#creations.add(spec);
    if (error !== "" || group === undefined)
      throw new PlacementGroupError(error || "the head gave no answer");
    return group;
  }

  /** Resolves when its resources are given back. */
  remove(groupId: string): Promise<undefined> {
    return this.#removals.add(groupId);
  }

  /** The group once it is CREATED, REMOVED or found to be unknown; nobody is told when `signal` is aborted before. */
  settled(groupId: string, signal: AbortSignal): Promise<PlacementGroupInfo> {
    return this.#settled.add({ groupId, signal });
  }

  /** How the group stands now; undefined = the head does not know it. */
  async look(groupId: string): Promise<PlacementGroupInfo | undefined> {
    const groups = await this.#watch([{ groupId, knownVersion: -1 }], false, 0, this.#head.over);
    return groups.find(({ found }) => found);
  }

  async find(name: string, namespace: string): Promise<PlacementGroupInfo | undefined> {
    return this.#call(async () => {
      const { found, group } = await this.#head.callOnce((service, unary) =>
        unary(service, service.findPlacementGroup, { name, namespace }, CALL_TIMEOUT_MS),
      );
      return found ? group : undefined;
    });
  }

  async list(): Promise<PlacementGroupInfo[]> {
    return this.#call(async () => {
      const { groups } = await this.#head.callOnce((service, unary) =>
        unary(service, service.listPlacementGroups, {}, CALL_TIMEOUT_MS),
      );
      return groups;
    });
  }

  /** Calls `onNews` with each change of the group, and how it stands now, until it is unknown or REMOVED, or `stop` is called. */
  follow(groupId: string, onNews: (info: PlacementGroupInfo) => void): () => void {
    const over = new AbortController();
    const { signal } = over;
    const stop = () => over.abort();
    this.#head.over.addEventListener("abort", stop, { once: true });
    const run = async () => {
      for (let knownVersion = -1; !signal.aborted; ) {
        const [info] = await this.#watch([{ groupId, knownVersion }], false, WATCH_WAIT_MS, signal);
        if (info === undefined || signal.aborted) continue;
        knownVersion = info.version;
        onNews(info);
        if (!info.found || info.state === "REMOVED") return;
      }
    };
    // A head that stays away is told of by other calls; this one hears of the next.
    const runAgain = (): Promise<void> =>
      run().catch((error: unknown) => {
        const mayHelp = error instanceof TsrayError && error.retryable && !signal.aborted;
        return mayHelp ? runAgain() : undefined;
      });
    void runAgain().finally(() => this.#head.over.removeEventListener("abort", stop));
    return stop;
  }

  async #create(waiting: readonly Waiting<PlacementGroupSpec, CreatedPlacementGroup>[]): Promise<void> {
    const specs = waiting.map(({ asked }) => asked);
    const { groups } = await this.#call(() =>
      this.#head.callOnce((service, unary) =>
        unary(service, service.createPlacementGroups, { specs }, CALL_TIMEOUT_MS),
      ),
    );
    waiting.forEach(({ resolve }, i) => {
      resolve(groups[i] as CreatedPlacementGroup);
    });
  }

  async #remove(waiting: readonly Waiting<string, undefined>[]): Promise<void> {
    const request = { groupIds: waiting.map(({ asked }) => asked), reason: "remove() was called" };
    await this.#call(() =>
      this.#head.callOnce((service, unary) =>
        unary(service, service.removePlacementGroups, request, CALL_TIMEOUT_MS),
      ),
    );
    for (const { resolve } of waiting) resolve(undefined);
  }

  async #untilSettled(waiting: readonly Waiting<Settling, PlacementGroupInfo>[]): Promise<void> {
    let left = [...waiting];
    const over = new AbortController();
    const leave = () => {
      left = left.filter(({ asked }) => !asked.signal.aborted);
      // The question itself would keep the process alive.
      if (left.length === 0) over.abort();
    };
    const signals = [this.#head.over, ...waiting.map(({ asked }) => asked.signal)];
    const stop = () => (this.#head.over.aborted ? over.abort() : leave());
    for (const signal of signals) signal.addEventListener("abort", stop, { once: true });
    leave();
    try {
      while (left.length > 0) {
        const asked = left.map(({ asked: { groupId } }) => ({ groupId, knownVersion: -1 }));
        const groups = await this.#watch(asked, true, WATCH_WAIT_MS, over.signal);
        const byId = new Map(groups.map((group) => [group.spec?.groupId, group]));
        left = left.filter(({ asked: { groupId }, resolve }) => {
          const info = byId.get(groupId);
          if (info !== undefined) resolve(info);
          return info === undefined;
        });
      }
    } finally {
      for (const signal of signals) signal.removeEventListener("abort", stop);
    }
  }

  async #watch(
    groups: { groupId: string; knownVersion: number }[],
    settled: boolean,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<PlacementGroupInfo[]> {
    return this.#call(async () => {
      const request = { groups, settled, waitMs };
      const answer = await this.#head.callOnce((service, unary) =>
        unary(service, service.watchPlacementGroups, request, waitMs + WATCH_GRACE_MS, signal),
      );
      return answer.groups;
    }, signal);
  }

  /** Again and again while the head cannot be reached. @throws what it threw otherwise */
  async #call<R>(make: () => Promise<R>, signal = this.#head.over): Promise<R> {
    const sinceMs = performance.now();
    for (;;) {
      try {
        return await make();
      } catch (error) {
        const isSilent = performance.now() - sinceMs > HEAD_SILENCE_MS_MAX;
        if (!(error instanceof TsrayError && error.retryable) || isSilent || signal.aborted) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
