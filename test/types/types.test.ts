// Goal: the public types accept what users write and refuse the rest, under both forms of decorators.
// Method: the compiler itself, on the files beside this one; a deliberately wrong file shows that it looks at all.
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const TSC = join(root, "node_modules/typescript/bin/tsc");
const TIMEOUT_MS = 120_000;

/** What the compiler says about a project: "" when it is content. */
function compile(project: string): Promise<string> {
  return new Promise((resolve) => {
    execFile(process.execPath, [TSC, "-p", project], { cwd: root }, (_error, stdout) => resolve(stdout));
  });
}

test("types hold, with decorators in TC39's form", { timeout: TIMEOUT_MS }, async () => {
  expect(await compile("test/types/tsconfig.json")).toBe("");
});

test("types hold under experimentalDecorators", { timeout: TIMEOUT_MS }, async () => {
  expect(await compile("test/types/legacy/tsconfig.json")).toBe("");
});

test("a wrong program is refused, at the wrong place", { timeout: TIMEOUT_MS }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "tsray-types-"));
  try {
    const config = {
      extends: join(root, "tsconfig.json"),
      compilerOptions: {
        noEmit: true,
        rootDir: "/",
        rewriteRelativeImportExtensions: false,
        typeRoots: [join(root, "node_modules/@types")],
      },
      include: [join(folder, "wrong.ts")],
    };
    const source = [
      `import { remote } from ${JSON.stringify(join(root, "src/core/api/remote.ts"))};`,
      "const square = remote((x: number) => x * x);",
      'square.remote("4");',
      "square.options({ numCpus: 1, numCpu: 1 });",
    ];
    await writeFile(join(folder, "package.json"), JSON.stringify({ type: "module" }));
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify(config));
    await writeFile(join(folder, "wrong.ts"), source.join("\n"));
    const said = await compile(join(folder, "tsconfig.json"));
    expect(said).toMatch(/wrong\.ts\(3,15\): error TS2345: /);
    expect(said).toMatch(/wrong\.ts\(4,30\): error TS2561: /);
    expect(said.match(/wrong\.ts.*error TS/g)).toHaveLength(2);
  } finally {
    await rm(folder, { recursive: true });
  }
});
