// The command line as users run it: every command is a process of its own, in a runtime directory of the test.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  CLI,
  fixture,
  makeRuntimeDir,
  type Program,
  processesOf,
  recordsIn,
  sessionsIn,
  startProgram,
  storeFilesOf,
  until,
} from "./processes.ts";

const SMALL = ["--num-gpus", "0", "--object-store-memory", "32MiB"];

let runtimeDir = "";
const stores = new Set<string>();

beforeEach(() => {
  runtimeDir = makeRuntimeDir();
  stores.clear();
});

afterEach(async () => {
  await tsray(["stop", "--force"]);
  const left = {
    processes: processesOf(runtimeDir),
    sessions: sessionsIn(runtimeDir),
    stores: storeFilesOf([...stores]),
  };
  rmSync(runtimeDir, { recursive: true, force: true });
  expect(left).toEqual({ processes: [], sessions: [], stores: [] });
});

function begin(args: readonly string[], env: NodeJS.ProcessEnv = {}): Program {
  return startProgram([CLI, ...args], { XDG_RUNTIME_DIR: runtimeDir, ...env });
}

async function tsray(args: readonly string[], env?: NodeJS.ProcessEnv) {
  const program = begin(args, env);
  program.child.stdin?.end();
  const { code, stdout, stderr } = await program.ended;
  if (existsSync(runtimeDir)) for (const { storePath } of recordsIn(runtimeDir)) stores.add(storePath);
  return { code, stdout, stderr };
}

/** One document on standard output and nothing else anywhere. */
async function json<T>(args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await tsray([...args, "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout) as T;
}

async function startHead(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await tsray(["start", "--head", "--port", "0", ...SMALL, ...args]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return addressIn(stdout);
}

function addressIn(text: string): string {
  return /cluster at (\S+:\d+)/.exec(text)?.[1] ?? "";
}

/** A port that nothing listens on. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

interface Status {
  readonly address: string;
  readonly nodes: {
    nodeId: string;
    alive: boolean;
    isHead: boolean;
    pid: number;
    labels: Record<string, string>;
    total: Record<string, number>;
  }[];
  readonly resources: Record<string, { used: number; total: number }>;
  readonly pending: { resources: Record<string, number>; count: number; reason: string }[];
}
type Rows = Record<string, unknown>[];

describe("life of a cluster", () => {
  // Goal: three daemons make one cluster, a script's tasks run on each, and `stop` leaves nothing.
  test("start, join, status, list, run and stop", async () => {
    const address = await startHead("--num-cpus", "1", "--resources", '{"place0": 1}');
    expect(address).toMatch(/^127\.0\.0\.1:\d+$/);
    for (const [i, zone] of ["a", "b"].entries()) {
      const joined = await tsray([
        ...["start", "--address", address, "--num-cpus", "2", ...SMALL],
        ...["--resources", `{"place${i + 1}": 1}`, "--labels", `zone=${zone},disk=ssd`],
      ]);
      expect(joined).toMatchObject({ code: 0, stderr: "" });
      expect(joined.stdout).toContain(`node of the tsray cluster at ${address}`);
    }
    for (const file of recordsIn(runtimeDir).map(({ sessionDir }) => join(sessionDir, "token"))) {
      expect(statSync(file).mode & 0o777).toBe(0o600);
    }

    const status = await json<Status>(["status"]);
    expect(status.address).toBe(address);
    expect(status.nodes.map((node) => [node.alive, node.isHead, node.labels])).toEqual([
      [true, true, {}],
      [true, false, { zone: "a", disk: "ssd" }],
      [true, false, { zone: "b", disk: "ssd" }],
    ]);
    expect(status.resources.CPU).toEqual({ used: 0, total: 5 });
    expect(status.pending).toEqual([]);

    const ran = await tsray(["run", fixture("cli-driver.ts"), "everywhere", "--flag", "x"]);
    expect(ran.stderr).toBe("");
    const said = JSON.parse(ran.stdout) as { address: string; ran: string[]; rest: string[] };
    expect(said).toEqual({ address, ran: said.ran, rest: ["--flag", "x"] });
    expect([...said.ran].sort()).toEqual(status.nodes.map(({ nodeId }) => nodeId).sort());

    const rows = await json<Rows>(["list", "nodes", "--filter", "isHead=false", "--filter", "alive=true"]);
    expect(rows.map(({ nodeId }) => nodeId)).toEqual(status.nodes.slice(1).map(({ nodeId }) => nodeId));
    const jobs = await json<Rows>(["list", "jobs"]);
    expect(jobs).toMatchObject([{ state: "ENDED" }]);

    const text = await tsray(["status"]);
    expect(text.stdout).toContain("3 nodes alive, 0 dead");
    const colour = String.fromCharCode(27);
    expect(text.stdout).not.toContain(colour);

    const pids = status.nodes.map(({ pid }) => pid);
    const stopped = await tsray(["stop"]);
    expect(stopped).toMatchObject({ code: 0, stderr: "" });
    for (const pid of pids) expect(stopped.stdout).toContain(`(pid ${pid})`);
    expect(stopped.stdout).not.toContain("killed");
    expect(processesOf(runtimeDir)).toEqual([]);
    expect(sessionsIn(runtimeDir)).toEqual([]);
    expect(storeFilesOf([...stores])).toEqual([]);
    expect(stores.size).toBe(3);
  });

  // Goal: what runs and what waits is listed while it does.
  test("lists show a held task, its workers, actors and job, and status what waits", async () => {
    const address = await startHead("--num-cpus", "2");
    const driver = begin(["run", fixture("cli-driver.ts"), "hold"]);
    await driver.line((line) => line.includes("held"));

    const tasks = await json<Rows>(["list", "tasks"]);
    expect(tasks).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ name: "pass", state: "RUNNING" }),
        expect.objectContaining({ name: "nodeOf", state: "PENDING_NODE_ASSIGNMENT" }),
      ]),
    );
    expect(await json<Rows>(["list", "tasks", "--filter", "name=pass"])).toHaveLength(1);
    expect(await json<Rows>(["list", "actors", "--filter", "state=ALIVE"])).toMatchObject([
      { className: "Signal" },
      { className: "Signal" },
    ]);
    expect(await json<Rows>(["list", "actors", "--filter", "name=gate"])).toHaveLength(1);
    expect(await json<Rows>(["list", "workers", "--filter", "state=LEASED"])).toMatchObject([
      { running: "pass" },
    ]);
    expect(await json<Rows>(["list", "jobs", "--filter", "state=RUNNING"])).toHaveLength(1);
    const table = await tsray(["list", "tasks"]);
    const [title = "", ...lines] = table.stdout.trimEnd().split("\n");
    expect(title).toMatch(/^TASK ID +NAME +STATE/);
    expect(lines.find((line) => line.includes(" pass "))?.indexOf("RUNNING")).toBe(title.indexOf("STATE"));

    // The node reports what waits a moment after it began to wait.
    let status = await json<Status>(["status", "--address", address]);
    while (status.pending.length === 0) status = await json<Status>(["status", "--address", address]);
    const { pending, resources } = status;
    expect(pending).toMatchObject([{ resources: { CPU: 1, unobtainium: 1 }, count: 1 }]);
    expect(pending[0]?.reason).toContain("unobtainium");
    expect(resources.CPU?.total).toBe(2);
    expect((await tsray(["status"])).stdout).toContain("unobtainium");

    driver.child.stdin?.write("go\n");
    await driver.line((line) => line.includes("nodeId"));
    expect((await driver.ended).code).toBe(0);
  });

  test("a node is killed at once with --force, with the worker that holds a task", async () => {
    await startHead("--num-cpus", "1");
    const driver = begin(["run", fixture("cli-driver.ts"), "hold"]);
    await driver.line((line) => line.includes("held"));
    const stopped = await tsray(["stop", "--force"]);
    expect(stopped).toMatchObject({ code: 0, stderr: "" });
    expect(stopped.stdout).toMatch(/^killed head /);
    driver.child.kill("SIGTERM");
    await driver.ended;
    await until(() => processesOf(runtimeDir).length === 0);
  });

  test("stop has nothing to do where nothing runs, and says so", async () => {
    expect(await tsray(["stop"])).toEqual({
      code: 0,
      stdout: "no node of this user runs on this machine\n",
      stderr: "",
    });
  });

  // Goal: with --state lmdb:DIR, a later head is the same cluster.
  test("a cluster keeps its id in LMDB", async () => {
    const state = `lmdb:${join(runtimeDir, "..", `${runtimeDir.split("/").at(-1)}-state`)}`;
    const ids: string[] = [];
    for (let i = 0; i < 2; i++) {
      await startHead("--num-cpus", "0", "--state", state);
      ids.push((await json<{ clusterId: string }>(["status"])).clusterId);
      await tsray(["stop"]);
    }
    rmSync(state.slice("lmdb:".length), { recursive: true });
    expect(ids[0]).toBe(ids[1]);
  });
});

describe("--block", () => {
  test.each(["SIGINT", "SIGTERM"] as const)("the node ends with its command on %s", async (signal) => {
    const program = begin(["start", "--head", "--port", "0", "--num-cpus", "1", "--block", ...SMALL]);
    await program.line((line) => line.includes("cluster at"));
    for (const { storePath } of recordsIn(runtimeDir)) stores.add(storePath);
    expect((await json<Status>(["status"])).nodes).toHaveLength(1);
    program.child.kill(signal);
    expect(await program.ended).toMatchObject({ code: 0, stderr: "" });
    expect(processesOf(runtimeDir)).toEqual([]);
    expect(sessionsIn(runtimeDir)).toEqual([]);
  });

  test("the node ends when its command is killed", async () => {
    const program = begin(["start", "--head", "--port", "0", "--num-cpus", "1", "--block", ...SMALL]);
    await program.line((line) => line.includes("cluster at"));
    for (const { storePath } of recordsIn(runtimeDir)) stores.add(storePath);
    program.child.kill("SIGKILL");
    await program.ended;
    await until(() => processesOf(runtimeDir).length === 0);
  });

  test("the command fails when the node ends by itself", async () => {
    const program = begin(["start", "--head", "--port", "0", "--num-cpus", "1", "--block", ...SMALL]);
    await program.line((line) => line.includes("cluster at"));
    await tsray(["stop"]);
    expect(await program.ended).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("the node has ended") as string,
    });
  });
});

describe("tokens", () => {
  test("a token that was given must be brought, and is written nowhere", async () => {
    const files = ["right", "wrong"].map((name) => join(runtimeDir, `${name}.token`));
    const dir = join(runtimeDir, "r");
    mkdirSync(dir);
    const env = { XDG_RUNTIME_DIR: dir };
    const [right = "", wrong = ""] = files;
    const tokens: string[] = [];
    for (const file of files) {
      const made = await tsray(["token"]);
      expect(made.stdout).toMatch(/^[\w-]{43}\n$/);
      tokens.push(made.stdout.trim());
      writeFileSync(file, made.stdout, { mode: 0o600 });
    }
    const started = await tsray(
      ["start", "--head", "--port", "0", "--num-cpus", "0", ...SMALL, "--token-file", right],
      env,
    );
    expect(started).toMatchObject({ code: 0, stderr: "" });
    const address = addressIn(started.stdout);
    const [session = ""] = sessionsIn(dir);
    expect(existsSync(join(session, "token"))).toBe(false);
    for (const file of readdirSync(join(session, "nodes"))) {
      expect(readFileSync(join(session, "nodes", file), "utf8")).not.toContain(tokens[0]);
    }

    const refused = { code: 1, stdout: "", stderr: expect.stringMatching(/token/) as string };
    expect(await tsray(["status"], env)).toMatchObject(refused);
    expect(await tsray(["status", "--token-file", wrong], env)).toMatchObject(refused);
    expect(await tsray(["start", "--address", address, ...SMALL, "--token-file", wrong], env)).toMatchObject(
      refused,
    );
    expect(await tsray(["start", "--address", address, ...SMALL], env)).toMatchObject(refused);
    expect(sessionsIn(dir)).toEqual([session]);
    const other = { XDG_RUNTIME_DIR: runtimeDir };
    expect(await tsray(["status", "--address", address], other)).toMatchObject(refused);

    expect(await tsray(["status"], { ...env, TSRAY_TOKEN_FILE: right })).toMatchObject({
      code: 0,
      stderr: "",
    });
    const joined = await tsray(
      ["start", "--address", address, "--num-cpus", "1", ...SMALL, "--token-file", right],
      env,
    );
    expect(joined).toMatchObject({ code: 0, stderr: "" });
    const driver = await tsray(["run", fixture("cli-driver.ts"), "everywhere"], env);
    expect(driver.code).toBe(1);
    expect(driver.stderr).toContain("AuthenticationError");
    expect(await tsray(["stop"], env)).toMatchObject({ code: 0, stderr: "" });
    expect(processesOf(dir)).toEqual([]);
    rmSync(dir, { recursive: true });
    for (const file of files) rmSync(file);
  });

  test("a host that others reach needs a token of the user's", async () => {
    const refused = await tsray(["start", "--head", "--port", "0", "--host", "192.0.2.1"]);
    expect(refused).toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringContaining("tsray token") as string,
    });
  });
});

describe("what cannot work is said once, and at once", () => {
  test("port in use", async () => {
    const address = await startHead("--num-cpus", "0");
    const port = address.split(":")[1] as string;
    const second = await tsray(["start", "--head", "--port", port, ...SMALL]);
    expect(second).toMatchObject({ code: 1, stdout: "" });
    expect(second.stderr).toBe(
      `tsray: port ${port} of 127.0.0.1 is in use: end what runs there (tsray stop), or choose another with --port\n`,
    );
    expect(sessionsIn(runtimeDir)).toHaveLength(1);
  });

  test("no cluster, no head at the address, head dead", async () => {
    expect(await tsray(["status"])).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining("tsray start --head") as string,
    });
    const nowhere = `127.0.0.1:${await freePort()}`;
    for (const args of [
      ["status", "--json", "--address", nowhere],
      ["list", "nodes", "--json", "--address", nowhere],
      ["start", "--address", nowhere, ...SMALL],
    ]) {
      const failed = await tsray(args);
      expect(failed).toMatchObject({
        code: 1,
        stdout: "",
        stderr: expect.stringContaining(nowhere) as string,
      });
      expect(failed.stderr).not.toMatch(/^\s+at /m);
    }
    const address = await startHead("--num-cpus", "0");
    await tsray(["start", "--address", address, "--num-cpus", "1", ...SMALL]);
    const head = (await json<Status>(["status"])).nodes.find((node) => node.isHead);
    process.kill(head?.pid ?? 0, "SIGKILL");
    // Its tables were in memory: the other node ends with it.
    await until(() => processesOf(runtimeDir).length === 0);
    const failed = await tsray(["status", "--json", "--address", address]);
    expect(failed).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining(`no answer from ${address}`) as string,
    });
  });

  test.each([
    [["start"]],
    [["start", "--head", "--address", "127.0.0.1:1"]],
    [["start", "--head", "--bogus"]],
    [["start", "--head", "--dashboard-port", "8265"]],
    [["start", "--head", "--tls-cert", "x"]],
    [["start", "--head", "--state", "nats://127.0.0.1:4222"]],
    [["start", "--head", "--num-cpus", "half"]],
    [["start", "--head", "--resources", "{"]],
    [["start", "--head", "--resources", '{"CPU": 1}']],
    [["start", "--head", "--labels", "zone"]],
    [["start", "--head", "--object-store-memory", "12 parsecs"]],
    [["start", "--head", "--port", "70000"]],
    [["start", "--head", "--host", "0.0.0.0"]],
    [["start", "--head", "--token-file", "/nonexistent/token"]],
    [["start", "--address", "nonsense"]],
    [["start", "--address", "127.0.0.1:1", "--port", "1"]],
    [["status", "--bogus"]],
    [["list", "weather"]],
    [["list", "nodes", "--filter", "colour=red"]],
    [["run", "/nonexistent/script.js"]],
    [["fly"]],
    [[]],
  ])("wrong usage exits 2: %j", async (args) => {
    const { code, stdout, stderr } = await tsray(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).not.toBe("");
    expect(stderr).not.toMatch(/^\s+at /m);
  });
});

describe("run", () => {
  test("passes exit code and signals on, and starts an embedded cluster where none runs", async () => {
    expect((await tsray(["run", fixture("cli-driver.ts"), "nothing"])).code).toBe(7);
    const driver = begin(["run", fixture("cli-driver.ts"), "wait-for-signal"]);
    await driver.line((line) => line.includes("waiting"));
    driver.child.kill("SIGTERM");
    const { code, stdout } = await driver.ended;
    expect({ code, last: stdout.trim().split("\n").at(-1) }).toEqual({ code: 5, last: '{"got":"SIGTERM"}' });
    await until(() => processesOf(runtimeDir).length === 0);
  });

  test("version is that of the package", async () => {
    const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
      version: string;
    };
    expect(await tsray(["version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });
});
