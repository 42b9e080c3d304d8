/** How a process joins its raylet when that says nothing: real sockets, a listener that never answers. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { RayletLink } from "./raylet-link.ts";

test("a raylet that does not answer in time is told from one that closes", async () => {
  const dir = mkdtempSync("/tmp/tse-");
  const unixPath = join(dir, "raylet.sock");
  const server = createServer();
  onTestFinished(() => {
    server.close();
    rmSync(dir, { recursive: true, force: true });
  });
  await new Promise<void>((resolve) => server.listen(unixPath, resolve));
  const endpoint = { processId: "p", nodeId: "n", unixPath, host: "", port: 0, pid: process.pid };
  const joining = RayletLink.open(endpoint, { self: endpoint, token: "t" }, [0], 50);
  await expect(joining).rejects.toThrow(`the raylet at ${unixPath} did not answer within 50 ms`);
});
