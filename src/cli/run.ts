/** `tsray run SCRIPT`: a driver that joins the cluster of this machine, if one runs. Its signals and exit code are ours. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { standingNodes } from "../runtime/find-raylet.ts";
import { UsageError } from "./usage-error.ts";

const TYPESCRIPT = /\.[mc]?tsx?$/;
const FORWARDED: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT"];

export async function run(script: string, args: readonly string[]): Promise<void> {
  const path = resolve(script);
  if (!existsSync(path)) throw new UsageError(`there is no script ${script}`);
  const loader = TYPESCRIPT.test(path) ? typescriptLoader(path) : [];
  const child = spawn(process.execPath, [...loader, script, ...args], {
    stdio: "inherit",
    env: environment(),
  });
  const forward = (signal: NodeJS.Signals) => {
    // A terminal's Ctrl-C has reached the script already.
    if (signal !== "SIGINT" || process.stdin.isTTY !== true) child.kill(signal);
  };
  for (const signal of FORWARDED) process.on(signal, forward);
  const { code, signal } = await new Promise<{ code: number | null; signal: NodeJS.Signals | null }>(
    (settle, reject) => {
      child.on("error", reject);
      child.on("exit", (exitCode, exitSignal) => settle({ code: exitCode, signal: exitSignal }));
    },
  );
  for (const each of FORWARDED) process.off(each, forward);
  if (signal === null) process.exitCode = code ?? 1;
  else process.kill(process.pid, signal);
}

/** The script's environment: an address that is set stays. */
function environment(): NodeJS.ProcessEnv {
  if ((process.env.TSRAY_ADDRESS ?? "") !== "") return process.env;
  const nodes = standingNodes();
  const found = nodes.find((node) => node.isHead) ?? nodes[0];
  return found === undefined ? process.env : { ...process.env, TSRAY_ADDRESS: found.headAddress };
}

/** Flags with which Node reads TypeScript: tsx as the script, the directory or tsray finds it. */
function typescriptLoader(path: string): string[] {
  for (const from of [path, join(process.cwd(), "script.js"), import.meta.url]) {
    try {
      return ["--import", pathToFileURL(createRequire(from).resolve("tsx")).href];
    } catch {
      // Not installed there.
    }
  }
  if ("typescript" in process.features) return [];
  throw new UsageError(
    `Node ${process.version} reads no TypeScript: install tsx beside ${path} (npm install --save-dev tsx)`,
  );
}
