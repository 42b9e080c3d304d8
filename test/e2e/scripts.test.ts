/** A user's scripts as real processes: every way to start one, every way for it to end. Nothing may be left after any. */
import { describe, expect, test } from "vitest";
import { Sandbox, until } from "./support.ts";

const TASKS = `
  const square = remote(function square(x) { return x * x; });
  class Counter { n = 0; add(by) { return (this.n += by); } }
  const CounterActor = remote(Counter);`;
const USE = `
  const counter = CounterActor.remote();
  await counter.add.remote(2);
  console.log(await get([square.remote(3), square.remote(square.remote(2))]), await counter.add.remote(5));`;
const OUTPUT = "[ 9, 16 ] 7\n";

describe("ways to start", () => {
  test("a plain .mjs script, ended by shutdown()", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { get, init, remote, shutdown } from "tsray"; ${TASKS}
        await init({ numCpus: 2 }); ${USE} await shutdown(); await shutdown();`,
    });
    expect(await sandbox.run("main.mjs")).toEqual({ code: 0, signal: null, stdout: OUTPUT, stderr: "" });
  });

  // Goal: no shutdown() is needed: the script ends when it has nothing left to do.
  test("a script without shutdown() ends by itself", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { get, init, remote } from "tsray"; ${TASKS} await init({ numCpus: 2 }); ${USE}`,
      "idle.mjs": `import { init } from "tsray"; await init({ numCpus: 2 }); console.log("up");`,
      "fire.mjs": `import { init, remote } from "tsray"; import { appendFileSync } from "node:fs";
        const note = remote(function note(i) { appendFileSync("notes", i + "\\n"); });
        await init({ numCpus: 2 }); for (let i = 0; i < 20; i++) note.remote(i);
        process.on("exit", () => console.log("ended"));`,
    });
    expect(await sandbox.run("main.mjs")).toEqual({ code: 0, signal: null, stdout: OUTPUT, stderr: "" });
    expect(await sandbox.run("idle.mjs")).toEqual({ code: 0, signal: null, stdout: "up\n", stderr: "" });
    expect((await sandbox.run("fire.mjs")).code).toBe(0);
    const check = `console.log(require("fs").readFileSync("notes", "utf8").split("\\n").length - 1)`;
    expect((await sandbox.run("-e", check)).stdout).toBe("20\n");
  });

  // Goal: init() may be left out.
  // Method: each of the first five workers is killed while it evaluates the script, before it could be ready.
  test("workers that somebody kills while they start are replaced, and nothing fails", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { init, remote, shutdown } from "tsray";
        import { appendFileSync, readFileSync } from "node:fs";
        if (process.env.TSRAY_WORKER_ID !== undefined) {
          appendFileSync("starts", "x");
          if (readFileSync("starts").length <= 5) process.kill(process.pid, "SIGKILL");
        }
        const one = remote(() => 1);
        await init({ numCpus: 1 });
        console.log(await one.remote());
        await shutdown();`,
    });
    expect(await sandbox.run("main.mjs")).toMatchObject({ code: 0, stdout: "1\n" });
  }, 120_000);

  test("a script without init() starts a cluster by itself", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { get, put, remote } from "tsray"; ${TASKS} ${USE}`,
      "put.mjs": `import { get, put } from "tsray"; console.log(await get(put({ a: [1] })));`,
      "await.mjs": `import { remote } from "tsray"; ${TASKS} console.log(await square.remote(4));`,
    });
    expect(await sandbox.run("main.mjs")).toEqual({ code: 0, signal: null, stdout: OUTPUT, stderr: "" });
    expect((await sandbox.run("put.mjs")).stdout).toBe("{ a: [ 1 ] }\n");
    expect((await sandbox.run("await.mjs")).stdout).toBe("16\n");
  });

  // Goal: what is done with calls that wait for the cluster to start counts: they are cancelled, left, or fail, in words.
  test("a script may cancel, leave and get wrong what it asked for before the cluster is there", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { cancel, get, remote } from "tsray"; import { appendFileSync, existsSync } from "node:fs";
        const items = remote(function* items(x) { for (let i = 0; i < 3; i++) { appendFileSync("ran", x); yield i; } });
        const never = remote(() => new Promise(() => {}));
        const bad = items.remote(new WeakMap());
        const left = items.remote("left"); left.return();
        const stopped = items.remote("stopped"); cancel(stopped);
        const ref = never.remote(); cancel(ref);
        const nameOf = (promise) => get(promise).then(() => "none", (error) => error.name);
        const last = async (stream) => { let name = "end"; for await (const item of stream) name = await nameOf(item); return name; };
        console.log(await last(bad), await last(left), await last(stopped), await nameOf(ref), existsSync("ran"));`,
    });
    expect(await sandbox.run("main.mjs")).toEqual({
      ...{ code: 0, signal: null, stderr: "" },
      stdout: "SerializationError end TaskCancelledError TaskCancelledError false\n",
    });
  });

  test("a main().then() script, and functions imported from other modules", async () => {
    await using sandbox = new Sandbox({
      "lib/jobs.mjs": `import { remote } from "tsray"; export const twice = remote(function twice(x) { return 2 * x; });`,
      "main.mjs": `import { get, init, remote, shutdown } from "tsray"; import { twice } from "./lib/jobs.mjs"; ${TASKS}
        async function main() { await init({ numCpus: 2 }); ${USE} console.log(await twice.remote(4)); await shutdown(); }
        main().then(() => console.log("end"), (error) => { console.error(error); process.exitCode = 1; });`,
    });
    expect(await sandbox.run("main.mjs")).toEqual({
      code: 0,
      signal: null,
      stdout: `${OUTPUT}8\nend\n`,
      stderr: "",
    });
  });

  test("a CommonJS script", async () => {
    await using sandbox = new Sandbox({
      "main.cjs": `const { get, init, remote, shutdown } = require("tsray"); ${TASKS}
        (async () => { await init({ numCpus: 2 }); ${USE} await shutdown(); })();`,
    });
    const { code, stdout } = await sandbox.run("--no-warnings", "main.cjs");
    expect({ code, stdout }).toEqual({ code: 0, stdout: OUTPUT });
  });

  const typescript = `import { get, init, remote, shutdown } from "tsray";
    const square = remote(function square(x: number): number { return x * x; });
    class Counter { private n = 0; add(by: number): number { return (this.n += by); } }
    const CounterActor = remote(Counter);
    enum Color { Red = "red" }
    const color = remote(function color(): Color { return Color.Red; });
    await init({ numCpus: 2 }); ${USE}
    console.log(await color.remote()); await shutdown();`;

  test.each([
    ["node --import tsx", ["--import", "tsx"]],
    ["tsx", ["node_modules/tsx/dist/cli.mjs"]],
  ])("a TypeScript script through %s", async (_, args) => {
    await using sandbox = new Sandbox({ "main.ts": typescript, "package.json": '{ "type": "module" }' });
    expect(await sandbox.run(...args, "main.ts")).toEqual({
      code: 0,
      signal: null,
      stdout: `${OUTPUT}red\n`,
      stderr: "",
    });
  });

  const decorated = `import { get, init, remote, shutdown } from "tsray";
    class Jobs { @remote({ numCpus: 1 }) static area(r: number): number { return 3 * r * r; } }
    @remote({ numCpus: 1 }) class Counter { n = 0; add(by: number): number { return (this.n += by); } }
    await init({ numCpus: 2 });
    const counter = remote(Counter).remote();
    await counter.add.remote(1);
    console.log(await remote(Jobs.area).remote(2), await counter.add.remote(2));
    await shutdown();`;

  test.each([
    ["TC39", "{}"],
    ["experimentalDecorators", '{ "experimentalDecorators": true }'],
  ])("decorators in their %s form", async (_, compilerOptions) => {
    await using sandbox = new Sandbox({
      "main.ts": decorated,
      "package.json": '{ "type": "module" }',
      "tsconfig.json": `{ "compilerOptions": ${compilerOptions} }`,
    });
    const { code, stdout, stderr } = await sandbox.run("--import", "tsx", "main.ts");
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "12 3\n", stderr: "" });
  });

  // Goal: flags for the driver alone do not reach workers, nor do values that stand apart from them; others do.
  test("a profiled script, with flags whose values stand apart", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { init, remote } from "tsray";
        const look = remote(function look() { return [process.execArgv, typeof gc]; });
        await init({ numCpus: 1 });
        const [flags, kind] = await look.remote();
        console.log(flags.filter((flag) => /prof|9999|hot/.test(flag)), kind);`,
    });
    const profiled = ["--cpu-prof", "--cpu-prof-interval", "9999", "--cpu-prof-dir", "hot"];
    const { code, stdout } = await sandbox.run(...profiled, "--expose-gc", "main.mjs");
    expect({ code, stdout }).toEqual({ code: 0, stdout: "[] function\n" });
  });

  // Goal: the command line of the driver is what tasks see; the directory too.
  test("tasks see the driver's arguments and directory", async () => {
    await using sandbox = new Sandbox({
      "sub/main.mjs": `import { init, remote } from "tsray";
        const look = remote(function look() { return [process.argv.slice(2), process.cwd(), import.meta.url]; });
        await init({ numCpus: 1 });
        const [argv, cwd, url] = await look.remote();
        console.log(JSON.stringify(argv), cwd === process.cwd(), url === import.meta.url);`,
    });
    const { stdout } = await sandbox.run("sub/main.mjs", "a", "--b=c");
    expect(stdout).toBe('["a","--b=c"] true true\n');
  });
});

describe("init and shutdown", () => {
  test("init twice rejects; after shutdown it starts anew", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { get, init, isInitialized, remote, shutdown } from "tsray"; ${TASKS}
        console.log(isInitialized());
        await init({ numCpus: 1 });
        console.log(isInitialized(), await init().catch((error) => error.code));
        await init({ ignoreReinit: true });
        console.log(await square.remote(2));
        await shutdown();
        console.log(isInitialized());
        for (let i = 0; i < 3; i++) {
          await using cluster = await init({ numCpus: 1 });
          console.log(await square.remote(i));
        }
        console.log(isInitialized(), process.listenerCount("beforeExit"));`
        .replace("await using cluster = await init({ numCpus: 1 });", "await init({ numCpus: 1 });")
        .replace(
          "console.log(await square.remote(i));",
          "console.log(await square.remote(i)); await shutdown();",
        ),
    });
    const { code, stdout, stderr } = await sandbox.run("main.mjs");
    expect(stderr).toBe("");
    expect(stdout).toBe("false\ntrue ERR_TSRAY_ALREADY_INITIALIZED\n4\nfalse\n0\n1\n4\nfalse 0\n");
    expect(code).toBe(0);
  });

  // Goal: refs of a cluster that has ended do not hang.
  test("refs of a cluster that was shut down reject or keep what they had", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { get, init, remote, shutdown } from "tsray"; ${TASKS}
        const forever = remote(function forever() { return new Promise(() => {}); });
        await init({ numCpus: 1 });
        const pending = forever.remote(); const done = square.remote(2); 
        const settled = pending.then(() => "value", (error) => error.name);
        await shutdown();
        console.log("settled", await Promise.race([settled, new Promise((r) => setTimeout(r, 5000, "nothing").unref())]));`,
    });
    const { stdout } = await sandbox.run("main.mjs");
    expect(stdout).toMatch(/settled \w+Error/);
  });

  test("wrong options reject and leave nothing", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { init } from "tsray";
        for (const options of [{ numCpu: 1 }, { numCpus: -1 }, { address: "127.0.0.1:1", timeout: 500 }])
          console.log(await init(options).catch((error) => error.name));`,
    });
    const { stdout } = await sandbox.run("main.mjs");
    expect(stdout).toBe("InvalidOptionError\nInvalidOptionError\nClusterUnreachableError\n");
  });
});

describe("ways to end", () => {
  test("an error that nobody catches ends the script with code 1", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { init, remote } from "tsray";
        const fail = remote(function fail() { throw new RangeError("in the task"); });
        await init({ numCpus: 2 }); await fail.remote();`,
      "sync.mjs": `import { init, remote } from "tsray"; ${TASKS}
        await init({ numCpus: 2 }); await square.remote(1); throw new Error("in the driver");`,
    });
    const task = await sandbox.run("main.mjs");
    expect(task.code).toBe(1);
    expect(task.stderr).toContain("in the task");
    const driver = await sandbox.run("sync.mjs");
    expect(driver.code).toBe(1);
    expect(driver.stderr).toContain("in the driver");
  });

  test("process.exit() in the driver, in the midst of work", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { init, remote } from "tsray"; const spin = remote(function spin() { for (;;); }); ${TASKS}
        await init({ numCpus: 2 }); await square.remote(1); for (let i = 0; i < 10; i++) spin.remote();
        setTimeout(() => process.exit(3), 200);`,
    });
    expect((await sandbox.run("main.mjs")).code).toBe(3);
  });

  test("process.exit() before the cluster is up", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { init } from "tsray"; init({ numCpus: 2 }); setImmediate(() => process.exit(4));`,
    });
    expect((await sandbox.run("main.mjs")).code).toBe(4);
  });

  // Goal: nothing survives a driver that is killed. Method: 500 tasks, some in endless loops, some with children that
  // ignore signals or left their group; the driver gets a signal in their midst.
  test.each(["SIGKILL", "SIGTERM", "SIGINT"] as const)(
    "a driver that gets %s leaves nothing",
    async (signal) => {
      await using sandbox = new Sandbox({
        "main.mjs": `import { init, remote } from "tsray"; import { spawn } from "node:child_process";
        const work = remote(function work(i) {
          if (i % 100 === 20) { spawn("sleep", ["1000"], { stdio: "inherit" }); spawn("sh", ["-c", "trap '' TERM INT HUP; sleep 1000"], { stdio: "ignore" }); }
          if (i % 100 === 50) { console.log("looping"); for (;;); }
          return new Uint8Array(200_000);
        });
        class Holder { hold() { return new Promise(() => {}); } }
        await init({ numCpus: 2 });
        const holder = remote(Holder);
        const refs = Array.from({ length: 500 }, (_, i) => work.remote(i));
        await Promise.all(refs);`.replace("const holder = remote(Holder);", ""),
      });
      const script = sandbox.start("main.mjs");
      await script.prints("looping");
      script.child.kill(signal);
      expect((await script.ended).signal).toBe(signal);
    },
  );

  test("the raylet is killed: the driver is told, and can end", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { init, nodes, remote, shutdown } from "tsray"; ${TASKS}
        const forever = remote(function forever() { return new Promise(() => {}); });
        await init({ numCpus: 1 }); await square.remote(1);
        const ref = forever.remote();
        const [{ pid }] = await nodes();
        process.kill(pid, "SIGKILL");
        console.log("ended with", await ref.catch((error) => error.name));
        await shutdown(); console.log("down");`,
    });
    const { code, stdout } = await sandbox.run("main.mjs");
    expect(stdout).toMatch(/ended with \w+Error\ndown\n/);
    expect(code).toBe(0);
  });

  // Goal: a second cluster of the same user is none of the first one's business.
  test("two drivers side by side", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { get, init, remote, shutdown } from "tsray"; ${TASKS}
        await init({ numCpus: 2 }); ${USE} await shutdown();`,
    });
    const both = await Promise.all([sandbox.run("main.mjs"), sandbox.run("main.mjs")]);
    for (const { code, stdout } of both) expect({ code, stdout }).toEqual({ code: 0, stdout: OUTPUT });
  });

  // Goal: what a killed cluster could not remove, the next one does. Method: driver and raylet are killed at once.
  test("a cluster killed with all its processes is swept by the next one", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { init, nodes } from "tsray"; await init({ numCpus: 1 }); const [{ pid }] = await nodes();
        process.kill(pid, "SIGKILL"); process.kill(process.pid, "SIGKILL");`,
      "next.mjs": `import { init } from "tsray"; await init({ numCpus: 1 }); console.log("up");`,
    });
    expect((await sandbox.run("main.mjs")).signal).toBe("SIGKILL");
    await until(async () => (await sandbox.run("next.mjs")).stdout === "up\n", "the next cluster");
  });
});
