// Gets the rivals, outside the repository: a Python virtual environment and a folder of npm packages in the user's
// cache directory. What is there in the wanted version already is not asked for again.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "tsray-benchmarks");
const venv = join(cache, "python");
const nodeFolder = join(cache, "node");
export const python = join(venv, "bin/python");

/** @returns versions by package. @throws with a reason that can be printed */
export function installPython(packages) {
  if (!existsSync(python)) run("python3", ["-m", "venv", venv]);
  for (const wanted of packages) {
    const [name, version] = wanted.split("==");
    const had = versionOfPython(name);
    if (had === undefined || (version !== undefined && had !== version))
      run(python, ["-m", "pip", "install", "--quiet", wanted]);
  }
  return Object.fromEntries(
    packages.map((each) => [each.split("==")[0], versionOfPython(each.split("==")[0])]),
  );
}

/** @returns versions by package. @throws with a reason that can be printed */
export function installNode(packages) {
  mkdirSync(nodeFolder, { recursive: true });
  const manifest = join(nodeFolder, "package.json");
  if (!existsSync(manifest)) writeFileSync(manifest, '{ "private": true, "type": "module" }\n');
  const missing = packages.filter((each) => versionOfNode(each.split("@")[0]) !== each.split("@")[1]);
  if (missing.length > 0)
    run("npm", ["install", "--silent", "--save-exact", "--no-audit", "--no-fund", ...missing], nodeFolder);
  return Object.fromEntries(packages.map((each) => [each.split("@")[0], versionOfNode(each.split("@")[0])]));
}

/** Where a rival's script finds its packages: it imports them by this path. */
export const nodePackages = join(nodeFolder, "package.json");

/** The loops of work/arithmetic.c as a library. */
export const arithmetic = join(cache, "arithmetic.so");

/** Compiles it anew. @throws with a reason that can be printed */
export function compileArithmetic() {
  const source = fileURLToPath(new URL("work/arithmetic.c", import.meta.url));
  mkdirSync(cache, { recursive: true });
  run("cc", ["-O2", "-ffp-contract=off", "-shared", "-fPIC", "-o", arithmetic, source, "-lm"]);
}

/** Debian's, if it is not there. @throws with a reason that can be printed */
export function installRedis() {
  if (!has("redis-server")) {
    // RUNLEVEL=1: installed, but not started as a service.
    const env = { RUNLEVEL: "1" };
    run("apt-get", ["install", "--yes", "-qq", "--no-install-recommends", "redis-server"], undefined, env);
  }
  return { redis: /v=(\S+)/.exec(run("redis-server", ["--version"]))?.[1] };
}

function has(command) {
  return (process.env.PATH ?? "").split(":").some((dir) => existsSync(join(dir, command)));
}

function versionOfPython(name) {
  try {
    return run(python, [
      "-c",
      `import importlib.metadata as m; print(m.version(${JSON.stringify(name)}))`,
    ]).trim();
  } catch {
    return undefined;
  }
}

function versionOfNode(name) {
  try {
    return JSON.parse(readFileSync(join(nodeFolder, "node_modules", name, "package.json"), "utf8")).version;
  } catch {
    return undefined;
  }
}

function run(command, args, cwd, env) {
  try {
    return execFileSync(command, args, {
      cwd,
      env: { ...process.env, ...env },
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  } catch (error) {
    // Of what the installer says, the reason alone: no addresses, no paths.
    const lines = `${error.stderr ?? ""}`.split("\n").filter((line) => /^(ERROR|E:|npm error)/.test(line));
    throw new Error(
      `${command === python ? "pip" : command}: ${(lines.at(-1) ?? error.message).slice(0, 200)}`,
    );
  }
}
