/** `tsray memory`, `list objects` and `status`: what the stores hold, who holds which object and why, what lies on disk. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, onTestFinished, test } from "vitest";
import { CLI, makeRuntimeDir, type Program, startProgram, until } from "./processes.ts";
import { until as eventually, Sandbox, temporaryDirectory } from "./support.ts";

interface Memory {
  stores: {
    nodeId: string;
    usedBytes: number;
    spilledBytes: number;
    spilledObjects: number;
    spillDir: string;
  }[];
  processes: {
    isDriver: boolean;
    pid: number;
    objectsTotal: number;
    rows: {
      objectId: string;
      sizeBytes: number;
      kinds: string[];
      lentTo: number;
      nodes: string[];
      callSite: string;
    }[];
  }[];
  unreachable: string[];
}

const spillDir = temporaryDirectory();
let runtimeDir = "";
const programs: Program[] = [];

afterEach(async () => {
  await tsray("stop", "--force");
  for (const { child } of programs.splice(0)) child.kill("SIGKILL");
});

function tsray(...args: string[]) {
  const program = startProgram([CLI, ...args], { XDG_RUNTIME_DIR: runtimeDir, TSRAY_RECORD_CALL_SITES: "1" });
  program.child.stdin?.end();
  return program.ended;
}

async function json<T>(...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await tsray(...args, "--json");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout) as T;
}

test("objects of a driver and an actor, with sizes, reasons and copies; then none", async () => {
  await using sandbox = new Sandbox({});
  runtimeDir = makeRuntimeDir();
  onTestFinished(() => rmSync(runtimeDir, { recursive: true, force: true }));
  const script = join(sandbox.dir, "driver.mjs");
  writeFileSync(
    script,
    `import { get, init, put, remote, shutdown } from "tsray";
    const Keeper = remote(class Keeper { keep(box) { this.box = box; return true; } });
    const wait = remote(async (value, box) => { globalThis.kept = [value, box]; await new Promise(() => {}); });
    await init();
    const refs = Array.from({ length: 12 }, (_, i) => put(new Uint8Array(2_000_000).fill(i)));
    const outer = put([refs[1]]);
    const keeper = Keeper.remote();
    await keeper.keep.remote([refs[0], outer]);
    const pending = wait.remote(refs[2], [refs[3]]);
    pending.catch(() => {});
    console.log("holding");
    await new Promise((resolve) => process.stdin.once("data", resolve));
    process.stdin.destroy();
    void [refs, outer];
    await shutdown();`,
  );
  const started = await tsray(
    "start",
    "--head",
    "--port",
    "0",
    "--num-cpus",
    "2",
    "--object-store-memory",
    "8MB",
    "--spill-dir",
    spillDir,
  );
  expect(started.code).toBe(0);
  const driver = startProgram([CLI, "run", script], {
    XDG_RUNTIME_DIR: runtimeDir,
    TSRAY_RECORD_CALL_SITES: "1",
  });
  programs.push(driver);
  let holding = false;
  driver.child.stdout?.on("data", (text) => {
    holding ||= String(text).includes("holding");
  });
  await until(() => holding);

  // The pending task counts as a borrower once its worker has told the driver.
  let found = await json<Memory>("memory");
  const lentOnes = () =>
    found.processes.flatMap(({ rows }) => rows).filter(({ lentTo }) => lentTo > 0).length;
  await eventually(async () => {
    found = await json<Memory>("memory");
    return lentOnes() >= 3;
  }, "the actor and the task to borrow");
  expect(found.unreachable).toEqual([]);
  const [store] = found.stores;
  expect(store?.spillDir.startsWith(spillDir)).toBe(true);
  expect(store?.spilledObjects).toBeGreaterThanOrEqual(8);
  expect((store?.usedBytes ?? 0) + (store?.spilledBytes ?? 0)).toBeGreaterThanOrEqual(24_000_000);
  const owner = found.processes.find(({ isDriver }) => isDriver);
  const large = owner?.rows.filter(({ sizeBytes }) => sizeBytes > 2_000_000) ?? [];
  expect(large).toHaveLength(12);
  expect(large.every(({ nodes }) => nodes.join() === store?.nodeId)).toBe(true);
  expect(large.every(({ callSite }) => callSite.includes("driver.mjs:"))).toBe(true);
  expect(
    large.filter(({ kinds, lentTo }) => kinds.includes("LENT") && lentTo === 1).length,
  ).toBeGreaterThanOrEqual(2);
  expect(large.some(({ kinds }) => kinds.includes("CAPTURED_IN_OBJECT"))).toBe(true);
  expect(large.some(({ kinds }) => kinds.includes("PINNED_BY_TASK"))).toBe(true);
  expect(large.some(({ kinds }) => kinds.includes("LOCAL_REFERENCE"))).toBe(true);
  expect(owner?.rows.some(({ kinds }) => kinds.includes("ACTOR_HANDLE"))).toBe(true);
  expect(
    found.processes.some(
      ({ isDriver, rows }) => !isDriver && rows.some(({ kinds }) => kinds.includes("BORROWED")),
    ),
  ).toBe(true);

  const limited = await json<Memory>("memory", "--limit", "3");
  expect(limited.processes.find(({ isDriver }) => isDriver)?.rows).toHaveLength(3);
  const listed = await json<{ objectId: string; sizeBytes: number }[]>("list", "objects");
  expect(listed.filter(({ sizeBytes }) => sizeBytes > 2_000_000)).toHaveLength(12);
  const status = await json<{ store: { spilledBytes: number } }>("status");
  expect(status.store.spilledBytes).toBeGreaterThan(10_000_000);

  const table = await tsray("memory");
  expect(table.stdout).toMatch(/STORES|stores/);
  expect(table.stdout).toMatch(/driver \d+ on node .* 1\d objects/);
  expect(table.stdout).toMatch(/LENT to 1/);
  expect((await tsray("memory", "--limit", "0")).stderr).toContain("--limit must be from 1 to 10000, got 0");

  driver.child.stdin?.write("go\n");
  expect((await driver.ended).code).toBe(0);
  const after = await json<Memory>("memory");
  expect(after.processes.flatMap(({ rows }) => rows)).toEqual([]);
}, 120_000);
