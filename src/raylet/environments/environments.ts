/**
 * Environments on this node: what workers of one are started with, after its files and packages are here.
 *
 * Decides what a node needs that does not see the driver's files, where copies lie, and how long they are kept. A
 * preparation that fails is tried again by the next who asks.
 */
import { existsSync } from "node:fs";
import { mkdir, readdir, rm, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { RuntimeEnvError } from "../../core/base/errors.ts";
import {
  type EnvironmentSpec,
  hashText,
  poolOf,
  specFromText,
  type Tree,
} from "../../core/environments/spec.ts";
import type { JobConfigRecord } from "../../core/rpc/messages.ts";
import { DirectoryCache, type Hold, type Made } from "./cache.ts";
import { download, type GetPiece } from "./download.ts";
import { linkModules, linkTsray, ownTsx, seesModulesOf } from "./modules.ts";
import { installNpm, planNpm } from "./npm.ts";

/** Of all copies and packages of this node together. */
const CACHE_BYTES_MAX = Number(process.env.TSRAY_ENVIRONMENT_CACHE_BYTES) || 10 * 1024 * 1024 * 1024;
/** Jobs whose files were looked for. */
const SEEN_MAX = 10_000;

/** What workers of an environment are started with. Whoever prepared it, and each worker, lets go of it. */
export interface Prepared {
  readonly pool: string;
  readonly environment: string;
  readonly cwd: string;
  readonly execArgv: readonly string[];
  readonly envVars: Readonly<Record<string, string>>;
  readonly trees: readonly { readonly root: string; readonly here: string }[];
  readonly bundleDir: string;
  use(): void;
  release(): void;
}

export interface EnvironmentsParts {
  /** For copies; made when it is first needed. */
  readonly directory: string;
  readonly getPiece: GetPiece;
  /** Text of a spec with the driver's files. @throws RuntimeEnvError when the driver cannot give them, or is gone */
  readonly jobFiles: (jobId: string) => Promise<string>;
  readonly log: (line: string) => void;
}

export class Environments {
  readonly #parts: EnvironmentsParts;
  readonly #cache: DirectoryCache;
  readonly #sees = new Map<string, boolean>();
  readonly #closing = new AbortController();

  constructor(parts: EnvironmentsParts) {
    this.#parts = parts;
    this.#cache = new DirectoryCache(join(parts.directory, "copies"), CACHE_BYTES_MAX, parts.log);
  }

  /** At once where nothing has to be fetched. @throws RuntimeEnvError (rejection) */
  prepare(job: JobConfigRecord, environment: string): Prepared | Promise<Prepared> {
    const sees = this.#seesFilesOf(job);
    if (environment === "" && sees) return plain(job, environment, {});
    const spec = specFromText(environment);
    if (sees && spec.tree === undefined && spec.bundle === undefined) return plain(job, environment, spec);
    return this.#prepare(job, environment, spec, sees).catch((error: Error) => {
      if (error instanceof RuntimeEnvError) throw error;
      throw new RuntimeEnvError(`its files cannot be brought to this node: ${error.message}`, {
        cause: error,
      });
    });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await rm(this.#parts.directory, { recursive: true, force: true });
  }

  async #prepare(
    job: JobConfigRecord,
    environment: string,
    spec: EnvironmentSpec,
    sees: boolean,
  ): Promise<Prepared> {
    const holds: Hold[] = [];
    try {
      const trees = spec.tree === undefined ? [] : [spec.tree];
      const isCovered = trees.some(({ root }) => job.entryUrl.startsWith(root));
      if (!sees && !isCovered && spec.bundle === undefined) {
        const offered = specFromText(await this.#parts.jobFiles(job.jobId));
        if (offered.tree !== undefined) trees.push(offered.tree);
      }
      const placed: { root: string; here: string; path: string }[] = [];
      for (const tree of trees) {
        const hold = await this.#tree(tree, spec, sees);
        holds.push(hold);
        placed.push({ root: tree.root, here: pathToFileURL(`${hold.path}/`).href, path: hold.path });
      }
      let bundleDir = "";
      if (spec.bundle !== undefined) {
        const { hash } = spec.bundle;
        const hold = await this.#cache.hold(`bundle-${hash.slice(0, 16)}`, async (path) => {
          const bytes = await this.#unpack(hash, path);
          await linkModules(path, undefined);
          return { bytes };
        });
        holds.push(hold);
        bundleDir = hold.path;
      }
      const own = spec.tree === undefined ? undefined : placed[0]?.path;
      return {
        ...plain(job, environment, spec),
        cwd: await this.#cwd(job, placed, own),
        execArgv: [
          ...(spec.bundle === undefined ? job.execArgv : withoutLoaders(job.execArgv)),
          ...(spec.execArgv ?? []),
        ].map((flag) => mapFlag(flag, placed)),
        trees: placed.map(({ root, here }) => ({ root, here })),
        bundleDir,
        ...counted(() => {
          for (const hold of holds) hold.letGo();
        }),
      };
    } catch (error) {
      for (const hold of holds) hold.letGo();
      throw error;
    }
  }

  /** A copy of a tree, with what its modules find in node_modules. @param seesJob the driver's files can be seen */
  #tree(tree: Tree, spec: EnvironmentSpec, seesJob: boolean): Promise<Hold> {
    const { npm, envVars } = spec;
    const root = fileURLToPath(tree.root);
    // Nothing is installed where the original's packages can be seen, unless that was asked for.
    const sees = npm === undefined && seesJob && seesModulesOf(root);
    const wanted = npm === false || sees ? undefined : (npm ?? { packages: [], args: [] });
    const key = hashText(JSON.stringify([wanted ?? sees, sees ? root : ""]));
    return this.#cache.hold(`tree-${tree.hash.slice(0, 16)}-${key}`, async (path): Promise<Made> => {
      let bytes = await this.#unpack(tree.hash, path);
      const plan = wanted === undefined ? undefined : await planNpm(path, wanted);
      if (plan === undefined) {
        await linkModules(path, sees ? root : undefined);
        return { bytes };
      }
      const env = { ...process.env, ...envVars };
      if (plan.isInProject) {
        await installNpm(plan, path, env, this.#closing.signal);
        // npm was given package.json and lockfile without tsray; the copy keeps the user's.
        await this.#unpack(tree.hash, path);
        await linkTsray(join(path, "node_modules"));
        bytes += await bytesOf(join(path, "node_modules"));
        return { bytes };
      }
      const modules = await this.#cache.hold(`npm-${plan.key}`, async (at) => {
        await installNpm(plan, at, env, this.#closing.signal);
        await linkTsray(join(at, "node_modules"));
        return { bytes: await bytesOf(at) };
      });
      await symlink(join(modules.path, "node_modules"), join(path, "node_modules"));
      return { bytes, needs: [modules] };
    });
  }

  async #unpack(hash: string, path: string): Promise<number> {
    const file = `${path}.tgz`;
    await download(hash, file, this.#parts.getPiece);
    try {
      const { unpackArchive } = await import("../../core/environments/unpack.ts");
      return await unpackArchive(file, path);
    } finally {
      await rm(file, { force: true });
    }
  }

  /** The driver's current directory in its copy, else the copy; else the directory itself, or an empty one. */
  async #cwd(
    job: JobConfigRecord,
    placed: readonly { root: string; path: string }[],
    own: string | undefined,
  ): Promise<string> {
    const url = `${pathToFileURL(job.cwd).href}/`;
    for (const { root, path } of placed) {
      const inside = join(path, decodeURI(url.slice(root.length)));
      if (url.startsWith(root) && existsSync(inside)) return inside;
    }
    if (own !== undefined) return own;
    if (existsSync(job.cwd)) return job.cwd;
    if (placed[0] !== undefined) return placed[0].path;
    const empty = join(this.#parts.directory, "empty");
    await mkdir(empty, { recursive: true, mode: 0o700 });
    return empty;
  }

  /** Whether this node sees the driver's script and directory. Looked up once: a job does not move. */
  #seesFilesOf(job: JobConfigRecord): boolean {
    const known = this.#sees.get(job.jobId);
    if (known !== undefined) return known;
    const { cwd, entryUrl } = job;
    const sees = existsSync(cwd) && (!entryUrl.startsWith("file:") || existsSync(fileURLToPath(entryUrl)));
    if (this.#sees.size >= SEEN_MAX) this.#sees.clear();
    this.#sees.set(job.jobId, sees);
    return sees;
  }
}

function plain(job: JobConfigRecord, environment: string, { envVars, execArgv }: EnvironmentSpec): Prepared {
  return {
    pool: poolOf(job.jobId, environment),
    environment,
    cwd: job.cwd,
    execArgv: execArgv === undefined ? job.execArgv : [...job.execArgv, ...execArgv],
    envVars: envVars ?? {},
    trees: [],
    bundleDir: "",
    use: () => {},
    release: () => {},
  };
}

/** Counts from one: that of whoever prepares. */
function counted(onLast: () => void): Pick<Prepared, "use" | "release"> {
  let users = 1;
  return {
    use: () => {
      users += 1;
    },
    release: () => {
      users -= 1;
      if (users === 0) onLast();
    },
  };
}

/** A bundle is plain JavaScript: what the driver needs to read its sources is of no use, and may not be there. */
function withoutLoaders(flags: readonly string[]): string[] {
  const LOADER = /^(?:--import|--require|-r|--loader|--experimental-loader)(=|$)/;
  return flags.filter((flag, i) => {
    const before = LOADER.exec(flags[i - 1] ?? "");
    return !LOADER.test(flag) && !(before !== null && before[1] === "");
  });
}

/** A flag that names a file of the driver's names the copy; a tsx that did not come along is replaced by this node's. */
function mapFlag(flag: string, placed: readonly { root: string; here: string; path: string }[]): string {
  let mapped = flag;
  for (const { root, here, path } of placed) {
    mapped = mapped.replaceAll(root, here).replaceAll(fileURLToPath(root), `${path}/`);
  }
  const loader = /^(.*?=)?((?:file:\/\/)?\/.*\/node_modules\/tsx\/)(.*)$/.exec(mapped);
  const tsx = ownTsx();
  if (loader === null || tsx === undefined) return mapped;
  const [, before = "", at = "", rest = ""] = loader;
  const path = at.startsWith("file:") ? fileURLToPath(at + rest) : at + rest;
  if (existsSync(path)) return mapped;
  const own = join(tsx, rest);
  return before + (at.startsWith("file:") ? pathToFileURL(own).href : own);
}

async function bytesOf(directory: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return bytes;
}
