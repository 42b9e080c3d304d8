/** Other programs, as tests start them and look for what they leave. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { processStart } from "../../src/core/launch/session.ts";

export const CLI = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));
const UNTIL_MS_MAX = 20_000;
const POLL_MS = 20;

export const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

/** A place for sessions of this test only. Short: Unix sockets lie below it. */
export function makeRuntimeDir(): string {
  return mkdtempSync(join(realpathSync(tmpdir()), "tsr-"));
}

export interface Program {
  readonly child: ChildProcess;
  readonly output: { stdout: string; stderr: string };
  readonly ended: Promise<{
    readonly code: number | null;
    readonly signal: string | null;
    readonly stdout: string;
    readonly stderr: string;
  }>;
  /** Resolves with the first line that `test` takes. */
  line(test: (text: string) => boolean): Promise<string>;
}

/** Starts a Node program as a user would: nothing of the test runner is in its environment. */
export function startProgram(args: readonly string[], env: NodeJS.ProcessEnv): Program {
  const clean = Object.entries(process.env).filter(
    ([name]) => !/^(VITEST|TSRAY_|NODE_OPTIONS|TEST$|NO_COLOR|FORCE_COLOR)/.test(name),
  );
  const child = spawn(process.execPath, args, {
    env: { ...Object.fromEntries(clean), ...env },
    stdio: "pipe",
  });
  const output = { stdout: "", stderr: "" };
  const looking = new Set<() => void>();
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output.stdout += text;
    for (const look of looking) look();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output.stderr += text;
  });
  const ended: Program["ended"] = new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, ...output }));
  });
  return {
    child,
    output,
    ended,
    line: (test) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = output.stdout.split("\n").slice(0, -1).find(test);
          if (found === undefined) return;
          looking.delete(look);
          resolve(found);
        };
        looking.add(look);
        look();
        void ended.then(({ code, stderr }) =>
          reject(new Error(`it ended with ${code} before that line: ${stderr}`)),
        );
      }),
  };
}

/** Processes that were started with this runtime directory, other than those of the test. */
export function processesOf(runtimeDir: string): number[] {
  return readdirSync("/proc").flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid || processStart(pid) === "") return [];
    try {
      return readFileSync(`/proc/${name}/environ`, "utf8")
        .split("\0")
        .includes(`XDG_RUNTIME_DIR=${runtimeDir}`)
        ? [pid]
        : [];
    } catch {
      return [];
    }
  });
}

/** Node records of the sessions below the directory. */
export function recordsIn(runtimeDir: string): { pid: number; storePath: string; sessionDir: string }[] {
  return sessionsIn(runtimeDir).flatMap((sessionDir) =>
    readdirSync(join(sessionDir, "nodes")).map((file) => ({
      ...(JSON.parse(readFileSync(join(sessionDir, "nodes", file), "utf8")) as {
        pid: number;
        storePath: string;
      }),
      sessionDir,
    })),
  );
}

export function sessionsIn(runtimeDir: string): string[] {
  const roots = readdirSync(runtimeDir).filter((name) => name.startsWith("tsray-"));
  return roots.flatMap((root) => {
    try {
      return readdirSync(join(runtimeDir, root)).map((session) => join(runtimeDir, root, session));
    } catch {
      // The last session has taken it along.
      return [];
    }
  });
}

/** Files of these stores that are still there. */
export function storeFilesOf(storePaths: readonly string[]): string[] {
  return readdirSync("/dev/shm").filter((file) =>
    storePaths.some((path) => `/dev/shm/${file}`.startsWith(path)),
  );
}

/** For what no event tells: the end of processes that are not our children. */
export async function until(holds: () => boolean): Promise<void> {
  const untilMs = performance.now() + UNTIL_MS_MAX;
  while (!holds()) {
    if (performance.now() > untilMs) throw new Error(`not within ${UNTIL_MS_MAX} ms: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
