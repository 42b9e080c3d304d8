// `npm test` on a checkout where `npm ci` was skipped or src/ changed since: installs and builds what is missing.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const run = (command, args) => {
  const { status } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
};
const newest = (dir) =>
  readdirSync(join(root, dir), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((latest, entry) => Math.max(latest, statSync(join(entry.parentPath, entry.name)).mtimeMs), 0);

if (!existsSync(join(root, "node_modules/vitest"))) run("npm", ["ci", "--no-audit", "--no-fund"]);
const declarations = join(root, "dist/types/index.d.ts");
if (!existsSync(declarations) || newest("src") > statSync(declarations).mtimeMs)
  run(process.execPath, ["scripts/build.mjs"]);
