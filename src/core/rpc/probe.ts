/** Whether anybody listens at an address: the one proof of a process's death that does not take time. */
import { connect } from "node:net";

/**
 * A connection that is not taken within so long is given up for another attempt. The kernel takes connections, however busy
 * the process is; and it repeats a lost request after 1, 3, 7 and more seconds: over a network that was cut for a while, who
 * leaves it at that is connected as much later.
 */
export const CONNECT_MS_MAX = 1000;

/** refused: its machine answers, and nobody listens there. silent: no answer, which proves nothing. */
export type ProbeAnswer = "listens" | "refused" | "silent";

/** @param target "host:port" or "unix:/path" */
export function probe(target: string, timeoutMs: number): Promise<ProbeAnswer> {
  return new Promise((resolve) => {
    const at = target.lastIndexOf(":");
    const socket = connect(
      target.startsWith("unix:")
        ? { path: target.slice("unix:".length), timeout: timeoutMs }
        : { host: target.slice(0, at), port: Number(target.slice(at + 1)), timeout: timeoutMs },
    );
    const answer = (what: ProbeAnswer) => {
      socket.destroy();
      resolve(what);
    };
    socket.on("connect", () => answer("listens"));
    socket.on("timeout", () => answer("silent"));
    socket.on("error", ({ code }: NodeJS.ErrnoException) => answer(isNobody(code) ? "refused" : "silent"));
  });
}

/** Whether a connection failed because nobody listens at the address: the process that did is gone. */
export function isNobody(code: string | undefined): boolean {
  return code === "ECONNREFUSED" || code === "ENOENT";
}
