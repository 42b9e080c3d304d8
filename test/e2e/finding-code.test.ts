/**
 * Functions by reference, in every way a user may write and start them: a worker must find what the driver names, or
 * say where it looked and why it is not there.
 */
import { describe, expect, test } from "vitest";
import { Sandbox } from "./support.ts";

const HEAD = `import { get, init, remote, shutdown } from "tsray";`;

describe("where functions may stand", () => {
  // Goal: factories and loops register many functions of one name and text; each worker tells them apart by number.
  test("functions and classes made by factories and loops, in the entry and in another module", async () => {
    await using sandbox = new Sandbox({
      "lib/makers.mjs": `import { remote } from "tsray";
        export const scaler = (by) => remote(function scale(x) { return x * by; });
        export const boxOf = (kind) => remote(class Box { constructor(v) { this.v = v; } get() { return kind + this.v; } });
        export const made = [scaler(10), scaler(20)];`,
      "main.mjs": `${HEAD} import { boxOf, made, scaler } from "./lib/makers.mjs";
        const mine = [2, 3].map((by) => scaler(by));
        const shifted = [];
        for (const by of [100, 200, 300]) shifted.push(remote((x) => x + by));
        const boxes = ["a", "b"].map(boxOf);
        await init({ numCpus: 2 });
        console.log(await get([...made, ...mine].map((f) => f.remote(7))), await get(shifted.map((f) => f.remote(1))));
        console.log(await get(boxes.map((Box, i) => Box.remote(i).get.remote())));
        await shutdown();`,
    });
    expect(await sandbox.run("main.mjs")).toEqual({
      code: 0,
      signal: null,
      stdout: "[ 70, 140, 14, 21 ] [ 101, 201, 301 ]\n[ 'a0', 'b1' ]\n",
      stderr: "",
    });
  });

  test("re-exports, default exports and modules that only some of the tasks need", async () => {
    await using sandbox = new Sandbox({
      "lib/one.mjs": `import { remote } from "tsray"; export const one = remote(function one() { return 1; }); export default remote(() => "default");`,
      "lib/two.mjs": `import { remote } from "tsray"; export const two = remote(function one() { return 2; });`,
      "lib/index.mjs": `export * from "./one.mjs"; export { default as first } from "./one.mjs"; export { two as second } from "./two.mjs"; export * as all from "./two.mjs";`,
      "main.mjs": `${HEAD} import { all, first, one, second } from "./lib/index.mjs";
        await init({ numCpus: 2 });
        console.log(await get([one.remote(), first.remote(), second.remote(), all.two.remote()]));
        const { late } = await import("./lib/late.mjs");
        console.log(await late.remote());
        await shutdown();`,
      "lib/late.mjs": `import { remote } from "tsray"; import { two } from "./two.mjs"; export const late = remote(async () => (await two.remote()) + 1);`,
    });
    expect(await sandbox.run("main.mjs")).toEqual({
      code: 0,
      signal: null,
      stdout: "[ 1, 'default', 2, 2 ]\n3\n",
      stderr: "",
    });
  });

  test("modules that use top-level await, above init() and in what they import", async () => {
    await using sandbox = new Sandbox({
      "lib/config.mjs": `import { readFile } from "node:fs/promises"; export const config = JSON.parse(await readFile(new URL("./config.json", import.meta.url)));`,
      "lib/config.json": `{ "by": 6 }`,
      "main.mjs": `${HEAD} import { config } from "./lib/config.mjs";
        const extra = await new Promise((resolve) => setTimeout(resolve, 30, 4));
        const work = remote(function work(x) { return x * config.by + extra; });
        await init({ numCpus: 1 });
        console.log(await work.remote(2));
        await shutdown();`,
    });
    expect(await sandbox.run("main.mjs")).toEqual({ code: 0, signal: null, stdout: "16\n", stderr: "" });
  });

  test("a CommonJS project, with remote functions in a file that it requires", async () => {
    await using sandbox = new Sandbox({
      "package.json": `{ "type": "commonjs" }`,
      "lib/jobs.js": `const { remote } = require("tsray"); exports.twice = remote(function twice(x) { return 2 * x; });
        exports.Tally = remote(class Tally { n = 0; add(x) { return (this.n += x); } });`,
      "main.js": `const { init, remote, shutdown } = require("tsray"); const { Tally, twice } = require("./lib/jobs");
        const thrice = remote((x) => 3 * x);
        async function main() {
          await init({ numCpus: 2 });
          console.log(await twice.remote(4), await thrice.remote(4), await Tally.remote().add.remote(5));
          await shutdown();
        }
        main();`,
    });
    const { code, stdout } = await sandbox.run("--no-warnings", "main.js");
    expect({ code, stdout }).toEqual({ code: 0, stdout: "8 12 5\n" });
  });
});

describe("how a script may be started", () => {
  const SOURCES = {
    "src/jobs.ts": `import { remote } from "tsray";
      export class Jobs {
        @remote({ numCpus: 1 }) static area(r: number): number { return 3 * r * r; }
        @remote static half(x: number): number { return this.divide(x); }
        private static divide(x: number): number { return x / 2; }
      }
      export const makeAdder = (by: number) => remote(function add(x: number): number { return x + by; });`,
    "src/main.ts": `import { get, init, remote, shutdown } from "tsray";
      import { Jobs, makeAdder } from "./jobs.ts";
      enum Mode { Fast = "fast" }
      const adders = [makeAdder(1), makeAdder(2)];
      const mode = remote((): Mode => Mode.Fast);
      const fail = remote(function fail(): never { throw new RangeError("wrong"); });
      await init({ numCpus: 2 });
      console.log(await get(adders.map((f) => f.remote(1))), await mode.remote());
      console.log(await remote(Jobs.area).remote(2), await remote(Jobs.half).remote(5));
      const error = await fail.remote().then(() => undefined, (thrown: { cause: Error }) => thrown.cause);
      console.log(error?.name, /main\\.(?:ts|js)/.exec(error?.stack ?? "")?.[0]);
      await shutdown();`,
    "package.json": `{ "type": "module" }`,
  };
  const OUTPUT = "[ 2, 3 ] fast\n12 2.5\nRangeError main.ts\n";

  test.each([
    ["node --import tsx", ["--import", "tsx", "src/main.ts"]],
    ["tsx", ["node_modules/tsx/dist/cli.mjs", "src/main.ts"]],
    ["tsray run", ["node_modules/tsray/dist/cli.js", "run", "src/main.ts"]],
  ])("%s: modules, factories and decorated static methods", async (_, args) => {
    await using sandbox = new Sandbox(SOURCES);
    expect(await sandbox.run(...args)).toEqual({ code: 0, signal: null, stdout: OUTPUT, stderr: "" });
  });

  // Goal: what a build makes runs as the source does. Method: esbuild, file by file and as one file, as users build.
  test("node dist/main.js, built file by file or bundled", async () => {
    await using sandbox = new Sandbox({
      ...SOURCES,
      "build.mjs": `import { build } from "esbuild";
        const common = { platform: "node", format: "esm", target: "node20", sourcemap: true };
        await build({ ...common, entryPoints: ["src/main.ts"], bundle: true, packages: "external", outfile: "dist/bundled.js" });
        await build({ ...common, entryPoints: ["src/main.ts", "src/jobs.ts"], outdir: "dist", supported: { decorators: false } });
        const { readFileSync, writeFileSync } = await import("node:fs");
        writeFileSync("dist/main.js", readFileSync("dist/main.js", "utf8").replace("./jobs.ts", "./jobs.js"));`,
    });
    sandbox.install("esbuild");
    expect(await sandbox.run("build.mjs")).toEqual({ code: 0, signal: null, stdout: "", stderr: "" });
    for (const file of ["dist/main.js", "dist/bundled.js"]) {
      const plain = await sandbox.run(file);
      expect(plain).toEqual({
        code: 0,
        signal: null,
        stdout: OUTPUT.replace("main.ts", /bundled/.test(file) ? "undefined" : "main.js"),
        stderr: "",
      });
      expect((await sandbox.run("--enable-source-maps", file)).stdout).toBe(OUTPUT);
    }
  });

  // Goal: a user's vitest file runs as it is, whatever workers of vitest it runs in. Method: vitest itself, on a project.
  test.each(["forks", "threads"])("a vitest file of a user, in its %s", async (pool) => {
    await using sandbox = new Sandbox({
      "src/jobs.ts": `import { remote } from "tsray"; export const square = remote(function square(x: number): number { return x * x; });
        export const Tally = remote(class Tally { n = 0; add(x: number): number { return (this.n += x); } });`,
      "test/jobs.test.ts": `import { init, remote, shutdown } from "tsray"; import { afterAll, beforeAll, expect, test } from "vitest";
        import { Tally, square } from "../src/jobs.ts";
        beforeAll(async () => { await init({ numCpus: 2 }); });
        afterAll(() => shutdown());
        const helper = (x: number): number => x + 1;
        test("functions of a module", async () => { expect(await square.remote(4)).toBe(16); expect(await Tally.remote().add.remote(3)).toBe(3); });
        test("functions of the test", async () => {
          const by = 5;
          expect(await remote((x: number) => helper(x) * by).remote(1)).toBe(10);
          expect(await square.remote(square.remote(2))).toBe(16);
        });`,
      "package.json": `{ "type": "module" }`,
    });
    sandbox.install("vitest");
    const { code, stdout, stderr } = await sandbox.run(
      "node_modules/vitest/vitest.mjs",
      "run",
      `--pool=${pool}`,
    );
    expect({ code, passed: /Tests +2 passed/.test(stdout) }, stdout + stderr).toEqual({
      code: 0,
      passed: true,
    });
  });
});

// Goal: two drivers of one script on one cluster, with equal names and different bodies, never get each other's. Method:
// 10,000 calls each at the same time, by reference (a module that each driver sees otherwise) and by value.
test("two drivers of one script on one cluster never mix", { timeout: 120_000 }, async () => {
  await using sandbox = new Sandbox({
    "work.mjs": `import { remote } from "tsray";
      const which = process.argv[2];
      const bodies = { a: function work(i) { return ["a", i]; }, b: function work(i) { return ["b", 2 * i]; } };
      export const work = remote(bodies[which]);`,
    "main.mjs": `${HEAD} import { work } from "./work.mjs";
      await init();
      const which = process.argv[2];
      const byValue = remote(which === "a" ? function late(i) { return ["a", i]; } : function late(i) { return ["b", 2 * i]; });
      const refs = Array.from({ length: 10_000 }, (_, i) => (i % 2 ? work : byValue).remote(i));
      const wrong = (await get(refs)).filter((found, i) => String(found) !== String([which, which === "a" ? i : 2 * i]));
      console.log(refs.length, wrong.length);
      await shutdown();`,
  });
  const head = sandbox.start(
    "node_modules/tsray/dist/cli.js",
    "start",
    "--head",
    "--port",
    "0",
    "--num-cpus",
    "2",
    "--block",
  );
  await head.prints("cluster at ");
  const address = /cluster at (\S+:\d+)/.exec(head.stdout)?.[1];
  const drivers = ["a", "b"].map((which) =>
    sandbox.spawn(process.execPath, ["main.mjs", which], { TSRAY_ADDRESS: address }),
  );
  for (const driver of drivers)
    expect(await driver.ended).toEqual({ code: 0, signal: null, stdout: "10000 0\n", stderr: "" });
  head.child.kill("SIGTERM");
  await head.ended;
});

describe("a function that cannot be found", () => {
  // Goal: the error says which module was evaluated and what happened there. Method: modules that behave otherwise in workers.
  test("names the module, and the stack of what it threw in a worker before it came to remote()", async () => {
    await using sandbox = new Sandbox({
      "lib/fails.mjs": `import { remote } from "tsray"; import { isMain } from "./main-only.mjs";
        if (!isMain) throw new RangeError("no licence on this machine");
        export const licensed = remote(function licensed() { return 1; });`,
      "lib/main-only.mjs": `export const isMain = process.title !== "tsray:worker";`,
      "lib/other.mjs": `import { remote } from "tsray"; import { isMain } from "./main-only.mjs";
        export const sometimes = isMain ? remote(function sometimes() { return 2; }) : undefined;`,
      "main.mjs": `${HEAD} import { sometimes } from "./lib/other.mjs";
        const fine = remote(() => "fine");
        await init({ numCpus: 1 });
        const { licensed } = await import("./lib/fails.mjs");
        for (const f of [licensed, sometimes]) {
          const error = await f.remote().then(() => undefined, (thrown) => thrown);
          console.log(error.name + ": " + error.message.replaceAll(process.cwd(), "."));
        }
        console.log(await fine.remote());
        await shutdown();`,
      "entry.mjs": `${HEAD} import { isMain } from "./lib/main-only.mjs";
        function connect() { if (!isMain) throw new TypeError("the database answers the driver only"); }
        connect();
        const query = remote(function query() { return 3; });
        await init({ numCpus: 1 });
        const error = await query.remote().then(() => undefined, (thrown) => thrown);
        console.log(error.name + ": " + error.message.replaceAll(process.cwd(), "."));
        console.log(error.cause.name, await remote(() => "by value").remote());
        await shutdown();`,
    });
    const { stdout, stderr, code } = await sandbox.run("main.mjs");
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(stdout).toMatch(
      /^FunctionNotFoundError: worker \d+ looked for licensed in file:\/\/\.\/lib\/fails\.mjs/,
    );
    expect(stdout).toMatch(/RangeError: no licence on this machine\n +at file:\/\/\.\/lib\/fails\.mjs:2/);
    expect(stdout).toMatch(
      /looked for sometimes in file:\/\/\.\/lib\/other\.mjs: the module was evaluated, and/,
    );
    expect(stdout).toMatch(/\nfine\n$/);
    const entry = await sandbox.run("entry.mjs");
    expect(entry.stdout).toMatch(
      /FunctionNotFoundError: worker \d+ looked for query in file:\/\/\.\/entry\.mjs/,
    );
    expect(entry.stdout).toMatch(
      /TypeError: the database answers the driver only\n +at connect \(file:\/\/\.\/entry\.mjs:2/,
    );
    expect(entry.stdout).toMatch(/TypeError by value\n$/);
  });
});
