/**
 * The option `runtimeEnv`: what it means, what it may be, and which of them are the same to a scheduling class.
 *
 * Checked where it is given, before any file is looked at. What it comes to (archives, hashes) is decided by
 * core/environments.
 */
import { randomId } from "./ids.ts";

/** What the workers of a job, a task or an actor find around them. */
export interface RuntimeEnv {
  /** Environment variables, added to those of the node. Default: none. */
  readonly envVars?: Readonly<Record<string, string>> | undefined;
  /**
   * Directory whose files travel to the nodes, as it is when it is first needed; workers run in a copy of it. Relative to
   * the current directory. Left out are `node_modules`, `.git`, what `.gitignore` files say, and `excludes`.
   *
   * Default: nothing travels as long as the node sees the driver's files. Where it does not, the project of the entry
   * (the directory of its package.json, else its own) travels by itself, and its npm packages are installed there.
   */
  readonly workingDir?: string | undefined;
  /**
   * What stays behind of the working directory, beside what .gitignore says: patterns as in a .gitignore file. Those of
   * `init` also hold for a project that travels by itself.
   */
  readonly excludes?: readonly string[] | undefined;
  /**
   * true: the driver's entry and all that it imports travel as one file, made by esbuild (which must be installed).
   * For functions above `init()`; native addons stay behind. Default false.
   */
  readonly bundle?: boolean | undefined;
  /**
   * true: the packages that the working directory's package.json names are installed on the node (`npm ci` by its lockfile,
   * `npm install` without one), once per lockfile. An object: those `packages` as well, with those `args` for npm.
   * false: nothing is installed, also where the project travels by itself. Without `workingDir` the project's directory
   * travels.
   */
  readonly npm?: boolean | NpmOptions | undefined;
  /** Flags for the workers' Node, after those of the driver: `["--max-old-space-size=4096"]`. Default: none. */
  readonly execArgv?: readonly string[] | undefined;
  /**
   * Runs in each worker before anything else: a function, which travels by value, or a module (a path relative to the
   * current directory, a URL or a package), whose default export is called if it is a function. What it throws fails the
   * calls with RuntimeEnvError.
   */
  readonly workerSetup?: string | (() => unknown) | undefined;
}

/** What npm installs beside what the package.json names. */
export interface NpmOptions {
  /** As on npm's command line: `["lodash@4", "sharp"]`. */
  readonly packages?: readonly string[] | undefined;
  /** Further arguments of npm: `["--ignore-scripts"]`. */
  readonly args?: readonly string[] | undefined;
}

const NAMES = ["envVars", "workingDir", "excludes", "bundle", "npm", "execArgv", "workerSetup"] as const;
const NPM_NAMES = ["packages", "args"] as const;
/** Flags with which a process is no worker any more, or cannot be one of several. */
const NOT_FOR_WORKERS =
  /^--(inspect|debug|watch|test|eval|print|input-type|check|interactive|version|help|build-sea|run)(-|=|$)|^-[epcivh]$/;

const isText = (v: unknown): v is string => typeof v === "string" && v !== "" && !v.includes("\0");
const isTexts = (v: unknown): v is readonly string[] => Array.isArray(v) && v.every(isText);
const isObject = (v: unknown): v is Record<string, unknown> =>
  typeof v === "object" && v !== null && !Array.isArray(v);

/** What is wrong with a `runtimeEnv`, or undefined. @param show how a value looks in a message */
export function runtimeEnvProblem(given: object, show: (value: unknown) => string): string | undefined {
  const env = given as Record<string, unknown>;
  const unknown = Object.keys(env).find((name) => !(NAMES as readonly string[]).includes(name));
  if (unknown !== undefined) return `there is no runtimeEnv.${unknown}: it takes ${NAMES.join(", ")}`;
  const wrong = (name: string, takes: string, value: unknown) =>
    `runtimeEnv.${name} must be ${takes}, got ${show(value)}`;
  const { envVars, workingDir, excludes, bundle, npm, execArgv, workerSetup } = env as Record<
    (typeof NAMES)[number],
    unknown
  >;
  if (envVars !== undefined) {
    if (!isObject(envVars)) return wrong("envVars", "an object of names and strings", envVars);
    for (const [name, value] of Object.entries(envVars)) {
      if (name === "" || /[=\0]/.test(name)) return `runtimeEnv.envVars must not have the name ${show(name)}`;
      if (typeof value !== "string" || value.includes("\0"))
        return wrong(`envVars.${name}`, "a string", value);
    }
  }
  if (workingDir !== undefined && !isText(workingDir))
    return wrong("workingDir", "the path of a directory", workingDir);
  if (excludes !== undefined && !isTexts(excludes))
    return wrong("excludes", "an array of patterns as in a .gitignore file", excludes);
  if (bundle !== undefined && typeof bundle !== "boolean") return wrong("bundle", "true or false", bundle);
  if (npm !== undefined && typeof npm !== "boolean") {
    if (!isObject(npm)) return wrong("npm", "true, false or { packages, args }", npm);
    for (const [name, value] of Object.entries(npm)) {
      if (!(NPM_NAMES as readonly string[]).includes(name))
        return `there is no runtimeEnv.npm.${name}: it takes ${NPM_NAMES.join(", ")}`;
      if (value !== undefined && !isTexts(value))
        return wrong(`npm.${name}`, "an array of non-empty strings", value);
      if (name === "packages" && (value as string[] | undefined)?.some((each) => each.startsWith("-")))
        return "runtimeEnv.npm.packages must not hold arguments of npm: give them as npm.args";
    }
  }
  if (bundle === true && npm !== undefined && npm !== false)
    return "runtimeEnv.npm and runtimeEnv.bundle exclude each other: a bundle holds the packages that it needs";
  if (execArgv !== undefined) {
    if (!isTexts(execArgv)) return wrong("execArgv", "an array of non-empty strings", execArgv);
    const refused = execArgv.find((flag) => NOT_FOR_WORKERS.test(flag));
    if (refused !== undefined)
      return `runtimeEnv.execArgv must not hold ${refused}: a worker cannot run with it`;
  }
  if (workerSetup !== undefined && typeof workerSetup !== "function" && !isText(workerSetup))
    return wrong("workerSetup", "a function, or the path, URL or package name of a module", workerSetup);
  return undefined;
}

const functionIds = new WeakMap<object, string>();

/** Equal for environments that ask for the same; functions are the same only to themselves. */
export function runtimeEnvKey(env: RuntimeEnv | undefined): string {
  if (env === undefined) return "";
  return JSON.stringify(env, (_name, value: unknown) => {
    if (typeof value === "function") {
      const id = functionIds.get(value) ?? randomId(8);
      functionIds.set(value, id);
      return id;
    }
    return isObject(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value;
  });
}
