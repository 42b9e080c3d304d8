/** Memory of process groups: of a worker, and of what its user's code started. Reads /proc only. */
import { readdirSync, readFileSync } from "node:fs";

const KIB = 1024;

/** Bytes that each group holds by itself: not files, not shared memory (the arena). Groups that are gone are left out. */
export function groupBytes(groups: ReadonlySet<number>): Map<number, number> {
  const bytes = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    const first = name.charCodeAt(0);
    if (first < 48 || first > 57) continue;
    const group = groupOf(name);
    if (group !== undefined && groups.has(group)) bytes.set(group, (bytes.get(group) ?? 0) + ownBytes(name));
  }
  return bytes;
}

function groupOf(pid: string): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // "pid (name) state ppid pgrp ...": the name may hold blanks and brackets.
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ", 3)[2]);
  } catch {
    return undefined;
  }
}

function ownBytes(pid: string): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * KIB;
  } catch {
    return 0;
  }
}
