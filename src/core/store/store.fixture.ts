/** Helpers of this folder's tests: paths that are cleaned up, keys, and real processes that use the addon. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { collectGarbage as collectNow } from "../base/garbage.ts";
import { addonFile } from "./native.ts";

const require = createRequire(import.meta.url);
const repository = fileURLToPath(new URL("../../..", import.meta.url));

/** The addon's file, for children that load it without any TypeScript. */
export const ADDON_FILE = addonFile(repository);

/** Base path of a store of its own in shared memory. */
export function storePath(): string {
  return `/dev/shm/tsray-test-${randomUUID()}`;
}

/** Removes every file that begins with the path; the names that were left. */
export function removeStore(path: string): string[] {
  const left = readdirSync(dirname(path)).filter((name) => name.startsWith(basename(path)));
  for (const name of left) rmSync(join(dirname(path), name), { recursive: true, force: true });
  return left;
}

export function newKey(): Buffer {
  return randomBytes(16);
}

/** A key that parent and child can both name. */
export function namedKey(name: string): Buffer {
  return Buffer.from(name.padEnd(16, "."));
}

export interface Child {
  readonly process: ChildProcess;
  readonly pid: number;
  /** The next line of standard output; rejects with the child's errors when it ends first. */
  line(): Promise<string>;
  /** Lets a child that awaits `step()` go on. */
  go(): void;
  kill(): Promise<void>;
  /** Waits for the end; the signal or the exit code. */
  ended(): Promise<string | number | null>;
}

const PRELUDE = `
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import { setImmediate as tick } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const step = () => lines.next();
const say = (text) => process.stdout.write(text + "\\n");
const namedKey = (name) => Buffer.from(name.padEnd(16, "."));
setFlagsFromString("--no-concurrent-array-buffer-sweeping");
const collect = async () => { for (let i = 0; i < 4; i++) { globalThis.gc(); await tick(); } };
const { Arena, setParentDeathSignal } = createRequire("/")(process.env.ADDON_FILE);
`;

const REPOSITORY_PRELUDE = `import { attachStore } from ${JSON.stringify(new URL("./open-store.ts", import.meta.url).href)};
`;

/** Runs an ES module text in a node process. With `typescript` it can use attachStore as well. */
export function startChild(
  script: string,
  options: { env?: Record<string, string>; typescript?: boolean } = {},
): Child {
  const text = options.typescript ? PRELUDE.replace(/^const \{ Arena.*$/m, REPOSITORY_PRELUDE) : PRELUDE;
  const loader = options.typescript ? ["--import", require.resolve("tsx")] : [];
  const child = spawn(
    process.execPath,
    [...loader, "--expose-gc", "--input-type=module", "-e", `${text}\n${script}\nprocess.exit(0);`],
    {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ADDON_FILE, ...options.env },
      cwd: repository,
    },
  );
  let errors = "";
  let pending = "";
  let over = false;
  const waiting: (() => void)[] = [];
  const wake = () => {
    for (const resolve of waiting.splice(0)) resolve();
  };
  child.stdout.on("data", (data: Buffer) => {
    pending += data.toString();
    wake();
  });
  child.stderr.on("data", (data: Buffer) => {
    errors += data.toString();
  });
  child.stdin.on("error", () => {}); // it may be dead already
  const closed = once(child, "close").then(() => {
    over = true;
    wake();
  });
  return {
    process: child,
    pid: child.pid ?? 0,
    async line() {
      for (;;) {
        const end = pending.indexOf("\n");
        if (end >= 0) {
          const line = pending.slice(0, end);
          pending = pending.slice(end + 1);
          return line;
        }
        if (over) throw new Error(`the child ended: ${child.signalCode ?? child.exitCode}\n${errors}`);
        await new Promise<void>((resolve) => waiting.push(resolve));
      }
    },
    go: () => void child.stdin.write("\n"),
    async kill() {
      child.kill("SIGKILL");
      await closed;
    },
    async ended() {
      await closed;
      if (child.exitCode !== 0 && child.signalCode === null) throw new Error(errors);
      return child.signalCode ?? child.exitCode;
    },
  };
}

/** Collects garbage in this process and lets the finalizers of views run. */
export async function collectGarbage(): Promise<void> {
  for (let round = 0; round < 4; round++) {
    collectNow();
    await new Promise((resolve) => setImmediate(resolve));
  }
}
