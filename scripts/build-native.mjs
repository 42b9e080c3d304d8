// Builds native/ with node-gyp and copies the addon to prebuilds/<platform>-<arch>/tsray.node, which serves every supported
// Node but serves this one best (native/CONTRACT.md), or with --own to a file that only this one takes. Without a compiler it says so and leaves tsray on its slower file store.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const native = join(root, "native");
const target = join(root, "prebuilds", `${process.platform}-${process.arch}`);

const headers = join(dirname(process.execPath), "..");
const args = [join(root, "node_modules/node-gyp/bin/node-gyp.js"), "rebuild", "--silent"];
if (existsSync(join(headers, "include/node/node_api.h"))) args.push(`--nodedir=${headers}`);

const built = spawnSync(process.execPath, args, { cwd: native, stdio: ["ignore", "inherit", "inherit"] });
if (built.status !== 0) {
  console.error(
    "tsray: the native addon was not built (no C++ compiler?); the file-backed object store is used instead",
  );
  process.exit(process.argv.includes("--required") ? 1 : 0);
}
mkdirSync(target, { recursive: true });
// By rename: processes that run have the old one mapped.
const name = process.argv.includes("--own") ? `tsray-abi${process.versions.modules}.node` : "tsray.node";
copyFileSync(join(native, "build/Release/tsray.node"), join(target, `${name}.new`));
renameSync(join(target, `${name}.new`), join(target, name));
