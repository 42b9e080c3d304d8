// `npm run soak:store -- [CYCLES] [SEED]`: processes that hold pins, half-made objects and spills of an arena are killed
// CYCLES times (default 20,000); ends with code 1 when a byte is missing afterwards. Needs a C++ compiler.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const native = fileURLToPath(new URL("../native", import.meta.url));
const [cycles = "20000", seed = String(Date.now() % 1e9)] = process.argv.slice(2);
const dir = mkdtempSync(join(tmpdir(), "tsray-soak-"));
const arena = `/dev/shm/tsray-test-soak-${process.pid}`;
try {
  const spill = join(dir, "spill");
  mkdirSync(spill);
  const program = join(dir, "kill_cycles");
  const sources = readdirSync(join(native, "src"))
    .filter((name) => name.endsWith(".cc") && !["addon.cc", "views.cc"].includes(name))
    .map((name) => join(native, "src", name));
  const built = spawnSync(
    process.env.CXX ?? "g++",
    ["-std=c++17", "-O2", "-pthread", "-o", program, join(native, "test/kill_cycles.cc"), ...sources],
    { stdio: "inherit" },
  );
  if (built.status !== 0) throw new Error("kill_cycles.cc was not built");
  console.log(`seed ${seed}`);
  const { status } = spawnSync(program, [arena, spill, cycles, seed], { stdio: "inherit" });
  const left = readdirSync(spill);
  if (left.length > 0) console.error(`left in the spill directory: ${left.join(", ")}`);
  process.exitCode = status === 0 && left.length === 0 ? 0 : 1;
} finally {
  rmSync(arena, { force: true });
  rmSync(dir, { recursive: true, force: true });
}
