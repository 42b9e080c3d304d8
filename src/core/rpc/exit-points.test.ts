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
  expect(parseExitPoint("head: asked CreateActors", "daemon", exit)).toBeUndefined();
});

test("after what was written has left", async () => {
  const ended = new Promise<void>((resolve) => {
    parseExitPoint("head: replied KillActors", "head", resolve)?.reachLater("replied KillActors");
  });
  await ended;
});

test.each(["CreateActors", "head: before CreateActors", "head: asked CreateActors#0", "asked CreateActors"])(
  "refuses %s",
  (spec) => {
    expect(() => parseExitPoint(spec, "head", () => {})).toThrow(`got "${spec}"`);
  },
);
