/**
 * Code that travels to a node which does not see the driver's files. Method: the node is a raylet in a mount namespace of
 * its own, in which the user's project is an empty directory; tasks can run on that node only.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Ended, REPOSITORY, Sandbox, type Script } from "./support.ts";

/** How this machine lets us hide a directory from a process; undefined = not at all. */
const UNSHARE = [["-m"], ["-Urm"]].find(
  (flags) => spawnSync("unshare", [...flags, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]).status === 0,
);
if (UNSHARE === undefined)
  console.warn(
    "skipped: this machine lets nobody make a mount namespace, so no directory can be hidden from a node",
  );

const CLI = join(REPOSITORY, "dist/cli.js");
const TOKEN = "token-of-the-two-machines-test";
const HEAD = `import { get, init, remote, shutdown } from "tsray";`;
const WHERE = `import { existsSync } from "node:fs"; const hidden = () => !existsSync(process.env.ORIGINAL);`;

/** A project, a head that only its driver uses, and a node that does not see the project. */
class TwoMachines implements AsyncDisposable {
  readonly sandbox: Sandbox;
  readonly #secrets = mkdtempSync("/tmp/tse-");
  #head: Script | undefined;
  #node: Script | undefined;
  #address = "";

  constructor(files: Readonly<Record<string, string>>) {
    this.sandbox = new Sandbox(files);
    writeFileSync(join(this.#secrets, "token"), TOKEN, { mode: 0o600 });
  }

  get #variables(): NodeJS.ProcessEnv {
    return { TSRAY_TOKEN_FILE: join(this.#secrets, "token"), ORIGINAL: join(this.sandbox.dir, "marker") };
  }

  async start(variables: NodeJS.ProcessEnv = {}): Promise<this> {
    const { sandbox } = this;
    const own = { ...this.#variables, ...variables };
    const small = ["--object-store-memory", "64MB", "--block"];
    writeFileSync(join(sandbox.dir, "marker"), "");
    this.#head = sandbox.spawn(
      process.execPath,
      [CLI, "start", "--head", "--port", "0", "--num-cpus", "0", ...small],
      own,
    );
    await this.#head.prints("cluster at ");
    this.#address = /cluster at (\S+:\d+)/.exec(this.#head.stdout)?.[1] ?? "";
    const hide = 'mount -t tmpfs tmpfs "$1" && shift && cd / && exec "$@"';
    const node = [process.execPath, CLI, "start", "--address", this.#address, "--num-cpus", "2", ...small];
    this.#node = sandbox.spawn(
      "unshare",
      [...(UNSHARE ?? []), "sh", "-c", hide, "sh", sandbox.dir, ...node],
      own,
    );
    await this.#node.prints("cluster at ");
    return this;
  }

  run(...args: string[]): Promise<Ended> {
    const variables = { ...this.#variables, TSRAY_ADDRESS: this.#address };
    return this.sandbox.spawn(process.execPath, args, variables).ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const script of [this.#node, this.#head]) {
      script?.child.kill("SIGTERM");
      await script?.ended;
    }
    rmSync(this.#secrets, { recursive: true, force: true });
    await this.sandbox[Symbol.asyncDispose]();
  }
}

describe.skipIf(UNSHARE === undefined)("a node that does not see the project", { timeout: 180_000 }, () => {
  // Goal: nothing has to be said: the project travels by itself, for all that the job does.
  test("gets the project by itself: tasks, actors, other modules, values with classes, closures", async () => {
    await using machines = await new TwoMachines({
      "main.mjs": `${HEAD} ${WHERE}
        import { add, Point } from "./lib/points.mjs"; import { twice } from "./lib/jobs.mjs"; import data from "./lib/data.cjs";
        const look = remote(function look() { return [hidden(), add(1, 2), data.answer]; });
        const move = remote(function move(p) { return new Point(p.x + 1); });
        class Tally { n = 0; add(x) { return (this.n += x); } where() { return hidden(); } }
        const TallyActor = remote(Tally);
        const fail = remote(function fail() { throw new RangeError("on line 8"); });
        await init();
        const by = 10;
        console.log(JSON.stringify(await look.remote()), await twice.remote(4));
        const moved = await move.remote(new Point(1));
        console.log(moved instanceof Point, moved.x, await remote((x) => hidden() && add(x, by) + data.answer).remote(1));
        const tally = TallyActor.remote();
        console.log(await tally.where.remote(), await tally.add.remote(5));
        const { cause } = await fail.remote().catch((error) => error);
        console.log(cause.stack.includes(import.meta.url + ":7:"));
        const { late } = await import("./lib/late.mjs");
        console.log(await late.remote(), JSON.stringify(await remote(async () => (await import("./lib/points.mjs")).add(2, 2)).remote()));
        const returned = await remote(() => (x) => add(x, by)).remote();
        console.log(returned(1));
        await shutdown();`,
      "lib/points.mjs": `export const add = (a, b) => a + b; export class Point { constructor(x) { this.x = x; } }`,
      "lib/jobs.mjs": `import { remote } from "tsray"; export const twice = remote(function twice(x) { return 2 * x; });`,
      "lib/late.mjs": `import { remote } from "tsray"; import { twice } from "./jobs.mjs"; export const late = remote(async () => (await twice.remote(3)) + 1);`,
      "lib/data.cjs": `exports.answer = 42;`,
    }).start();
    expect(await machines.run("main.mjs")).toEqual({
      code: 0,
      signal: null,
      stdout: "[true,3,42] 8\ntrue 2 53\ntrue 5\ntrue\n7 4\n11\n",
      stderr: "",
    });
  });

  test("gets a TypeScript project with its loader, and what npm installs for it", async () => {
    await using machines = await new TwoMachines({
      "package.json": `{ "type": "module", "dependencies": { "tsray": "*", "greet": "file:./vendor/greet" } }`,
      "vendor/greet/package.json": `{ "name": "greet", "version": "1.0.0", "main": "index.js" }`,
      "vendor/greet/index.js": `exports.greet = (who) => "hello " + who;`,
      "src/main.ts": `${HEAD} ${WHERE.replace("process.env.ORIGINAL", "process.env.ORIGINAL as string")}
        import { greet } from "greet"; import { Level } from "./levels.ts";
        const look = remote((who: string): unknown => [hidden(), greet(who), Level[Level.High]]);
        await init();
        console.log(JSON.stringify(await look.remote("you")));
        await shutdown();`,
      "src/levels.ts": `export enum Level { Low, High }`,
    }).start();
    machines.sandbox.link("vendor/greet", "greet");
    expect(await machines.run("node_modules/tsx/dist/cli.mjs", "src/main.ts")).toEqual({
      code: 0,
      signal: null,
      stdout: '[true,"hello you","High"]\n',
      stderr: "",
    });
  });

  test("runs a bundle, with functions of several modules and packages in it", async () => {
    await using machines = await new TwoMachines({
      "package.json": `{ "type": "module", "dependencies": { "greet": "*" } }`,
      "vendor/greet/package.json": `{ "name": "greet", "version": "1.0.0", "main": "index.js" }`,
      "vendor/greet/index.js": `exports.greet = (who) => "hello " + who;`,
      "main.ts": `${HEAD} ${WHERE.replace("process.env.ORIGINAL", "process.env.ORIGINAL as string")}
        import { greet } from "greet"; import { makeAdder, Tally } from "./lib/jobs.ts";
        const adders = [makeAdder(1), makeAdder(2)];
        const look = remote((who: string): unknown => [hidden(), greet(who)]);
        const same = remote(function same(x: number): number { return x; });
        const fail = remote(function fail(): never { throw new RangeError("on line 7"); });
        await init({ runtimeEnv: { bundle: true } });
        console.log(JSON.stringify(await look.remote("you")), await get(adders.map((f) => f.remote(1))), await same.remote(3));
        console.log(await Tally.remote().add.remote(2));
        const { cause } = await fail.remote().then(() => ({ cause: undefined }), (error) => error);
        console.log(/main\\.ts:\\d+/.exec(cause.stack)?.[0]);
        await shutdown();`,
      "lib/jobs.ts": `import { remote } from "tsray"; export const makeAdder = (by: number) => remote(function add(x: number): number { return x + by; });
        export const Tally = remote(class Tally { n = 0; add(x: number): number { return (this.n += x); } });`,
    }).start();
    machines.sandbox.link("vendor/greet", "greet");
    machines.sandbox.install("esbuild");
    expect(await machines.run("--import", "tsx", "main.ts")).toEqual({
      code: 0,
      signal: null,
      stdout: '[true,"hello you"] [ 2, 3 ] 3\n2\nmain.ts:6\n',
      stderr: "",
    });
  });

  // Goal: what goes wrong on the way is said on the call, with the cause, and does not harm others.
  test("says what keeps the project from travelling", async () => {
    await using machines = await new TwoMachines({
      "package.json": `{ "type": "module", "dependencies": { "missing": "file:./vendor/missing.tgz" } }`,
      "main.mjs": `${HEAD} const one = remote(function one() { return 1; });
        class Idle { one() { return 1; } } const IdleActor = remote(Idle);
        await init();
        const say = async (promise) => { try { console.log(await promise); } catch (error) { console.log(error.name, error.message.replaceAll("\\n", " ")); } };
        await say(one.remote());
        await say(IdleActor.remote().one.remote());
        await say(one.options({ runtimeEnv: { npm: false } }).remote());
        await say(remote(() => 2).options({ runtimeEnv: { npm: false } }).remote());
        await shutdown();`,
    }).start();
    const { stdout, code } = await machines.run("main.mjs");
    const lines = stdout.split("\n");
    expect(lines[0]).toMatch(
      /^RuntimeEnvError task one cannot run on node \w+: npm install .*vendor\/missing/,
    );
    expect(lines[1]).toMatch(/^RuntimeEnvError actor Idle \(\w+\) cannot run: npm install .*vendor\/missing/);
    expect(lines.slice(2)).toEqual(["1", "2", ""]);
    expect(code).toBe(0);
    // More than may travel: 1.5 GiB that take no room on this disk.
    writeFileSync(join(machines.sandbox.dir, "huge.bin"), "");
    truncateSync(join(machines.sandbox.dir, "huge.bin"), 1.5 * 2 ** 30);
    writeFileSync(
      join(machines.sandbox.dir, "large.mjs"),
      `${HEAD} const one = remote(function one() { return 1; });
        for (const excludes of [[], ["*.bin"]]) {
          await init({ runtimeEnv: { excludes, npm: false } });
          console.log(await one.remote().catch((error) => error.name + " " + error.message));
          await shutdown();
        }`,
    );
    const large = await machines.run("large.mjs");
    expect(large.stdout).toMatch(
      /^RuntimeEnvError task one cannot run on node \w+: node \w+ cannot see the driver's files, and the driver cannot send them: \S+ cannot travel to the nodes: it has more than 1024 MiB \(largest: huge\.bin 1536 MiB/,
    );
    expect(large.stdout).toMatch(/\n1\n$/);
  });

  test("serves what has no files at all", async () => {
    await using machines = await new TwoMachines({}).start();
    const script = `import { init, remote, shutdown } from "tsray"; import { existsSync } from "node:fs"; await init(); const by = 2;
      console.log(await remote((x) => [x * by, existsSync(process.env.ORIGINAL)]).remote(4)); await shutdown();`;
    expect(await machines.run("--input-type=module", "-e", script)).toEqual({
      code: 0,
      signal: null,
      stdout: "[ 8, false ]\n",
      stderr: "",
    });
  });
});
