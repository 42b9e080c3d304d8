// Runs after `npm ci` in a checkout and before `npm pack`: native addon (where a compiler is), then dist/.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
for (const script of ["build-native.mjs", "build.mjs"]) {
  const { status } = spawnSync(process.execPath, [`${root}scripts/${script}`], {
    cwd: root,
    stdio: "inherit",
  });
  if (status !== 0) process.exit(status ?? 1);
}
