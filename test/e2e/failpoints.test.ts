// Goal: wherever the head dies, nothing is lost that it had said, and no actor lives twice (R9, at a count that fits).
// Method: the script that runs them all, with one point of each kind.
import { join } from "node:path";
import { expect, test } from "vitest";
import { REPOSITORY, Sandbox } from "./support.ts";

test("the head may die at any of its points", async () => {
  await using sandbox = new Sandbox({});
  const { code, stdout, stderr } = await sandbox.run(join(REPOSITORY, "scripts/failpoints.mjs"), "--smoke");
  // Under load it may be told on stderr that something waits.
  expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toContain(
    "double actors 0, orphans after 10 s 0, acknowledged and forgotten 0, names changed 0",
  );
}, 300_000);
