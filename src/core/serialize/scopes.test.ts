// Goal: classes at the top level of a module are found through a function of that module, under vitest and in plain node.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildSync } from "esbuild";
import { expect, test } from "vitest";
import { makeSamples } from "./fixture-classes.ts";
import type { AnyClass } from "./hooks.ts";
import { ValueCodec } from "./index.ts";
import { createScopeResolver } from "./scopes.ts";

class Local {
  a = 1;
}
/** Sees the imports of this file and the class above, as a user's remote function would. */
function anchor() {
  return [ValueCodec, Local];
}

const classOf = (value: object) => value.constructor as unknown as AnyClass;

test("finds classes that are not exported, by name and by identity", () => {
  const resolver = createScopeResolver();
  const { point } = makeSamples();
  expect(resolver.nameOf(classOf(point))).toBeUndefined();
  resolver.addAnchor(makeSamples, "mod");
  expect(resolver.nameOf(classOf(point))).toEqual({ name: "Point", module: "mod" });
  expect(resolver.find("Point", "mod")).toBe(point.constructor);
  expect(resolver.find("Point", "")).toBe(point.constructor);
  expect(resolver.find("Point", "other")).toBeUndefined();
  expect(resolver.find("Nothing", "mod")).toBeUndefined();
  const Impostor = { Point: class Point {} }.Point;
  expect(resolver.nameOf(Impostor)).toBeUndefined();
});

test("finds classes of the file itself and imported ones", () => {
  const resolver = createScopeResolver();
  resolver.addAnchor(anchor, "test");
  expect(resolver.find("Local", "test")).toBe(Local);
  expect(resolver.nameOf(ValueCodec)).toEqual({ name: "ValueCodec", module: "test" });
});

test("a class is an anchor of itself; two classes of one name in two modules are not guessed between", () => {
  const resolver = createScopeResolver();
  resolver.addAnchor(Local, "a");
  expect(resolver.nameOf(Local)).toEqual({ name: "Local", module: "a" });
  expect(resolver.find("Local", "")).toBe(Local);
  const Other = { Local: class Local {} }.Local;
  resolver.addAnchor(Other, "b");
  expect(resolver.find("Local", "b")).toBe(Other);
  expect(resolver.find("Local", "")).toBeUndefined();
});

test("leaves nothing on the global object", () => {
  const before = Reflect.ownKeys(globalThis).length;
  const resolver = createScopeResolver();
  resolver.addAnchor(makeSamples, "mod");
  resolver.find("Point", "mod");
  expect(Reflect.ownKeys(globalThis).length).toBe(before);
});

test("works in plain node, and finds nothing where there is no inspector", () => {
  const dir = mkdtempSync(join(tmpdir(), "tsray-scopes-"));
  try {
    const outfile = join(dir, "scopes.mjs");
    buildSync({
      entryPoints: [join(import.meta.dirname, "scopes.ts")],
      outfile,
      bundle: true,
      platform: "node",
      format: "esm",
    });
    writeFileSync(join(dir, "shapes.mjs"), "export class Circle { r = 1 }\n");
    const main = join(dir, "main.mjs");
    writeFileSync(
      main,
      `import { Module } from "node:module";
import { Circle as Round } from "./shapes.mjs";
import { createScopeResolver } from "./scopes.mjs";
if (process.argv[2] === "none") {
  const load = Module._load;
  Module._load = (id, ...rest) => { if (id === "node:inspector") throw new Error("no inspector"); return load(id, ...rest); };
}
class Point { x = 1 }
function area(p) { return p instanceof Point || p instanceof Round }
const resolver = createScopeResolver();
resolver.addAnchor(area, "m");
console.log(JSON.stringify([
  resolver.nameOf(Point) ?? null, resolver.find("Point", "m") === Point,
  resolver.nameOf(Round) ?? null, resolver.find("Round", "m") === Round,
  Object.getOwnPropertySymbols(globalThis).some((s) => String(s).includes("tsray")),
]));
`,
    );
    const run = (mode: string) =>
      JSON.parse(execFileSync(process.execPath, [main, mode], { encoding: "utf8" })) as unknown;
    expect(run("normal")).toEqual([
      { name: "Point", module: "m" },
      true,
      { name: "Round", module: "m" },
      true,
      false,
    ]);
    expect(run("none")).toEqual([null, false, null, false, false]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
