// `npm run test:repeat [N]`: the whole suite N times (default 10) in a row; stops at the first red run.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const times = Number(process.argv[2] ?? 10);
for (let i = 1; i <= times; i++) {
  console.log(`--- run ${i} of ${times}`);
  const { status } = spawnSync(process.execPath, ["node_modules/vitest/vitest.mjs", "run"], {
    cwd: root,
    stdio: "inherit",
  });
  if (status !== 0) process.exit(status ?? 1);
}
