/**
 * Calls of the head from a driver or worker. gRPC is loaded at the first one. A head that is gone is waited for: it will
 * be started again, and every call of its service may be repeated.
 */
import { setMaxListeners } from "node:events";
import { NotInitializedError, TsrayError } from "../base/errors.ts";
import type { HeadServiceClient } from "../wire/gen/tsray/v1/head.ts";

type Unary = typeof import("../rpc/grpc.ts").unary;

/** How long a head that does not answer is waited for. */
const OUTAGE_MS_MAX = 60_000;
const RETRY_MS_MIN = 50;
const RETRY_MS_MAX = 1000;

export class HeadClient {
  readonly #address: string;
  readonly #token: string;
  readonly #over = new AbortController();
  #client: Promise<{ client: HeadServiceClient; unary: Unary }> | undefined;

  constructor(address: string, token: string) {
    this.#address = address;
    this.#token = token;
    // Each call under way listens, as many as there are actors to watch: no leak that Node should warn the user of.
    setMaxListeners(0, this.over);
  }

  /** Aborted when this process leaves the cluster. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** Loads gRPC ahead of the first call. */
  warm(): Promise<unknown> {
    return this.#open();
  }

  /**
   * `call((head, unary) => unary(head, head.listNodes, {}, 5000))`. Made again until the head answers, for a minute.
   * What the head may take long to answer is given `over` as its signal, so that it keeps no process that has left.
   * @param isAwaited false: the process need not stay for the answer
   * @throws what the head threw, ClusterUnreachableError, AuthenticationError
   */
  async call<R>(
    make: (head: HeadServiceClient, unary: Unary, over: AbortSignal) => Promise<R>,
    { isAwaited = true }: { isAwaited?: boolean } = {},
  ): Promise<R> {
    const untilMs = performance.now() + OUTAGE_MS_MAX;
    for (let waitMs = RETRY_MS_MIN; ; waitMs = Math.min(2 * waitMs, RETRY_MS_MAX)) {
      try {
        return await this.callOnce(make);
      } catch (error) {
        const isLost = error instanceof TsrayError && error.name === "ClusterUnreachableError";
        if (!isLost || this.over.aborted || performance.now() > untilMs) throw error;
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs * (0.5 + Math.random()));
        if (!isAwaited) timer.unref();
      });
    }
  }

  /** @throws also when the head does not answer now */
  async callOnce<R>(
    make: (head: HeadServiceClient, unary: Unary, over: AbortSignal) => Promise<R>,
  ): Promise<R> {
    if (this.over.aborted) throw new NotInitializedError("tsray was shut down");
    const { client, unary } = await this.#open();
    return make(client, unary, this.over);
  }

  close(): void {
    this.#over.abort();
    void this.#client?.then(({ client }) => client.close());
    this.#client = undefined;
  }

  #open(): Promise<{ client: HeadServiceClient; unary: Unary }> {
    this.#client ??= Promise.all([import("../rpc/grpc.ts"), import("../wire/gen/tsray/v1/head.ts")]).then(
      ([{ createClient, unary }, { HeadServiceClient }]) => ({
        client: createClient(HeadServiceClient, this.#address, this.#token),
        unary,
      }),
    );
    return this.#client;
  }
}
