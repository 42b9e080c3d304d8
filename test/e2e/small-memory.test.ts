/** A machine whose shared memory is 64 MB, in a mount namespace of the test's own (R23, M18): spilling or a typed error, never SIGBUS. */
import { spawnSync } from "node:child_process";
import { beforeEach, describe, expect, test } from "vitest";
import { Sandbox } from "./support.ts";

const mayUnshare = spawnSync("unshare", ["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).status === 0;

/** Runs inner.mjs where /dev/shm has 64 MB, and /mnt, for spilled objects, `disk` of them. */
const outer = (disk: string) => `
  import { spawnSync } from "node:child_process";
  const mounts = "mount -t tmpfs -o size=64m tmpfs /dev/shm && mount -t tmpfs -o size=${disk} tmpfs /mnt";
  const ended = spawnSync("unshare", ["--mount", "sh", "-c", mounts + ' && exec "$0" inner.mjs', process.execPath], { stdio: "inherit" });
  console.log("ended", ended.status, ended.signal);`;

const PRELUDE = `
  import { get, init, ObjectStoreFullError, put, remote, shutdown } from "tsray";
  const LENGTH = 5e6 / 8;
  const pattern = (seed) => Float64Array.from({ length: LENGTH }, (_, i) => seed * 1e7 + i);
  const isPattern = (value, seed) => value.length === LENGTH && value.every((x, i) => x === seed * 1e7 + i);
  const check = remote((value, seed) => isPattern(value, seed));
  const make = remote((seed) => pattern(seed));`;

describe("64 MB of shared memory", () => {
  beforeEach((context) => {
    if (!mayUnshare) context.skip("mount namespaces are not permitted here");
  });

  test.each(["with a store that is larger", "with a store of the default size"])(
    "500 MB of objects live, %s",
    async (kind) => {
      const bytes = kind.includes("larger") ? "objectStoreMemory: 2 ** 30" : "";
      await using sandbox = new Sandbox({
        "outer.mjs": outer("2g"),
        "inner.mjs": `${PRELUDE}
          await init({ numCpus: 1, spillDir: "/mnt", ${bytes} });
          const refs = Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? put(pattern(i)) : make.remote(i)));
          let right = 0;
          for (let i = 0; i < 100; i++)
            if (i % 3 === 0 ? await check.remote(refs[i], i) : isPattern(await get(refs[i]), i)) right += 1;
          console.log("right", right);
          await shutdown();`,
      });
      const { stdout, stderr } = await sandbox.run("outer.mjs");
      expect(stderr).toBe("");
      expect(stdout).toBe("right 100\nended 0 null\n");
    },
  );

  test("without room on the disk either, put() and results end in ObjectStoreFullError, and work again afterwards", async () => {
    await using sandbox = new Sandbox({
      "outer.mjs": outer("30m"),
      "inner.mjs": `${PRELUDE}
        await init({ numCpus: 1, spillDir: "/mnt", objectStoreMemory: 2 ** 30 });
        const refs = [];
        const full = (error) => error instanceof ObjectStoreFullError || error.cause instanceof ObjectStoreFullError;
        try {
          for (let i = 0; i < 100; i++) refs.push(put(pattern(i)));
        } catch (error) {
          console.log("put", full(error), refs.length >= 10 && refs.length < 20);
        }
        await make.remote(1).then(() => console.log("made"), (error) => console.log("task", full(error)));
        let right = 0;
        for (let i = 0; i < refs.length; i++) if (isPattern(await get(refs[i]), i)) right += 1;
        console.log(right === refs.length);
        refs.length = 0;
        for (let tries = 0; ; tries++) {
          try {
            console.log("again", await check.remote(put(pattern(7)), 7));
            break;
          } catch (error) {
            if (!full(error) || tries > 100) throw error;
            await new Promise((resolve) => setTimeout(resolve, 100));
          }
        }
        await shutdown();`,
    });
    const { stdout, stderr } = await sandbox.run("outer.mjs");
    expect(stderr).toBe("");
    expect(stdout).toBe("put true true\ntask true\ntrue\nagain true\nended 0 null\n");
  });
});
