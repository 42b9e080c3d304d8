/** Starts one of tsray's own programs: its configuration goes over its standard input, its news come as lines of JSON. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import type { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { ClusterUnreachableError } from "../base/errors.ts";

export interface StartedProgram<News> {
  readonly pid: number;
  /** Set before the next turn of the event loop. */
  onNews: (news: News) => void;
  /** It could not be started, or has ended: what there is to say of it. */
  onFailed: (error: ClusterUnreachableError) => void;
  /** Resolves when the process has ended. */
  readonly ended: Promise<void>;
  /** Closes its standard input: a program that goes with this process ends. */
  release(): void;
  /** Lets this process end while the program runs on. */
  unref(): void;
}

/** @param what as errors call it; what it writes to its standard error goes to `stderrPath` */
export function startProgram<News>(
  entry: URL,
  config: object,
  { what, stderrPath, holdsInput }: { what: string; stderrPath: string; holdsInput: boolean },
): StartedProgram<News> {
  const stderr = openSync(stderrPath, "a", 0o600);
  const env = { ...process.env };
  // Loader and debugger flags of the driver are not the program's.
  delete env.NODE_OPTIONS;
  const child: ChildProcess = spawn(process.execPath, [fileURLToPath(entry)], {
    detached: true,
    env,
    stdio: ["pipe", "pipe", stderr],
  });
  closeSync(stderr);
  const stdin = child.stdin as Writable;
  stdin.on("error", () => {});
  stdin.write(`${JSON.stringify(config)}\n`);
  if (!holdsInput) stdin.end();

  let text = "";
  child.stdout?.setEncoding("utf8");
  child.stdout?.on("data", (chunk: string) => {
    text += chunk;
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) program.onNews(JSON.parse(line) as News);
  });
  child.on("error", (cause) =>
    program.onFailed(
      new ClusterUnreachableError(`the ${what} could not be started: ${cause.message}`, { cause }),
    ),
  );
  const ended = new Promise<void>((resolve) => {
    child.on("exit", (code, signal) => {
      program.onFailed(
        new ClusterUnreachableError(
          `the ${what} ended (${signal ?? `exit code ${code}`}) before it was ready; see ${stderrPath}`,
        ),
      );
      resolve();
    });
    child.on("error", () => resolve());
  });
  const program: StartedProgram<News> = {
    pid: child.pid ?? 0,
    onNews: () => {},
    onFailed: () => {},
    ended,
    release: () => stdin.end(),
    unref: () => {
      child.unref();
      (child.stdout as unknown as { unref(): void } | null)?.unref();
      (stdin as unknown as { unref?(): void }).unref?.();
    },
  };
  return program;
}
