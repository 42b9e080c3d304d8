// Goal: processes that are killed while they hold pins, half-made objects and spills leave no byte behind.
// Method: a program of native/test forks and kills them; `npm run soak:store` does the same 20,000 times.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const script = fileURLToPath(new URL("../../../scripts/soak-store.mjs", import.meta.url));
const hasCompiler = spawnSync(process.env.CXX ?? "g++", ["--version"]).status === 0;

test.skipIf(!hasCompiler)("600 killed holders of an arena leave nothing", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, "600"], { encoding: "utf8" });
  expect(stderr).toBe("");
  expect(stdout).toMatch(/600 cycles: 0 bytes in memory, 0 objects, 0 pinned, 0 on disk in 0 files/);
  expect(status).toBe(0);
});
