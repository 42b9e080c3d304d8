/** Functions by value as users meet them: late remote(), callbacks, REPL, -e, standard input, TypeScript, two drivers at once. */
import { readFileSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { get, put, type RemoteFunction, remote } from "tsray";
import { describe, expect, test } from "vitest";
import { rejection, Sandbox, useCluster } from "./support.ts";

const fixture = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url)), "utf8");

describe("in a test file of vitest", () => {
  useCluster({ numCpus: 2 });
  const factor = 3;
  class Scaler {
    by: number;
    constructor(by: number) {
      this.by = by;
    }
    scale(x: number): number {
      return x * this.by * factor;
    }
  }

  test("a function written in the test runs in a worker", async () => {
    const offset = 10;
    const f = remote((x: number) => [x * factor + offset, process.pid]);
    const [value, pid] = await f.remote(4);
    expect(value).toBe(22);
    expect(pid).not.toBe(process.pid);
  });

  test("callbacks in arguments, functions in results and in put values", async () => {
    const apply = remote((fn: (x: number) => number, list: number[]) => list.map(fn));
    expect(await apply.remote((x) => x + factor, [1, 2])).toEqual([4, 5]);
    const made = await remote((by: number) => (x: number) => x * by + factor).remote(2);
    expect(made(5)).toBe(13);
    const held = put({ check: (x: number) => x > factor, Scaler });
    expect((await get(held)).check(4)).toBe(true);
    const used = remote((value: { Scaler: typeof Scaler }) => new value.Scaler(2).scale(5));
    expect(await used.remote(held)).toBe(30);
  });

  test("a class written in the test becomes an actor, and instances of it travel", async () => {
    class Counter {
      #n = factor;
      add(by: number): number {
        this.#n += by;
        return this.#n;
      }
      apply<T>(fn: (n: number) => T): T {
        return fn(this.#n);
      }
      later() {
        const n = this.#n;
        return async () => n + factor;
      }
    }
    const counter = remote(Counter).remote();
    expect(await counter.add.remote(1)).toBe(4);
    const text = "n is";
    expect(await counter.apply.remote((n) => `${text} ${n}`)).toBe("n is 4");
    const later = (await counter.later.remote()) as unknown as () => Promise<number>;
    expect(await later()).toBe(7);
    const scaler = new Scaler(2);
    expect(await remote((s: Scaler) => [s.scale(1), s instanceof Scaler]).remote(scaler)).toEqual([6, true]);
    // Functions that capture handles and refs call and read them there.
    const ref = put([1, 2, 3]);
    expect(await remote(async () => (await get(ref)).length + (await counter.add.remote(1))).remote()).toBe(
      8,
    );
  });

  test("a remote function captured by another, and by itself", async () => {
    const square = remote((x: number) => x * x);
    const sum = remote(async (list: number[]) => {
      const squares = await get(list.map((x) => square.remote(x)));
      return squares.reduce((a, b) => a + b, 0) + square(1);
    });
    expect(await sum.remote([1, 2, 3])).toBe(15);
    const fib: RemoteFunction<[number], Promise<number>> = remote(async (n: number): Promise<number> => {
      if (n < 2) return n;
      const [a, b] = await get([fib.remote(n - 1), fib.remote(n - 2)]);
      return (a as number) + (b as number);
    });
    expect(await fib.remote(7)).toBe(13);
  });

  test("variables are those of the call; a retry has those of its first run", async () => {
    let n = 1;
    const read = remote(() => n);
    const first = read.remote();
    n = 2;
    expect(await get([first, read.remote()])).toEqual([1, 2]);
    const seen = { attempts: 0 };
    const path = `/tmp/tse-attempt-${process.pid}-${Math.random()}`;
    const crash = remote(
      async () => {
        const fs = await import("node:fs");
        if (!fs.existsSync(path)) {
          fs.writeFileSync(path, "");
          process.kill(process.pid, "SIGKILL");
          await new Promise(() => {});
        }
        fs.rmSync(path);
        return seen.attempts;
      },
      { maxRetries: 1 },
    );
    const ref = crash.remote();
    seen.attempts = 5;
    expect(await ref).toBe(0);
  });

  test("a function that is called again and again has what was changed between its calls", async () => {
    const helper: { (x: number): number; step?: number } = (x) => x + (helper.step ?? 0);
    const list = [1];
    const calls = {
      plain: remote((x: number) => x * factor),
      helped: remote((x: number) => helper(x)),
      listed: remote((x: number) => x + list.length),
    };
    const results: number[] = [];
    for (let i = 0; i < 4; i++) {
      if (i === 3) {
        helper.step = 10;
        list.push(2);
      }
      for (const call of Object.values(calls)) results.push(await call.remote(i));
    }
    expect(results).toEqual([0, 0, 1, 3, 1, 2, 6, 2, 3, 9, 13, 5]);
  });

  test("a function that was told to workers already is told to the next, and its retries", async () => {
    const twice = remote((x: number, path: string) => {
      const fs = process.getBuiltinModule("node:fs");
      if (path !== "" && !fs.existsSync(path)) {
        fs.writeFileSync(path, "");
        process.kill(process.pid, "SIGKILL");
        for (;;);
      }
      return x * 2;
    });
    const path = `/tmp/tse-told-${process.pid}-${Math.random()}`;
    for (let i = 0; i < 3; i++) expect(await twice.remote(i, "")).toBe(2 * i);
    const many = Array.from({ length: 50 }, (_, i) => twice.remote(i, i === 20 ? path : ""));
    expect(await get(many)).toEqual(Array.from({ length: 50 }, (_, i) => 2 * i));
    rmSync(path);
  });

  test("large captured data goes through the store, whole", async () => {
    const data = new Float64Array(500_000).fill(0.5);
    expect(await remote(() => data.reduce((a, b) => a + b, 0)).remote()).toBe(250_000);
  });

  test("a streaming generator, several returns, options", async () => {
    const items: number[] = [];
    const stream = remote(function* () {
      yield factor;
      yield factor * 2;
    });
    for await (const ref of stream.remote()) items.push(await ref);
    expect(items).toEqual([3, 6]);
    const pair = remote(() => [factor, 2], { numReturns: 2 });
    expect(await get(pair.remote())).toEqual([3, 2]);
  });

  test("what cannot travel is refused at once, with the way to it", async () => {
    const stream = process.stdout;
    const config = { logger: () => stream.isTTY };
    const model = remote(function train() {
      return config.logger();
    });
    expect(() => model.remote()).toThrow(
      /cannot serialize the call of train\(\): train -> config\.logger -> stream is .*; make it inside the function/,
    );
    const handle = remote(
      class Holder {
        hold(_value: unknown) {}
      },
    ).remote();
    expect(() => handle.hold.remote({ deep: [() => stream] })).toThrow(/value\[0\]\.deep\[0\] -> stream is/);
  });

  test("an error of a function by value names the user's file", async () => {
    const failing = remote(function fail() {
      throw new RangeError("inside");
    });
    const error = await rejection(failing.remote());
    expect(error.message).toContain("fail() failed with RangeError: inside");
    const lines = readFileSync(import.meta.filename, "utf8").split("\n");
    const line = lines.findIndex((text) => text.includes('RangeError("inside")')) + 1;
    expect((error.cause as Error).stack).toMatch(new RegExp(`at fail \\(.*closures\\.test\\.ts:${line}:`));
  });
});

const CASES = `import { isDeepStrictEqual } from "node:util";
  import { init, remote, shutdown } from "tsray";
  import { cases } from "./closure-cases.mjs";
  await init({ numCpus: 2 });
  const all = async (result) => {
    if (typeof result?.next !== "function") return result;
    const items = [];
    for await (const item of result) items.push(item);
    return items;
  };
  const bad = [];
  for (const { name, make, args = [], fails } of cases) {
    try {
      const there = remote(make()).remote(...args);
      if (fails !== undefined) bad.push(name + ": no error");
      const here = await all(await make()(...args));
      let result;
      if (Symbol.asyncIterator in there) for await (const ref of ((result = []), there)) result.push(await ref);
      else result = await there;
      if (!isDeepStrictEqual(result, here)) bad.push([name, here, result]);
    } catch (error) {
      if (fails === undefined || !fails.test(error.message) || error.name !== "SerializationError") bad.push([name, error.message]);
    }
  }
  console.log(cases.length >= 120, bad);
  await shutdown();`;

test("every closure of the table does in a worker what it does here, or is refused", async () => {
  await using sandbox = new Sandbox({
    "main.mjs": CASES,
    "closure-cases.mjs": fixture("closure-cases.mjs"),
    "closure-library.mjs": fixture("closure-library.mjs"),
  });
  const { code, stdout, stderr } = await sandbox.run("main.mjs");
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "true []\n", stderr: "" });
});

describe("ways to start", () => {
  const LATE = `const factor = 3;
    await init({ numCpus: 1 });
    const base = 1;
    class Adder { n = base; add(x) { return this.n + x * factor + path.sep.length; } }
    async function main() {
      const local = 5;
      const f = remote((x) => x * factor + local + path.sep.length);
      console.log(await f.remote(1), await remote(Adder).remote().add.remote(2));
      const p = new Adder();
      console.log(await remote((a) => a.add(1)).remote(p));
    }
    await main();
    await shutdown();`;
  const IMPORTS = `import path from "node:path"; import { init, remote, shutdown } from "tsray";`;
  const OUTPUT = "9 8\n5\n";

  test("a script, below init()", async () => {
    await using sandbox = new Sandbox({ "main.mjs": IMPORTS + LATE });
    expect(await sandbox.run("main.mjs")).toEqual({ code: 0, signal: null, stdout: OUTPUT, stderr: "" });
  });

  test("node --input-type=module -e, and from standard input", async () => {
    await using sandbox = new Sandbox({ "main.mjs": IMPORTS + LATE });
    const inline = await sandbox.run("--input-type=module", "-e", IMPORTS + LATE);
    expect(inline).toEqual({ code: 0, signal: null, stdout: OUTPUT, stderr: "" });
    const shell = `require("child_process").execSync(process.execPath + " --input-type=module < main.mjs", { stdio: "inherit" })`;
    expect((await sandbox.run("-e", shell)).stdout).toBe(OUTPUT);
  });

  test("node -e, with variables and modules of the global object", async () => {
    await using sandbox = new Sandbox({});
    const script = `const { init, remote, shutdown } = require("tsray"); var v = 4; const c = 5;
      function f(x) { return x * v + c + path.sep.length + fs.constants.R_OK; }
      (async () => { await init({ numCpus: 1 }); console.log(await remote(f).remote(2)); await shutdown(); })()`;
    expect(await sandbox.run("-e", script)).toEqual({ code: 0, signal: null, stdout: "18\n", stderr: "" });
  });

  test("the REPL: functions see what was typed before, as it is now", async () => {
    await using sandbox = new Sandbox({
      "repl.mjs": `import { spawn } from "node:child_process";
        const lines = ['const { init, remote, shutdown } = await import("tsray")', "await init({ numCpus: 1 }); 0", "let n = 7", "var w = 2",
          "function h(x) { return x * w + n }", 'await remote((x) => h(x) + path.join("a", "b").length).remote(3)', "n = 8; 0",
          "await remote((x) => h(x)).remote(3)", "class C { v = n; go() { return this.v } }", "await remote(C).remote().go.remote()", "await shutdown()"];
        const child = spawn(process.execPath, ["-i"], { stdio: ["pipe", "pipe", "inherit"] });
        let text = "";
        child.stdout.setEncoding("utf8").on("data", (more) => {
          text += more;
          if (!/(^|\\n)> $/.test(text)) return;
          const line = lines.shift();
          console.log(text.replace(/> $/, "").split("\\n").at(-2) ?? "");
          text = "";
          if (line === undefined) child.stdin.end(); else child.stdin.write(line + "\\n");
        });`,
    });
    const { stdout } = await sandbox.run("repl.mjs");
    expect(stdout.split("\n").filter((line) => /^\d+$/.test(line))).toEqual(["0", "16", "0", "14", "8"]);
  });

  const TYPESCRIPT = `import { init, remote, shutdown } from "tsray";
    import { shift, Level } from "./lib.ts";
    enum Color { Red = "red", Blue = "blue" }
    interface Point { readonly x: number; readonly y: number }

    async function main(): Promise<void> {
      await init({ numCpus: 1 });
      const scale: number = 2;
      abstract class Shape { constructor(protected readonly name: string) {} abstract area(): number; label(): string { return \`\${this.name} \${this.area()}\`; } }
      class Square extends Shape { static made = 0; #side: number; constructor(side: number) { super("square"); this.#side = side; Square.made++; } area(): number { return this.#side ** 2 * scale; } }
      const f = remote((p: Point): unknown => [shift(p.x) * scale, Color.Blue, Level.High, new Square(p.y).label()]);
      console.log(JSON.stringify(await f.remote({ x: 1, y: 3 })));
      const actor = remote(Square).remote(4);
      console.log(await actor.label.remote());
      const fail = remote(function fail(p: Point): number {
        const y: number = p.y;
        throw new Error("at line 17 " + y);
      });
      try { await fail.remote({ x: 1, y: 2 }); } catch (error) { console.log(/main\\.ts:\\d+/.exec(((error as Error).cause as Error).stack as string)?.[0]); }
      await shutdown();
    }
    void main();`;
  const LIBRARY = `export enum Level { Low, High } export const shift = (x: number): number => x + 10;`;

  test.each([
    ["an ES module", "module"],
    ["a CommonJS module", "commonjs"],
  ])("tsx, inside a nested function, as %s", async (_, type) => {
    await using sandbox = new Sandbox({
      "main.ts": TYPESCRIPT,
      "lib.ts": LIBRARY,
      "package.json": JSON.stringify({ type }),
    });
    expect(await sandbox.run("node_modules/tsx/dist/cli.mjs", "main.ts")).toEqual({
      code: 0,
      signal: null,
      stdout: `[22,"blue",1,"square 18"]\nsquare 32\nmain.ts:17\n`,
      stderr: "",
    });
  });

  // Goal: code of equal names never mixes, neither in one driver nor between two that run the same script.
  test("two drivers of one script, equal names, different bodies, 10,000 calls each", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { get, init, remote, shutdown } from "tsray";
        await init({ numCpus: 2 });
        const driver = Number(process.argv[2]);
        const bodies = [
          function work(i) { return [driver, "a", i]; },
          { work: (i) => [driver, "b", i * 2] }.work,
          driver === 1 ? { work(i) { return [driver, "c", i * 3]; } }.work : { work(i) { return [driver, "d", i * 4]; } }.work,
        ];
        const expected = [(i) => [driver, "a", i], (i) => [driver, "b", i * 2], (i) => (driver === 1 ? [1, "c", i * 3] : [driver, "d", i * 4])];
        const refs = [];
        for (let i = 0; i < 10_000; i++) refs.push(remote(bodies[i % 3]).remote(i));
        const wrong = (await get(refs)).filter((result, i) => String(result) !== String(expected[i % 3](i)));
        console.log(refs.length, wrong.length);
        await shutdown();`,
    });
    const both = await Promise.all([sandbox.run("main.mjs", "1"), sandbox.run("main.mjs", "2")]);
    for (const { code, stdout, stderr } of both)
      expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "10000 0\n", stderr: "" });
  });
});
