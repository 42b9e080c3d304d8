/**
 * Whether a worker that was killed by SIGKILL was taken by the kernel, because memory was gone: the kernel counts such
 * kills, for the control group (versions 1 and 2) and for the whole machine. Each counted kill explains one worker's end,
 * and only for a while: it may have been some other process. Decides that; nothing is killed here.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** A kill that was counted longer ago explains no end. On a busy machine a killed process takes seconds to be gone. */
const EXPLAINS_MS = 30_000;

/** What the kernel has counted, and where: numbers of different places cannot be compared. */
export interface KillCount {
  readonly where: string;
  readonly kills: number;
}

export class KernelKills {
  readonly #count: () => KillCount | undefined;
  /** The newest first; all but the last younger than EXPLAINS_MS. */
  #looks: { readonly atMs: number; readonly count: KillCount }[] = [];
  /** Kills that have explained an end, counted as the kernel counts. */
  #explained = 0;

  constructor(count: () => KillCount | undefined = kernelKillCount) {
    this.#count = count;
  }

  /** To be called now and then, so that old kills are known to be old. */
  look(nowMs: number): void {
    const count = this.#count();
    if (count === undefined) return;
    if (this.#looks[0]?.count.where !== count.where) {
      this.#looks = [];
      this.#explained = 0;
    }
    const young = this.#looks.filter(({ atMs }) => nowMs - atMs < EXPLAINS_MS);
    this.#looks = [{ atMs: nowMs, count }, ...this.#looks.slice(0, young.length + 1)];
  }

  /** Whether an end by SIGKILL was the kernel's doing. */
  explains(nowMs: number): boolean {
    this.look(nowMs);
    const newest = this.#looks[0]?.count.kills ?? 0;
    const oldest = this.#looks.at(-1)?.count.kills ?? 0;
    this.#explained = Math.max(this.#explained, oldest);
    if (newest <= this.#explained) return false;
    this.#explained += 1;
    return true;
  }
}

/**
 * From this process's control group, else from the machine. Undefined where the kernel does not count.
 * @param root where the file system begins; tests give a tree of their own
 */
export function kernelKillCount(root = "/"): KillCount | undefined {
  const places = read(join(root, "proc/self/cgroup"))
    .split("\n")
    .flatMap((line) => {
      const [number, controllers = "", ...rest] = line.split(":");
      const path = rest.join(":");
      if (number === "0" && controllers === "") return inGroup("sys/fs/cgroup", path, "memory.events");
      if (!controllers.split(",").includes("memory")) return [];
      return inGroup("sys/fs/cgroup/memory", path, "memory.oom_control");
    });
  for (const where of [...places, "proc/vmstat"]) {
    const kills = /^oom_kill (\d+)$/m.exec(read(join(root, where)))?.[1];
    if (kills !== undefined) return { where, kills: Number(kills) };
  }
  return undefined;
}

/** The group's own file. In a container its path may be that of the host: then the top is meant. */
function inGroup(mount: string, path: string, file: string): string[] {
  return path === "" || path === dirname(path)
    ? [join(mount, file)]
    : [join(mount, path, file), join(mount, file)];
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}
