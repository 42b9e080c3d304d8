/**
 * What the head has to say to raylets about bundles, gathered over a turn of the event loop: one call per node and kind,
 * however many groups it is about. Repeats until the raylet has answered or its node is gone; answers go back one by one.
 */
import { TsrayError } from "../../core/base/errors.ts";
import type { BundleReservation } from "../../core/wire/gen/tsray/v1/common.ts";
import { type BundleReturn, RayletServiceService } from "../../core/wire/gen/tsray/v1/raylet.ts";
import type { RayletClients } from "../raylet-clients.ts";

const CALL_TIMEOUT_MS = 5000;
const RETRY_MS_MIN = 50;
const RETRY_MS_MAX = 2000;

/** What the raylet made of bundles of one group: undefined = it took them all, else why not. */
export type OnAnswer = (refusal: string | undefined) => void;

interface Asked<T> {
  readonly items: readonly T[];
  readonly onAnswer: OnAnswer;
}

interface Box {
  prepares: Asked<BundleReservation>[];
  commits: Asked<BundleReservation>[];
  returns: Asked<BundleReturn>[];
}

export interface OutboxOptions {
  readonly clients: RayletClients;
  readonly isAlive: (nodeId: string) => boolean;
  log(line: string): void;
}

export class RayletOutbox {
  readonly #options: OutboxOptions;
  readonly #boxes = new Map<string, Box>();
  readonly #timers = new Map<NodeJS.Timeout, () => void>();
  #isClosed = false;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  prepare(nodeId: string, bundles: readonly BundleReservation[], onAnswer: OnAnswer): void {
    this.#box(nodeId).prepares.push({ items: bundles, onAnswer });
  }

  commit(nodeId: string, bundles: readonly BundleReservation[], onAnswer: OnAnswer): void {
    this.#box(nodeId).commits.push({ items: bundles, onAnswer });
  }

  /** Not answered where the node dies first. */
  giveBack(nodeId: string, back: BundleReturn, onAnswer: OnAnswer): void {
    this.#box(nodeId).returns.push({ items: [back], onAnswer });
  }

  close(): void {
    this.#isClosed = true;
    for (const [timer, wake] of this.#timers) {
      clearTimeout(timer);
      wake();
    }
  }

  #box(nodeId: string): Box {
    let box = this.#boxes.get(nodeId);
    if (box === undefined) {
      box = { prepares: [], commits: [], returns: [] };
      this.#boxes.set(nodeId, box);
      setImmediate(() => this.#post(nodeId));
    }
    return box;
  }

  #post(nodeId: string): void {
    const box = this.#boxes.get(nodeId);
    this.#boxes.delete(nodeId);
    if (box === undefined || this.#isClosed) return;
    const { clients } = this.#options;
    const { prepareBundles, commitBundles, returnBundles } = RayletServiceService;
    // What goes back makes room for what is to come.
    if (box.returns.length > 0)
      this.#ask(nodeId, box.returns, async (returns) => {
        await clients.call(nodeId, returnBundles, { returns }, CALL_TIMEOUT_MS);
        return undefined;
      });
    if (box.prepares.length > 0)
      this.#ask(nodeId, box.prepares, (bundles) =>
        clients.call(nodeId, prepareBundles, { bundles }, CALL_TIMEOUT_MS),
      );
    if (box.commits.length > 0)
      this.#ask(nodeId, box.commits, (bundles) =>
        clients.call(nodeId, commitBundles, { bundles }, CALL_TIMEOUT_MS),
      );
  }

  #ask<T>(
    nodeId: string,
    asked: readonly Asked<T>[],
    send: (items: T[]) => Promise<{ answers: { accepted: boolean; reason: string }[] } | undefined>,
  ): void {
    const items = asked.flatMap((each) => each.items);
    void this.#untilAnswered(nodeId, () => send(items)).then(
      (reply) => {
        let at = 0;
        for (const { items: of, onAnswer } of asked) {
          const answers = reply?.answers.slice(at, at + of.length) ?? [];
          at += of.length;
          const refusal = answers.find(({ accepted }) => !accepted);
          if (!this.#isClosed) onAnswer(refusal === undefined ? undefined : refusal.reason || "refused");
        }
      },
      (error: Error) => {
        if (this.#isClosed || !this.#options.isAlive(nodeId)) return;
        this.#options.log(`bundles at node ${nodeId}: ${error.message}`);
        for (const { onAnswer } of asked) onAnswer(error.message.split("\n")[0] ?? "");
      },
    );
  }

  /** @throws what the raylet threw when a repeat cannot help, or that its node is gone */
  async #untilAnswered<R>(nodeId: string, send: () => Promise<R>): Promise<R> {
    for (let waitMs = RETRY_MS_MIN; ; waitMs = Math.min(waitMs * 2, RETRY_MS_MAX)) {
      try {
        return await send();
      } catch (error) {
        if (this.#isClosed || !this.#options.isAlive(nodeId)) throw error;
        if (error instanceof TsrayError && !error.retryable) throw error;
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => {
          this.#timers.delete(timer);
          resolve();
        }, waitMs);
        this.#timers.set(timer, resolve);
      });
      if (this.#isClosed || !this.#options.isAlive(nodeId)) throw new Error(`node ${nodeId} is gone`);
    }
  }
}
