// What a user gets: `npm pack`, installed into an empty project with install scripts switched off, runs a task and an
// actor with the prebuilt addon, and again with the addon removed.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const project = mkdtempSync(join(tmpdir(), "tsray-pack-"));
const run = (command, args, env = {}) =>
  execFileSync(command, args, {
    cwd: project,
    encoding: "utf8",
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });

try {
  const [{ filename }] = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", project], {
      cwd: root,
      encoding: "utf8",
    }),
  );
  writeFileSync(
    join(project, "package.json"),
    JSON.stringify({ name: "empty", private: true, type: "module" }),
  );
  run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", join(project, filename)]);
  writeFileSync(
    join(project, "main.mjs"),
    `import { init, put, remote, shutdown } from "tsray";
     const sum = remote((a) => a.reduce((x, y) => x + y));
     const Counter = remote(class Counter { n = 0; add(k) { return (this.n += k); } });
     await init({ numCpus: 2 });
     const c = Counter.remote();
     console.log(await sum.remote(put(new Float64Array(100_000).fill(1))), await c.add.remote(41));
     await shutdown();`,
  );
  for (const env of [{}, { TSRAY_NO_ADDON: "1" }]) {
    const printed = run(process.execPath, ["main.mjs"], env).trim();
    if (printed !== "100000 41")
      throw new Error(`the packed tsray printed ${JSON.stringify(printed)} with ${JSON.stringify(env)}`);
  }
  const version = run(join(project, "node_modules/.bin/tsray"), ["version"]).trim();
  if (!version.includes("0.1.0")) throw new Error(`tsray version printed ${version}`);
  console.log("the packed tarball works: with the prebuilt addon, without it, and its command");
} finally {
  rmSync(project, { recursive: true, force: true });
}
