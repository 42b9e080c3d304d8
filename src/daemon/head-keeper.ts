/**
 * Keeps the head of a standing cluster running: a process of its own beside the node, started again at the same address
 * when it ends, unless its tables went with it.
 */
import type { HeadProcessConfig } from "../core/launch/daemon-config.ts";
import { type StartedHead, startHeadProcess } from "../core/launch/start-head.ts";

const RESTART_MS_MIN = 100;
const RESTART_MS_MAX = 5000;
/** A head that has served for so long is started again at once. */
const STEADY_MS = 10_000;
const END_MS_MAX = 5000;

export class HeadKeeper {
  readonly #log: (line: string) => void;
  readonly #onGone: (reason: string) => void;
  #head: StartedHead | undefined;
  #waitMs = RESTART_MS_MIN;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** @param onGone the head has ended and cannot come back */
  constructor(log: (line: string) => void, onGone: (reason: string) => void) {
    this.#log = log;
    this.#onGone = onGone;
  }

  /** @returns its address @throws what keeps it from starting */
  async start(config: HeadProcessConfig): Promise<string> {
    const startedMs = performance.now();
    const head = startHeadProcess(config);
    this.#head = head;
    const address = await head.serving;
    this.#log(`the head serves at ${address} (pid ${head.pid})`);
    void head.ended.then(() => {
      if (performance.now() - startedMs > STEADY_MS) this.#waitMs = RESTART_MS_MIN;
      this.#again({ ...config, bind: address });
    });
    return address;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const head = this.#head;
    if (head === undefined) return;
    head.release();
    const timer = setTimeout(() => process.kill(head.pid, "SIGKILL"), END_MS_MAX);
    await head.ended;
    clearTimeout(timer);
  }

  #again(config: HeadProcessConfig): void {
    if (this.#isClosed) return;
    if (config.state === "memory") {
      this.#onGone("the head has ended, and its tables in memory with it");
      return;
    }
    this.#log(`the head has ended; it is started again in ${this.#waitMs} ms`);
    this.#timer = setTimeout(() => {
      this.start(config).catch((error: Error) => {
        this.#log(`the head could not be started again: ${error.message}`);
        this.#again(config);
      });
    }, this.#waitMs);
    this.#waitMs = Math.min(this.#waitMs * 2, RESTART_MS_MAX);
  }
}
