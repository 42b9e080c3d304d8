/** Step 6, first half: a descriptor becomes the function or class it names, by evaluating its module if need be. */
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { FunctionNotFoundError } from "../core/base/errors.ts";
import {
  byValueTask,
  type FunctionId,
  findFunction,
  isByValueId,
  type RegisteredFunction,
  registry,
} from "../core/base/function-registry.ts";
import { localUrl } from "../core/base/module-map.ts";
import type { JobConfigRecord } from "../core/rpc/messages.ts";

const TYPESCRIPT = /\.[mc]?tsx?$/;

export class Functions {
  readonly #job: JobConfigRecord;
  /** Modules evaluated here beside the entry, and what came of it. */
  readonly #imports = new Map<string, Promise<Error | undefined>>();
  #entryError: Error | undefined;
  #tsx: Promise<void> | undefined;

  constructor(job: JobConfigRecord) {
    this.#job = job;
  }

  /** Evaluates the job's entry module up to `init()`. @param parked settles when the module calls init() */
  async evaluateEntry(parked: Promise<void>): Promise<void> {
    const { entryUrl, entryImportable } = this.#job;
    if (entryUrl === "" || !entryImportable) return;
    this.#entryError = await Promise.race([this.#import(entryUrl), parked.then(() => undefined)]);
  }

  /** @throws FunctionNotFoundError saying where it was looked for, and why it is not there */
  find(id: FunctionId): RegisteredFunction | Promise<RegisteredFunction> {
    if (isByValueId(id)) return byValueTask(id.name);
    return findFunction(id) ?? this.#load(id);
  }

  async #load(id: FunctionId): Promise<RegisteredFunction> {
    const { entryUrl, entryImportable } = this.#job;
    let why = this.#entryError;
    const isBundled = id.module in registry.files;
    if ((id.module !== entryUrl && !isBundled) || !entryImportable)
      why = (await this.#importOnce(id.module)) ?? why;
    const found = findFunction(id);
    if (found !== undefined) return found;
    throw notFound(id, why);
  }

  #importOnce(url: string): Promise<Error | undefined> {
    let running = this.#imports.get(url);
    if (running === undefined) {
      running = this.#import(url);
      this.#imports.set(url, running);
    }
    return running;
  }

  /** @returns what the module threw, if it did */
  async #import(url: string): Promise<Error | undefined> {
    try {
      const local = localUrl(url);
      await this.prepareImport(local);
      await import(local);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  /** Before a module is imported here that the entry does not import. */
  async prepareImport(url: string): Promise<void> {
    if (TYPESCRIPT.test(new URL(url).pathname)) await this.#readTypeScript(url);
  }

  /** Node 20 reads no TypeScript; where the driver's loader was a test runner's, tsx from the user's project does. */
  async #readTypeScript(url: string): Promise<void> {
    if (this.#job.execArgv.length > 0 || "typescript" in process.features) return;
    this.#tsx ??= registerTsx(url);
    await this.#tsx;
  }
}

/** As `node --import tsx` does. */
async function registerTsx(url: string): Promise<void> {
  try {
    await import(pathToFileURL(createRequire(url).resolve("tsx")).href);
  } catch {
    // The import that follows says that .ts files cannot be read.
  }
}

function notFound(id: FunctionId, why: Error | undefined): FunctionNotFoundError {
  const copy = localUrl(id.module) === id.module ? "" : ` (its copy ${localUrl(id.module)})`;
  const where = `worker ${process.pid} looked for ${id.name} in ${id.module}${copy}`;
  if (why !== undefined) {
    return new FunctionNotFoundError(
      `${where}, but evaluating the module threw before it was registered: ${why.stack ?? why.message}`,
      {
        cause: why,
      },
    );
  }
  return new FunctionNotFoundError(
    `${where}: the module was evaluated, and remote() was not called with that function there (or its source differs)`,
  );
}
