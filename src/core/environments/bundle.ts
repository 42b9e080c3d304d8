/**
 * The driver's entry and all that it imports as one file, made by the user's esbuild. Beside the bundle and its source
 * map goes a list of what it was made of, so that a worker can tell which of the driver's modules registered a function.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { RuntimeEnvError } from "../base/errors.ts";
import { BUNDLE_FACTS_FILE, BUNDLE_FILE, type BundleFacts } from "./bundle-facts.ts";
import { archive } from "./pack.ts";
import type { PackedFiles } from "./package.ts";

/** As much of esbuild as is used here. */
interface Esbuild {
  build(options: object): Promise<{
    readonly outputFiles: readonly { readonly path: string; readonly contents: Uint8Array }[];
    readonly metafile: { readonly inputs: Readonly<Record<string, unknown>> };
  }>;
}

/** CommonJS modules in a bundle may call these. */
const BANNER = `import { createRequire as __tsrayCreateRequire } from "node:module"; import { fileURLToPath as __tsrayToPath } from "node:url"; import { dirname as __tsrayDirname } from "node:path"; const require = __tsrayCreateRequire(import.meta.url), __filename = __tsrayToPath(import.meta.url), __dirname = __tsrayDirname(__filename);`;

/** @throws RuntimeEnvError when there is no esbuild, or it fails */
export async function bundleEntry(entryUrl: string, root: string): Promise<PackedFiles> {
  const entry = fileURLToPath(entryUrl);
  const { build } = await findEsbuild(entry);
  try {
    const { outputFiles, metafile } = await build({
      entryPoints: [entry],
      absWorkingDir: root,
      bundle: true,
      write: false,
      outfile: join(root, BUNDLE_FILE),
      format: "esm",
      platform: "node",
      target: "node20",
      // tsray is the node's own, and addons cannot be bundled.
      external: ["tsray", "tsray/*", "*.node"],
      keepNames: true,
      sourcemap: "linked",
      sourcesContent: false,
      metafile: true,
      logLevel: "silent",
      banner: { js: BANNER },
    });
    const files: Record<string, string> = {};
    for (const path of Object.keys(metafile.inputs).filter((input) => !input.includes("node_modules/"))) {
      const text = await readFile(resolve(root, path), "utf8").catch(() => undefined);
      if (text === undefined) continue;
      const hash = createHash("sha1").update(text).digest("hex").slice(0, 16);
      files[pathToFileURL(resolve(root, path)).href] = hash;
    }
    const facts: BundleFacts = { root: `${pathToFileURL(root).href}/`, files };
    const entries = [
      ...outputFiles.map(({ path, contents }) => ({
        path: path.endsWith(".map") ? `${BUNDLE_FILE}.map` : BUNDLE_FILE,
        isExecutable: false,
        bytes: Buffer.from(contents),
      })),
      { path: BUNDLE_FACTS_FILE, isExecutable: false, bytes: Buffer.from(JSON.stringify(facts)) },
    ];
    return await archive(entries, `the bundle of ${entry}`);
  } catch (error) {
    if (error instanceof RuntimeEnvError) throw error;
    throw new RuntimeEnvError(`esbuild could not bundle ${entry}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** The user's own, or that of a package beside tsray (tsx brings one). */
async function findEsbuild(entry: string): Promise<Esbuild> {
  for (const from of [entry, join(process.cwd(), "x.js"), fileURLToPath(import.meta.url)]) {
    for (const through of [undefined, "tsx/package.json", "vite/package.json"]) {
      try {
        const at = through === undefined ? from : join(dirname(createRequire(from).resolve(through)), "x.js");
        const found = (await import(pathToFileURL(createRequire(at).resolve("esbuild")).href)) as {
          readonly default?: Esbuild;
        } & Esbuild;
        return found.default ?? found;
      } catch {
        // Not installed there.
      }
    }
  }
  throw new RuntimeEnvError(
    `runtimeEnv.bundle needs esbuild, which is not installed beside ${entry}: npm install --save-dev esbuild`,
  );
}
