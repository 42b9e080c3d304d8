/** Starts a daemon process and waits for its word. */
import { join } from "node:path";
import { type ErrorRecord, fromErrorRecord } from "../base/errors.ts";
import type { DaemonConfig, DaemonNews } from "./daemon-config.ts";
import { DAEMON_ENTRY } from "./entries.ts";
import { type StartedProgram, startProgram } from "./start-program.ts";

export interface StartedDaemon
  extends Pick<StartedProgram<DaemonNews>, "pid" | "ended" | "release" | "unref"> {
  /** Resolves with the daemon's Unix socket as soon as it listens there. Rejects with what kept it from starting. */
  readonly listening: Promise<string>;
  /** Resolves when it is part of its cluster. */
  readonly joined: Promise<Extract<DaemonNews, { kind: "joined" }>>;
}

export function startDaemon(config: DaemonConfig): StartedDaemon {
  const program = startProgram<DaemonNews>(DAEMON_ENTRY, config, {
    what: "daemon",
    stderrPath: join(config.sessionDir, "logs", "daemon.err"),
    holdsInput: config.embedded || config.lifeline,
  });
  let resolveListening: (path: string) => void = () => {};
  let resolveJoined: (news: Extract<DaemonNews, { kind: "joined" }>) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    program.onFailed = reject;
  });
  const listening = Promise.race([failed, new Promise<string>((r) => (resolveListening = r))]);
  const joined = Promise.race([
    failed,
    new Promise<Extract<DaemonNews, { kind: "joined" }>>((r) => (resolveJoined = r)),
  ]);
  for (const promise of [failed, listening, joined]) promise.catch(() => {});
  program.onNews = (news) => {
    if (news.kind === "listening") resolveListening(news.unixPath);
    else if (news.kind === "joined") resolveJoined(news);
    else program.onFailed(fromErrorRecord(news.error as ErrorRecord));
  };
  const { pid, ended, release, unref } = program;
  return { pid, ended, release, unref, listening, joined };
}
