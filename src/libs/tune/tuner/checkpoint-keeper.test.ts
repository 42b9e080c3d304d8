// Which checkpoints are deleted, on a real directory: also those that a driver gave up and was killed before it deleted them.
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LocalStorage } from "../storage/storage.ts";
import { CheckpointKeeper } from "./checkpoint-keeper.ts";
import { Experiment, type ExperimentEvent, type Header, trialPath } from "./experiment.ts";

const ID = "00000";
let directory: string;
let failed: string[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "tsk-"));
  failed = [];
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const pathOf = (number: number) => `${trialPath(ID)}/checkpoint_${String(number).padStart(6, "0")}`;
const isThere = (number: number) => existsSync(join(directory, pathOf(number)));

/** A running trial with three checkpoints. */
function experimentWithThree(): Experiment {
  const experiment = new Experiment({ name: "e" } as Header);
  experiment.apply({ kind: "add", id: ID, config: {}, resources: {} });
  experiment.apply({ kind: "start", id: ID });
  for (const number of [0, 1, 2]) {
    mkdirSync(join(directory, pathOf(number)), { recursive: true });
    writeFileSync(join(directory, pathOf(number), "data"), "x");
    const name = pathOf(number).split("/").at(-1) as string;
    experiment.apply({ kind: "saved", id: ID, checkpoint: { name, iteration: number } });
  }
  return experiment;
}

function keeperOf(experiment: Experiment): CheckpointKeeper {
  return new CheckpointKeeper({
    experiment,
    storage: new LocalStorage(directory),
    rule: { numToKeep: 1, scoreAttribute: undefined, scoreOrder: "max" },
    record: (event: ExperimentEvent) => experiment.apply(event),
    onUndeletable: (path) => failed.push(path),
  });
}

test("all but the latest go, and nothing is left to do for a restore", async () => {
  const experiment = experimentWithThree();
  const keeper = keeperOf(experiment);
  keeper.prune(ID);
  await keeper.close();
  expect([0, 1, 2].map(isThere)).toEqual([false, false, true]);
  expect(experiment.snapshot().doomed).toEqual([]);
});

test("one that a trial loads stays until it has been loaded", async () => {
  const experiment = experimentWithThree();
  const keeper = keeperOf(experiment);
  keeper.pin(pathOf(0));
  keeper.prune(ID);
  await keeper.close();
  expect([0, 1, 2].map(isThere)).toEqual([true, false, true]);
  keeper.unpin(pathOf(0));
  await keeper.close();
  expect(isThere(0)).toBe(false);
});

test("what was given up and not deleted is deleted by the next driver, from the records or from a snapshot", async () => {
  for (const bySnapshot of [false, true]) {
    const before = experimentWithThree();
    // The driver was killed between the record and the deletion.
    before.apply({ kind: "drop", id: ID, path: pathOf(0) });
    const experiment = bySnapshot
      ? Experiment.fromSnapshot(JSON.parse(JSON.stringify(before.snapshot())))
      : before;
    await keeperOf(experiment).deleteDoomed();
    expect([0, 1, 2].map(isThere)).toEqual([false, true, true]);
    expect(experiment.snapshot().doomed).toEqual([]);
  }
  expect(failed).toEqual([]);
});
