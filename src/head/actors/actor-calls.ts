/**
 * Calls about many actors, as clients and raylets make them: each is carried out actor by actor, in the order asked for,
 * and answered when all are. What goes wrong with one keeps none of the others from it.
 */
import { TsrayError, toErrorRecord } from "../../core/base/errors.ts";
import type {
  ActorInfo,
  ActorKill,
  ActorReport,
  ActorSpec,
  ChangedActor,
  CreateActorsReply,
  CreatedActor,
  WatchActorsReply,
  WatchActorsRequest,
  WatchedActor,
} from "../../core/wire/gen/tsray/v1/head.ts";
import type { ActorDirectory } from "./actor-directory.ts";

/** Answers to watches: no longer than this, and no larger. What is left out is told at the next. */
const WATCH_MS_MAX = 30_000;
const NEWS_BYTES_MAX = 4 * 1024 * 1024;
/** Of many actors some change in the same moment: the first waits so long for the others. */
const GATHER_MS = 10;
const WATCHERS_MAX = 200_000;

export class ActorCalls {
  readonly #actors: ActorDirectory;
  #watcherCount = 0;

  constructor(actors: ActorDirectory) {
    this.#actors = actors;
  }

  async create(specs: readonly ActorSpec[]): Promise<CreateActorsReply> {
    const one = (spec: ActorSpec): Promise<CreatedActor> =>
      this.#actors.create(spec).catch((error: unknown) => {
        if (!(error instanceof TsrayError)) throw error;
        const failure = JSON.stringify(toErrorRecord(error));
        return { actor: undefined, existed: false, error: "", failure };
      });
    return { actors: await Promise.all(specs.map(one)) };
  }

  /** @throws what the first that failed threw: it may be repeated as a whole */
  async kill(kills: readonly ActorKill[]): Promise<void> {
    await allDone(kills.map((kill) => this.#actors.kill(kill)));
  }

  /** @throws what the first that failed threw: it may be repeated as a whole */
  async report(reports: readonly ActorReport[]): Promise<void> {
    await allDone(reports.map((report) => this.#actors.report(report)));
  }

  /** Answers as soon as there are news, after `waitMs` with all. */
  async watch({ actors, waitMs }: WatchActorsRequest): Promise<WatchActorsReply> {
    const changed = () => actors.flatMap((each, index) => (this.#isNews(each) ? index : []));
    const now = changed();
    const mayWait = waitMs > 0 && !this.#actors.isClosed;
    if (now.length > 0 || !mayWait || this.#watcherCount + actors.length > WATCHERS_MAX)
      return this.#tell(actors, now.length > 0 ? now : [...actors.keys()]);
    const isOver = await this.#untilNews(actors, Math.min(waitMs, WATCH_MS_MAX));
    return this.#tell(actors, isOver ? [...actors.keys()] : changed());
  }

  /** @returns true = the time is up, or the head ends */
  #untilNews(actors: readonly WatchedActor[], waitMs: number): Promise<boolean> {
    this.#watcherCount += actors.length;
    return new Promise<boolean>((resolve) => {
      let left = actors.length;
      let hasEnded = false;
      let gather: NodeJS.Timeout | undefined;
      const end = (isOver: boolean) => {
        if (hasEnded) return;
        hasEnded = true;
        clearTimeout(timer);
        clearTimeout(gather);
        for (const leave of leaves) leave();
        this.#watcherCount -= actors.length;
        resolve(isOver);
      };
      const timer = setTimeout(end, waitMs, true);
      const leaves = actors.map((watched) => {
        let isTold = false;
        return this.#actors.onChange(watched.actorId, () => {
          if (this.#actors.isClosed) end(true);
          if (isTold || !this.#isNews(watched)) return;
          isTold = true;
          left -= 1;
          if (left === 0) end(false);
          else gather ??= setTimeout(end, GATHER_MS, false);
        });
      });
    });
  }

  #isNews({ actorId, knownVersion }: WatchedActor): boolean {
    const state = this.#actors.stateOf(actorId);
    return state === undefined || state.phase === "DEAD" || state.version > knownVersion;
  }

  async #tell(actors: readonly WatchedActor[], indexes: readonly number[]): Promise<WatchActorsReply> {
    const infos = await Promise.allSettled(
      indexes.map((index) => this.#actors.info(actors[index]?.actorId ?? "")),
    );
    const news: ChangedActor[] = [];
    let bytes = 0;
    for (const [i, index] of indexes.entries()) {
      const info = infos[i] as PromiseSettledResult<ActorInfo>;
      // What cannot be stored now is not told: it stays news.
      if (info.status === "rejected") continue;
      const actor = info.value;
      bytes += actor.handleMeta.length + actor.deathError.length;
      if (news.length > 0 && bytes > NEWS_BYTES_MAX) break;
      news.push({ index, actor });
    }
    if (news.length === 0) throwFirst(infos);
    return { news };
  }
}

/** @throws what the first that failed threw, once all have ended */
async function allDone(works: readonly Promise<void>[]): Promise<void> {
  throwFirst(await Promise.allSettled(works));
}

function throwFirst(ended: readonly PromiseSettledResult<unknown>[]): void {
  for (const each of ended) if (each.status === "rejected") throw each.reason;
}
