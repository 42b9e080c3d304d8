// Goal: a broadcast spreads as a tree and nobody waits for ever. Method: the line alone, events in, steps out.
import { expect, test } from "vitest";
import { type Step, UploadLine } from "./upload-line.ts";

const told = (steps: readonly Step<string>[]) =>
  steps.map((step) => (step.kind === "serve" ? `serve ${step.asker}` : `${step.asker} to ${step.holder}`));

test("two are served at a time; whoever has got it takes half of the line along", () => {
  const line = new UploadLine<string>();
  expect("abcdefgh".split("").flatMap((asker) => told(line.ask(asker, false)))).toEqual([
    "serve a",
    "serve b",
  ]);
  expect(told(line.end("a", true))).toEqual(["c to a", "d to a", "e to a"]);
  expect(told(line.end("b", true))).toEqual(["f to b", "g to b", "serve h"]);
  expect(line.holders).toEqual(["a", "b"]);
  expect(told(line.end("h", true))).toEqual([]);
  expect(line.isIdle).toBe(true);
});

test("once others have it, one is served and the next are sent to them in turn", () => {
  const line = new UploadLine<string>();
  for (const asker of ["a", "b"]) line.ask(asker, false);
  for (const asker of ["a", "b"]) line.end(asker, true);
  expect("cdef".split("").flatMap((asker) => told(line.ask(asker, false)))).toEqual([
    "serve c",
    "d to a",
    "e to b",
    "f to a",
  ]);
});

test("who was sent elsewhere in vain is served next, and never sent away again", () => {
  const line = new UploadLine<string>();
  for (const asker of ["a", "b", "c", "d"]) line.ask(asker, false);
  expect(told(line.ask("back", true))).toEqual([]);
  expect(told(line.end("a", true))).toEqual(["c to a"]);
  expect(told(line.end("b", false))).toEqual(["serve back"]);
  expect(line.isWaiting("d")).toBe(true);
});

test("who gives up makes room, in the line and at the front", () => {
  const line = new UploadLine<string>();
  for (const asker of ["a", "b", "c", "d"]) line.ask(asker, false);
  expect(told(line.end("c", false))).toEqual([]);
  expect(told(line.end("a", false))).toEqual(["serve d"]);
  expect(line.holders).toEqual([]);
});

test("nobody is sent to a holder that is gone", () => {
  const line = new UploadLine<string>();
  line.ask("a", false);
  line.end("a", true);
  line.forget((holder) => holder === "a");
  expect(["b", "c", "d"].flatMap((asker) => told(line.ask(asker, false)))).toEqual(["serve b", "serve c"]);
});
