// Goal: without the native addon everything works, over files and with a thread that watches the raylet, and one line says so.
// Method: scripts that hide the addon from themselves and from all processes they start.
import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { Sandbox, until } from "./support.ts";

const HIDE = `process.env.TSRAY_NO_ADDON = "1";`;

test("tasks, actors and large objects work without the addon", async () => {
  await using sandbox = new Sandbox({
    "main.mjs": `${HIDE}
      import { get, init, put, remote, shutdown } from "tsray";
      const sum = remote((a) => a.reduce((x, y) => x + y, 0));
      const make = remote((n) => new Float64Array(n).fill(2));
      const Counter = remote(class Counter { n = 0; add(k) { return (this.n += k); } });
      await init({ numCpus: 2 });
      const c = Counter.remote();
      console.log(await sum.remote(put(new Float64Array(500_000).fill(1))), await sum.remote(make.remote(1_000_000)));
      console.log((await get(Array.from({ length: 100 }, () => c.add.remote(1)))).at(-1));
      await shutdown();`,
  });
  const { code, stdout, stderr } = await sandbox.run("main.mjs");
  expect(stdout).toBe("500000 2000000\n100\n");
  expect(stderr.trim().split("\n")).toEqual([
    expect.stringContaining("the native addon is not in use (TSRAY_NO_ADDON=1 is set)"),
  ]);
  expect(code).toBe(0);
});

test("workers in a synchronous loop die with their raylet without the addon", async () => {
  await using sandbox = new Sandbox({
    "main.mjs": `${HIDE}
      import { init, nodes, remote } from "tsray";
      import { writeFileSync } from "node:fs";
      const spin = remote((file) => { writeFileSync(file, String(process.pid)); for (;;); }, { maxRetries: 0 });
      await init({ numCpus: 1 });
      const ref = spin.remote(process.argv[2]);
      console.log("raylet", (await nodes())[0].pid);
      await ref.catch((error) => console.log(error.name));
      process.exit(0);`,
  });
  const started = `${sandbox.dir}/started`;
  const script = sandbox.start("main.mjs", started);
  await script.prints("raylet");
  await until(() => existsSync(started), "the task to start");
  process.kill(Number(/raylet (\d+)/.exec(script.stdout)?.[1]), "SIGKILL");
  const { stdout } = await script.ended;
  expect(stdout).toContain("NodeDiedError");
  // The session of a raylet that was killed is swept by the next start.
  const next = await sandbox.run(
    "--input-type=module",
    "-e",
    `import { init, shutdown } from "tsray"; await init(); await shutdown();`,
  );
  expect(next.code).toBe(0);
});
