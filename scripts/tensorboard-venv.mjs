// Installs the real TensorBoard for the test that reads our event files with it: a Python virtual environment in the
// user's cache directory. Without it that test is skipped.
import { execFileSync } from "node:child_process";
import { homedir } from "node:os";
import { join } from "node:path";

const path = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "tsray", "tensorboard");
execFileSync("python3", ["-m", "venv", path], { stdio: "inherit" });
execFileSync(join(path, "bin/pip"), ["install", "--quiet", "tensorboard"], { stdio: "inherit" });
console.log(`TensorBoard is in ${path}`);
