// Goal: the pure parts behind what is shown: tables, fair rows, importances, CSV, encoding. Method: values in, values out.
import { describe, expect, test } from "vitest";
import { decode, encode } from "../journal/encoding.ts";
import { Random } from "../random.ts";
import { Experiment, type ExperimentEvent, type Header } from "../tuner/experiment.ts";
import { superfluous } from "../tuner/retention.ts";
import { csvLine, header } from "./csv.ts";
import { importances } from "./importance.ts";
import { bestText, countsText, duration, fairShares, trialTable } from "./table.ts";

const HEADER = { name: "e", metrics: ["loss"], modes: ["min"], numSamples: 10 } as unknown as Header;

function experimentOf(...events: readonly Partial<ExperimentEvent>[]): Experiment {
  const experiment = new Experiment(HEADER);
  for (const event of events) experiment.apply(event as ExperimentEvent);
  return experiment;
}

const add = (id: string, config: object): Partial<ExperimentEvent> => ({
  kind: "add",
  id,
  config: { ...config },
  resources: { CPU: 1 },
});
const start = (id: string): Partial<ExperimentEvent> => ({ kind: "start", id });
const report = (id: string, metrics: object, more: object = {}): Partial<ExperimentEvent> => ({
  kind: "report",
  id,
  metrics: { ...metrics },
  seconds: 0.5,
  pid: 1,
  hostname: "h",
  at: 0,
  othersWait: false,
  verdict: "continue",
  elapsed: 500,
  ...more,
});

describe("the terminal's table", () => {
  test("rows are shared fairly, and what one status does not use goes to the others", () => {
    expect(fairShares([2, 2, 10, 10, 10], 13)).toEqual([2, 2, 3, 3, 3]);
    expect(fairShares([5, 0, 1], 20)).toEqual([5, 0, 1]);
    expect(fairShares([10, 10], 3)).toEqual([1, 2]);
    expect(fairShares([], 3)).toEqual([]);
  });

  test("exact text", () => {
    const experiment = experimentOf(
      add("00000", { lr: 0.1, layers: 2 }),
      add("00001", { lr: 0.012345678, layers: 3 }),
      add("00002", { lr: 1, layers: 1 }),
      start("00000"),
      report("00000", { loss: 0.5 }),
      start("00001"),
      report("00001", { loss: 0.25 }),
      { kind: "end", id: "00001", status: "TERMINATED" },
    );
    const settings = { maxRows: 10, metricColumns: undefined, parameterColumns: undefined };
    expect(trialTable(experiment, [{ metric: "loss", direction: "min" }], settings, 100)).toEqual([
      "trial  status            lr  layers  loss  iter  time (s)",
      "00000  RUNNING          0.1       2   0.5     1       0.5",
      "00002  PENDING            1       1",
      "00001  TERMINATED  0.012346       3  0.25     1       0.5",
    ]);
    expect(trialTable(experiment, [], { ...settings, maxRows: 1 }, 100).at(-1)).toBe("... 2 more trials");
    expect(countsText(experiment, 10)).toBe("3/10 trials (1 running, 1 pending, 1 terminated)");
    expect(bestText(experiment, { metric: "loss", direction: "min" })).toBe(
      "best: loss 0.25 by trial 00001, lr=0.012346 layers=3",
    );
    expect([0.04, 65, 3725].map(duration)).toEqual(["0.0 s", "1 min 05 s", "1 h 02 min"]);
  });
});

test("checkpoints: the best and the latest stay, pinned ones too; a missing score is worst", () => {
  const scores = [5, Number.NaN, 9, 1, 7];
  const experiment = experimentOf(
    add("a", {}),
    start("a"),
    ...scores.map((score, i) =>
      report("a", { score }, { checkpoint: { name: `checkpoint_00000${i}`, iteration: i + 1 } }),
    ),
  );
  const gone = (numToKeep: number | undefined, pinned = "") =>
    superfluous(
      experiment.get("a"),
      { numToKeep, scoreAttribute: "score", scoreOrder: "max" },
      (path) => path.endsWith(pinned) && pinned !== "",
    ).map(({ path }) => Number(path.at(-1)));
  expect(gone(undefined)).toEqual([]);
  expect(gone(1)).toEqual([0, 1, 3]);
  expect(gone(2)).toEqual([0, 1, 3]);
  expect(gone(3)).toEqual([1, 3]);
  expect(gone(1, "3")).toEqual([0, 1]);
  expect(gone(0)).toEqual([0, 1, 2, 3]);
});

test("importances: what matters has the largest share, what does not has little", () => {
  const random = new Random(1);
  const rows = Array.from({ length: 150 }, () => ({
    strong: random.next(),
    weak: random.next(),
    kind: random.choice(["a", "b"]),
    noise: random.next(),
  }));
  const values = rows.map(
    ({ strong, weak, kind }) => 10 * (strong - 0.5) ** 2 + weak + (kind === "a" ? 1 : 0),
  );
  const found = importances(rows, values);
  const share = Object.fromEntries(found.map((each) => [each.parameter, each.share]));
  expect(found[0]?.parameter).toBe("strong");
  expect(share.noise).toBeLessThan(0.1);
  expect(share.kind).toBeGreaterThan(share.noise as number);
  expect(found.reduce((sum, each) => sum + each.share, 0)).toBeCloseTo(1);
  expect(importances(rows.slice(0, 3), values)).toEqual([]);
});

test("CSV cells are quoted where they must be, and headers read back", () => {
  expect(csvLine([1, 'say "so"', "a,b", undefined, { x: 1 }])).toBe('1,"say ""so""","a,b",,"{""x"":1}"\n');
  expect(header(csvLine(["a", 'q"x"', "c,d"]))).toEqual(["a", 'q"x"', "c,d"]);
  expect(header("")).toEqual([]);
});

test("values go through the journal unchanged, and what cannot is named", () => {
  const value = {
    nan: Number.NaN,
    minus: -0,
    none: undefined,
    big: 12n ** 30n,
    date: new Date(5),
    map: new Map([["a", new Set([1])]]),
    data: new Float32Array([1.5, 2]),
    nested: [{ x: [null, "NaN", Infinity] }],
    tagged: { $tsray: "mine" },
  };
  expect(decode(JSON.parse(JSON.stringify(encode(value))))).toEqual(value);
  expect(() => encode({ model: { activation: Math.tanh } })).toThrow(
    /model\.activation is a function, which cannot be written/,
  );
  expect(() => encode({ m: [new Error("x")] })).toThrow(/m\[0\] is an instance of Error/);
});
