/**
 * npm packages for a copy of a user's project: what its package.json and lockfile name, and what the environment adds.
 * The node's npm does the work; tsray itself is always the node's own.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RuntimeEnvError } from "../../core/base/errors.ts";
import type { NpmSpec } from "../../core/environments/spec.ts";

/**
 * npm and what it starts are a process group of their own. In it a shell waits for the end of a pipe that this process
 * holds, and then ends the group: npm does not outlive a raylet that is killed.
 */
const WITH_LIFELINE = `{ read -r _ <&3; kill -KILL 0; } & exec 3<&- npm "$@"`;
/** What a shell answers when there is no such command. */
const NOT_FOUND_CODE = 127;
const TIMEOUT_MS = 15 * 60_000;
const OUTPUT_CHARS_MAX = 8000;
const LOCKFILES = ["npm-shrinkwrap.json", "package-lock.json"] as const;
const KINDS = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"] as const;
/** Packages that lie in the project: they can be installed only there. */
const IN_PROJECT = /^(?:file:(?!\/)|link:|workspace:|\.{1,2}\/)/;

interface Manifest {
  readonly workspaces?: unknown;
  [kind: string]: unknown;
}

/** What is to be installed for a project. */
export interface NpmPlan {
  /** Equal where the same comes out. */
  readonly key: string;
  /** It needs the project's own files beside it. */
  readonly isInProject: boolean;
  readonly manifest: string;
  readonly lockfile: { readonly name: string; readonly text: string } | undefined;
  readonly npmrc: string | undefined;
  readonly spec: NpmSpec;
}

/** @returns undefined where there is nothing to install. @throws RuntimeEnvError for a package.json that cannot be read */
export async function planNpm(project: string, spec: NpmSpec): Promise<NpmPlan | undefined> {
  const text = await read(join(project, "package.json"));
  let manifest: Manifest = {};
  try {
    if (text !== undefined) manifest = JSON.parse(text) as Manifest;
  } catch (error) {
    throw new RuntimeEnvError(`the project's package.json cannot be read: ${(error as Error).message}`);
  }
  const own = withoutTsray(manifest);
  const wanted = KINDS.flatMap((kind) => Object.values((own[kind] ?? {}) as Record<string, string>));
  if (wanted.length === 0 && spec.packages.length === 0 && own.workspaces === undefined) return undefined;
  let lockfile: NpmPlan["lockfile"];
  for (const name of LOCKFILES) {
    const locked = await read(join(project, name));
    if (locked === undefined) continue;
    lockfile = { name, text: lockWithoutTsray(locked) };
    break;
  }
  const npmrc = await read(join(project, ".npmrc"));
  const plan = { manifest: JSON.stringify(own), lockfile, npmrc, spec };
  return {
    ...plan,
    key: createHash("sha256").update(JSON.stringify(plan)).digest("hex").slice(0, 16),
    isInProject:
      own.workspaces !== undefined ||
      [...wanted, ...spec.packages].some((version) => IN_PROJECT.test(String(version))),
  };
}

/** Fills `directory`/node_modules. @throws RuntimeEnvError with what npm printed */
export async function installNpm(
  plan: NpmPlan,
  directory: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(join(directory, "package.json"), plan.manifest);
  if (plan.lockfile !== undefined) await writeFile(join(directory, plan.lockfile.name), plan.lockfile.text);
  if (plan.npmrc !== undefined) await writeFile(join(directory, ".npmrc"), plan.npmrc);
  const quiet = ["--no-audit", "--no-fund", "--no-progress", "--loglevel=warn", ...plan.spec.args];
  if (plan.lockfile === undefined) {
    await runNpm(["install", "--no-package-lock", ...quiet, ...plan.spec.packages], directory, env, signal);
    return;
  }
  await runNpm(["ci", ...quiet], directory, env, signal);
  if (plan.spec.packages.length > 0)
    await runNpm(["install", "--no-save", ...quiet, ...plan.spec.packages], directory, env, signal);
}

async function runNpm(
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<void> {
  const command = `npm ${args.join(" ")}`;
  await new Promise<void>((resolve, reject) => {
    let output = "";
    const child = spawn("/bin/sh", ["-c", WITH_LIFELINE, "npm", ...args], {
      cwd,
      env,
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    child.stdio[3]?.on("error", () => {});
    const end = (problem: string | undefined) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", kill);
      const said = output.trim() === "" ? "" : `:\n${output.trim().replace(/^/gm, "    ")}`;
      if (problem === undefined) resolve();
      else reject(new RuntimeEnvError(`${command} ${problem}${said}`));
    };
    const kill = () => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    };
    const timer = setTimeout(kill, TIMEOUT_MS);
    signal.addEventListener("abort", kill);
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        output = (output + text).slice(-OUTPUT_CHARS_MAX);
      });
    }
    child.on("error", (error) => end(`cannot be run: ${error.message}`));
    child.on("exit", kill);
    child.on("close", (code, killed) => {
      if (code === 0) end(undefined);
      else if (code === NOT_FOUND_CODE) end("cannot be run: this node has no npm");
      else end(killed === null ? `failed with exit code ${code}` : `was killed by ${killed}`);
    });
    if (signal.aborted) kill();
  });
}

function withoutTsray(manifest: Manifest): Manifest {
  const { scripts: _scripts, ...kept } = manifest;
  const own: Manifest = { ...kept };
  for (const kind of KINDS) {
    const packages = manifest[kind] as Record<string, string> | undefined;
    if (packages === undefined || !("tsray" in packages)) continue;
    const { tsray: _tsray, ...others } = packages;
    own[kind] = others;
  }
  return own;
}

/** A lockfile must name what the package.json names, no more and no less. */
function lockWithoutTsray(text: string): string {
  try {
    const lock = JSON.parse(text) as { packages?: Record<string, Manifest> };
    const { packages } = lock;
    if (packages === undefined) return text;
    if (packages[""] !== undefined) packages[""] = withoutTsray(packages[""]);
    delete packages["node_modules/tsray"];
    return JSON.stringify(lock);
  } catch {
    return text; // npm will say what is wrong with it
  }
}

async function read(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch(() => undefined);
}
