/**
 * Placement groups as a driver or worker deals with them: created, waited for, removed at the head. What is asked in one
 * turn of the event loop goes in one call. Decides nothing about a group; a head that cannot be reached is asked again.
 */
import { PlacementGroupError, TsrayError } from "../base/errors.ts";
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

interface Waiting<Q, R> {
  readonly asked: Q;
  resolve(answer: R): void;
  reject(error: Error): void;
}

/** Gathers what is asked over a turn, and has it asked at once. */
class Batch<Q, R> {
  readonly #answer: (waiting: readonly Waiting<Q, R>[]) => Promise<void>;
  #waiting: Waiting<Q, R>[] = [];

  /** @param answer resolves each; what it throws rejects those that are left */
  constructor(answer: (waiting: readonly Waiting<Q, R>[]) => Promise<void>) {
    this.#answer = answer;
  }

  add(asked: Q): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ asked, resolve, reject });
      if (this.#waiting.length === 1) setImmediate(() => void this.#send());
    });
  }

  async #send(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    try {
      await this.#answer(waiting);
    } catch (error) {
      for (const { reject } of waiting) reject(error as Error);
    }
  }
}

export class GroupClient {
  readonly #head: HeadClient;
  readonly #creations: Batch<PlacementGroupSpec, CreatedPlacementGroup>;
  readonly #removals: Batch<string, undefined>;
  readonly #settled: Batch<string, PlacementGroupInfo>;
  #isClosed = false;

  constructor(head: HeadClient) {
    this.#head = head;
    this.#creations = new Batch((waiting) => this.#create(waiting));
    this.#removals = new Batch((waiting) => this.#remove(waiting));
    this.#settled = new Batch((waiting) => this.#untilSettled(waiting));
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

  /** The group once it is CREATED, REMOVED or found to be unknown. */
  settled(groupId: string): Promise<PlacementGroupInfo> {
    return this.#settled.add(groupId);
  }

  /** How the group stands now; undefined = the head does not know it. */
  async look(groupId: string): Promise<PlacementGroupInfo | undefined> {
    const groups = await this.#watch([{ groupId, knownVersion: -1 }], false, 0);
    return groups.find(({ found }) => found);
  }

  async find(name: string, namespace: string): Promise<PlacementGroupInfo | undefined> {
    return this.#call(async () => {
      const { found, group } = await this.#head.call((service, unary) =>
        unary(service, service.findPlacementGroup, { name, namespace }, CALL_TIMEOUT_MS),
      );
      return found ? group : undefined;
    });
  }

  async list(): Promise<PlacementGroupInfo[]> {
    return this.#call(async () => {
      const { groups } = await this.#head.call((service, unary) =>
        unary(service, service.listPlacementGroups, {}, CALL_TIMEOUT_MS),
      );
      return groups;
    });
  }

  /** Calls `onNews` with each change of the group, and how it stands now, until it is unknown or REMOVED, or `stop` is called. */
  follow(groupId: string, onNews: (info: PlacementGroupInfo) => void): () => void {
    let isOver = false;
    const run = async () => {
      for (let knownVersion = -1; !isOver && !this.#isClosed; ) {
        const [info] = await this.#watch([{ groupId, knownVersion }], false, WATCH_WAIT_MS);
        if (info === undefined || isOver) continue;
        knownVersion = info.version;
        onNews(info);
        if (!info.found || info.state === "REMOVED") return;
      }
    };
    // A head that stays away is told of by other calls.
    run().catch(() => {});
    return () => {
      isOver = true;
    };
  }

  close(): void {
    this.#isClosed = true;
  }

  async #create(waiting: readonly Waiting<PlacementGroupSpec, CreatedPlacementGroup>[]): Promise<void> {
    const specs = waiting.map(({ asked }) => asked);
    const { groups } = await this.#call(() =>
      this.#head.call((service, unary) =>
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
      this.#head.call((service, unary) =>
        unary(service, service.removePlacementGroups, request, CALL_TIMEOUT_MS),
      ),
    );
    for (const { resolve } of waiting) resolve(undefined);
  }

  async #untilSettled(waiting: readonly Waiting<string, PlacementGroupInfo>[]): Promise<void> {
    let left = [...waiting];
    while (left.length > 0) {
      const asked = left.map(({ asked: groupId }) => ({ groupId, knownVersion: -1 }));
      const groups = await this.#watch(asked, true, WATCH_WAIT_MS);
      const byId = new Map(groups.map((group) => [group.spec?.groupId, group]));
      left = left.filter(({ asked: groupId, resolve }) => {
        const info = byId.get(groupId);
        if (info !== undefined) resolve(info);
        return info === undefined;
      });
    }
  }

  async #watch(
    groups: { groupId: string; knownVersion: number }[],
    settled: boolean,
    waitMs: number,
  ): Promise<PlacementGroupInfo[]> {
    return this.#call(async () => {
      const request = { groups, settled, waitMs };
      const answer = await this.#head.call((service, unary) =>
        unary(service, service.watchPlacementGroups, request, waitMs + WATCH_GRACE_MS),
      );
      return answer.groups;
    });
  }

  /** Again and again while the head cannot be reached. @throws what it threw otherwise */
  async #call<R>(make: () => Promise<R>): Promise<R> {
    const sinceMs = performance.now();
    for (;;) {
      try {
        return await make();
      } catch (error) {
        const isSilent = performance.now() - sinceMs > HEAD_SILENCE_MS_MAX;
        if (!(error instanceof TsrayError && error.retryable) || isSilent || this.#isClosed) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
