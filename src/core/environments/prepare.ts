/**
 * Environments at the owner of a call: what a `runtimeEnv` comes to in this process, and the files of it on their way to
 * the head. Each is prepared once; a preparation that failed is not kept, so that a later call tries again.
 *
 * Serves step 3 of the main path: a scheduling class states demand when its environment is ready.
 */
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { dirname, isAbsolute, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { RuntimeEnvError } from "../base/errors.ts";
import { localUrl, travelUrl } from "../base/module-map.ts";
import { type RuntimeEnv, runtimeEnvKey } from "../base/runtime-env.ts";
import { megabytes, type PackedFiles, PIECE_BYTES } from "./package.ts";
import { type EnvironmentSpec, joinSpecs, specFromText, specToText, type Tree } from "./spec.ts";

/** Of a function that runs in each worker: it is part of every statement of demand. */
const SETUP_CHARS_MAX = 1024 * 1024;
/** Environments kept ready. */
const READY_MAX = 1000;

/** Where packages go. */
export interface PackageStore {
  find(hash: string): Promise<boolean>;
  /** @returns how many bytes of the upload have arrived */
  put(piece: {
    readonly hash: string;
    readonly uploadId: string;
    readonly offset: number;
    readonly totalBytes: number;
    readonly data: Buffer;
  }): Promise<number>;
}

export interface OwnerEnvironmentsParts {
  /** This process's own environment, which its calls inherit: text in a worker; in a driver what `init` was given. */
  readonly own: string | RuntimeEnv;
  /** As the driver names it; "" where there is none. */
  readonly entryUrl: string;
  readonly store: PackageStore;
  /** A function in the value codec's form. @throws SerializationError */
  readonly encodeFunction: (fn: () => unknown) => Buffer;
}

export class OwnerEnvironments {
  readonly #parts: OwnerEnvironmentsParts;
  /** Texts by {@link runtimeEnvKey}; that of the process's own by "". */
  readonly #ready = new Map<string, string>();
  readonly #running = new Map<string, Promise<string>>();

  constructor(parts: OwnerEnvironmentsParts) {
    this.#parts = parts;
    if (typeof parts.own === "string") this.#ready.set("", parts.own);
  }

  /** The text of an environment that is ready, undefined = {@link prepare} it first. Without one: this process's own. */
  ready(env: RuntimeEnv | undefined): string | undefined {
    return this.#ready.get(runtimeEnvKey(env));
  }

  /** @throws RuntimeEnvError, SerializationError, ClusterUnreachableError (rejections) */
  prepare(env: RuntimeEnv | undefined): Promise<string> {
    const key = runtimeEnvKey(env);
    let running = this.#running.get(key);
    if (running === undefined) {
      running = this.#prepare(env)
        .then((text) => {
          if (this.#ready.size >= READY_MAX)
            this.#ready.delete([...this.#ready.keys()].find((each) => each !== "") ?? "");
          this.#ready.set(key, text);
          return text;
        })
        .finally(() => this.#running.delete(key));
      this.#running.set(key, running);
    }
    return running;
  }

  /** A node could not set it up: the next call prepares it anew, as the files are then. */
  forget(env: RuntimeEnv | undefined): void {
    this.#ready.delete(runtimeEnvKey(env));
    if (typeof this.#parts.own === "string") this.#ready.set("", this.#parts.own);
    else this.#ready.delete("");
  }

  /** The files of this process's project, for nodes that cannot see them. */
  async offer(): Promise<string> {
    const { entryUrl, own } = this.#parts;
    const project = projectOf(entryUrl);
    // What is typed into a REPL or given to `node -e` has no files of its own.
    if (entryUrl === "" && !existsSync(resolve(project, "package.json"))) return "";
    const excludes = typeof own === "string" ? undefined : own.excludes;
    return specToText({ tree: await this.#tree(project, excludes) });
  }

  async #prepare(env: RuntimeEnv | undefined): Promise<string> {
    const { own } = this.#parts;
    if (env === undefined) return typeof own === "string" ? own : this.#join({}, own);
    const base = this.ready(undefined) ?? (await this.prepare(undefined));
    return this.#join(specFromText(base), env);
  }

  async #join(base: EnvironmentSpec, env: RuntimeEnv): Promise<string> {
    const { bundle, tree: inherited, ...rest } = base;
    const { entryUrl } = this.#parts;
    const project = () => projectOf(entryUrl);
    const npm =
      env.npm === undefined || env.npm === false
        ? env.npm
        : env.npm === true
          ? { packages: [], args: [] }
          : { packages: env.npm.packages ?? [], args: env.npm.args ?? [] };
    const joined: EnvironmentSpec = joinSpecs(rest, {
      ...(env.envVars === undefined ? {} : { envVars: env.envVars }),
      ...(env.execArgv === undefined ? {} : { execArgv: env.execArgv }),
      ...(npm === undefined ? {} : { npm }),
      ...(env.workerSetup === undefined ? {} : { setup: this.#setup(env.workerSetup) }),
    });
    const wantsProject = typeof joined.npm === "object" && inherited === undefined;
    const directory =
      env.workingDir === undefined ? (wantsProject ? project() : undefined) : resolve(env.workingDir);
    const tree = directory === undefined ? inherited : await this.#tree(directory, env.excludes);
    const ownBundle =
      env.bundle === undefined ? bundle : env.bundle ? await this.#bundle(project()) : undefined;
    return specToText({
      ...joined,
      ...(tree === undefined ? {} : { tree }),
      ...(ownBundle === undefined ? {} : { bundle: ownBundle }),
    });
  }

  #setup(setup: string | (() => unknown)): NonNullable<EnvironmentSpec["setup"]> {
    if (typeof setup === "function") {
      const code = this.#parts.encodeFunction(setup).toString("base64");
      if (code.length <= SETUP_CHARS_MAX) return { code };
      throw new RuntimeEnvError(
        `runtimeEnv.workerSetup cannot travel: with what it closes over it has ${megabytes(code.length)}, ${megabytes(SETUP_CHARS_MAX)} is the most; have it read large data from the working directory`,
      );
    }
    if (isAbsolute(setup) || /^\.{1,2}\//.test(setup))
      return { module: travelUrl(pathToFileURL(resolve(setup)).href) };
    return { module: setup };
  }

  async #tree(directory: string, excludes: readonly string[] | undefined): Promise<Tree> {
    const { packDirectory } = await import("./pack.ts");
    const packed = await packDirectory(directory, excludes);
    await this.#upload(packed);
    return { hash: packed.hash, root: travelUrl(`${pathToFileURL(directory).href.replace(/\/$/, "")}/`) };
  }

  async #bundle(project: string): Promise<NonNullable<EnvironmentSpec["bundle"]>> {
    const { entryUrl } = this.#parts;
    if (entryUrl === "")
      throw new RuntimeEnvError(
        "runtimeEnv.bundle needs a script: this driver has no file that could be bundled",
      );
    const { bundleEntry } = await import("./bundle.ts");
    const packed = await bundleEntry(localUrl(entryUrl), project);
    await this.#upload(packed);
    return { hash: packed.hash, root: travelUrl(`${pathToFileURL(project).href}/`), entry: entryUrl };
  }

  async #upload({ hash, bytes }: PackedFiles): Promise<void> {
    const { store } = this.#parts;
    if (await store.find(hash)) return;
    const uploadId = randomUUID();
    for (let offset = 0; offset < bytes.length; ) {
      const data = bytes.subarray(offset, offset + PIECE_BYTES);
      offset = await store.put({ hash, uploadId, offset, totalBytes: bytes.length, data });
    }
  }
}

/** Text of an environment that needs no files and no code, so that it is known at once; undefined = it does. */
export function plainText(env: RuntimeEnv): string | undefined {
  const { envVars = {}, execArgv, npm, ...rest } = env;
  if (Object.keys(rest).length > 0 || (npm !== undefined && npm !== false)) return undefined;
  return specToText(
    joinSpecs({}, { envVars, ...(execArgv ? { execArgv } : {}), ...(npm === false ? { npm } : {}) }),
  );
}

/** The directory of the package.json above a module; where there is none, the module's own. Without a module: the current one. */
export function projectOf(entryUrl: string): string {
  const local = localUrl(entryUrl);
  if (!local.startsWith("file:")) return process.cwd();
  const own = dirname(fileURLToPath(local));
  for (let at = own; ; at = dirname(at)) {
    if (existsSync(resolve(at, "package.json"))) return at;
    if (at === dirname(at)) return own;
  }
}
