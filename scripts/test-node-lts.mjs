// The suite on the newest LTS of Node, whose binary comes from npm; kept in .cache/. First the store and its users with the
// addon that was built for another Node (as in an installation without a compiler), then all of it with one of its own.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
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
const own = join(root, "prebuilds", `${process.platform}-${process.arch}`);
const run = (...args) => {
  const { status } = spawnSync(join(bin, "node"), args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
  });
  if (status !== 0) process.exit(status ?? 1);
};
const vitest = ["node_modules/vitest/vitest.mjs", "run"];
const removeOwn = () => {
  for (const name of readdirSync(own)) if (name.startsWith("tsray-abi")) rmSync(join(own, name));
};
removeOwn();
process.on("exit", removeOwn);
run(
  ...vitest,
  "src/core/store",
  "test/e2e/objects.test.ts",
  "test/e2e/release.test.ts",
  "test/e2e/references.test.ts",
);
run("scripts/build-native.mjs", "--own", "--required");
run(...vitest, ...process.argv.slice(2));
