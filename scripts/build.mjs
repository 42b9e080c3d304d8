// Bundles src/ into dist/: few, shared chunks, because every process of a cluster pays for each file it opens.
// Declarations come from tsc. `--js-only` skips them (used while developing).
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const jsOnly = process.argv.includes("--js-only");
if (!jsOnly) rmSync(`${root}dist`, { recursive: true, force: true });

/**
 * dist/index.js hands out one instance of tsray per process, whoever loads it: a loader that turns modules into CommonJS
 * (tsx, in a package without "type": "module") would otherwise make a second one beside the worker's own.
 */
const door = (names, version) => `import * as own from "./impl.js";
const shared = (globalThis[Symbol.for("tsray@${version}")] ??= own);
export const { ${names.join(", ")} } = shared;
`;
const THROUGH_THE_DOOR = /\/src\/(testing|libs|microbenchmark|worker\/main)/;

/** Packages that become part of dist/, and where they begin. */
const INLINED = {
  "msgpackr/index-no-eval": "msgpackr/dist/index-no-eval.cjs",
  "@grpc/grpc-js": "@grpc/grpc-js/build/src/index.js",
  "@js-sdsl/ordered-map": "@js-sdsl/ordered-map/dist/cjs/index.js",
};
/** For what they require of Node. */
const REQUIRE = `import { createRequire as makeRequire } from "node:module"; const require = makeRequire(import.meta.url);`;

/** What has to go with a package that is part of dist/. */
function licenceOf(file) {
  const [, folder] = /^((?:@[^/]+\/)?[^/]+)/.exec(file);
  const { name, version, license } = JSON.parse(
    readFileSync(`${root}node_modules/${folder}/package.json`, "utf8"),
  );
  return `${name} ${version} (${license})\n\n${readFileSync(`${root}node_modules/${folder}/LICENSE`, "utf8")}`;
}

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: {
    impl: "src/index.ts",
    testing: "src/testing/index.ts",
    tune: "src/libs/tune/index.ts",
    cli: "src/cli/main.ts",
    worker: "src/worker/main.ts",
    daemon: "src/daemon/main.ts",
    head: "src/daemon/head.ts",
    microbenchmark: "src/microbenchmark/main.ts",
    measure: "src/microbenchmark/measure.ts",
  },
  outdir: "dist",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20",
  packages: "external",
  sourcemap: true,
  sourcesContent: false,
  chunkNames: "chunks/[name]-[hash]",
  logLevel: "warning",
  metafile: true,
  banner: { js: REQUIRE },
  plugins: [
    {
      name: "tsray",
      setup({ onResolve }) {
        // Inlined: importing these CommonJS files one by one costs each process more memory, and twice the time, than
        // their text does.
        for (const [name, file] of Object.entries(INLINED))
          onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: join(root, "node_modules", file) }));
        onResolve({ filter: /\/index\.ts$/ }, ({ path, importer }) =>
          THROUGH_THE_DOOR.test(importer) && resolve(dirname(importer), path) === join(root, "src/index.ts")
            ? { path: "./index.js", external: true }
            : undefined,
        );
      },
    },
  ],
});
const { version } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));
writeFileSync(`${root}dist/THIRD-PARTY-LICENSES.txt`, Object.values(INLINED).map(licenceOf).join("\n\n"));
writeFileSync(`${root}dist/index.js`, door(metafile.outputs["dist/impl.js"].exports, version));

if (!jsOnly) {
  execFileSync(process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.types.json"], {
    cwd: root,
    stdio: "inherit",
  });
}
