// Goal: whatever is cut off from the head, and however, two lives of one actor never run at the same time, no call is lost,
// and the cluster is whole again afterwards (R16, R17, R18).
// Method: scripts/partitions.mjs runs clusters whose machines are network namespaces on a switch, and cuts them; actors
// write when they run, by the clock that all processes share. `npm run partitions` does the same with the real time rules.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { type Program, startProgram } from "./processes.ts";
import { until } from "./support.ts";

const SCRIPT = fileURLToPath(new URL("../../scripts/partitions.mjs", import.meta.url));
/** On a machine without time for it; else 40 s. */
const RUN_MS = 300_000;

interface Seen {
  readonly overlapMs: number;
  /** After the cut: the last sign of the old life, the first one of the next. */
  readonly endedMs: number;
  readonly restartedMs: number;
  readonly isStale: boolean;
  readonly sameNodes: boolean;
  readonly lives: number;
}

interface Report {
  readonly times: { readonly declareDeadMs: number; readonly graceMs: number };
  readonly cases: Readonly<Record<string, Seen>>;
  readonly load: { readonly sent: number; readonly answered: number };
  readonly problems: readonly string[];
}

const probe = spawnSync(process.execPath, [SCRIPT, "--probe"], { encoding: "utf8" }).stdout.trim();
if (probe !== "") console.warn(probe);

const run = (only: string, env: NodeJS.ProcessEnv = {}): Program =>
  startProgram([SCRIPT, "--quick", "--json", "--only", only], env);

async function reportOf({ ended }: Program): Promise<Report> {
  const { stdout, stderr } = await ended;
  const line = stdout.split("\n").find((text) => text.startsWith('{"times"'));
  if (line === undefined) throw new Error(`no report:\n${stdout}\n${stderr}`);
  return JSON.parse(line) as Report;
}

/** Kills a run that has its cluster. @returns how many processes it had, and those that are left of it */
async function killed(): Promise<{ had: number; left: string[] }> {
  const mark = `PARTITIONS_RUN=${process.pid}`;
  const program = run("none", { PARTITIONS_RUN: String(process.pid) });
  await program.line((line) => line.includes("up"));
  const alive = () =>
    readdirSync("/proc").filter((pid) => {
      try {
        return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(mark);
      } catch {
        return false;
      }
    });
  const had = alive().length;
  program.child.kill("SIGKILL");
  await until(() => alive().length === 0, "its processes to be gone").catch(() => {});
  return { had, left: alive() };
}

describe.skipIf(probe !== "")("a cluster whose network is cut", () => {
  let reports: readonly Report[];
  let ended: Awaited<ReturnType<typeof killed>>;
  // Most of their time they wait.
  beforeAll(async () => {
    const runs = ["short,long", "deaf,mute", "pair"].map((only) => reportOf(run(only)));
    [reports, ended] = await Promise.all([Promise.all(runs), killed()]);
  }, RUN_MS);
  /** What was seen in a case, and the time rules of its run. */
  const seen = (name: string): Seen & Report["times"] => {
    const report = reports.find(({ cases }) => cases[name] !== undefined);
    if (report === undefined) throw new Error(`the case ${name} was not run`);
    return { ...(report.cases[name] as Seen), ...report.times };
  };

  test("for a moment: nobody dies, nothing is started again", () => {
    expect(seen("short")).toMatchObject({ sameNodes: true, lives: 1 });
  });

  const LONG = "its actors end before others take over, once it is given up; stale answers are dropped";
  test.each([
    ["long", "a node from all others"],
    ["deaf", "a node from the head, one way: it hears nothing"],
    ["mute", "a node from the head, the other way: nothing that it says is heard"],
  ])(`%s, %s: ${LONG}`, (name) => {
    const { overlapMs, endedMs, restartedMs, isStale, declareDeadMs } = seen(name);
    expect({ overlapMs, isStale }).toEqual({ overlapMs: 0, isStale: false });
    expect(restartedMs).toBeGreaterThan(endedMs);
    // The last report had left before the cut.
    expect(restartedMs).toBeGreaterThan(declareDeadMs - 1000);
  });

  test.each(["pair1", "pair2"])(
    "%s, two nodes together: nobody takes over before the grace of a lost head is over, and both have ended",
    (name) => {
      const { overlapMs, endedMs, restartedMs, graceMs, declareDeadMs } = seen(name);
      expect(overlapMs).toBe(0);
      expect(restartedMs).toBeGreaterThan(endedMs);
      expect(restartedMs).toBeGreaterThan(graceMs + declareDeadMs - 1000);
    },
  );

  test("nothing that was submitted meanwhile is lost or wrong", () => {
    for (const { load, problems } of reports) {
      expect(problems).toEqual([]);
      expect(load.answered).toBe(load.sent);
    }
    expect(reports.reduce((sum, { load }) => sum + load.sent, 0)).toBeGreaterThan(100);
  });

  test("a run that is killed leaves no process, and so no namespace", () => {
    expect(ended.had).toBeGreaterThan(5);
    expect(ended.left).toEqual([]);
  });
});
