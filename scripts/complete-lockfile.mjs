// Run after changing dependencies. `npm ci` wants an entry in the lockfile for every optional package of every platform,
// and npm leaves out those that the registry at hand does not carry. Adds them: name, version, platform.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const path = fileURLToPath(new URL("../package-lock.json", import.meta.url));
const lock = JSON.parse(readFileSync(path, "utf8"));
const OS = [
  "aix",
  "android",
  "darwin",
  "freebsd",
  "linux",
  "netbsd",
  "openbsd",
  "openharmony",
  "sunos",
  "win32",
];
const CPU = [
  "arm64",
  "arm",
  "ia32",
  "loong64",
  "loongarch64",
  "mips64el",
  "ppc64",
  "ppc64le",
  "powerpc64le",
  "riscv64",
  "s390x",
  "x64",
  "wasm32",
];
const cpuName = { loongarch64: "loong64", powerpc64le: "ppc64", ppc64le: "ppc64" };

let added = 0;
for (const [at, entry] of Object.entries({ ...lock.packages })) {
  for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
    const key = `node_modules/${name}`;
    if (at === "" || key in lock.packages || `${at}/${key}` in lock.packages) continue;
    const words = name.split("/").at(-1).split(/[-.]/);
    const os = words.find((word) => OS.includes(word));
    const cpu = words.find((word) => CPU.includes(word)) ?? (words.includes("armv7") ? "arm" : undefined);
    if (!/^\d/.test(range) || os === undefined) {
      // Not tied to a platform (such as fsevents, which its own entry names): take what the parent asks for.
      if (name !== "fsevents") throw new Error(`${at} wants ${name}@${range}, and its platform is unknown`);
      lock.packages[key] = { version: range.replace(/^[~^]/, ""), optional: true, os: ["darwin"] };
    } else {
      lock.packages[key] = {
        version: range,
        ...(cpu === undefined ? {} : { cpu: [cpuName[cpu] ?? cpu] }),
        ...(words.includes("musl") || words.includes("musleabihf") ? { libc: ["musl"] } : {}),
        ...(os === "linux" &&
        (words.includes("gnu") || words.includes("gnueabihf") || words.includes("glibc"))
          ? { libc: ["glibc"] }
          : {}),
        optional: true,
        os: [os],
      };
    }
    if (entry.dev) lock.packages[key].dev = true;
    added += 1;
  }
}
const rest = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1));
lock.packages = Object.fromEntries(rest);
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`${added} entries added`);
