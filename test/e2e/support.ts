/** What the end-to-end tests share: a cluster per file, child scripts in a sandbox, and a search for what is left over. */
import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Cluster, type InitOptions, init, shutdown } from "tsray";
import { afterAll, beforeAll, expect } from "vitest";

export const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));
const SETTLE_MS = 10_000;
const POLL_MS = 20;

/**
 * A temporary directory that goes with the test file. To be asked for before the cluster whose tasks write to it: what was
 * set up last ends first.
 */
export function temporaryDirectory(): string {
  const dir = mkdtempSync(join(tmpdir(), "tse-"));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** One embedded cluster for the tests of a file or block; afterwards nothing of it may be left. */
export function useCluster(options: InitOptions = {}): { readonly cluster: Cluster } {
  let cluster: Cluster | undefined;
  let runtimeDir = "";
  let shm: ReadonlySet<string>;
  const before = process.env.XDG_RUNTIME_DIR;
  beforeAll(async () => {
    runtimeDir = mkdtempSync("/tmp/tse-");
    process.env.XDG_RUNTIME_DIR = runtimeDir;
    shm = sharedMemory();
    cluster = await init({ numCpus: 2, ...options });
  });
  afterAll(async () => {
    try {
      await shutdown();
      await expectNothingLeft(runtimeDir, shm);
    } finally {
      rmSync(runtimeDir, { recursive: true, force: true });
      if (before === undefined) delete process.env.XDG_RUNTIME_DIR;
      else process.env.XDG_RUNTIME_DIR = before;
    }
  });
  return {
    get cluster() {
      return cluster as Cluster;
    },
  };
}

/** Lines of a file that tasks append to: what ran, how often, in what order. */
export class Recorder {
  readonly path: string;
  constructor(dir: string, name: string) {
    this.path = join(dir, name);
    writeFileSync(this.path, "");
  }
  get lines(): string[] {
    return readFileSync(this.path, "utf8").split("\n").slice(0, -1);
  }
}

/** Waits until `condition` holds. For what no event of the public API tells; the limit is not a measure of speed. */
export async function until(condition: () => unknown, what: string, limitMs = SETTLE_MS): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited ${limitMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** The error that a promise rejects with. */
export async function rejection(promise: PromiseLike<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("it was expected to reject");
}

// --------------------------------------------------------------------------------------------------- what is left over

/** Files of clusters' stores in shared memory; those of the store's own tests, which run beside, have other names. */
export function sharedMemory(): ReadonlySet<string> {
  return new Set(readdirSync("/dev/shm").filter((name) => /^tsray-[0-9a-f]{32}\./.test(name)));
}

/** Live processes that carry `XDG_RUNTIME_DIR=<dir>` in their environment, as "pid command line". */
export function processesOf(runtimeDir: string): string[] {
  return readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return [];
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
      if (!environment.includes(`XDG_RUNTIME_DIR=${runtimeDir}`)) return [];
      const state = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.[0];
      if (state === "Z") return [];
      return [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim()}`];
    } catch {
      return [];
    }
  });
}

/** Files in shared memory that came since `before` and that no live process has mapped. */
function orphanedMemory(before: ReadonlySet<string>): string[] {
  const suspects = [...sharedMemory()].filter((name) => !before.has(name));
  if (suspects.length === 0) return [];
  const maps = readdirSync("/proc").map((pid) => {
    try {
      return /^\d+$/.test(pid) ? readFileSync(`/proc/${pid}/maps`, "utf8") : "";
    } catch {
      return "";
    }
  });
  return suspects.filter((name) => existsSync(`/dev/shm/${name}`) && !maps.some((map) => map.includes(name)));
}

export async function expectNothingLeft(runtimeDir: string, shmBefore: ReadonlySet<string>): Promise<void> {
  const entries = (dir: string) => {
    try {
      return readdirSync(dir).map((name) => join(dir, name));
    } catch {
      return [];
    }
  };
  const sessions = () => entries(runtimeDir).flatMap(entries);
  const left = () => ({
    processes: processesOf(runtimeDir),
    sessions: sessions(),
    memory: orphanedMemory(shmBefore),
  });
  const isClean = () => Object.values(left()).every((list) => list.length === 0);
  await until(isClean, "the cluster's remains to go").catch(() => {});
  expect(left()).toEqual({ processes: [], sessions: [], memory: [] });
}

// ------------------------------------------------------------------------------------------------------ child scripts

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A user's project in a temporary directory, with tsray installed and a runtime directory of its own. */
export class Sandbox implements AsyncDisposable {
  readonly dir = mkdtempSync("/tmp/tse-");
  readonly runtimeDir = mkdtempSync("/tmp/tse-");
  readonly #shm = sharedMemory();
  readonly #children = new Set<ChildProcess>();

  constructor(files: Readonly<Record<string, string>>) {
    mkdirSync(join(this.dir, "node_modules"));
    symlinkSync(REPOSITORY, join(this.dir, "node_modules/tsray"));
    symlinkSync(join(REPOSITORY, "node_modules/tsx"), join(this.dir, "node_modules/tsx"));
    for (const [name, text] of Object.entries(files)) {
      const path = join(this.dir, name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
  }

  /** Puts a package of this repository's into the project, with what it needs. */
  install(name: string): void {
    symlinkSync(join(REPOSITORY, "node_modules", name), join(this.dir, "node_modules", name));
  }

  /** Puts a directory of the project into its node_modules. */
  link(directory: string, name: string): void {
    symlinkSync(join(this.dir, directory), join(this.dir, "node_modules", name));
  }

  start(...args: string[]): Script {
    return this.spawn(process.execPath, args);
  }

  /** Any command, in the project, as a user of this sandbox. */
  spawn(command: string, args: readonly string[], variables: NodeJS.ProcessEnv = {}): Script {
    const env: NodeJS.ProcessEnv = { ...process.env, XDG_RUNTIME_DIR: this.runtimeDir, NO_COLOR: "1" };
    for (const name of Object.keys(env))
      if (/^(VITEST|JEST|NODE_OPTIONS|TEST$|TSRAY_)/.test(name)) delete env[name];
    Object.assign(env, variables);
    const child = spawn(command, args, { cwd: this.dir, env, stdio: ["ignore", "pipe", "pipe"] });
    this.#children.add(child);
    // A test that times out never disposes its sandbox.
    const kill = () => child.kill("SIGKILL");
    process.once("exit", kill);
    child.once("exit", () => process.off("exit", kill));
    return new Script(child);
  }

  run(...args: string[]): Promise<Ended> {
    return this.start(...args).ended;
  }

  /** Fails when anything of the scripts' clusters is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await expectNothingLeft(this.runtimeDir, this.#shm);
    } finally {
      for (const child of this.#children) child.kill("SIGKILL");
      for (const line of processesOf(this.runtimeDir)) process.kill(Number.parseInt(line, 10), "SIGKILL");
      rmSync(this.dir, { recursive: true, force: true });
      rmSync(this.runtimeDir, { recursive: true, force: true });
    }
  }
}

export class Script {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = "";
  stderr = "";
  #wake = () => {};

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
      this.#wake();
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
      this.#wake();
    });
    this.ended = new Promise((resolve) => {
      child.on("close", (code, signal) => {
        this.#wake();
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
  }

  /** Resolves when the script's output contains `text`. */
  async prints(text: string): Promise<void> {
    while (!this.stdout.includes(text) && !this.stderr.includes(text)) {
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`the script ended without printing ${text}:\n${this.stdout}\n${this.stderr}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
