/** Runtime environments on one node: what workers find around them, whose it is, and what happens when it cannot be had. */
import { chmodSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { isRunning, until } from "../fixtures/processes.ts";
import { Sandbox } from "./support.ts";

const HEAD = `import { get, init, remote, shutdown } from "tsray";`;

describe("variables and flags", { timeout: 120_000 }, () => {
  // Goal: job, task and actor each add theirs; children have what their parent has, and add to it.
  test("are joined: job, then task or actor, then what they call", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `${HEAD}
        const look = remote(function look() { return [process.env.A, process.env.B, process.env.C, process.execArgv.includes("--expose-gc")]; });
        const ask = remote(async () => [await look.remote(), await look.options({ runtimeEnv: { envVars: { C: "child" } } }).remote()]);
        class Asker { look() { return process.env.B; } child() { return look.remote(); } }
        const AskerActor = remote(Asker, { runtimeEnv: { envVars: { B: "actor" } } });
        await init({ numCpus: 2, runtimeEnv: { envVars: { A: "job", B: "job" } } });
        console.log(JSON.stringify(await look.remote()));
        console.log(JSON.stringify(await look.options({ runtimeEnv: { envVars: { B: "task" }, execArgv: ["--expose-gc"] } }).remote()));
        console.log(JSON.stringify(await ask.options({ runtimeEnv: { envVars: { B: "parent" } } }).remote()));
        const asker = AskerActor.remote();
        console.log(await asker.look.remote(), JSON.stringify(await asker.child.remote()));
        console.log(process.env.A, JSON.stringify(await look.remote()));
        await shutdown();`,
    });
    expect(await sandbox.run("main.mjs")).toEqual({
      code: 0,
      signal: null,
      stdout:
        '["job","job",null,false]\n["job","task",null,true]\n' +
        '[["job","parent",null,false],["job","parent","child",false]]\n' +
        'actor ["job","actor",null,false]\nundefined ["job","job",null,false]\n',
      stderr: "",
    });
  });

  // Goal: a worker serves one environment only, and many environments do not pile up processes.
  // Method: 8 environments, one after the other; the pids of each are told apart, and the node's workers
  // counted: with two of each there would be 18.
  test("one pool of workers for each environment; idle ones make room", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `${HEAD} import { readdirSync, readFileSync } from "node:fs";
        const who = remote(function who() { return [process.env.N ?? "none", process.pid]; });
        await init({ numCpus: 2 });
        const owners = new Map(); let mixed = 0; let most = 0;
        const count = () => readdirSync("/proc").filter((pid) => { try { return readFileSync("/proc/" + pid + "/cmdline", "utf8").startsWith("tsray:worker") && readFileSync("/proc/" + pid + "/environ", "utf8").includes(process.env.XDG_RUNTIME_DIR); } catch { return false; } }).length;
        for (let i = 0; i < 8; i++) {
          const own = who.options({ runtimeEnv: { envVars: { N: String(i) } } });
          for (const [n, pid] of await get([own.remote(), own.remote(), own.remote(), who.remote()])) {
            if ((owners.get(pid) ?? n) !== n) mixed++;
            owners.set(pid, n);
          }
          most = Math.max(most, count());
        }
        console.log(new Set(owners.values()).size, mixed, most <= 12);
        await shutdown();`,
    });
    expect(await sandbox.run("main.mjs")).toEqual({
      code: 0,
      signal: null,
      stdout: "9 0 true\n",
      stderr: "",
    });
  });

  // Goal: an idle worker with a task of its own under way does not make room. Method: a task that does not wait for its
  // child; the child waits while workers of six other environments come and go.
  test("a worker whose own tasks still run stays", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `${HEAD} import { existsSync, writeFileSync } from "node:fs"; import { setTimeout as sleep } from "node:timers/promises";
        const waiting = remote(async function waiting() { writeFileSync("begun", ""); while (!existsSync("go")) await sleep(10); writeFileSync("done", ""); });
        const start = remote(function start() { void waiting.options({ runtimeEnv: { envVars: { N: "child" } } }).remote(); return process.pid; });
        const who = remote(function who() { return process.pid; });
        await init({ numCpus: 2 });
        const pid = await start.options({ runtimeEnv: { envVars: { N: "parent" } } }).remote();
        while (!existsSync("begun")) await sleep(10);
        for (let i = 0; i < 6; i++) await who.options({ runtimeEnv: { envVars: { N: String(i) } } }).remote();
        process.kill(pid, 0);
        writeFileSync("go", "");
        while (!existsSync("done")) await sleep(10);
        console.log("done");
        await shutdown();`,
    });
    expect(await sandbox.run("main.mjs")).toEqual({ code: 0, signal: null, stdout: "done\n", stderr: "" });
  });
});

describe("workerSetup", () => {
  test("a function and a module run before anything else, for tasks and actors", async () => {
    await using sandbox = new Sandbox({
      "setup.mjs": `globalThis.order = ["module"]; export default async function () { await null; globalThis.order.push("default"); }`,
      "main.mjs": `${HEAD} (globalThis.order ??= []).push("entry");
        const order = remote(function order() { return globalThis.order; });
        class Seer { order() { return globalThis.order; } }
        const SeerActor = remote(Seer);
        await init({ numCpus: 2 });
        const word = "captured";
        const runtimeEnv = { workerSetup: () => { globalThis.order = [word]; } };
        console.log(await order.options({ runtimeEnv: { workerSetup: "./setup.mjs" } }).remote());
        console.log(await order.options({ runtimeEnv }).remote(), await SeerActor.options({ runtimeEnv }).remote().order.remote());
        await shutdown();`,
    });
    expect(await sandbox.run("main.mjs")).toEqual({
      code: 0,
      signal: null,
      stdout: "[ 'module', 'default', 'entry' ]\n[ 'captured', 'entry' ] [ 'captured', 'entry' ]\n",
      stderr: "",
    });
  });
});

describe("what cannot be set up", { timeout: 120_000 }, () => {
  // Goal: the call fails with the real cause, others go on, and a later call tries again. Method: set-ups that throw, flags
  // that Node does not know, directories that do not exist yet.
  test("fails the call with its cause, and is tried again", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `${HEAD} import { existsSync, mkdirSync, writeFileSync } from "node:fs";
        const ok = remote(function ok() { return "ok"; });
        const read = remote(async () => (await import("node:fs")).readFileSync("data.txt", "utf8"));
        class Idle { ok() { return "alive"; } }
        const IdleActor = remote(Idle);
        await init({ numCpus: 2 });
        const say = async (promise) => { try { console.log(await promise); } catch (error) { console.log(error.name, error.code, "|", error.message.replaceAll(process.cwd(), ".").split("\\n").slice(0, 3).join(" ")); } };
        const flag = new URL("./flag", import.meta.url).pathname;
        const setup = { workerSetup: async () => { const { existsSync } = await import("node:fs"); if (!existsSync(flag)) throw new RangeError("no flag"); } };
        await Promise.all([say(ok.options({ runtimeEnv: setup }).remote()), ok.remote()]);
        await say(IdleActor.options({ runtimeEnv: setup }).remote().ok.remote());
        writeFileSync(flag, "");
        await say(ok.options({ runtimeEnv: setup }).remote());
        await say(IdleActor.options({ runtimeEnv: setup }).remote().ok.remote());
        await say(ok.options({ runtimeEnv: { execArgv: ["--no-such-flag"] } }).remote());
        const directory = { workingDir: "./later" };
        await say(read.options({ runtimeEnv: directory }).remote());
        mkdirSync("later"); writeFileSync("later/data.txt", "here");
        await say(read.options({ runtimeEnv: directory }).remote());
        await say(ok.options({ runtimeEnv: { workerSetup: "./missing.mjs" } }).remote());
        await say(ok.remote());
        await shutdown();`,
    });
    const { stdout, code } = await sandbox.run("main.mjs");
    const lines = stdout.split("\n");
    expect(lines[0]).toMatch(
      /^RuntimeEnvError ERR_TSRAY_RUNTIME_ENV \| task ok cannot run on node \w+: workerSetup threw in worker \d+: RangeError: no flag/,
    );
    expect(lines[1]).toMatch(
      /^RuntimeEnvError ERR_TSRAY_RUNTIME_ENV \| actor Idle \(\w+\) cannot run: workerSetup threw in worker \d+: RangeError: no flag/,
    );
    expect(lines.slice(2, 4)).toEqual(["ok", "alive"]);
    expect(lines[4]).toMatch(/^RuntimeEnvError .*before it was ready.*exited with code 9.*--no-such-flag/);
    expect(lines[5]).toMatch(/^RuntimeEnvError .*the working directory \.\/later does not exist/);
    expect(lines[6]).toBe("here");
    expect(lines[7]).toMatch(/^RuntimeEnvError .*Cannot find module '?.\/missing\.mjs/);
    expect(lines.slice(8)).toEqual(["ok", ""]);
    expect(code).toBe(0);
  });

  test("init() says what is wrong with the job's environment", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `import { init } from "tsray";
        for (const runtimeEnv of [{ workingDir: "./nowhere" }, { envVars: { A: 1 } }, { npm: "yes" }])
          console.log(await init({ numCpus: 1, runtimeEnv }).catch((error) => error.name));`,
    });
    expect((await sandbox.run("main.mjs")).stdout).toBe(
      "RuntimeEnvError\nInvalidOptionError\nInvalidOptionError\n",
    );
  });
});

describe("workingDir", () => {
  // Goal: a task runs in a copy with what .gitignore and excludes leave, and its modules are those of the copy.
  test("workers run in a copy, without what is ignored", async () => {
    await using sandbox = new Sandbox({
      ".gitignore": "*.log\n/build/\n!keep.log\n",
      "main.mjs": `${HEAD} import { where } from "./lib/where.mjs"; import { writeFileSync } from "node:fs";
        class Seat { constructor(n) { this.n = n; } }
        const look = remote(async function look() {
          const { readdirSync } = await import("node:fs");
          const files = readdirSync(".", { recursive: true }).filter((name) => !name.startsWith("node_modules")).sort();
          return [files, process.cwd(), import.meta.url, process.argv[1], new Seat(3)];
        });
        const fail = remote(function fail() { throw new RangeError("at line 8"); });
        await init({ numCpus: 2, runtimeEnv: { workingDir: ".", excludes: ["secret", "*.tmp"] } });
        const [files, cwd, url, script, seat] = await look.remote();
        console.log(files.join(" "));
        console.log(cwd !== process.cwd(), url === new URL("main.mjs", "file://" + cwd + "/").href, script === cwd + "/main.mjs", seat instanceof Seat);
        console.log(await where.remote() === cwd + "/lib", (await remote(() => where.remote()).remote()) === cwd + "/lib");
        const { cause } = await fail.remote().catch((error) => error);
        console.log(cause.stack.includes(import.meta.url + ":8:"));
        writeFileSync("lib/added.txt", "");
        console.log(await look.remote().then(([files]) => files.includes("lib/added.txt")));
        console.log(await look.options({ runtimeEnv: { workingDir: "lib" } }).remote().then(([files, cwd]) => files.join(" ")));
        await shutdown();`,
      "lib/where.mjs": `import { remote } from "tsray"; import { dirname } from "node:path"; import { fileURLToPath } from "node:url"; export const where = remote(() => dirname(fileURLToPath(import.meta.url)));`,
      "lib/.gitignore": "drafts\n",
      "lib/drafts/a.txt": "",
      "build/out.js": "",
      "sub/build/out.js": "",
      "debug.log": "",
      "keep.log": "",
      "secret/key": "",
      "lib/x.tmp": "",
    });
    expect(await sandbox.run("main.mjs")).toEqual({
      code: 0,
      signal: null,
      stdout: `.gitignore keep.log lib lib/.gitignore lib/where.mjs main.mjs sub sub/build sub/build/out.js\ntrue true true true\ntrue true\ntrue\nfalse\n.gitignore added.txt where.mjs x.tmp\n`,
      stderr: "",
    });
    expect(existsSync(join(sandbox.dir, "lib/added.txt"))).toBe(true);
    expect(readdirSync(sandbox.dir)).toContain("main.mjs");
  });
});

describe("npm and bundles", { timeout: 120_000 }, () => {
  // Goal: what the lockfile says is installed, once for all code that has the same one; tsray is the node's own.
  // Method: packages in tarballs and directories, so that npm needs no registry.
  test("npm installs what package.json and lockfile name, and what the environment adds", async () => {
    await using sandbox = new Sandbox({
      "pkg/package.json": `{ "name": "installed", "version": "1.2.3", "main": "index.js" }`,
      "pkg/index.js": `exports.version = "1.2.3"; exports.file = __filename;`,
      "extra/package.json": `{ "name": "extra", "version": "2.0.0", "type": "module", "exports": "./index.js" }`,
      "extra/index.js": `export const extra = "more";`,
      "app/main.mjs": `${HEAD} import { writeFileSync } from "node:fs";
        const look = remote(async () => { const { version, file } = (await import("installed")).default; return [version, file, (await import("tsray")).isInitialized()]; });
        const more = remote(async () => (await import("extra")).extra);
        await init({ numCpus: 1, runtimeEnv: { npm: true } });
        const [version, file, isOne] = await look.remote();
        console.log(version, isOne, file.includes("/npm-"));
        writeFileSync(new URL("other.txt", import.meta.url), "another content, the same lockfile");
        const [, again] = await look.options({ runtimeEnv: { workingDir: "." } }).remote();
        console.log(again === file);
        console.log(await more.options({ runtimeEnv: { npm: { packages: ["file:" + process.env.PWD + "/../extra"] } } }).remote());
        const error = await look.options({ runtimeEnv: { npm: { packages: ["file:/nowhere/at-all.tgz"] } } }).remote().catch((thrown) => thrown);
        console.log(error.name, /npm install .*failed with exit code \\d+:[^]*ENOENT/.test(error.message), await remote(() => "unharmed").remote());
        await shutdown();`,
    });
    const prepare = `const { execSync } = require("node:child_process"); const { writeFileSync } = require("node:fs");
      const [name] = execSync("npm pack ./pkg --silent", { encoding: "utf8" }).trim().split("\\n");
      writeFileSync("app/package.json", JSON.stringify({ name: "app", dependencies: { tsray: "*", installed: "file:" + process.cwd() + "/" + name } }));
      writeFileSync("app/package-lock.json", JSON.stringify({ name: "app", lockfileVersion: 3, requires: true, packages: {
        "": { name: "app", dependencies: { tsray: "*", installed: "file:" + process.cwd() + "/" + name } },
        "node_modules/installed": { version: "1.2.3", resolved: "file:" + process.cwd() + "/" + name },
        "node_modules/tsray": { version: "0.1.0" } } }));`;
    expect(await sandbox.run("-e", prepare)).toMatchObject({ code: 0 });
    const driver = sandbox.spawn("sh", ["-c", `cd app && exec "$0" main.mjs`, process.execPath]);
    // Its standard error may say that a task waits: npm takes seconds.
    expect(await driver.ended).toMatchObject({
      code: 0,
      stdout: "1.2.3 true true\ntrue\nmore\nRuntimeEnvError true unharmed\n",
    });
  });

  // Method: an npm that never ends, nor does what it has started; their pids are read when both run.
  test("npm and what it started end with a raylet that is killed", async () => {
    await using sandbox = new Sandbox({
      "bin/npm": `#!/bin/sh\nsleep 1000 &\necho $$ $! > "$PIDS.new"; mv "$PIDS.new" "$PIDS"; wait\n`,
      "main.mjs": `${HEAD} import { existsSync, readFileSync } from "node:fs";
        const parent = remote(() => process.ppid);
        await init({ numCpus: 1 });
        const raylet = await parent.remote();
        const pids = process.cwd() + "/pids";
        const envVars = { PATH: process.cwd() + "/bin:" + process.env.PATH, PIDS: pids };
        parent.options({ runtimeEnv: { workingDir: ".", npm: { packages: ["any"] }, envVars } }).remote().catch(() => {});
        while (!existsSync(pids)) await new Promise((resolve) => setTimeout(resolve, 20));
        const running = readFileSync(pids, "utf8").trim().split(" ").filter((pid) => existsSync("/proc/" + pid));
        process.kill(raylet, "SIGKILL");
        console.log(running.join(" "));
        await shutdown();`,
    });
    chmodSync(join(sandbox.dir, "bin/npm"), 0o755);
    const { stdout, code } = await sandbox.run("main.mjs");
    expect(code).toBe(0);
    const pids = stdout.trim().split(" ").map(Number);
    expect(pids).toHaveLength(2);
    await until(() => !pids.some(isRunning), "the end of npm and its child");
  });

  test("a bundle that cannot be made says why", async () => {
    await using sandbox = new Sandbox({
      "main.mjs": `${HEAD} import { existsSync } from "node:fs";
        const one = remote(function one() { return 1; });
        await init({ numCpus: 1 });
        if (existsSync("never")) await import("./does-not-exist.mjs");
        const error = await one.options({ runtimeEnv: { bundle: true } }).remote().catch((thrown) => thrown);
        console.log(error.name, /esbuild could not bundle .*main\\.mjs: [^]*does-not-exist/.test(error.message), await one.remote());
        await shutdown();`,
    });
    sandbox.install("esbuild");
    expect(await sandbox.run("main.mjs")).toEqual({
      code: 0,
      signal: null,
      stdout: "RuntimeEnvError true 1\n",
      stderr: "",
    });
  });
});
