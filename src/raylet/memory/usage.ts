/**
 * How much memory is used, and of how much: on the machine, or in the control group that this process is in, whichever is
 * nearer its limit. Page cache does not count (the kernel takes it back); shared memory does, once, so the pages of the
 * node's arena count as what they are: used. Reads files only; decides nothing.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

export interface MemoryUse {
  readonly usedBytes: number;
  readonly limitBytes: number;
  /** "node" or "cgroup". */
  readonly of: string;
}

/** A limit at or above this is none: version 1 says "no limit" with a number near 2 ** 63. */
const NO_LIMIT_BYTES = 2 ** 60;
const KIB = 1024;

/** @param root where the file system begins; tests give a tree of their own */
export function memoryUse(root = "/"): MemoryUse | undefined {
  return memoryUses(root).toSorted((a, b) => share(b) - share(a))[0];
}

/** Of whatever has the smallest limit, however much of it is used. */
export function tightestMemory(root = "/"): MemoryUse | undefined {
  return memoryUses(root).toSorted((a, b) => a.limitBytes - b.limitBytes)[0];
}

function memoryUses(root: string): MemoryUse[] {
  return [nodeUse(root), ...groupUses(root)].filter((use) => use !== undefined);
}

const share = ({ usedBytes, limitBytes }: MemoryUse) => usedBytes / limitBytes;

function nodeUse(root: string): MemoryUse | undefined {
  const text = read(join(root, "proc/meminfo"));
  const kib = (name: string) => Number(new RegExp(`^${name}: +(\\d+) kB`, "m").exec(text)?.[1]);
  const totalBytes = kib("MemTotal") * KIB;
  // MemAvailable leaves out what cannot be taken back, shared memory with it.
  const usedBytes = totalBytes - kib("MemAvailable") * KIB;
  return usedBytes >= 0 ? { usedBytes, limitBytes: totalBytes, of: "node" } : undefined;
}

/** The group of this process and those around it, where they have a limit. */
function groupUses(root: string): (MemoryUse | undefined)[] {
  const lines = read(join(root, "proc/self/cgroup")).split("\n");
  return lines.flatMap((line) => {
    const [number, controllers = "", ...rest] = line.split(":");
    const path = rest.join(":");
    if (number === "0" && controllers === "") return groupsUpwards(path).map((at) => useOfV2(root, at));
    if (controllers.split(",").includes("memory")) return groupsUpwards(path).map((at) => useOfV1(root, at));
    return [];
  });
}

/** "/a/b" gives "/a/b", "/a", "/". In a container the path may be that of the host: the top is then its own. */
function groupsUpwards(path: string): string[] {
  const all: string[] = [];
  for (let at = path === "" ? "/" : path; ; at = dirname(at)) {
    all.push(at);
    if (dirname(at) === at) return all;
  }
}

function useOfV2(root: string, group: string): MemoryUse | undefined {
  const dir = join(root, "sys/fs/cgroup", group);
  const files = (name: string) => statOf(dir, name);
  return groupUse(
    Number(read(join(dir, "memory.max"))),
    Number(read(join(dir, "memory.current")) || Number.NaN),
    files("inactive_file") + files("active_file"),
  );
}

function useOfV1(root: string, group: string): MemoryUse | undefined {
  const dir = join(root, "sys/fs/cgroup/memory", group);
  const files = (name: string) => statOf(dir, name);
  return groupUse(
    Number(read(join(dir, "memory.limit_in_bytes")) || Number.NaN),
    Number(read(join(dir, "memory.usage_in_bytes")) || Number.NaN),
    files("total_inactive_file") + files("total_active_file"),
  );
}

/** Pages of files; shared memory is on the kernel's other lists, and so stays counted. */
function statOf(dir: string, name: string): number {
  return Number(new RegExp(`^${name} (\\d+)`, "m").exec(read(join(dir, "memory.stat")))?.[1] ?? 0);
}

function groupUse(limitBytes: number, currentBytes: number, cacheBytes: number): MemoryUse | undefined {
  if (!(limitBytes > 0 && limitBytes < NO_LIMIT_BYTES) || Number.isNaN(currentBytes)) return undefined;
  return { usedBytes: Math.max(0, currentBytes - cacheBytes), limitBytes, of: "cgroup" };
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}
