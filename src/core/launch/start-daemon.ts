/** Starts a daemon process and waits for its word. The configuration goes over its standard input. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import type { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { ClusterUnreachableError, type ErrorRecord, fromErrorRecord } from "../base/errors.ts";
import type { DaemonConfig, DaemonNews } from "./daemon-config.ts";
import { DAEMON_ENTRY } from "./entries.ts";

export interface StartedDaemon {
  readonly pid: number;
  /** Resolves with the daemon's Unix socket as soon as it listens there. Rejects with what kept it from starting. */
  readonly listening: Promise<string>;
  /** Resolves when it is part of its cluster. */
  readonly joined: Promise<Extract<DaemonNews, { kind: "joined" }>>;
  /** Resolves when the process has ended. */
  readonly ended: Promise<void>;
  /** Closes its standard input: an embedded daemon, and one with a lifeline, ends. */
  release(): void;
  /** Lets this process end while the daemon runs on. */
  unref(): void;
}

export function startDaemon(config: DaemonConfig): StartedDaemon {
  const stderrPath = join(config.sessionDir, "logs", "daemon.err");
  const stderr = openSync(stderrPath, "a", 0o600);
  const env = { ...process.env };
  // Loader and debugger flags of the driver are not the daemon's.
  delete env.NODE_OPTIONS;
  const child: ChildProcess = spawn(process.execPath, [fileURLToPath(DAEMON_ENTRY)], {
    detached: true,
    env,
    stdio: ["pipe", "pipe", stderr],
  });
  closeSync(stderr);
  const stdin = child.stdin as Writable;
  stdin.on("error", () => {});
  stdin.write(`${JSON.stringify(config)}\n`);
  if (!config.embedded && !config.lifeline) stdin.end();

  let resolveListening: (path: string) => void = () => {};
  let resolveJoined: (news: Extract<DaemonNews, { kind: "joined" }>) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const failed = new Promise<never>((_, r) => {
    reject = r;
  });
  const listening = Promise.race([failed, new Promise<string>((r) => (resolveListening = r))]);
  const joined = Promise.race([
    failed,
    new Promise<Extract<DaemonNews, { kind: "joined" }>>((r) => (resolveJoined = r)),
  ]);
  for (const promise of [failed, listening, joined]) promise.catch(() => {});

  let text = "";
  child.stdout?.setEncoding("utf8");
  child.stdout?.on("data", (chunk: string) => {
    text += chunk;
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) {
      const news = JSON.parse(line) as DaemonNews;
      if (news.kind === "listening") resolveListening(news.unixPath);
      else if (news.kind === "joined") resolveJoined(news);
      else reject(fromErrorRecord(news.error as ErrorRecord));
    }
  });
  child.on("error", (cause) =>
    reject(new ClusterUnreachableError(`the daemon could not be started: ${cause.message}`, { cause })),
  );
  const ended = new Promise<void>((resolve) => {
    child.on("exit", (code, signal) => {
      reject(
        new ClusterUnreachableError(
          `the daemon ended (${signal ?? `exit code ${code}`}) before it was ready; see ${stderrPath}`,
        ),
      );
      resolve();
    });
  });
  return {
    pid: child.pid ?? 0,
    listening,
    joined,
    ended,
    release: () => stdin.end(),
    unref: () => {
      child.unref();
      (child.stdout as unknown as { unref(): void } | null)?.unref();
      (stdin as unknown as { unref?(): void }).unref?.();
    },
  };
}
