// Runs one example: node scripts/run-example.mjs NAME [arguments of the example]
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const [name, ...args] = process.argv.slice(2);
const names = readdirSync(`${root}examples`).filter((entry) =>
  existsSync(`${root}examples/${entry}/main.ts`),
);

if (name === undefined || !names.includes(name)) {
  if (name !== undefined) console.error(`There is no example called "${name}".`);
  console.error(`Usage: node scripts/run-example.mjs NAME [arguments]\nExamples: ${names.join(", ")}`);
  process.exit(2);
}

const child = spawn(process.execPath, ["--import", "tsx", `examples/${name}/main.ts`, ...args], {
  cwd: root,
  stdio: "inherit",
});
// Ctrl-C reaches the example by itself (same terminal); a signal sent to this process alone is passed on.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => child.kill("SIGTERM"));
child.on("exit", (code, signal) => {
  process.exitCode = signal === null ? code : 128 + constants.signals[signal];
});
