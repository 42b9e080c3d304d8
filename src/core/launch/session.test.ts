// Goal: sessions lie in a directory that only their user can write to, and nothing stays of it after the last one.
// Method: directories in a base of the test's own; processes that make and remove sessions at the same time.
import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ClusterUnreachableError } from "../base/errors.ts";
import { createSession, removeSession, runningNodes, sweepDeadSessions } from "./session.ts";

let base = "";
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "tsr-"));
  vi.stubEnv("XDG_RUNTIME_DIR", base);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(base, { recursive: true, force: true });
});

test("a session is private, and the last one takes the directory of all along", () => {
  const [first, second] = [createSession(), createSession()];
  const [root] = readdirSync(base) as [string];
  for (const dir of [join(base, root), first, join(first, "logs"), join(second, "nodes")])
    expect(statSync(dir).mode & 0o777).toBe(0o700);
  removeSession(first);
  expect(readdirSync(base)).toEqual([root]);
  removeSession(second);
  expect(readdirSync(base)).toEqual([]);
});

test("to look for sessions makes nothing", () => {
  expect(runningNodes()).toEqual([]);
  sweepDeadSessions();
  expect(readdirSync(base)).toEqual([]);
});

test("a directory that others may write to is refused by name", () => {
  const root = join(base, `tsray-${process.getuid?.()}`);
  mkdirSync(root);
  chmodSync(root, 0o777);
  for (const use of [createSession, runningNodes, sweepDeadSessions]) {
    expect(use).toThrow(ClusterUnreachableError);
    expect(use).toThrow(`${root} is not a private directory of this user`);
  }
});

test("processes that begin and end sessions at once do not take each other's", async () => {
  const script = `
    import { existsSync } from "node:fs";
    import { createSession, removeSession } from ${JSON.stringify(fileURLToPath(new URL("session.ts", import.meta.url)))};
    for (let i = 0; i < 300; i++) {
      const dir = createSession();
      if (!existsSync(dir + "/nodes")) throw new Error(dir + " is gone");
      removeSession(dir);
    }
  `;
  const args = ["--import", "tsx", "--input-type=module", "--eval", script];
  await Promise.all([1, 2, 3].map(() => promisify(execFile)(process.execPath, args)));
  expect(readdirSync(base)).toEqual([]);
});
