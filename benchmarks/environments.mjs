// What a new environment costs: a working directory of 200 files, 5 MB in all, that no node has seen. From before init()
// to the first result of a task, in a fresh driver on a cluster that runs, each round with other contents; and the same
// with contents that the nodes have already, and with no environment. `--vs ray` does the same with Ray's working_dir.
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { installPython, python } from "./install.mjs";

const ROUNDS = 7;
const FILES = 200;
const BYTES = 5_000_000;
const root = fileURLToPath(new URL("..", import.meta.url));
const versusRay = process.argv[2] === "--vs" && process.argv[3] === "ray";
const base = mkdtempSync(join(tmpdir(), "tsray-bench-"));
const project = join(base, "project");

/** Source-like text, half of it the same everywhere. */
function write() {
  const line = "export function step(value) { return value === undefined ? 0 : value + 1; }\n";
  for (let i = 0; i < FILES; i++) {
    const directory = join(project, `part${i % 10}`);
    mkdirSync(directory, { recursive: true });
    const noise = randomBytes(BYTES / FILES / 4).toString("hex");
    writeFileSync(
      join(directory, `file${i}.js`),
      `${line.repeat(BYTES / FILES / 2 / line.length)}// ${noise}\n`,
    );
  }
}

const DRIVER = `import { init, remote, shutdown } from "tsray";
const count = remote(async () => (await import("node:fs")).readdirSync("part3").length);
const one = remote(() => 20);
const workingDir = process.argv[2];
const begunMs = performance.now();
await init(workingDir === undefined ? {} : { runtimeEnv: { workingDir } });
const found = await (workingDir === undefined ? one : count).remote();
if (found !== 20) throw new Error("wrong result " + found);
console.log(performance.now() - begunMs);
await shutdown();
`;
const RAY_DRIVER = `import logging, os, sys, time
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
@ray.remote
def count():
    return len(os.listdir("part3"))
@ray.remote
def one():
    return 20
working_dir = sys.argv[1] if len(sys.argv) > 1 else None
begun = time.perf_counter()
ray.init(address="auto", logging_level=logging.ERROR, log_to_driver=False, runtime_env={"working_dir": working_dir} if working_dir else None)
assert ray.get((count if working_dir else one).remote()) == 20
print((time.perf_counter() - begun) * 1000)
`;

function rounds(name, run) {
  run(undefined);
  const samples = { "no environment": [], "a new environment": [], "the same again": [] };
  for (let round = 0; round < ROUNDS; round++) {
    write();
    samples["no environment"].push(run(undefined));
    samples["a new environment"].push(run(project));
    samples["the same again"].push(run(project));
  }
  for (const [what, ms] of Object.entries(samples)) {
    ms.sort((a, b) => a - b);
    const [low, median, high] = [ms[0], ms[ROUNDS >> 1], ms[ROUNDS - 1]].map((each) => each.toFixed(0));
    console.log(
      `${name.padEnd(6)} init to first result, ${what.padEnd(18)} ${median} ms  (${low} to ${high})`,
    );
  }
}

function timed(command, args, env) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: base, encoding: "utf8", env });
  if (status !== 0) throw new Error(`${command} failed: ${stdout}${stderr}`);
  return Number(stdout.trim().split("\n").at(-1));
}

try {
  mkdirSync(join(base, "node_modules"));
  symlinkSync(root, join(base, "node_modules/tsray"));
  writeFileSync(join(base, "driver.mjs"), DRIVER);
  const env = { ...process.env, XDG_RUNTIME_DIR: base };
  const cli = join(root, "dist/cli.js");
  const started = execFileSync(process.execPath, [cli, "start", "--head", "--port", "0", "--num-cpus", "2"], {
    env,
    encoding: "utf8",
  });
  const address = /cluster at (\S+:\d+)/.exec(started)[1];
  try {
    rounds("tsray", (directory) =>
      timed(process.execPath, ["driver.mjs", ...(directory === undefined ? [] : [directory])], {
        ...env,
        TSRAY_ADDRESS: address,
      }),
    );
  } finally {
    execFileSync(process.execPath, [cli, "stop"], { env });
  }
  if (versusRay) {
    const { ray } = installPython(["ray==2.58.0"]);
    writeFileSync(join(base, "driver.py"), RAY_DRIVER);
    const quiet = { ...process.env, RAY_USAGE_STATS_ENABLED: "0" };
    const rayCommand = (...args) =>
      execFileSync(python, ["-c", "from ray.scripts.scripts import main; main()", ...args], {
        env: quiet,
        stdio: "ignore",
      });
    rayCommand("start", "--head", "--port", "0", "--num-cpus", "2", "--include-dashboard", "false");
    try {
      rounds(`ray ${ray}`, (directory) =>
        timed(python, ["driver.py", ...(directory === undefined ? [] : [directory])], quiet),
      );
    } finally {
      rayCommand("stop", "--force");
    }
  }
} finally {
  rmSync(base, { recursive: true, force: true });
}
