/**
 * The remote functions and classes that the rows call, in a module of their own, which workers import. They do next to nothing, so that
 * what is measured is tsray. Never measures.
 */
import { type ActorHandle, get, type ObjectRef, put, remote } from "../index.ts";

/** What every trivial call gives, as in Ray's rows. */
export const OK = "ok";
export const ARRAY_LENGTH = 50_000_000;
export const TEN_MEGABYTES = 1_250_000;

export const smallValue = remote(() => OK);

/** So many puts of 0. */
export const putSmall = remote((n: number) => {
  for (let i = 0; i < n; i++) put(0);
  return n;
});

/** An object that holds n refs. */
export const manyRefs = remote((n: number): ObjectRef<number>[] => Array.from({ length: n }, () => put(1)));

/** An array of 400 MB that ends in `last`. */
export const bigArray = remote((last: number) => new Float64Array(ARRAY_LENGTH).fill(last));

/** Keeps its CPU until `gate` is resolved. */
export const waitFor = remote(async (gate: ActorHandle<GateClass>) => await gate.opened.remote());

class GateClass {
  #open = () => {};
  readonly #opened = new Promise<void>((resolve) => {
    this.#open = resolve;
  });
  open(): void {
    this.#open();
  }
  async opened(): Promise<string> {
    await this.#opened;
    return OK;
  }
}
export const Gate = remote(GateClass, { maxConcurrency: 100 });

class ServerClass {
  smallValue(): string {
    return OK;
  }
  smallValueWithArg(_x: unknown): string {
    return OK;
  }
  /** Submits n trivial tasks and gets them. @returns how many gave what they should */
  async taskBatch(n: number): Promise<number> {
    return countOk(Array.from({ length: n }, () => smallValue.remote()));
  }
}
export const Server = remote(ServerClass);
export type ServerHandle = ActorHandle<ServerClass>;

class AsyncServerClass {
  async smallValue(): Promise<string> {
    return OK;
  }
  async smallValueWithArg(_x: unknown): Promise<string> {
    return OK;
  }
}
/** As many calls at a time as an async actor of Ray runs. */
export const AsyncServer = remote(AsyncServerClass, { maxConcurrency: 1000 });
export type AsyncServerHandle = ActorHandle<AsyncServerClass>;

class ClientClass {
  readonly #servers: readonly (ServerHandle | AsyncServerHandle)[];
  constructor(servers: readonly (ServerHandle | AsyncServerHandle)[]) {
    this.#servers = servers;
  }
  /** n calls of each server. */
  async callAll(n: number): Promise<number> {
    return countOk(this.#servers.flatMap((s) => Array.from({ length: n }, () => s.smallValue.remote())));
  }
  /** n calls of each server with a ref as argument. */
  async callAllWithRef(n: number): Promise<number> {
    const ref = put(0);
    return countOk(
      this.#servers.flatMap((s) => Array.from({ length: n }, () => s.smallValueWithArg.remote(ref))),
    );
  }
}
export const Client = remote(ClientClass);

/** n calls, over the servers in turn. */
export const callInTurn = remote((servers: readonly (ServerHandle | AsyncServerHandle)[], n: number) =>
  countOk(
    Array.from({ length: n }, (_, i) => (servers[i % servers.length] as ServerHandle).smallValue.remote()),
  ),
);

class PutterClass {
  readonly #array = new Float64Array(TEN_MEGABYTES).fill(1);
  /** n puts of the same 10 MB. */
  put(n: number): number {
    for (let i = 0; i < n; i++) put(this.#array);
    return n;
  }
}
export const Putter = remote(PutterClass);

async function countOk(refs: readonly ObjectRef<string>[]): Promise<number> {
  let count = 0;
  for (const value of await get(refs)) if (value === OK) count += 1;
  return count;
}
