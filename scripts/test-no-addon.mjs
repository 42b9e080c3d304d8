// The end-to-end tests of tasks, actors and objects once more with the native addon hidden: everything must work over
// plain files and a thread that watches the raylet.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const files = [
  "test/e2e/tasks.test.ts",
  "test/e2e/task-failure.test.ts",
  "test/e2e/objects.test.ts",
  "test/e2e/actors.test.ts",
  "test/e2e/no-addon.test.ts",
  "src/core/store",
];
const { status } = spawnSync(process.execPath, ["node_modules/vitest/vitest.mjs", "run", ...files], {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, TSRAY_NO_ADDON: "1" },
});
process.exit(status ?? 1);
