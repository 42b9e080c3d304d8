// Goal: the architecture on paper is the one in the code. Method: read every import of src/ and compare with the rooms.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));

/** What each room may import, beside itself. Lower levels of core first; processes meet in proto/ (core/wire). */
const ROOMS: Record<string, readonly string[]> = {
  "core/base": [],
  "core/wire": [],
  "core/serialize": ["core/base"],
  "core/closures": ["core/base", "core/serialize"],
  "core/rpc": ["core/base", "core/wire"],
  "core/environments": ["core/base"],
  "core/store": ["core/base"],
  "core/launch": ["core/base", "core/wire", "core/rpc"],
  "core/ownership": ["core/base", "core/serialize", "core/rpc", "core/store"],
  "core/submit": ["core/base", "core/wire", "core/environments", "core/rpc", "core/ownership"],
  "core/api": ["core/base", "core/ownership"],
  actors: ["core"],
  runtime: ["core", "actors"],
  worker: ["core", "actors", "runtime", "index.ts"],
  raylet: ["core/base", "core/wire", "core/environments", "core/rpc", "core/store", "core/launch"],
  head: ["core/base", "core/wire", "core/environments", "core/rpc", "core/launch"],
  daemon: ["core/base", "core/launch", "core/rpc", "core/store", "raylet", "head"],
  cli: ["core/base", "core/wire", "core/rpc", "core/launch", "runtime", "testing", "microbenchmark", "libs"],
  testing: ["core/base", "core/wire", "core/rpc", "core/launch", "runtime", "index.ts"],
  microbenchmark: ["index.ts"],
  libs: ["index.ts"],
  "index.ts": ["core", "actors", "runtime"],
};
const LINES_MAX = 700;

interface Import {
  readonly from: string;
  readonly to: string;
}

const files = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter(
    (file) => file.endsWith(".ts") && !file.endsWith(".d.ts") && !isTestFile(file) && !file.includes("/gen/"),
  )
  .map((file) => file.replaceAll("\\", "/"));

function isTestFile(file: string): boolean {
  return /\.test\.ts$|\.fixture\.ts$|\/fixture-[^/]*$|\/test-kit\.ts$/.test(file);
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, "src", file), "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)].map(([, target]) => ({
    from: file,
    to: relative(join(root, "src"), resolve(root, "src", dirname(file), target as string)),
  }));
}

function roomOf(file: string): string {
  const parts = file.split("/");
  return parts[0] === "core" ? `core/${parts[1]}` : (parts[0] as string);
}

function mayImport(from: string, to: string): boolean {
  if (from === to) return true;
  return (ROOMS[from] ?? []).some((allowed) => to === allowed || to.startsWith(`${allowed}/`));
}

const imports = files.flatMap(importsOf);

describe("tidy", () => {
  test("every file of src/ lies in a room of the map", () => {
    expect(files.filter((file) => !(roomOf(file) in ROOMS))).toEqual([]);
  });

  test("imports between rooms go down only", () => {
    const wrong = imports.filter(({ from, to }) => !mayImport(roomOf(from), roomOf(to)));
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  test("no import cycle", () => {
    const graph = new Map<string, string[]>(files.map((file) => [file, []]));
    for (const { from, to } of imports) if (graph.has(to)) graph.get(from)?.push(to);
    expect(findCycle(graph)).toEqual([]);
  });

  test("each file opens by saying what it is", () => {
    const silent = files.filter(
      (file) => !/^(#![^\n]*\n)?(\/\*\*|\/\/)/.test(readFileSync(join(root, "src", file), "utf8")),
    );
    expect(silent).toEqual([]);
  });

  test("no file outgrows a head", () => {
    const long = files.filter(
      (file) => readFileSync(join(root, "src", file), "utf8").split("\n").length > LINES_MAX,
    );
    // The option tables and the function registry are lists of independent rows and helpers.
    expect(long.filter((file) => file !== "core/base/options.ts")).toEqual([]);
  });
});

/** Type-only edges count too: a cycle of types is a cycle of ideas. */
function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const state = new Map<string, "open" | "done">();
  const path: string[] = [];
  const visit = (file: string): string[] => {
    if (state.get(file) === "done") return [];
    if (state.get(file) === "open") return [...path.slice(path.indexOf(file)), file];
    state.set(file, "open");
    path.push(file);
    for (const next of graph.get(file) ?? []) {
      const cycle = visit(next);
      if (cycle.length > 0) return cycle;
    }
    path.pop();
    state.set(file, "done");
    return [];
  };
  for (const file of graph.keys()) {
    const cycle = visit(file);
    if (cycle.length > 0) return cycle;
  }
  return [];
}
