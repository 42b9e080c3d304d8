// A proxy for TCP connections that resets them on demand, or lets nothing through for a while. It goes to a fixed port, or where
// the first line of each connection ("host:port", see proxyPort in faults.ts) says.
import { connect, createServer, type Server, type Socket } from "node:net";

export class TcpProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  /** Connections so far, and how many of them were reset. */
  connections = 0;
  resets = 0;

  private constructor(target: number | undefined) {
    this.#server = createServer((near) => {
      this.connections += 1;
      if (target !== undefined) {
        this.#join(near, "127.0.0.1", target);
        return;
      }
      near.once("data", (chunk: Buffer) => {
        near.pause();
        const end = chunk.indexOf("\n");
        const [host = "", port] = chunk.toString("latin1", 0, end).split(":");
        this.#join(near, host, Number(port), chunk.subarray(end + 1));
      });
    });
  }

  static async start(target?: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    return address !== null && typeof address === "object" ? address.port : 0;
  }

  get open(): number {
    return this.#pairs.size;
  }

  /** Resets the connections that `random` chooses; what is in them is lost. */
  reset(random: () => boolean = () => true): void {
    for (const pair of this.#pairs) {
      if (!random()) continue;
      this.resets += 1;
      for (const socket of pair) socket.resetAndDestroy();
    }
  }

  /** Lets nothing through until it is resumed. */
  pause(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.pause();
  }
  resume(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.resume();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(near: Socket, host: string, port: number, first?: Buffer): void {
    near.setNoDelay(true);
    const far = connect({ host, port, noDelay: true });
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    if (first !== undefined && first.length > 0) far.write(first);
    for (const [from, to] of [pair, [far, near]] as const) {
      from.on("error", () => {});
      from.on("close", () => {
        this.#pairs.delete(pair);
        to.destroy();
      });
      from.pipe(to);
    }
  }
}
