// Goal: a process dies where it was told to, at that pass, and nowhere else.
import { expect, test } from "vitest";
import { parseExitPoint } from "./exit-points.ts";

test("ends the program it names at the pass it names", () => {
  let ends = 0;
  const exit = () => {
    ends += 1;
  };
  const point = parseExitPoint("head: committed actor-states#2", "head", exit);
  point?.reach("committed actor-states");
  point?.reach("committing actor-states");
  expect(ends).toBe(0);
  point?.reach("committed actor-states");
  expect(ends).toBe(1);
  expect(parseExitPoint("head: asked CreateActor", "daemon", exit)).toBeUndefined();
});

test("after what was written has left", async () => {
  const ended = new Promise<void>((resolve) => {
    parseExitPoint("head: replied KillActor", "head", resolve)?.reachLater("replied KillActor");
  });
  await ended;
});

test.each(["CreateActor", "head: before CreateActor", "head: asked CreateActor#0", "asked CreateActor"])(
  "refuses %s",
  (spec) => {
    expect(() => parseExitPoint(spec, "head", () => {})).toThrow(`got "${spec}"`);
  },
);
