/**
 * Around the whole suite: no temporary directory and no shared memory may be left by it. What other clusters of this
 * machine use meanwhile is theirs.
 */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

/** Of the tests, and of what they test: with a random name each. */
const OURS = /^ts(e|p|r|t|ray(-[a-z]+)?)-./;
/** Where this user's sessions are, these or others. */
const SESSIONS = /^tsray-\d+$/;
/** What the compiler keeps that runs TypeScript for some of the tests. */
const COMPILED = /^tsx-\d+$/;

function listed(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

function entries(): Set<string> {
  const dirs = new Set([tmpdir(), "/tmp", "/dev/shm"]);
  return new Set([...dirs].flatMap((dir) => listed(dir).map((name) => join(dir, name))));
}

function isMapped(path: string): boolean {
  return listed("/proc").some((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/maps`, "utf8").includes(path);
    } catch {
      return false;
    }
  });
}

export default function setup(): () => void {
  const before = entries();
  return () => {
    const came = [...entries()].filter((path) => !before.has(path));
    for (const path of came)
      if (COMPILED.test(basename(path))) rmSync(path, { recursive: true, force: true });
    const left = came.filter((path) => {
      const name = basename(path);
      return SESSIONS.test(name) ? listed(path).length === 0 : OURS.test(name) && !isMapped(path);
    });
    if (left.length === 0) return;
    process.exitCode = 1;
    throw new Error(`the suite has left ${left.join(", ")}`);
  };
}
