/** Calls of the head from a driver or worker. gRPC is loaded at the first one. */
import { retrying } from "../rpc/retry.ts";
import type { HeadServiceClient } from "../wire/gen/tsray/v1/head.ts";

/** A head that does not answer at all for this long is taken to be gone. */
const RETRY_MS = 10_000;

type Unary = typeof import("../rpc/grpc.ts").unary;

export class HeadClient {
  readonly #address: string;
  readonly #token: string;
  #client: Promise<{ client: HeadServiceClient; unary: Unary }> | undefined;

  constructor(address: string, token: string) {
    this.#address = address;
    this.#token = token;
  }

  /** Loads gRPC ahead of the first call. */
  warm(): Promise<unknown> {
    return this.#open();
  }

  /**
   * `call((head, unary) => unary(head, head.listNodes, {}, 5000))`. Made again for a while where it was not answered: the
   * head's handlers take repeats.
   * @throws what the head threw, ClusterUnreachableError, AuthenticationError
   */
  async call<R>(make: (head: HeadServiceClient, unary: Unary) => Promise<R>, retryMs = RETRY_MS): Promise<R> {
    const { client, unary } = await this.#open();
    return retrying(retryMs, () => make(client, unary));
  }

  close(): void {
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
