/**
 * One head per directory: a name in the kernel that is free again the moment its process has ended, however it ended.
 * (Linux's abstract socket addresses; they leave no file behind.)
 */
import { createHash } from "node:crypto";
import { realpathSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { ClusterUnreachableError } from "../../core/base/errors.ts";

/** @returns what gives it up @throws ClusterUnreachableError when another process of this machine has it */
export function holdDirectory(directory: string): Promise<() => Promise<void>> {
  const name = createHash("sha256").update(realpathSync(directory)).digest("hex").slice(0, 32);
  const server: Server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.on("error", (cause: NodeJS.ErrnoException) => {
      const why =
        cause.code === "EADDRINUSE" ? "another head of this machine runs on these tables" : cause.message;
      reject(new ClusterUnreachableError(`cannot take the state store in ${directory}: ${why}`, { cause }));
    });
    server.listen(`\0tsray-head-${name}`, () => {
      server.unref();
      resolve(() => new Promise((done) => server.close(() => done())));
    });
  });
}
