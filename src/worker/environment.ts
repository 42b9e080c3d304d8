/**
 * A worker's own environment: where the driver's files are here, and what runs before anything else. Whatever fails here
 * is told to the raylet, which tells those who wait for workers of this environment.
 */
import { readFileSync } from "node:fs";
import { createRequire, SourceMap, type SourceMapPayload } from "node:module";
import { isAbsolute, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type CodePosition, registry } from "../core/base/function-registry.ts";
import { localUrl, mapModules, travelText, travelUrl } from "../core/base/module-map.ts";
import { BUNDLE_FACTS_FILE, BUNDLE_FILE, type BundleFacts } from "../core/environments/bundle-facts.ts";
import { type EnvironmentSpec, specFromText } from "../core/environments/spec.ts";
import type { WorkerBoot } from "../core/launch/worker-boot.ts";
import { Local } from "../core/rpc/messages.ts";
import type { Runtime } from "../runtime/runtime.ts";

/** Modules are found in the copies from here on. */
export function placeFiles({ trees, bundleDir, job }: WorkerBoot): void {
  if (trees.length === 0 && bundleDir === "") return;
  if (bundleDir === "") {
    mapModules(trees);
    return;
  }
  const file = join(bundleDir, BUNDLE_FILE);
  const here = pathToFileURL(file).href;
  const { root, files } = JSON.parse(readFileSync(join(bundleDir, BUNDLE_FACTS_FILE), "utf8")) as BundleFacts;
  const bundled = { root, here: pathToFileURL(`${bundleDir}/`).href };
  mapModules([...trees, bundled], new Map([[job.entryUrl, here]]));
  registry.files = files;
  const map = new SourceMap(JSON.parse(readFileSync(`${file}.map`, "utf8")) as SourceMapPayload);
  process.setSourceMapsEnabled(true);
  registry.originOf = ({ module, line, column }: CodePosition) => {
    if (module !== travelUrl(here)) return undefined;
    const found = map.findEntry(line, column);
    return "originalSource" in found ? new URL(found.originalSource, root).href : undefined;
  };
}

/** The driver's command line; its script is the copy. */
export function localArguments({ job, bundleDir }: WorkerBoot): string[] {
  const [, script, ...rest] = job.argv;
  if (script === undefined) return [];
  if (bundleDir !== "") return [join(bundleDir, BUNDLE_FILE), ...rest];
  const local = isAbsolute(script) ? fileURLToPath(localUrl(pathToFileURL(script).href)) : script;
  return [local, ...rest];
}

type Setup = NonNullable<EnvironmentSpec["setup"]>;

export function setupOf({ environment }: WorkerBoot): Setup | undefined {
  return environment === "" ? undefined : specFromText(environment).setup;
}

/** Runs `workerSetup`. When it throws, this process is of no use: it says so and waits for its end. */
export async function setUp(setup: Setup, connecting: Promise<unknown>, runtime: Runtime): Promise<void> {
  await connecting;
  try {
    if ("code" in setup) {
      const run = await runtime.objects.unpackFunction(Buffer.from(setup.code, "base64"));
      await run();
      return;
    }
    const { default: run } = (await import(resolveSetup(setup.module))) as { readonly default?: unknown };
    if (typeof run === "function") await (run as () => unknown)();
  } catch (error) {
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
    const text = `workerSetup threw in worker ${process.pid}: ${travelText(what)}`;
    runtime.connected.link.channel.send([Local.setupFailed, text]);
    await new Promise<never>(() => {});
  }
}

/** A package is looked for as the entry's directory would. */
function resolveSetup(module: string): string {
  if (URL.canParse(module)) return localUrl(module);
  return pathToFileURL(createRequire(`${process.cwd()}/`).resolve(module)).href;
}
