// Goal: the three budgets of a task that lost its worker. Method: losses in a row, verdicts as lines of text.
import { describe, expect, test } from "vitest";
import { judgeLoss, type LossFacts, type LossHistory, NO_LOSSES } from "./retry-policy.ts";

const ABORT: Partial<LossFacts> = { signal: "SIGABRT" };
const KILL: Partial<LossFacts> = { signal: "SIGKILL" };
const EXIT: Partial<LossFacts> = { exitCode: 1 };
const OOM: Partial<LossFacts> = { signal: "SIGKILL", outOfMemory: true };
const NODE: Partial<LossFacts> = { nodeDied: true };
const QUEUED: Partial<LossFacts> = { signal: "SIGABRT", begun: false };

/** Each loss in a worker of its own, unless `worker` names one. */
function play(maxRetries: number, losses: Partial<LossFacts>[], oomRetries = 15): string[] {
  let history: LossHistory = NO_LOSSES;
  return losses.map((loss, i) => {
    const facts: LossFacts = {
      workerId: `w${i}`,
      nodeDied: false,
      outOfMemory: false,
      exitCode: null,
      signal: "",
      begun: true,
      alone: true,
      ...loss,
    };
    const verdict = judgeLoss(history, facts, { maxRetries, oomRetries });
    if (verdict.kind !== "requeue") history = verdict.history;
    if (verdict.kind === "retry") return verdict.pauseMs === 0 ? "again" : `again in ${verdict.pauseMs}`;
    return verdict.kind === "fail" ? verdict.why : verdict.kind;
  });
}

const times = (n: number, loss: Partial<LossFacts>) => Array.from({ length: n }, () => loss);

describe("maxRetries", () => {
  test("pays for crashes and dead nodes, whoever caused them", () => {
    expect(play(0, [EXIT])).toEqual(["crashed"]);
    expect(play(3, times(4, ABORT))).toEqual(["again", "again", "again", "crashed"]);
    expect(play(2, [KILL, NODE, EXIT])).toEqual(["again", "again", "crashed"]);
    expect(play(1, [NODE, NODE])).toEqual(["again", "nodeDied"]);
  });

  test("is not charged for what had not begun", () => {
    expect(play(1, [QUEUED, QUEUED, QUEUED, EXIT, QUEUED, EXIT])).toEqual([
      "requeue",
      "requeue",
      "requeue",
      "again",
      "requeue",
      "crashed",
    ]);
  });
});

describe("memory", () => {
  test("has a budget of its own, with growing pauses", () => {
    expect(play(1, [OOM, OOM, EXIT, OOM, EXIT])).toEqual([
      "again in 1000",
      "again in 2000",
      "again",
      "again in 4000",
      "crashed",
    ]);
    const all = play(3, times(16, OOM));
    expect(all.slice(5, 8)).toEqual(["again in 32000", "again in 60000", "again in 60000"]);
    expect(all[15]).toBe("outOfMemory");
    expect(play(-1, times(2, OOM), 1)).toEqual(["again in 1000", "outOfMemory"]);
  });

  test("maxRetries 0 means once, also then", () => {
    expect(play(0, [OOM])).toEqual(["outOfMemory"]);
  });
});

describe("poison", () => {
  test("four own crashes on two workers or more end a task that has retries left", () => {
    expect(play(10, times(4, ABORT))).toEqual(["again", "again", "again", "poison"]);
    expect(play(10, times(5, { ...EXIT, workerId: "w" }))).toEqual(times(5, {}).map(() => "again"));
  });

  test("kills by others, dead nodes and crashes in company are nobody's fault", () => {
    for (const loss of [KILL, NODE, { ...ABORT, alone: false }])
      expect(play(10, times(10, loss)).every((verdict) => verdict === "again")).toBe(true);
  });

  test("with -1 it is run for ever, with pauses up to a minute", () => {
    expect(play(-1, times(10, ABORT))).toEqual([
      "again",
      "again",
      ...[1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000].map((ms) => `again in ${ms}`),
    ]);
  });
});
