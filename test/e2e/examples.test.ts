// Goal: the examples run. Method: their own command with --quick; each ends with asserts of its own.
import { join } from "node:path";
import { expect, test } from "vitest";
import { REPOSITORY, Sandbox } from "./support.ts";

test.each([
  ["tune-digits", /test accuracy\s+\d\d\.\d+%/],
  ["tune-supernova", /search +64 trials: chi-squared \d+\.\d+; better than the grid after \d+/],
  ["outer-planets", /same to the last bit/],
])("example %s runs to its end", async (name, line) => {
  await using sandbox = new Sandbox({});
  const { code, stdout, stderr } = await sandbox.run(
    join(REPOSITORY, "scripts/run-example.mjs"),
    name,
    "--quick",
  );
  expect(`${stderr}`).toBe("");
  expect(code).toBe(0);
  expect(stdout).toMatch(line);
});
