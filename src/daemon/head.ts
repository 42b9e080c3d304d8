/** Program of a head that is a process of its own: it serves until whoever started it ends, or ends it. */
import type { HeadProcessConfig } from "../core/launch/daemon-config.ts";
import { tsrayVersion } from "../core/launch/version.ts";
import { openStateStore, startHead } from "../head/head.ts";
import { runProgram, tell } from "./program.ts";

runProgram<HeadProcessConfig>({
  title: "tsray:head",
  logFile: () => "head.log",
  sessionDir: ({ sessionDir }) => sessionDir,
  hasLifeline: () => true,
  start: async ({ bind, token, state, healthCheck, packagesDir }, { log, closers }) => {
    const head = await startHead({
      bind,
      token,
      store: await openStateStore(state),
      healthCheck,
      version: tsrayVersion(),
      packagesDir,
      log,
    });
    // Tables in memory end with this process: no other head will know the nodes.
    closers.push(() => head.close(state === "memory" ? "its head was stopped" : undefined));
    tell({ kind: "serving", address: head.address, pid: process.pid });
  },
});
