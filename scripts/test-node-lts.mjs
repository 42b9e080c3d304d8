// The suite on the newest LTS of Node, whose binary comes from npm; kept in .cache/. The addon is Node-API, so the one
// that was built serves both.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const LTS = "24";
const root = fileURLToPath(new URL("..", import.meta.url));
const cache = join(root, ".cache", `node-${LTS}`);
const bin = join(cache, `node_modules/node-linux-${process.arch}/bin`);
if (!existsSync(join(bin, "node"))) {
  mkdirSync(cache, { recursive: true });
  const install = spawnSync(
    "npm",
    [
      "install",
      "--prefix",
      cache,
      "--no-save",
      "--ignore-scripts",
      "--no-audit",
      "--no-fund",
      `node-linux-${process.arch}@${LTS}`,
    ],
    { stdio: "inherit" },
  );
  if (install.status !== 0) process.exit(install.status ?? 1);
}
const run = spawnSync(
  join(bin, "node"),
  ["node_modules/vitest/vitest.mjs", "run", ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
  },
);
process.exit(run.status ?? 1);
