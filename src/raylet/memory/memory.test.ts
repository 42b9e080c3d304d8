// Goal: the memory monitor reads what the kernel tells, counts no page cache, and chooses its victims by its rules.
// Method: trees of files as /proc and cgroups of both versions show them; candidates in, the chosen one out; the groups
// of real processes.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { KernelKills, kernelKillCount } from "./kernel-kills.ts";
import { groupBytes } from "./process-groups.ts";
import { memorySettings } from "./settings.ts";
import { memoryUse } from "./usage.ts";
import { chooseVictim, type MemoryCandidate, type MemoryRank } from "./victim.ts";

const GIB = 2 ** 30;
const MIB = 2 ** 20;

const dirs: string[] = [];
afterEach(() => {
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true });
});
function tree(files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), "tsray-memory-"));
  dirs.push(root);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), `${text}\n`);
  }
  return root;
}

describe("usage", () => {
  const meminfo = `MemTotal:       ${16 * 2 ** 20} kB\nMemFree:  1 kB\nMemAvailable:   ${12 * 2 ** 20} kB`;

  test("of the machine: what is not available", () => {
    const use = memoryUse(tree({ "proc/meminfo": meminfo, "proc/self/cgroup": "0::/" }));
    expect(use).toEqual({ usedBytes: 4 * GIB, limitBytes: 16 * GIB, of: "node" });
  });

  test("of a version 2 group: without pages of files, with shared memory; the tightest group around counts", () => {
    const group = (max: string, current: number) => ({
      "memory.max": max,
      "memory.current": String(current),
      "memory.stat": `anon 1\nfile ${3 * GIB}\nshmem ${GIB}\ninactive_file ${GIB}\nactive_file ${GIB}`,
    });
    const files = (at: string, of: Record<string, string>) =>
      Object.fromEntries(Object.entries(of).map(([name, text]) => [`sys/fs/cgroup${at}/${name}`, text]));
    const use = memoryUse(
      tree({
        "proc/meminfo": meminfo,
        "proc/self/cgroup": "0::/outer/inner",
        ...files("/outer/inner", group("max", 5 * GIB)),
        ...files("/outer", group(String(4 * GIB), 5 * GIB)),
      }),
    );
    expect(use).toEqual({ usedBytes: 3 * GIB, limitBytes: 4 * GIB, of: "cgroup" });
  });

  test("of a version 1 group, also where its path is that of the host", () => {
    const use = memoryUse(
      tree({
        "proc/meminfo": meminfo,
        "proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/abc",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": String(2 * GIB),
        "sys/fs/cgroup/memory/memory.usage_in_bytes": String(GIB),
        "sys/fs/cgroup/memory/memory.stat": `cache 9\ntotal_inactive_file ${100 * MIB}\ntotal_active_file ${24 * MIB}`,
      }),
    );
    expect(use).toEqual({ usedBytes: 900 * MIB, limitBytes: 2 * GIB, of: "cgroup" });
  });

  test("a version 1 group without a limit does not count, and nothing at all gives nothing", () => {
    const none = tree({
      "proc/meminfo": meminfo,
      "proc/self/cgroup": "4:memory:/",
      "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
      "sys/fs/cgroup/memory/memory.usage_in_bytes": "1",
    });
    expect(memoryUse(none)?.of).toBe("node");
    expect(memoryUse(tree({}))).toBeUndefined();
  });

  test("of this machine", () => {
    const use = memoryUse();
    expect(use?.usedBytes).toBeGreaterThan(0);
    expect(use?.usedBytes).toBeLessThanOrEqual(use?.limitBytes ?? 0);
  });

  // Method: a process and its child hold 64 MiB each; the group is that of the first.
  test("of a process group: what its processes hold together", async () => {
    const hold = `const kept = Buffer.alloc(${64 * MIB}, 1);`;
    const script = `${hold} require("node:child_process").spawn(process.execPath,
      ["-e", '${hold} console.log(kept.length); setInterval(() => {}, 1e6)'], { stdio: "inherit" });
      setInterval(() => kept.length, 1e6);`;
    const child = spawn(process.execPath, ["-e", script], {
      detached: true,
      stdio: ["ignore", "pipe", "ignore"],
    });
    try {
      await new Promise((resolve) => child.stdout.once("data", resolve));
      const pid = child.pid as number;
      const bytes = groupBytes(new Set([pid]));
      expect([...bytes.keys()]).toEqual([pid]);
      expect(bytes.get(pid)).toBeGreaterThan(128 * MIB);
      expect(bytes.get(pid)).toBeLessThan(512 * MIB);
    } finally {
      process.kill(-(child.pid as number), "SIGKILL");
    }
  });
});

describe("kills by the kernel", () => {
  test("are counted by the control group of either version, else by the machine", () => {
    const vmstat = { "proc/vmstat": "pgfault 9\noom_kill 7\n" };
    const events = "low 0\noom 3\noom_kill 2\noom_group_kill 0";
    expect(
      kernelKillCount(
        tree({ ...vmstat, "proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/memory.events": events }),
      ),
    ).toEqual({ where: "sys/fs/cgroup/a/b/memory.events", kills: 2 });
    const ofV1 = {
      "proc/self/cgroup": "9:pids:/\n4:cpu,memory:/of/host\n0::/",
      "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4",
    };
    expect(kernelKillCount(tree({ ...vmstat, ...ofV1 }))?.kills).toBe(4);
    expect(kernelKillCount(tree({ ...vmstat, "proc/self/cgroup": "0::/" }))?.kills).toBe(7);
    expect(kernelKillCount(tree({}))).toBeUndefined();
  });

  test("each explains one end, and only those that come soon after it", () => {
    let count: { where: string; kills: number } | undefined = { where: "a", kills: 5 };
    const kernel = new KernelKills(() => count);
    kernel.look(0);
    expect(kernel.explains(10)).toBe(false);
    count = { where: "a", kills: 7 };
    expect([20, 30, 40].map((ms) => kernel.explains(ms))).toEqual([true, true, false]);
    count = { where: "a", kills: 8 };
    for (let ms = 250; ms <= 40_000; ms += 250) kernel.look(ms);
    expect(kernel.explains(40_001)).toBe(false);
    count = { where: "a", kills: 9 };
    expect(kernel.explains(40_002)).toBe(true);
    // Moved to a group whose count is another: what it says is no growth.
    count = { where: "b", kills: 50 };
    expect(kernel.explains(40_003)).toBe(false);
    count = undefined;
    expect(kernel.explains(40_004)).toBe(false);
  });
});

describe("victim", () => {
  const of = (workerId: string, rank: MemoryRank, since: number, bytes = GIB): MemoryCandidate => ({
    workerId,
    rank,
    since,
    bytes,
  });
  const chosen = (...candidates: MemoryCandidate[]) => chooseVictim(candidates)?.workerId;

  test("ranks: retriable tasks, tasks, actors that restart, actors", () => {
    const all = [
      of("actor", "actor", 9),
      of("restarts", "restartable actor", 8),
      of("once", "task", 7),
      of("again", "retriable task", 1),
    ];
    const order: string[] = [];
    for (let left = all; left.length > 0; left = left.filter(({ workerId }) => workerId !== order.at(-1)))
      order.push(chosen(...left) as string);
    expect(order).toEqual(["again", "once", "restarts", "actor"]);
    expect(chosen()).toBeUndefined();
  });

  test("the newest among equals, unless it holds too little to matter", () => {
    expect(chosen(of("old", "task", 1), of("new", "task", 3), of("middle", "task", 2))).toBe("new");
    expect(chosen(of("hog", "task", 1), of("new", "task", 3, 40 * MIB))).toBe("hog");
    expect(chosen(of("old", "task", 1), of("new", "task", 3, 0.6 * GIB))).toBe("new");
  });
});

describe("settings", () => {
  test("defaults, and values from the environment", () => {
    expect(memorySettings({})).toEqual({ threshold: 0.95, periodMs: 250, limitBytes: undefined });
    const given = {
      TSRAY_MEMORY_THRESHOLD: "0.5",
      TSRAY_MEMORY_MONITOR_MS: "0",
      TSRAY_MEMORY_LIMIT_BYTES: "1000",
    };
    expect(memorySettings(given)).toEqual({ threshold: 0.5, periodMs: 0, limitBytes: 1000 });
  });

  test.each([
    ["TSRAY_MEMORY_THRESHOLD", "0"],
    ["TSRAY_MEMORY_THRESHOLD", "95"],
    ["TSRAY_MEMORY_MONITOR_MS", "soon"],
    ["TSRAY_MEMORY_LIMIT_BYTES", "1GB"],
  ])("%s=%s is refused by name", (name, value) => {
    expect(() => memorySettings({ [name]: value })).toThrow(new RegExp(`${name} must be .*"${value}"`));
  });
});
