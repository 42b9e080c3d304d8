/** What workers print, on the driver's terminal. Each test is a script of its own, so that its output can be read. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Cluster } from "tsray/testing";
import { expect, onTestFinished, test } from "vitest";
import { Sandbox, until } from "./support.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";

/** A script with tasks that print; `body` runs after init. */
const script = (body: string, init = "{ numCpus: 2 }") => `
  import { get, init, remote, shutdown } from "tsray";
  import { appendFileSync, readFileSync } from "node:fs";
  const print = remote(function print(...lines) { for (const line of lines) console.log(line); return process.pid; });
  const complain = remote(function complain(line) { console.error(line); return process.pid; });
  const lastWords = remote(function lastWords() { console.log("last words"); process.exit(0); }, { maxRetries: 0 });
  const unended = remote(function unended() { process.stdout.write("no newline"); });
  const together = remote(async function together(file, n) {
    appendFileSync(file, "x");
    while (readFileSync(file, "utf8").length < n) await new Promise((resolve) => setTimeout(resolve, 5));
    console.log("from all");
    return process.pid;
  });
  class Greeter { greet() { console.log("hello"); return process.pid; } }
  const GreeterActor = remote(Greeter);
  await init(${init});
  ${body}
  await shutdown();`;

// Goal: lines carry the name and pid of what printed them; stdout and stderr are kept apart.
test("lines carry the name of the task and the pid, on the stream they were written to", async () => {
  await using sandbox = new Sandbox({
    "main.mjs": script(`
      const a = await print.remote("one", "two");
      const b = await complain.remote("oh no");
      const c = await print.options({ name: "renamed" }).remote("three");
      console.log(JSON.stringify([a, b, c]));`),
  });
  const { code, stdout, stderr } = await sandbox.run("main.mjs");
  expect(code).toBe(0);
  const [a, b, c] = JSON.parse(stdout.split("\n").find((line) => line.startsWith("[")) ?? "") as number[];
  expect(stdout).toContain(`(print pid=${a}) one\n(print pid=${a}) two\n`);
  expect(stdout).toContain(`(renamed pid=${c}) three\n`);
  expect(stdout).not.toContain("oh no");
  expect(stderr).toBe(`(complain pid=${b}) oh no\n`);
});

test("an actor's lines carry its class, or its name", async () => {
  await using sandbox = new Sandbox({
    "main.mjs": script(`
      const pid = await GreeterActor.remote().greet.remote();
      await GreeterActor.options({ name: "bob" }).remote().greet.remote();
      console.log("pid", pid);`),
  });
  const { stdout } = await sandbox.run("main.mjs");
  expect(stdout).toMatch(/\(Greeter[^)]* pid=\d+\) hello/);
  expect(stdout).toMatch(/\(\S*.*bob[^)]* pid=\d+\) hello|repeated 1x/);
});

// Goal: what a worker prints right before it ends is not lost, nor a line without an end.
test("the last line before a worker ends is shown, and a line without an end", async () => {
  await using sandbox = new Sandbox({
    "main.mjs": script(
      `await lastWords.remote().catch((error) => console.log(error.name)); await unended.remote();`,
    ),
  });
  const { stdout } = await sandbox.run("main.mjs");
  expect(stdout).toMatch(/\(lastWords pid=\d+\) last words\n/);
  expect(stdout).toContain("WorkerCrashedError");
  expect(stdout).toMatch(/\(unended pid=\d+\) no newline\n/);
});

// Goal: the same line from several workers is shown once, with a count. Method: four tasks meet before they print.
test("equal lines of several workers are folded into one", async () => {
  await using sandbox = new Sandbox({
    "main.mjs": script(
      `const pids = await get([1, 2, 3, 4].map(() => together.remote("meeting", 4)));
       console.log("workers", new Set(pids).size);`,
      "{ numCpus: 4 }",
    ),
  });
  const { stdout } = await sandbox.run("main.mjs");
  expect(stdout).toContain("workers 4\n");
  const lines = stdout.split("\n").filter((line) => line.includes("from all"));
  expect(lines).toHaveLength(2);
  expect(lines[1]).toContain("[repeated 3x across the cluster]");
});

// Goal: a loop that prints equal lines in one process means them all.
test("equal lines of one worker are all shown, in order", async () => {
  await using sandbox = new Sandbox({
    "main.mjs": script(
      `await print.remote(...Array.from({ length: 500 }, (_, i) => (i % 2 ? "same" : "line " + i)));`,
    ),
  });
  const { stdout } = await sandbox.run("main.mjs");
  const lines = stdout
    .split("\n")
    .slice(0, -1)
    .map((line) => line.replace(/^\(print pid=\d+\) /, ""));
  expect(lines).toEqual(Array.from({ length: 500 }, (_, i) => (i % 2 ? "same" : `line ${i}`)));
});

test("logToDriver: false shows nothing", async () => {
  await using sandbox = new Sandbox({
    "main.mjs": script(
      `await print.remote("one"); await complain.remote("two");`,
      "{ numCpus: 1, logToDriver: false }",
    ),
  });
  const { code, stdout, stderr } = await sandbox.run("main.mjs");
  expect([code, stdout, stderr]).toEqual([0, "", ""]);
});

// Goal: odd output does no harm: binary bytes, very long lines, carriage returns, many lines.
test("long lines, many lines and odd characters arrive", async () => {
  await using sandbox = new Sandbox({
    "main.mjs": script(
      `await print.remote("x".repeat(50_000), "äöü😀", "a\\rb", "", ...Array.from({ length: 5000 }, (_, i) => "n" + i));`,
    ),
  });
  const { stdout } = await sandbox.run("main.mjs");
  expect(stdout).toContain("x".repeat(50_000));
  expect(stdout).toContain("äöü😀");
  expect(stdout.match(/\) n\d+\n/g)).toHaveLength(5000);
});

// Goal: the head may die under what workers of other nodes print. Method: the head is killed, then the worker prints for a second
// in which its raylet looks for a head again and again, then the next head comes.
test("lines that are written while the head is away are shown when it is back", async () => {
  await using sandbox = new Sandbox({
    "driver.mjs": `
      import { existsSync, writeFileSync } from "node:fs";
      import { init, remote, shutdown } from "tsray";
      const until = async (file) => {
        while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 5));
      };
      const print = remote(async function print(dir) {
        console.log("before");
        await until(dir + "/go");
        for (let i = 0; i < 100; i++) {
          console.log("meanwhile " + i);
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        writeFileSync(dir + "/printed", "");
      });
      await init({ address: process.argv[2], token: "${TOKEN}" });
      await print.options({ resources: { a: 1 } }).remote(process.argv[3]);
      await until(process.argv[3] + "/end");
      await shutdown();`,
  });
  const cluster = await Cluster.start({ token: TOKEN, healthCheck: { period: 100 } });
  onTestFinished(() => cluster.shutdown());
  await cluster.addNode({ numCpus: 1, resources: { a: 1 } });
  const driver = sandbox.start("driver.mjs", cluster.address, sandbox.dir);
  await driver.prints("before");
  await cluster.killHead();
  writeFileSync(join(sandbox.dir, "go"), "");
  await until(() => existsSync(join(sandbox.dir, "printed")), "the worker to print");
  await cluster.startHead();
  await driver.prints("meanwhile 99");
  writeFileSync(join(sandbox.dir, "end"), "");
  const { stdout } = await driver.ended;
  const lines = [...stdout.matchAll(/^\(print pid=\d+[^)]*\) meanwhile (\d+)$/gm)].map((match) =>
    Number(match[1]),
  );
  expect(lines).toEqual(Array.from({ length: 100 }, (_, i) => i));
}, 120_000);
